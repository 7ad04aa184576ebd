"""What scripts/measure_pictures.py measures, on pictures whose measures are known, and the picture it measures on."""

import numpy as np
import pytest
from flat_sky import paint_flat_sky, sky_rows
from measure_pictures import border_difference, departures, flat_share, specks

HEIGHT, WIDTH = 120, 150
ROWS = sky_rows(HEIGHT)


def noise(seed, height=HEIGHT, width=WIDTH):
    """Grey noise all over: uint8, height x width x 3."""
    grey = np.random.default_rng(seed).integers(80, 176, (height, width, 1), dtype=np.uint8)
    return np.repeat(grey, 3, axis=2)


@pytest.fixture
def style():
    return noise(1, 90, 110)


@pytest.fixture
def smooth():
    """A sky that only gets brighter towards the ground."""
    shade = np.linspace(80, 176, HEIGHT).astype(np.uint8)
    return np.broadcast_to(shade[:, None, None], (HEIGHT, WIDTH, 3)).copy()


@pytest.fixture(scope="module", params=[(384, 510), (337, 523)], ids="{0[0]}x{0[1]}".format)
def flat_sky(request):
    return np.uint8(np.clip(paint_flat_sky(np.random.default_rng(2), *request.param) * 255 + 0.5, 0, 255))


def test_a_smooth_sky_is_flat_over_whatever_ground(smooth, style):
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


def test_a_dark_frame_is_a_border_and_an_even_picture_has_none():
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


def test_the_border_of_one_colour_all_over_differs_by_nothing():
    assert border_difference(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)) == pytest.approx(0)
    assert border_difference(np.zeros((HEIGHT, WIDTH, 3), np.uint8)) == 0


def test_a_smooth_gradient_has_no_border(smooth):
    assert border_difference(np.uint8(smooth // 2 + np.linspace(0, 100, WIDTH)[:, None])) < 0.15


def test_one_hot_pixel_is_a_speck(smooth, style):
    assert specks(smooth, style, ROWS)[0] == 0
    smooth[30, 40] = 255
    count, ratio = specks(smooth, style, ROWS)
    assert count == 1 and ratio > 1


def test_a_speck_on_the_ground_is_not_counted(smooth, style):
    smooth[ROWS + 1, 40] = 0
    assert specks(smooth, style, ROWS)[0] == 0


def test_what_the_style_itself_does_is_no_speck(style):
    count, ratio = specks(style, style, len(style))
    assert count <= 1 + style[..., 0].size // 10_000 and ratio < 1.5


def test_the_median_is_over_five_by_five_pixels_mirrored_at_the_sides():
    plane = np.random.default_rng(4).random((9, 8))
    padded = np.pad(plane, 2, mode="reflect")
    medians = [[np.median(padded[y : y + 5, x : x + 5]) for x in range(8)] for y in range(9)]
    np.testing.assert_allclose(departures(plane), abs(plane - medians))


def test_the_flat_sky_has_no_texture_and_its_ground_has(flat_sky, style):
    rows = sky_rows(len(flat_sky))
    assert flat_share(flat_sky, style, rows) == 1 and specks(flat_sky, style, rows)[0] == 0
    assert (flat_sky[:rows] == flat_sky[:rows, :1]).all()
    assert flat_share(flat_sky[rows + 60 :], style, len(flat_sky)) < 0.3
