import io
import os
import struct
import zlib

import gluon_nst as nst
from gluon_nst.machine import files
from gluon_nst.pictures import decoding, encoding
from gluon_nst.pictures.pixels import shown_range, standardisation, to_picture

import mxnet as mx
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from painting import BAD_PICTURES, paint


def read(path):
    return nst.read_image(path).asnumpy().astype(int)


def save(tmp_path, picture, name="picture.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


# -- readable pictures ------------------------------------------------------------------------------------------------


def test_a_picture_is_height_by_width_by_rgb_in_8_bits(tmp_path):
    pixels = paint(20, 30)
    picture = nst.read_image(save(tmp_path, Image.fromarray(pixels)))
    assert picture.dtype == np.uint8
    assert np.array_equal(picture.asnumpy(), pixels)


@pytest.fixture(scope="module")
def heif():
    pytest.importorskip("pillow_heif")
    decoding.register_heif()


TURNS = {1: 0, 2: None, 3: 2, 4: None, 5: None, 6: -1, 7: None, 8: 1}
"""Rotations by 90° that show the picture upright, by EXIF orientation; None if it is mirrored as well."""


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_exif_orientation_is_applied_to_the_picture_and_to_its_size(tmp_path, ending):
    if ending not in Image.registered_extensions():
        pytest.skip("no encoder for this format is installed")
    pixels = np.zeros((32, 48, 3), np.uint8)  # a bright corner, in blocks large enough for compression
    pixels[:16, :16], pixels[16:, 32:] = 250, (250, 0, 0)
    upright = {}
    for orientation, turns in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path, Image.fromarray(pixels), f"{orientation}{ending}", exif=exif, quality=95)
        found = upright[orientation] = read(path)
        assert decoding.picture_size(path) == found.shape[:2] == ((48, 32) if orientation >= 5 else (32, 48))
        with Image.open(path) as picture:
            assert decoding.picture_size(picture) == found.shape[:2]
            assert np.array_equal(decoding.open_picture(picture).image, found)
        if turns is not None:
            assert np.abs(found - np.rot90(pixels, turns)).mean() < 8
    mirrored = {
        2: np.fliplr(pixels),
        4: np.flipud(pixels),
        5: pixels.swapaxes(0, 1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
    }
    for orientation, expected in mirrored.items():
        assert np.abs(upright[orientation] - expected).mean() < 8


@pytest.mark.parametrize("orientation", [3, 6])
def test_picture_size_does_not_change_the_callers_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(paint(20, 30)), exif=exif)
    with Image.open(path) as picture, Image.open(path) as untouched:
        decoding.picture_size(picture)
        assert picture.getexif()[0x0112] == orientation
        assert picture.tobytes() == untouched.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_flattened_on_white(tmp_path, mode):
    alpha = Image.fromarray(np.repeat(np.array([[0, 128, 255]], np.uint8), 20, axis=0).repeat(10, axis=1))
    if mode == "LA":
        picture = Image.merge("LA", (Image.new("L", alpha.size, 100), alpha))
    else:
        picture = Image.merge("RGBA", (*Image.new("RGB", alpha.size, (100, 100, 100)).split(), alpha))
    if mode == "PA":  # a palette picture with a transparent colour
        picture = Image.new("P", (30, 20), 1)
        picture.putpalette([0, 0, 0, 100, 100, 100])
        picture.paste(0, (0, 0, 10, 20))
        path = save(tmp_path, picture, transparency=0)
        assert read(path)[0, [0, 20]].tolist() == [[255] * 3, [100] * 3]
        return
    pixels = read(save(tmp_path, picture))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 20].tolist() == [100] * 3
    assert abs(pixels[0, 10] - 177).max() <= 1


