"""Colours: L*a*b* against scikit-image, luminance transfer, matching and transport of colour statistics."""

import gluon_nst as nst
from gluon_nst.pictures import colours

import numpy as np
import pytest
from PIL import Image
from skimage import color

from painting import paint

STEP = 0.3
"""Maximum change of L* by rounding to 8 bits: 0.25 in a hundred thousand random colours."""

CHROMA_STEP = 1.0
"""The same for the distance in a* and b*: 0.77."""


def with_luminance_of(light, chroma):
    """Call `colours.with_luminance_of` with PIL images."""
    return Image.fromarray(colours.with_luminance_of(np.asarray(light), np.asarray(chroma)))


def picture(pixels):
    return Image.fromarray(np.asarray(pixels).astype(np.uint8))


def lab(picture):
    """Convert by scikit-image, whose coefficients have six digits: up to 0.005 from ours."""
    return color.rgb2lab(np.asarray(picture) / 255)


def random_colours(seed, height=100, width=120):
    return picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3)))


def saturated(seed, height=100, width=120):
    """Return pixels at the eight corners of the RGB cube."""
    return picture(np.random.default_rng(seed).integers(0, 2, (height, width, 3)) * 255)


def strokes(seed, height=100, width=120):
    """Return pixels like those of a stylised picture: smooth colours, high contrast, and edges everywhere."""
    blobs = paint(height, width, seed).astype(float)
    return picture(np.clip((blobs - 128) * 2 + 128, 0, 255) // 40 * 40)


PICTURES = {"random": random_colours, "saturated": saturated, "strokes": strokes}


# -- CIE L*a*b* -------------------------------------------------------------------------------------------------------

RGB = {
    "random": np.random.default_rng(1).random((50, 60, 3)),
    "greys": np.repeat(np.linspace(0, 1, 256), 3).reshape((16, 16, 3)),
    "primaries": np.array([[[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)]]),
}


@pytest.mark.parametrize("kind", RGB)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lab_agrees_with_scikit_image(kind, dtype):
    rgb = RGB[kind].astype(dtype)
    found = colours.to_lab(rgb)
    assert found.dtype == dtype
    assert found.shape == rgb.shape
    assert np.abs(found - color.rgb2lab(RGB[kind])).max() < 0.006  # of 100: its coefficients have six digits
    assert np.abs(colours.from_lab(found) - color.lab2rgb(found)).max() < 1e-4


@pytest.mark.parametrize("dtype, bound", [("float32", 5e-5), ("float64", 1e-12)])
def test_from_lab_inverts_to_lab_also_outside_srgb(dtype, bound):
    rgb = np.random.default_rng(2).uniform(-0.3, 1.4, (50, 60, 3)).astype(dtype)
    assert np.abs(colours.from_lab(colours.to_lab(rgb)) - rgb).max() < bound
    assert colours.from_lab(np.array([[[50, 100, -100.0]]])).min() < -0.1  # not clipped


def test_a_grey_has_no_chroma_and_white_is_100():
    found = colours.to_lab(RGB["greys"])
    assert np.abs(found[..., 1:]).max() < 1e-10
    assert found[..., 0].max() == pytest.approx(100)


# -- luminance transfer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("light", PICTURES)
@pytest.mark.parametrize("chroma", PICTURES)
def test_the_lightness_is_kept_whatever_the_colours(light, chroma):
    content, stylised = PICTURES[chroma](3), PICTURES[light](4)
    made = with_luminance_of(stylised, content)
    assert made.mode == "RGB"
    assert made.size == stylised.size
    assert np.abs(lab(made) - lab(stylised))[..., 0].max() < STEP


@pytest.mark.parametrize("chroma", PICTURES)
def test_the_chroma_inside_srgb_and_the_hue_are_those_of_the_colours(chroma):
    content, stylised = PICTURES[chroma](5), random_colours(6)
    made, wanted = lab(with_luminance_of(stylised, content)), lab(content)
    exact = colours.from_lab(np.concatenate([lab(stylised)[..., :1], wanted[..., 1:]], axis=2))
    can_be_shown = ((exact >= 0) & (exact <= 1)).all(axis=2)
    assert 0.1 < can_be_shown.mean() < 0.9
    distances = np.linalg.norm((made - wanted)[..., 1:], axis=2)
    assert distances[can_be_shown].max() < CHROMA_STEP
    # The same hue is the same direction from grey.
    sizes = np.linalg.norm(wanted[..., 1:], axis=2)
    along, across = wanted[..., 1:] / np.maximum(sizes, 1e-9)[..., None], wanted[..., [2, 1]] * [-1, 1]
    across = across / np.maximum(sizes, 1e-9)[..., None]
    assert np.abs((made[..., 1:] * across).sum(axis=2)).max() < CHROMA_STEP
    lengths = (made[..., 1:] * along).sum(axis=2)
    assert lengths.min() > -CHROMA_STEP
    assert (lengths - sizes).max() < CHROMA_STEP


def test_the_chroma_is_the_largest_inside_srgb():
    content, stylised = saturated(7), random_colours(8)
    made = lab(with_luminance_of(stylised, content))
    lost = np.linalg.norm((made - lab(content))[..., 1:], axis=2) > 5
    more = made[lost] + 0.05 * (made[lost] * [0, 1, 1]) + 2 * np.sign(made[lost]) * [0, 1, 1]
    rgb = colours.from_lab(more)
    assert lost.mean() > 0.3
    assert ((rgb < 0) | (rgb > 1)).any(axis=1).mean() > 0.99


def test_a_picture_with_its_own_lightness_is_unchanged():
    for kind in PICTURES.values():
        made = with_luminance_of(kind(9), kind(9))
        assert np.abs(np.asarray(made, int) - np.asarray(kind(9), int)).max() == 0


def test_grey_colours_give_a_grey_picture_and_white_and_black_stay():
    grey = Image.new("RGB", (120, 100), (90, 90, 90))
    made = np.asarray(with_luminance_of(random_colours(10), grey), int)
    assert np.ptp(made, axis=2).max() == 0
    for value in (0, 255):
        flat = Image.new("RGB", (120, 100), (value,) * 3)
        assert np.abs(np.asarray(with_luminance_of(flat, saturated(11)), int) - value).max() == 0


@pytest.mark.slow
def test_a_picture_of_several_bands_is_the_same():
    height, width = 3, colours.BAND  # a band for each row
    light, chroma = strokes(12, height, width), random_colours(13, height, width)
    made = np.asarray(with_luminance_of(light, chroma))
    row = [each.crop((0, 1, width, 2)) for each in (light, chroma)]
    assert np.array_equal(made[1:2], np.asarray(with_luminance_of(*row)))


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(nst.InputError, match="pictures of 100 x 120 and 120 x 100 pixels: .*; resize one of them"):
        with_luminance_of(strokes(14), strokes(14, 120, 100))


# -- a style in the content's colours ---------------------------------------------------------------------------------


def moments(picture):
    pixels = np.asarray(picture, float).reshape((-1, 3)) / 255
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


def mid_range(seed, height=100, width=120):
    """Return colours around a mid grey, with deviations of 8 to 25 levels in three random directions."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(3, 3)))[0]
    apart = random.uniform(-1.7, 1.7, (height, width, 3)) * random.uniform(8, 25, 3)
    return picture(np.rint(128 + 20 * random.uniform(-1, 1, 3) + apart @ directions.T))


@pytest.mark.parametrize("seed", range(4))
def test_the_matched_style_has_the_contents_mean_and_covariance(seed):
    style, content = mid_range(seed), mid_range(seed + 100, 80, 90)
    made = colours.matched(style, content)
    assert made.size == style.size
    assert made.mode == "RGB"
    assert np.asarray(made).min() > 0
    assert np.asarray(made).max() < 255
    (mean, covariance), (content_mean, content_covariance) = moments(made), moments(content)
    assert np.abs(mean - content_mean).max() < 1e-3
    assert np.abs(covariance - content_covariance).max() < 1e-4  # rounding to 8 bits adds 1.3e-6 to variances of 1e-2


def test_matched_is_the_papers_linear_map():
    style, content = mid_range(20), mid_range(21)
    (mean, covariance), (content_mean, content_covariance) = moments(style), moments(content)

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(values**exponent) @ vectors.T

    A = power(content_covariance, 0.5) @ power(covariance, -0.5)
    expected = (np.asarray(style) / 255 - mean) @ A.T + content_mean
    assert np.abs(np.asarray(colours.matched(style, content)) / 255 - expected).max() < 0.51 / 255


def test_a_style_matched_to_itself_is_unchanged():
    style = mid_range(22)
    assert np.abs(np.asarray(colours.matched(style, style), int) - np.asarray(style, int)).max() == 0


def test_values_outside_the_range_are_clipped_and_do_not_wrap():
    style, content = mid_range(23), saturated(24)
    mean, covariance = moments(style)
    made = np.asarray(colours.matched(style, content), int)
    assert {0, 255} <= set(made.ravel().tolist())
    # The content's channels are independent with equal variances, which makes the style's whitened channels brighter.
    values, vectors = np.linalg.eigh(covariance)
    white = (np.asarray(style) / 255 - mean) @ (vectors / np.sqrt(values)) @ vectors.T
    assert (made[white > 1.2] == 255).mean() > 0.95
    assert (made[white < -1.2] == 0).mean() > 0.95


def test_a_style_of_one_colour_becomes_the_contents_mean():
    content = paint(60, 80, 25)
    made = np.asarray(colours.matched(Image.new("RGB", (50, 40), (200, 30, 70)), picture(content)), int)
    assert np.ptp(made.reshape((-1, 3)), axis=0).max() == 0
    assert np.abs(made[0, 0] - content.mean(axis=(0, 1))).max() <= 0.51


def test_a_grey_style_is_mapped_to_a_line_of_the_contents_colours():
    greys = np.asarray(picture(paint(60, 80, 26)).convert("L"))
    content = mid_range(27)
    made = np.asarray(colours.matched(picture(np.repeat(greys[..., None], 3, axis=2)), content), float)
    mean, covariance = moments(content)
    assert np.abs(made.mean(axis=(0, 1)) / 255 - mean).max() < 2e-3
    apart = made.reshape((-1, 3)) - made.mean(axis=(0, 1))
    _, sizes, directions = np.linalg.svd(apart, full_matrices=False)
    assert sizes[1] < 0.05 * sizes[0]  # a line of colours
    assert abs(np.corrcoef(greys.ravel(), apart @ directions[0])[0, 1]) > 0.999
    assert 0.1 < apart.std() / 255 / np.sqrt(np.trace(covariance) / 3) < 1.01  # at most the deviation of the content's


def test_the_noise_of_a_nearly_grey_style_does_not_become_colours():
    greys = np.asarray(picture(paint(60, 80, 28)).convert("L"), int)[..., None]
    noise = np.random.default_rng(29).integers(0, 2, (60, 80, 3))  # half a level: a scan of a drawing
    content = mid_range(30)
    made, clean = (colours.matched(picture((greys + each).clip(0, 255)), content) for each in (noise, noise * 0))
    difference = np.asarray(made, float) - np.asarray(clean, float)
    assert difference.std() < 0.4 * np.asarray(content, float).std(axis=(0, 1)).max()


@pytest.mark.parametrize("value", [(0, 0, 0), (255, 255, 255), (10, 200, 90)])
def test_a_content_of_one_colour_gives_that_colour(value):
    made = np.asarray(colours.matched(strokes(31), Image.new("RGB", (30, 20), value)), int)
    assert np.abs(made - value).max() <= 1


# -- a content picture in the style's colours -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_transported_content_has_the_styles_mean_and_covariance(seed):
    content, style = mid_range(seed), mid_range(seed + 100, 80, 90)
    made = colours.transported(content, colours.moments(style))
    (mean, covariance), (style_mean, style_covariance) = moments(made), moments(style)
    assert np.abs(mean - style_mean).max() < 1e-3
    assert np.abs(covariance - style_covariance).max() < 1e-4


def test_the_map_is_the_optimal_transport_between_gaussians():
    content, style = mid_range(3), mid_range(103)
    (mean, covariance), (style_mean, style_covariance) = moments(content), moments(style)

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(np.sqrt(values)) @ vectors.T

    of_style = root(style_covariance)
    A = of_style @ np.linalg.inv(root(of_style @ covariance @ of_style)) @ of_style
    expected = (np.asarray(content) / 255 - mean) @ A + style_mean
    made = np.asarray(colours.transported(content, (style_mean, style_covariance))) / 255
    assert np.abs(made - expected).max() < 0.6 / 255


def test_the_noise_of_a_grey_content_does_not_become_colour():
    random = np.random.default_rng(4)
    content = picture(random.integers(60, 190, (60, 80, 1)) + random.integers(0, 9, (60, 80, 3)))
    made = colours.transported(content, colours.moments(saturated(6)))
    before, after = ((each - each.mean(axis=2, keepdims=True)).std() for each in map(np.float64, (content, made)))
    assert 1.5 * before < after < 1.05 * colours.GAINS[1] * before


def test_the_content_stays_visible_with_a_style_of_one_colour():
    content = strokes(8)
    made = colours.transported(content, colours.moments(Image.new("RGB", (20, 20), (120, 110, 90))))
    assert np.asarray(made, float).std() > 0.9 * colours.GAINS[0] * np.asarray(content, float).std()


def test_pixels_of_the_content_count_by_their_weights():
    content, target = np.asarray(mid_range(7)).copy(), colours.moments(mid_range(107))
    weights = np.ones(content.shape[:2], np.float32)
    weights[:, :20] = 0
    expected = np.asarray(colours.transported(picture(content), target, weights))
    content[:, :20] = 255
    made = np.asarray(colours.transported(picture(content), target, weights))
    assert np.array_equal(made[:, 20:], expected[:, 20:])
