"""Encoding: formats, bits, profiles, resolution and records, read back by other libraries; reproduction of pictures."""

import dataclasses
import functools
import io
import json
import re
import struct
import zlib

import gluon_nst as nst
from gluon_nst.pictures import decoding, encoding
from gluon_nst.pictures.colours import blended
from gluon_nst.pictures.encoding import Encoding, write_image
from gluon_nst.pictures.pixels import to_pixels
from gluon_nst.runs import result

import mxnet as mx
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin

from commands import assert_one_line, ended, failing, made
from painting import paint

RECORD = json.dumps({"recipe": {}, "seed": 1})
P3 = pyvips.Image.profile_load("p3")


def slope(channels=3, height=40, width=3000):
    """Return a smooth picture of 16 bits."""
    values = np.linspace(1000, 64000, height * width).reshape(height, width)
    return np.dstack([values, values[::-1], values[:, ::-1], values][:channels]).astype(np.uint16)


def profile_of(picture):
    return ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))


# -- 16 bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.TIFF"])
def test_16_bits_are_read_by_another_library(tmp_path, name, channels):
    pixels = slope(channels)
    write_image(pixels, tmp_path / name, RECORD, Encoding(16))
    found = pyvips.Image.new_from_file(str(tmp_path / name)).numpy()
    assert found.dtype == np.uint16
    assert np.array_equal(found, pixels)
    assert all(len(np.unique(found[..., channel])) > 2000 for channel in range(3))
    if name != "out.png":
        assert np.array_equal(tifffile.imread(tmp_path / name), pixels)