def test_the_users_file_is_not_changed(tmp_path):
    path = save(tmp_path, Image.new("RGBA", (20, 20), (10, 20, 30, 40)))
    before = path.read_bytes()
    nst.read_image(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_greyscale_and_palette_become_rgb(tmp_path, mode):
    picture = Image.fromarray(paint(20, 30)).convert(mode)
    assert np.array_equal(read(save(tmp_path, picture)), np.asarray(picture.convert("RGB")))


def test_a_transparent_colour_of_a_greyscale_picture_becomes_white(tmp_path):
    picture = Image.new("L", (20, 20), 50)
    picture.paste(7, (0, 0, 10, 20))
    pixels = read(save(tmp_path, picture, transparency=7))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 15].tolist() == [50] * 3


def png(depth, kind, row, *chunks):
    """Return the bytes of a PNG with 16 equal rows, of a colour type, with chunks before its pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, depth, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress((b"\0" + row) * 16)), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("depth, kind, row, transparent", [
    (1, 0, b"\x0f" * 2, 1), (2, 0, b"\x05" * 4, 1), (4, 0, b"\x07" * 8, 7), (8, 0, b"\0\7" * 8, 7),
    (16, 0, b"\0\0\1\7" * 8, 0x107),
    (16, 2, (b"\0" * 6 + struct.pack(">HHH", 300, 400, 500)) * 8, (300, 400, 500)),
])  # fmt: skip
def test_the_transparent_colour_of_a_png_is_found_at_any_depth(tmp_path, depth, kind, row, transparent):
    values = struct.pack(">HHH", *transparent) if kind == 2 else struct.pack(">H", transparent)
    (tmp_path / "clear.png").write_bytes(png(depth, kind, row, (b"tRNS", values)))
    alpha = np.asarray(decoding.open_picture(tmp_path / "clear.png").alpha)
    assert (alpha == 0).mean() == 0.5
    assert (alpha == 255).mean() == 0.5


@pytest.mark.parametrize("gamma, chunks, expected", [
    (100000, (), 186),  # linear light
    (45455, (), 128),  # that of sRGB, or within 5 % of it
    (44000, (), 128),
    (55556, (), 145),  # old Macintoshes
    (100000, ((b"sRGB", b"\0"),), 128),  # which takes precedence
])  # fmt: skip
def test_the_gamma_of_a_png_without_a_profile_is_applied(tmp_path, gamma, chunks, expected):
    (tmp_path / "gamma.png").write_bytes(png(8, 2, bytes([128] * 48), (b"gAMA", struct.pack(">I", gamma)), *chunks))
    assert read(tmp_path / "gamma.png")[0, 0, 0] == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("kind", [
    "uint8-minisblack", "uint8-miniswhite", "uint8-separate", "uint16-minisblack", "uint16-miniswhite",
    "uint16-separate", "uint32-minisblack", "uint32-rgb", "uint16-rgb", "uint8-assocalpha", "uint16-assocalpha",
    "uint16-unassalpha", "uint16-grey-alpha", "uint8-grey-assocalpha",
])  # fmt: skip
def test_tiffs_of_all_layouts_are_read(tmp_path, kind):
    pytest.importorskip("pyvips")
    dtype, _, layout = kind.partition("-")
    largest = np.iinfo(dtype).max
    shown = np.linspace(0, 1, 20 * 30).reshape(20, 30)
    if "grey" not in layout and "minis" not in layout:
        shown = np.stack([shown, shown[::-1], 1 - shown], axis=-1)
    values, options = shown, {"photometric": "rgb" if shown.ndim == 3 else "minisblack"}
    if "alpha" in layout:
        alpha = np.where(np.arange(30) < 10, 0.5, 1.0)[None, :, None].repeat(20, axis=0)
        colours = shown.reshape((20, 30, -1))
        values = np.concatenate([colours * alpha if "assoc" in layout else colours, alpha], axis=-1)
        options.update(planarconfig="contig", extrasamples=["assocalpha" if "assoc" in layout else "unassalpha"])
    elif layout == "separate":
        values, options["planarconfig"] = np.moveaxis(shown, -1, 0), "separate"
    elif layout == "miniswhite":
        values, options["photometric"] = 1 - shown, "miniswhite"
    tifffile.imwrite(tmp_path / "picture.tif", np.rint(values * largest).astype(dtype), **options)
    found = decoding.open_picture(tmp_path / "picture.tif")
    expected = shown if shown.ndim == 3 else shown[..., None].repeat(3, axis=-1)
    assert np.abs(np.asarray(found.image) - expected * 255).max() <= 3
    if "alpha" in layout:
        assert np.abs(np.asarray(found.alpha) - alpha[..., 0] * 255).max() <= 1
    assert decoding.picture_size(tmp_path / "picture.tif") == (20, 30)


@pytest.mark.parametrize("dtype, samples, description", [
    ("int16", 1, "1 signed 16-bit sample"), ("int32", 3, "3 signed 32-bit samples"),
    ("int8", 3, "3 signed 8-bit samples"), ("float32", 3, "3 floating-point 32-bit samples"),
    ("float64", 1, "1 floating-point 64-bit sample"), ("uint32", 4, "4 unsigned 32-bit samples"),
])  # fmt: skip
def test_a_tiff_with_undefined_values_is_refused_with_the_reason(tmp_path, dtype, samples, description):
    values = np.ones((20, 30, samples)[: 2 + (samples > 1)], dtype)
    tifffile.imwrite(tmp_path / "odd.tif", values, photometric="rgb" if samples > 1 else "minisblack")
    with pytest.raises(nst.InputError, match=f"odd.tif: a TIFF of {description} is not supported; convert it"):
        decoding.open_picture(tmp_path / "odd.tif")


@pytest.mark.parametrize("layout", ["miniswhite", "separate", "uint32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_tiff_is_damaged(tmp_path, layout, compression):
    pytest.importorskip("pyvips")
    values = np.random.default_rng(1).integers(0, 65536, (48, 64, 3))
    deep = values[..., 0].astype(np.uint32) if layout == "uint32" else values[..., 0].astype(np.uint16)
    options = {"photometric": "miniswhite" if layout == "miniswhite" else "minisblack", "compression": compression}
    if layout == "separate":
        deep = np.moveaxis(values, -1, 0).astype(np.uint16)
        options.update(photometric="rgb", planarconfig="separate")
    file = io.BytesIO()
    tifffile.imwrite(file, deep, **options)
    (tmp_path / "whole.tif").write_bytes(file.getvalue())
    decoding.open_picture(tmp_path / "whole.tif")
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "cut.tif").write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])
        with pytest.raises(nst.InputError, match="cut.tif"):
            decoding.open_picture(tmp_path / "cut.tif")


def test_integers_of_32_bits_with_values_of_8_or_16_bits_are_grey_levels(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 40), (20, 1)).astype(np.int32)
    assert abs(read(save(tmp_path, Image.fromarray(ramp), "deep.tif"))[..., 0] - ramp / 257).max() <= 1
    for value in (-1, 65536):
        with pytest.raises(nst.InputError, match="it has values below 0, or above 65535"):
            read(save(tmp_path, Image.fromarray(np.full((20, 20), value, np.int32)), "odd.tif"))


def test_the_error_for_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tifffile.imwrite(tmp_path / "deep.tif", np.ones((20, 30), np.uint32), photometric="minisblack")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100))
    for name, extra in (("deep.tif", "print"), ("photo.heic", "heif")):
        with pytest.raises(nst.InputError, match=rf"{name}: .* install gluon-nst\[{extra}\], or convert it to"):
            decoding.open_picture(tmp_path / name)


def test_a_heic_picture_is_read(tmp_path, heif):
    pixels = np.full((32, 48, 3), (200, 60, 20), np.uint8)
    assert np.abs(read(save(tmp_path, Image.fromarray(pixels), "photo.heic", quality=95)) - pixels).max() <= 6


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk.tif"])
def test_cmyk_becomes_rgb(tmp_path, name):
    path = save(tmp_path, Image.new("RGB", (32, 32), (200, 60, 20)).convert("CMYK"), name)
    assert abs(read(path)[16, 16] - [200, 60, 20]).max() <= 4


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    ramp = np.tile(np.linspace(0, 65535, 40), (20, 1)).astype(np.uint16)
    pixels = read(save(tmp_path, Image.fromarray(ramp), name))
    assert abs(pixels[..., 0] - ramp / 257).max() <= 1


def test_a_transparent_colour_of_a_sixteen_bit_picture_becomes_white(tmp_path):
    values = np.full((20, 20), 25700, np.uint16)
    values[:, :10] = 77
    pixels = read(save(tmp_path, Image.fromarray(values), transparency=77))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 15].tolist() == [100] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    path = save(tmp_path, Image.fromarray(np.full((20, 20), value, np.float32)), "float.tif")
    with pytest.raises(nst.InputError, match="values that are not finite"):
        nst.read_image(path)


def test_floating_point_greyscale_is_scaled(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (20, 1))
    assert abs(read(save(tmp_path, Image.fromarray(ramp), "float.tif"))[..., 1] - ramp * 255).max() <= 1


def linear_rgb_profile():
    """Return a profile with sRGB's primaries and a gamma of 1: the one of lcms with other curves."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    for number in range(count):
        name, offset, size = struct.unpack(">4sII", profile[132 + 12 * number : 144 + 12 * number])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            assert size >= 12
            profile[offset : offset + 12] = b"curv" + bytes(4) + struct.pack(">I", 0)
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_converted_to_srgb(tmp_path, mode):
    path = save(
        tmp_path, Image.new(mode, (20, 20), (55,) * 3 + (255,) * (mode == "RGBA")), icc_profile=linear_rgb_profile()
    )
    assert abs(read(path)[5, 5] - 128).max() <= 2  # 0.2158 in linear light is 0.502 in sRGB


