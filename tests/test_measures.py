"""The measures of scripts/dev/measure_pictures.py on pictures of known values, the flat sky, and the contact sheet."""

import json

import contact_sheet
import measure_pictures
import numpy as np
import pytest
from flat_sky import paint_flat_sky, sky_rows
from measure_pictures import (
    band_shares,
    border_difference,
    chroma_noise,
    coherence,
    departures,
    drawing,
    flat_share,
    grid,
    palette_distance,
    specks,
    spectrum,
    weave,
)
from PIL import Image
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH = 120, 150
ROWS = sky_rows(HEIGHT)


def noise(seed, height=HEIGHT, width=WIDTH):
    """Return grey noise: uint8, height x width x 3."""
    grey = np.random.default_rng(seed).integers(80, 176, (height, width, 1), dtype=np.uint8)
    return np.repeat(grey, 3, axis=2)


@pytest.fixture
def style():
    return noise(1, 90, 110)


@pytest.fixture
def smooth():
    """Return a sky that gets brighter towards the ground."""
    shade = np.linspace(80, 176, HEIGHT).astype(np.uint8)
    return np.broadcast_to(shade[:, None, None], (HEIGHT, WIDTH, 3)).copy()


@pytest.fixture(scope="module", params=[(384, 510), (337, 523)], ids="{0[0]}x{0[1]}".format)
def flat_sky(request):
    return np.uint8(np.clip(paint_flat_sky(np.random.default_rng(2), *request.param) * 255 + 0.5, 0, 255))


def test_a_smooth_sky_is_flat_over_any_ground(smooth, style):
    smooth[ROWS:] = noise(2)[ROWS:]
    assert flat_share(smooth, style, ROWS) == 1


def test_a_sky_with_the_styles_texture_is_not_flat(style):
    assert flat_share(noise(2), style, ROWS) == 0


def test_the_flat_share_counts_patches(smooth, style):
    smooth[:16, :32] = noise(2)[:16, :32]
    patches = (ROWS // 16) * (WIDTH // 16)
    assert flat_share(smooth, style, ROWS) == pytest.approx(1 - 2 / patches)


def test_a_quarter_of_the_styles_deviation_is_the_limit(style):
    def with_deviation_of(share):
        return np.uint8(np.rint(128 + share * (noise(2).astype(float) - 128)))

    assert flat_share(with_deviation_of(0.15), style, ROWS) == 1
    assert flat_share(with_deviation_of(0.40), style, ROWS) == 0


def test_a_dark_frame_is_a_border_and_a_uniform_picture_has_none():
    framed = noise(3)
    assert border_difference(framed) < 0.1
    framed[:8] //= 4
    assert border_difference(framed) > 0.7


@pytest.mark.parametrize(
    "side", [np.s_[:8], np.s_[-8:], np.s_[:, :8], np.s_[:, -8:]], ids=["top", "bottom", "left", "right"]
)
def test_a_border_of_the_same_brightness_but_without_texture_is_found_on_every_side(side):
    picture = noise(3)
    picture[side] = 128
    assert border_difference(picture) > 0.8


def test_the_border_of_a_uniform_picture_does_not_differ():
    assert border_difference(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)) == pytest.approx(0)
    assert border_difference(np.zeros((HEIGHT, WIDTH, 3), np.uint8)) == 0