def test_a_16_bit_png_follows_its_specification(tmp_path):
    """It is decoded by the specification: the chunks, their checksums, and the filtered rows."""
    pixels = slope(3, 8, 50)
    write_image(pixels, tmp_path / "out.png", RECORD, Encoding(16))
    content, chunks, place = (tmp_path / "out.png").read_bytes(), {}, 8
    while place < len(content):
        (length,), kind = struct.unpack(">I", content[place : place + 4]), content[place + 4 : place + 8]
        data = content[place + 8 : place + 8 + length]
        assert struct.unpack(">I", content[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = chunks.get(kind, b"") + data
        place += 12 + length
    assert struct.unpack(">IIBB", chunks[b"IHDR"][:10]) == (50, 8, 16, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(8, 1 + 50 * 6)
    before, found = np.zeros(300, int), []
    for row in rows:
        kind, values = row[0], row[1:].astype(int)
        for place in range(300):
            left = values[place - 6] if place >= 6 else 0
            corner = before[place - 6] if place >= 6 else 0
            above, guess = before[place], left + before[place] - corner
            nearest = min((left, above, corner), key=lambda value: abs(guess - value))
            values[place] = (values[place] + [0, left, above, (left + above) // 2, nearest][kind]) % 256
        before = values
        found.append(values)
    assert np.array_equal(np.array(found, np.uint8).reshape(8, 50, 3, 2).view(">u2")[..., 0], pixels)


@pytest.mark.slow
def test_16_bits_are_those_of_the_composite(run, tmp_path):
    result = run(bits=16)
    result.save(tmp_path / "out.png")
    found = pyvips.Image.new_from_file(str(tmp_path / "out.png")).numpy()
    assert np.array_equal(found, result.deep)
    assert not (found % 257 == 0).all()
    assert np.array_equal(np.rint(found / 257), np.asarray(result.image))
    assert made(tmp_path / "out.png")["file"] == {"bits": 16}
    result.save(tmp_path / "first.png", stage=1)
    assert "file" not in made(tmp_path / "first.png")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"preserve_colors": "luminance"}, {"mask": True}, {"transparent": True}])
def test_16_bits_have_the_contents_colours_mask_and_transparency(run, content, style, tmp_path, changes):
    options = dict(changes)
    if options.pop("transparent", False):
        picture = Image.open(content).convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(content)
    if options.pop("mask", False):
        options["mask"] = Image.linear_gradient("L").resize((90, 60))
    result = run(content, style, bits=16, **options)
    shallow, deep = np.asarray(result.image, int), np.rint(result.deep / 257).astype(int)
    assert shallow.shape == deep.shape
    assert np.abs(shallow - deep).max() <= 12
    assert np.abs(shallow - deep).mean() < 0.5
    assert len(np.unique(result.deep[..., 0])) > 1000


def test_pixels_of_16_bits_round_to_those_of_8():
    X = mx.nd.array(np.random.default_rng(3).standard_normal((1, 3, 20, 30), dtype=np.float32))
    shallow, deep = to_pixels(X), to_pixels(X, 16)
    assert shallow.dtype == np.uint8
    assert deep.dtype == np.uint16
    assert np.array_equal(np.rint(deep / 257).astype(np.uint8), shallow)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_blend_is_exact_for_shares_of_0_and_1(kind):
    random, most = np.random.default_rng(5), np.iinfo(kind).max
    above, below = (random.integers(0, most + 1, (20, 30, 3)).astype(kind) for _ in range(2))
    shares = np.zeros((20, 30), np.float32)
    shares[:, 10:20], shares[:, 20:] = 0.25, 1
    found = blended(above, below, shares)
    assert np.array_equal(found[:, :10], below[:, :10])
    assert np.array_equal(found[:, 20:], above[:, 20:])
    expected = 0.25 * above[:, 10:20] + 0.75 * below[:, 10:20]
    assert np.abs(found[:, 10:20] - expected).max() <= 0.51


@pytest.mark.slow
def test_formats_of_8_bits_are_refused_before_the_run(refuses, tmp_path):
    for name, kind in (("out.jpg", "JPEG"), ("out.webp", "WEBP")):
        refuses(f"{name}: {kind} has 8 bits, not 16; name a .png or a .tif", "--bits", "16", output=tmp_path / name)
    refuses("bits: 12 is not 8 or 16", "--bits", "12")
    refuses("quality: 101 is not an integer of at least 1, 100 at the most", "--quality", "101")
    refuses("dpi: 0.0 is not a number of at least 1", "--dpi", "0")


def test_16_bits_need_a_package(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(nst.InputError, match=r"bits 16: needs the package pyvips; install gluon-nst\[print\]"):
        run(bits=16)


# -- all formats ------------------------------------------------------------------------------------------------------

ALL = ["out.png", "out.jpg", "out.webp", "out.tif"]


@pytest.mark.parametrize("name", ALL)
def test_a_picture_has_its_record_and_an_srgb_profile(tmp_path, name):
    write_image(Image.fromarray(paint(40, 60)), tmp_path / name, RECORD, Encoding(dpi=300))
    assert decoding.read_record(tmp_path / name) == json.loads(RECORD)
    with Image.open(tmp_path / name) as picture:
        assert "sRGB" in ImageCms.getProfileDescription(profile_of(picture))
        dpi = picture.info["dpi"] if "dpi" in picture.info else [picture.getexif()[number] for number in (282, 283)]
        assert [round(float(each)) for each in dpi] == [300, 300]


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_a_16_bit_picture_has_its_record_and_an_srgb_profile(tmp_path, name):
    write_image(slope(), tmp_path / name, RECORD, Encoding(16, dpi=240))
    assert decoding.read_record(tmp_path / name) == json.loads(RECORD)
    with Image.open(tmp_path / name) as picture:
        assert profile_of(picture).profile.profile_description
        assert picture.info["icc_profile"] == encoding.srgb()
        assert [round(float(each)) for each in picture.info["dpi"]] == [240, 240]


@pytest.mark.parametrize("name", ALL)
def test_the_same_picture_has_the_same_bytes(tmp_path, name):
    written = []
    for _ in range(2):
        encoding.srgb.cache_clear()
        write_image(Image.fromarray(paint(40, 60)), tmp_path / name, RECORD)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("quality, halved", [(89, True), (90, False), (100, False)])
def test_a_jpeg_of_high_quality_has_colours_at_full_resolution(tmp_path, quality, halved):
    stripes = Image.fromarray(np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[np.indices((32, 32)).sum(0) % 2])
    encoding.write_image(stripes, tmp_path / "out.jpg", encoding=encoding.Encoding(quality=quality))
    with Image.open(tmp_path / "out.jpg") as picture:
        assert (JpegImagePlugin.get_sampling(picture) == 2) is halved


def test_lower_quality_makes_smaller_files(tmp_path):
    picture = Image.fromarray(paint(100, 150))
    for name in ("out.jpg", "out.webp"):
        sizes = []
        for quality in (30, 95):
            write_image(picture, tmp_path / name, "", Encoding(quality=quality))
            sizes.append((tmp_path / name).stat().st_size)
        assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.webp"])
def test_transparency_is_kept_if_the_format_supports_it(tmp_path, name):
    picture = Image.fromarray(paint(40, 60)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((60, 40)))
    write_image(picture, tmp_path / name)
    with Image.open(tmp_path / name) as found:
        assert np.array_equal(np.asarray(found.getchannel("A")), np.asarray(picture.getchannel("A")))


def test_a_record_that_is_too_long_for_a_jpeg_is_left_out(tmp_path):
    write_image(Image.fromarray(paint(40, 60)), tmp_path / "out.jpg", json.dumps({"recipe": "x" * 70_000}))
    with pytest.raises(nst.InputError, match="has no record of how it was made"):
        decoding.read_record(tmp_path / "out.jpg")


def test_a_side_that_is_too_long_for_a_format_is_an_error(tmp_path):
    with pytest.raises(nst.NSTError, match="16 x 16400 pixels are too many for a WEBP"):
        write_image(Image.new("RGB", (16400, 16)), tmp_path / "out.webp")
    assert not (tmp_path / "out.webp").exists()


# -- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [("out.png", {}), ("out.png", {"bits": 16}), ("out.tif", {"bits": 16})])
def test_the_contents_own_profile_is_kept_on_request(run, content, style, tmp_path, name, options):
    picture = Image.open(content)
    picture.save(content, icc_profile=P3)
    result = run(content, style, keep_profile=True, **options)
    result.save(tmp_path / name)
    with Image.open(tmp_path / name) as found:
        assert found.info["icc_profile"] == P3
        back = ImageCms.profileToProfile(found, profile_of(found), ImageCms.createProfile("sRGB"))
        # Pillow truncates 16 bits to 8 instead of rounding them.
        assert np.abs(np.asarray(back, int) - np.asarray(result.image, int)).mean() < 1
        assert np.abs(np.asarray(found, int) - np.asarray(result.image, int)).mean() > 2
    plain = run(content, style)
    assert plain.image.tobytes() == result.image.tobytes()


def test_16_bits_in_another_profile_agree_with_littlecms_on_floats(tmp_path):
    """Compared with the definition: sRGB's curve inverted, its primaries converted to Display P3, the curve applied."""
    pixels = slope(3, 4, 400)
    write_image(pixels, tmp_path / "out.tif", "", Encoding(16, profile=P3))
    found = tifffile.imread(tmp_path / "out.tif") / 65535
    values = pixels / 65535
    light = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    to_p3 = np.array([[0.8224621, 0.1775380, 0], [0.0331941, 0.9668058, 0], [0.0170827, 0.0723974, 0.9105199]])
    light = light @ to_p3.T
    expected = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, light * 12.92)
    assert np.abs(found - expected).max() < 0.003


def test_transparency_is_not_converted_with_the_colours(tmp_path):
    pixels = slope(4, 4, 400)
    pixels[..., 3] = np.arange(400) * 160
    write_image(pixels, tmp_path / "out.tif", "", Encoding(16, profile=P3))
    found = tifffile.imread(tmp_path / "out.tif")
    assert np.array_equal(found[..., 3], pixels[..., 3])
    assert not np.array_equal(found[..., :3], pixels[..., :3])
    picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    write_image(picture, tmp_path / "out.png", "", Encoding(profile=P3))
    with Image.open(tmp_path / "out.png") as found:
        assert found.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_an_error_of_libvips_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise pyvips.Error(
            "unable to call pngsave", "  wbuffer_write: write failed\nunix error: No space left on device"
        )

    monkeypatch.setattr(pyvips.Image, "set_type", fail)
    with pytest.raises(nst.NSTError, match=r"out.png: can't write it \(.*\); free some space or choose another place"):
        write_image(slope(), tmp_path / "out.png", "", Encoding(16))


@pytest.mark.slow
def test_a_content_picture_without_a_profile_is_reported(render, tmp_path):
    status, _, err = render("--keep-profile", "--quiet")
    assert status == 0
    assert err == "--keep-profile: the content picture has no RGB profile of its own; sRGB is used\n"


def test_a_profile_that_is_damaged_or_not_for_rgb_is_not_kept(tmp_path):
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"damaged", grey):
        Image.fromarray(paint(40, 60)).save(tmp_path / "in.png", icc_profile=profile)
        assert decoding.open_picture(tmp_path / "in.png").profile is None


# -- reproduction -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rerun(tmp_path, capfd, converted):
    def run(picture, output, *options):
        return ended(capfd, "rerun", picture, "--output", output, "--weights", converted, "--quiet", *options)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options",
    [
        ("out.png", ["--bits", "16", "--dpi", "300"]),
        ("out.tif", ["--bits", "16"]),
        ("out.jpg", ["--quality", "80", "--dpi", "72"]),
        ("out.webp", ["--quality", "70"]),
        ("out.png", ["--init", "noise", "--seed", "4", "--preserve-colors", "histogram"]),
        ("out.png", ["--optimizer", "lbfgs", "--memory", "2GB"]),
    ],
)
def test_a_picture_is_reproduced_with_the_same_bytes(render, rerun, tmp_path, name, options):
    assert render("--quiet", *options, output=tmp_path / name)[0] == 0
    status, out, err = rerun(tmp_path / name, tmp_path / f"again-{name}")
    assert (status, err) == (0, "")
    assert f", reproduced, identical to {tmp_path / name} pixel by pixel, " in out
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.slow
def test_snapshots_and_pictures_of_interrupted_runs_are_reproduced(render, rerun, chapter, tmp_path):
    assert chapter("--save-every", "2")[0] == 0
    with failing(4):
        assert render("--quiet")[0] == 130
    pictures = [tmp_path / "out.png", *(tmp_path / "out").glob("neural-style-*.png")]
    assert len(pictures) == 5
    for picture in pictures:
        again = tmp_path / "again.png"
        assert rerun(picture, again, "--inputs", tmp_path)[0] == 0
        assert again.read_bytes() == picture.read_bytes(), picture