def test_a_damaged_profile_is_ignored(tmp_path):
    pixels = paint(20, 20)
    path = save(tmp_path, Image.fromarray(pixels), icc_profile=b"not a profile at all" * 10)
    assert np.array_equal(read(path), pixels)


@pytest.mark.parametrize("name", ["frames.gif", "frames.tif", "frames.webp"])
def test_the_first_of_several_frames_is_read(tmp_path, name):
    first, second = Image.new("RGB", (20, 20), (255, 0, 0)), Image.new("RGB", (20, 20), (0, 0, 255))
    options = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path, first, name, save_all=True, append_images=[second], **options)
    assert read(path)[10, 10].tolist() == [255, 0, 0]


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_the_error_for_a_bad_picture_is_one_line_with_the_file(tmp_path, kind):
    make, message = BAD_PICTURES[kind]
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(nst.InputError) as refused:
        nst.read_image(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_preprocess_agrees_with_the_book(tmp_path):
    pixels = paint(30, 40)
    X = nst.preprocess(mx.nd.array(pixels, dtype="uint8"), (40, 30)).asnumpy()
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert X.shape == (1, 3, 30, 40)
    assert np.allclose(X[0].transpose(1, 2, 0), expected, rtol=1e-5, atol=1e-6)


def test_preprocess_resizes_like_imresize():
    picture = mx.nd.array(paint(60, 80), dtype="uint8")
    resized = mx.image.imresize(picture, 40, 20)
    X = nst.preprocess(picture, (40, 20))
    assert X.shape == (1, 3, 20, 40)
    assert np.array_equal(X.asnumpy(), nst.preprocess(resized, (40, 20)).asnumpy())


def test_postprocess_undoes_preprocess_and_clips():
    pixels = paint(30, 40)
    X = nst.preprocess(mx.nd.array(pixels, dtype="uint8"), (40, 30))
    assert np.allclose(nst.postprocess(X).asnumpy() * 255, pixels, atol=1e-3)
    assert nst.postprocess(X * 100).asnumpy().min() == 0
    assert nst.postprocess(X * 100).asnumpy().max() == 1
    assert np.array_equal(np.asarray(to_picture(X)), pixels)


def test_preprocess_and_postprocess_work_in_np_mode(np_mode):
    X = nst.preprocess(mx.np.array(paint(30, 40), dtype="uint8"), (40, 30))
    assert isinstance(X, mx.np.ndarray)
    assert isinstance(nst.postprocess(X), mx.np.ndarray)


# -- written files ----------------------------------------------------------------------------------------------------


def test_a_png_has_the_exact_pixels_and_the_provenance(tmp_path):
    picture = Image.fromarray(paint(20, 30))
    encoding.write_image(picture, tmp_path / "out.png", '{"seed": 1}')
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.text == {"gluon-nst": '{"seed": 1}'}
        assert np.array_equal(np.asarray(saved), np.asarray(picture))


def test_a_jpeg_has_the_provenance_as_its_comment(tmp_path):
    encoding.write_image(Image.fromarray(paint(20, 30)), tmp_path / "out.JPG", '{"seed": 1}')
    with Image.open(tmp_path / "out.JPG") as saved:
        assert saved.format == "JPEG"
        assert saved.info["comment"] == b'{"seed": 1}'


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "out.png"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.written_whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.png"]


def test_files_have_the_mode_of_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        encoding.write_image(Image.fromarray(paint(20, 30)), tmp_path / "out.png")
    finally:
        os.umask(umask)
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name, message",
    [
        ("out.gif", "must end with .png or .jpg or .jpeg or .tif or .tiff or .webp"),
        ("out", "must end with .png"),
        ("folder.png", "a folder; name a file in it"),
        ("nowhere/out.png", "there is no folder"),
        ("file/out.png", "there is no folder"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(nst.InputError, match=message):
        encoding.check_picture_writable(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.parametrize("resize, filter", [("antialiased", Image.BILINEAR), ("lanczos", Image.LANCZOS)])
def test_a_picture_can_be_resized_by_pillow(resize, filter):
    picture = paint(60, 90, seed=1)
    expected = np.asarray(Image.fromarray(picture).resize((30, 20), filter), float)
    for img, rounding in ((mx.nd.array(picture, dtype="uint8"), 0.001), (mx.nd.array(picture.astype(np.float32)), 1.5)):
        shown = nst.postprocess(nst.preprocess(img, (30, 20), resize)).asnumpy() * 255
        assert np.abs(shown - expected).max() <= rounding  # Pillow rounds twice in 8 bits, and not in floating point
    nearest = nst.postprocess(nst.preprocess(img, (30, 20))).asnumpy() * 255
    assert np.abs(nearest - expected).max() > 5  # MXNet's ignores most pixels
    with pytest.raises(nst.InputError, match="resize nearest: not one of bilinear, antialiased, bicubic, lanczos"):
        nst.preprocess(img, (30, 20), "nearest")


def test_pixels_in_every_unit_give_the_same_network_input():
    bytes_ = np.arange(256, dtype=np.float32)[None, None, :, None].repeat(3, axis=1)
    standardised = nst.preprocess(mx.nd.array(bytes_[0].transpose(1, 2, 0)), (1, 256)).asnumpy()
    for pixels, values, limits in (("bytes", bytes_, (0, 255)), ("unit", bytes_ / 255, (0, 1))):
        scale, shift = standardisation(pixels)
        assert np.allclose(values * scale + shift, standardised, atol=1e-6)
        low, high = shown_range(pixels)
        assert np.allclose(low, limits[0], atol=1e-4)
        assert np.allclose(high, limits[1], rtol=1e-6)
    low, high = shown_range("standardised")
    assert np.allclose(low, standardised.min(axis=2, keepdims=True))
    assert np.allclose(high, standardised.max(axis=2, keepdims=True))


def test_read_made_returns_none_for_a_picture_without_a_record(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "plain.png")
    (tmp_path / "no.png").write_bytes(b"no picture")
    encoding.write_image(Image.new("RGB", (20, 20)), tmp_path / "ours.png", '{"seed": 3}')
    whole = (tmp_path / "ours.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) - 30])
    found = [decoding.read_made(tmp_path / f"{name}.png") for name in ("ours", "plain", "no", "half", "nowhere")]
    assert found[0] is not None
    assert found[0][1] == {"seed": 3}
    assert found[0][0].size == (20, 20)
    assert found[1:] == [None] * 4