def test_a_smooth_gradient_has_no_border(smooth):
    assert border_difference(np.uint8(smooth // 2 + np.linspace(0, 100, WIDTH)[:, None])) < 0.15


def test_one_hot_pixel_is_a_speck(smooth, style):
    assert specks(smooth, style, ROWS)[0] == 0
    smooth[30, 40] = 255
    count, ratio = specks(smooth, style, ROWS)
    assert count == 1
    assert ratio > 1


def test_a_speck_on_the_ground_is_not_counted(smooth, style):
    smooth[ROWS + 1, 40] = 0
    assert specks(smooth, style, ROWS)[0] == 0


def test_specks_of_the_style_are_not_counted(style):
    count, ratio = specks(style, style, len(style))
    assert count <= 1 + style[..., 0].size // 10_000
    assert ratio < 1.5


def test_the_median_is_over_five_by_five_pixels_mirrored_at_the_sides():
    plane = np.random.default_rng(4).random((9, 8))
    padded = np.pad(plane, 2, mode="reflect")
    medians = [[np.median(padded[y : y + 5, x : x + 5]) for x in range(8)] for y in range(9)]
    np.testing.assert_allclose(departures(plane), abs(plane - medians))


def test_the_flat_sky_has_no_texture_and_its_ground_has(flat_sky, style):
    rows = sky_rows(len(flat_sky))
    assert flat_share(flat_sky, style, rows) == 1
    assert specks(flat_sky, style, rows)[0] == 0
    assert (flat_sky[:rows] == flat_sky[:rows, :1]).all()
    assert flat_share(flat_sky[rows + 60 :], style, len(flat_sky)) < 0.3


def grating(fy, fx, side=192):
    """Return a plane of parallel lines at a frequency in cycles per pixel, 0 to 1, with some noise."""
    y, x = np.mgrid[:side, :side]
    return 0.5 + 0.3 * np.cos(2 * np.pi * (fy * y + fx * x)) + 0.01 * white_noise(5, side)


def white_noise(seed, side=192):
    return np.random.default_rng(seed).standard_normal((side, side))


def coloured(red, green, blue):
    return np.full((HEIGHT, WIDTH, 3), (red, green, blue), np.uint8)


def test_parallel_lines_are_coherent_and_noise_is_not():
    assert coherence(grating(0.02, 0.05)) > 0.95
    assert coherence(white_noise(1)) < 0.3
    assert coherence(np.full((HEIGHT, WIDTH), 0.5)) == 0


def test_fine_lines_along_the_axes_raise_the_weave_and_diagonal_ones_lower_it():
    assert weave(*spectrum(grating(0, 0.35))) > 20
    assert weave(*spectrum(grating(0.25, 0.25))) < 0.05
    assert weave(*spectrum(white_noise(1))) == pytest.approx(1, abs=0.15)
    assert weave(*spectrum(np.zeros((HEIGHT, WIDTH)))) == 1


def test_the_power_of_a_spectrum_is_the_variance():
    assert spectrum(3 * white_noise(1))[0].sum() == pytest.approx(9, rel=0.05)


@pytest.mark.parametrize(("frequency", "band"), [(0.05, "low"), (0.14, "mid"), (0.4, "high")])
def test_a_grating_is_in_the_band_of_its_frequency(frequency, band):
    power, _, _, f = spectrum(grating(0.6 * frequency, 0.8 * frequency))
    shares = band_shares(power, f)
    assert shares.pop(band) > 0.95
    assert max(shares.values()) < 0.05


def test_white_noise_has_the_share_of_each_bands_area():
    power, _, _, f = spectrum(white_noise(1))
    assert band_shares(power, f)["high"] == pytest.approx(1 - np.pi / 16, abs=0.02)


@pytest.mark.parametrize("period", [16, 8])
@pytest.mark.parametrize("size", [(192, 192), (211, 187)], ids=str)
def test_seams_at_the_networks_period_are_a_grid(period, size):
    plane = np.random.default_rng(2).standard_normal(size)
    assert grid(spectrum(plane)[0]) == pytest.approx(1, abs=0.25)
    plane[:, 5::period] += 1.2
    assert grid(spectrum(plane)[0]) > 3
    assert grid(spectrum(plane.T)[0]) > 3


def test_seams_at_other_periods_or_diagonal_ones_are_not_a_grid():
    plane = white_noise(2)
    plane[:, 5::11] += 1.2
    assert grid(spectrum(plane)[0]) < 1.5
    assert grid(spectrum(grating(0.0625, 0.0625))[0]) < 1.5


def test_the_palette_is_the_distance_of_colours_in_any_order():
    picture = noise(1)
    picture[:, :70, 0] //= 2
    assert palette_distance(picture, picture) == 0
    assert palette_distance(picture, picture[::-1, ::-1]) == pytest.approx(0, abs=1e-4)


def test_the_palette_distance_of_two_colours_is_their_distance():
    (a, b), (c, d) = (measure_pictures.chroma(coloured(*rgb))[0, 0] for rgb in ((200, 60, 40), (40, 90, 210)))
    distance = palette_distance(coloured(200, 60, 40), coloured(40, 90, 210))
    assert distance == pytest.approx(np.hypot(a - c, b - d), rel=0.01)


def test_chroma_noise_is_that_of_the_finest_structures_of_the_colours(monkeypatch):
    assert chroma_noise(noise(1)) == pytest.approx(0, abs=1e-3)
    ab = 4 * np.random.default_rng(3).standard_normal((192, 192, 2))
    monkeypatch.setattr(measure_pictures, "chroma", lambda picture: picture)
    assert chroma_noise(ab) == pytest.approx(4 * np.sqrt(2 * (1 - np.pi / 16)), rel=0.03)
    assert chroma_noise(gaussian_filter(ab, (2, 2, 0))) < 0.1


@pytest.mark.slow
def test_the_drawing_is_1_for_the_same_picture_and_chance_for_another(flat_sky):
    for sigma, tolerance in ((1.5, 2), (4, 4)):
        assert drawing(flat_sky, flat_sky, sigma, tolerance) == 1
        assert drawing(flat_sky // 2 + 60, flat_sky, sigma, tolerance) > 0.95
        assert drawing(flat_sky[::-1], flat_sky, sigma, tolerance) < 0.4


def test_a_drawing_may_be_shifted_by_its_tolerance():
    def square(shift):
        picture = coloured(30, 30, 30)
        picture[30:90, 30 + shift : 100 + shift] = 220
        return picture

    assert drawing(square(2), square(0), 1.5, 2) == 1
    assert drawing(square(6), square(0), 1.5, 2) < 0.8
    assert drawing(coloured(9, 9, 9), square(0), 1.5, 2) == 0
    assert drawing(coloured(9, 9, 9), coloured(9, 9, 9), 1.5, 2) == 1


def test_flat_share_and_specks_are_of_the_whole_picture_by_default(smooth, style):
    smooth[ROWS + 8, 40] = 0
    assert specks(smooth, style)[0] == 1
    assert flat_share(smooth, style) == pytest.approx(1, abs=0.05)


@pytest.fixture
def files(tmp_path, smooth):
    large = smooth.repeat(2, axis=0).repeat(2, axis=1)
    for name, pixels in {"result": large, "style": noise(1, 140, 180), "content": large}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in ("result", "style", "content")}


@pytest.mark.slow
def test_the_command_measures_results_against_the_painting_and_the_content(files, capsys):
    words = [files["result"], "--style", files["style"], "--content", files["content"]]
    measure_pictures.main([*words, "--json"])
    table = json.loads(capsys.readouterr().out)[files["result"]]
    assert table["coherence"]["result"] == table["coherence"]["content"]
    assert table["drawing fine"]["result"] == 1
    assert table["palette"]["painting"] == 0
    measure_pictures.main([*words, "--sky", "72"])
    out = capsys.readouterr().out
    assert out.startswith(files["result"])
    assert "painting   content" in out
    assert len(out.splitlines()) == 16


@pytest.mark.slow
def test_the_command_works_without_a_content_and_refuses_another_results(files, capsys, tmp_path):
    measure_pictures.main([files["result"], "--style", files["style"]])
    assert "drawing" not in capsys.readouterr().out
    Image.fromarray(noise(1, 200, 200)).save(tmp_path / "square.png")
    for words in (["--content", str(tmp_path / "square.png")], ["--sky", "9999"], ["--content", "missing.png"]):
        with pytest.raises(SystemExit):
            measure_pictures.main([files["result"], "--style", files["style"], *words])
        assert words[1] in capsys.readouterr().err


def test_a_contact_sheet_has_every_pixel_of_its_pictures(files, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    contact_sheet.main([str(out), files["result"], f"{files['style']}=the painting", "--columns", "1"])
    page, style = (np.asarray(Image.open(path)) for path in (out, files["style"]))
    height, width = np.asarray(Image.open(files["result"])).shape[:2]
    top = contact_sheet.GAP * 2 + height + 2 * contact_sheet.TEXT
    assert (page[top : top + 140, contact_sheet.GAP : contact_sheet.GAP + 180] == style).all()
    label = page[top + 140 : top + 140 + 2 * contact_sheet.TEXT]
    assert label.min() < 50
    assert page.shape[1] == width + 2 * contact_sheet.GAP
    with pytest.raises(SystemExit):
        contact_sheet.main([str(tmp_path / "sheet.gif"), files["result"]])
    assert "sheet.gif" in capsys.readouterr().err