@pytest.mark.slow
def test_styles_masks_and_maps_are_found_by_hash(rerun, content, style, converted, tmp_path, capfd):
    other = tmp_path / "elsewhere" / "renamed.png"
    other.parent.mkdir()
    Image.fromarray(paint(50, 60, seed=9)).save(tmp_path / "ink.png")
    Image.linear_gradient("L").resize((90, 60)).save(tmp_path / "mask.png")
    for name, size in (("map", (90, 60)), ("ink-map", (60, 50)), ("style-map", (70, 80))):
        halves = Image.new("RGB", size)
        halves.paste("white", (0, 0, size[0] // 2, size[1]))
        halves.save(tmp_path / f"{name}.png")
    maps = f"{tmp_path / 'ink-map.png'},{tmp_path / 'style-map.png'}"
    options = ["--mask", tmp_path / "mask.png", "--regions", tmp_path / "map.png", "--style-regions", maps]
    options += ["--style-weights", "3,1", "--style-scale", "1,0.5", "--recipe", "d2l-2019", "--weights", converted]
    options += [
        "--style-layers",
        "conv1_1",
        "--content-layers",
        "conv1_1",
        "--sizes",
        "32x48",
        "--epochs",
        "2",
        "--quiet",
    ]
    pictures = [content, tmp_path / "ink.png", style]
    status, _, err = ended(capfd, "render", *pictures, "--output", tmp_path / "out.png", *options)
    assert status == 0, err
    (tmp_path / "ink.png").rename(other)
    status, _, err = rerun(tmp_path / "out.png", tmp_path / "again.png")
    assert status == 2
    assert "style picture 1 (SHA-256 " in err
    assert "name its folder with --inputs" in err
    assert_one_line(err)
    status, _, err = rerun(tmp_path / "out.png", tmp_path / "again.png", "--inputs", other.parent)
    assert (status, err) == (0, "")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()


@pytest.mark.slow
def test_a_picture_that_can_not_be_reproduced_is_refused(render, rerun, content, tmp_path, capfd, monkeypatch):
    render("--quiet")
    status, _, err = ended(capfd, "rerun", content, "--output", tmp_path / "again.png")
    assert status == 2
    assert "content.png: has no record of how it was made" in err
    status, _, err = rerun(tmp_path / "out.png", tmp_path / "out.png")
    assert status == 2
    assert "is one of the run's inputs" in err
    record = made(tmp_path / "out.png")
    for changed, message in (
        ({"recipe": {**record["recipe"], "colour": 1}}, "colour: unknown key"),
        ({"recipe": {**record["recipe"], "style_weight": -1}}, "style_weight: -1 is not a number of at least 0"),
        ({"recipe": None}, "its record is incomplete"),
        ({"weights": {"source": "pypi"}, "seed": "x"}, "seed: 'x' is not an integer"),
        ({"before": [record]}, "made by several runs"),
        ({"weights": {"source": "random", "sha256": "0"}}, "the run would make a different picture (weights: "),
    ):
        write_image(Image.open(tmp_path / "out.png"), tmp_path / "odd.png", json.dumps({**record, **changed}))
        status, _, err = rerun(tmp_path / "odd.png", tmp_path / "again.png")
        assert message in err
        assert status == 2
        assert_one_line(err)
    Image.fromarray(paint(60, 90, seed=5)).save(content)
    status, _, err = rerun(tmp_path / "out.png", tmp_path / "again.png")
    assert status == 2
    assert "the content picture (SHA-256" in err
    assert "has been changed since" in err
    assert not (tmp_path / "again.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_that_is_reproduced_with_other_pixels_says_how_far_off_they_are(render, rerun, tmp_path, bits):
    assert render("--quiet", "--bits", bits)[0] == 0
    run = functools.partial(rerun, tmp_path / "out.png", tmp_path / "again.png")
    original = result.Result.save

    def save(self, path):
        pixels = np.asarray(self.image if bits == 8 else self.deep).copy()
        pixels[:12, :, 0] ^= 1  # a quarter of 48 rows
        changed = {"deep": pixels} if bits == 16 else {"images": (Image.fromarray(pixels),)}
        original(dataclasses.replace(self, **changed), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result.Result, "save", save)
        status, out, err = run()
    assert (status, err) == (0, "")
    most = 2**bits - 1
    assert (
        f"different from {tmp_path}/out.png: by 1 of {most} at most, 0.083 on average, in 25.00% of the pixels" in out
    )


@pytest.mark.slow
def test_a_picture_that_was_scaled_is_not_compared(render, rerun, tmp_path):
    assert render("--quiet")[0] == 0
    with Image.open(tmp_path / "out.png") as picture:
        record, small = picture.text["gluon-nst"], picture.resize((32, 24))
    write_image(small, tmp_path / "small.png", record)
    status, out, _ = rerun(tmp_path / "small.png", tmp_path / "again.png")
    assert status == 0
    assert f"reproduced, not compared with {tmp_path}/small.png, which has been changed since, " in out


# -- shown ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_record_of_a_picture_is_shown_as_a_table(render, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert render("--quiet")[0] == 0
    rows = dict(re.split("  +", line, maxsplit=1) for line in shown(capfd, tmp_path / "out.png"))
    record = made(tmp_path / "out.png")
    assert rows["picture"] == f"{tmp_path}/out.png: 48 x 64 (height x width)"
    assert rows["recipe"].startswith(
        "d2l-2019: Dive into Deep Learning, 2019 edition: Neural Style Transfer, https://d2l.ai/"
    )
    assert (rows["sizes"], rows["epochs"]) == ("32 x 48, 48 x 64", "3, 2")
    assert rows["content loss"] == "weight 1, features of conv1_1 1"
    assert rows["style loss"] == "weight 1000, gram of conv1_1 1"
    assert rows["content"] == f"SHA-256 {record['content_sha256'][:12]}…"
    assert rows["weights"].endswith(f", SHA-256 {record['weights']['sha256'][:12]}…")
    assert rows["versions"].startswith(f"gluon-nst {nst.__version__}, mxnet 1.9.1, numpy ")
    assert rows["again"] == f"gluon-nst rerun {tmp_path}/out.png --output {tmp_path}/out-again.png"
    assert "status" not in rows


def shown(capfd, picture):
    """The lines of the table of a picture's record."""
    status, out, err = ended(capfd, "show", picture)
    assert (status, err) == (0, "")
    return out.splitlines()


@pytest.mark.slow
def test_the_table_fits_the_terminal_and_names_unfinished_and_scaled_pictures(render, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    with failing(4):
        assert render("--quiet")[0] == 130
    assert max(map(len, shown(capfd, tmp_path / "out.png")[1:-1])) <= 70
    assert any(
        re.fullmatch("status +interrupted after 1 of 2 epochs of stage 2", line)
        for line in shown(capfd, tmp_path / "out.png")
    )
    with Image.open(tmp_path / "out.png") as picture:
        write_image(picture.resize((32, 24)), tmp_path / "thumbnail.png", picture.text["gluon-nst"])
    assert any(
        re.fullmatch("sizes +32 x 48, 48 x 64; the picture is that of 48 x 64", line)
        for line in shown(capfd, tmp_path / "thumbnail.png")
    )


@pytest.mark.slow
@pytest.mark.parametrize("record", [{}, {"recipe": {}}, {"recipe": {"stages": [1]}, "stage": 1}])
def test_an_incomplete_record_is_one_line(content, tmp_path, capfd, record):
    write_image(Image.open(content), tmp_path / "odd.png", json.dumps(record))
    status, _, err = ended(capfd, "show", tmp_path / "odd.png")
    assert status == 2
    assert_one_line(err)
    assert ended(capfd, "show", "--json", tmp_path / "odd.png")[:2] == (0, f"{json.dumps(record, indent=2)}\n")


def test_a_sheet_is_shown_with_its_number_of_pictures(content, tmp_path, capfd):
    write_image(Image.open(content), tmp_path / "sheet.png", json.dumps({"pictures": 5}))
    assert shown(capfd, tmp_path / "sheet.png")[1:] == ["sheet    of 5 pictures; each says itself how it was made"]


@pytest.mark.slow
def test_a_different_machine_is_reported(render, rerun, tmp_path):
    render("--quiet")
    record = made(tmp_path / "out.png")
    record.update(processor="Abacus", versions={**record["versions"], "mxnet": "1.8.0"})
    write_image(Image.open(tmp_path / "out.png"), tmp_path / "old.png", json.dumps(record))
    status, _, err = rerun(tmp_path / "old.png", tmp_path / "again.png")
    assert status == 0
    assert err.count("\n") == 1
    assert "made on another machine (mxnet 1.8.0 there, 1.9.1 here; processor Abacus there, " in err


@pytest.mark.slow
def test_a_picture_of_another_program_has_no_record(tmp_path, capfd):
    (tmp_path / "text.png").write_text("no picture")
    for name, message in (("text.png", "not a picture"), ("nowhere.png", "no such file")):
        status, out, err = ended(capfd, "show", tmp_path / name)
        assert (status, out) == (2, "")
        assert message in err
        assert_one_line(err)
    tifffile.imwrite(tmp_path / "other.tif", paint(40, 60))  # which has a description in JSON, too
    assert ended(capfd, "show", tmp_path / "other.tif")[0] == 2


@pytest.mark.slow
def test_a_manipulated_record_is_refused_in_one_line(render, rerun, tmp_path):
    render("--quiet")
    record = made(tmp_path / "out.png")
    for changed in (
        *({"stage": stage} for stage in ("x", None, 99, 0, 1.5)),
        *({"epochs": epochs} for epochs in ("x", 9999, 0)),
        *({"interrupted": reached} for reached in (7, {"stage": 1}, {"stage": 9, "epochs": 1})),
        *({"versions": versions} for versions in (3, {"mxnet": 1})),
        *({"file": file} for file in ({"bits": "x"}, {"device": "gpu"}, {"weights": "x"}, 5)),
        *({"styles": styles} for styles in (5, [5], [{"sha256": record["style_sha256"]}])),
        {"seed": "x"}, {"memory": "much"}, {"weights": 5}, {"content_sha256": 5}, {"regions_sha256": 5},
    ):  # fmt: skip
        write_image(Image.open(tmp_path / "out.png"), tmp_path / "odd.png", json.dumps({**record, **changed}))
        status, _, err = rerun(tmp_path / "odd.png", tmp_path / "again.png")
        assert "odd.png" in err, changed
        assert status == 2, changed
        assert_one_line(err)
    assert not (tmp_path / "again.png").exists()


@pytest.mark.slow
def test_a_reproduction_does_not_overwrite_an_input(render, rerun, content, tmp_path):
    render("--quiet")
    before = content.read_bytes()
    status, _, err = rerun(tmp_path / "out.png", content)
    assert status == 2
    assert "is one of the run's inputs" in err
    assert content.read_bytes() == before
    status, _, err = rerun(tmp_path / "out.png", tmp_path / "again.png", "--inputs", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere: no such folder" in err


@pytest.mark.slow
def test_a_sheet_is_not_reproduced(experiment, rerun, tmp_path):
    experiment("sweep", "--vary", "lr=0.1")
    status, _, err = rerun(tmp_path / "out" / "sheet.png", tmp_path / "again.png")
    assert status == 2
    assert "a sheet of several; name the picture of one of them" in err
    assert rerun(tmp_path / "out" / "lr=0.1.png", tmp_path / "again.png", "--inputs", tmp_path)[0] == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out" / "lr=0.1.png").read_bytes()


@pytest.mark.slow
def test_cells_with_a_different_encoding_are_computed_again(experiment, started, tmp_path):
    experiment("sweep", "--vary", "lr=0.1")
    assert experiment("sweep", "--vary", "lr=0.1", "--bits", "16")[0] == 0
    assert len(started) == 2
    assert pyvips.Image.new_from_file(str(tmp_path / "out" / "lr=0.1.png")).format == "ushort"


@pytest.mark.slow
@pytest.mark.parametrize("place", [40, 130, 300])
def test_a_profile_without_a_conversion_is_not_kept(render, content, tmp_path, place):
    profile = bytearray(P3)
    profile[place : place + 80] = bytes(80)
    Image.open(content).save(content, icc_profile=bytes(profile))
    status, _, err = render("--quiet", "--keep-profile")
    assert status == 0
    assert (tmp_path / "out.png").exists()
    assert decoding.open_picture(content).profile in (None, bytes(profile))
    assert err.count("\n") <= 1
