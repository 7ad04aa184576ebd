"""Label maps: exact, antialiased, compressed, of other sizes and modes; refused maps; masks."""

import warnings

import gluon_nst as nst
from gluon_nst.errors import NSTWarning
from gluon_nst.pictures import regions
from gluon_nst.pictures.masks import read_mask

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from painting import paint

WHITE, BLACK, GREY, RED, GREEN, BLUE = (
    (255, 255, 255),
    (0, 0, 0),
    (128, 128, 128),
    (230, 20, 30),
    (20, 150, 40),
    (30, 40, 200),
)
SIZE = (120, 180)

ELLIPSES = [(RED, (10, 10, 90, 70)), (BLUE, (70, 40, 150, 110)), (BLACK, (100, 5, 170, 50))]
"""Painted on white in this order, for a picture of SIZE; red touches white and blue; blue touches white, red, black.
"""


def painted(shapes=ELLIPSES, ground=WHITE, size=SIZE, finer=4):
    """Return antialiased ellipses on a ground: painted `finer` times as large and averaged."""
    height, width = size
    picture = Image.new("RGB", (width * finer, height * finer), ground)
    for colour, box in shapes:
        ImageDraw.Draw(picture).ellipse([finer * each for each in box], fill=colour)
    return picture.resize((width, height), Image.BOX)


def true_weights(colours, shapes=ELLIPSES, ground=WHITE, size=SIZE):
    """Return whether a pixel's centre has each of the colours: len(colours) × h × w, bool."""
    finer = 5
    scaled = [(colour, [finer * each for each in box]) for colour, box in shapes]
    exact = np.asarray(painted(scaled, ground, [finer * each for each in size], 1))
    middles = exact[finer // 2 :: finer, finer // 2 :: finer]
    return np.stack([(middles == colour).all(axis=2) for colour in colours])


def read(content, *styles, size=SIZE):
    styles = styles or (content,)
    sizes = [each.size[::-1] if isinstance(each, Image.Image) else SIZE for each in styles]
    return regions.read_regions(content, styles, size, sizes)


def near(colours, expected, within=12):
    """Return whether there are as many colours as expected, each close to one of them."""
    distances = np.linalg.norm(np.array(colours, float)[:, None] - np.array(expected)[None], axis=2)
    return len(colours) == len(expected) and distances.min(axis=0).max() <= within


def save(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


# -- regions ----------------------------------------------------------------------------------------------------------


def test_each_pixel_of_the_content_is_in_the_region_of_its_colour():
    found = read(painted(finer=1))
    assert sorted(found.colours) == sorted([WHITE, RED, BLUE, BLACK])
    assert found.colours[0] == WHITE
    assert all(isinstance(value, int) for colour in found.colours for value in colour)
    assert found.content.shape == (4, *SIZE)
    assert found.content.dtype == np.float32
    assert np.array_equal(found.content.sum(axis=0), np.ones(SIZE))
    assert set(np.unique(found.content)) == {0, 1}
    pixels = np.asarray(painted(finer=1))
    for colour, weights in zip(found.colours, found.content):
        assert np.array_equal(weights, (pixels == colour).all(axis=2))


def test_a_region_of_a_style_has_the_contents_colour_in_its_map():
    content = painted([(RED, (10, 10, 90, 70))])
    first = painted([(RED, (0, 0, 40, 40))], GREEN, (60, 50), 1)
    second = painted([(BLUE, (0, 0, 40, 40))], (250, 252, 249), (40, 80), 1)
    found = read(content, first, second)
    assert found.colours == [WHITE, RED]
    assert [each.shape for each in found.styles] == [(2, 60, 50), (2, 40, 80)]
    assert all(each.dtype == np.float32 for each in found.styles)
    assert found.styles[0][0].max() == 0  # it has no white; only the second style has
    assert np.array_equal(found.styles[0][1], (np.asarray(first) == RED).all(axis=2))  # without the green
    assert np.array_equal(found.styles[1][0], (np.asarray(second) == (250, 252, 249)).all(axis=2))
    assert found.styles[1][1].max() == 0


CLOSE = {
    "black and next to it": [(0, 0, 0), (1, 1, 1)],
    "class numbers": [(7, 7, 7), (26, 26, 26), (8, 8, 8)],
    "a published palette": [(120, 120, 120), (140, 140, 140), (120, 120, 80)],
}


@pytest.mark.parametrize("kind", CLOSE)
@pytest.mark.parametrize("soft", [False, True])
def test_similar_colours_are_separate_regions(kind, soft):
    """In an exact map, and in a map with an antialiased edge in another place."""
    pixels = np.repeat(np.array(CLOSE[kind], np.uint8)[None], 60, axis=1).repeat(120, axis=0)
    size = pixels.shape[:2]
    picture = Image.fromarray(pixels)
    if soft:
        disc = painted([(WHITE, (20, 30, 50, 60))], BLACK, size).convert("L")
        picture.paste(RED, mask=disc)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = regions.read_regions(picture, [picture], size, [size])
    assert set(found.colours) == set(CLOSE[kind]) | ({RED} if soft else set())
    for colour, weights, style in zip(found.colours, found.content, found.styles[0]):
        assert np.array_equal(weights, style)
        assert weights[(np.asarray(picture) == colour).all(axis=2)].min() == 1
    assert len(warned) == 2 * soft


@pytest.mark.parametrize("numbers", [(7, 26), (0, 1), (0, 300), (1000, 1001), (0, 65535), (2**31, 2**31 + 2**16)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_class_numbers_of_16_and_32_bits_are_regions(tmp_path, numbers, kind):
    values = np.repeat(np.array(numbers)[None], 30, axis=1).repeat(60, axis=0)
    if max(numbers) > 65535 and kind == "png":
        pytest.skip("a PNG has 16 bits")
    if kind == "tif":
        tifffile.imwrite(tmp_path / "map.tif", values.astype(np.uint32), photometric="minisblack")
    else:
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / "map.png")
    path, size = tmp_path / f"map.{kind}", (60, 60)
    found = regions.read_regions(path, [path], size, [size])
    assert len(found.colours) == 2
    assert found.content.mean() == 0.5
    assert np.array_equal(found.content, found.styles[0])
    if max(numbers) < 256:  # the same numbers in 8 bits
        eight = Image.fromarray(values.astype(np.uint8))
        assert np.array_equal(regions.read_regions(eight, [path], size, [size]).content, found.content)


def test_lines_and_points_of_an_exact_map_are_regions():
    numbers = np.repeat(np.arange(20, dtype=np.uint8)[None], 6, axis=1).repeat(60, axis=0)
    numbers[30, 50] = 77
    numbers[:, 3] = 5  # in class 0
    picture, size = Image.fromarray(numbers), numbers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = regions.read_regions(picture, [picture], size, [size])
    assert len(found.colours) == 21
    assert found.content[found.colours.index((77, 77, 77))].sum() == 1


def test_a_flat_jpeg_is_matched_with_tolerance(tmp_path):
    """Its few colours may all be flat, but different from those of the original."""
    pixels = np.repeat(np.array([(60,) * 3, (200,) * 3], np.uint8)[None], 160, axis=1).repeat(240, axis=0)
    for quality in (20, 30, 40):
        path, size = save(tmp_path, Image.fromarray(pixels), "map.jpg", quality=quality), (240, 320)
        for content, style in ((Image.fromarray(pixels), path), (path, Image.fromarray(pixels))):
            assert len(regions.read_regions(content, [style], size, [size]).colours) == 2


def test_a_map_with_a_single_region_is_reported():
    with pytest.warns(NSTWarning, match="the content's map: only one region .#ffffff., so the map has no effect"):
        read(painted([], finer=1))


def test_similar_colours_of_a_jpeg_are_separate_regions_and_are_listed(tmp_path):
    pixels = np.repeat(np.array([(120,) * 3, (140,) * 3], np.uint8)[None], 90, axis=1).repeat(120, axis=0)
    path = save(tmp_path, Image.fromarray(pixels), "map.jpg", quality=75)
    with pytest.warns(NSTWarning) as warned:
        found = regions.read_regions(path, [Image.fromarray(pixels)], SIZE, [SIZE])
    assert near(found.colours, [(120,) * 3, (140,) * 3], within=3)
    assert np.array_equal(found.styles[0][found.colours.index(min(found.colours))], (pixels == 120).all(axis=2))
    (note,) = (str(each.message) for each in warned)
    assert note.startswith(f"{path}: 2 regions (#")
    assert "nearest region" in note
    assert "merged" not in note


def test_frequent_flat_colours_of_a_jpeg_are_never_merged(tmp_path):
    """Even if they are closer than the changes by compression."""
    pixels = np.repeat(np.array([(120,) * 3, (123,) * 3], np.uint8)[None], 96, axis=1).repeat(120, axis=0)
    path, size = save(tmp_path, Image.fromarray(pixels), "map.jpg", quality=95), pixels.shape[:2]
    found = regions.read_regions(path, [path], size, [size])
    assert near(found.colours, [(120,) * 3, (123,) * 3], within=1)


def test_greys_of_8_bits_and_the_same_in_16_are_one_region(tmp_path):
    values = np.repeat(np.array([7, 26])[None], 30, axis=1).repeat(60, axis=0)
    wide = save(tmp_path, Image.fromarray((values * 257).astype(np.uint16)), "map.png")
    found = regions.read_regions(Image.fromarray(values.astype(np.uint8)), [wide], (60, 60), [(60, 60)])
    assert np.array_equal(found.content, found.styles[0])


def test_merged_colours_are_listed():
    picture = painted([(RED, (10, 10, 90, 70)), ((225, 25, 35), (120, 80, 124, 110))])  # too thin for a region
    with pytest.warns(NSTWarning, match="#e11923 is merged into #e6141e"):
        assert near(regions.read_regions(picture, [picture], SIZE, [SIZE]).colours, [WHITE, RED])


@pytest.mark.parametrize("kind", ["webp", "jpeg 75"])
@pytest.mark.parametrize("scale", [1, 3])
def test_lossy_compression_adds_no_grey_regions(tmp_path, kind, scale):
    size = [scale * each for each in SIZE]
    shapes = [(BLACK, (10, 10, 90, 90)), (GREY, (80, 30, 170, 110))]
    grey = painted([(colour, [scale * each for each in box]) for colour, box in shapes], size=size, finer=1)
    found = read(save(tmp_path, grey, *SAVED[kind][:1], **SAVED[kind][1]), size=size)
    assert near(found.colours, [WHITE, BLACK, GREY], within=4)


def test_only_equal_colours_of_exact_maps_are_the_same():
    content, style = (painted([(colour, (10, 10, 90, 70))], finer=1) for colour in (RED, (231, 20, 30)))
    message = refusal(content, [style], SIZE, [SIZE])
    assert "no style's map has its colour #e6141e; " in message
    assert message.endswith("#e7141e in the map of style 1 is close, but not the same")


def test_a_colour_of_a_style_belongs_to_one_region_only(tmp_path):
    content = Image.fromarray(
        np.repeat(np.array([(0,) * 3, (20,) * 3], np.uint8)[None], 90, axis=1).repeat(120, axis=0)
    )
    style = save(tmp_path, painted([(WHITE, (10, 10, 90, 70))], BLACK), "map.jpg", quality=90)
    assert "no style's map has its colour #141414" in refusal(content, [style], SIZE, [SIZE])


def test_two_similar_colours_are_matched_to_the_nearest():
    light, dark = (200, 60, 60), (150, 60, 60)
    content = painted([(dark, (10, 10, 90, 70))], light)
    style = painted([(light, (10, 10, 90, 70))], dark)
    found = read(content, style)
    assert found.colours == [light, dark]
    assert found.styles[0][0].mean() < 0.3 < 0.6 < found.styles[0][1].mean()


# -- edges and noise --------------------------------------------------------------------------------------------------

SAVED = {
    "png": ("map.png", {}),
    "jpeg 95": ("map.jpg", {"quality": 95}),
    "jpeg 75": ("map.jpg", {"quality": 75}),
    "webp": ("map.webp", {"quality": 80}),
}


@pytest.mark.parametrize("kind", SAVED)
def test_antialiased_and_compressed_edges_are_not_regions_and_do_not_move(tmp_path, kind):
    name, options = SAVED[kind]
    found = read(save(tmp_path, painted(), name, **options))
    expected = [WHITE, RED, BLUE, BLACK]
    assert near(found.colours, expected)
    order = [int(np.linalg.norm(np.array(expected) - colour, axis=1).argmin()) for colour in found.colours]
    true = true_weights(expected)[order]
    assert (found.content != true).any(axis=0).mean() < 0.015
    for weights, real in zip(found.content, true):  # errors are at most two pixels from the edge
        around = np.asarray(Image.fromarray(real).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
        assert not (weights > 0)[~around].any()


@pytest.mark.parametrize("finer", [4, 16])
@pytest.mark.parametrize("blur", [0, 0.7])
@pytest.mark.parametrize("kind", ["png", "jpeg 75"])
def test_an_edge_of_black_and_white_is_not_in_the_grey_region(tmp_path, finer, blur, kind):
    shapes = [(BLACK, (10, 10, 80, 110)), (GREY, (100, 20, 170, 100))]
    picture = painted(shapes, finer=finer).filter(ImageFilter.GaussianBlur(blur))
    found = read(save(tmp_path, picture, *SAVED[kind][:1], **SAVED[kind][1]))
    assert near(found.colours, [WHITE, BLACK, GREY])
    grey = found.content[[max(colour) - min(colour) < 9 and 100 < colour[0] < 156 for colour in found.colours]][0]
    assert grey[:, :92].max() == 0  # none around the black ellipse
    assert abs(grey.mean() - true_weights([GREY], shapes).mean()) < 0.005


@pytest.mark.slow
def test_an_enlarged_map_with_blurred_edges_has_the_same_regions():
    for resample in (Image.BILINEAR, Image.BICUBIC, Image.LANCZOS):
        large = painted().resize((720, 480), resample)
        assert near(read(large, size=(480, 720)).colours, [WHITE, RED, BLUE, BLACK])


@pytest.mark.parametrize("width, options", [(3, {}), (5, {"quality": 75})])
def test_thin_lines_are_regions(tmp_path, width, options):
    picture = Image.new("RGB", (180 * 8, 120 * 8), WHITE)
    ImageDraw.Draw(picture).line((20 * 8, 15 * 8, 170 * 8, 100 * 8), fill=RED, width=width * 8)
    picture = picture.resize((180, 120), Image.BOX)
    found = read(save(tmp_path, picture, "map.jpg" if options else "map.png", **options))
    assert near(found.colours, [WHITE, RED], within=40)
    assert found.content[1].sum() == pytest.approx(width * np.hypot(150, 85), rel=0.2)


@pytest.mark.parametrize("kind", ["png", "jpeg 75"])
def test_a_speck_is_a_region_only_in_an_exact_map(tmp_path, kind):
    for side, colours in ((3, [WHITE, RED] if kind == "png" else [WHITE]), (12, [WHITE, RED])):
        speck = Image.new("RGB", SIZE[::-1], WHITE)
        speck.paste(RED, (48, 48, 48 + side, 48 + side))
        found = read(save(tmp_path, speck, SAVED[kind][0], **SAVED[kind][1]))
        assert near(found.colours, colours)
        assert len(colours) > 1 or found.content.min() == 1


def test_slight_noise_is_ignored():
    grain = np.random.default_rng(1).normal(0, 2.5, (*SIZE, 3))
    noisy = Image.fromarray(np.clip(np.asarray(painted()) + grain, 0, 255).astype(np.uint8))
    found = read(noisy)
    assert near(found.colours, [WHITE, RED, BLUE, BLACK])
    assert (found.content.sum(axis=(1, 2)) > 0.02 * SIZE[0] * SIZE[1]).all()


# -- modes and sizes --------------------------------------------------------------------------------------------------


def test_a_palette_picture_is_a_map(tmp_path):
    path = save(tmp_path, painted().quantize(64), "map.png")
    with Image.open(path) as picture:
        assert picture.mode == "P"
    assert near(read(path).colours, [WHITE, RED, BLUE, BLACK])


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_a_greyscale_picture_is_a_map(tmp_path, mode):
    grey = painted([(BLACK, (10, 10, 80, 110))]).convert("L")
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    found = read(save(tmp_path, picture, "map.png"))
    assert found.colours == [WHITE, BLACK]
    assert found.content[1].mean() == pytest.approx(np.pi * 35 * 50 / (120 * 180), rel=0.02)


def test_transparent_pixels_are_white():
    picture = painted([(RED, (10, 10, 80, 110))], finer=1).convert("RGBA")
    picture.paste((0, 255, 0, 0), (100, 0, 180, 120))
    assert read(picture).colours == [WHITE, RED]


def test_a_map_of_another_size_is_scaled_without_new_colours():
    for scale in (0.5, 3):
        size = [int(scale * each) for each in SIZE]
        found = read(painted(), size=size)
        assert near(found.colours, [WHITE, RED, BLUE, BLACK])
        assert found.content.shape == (4, *size)
        assert np.array_equal(found.content.sum(axis=0), np.ones(size))
        true = true_weights(found.colours).mean(axis=(1, 2))
        assert np.abs(found.content.mean(axis=(1, 2)) - true).max() < 0.01


def test_a_region_that_disappears_in_the_scaling_is_left_out():
    line = painted([], finer=1)
    ImageDraw.Draw(line).line((0, 41, 180, 41), fill=RED, width=3)
    assert read(line).colours == [WHITE, RED]
    found = read(line, size=(12, 18))
    assert found.colours == [WHITE]
    assert found.content.shape == (1, 12, 18)


# -- refused maps -----------------------------------------------------------------------------------------------------


def refusal(*arguments):
    with pytest.raises(nst.InputError) as refused:
        regions.read_regions(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_error_names_a_colour_without_a_style_and_the_files_to_add_it_to(tmp_path):
    content = save(tmp_path, painted(), "content-map.png")
    styles = [save(tmp_path, painted(ELLIPSES[1:]), f"style-{number}.png") for number in (1, 2)]
    message = refusal(content, styles, SIZE, [SIZE, SIZE])
    assert message.startswith(f"{content}: ")
    assert "#e6141e" in message
    assert message.endswith(f"paint it into {styles[0]} or {styles[1]}")
    assert "the content's map: " in refusal(painted(), [painted(ELLIPSES[1:])], SIZE, [SIZE])


def test_a_colour_that_disappears_from_the_scaled_style_is_missing():
    line = painted([], finer=1)
    ImageDraw.Draw(line).line((0, 41, 180, 41), fill=RED, width=3)
    assert "#e6141e" in refusal(line, [line], SIZE, [(12, 18)])


@pytest.mark.parametrize("which", ["content", "style"])
def test_another_aspect_ratio_than_the_pictures_is_refused(tmp_path, which):
    path = save(tmp_path, painted(), "map.png")
    sizes = {"content": SIZE, "style": SIZE, which: (120, 160)}
    message = refusal(path, [path], sizes["content"], [sizes["style"]])
    assert message.startswith(f"{path}: 120 x 180 pixels do not have the aspect ratio of its picture, 120 x 160; ")


def test_an_aspect_ratio_that_rounding_changes_is_not_refused():
    assert read(painted(), size=(33, 48)).content.shape[1:] == (33, 48)


PHOTOGRAPHS = {
    "noise": lambda: Image.fromarray(np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)),
    "smooth": lambda: Image.fromarray(paint(*SIZE)).filter(ImageFilter.GaussianBlur(3)),
    "grainy": lambda: Image.fromarray(paint(*SIZE)),
    "grey": lambda: Image.fromarray(paint(*SIZE)).convert("L").filter(ImageFilter.GaussianBlur(3)),
}


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_a_photograph_is_not_a_map(tmp_path, kind):
    path = save(tmp_path, PHOTOGRAPHS[kind](), "photograph.png")
    message = refusal(path, [painted()], SIZE, [SIZE])
    assert message.startswith(f"{path}: probably a photograph, not a region map; paint each region in one flat")
    assert refusal(painted(), [path], SIZE, [SIZE]).startswith(f"{path}: probably a photograph")


def board(count):
    """Return a map of `count` very different colours in strips."""
    levels = [(r, g, b) for r in (0, 120, 240) for g in (0, 120, 240) for b in (0, 120, 240)][:count]
    return Image.fromarray(np.repeat(np.array(levels, np.uint8)[None], 5, axis=1).repeat(40, axis=0))


def test_a_map_with_soft_edges_has_at_most_16_colours_and_an_exact_one_256():
    exact = board(27)
    assert len(regions.read_regions(exact, [exact], (40, 135), [(40, 135)]).colours) == 27
    for count in (16, 17):
        soft = board(count).resize((10 * count, 80), Image.BILINEAR)
        size = (80, 10 * count)
        if count == 16:
            assert len(regions.read_regions(soft, [soft], size, [size]).colours) == 16
        else:
            assert "16 colours at most, or 256 in a PNG without soft edges" in refusal(soft, [soft], size, [size])
    grid = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, axis=0).repeat(4, axis=1)
    assert len(read(Image.fromarray(grid), size=(64, 64)).colours) == 256


def test_a_photograph_with_a_palette_is_not_an_exact_map():
    photograph = Image.fromarray(paint(*SIZE)).quantize(256)
    assert "probably a photograph" in refusal(photograph, [painted()], SIZE, [SIZE])


def test_regions_that_do_not_fit_into_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(regions, "available_memory", lambda: 1e6)
    assert refusal(board(27), [board(27)], (400, 1350), [(40, 135)]).endswith("scale the pictures down, or use fewer")


@pytest.mark.parametrize("count", [0, 2])
def test_each_style_needs_a_map(count):
    assert refusal(painted(), [painted()] * count, SIZE, [SIZE]).startswith(f"{count} style maps for 1 style pictures")


def test_a_file_that_is_not_a_picture_is_refused(tmp_path):
    (tmp_path / "map.png").write_text("no picture")
    assert "not a picture" in refusal(tmp_path / "map.png", [painted()], SIZE, [SIZE])
    assert "no such file" in refusal(painted(), [tmp_path / "nowhere.png"], SIZE, [SIZE])


# -- masks ------------------------------------------------------------------------------------------------------------


def disc(mode="L", size=SIZE):
    return painted([(WHITE, (30, 20, 130, 100))], BLACK, size).convert(mode)


def test_white_is_1_and_black_is_0_in_a_mask():
    mask = read_mask(disc(), SIZE)
    assert mask.dtype == np.float32
    assert mask.shape == SIZE
    assert (mask.min(), mask.max()) == (0, 1)
    assert np.array_equal(mask, np.asarray(disc(), np.float32) / 255)  # greys between


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_may_have_any_mode(tmp_path, mode):
    picture = Image.fromarray(np.asarray(disc()).astype(np.uint16) * 257) if mode == "I;16" else disc(mode)
    mask = read_mask(save(tmp_path, picture, "mask.png"), SIZE)
    expected = np.asarray(picture.convert("RGB").convert("L")) if mode in ("1", "P") else np.asarray(disc())
    assert np.abs(mask - expected / 255.0).max() < 0.01


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_the_transparency_of_a_drawing_on_a_transparent_layer_is_the_mask(colour):
    picture = Image.new("RGBA", SIZE[::-1], colour)
    picture.putalpha(disc())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert np.array_equal(read_mask(picture, SIZE), np.asarray(disc(), np.float32) / 255)
    assert ["a dark drawing" in str(each.message) for each in warned] == [True] * (colour != "white")


def test_transparent_pixels_of_a_black_and_white_mask_are_black():
    picture = disc("RGBA")
    picture.paste((255, 255, 255, 0), (0, 0, 90, 120))
    mask = read_mask(picture, SIZE)
    assert mask[:, :90].max() == 0
    assert np.array_equal(mask[:, 91:], np.asarray(disc(), np.float32)[:, 91:] / 255)


def test_a_mask_that_is_transparent_everywhere_is_black():
    with pytest.raises(nst.InputError, match="black everywhere"):
        read_mask(Image.new("RGBA", (180, 120), (255, 255, 255, 0)), SIZE)


@pytest.mark.parametrize("level", [100, 255])
def test_a_mask_that_is_the_same_everywhere_is_reported(tmp_path, level):
    path = save(tmp_path, Image.new("L", (180, 120), level), "mask.png")
    with pytest.warns(NSTWarning, match=f"the same everywhere .{level / 255:.0%} white., so it does not"):
        assert read_mask(path, SIZE).min() == pytest.approx(level / 255)


@pytest.mark.parametrize("size", [(30, 45), (240, 360)])
def test_a_mask_is_scaled_with_antialiasing(size):
    fine = Image.fromarray((np.indices(SIZE).sum(axis=0) % 2 * 255).astype(np.uint8))  # a chessboard of single pixels
    for picture in (disc(), fine):
        mask = read_mask(picture, size)
        assert mask.shape == size
        assert mask.mean() == pytest.approx(np.asarray(picture).mean() / 255, abs=0.005)
    if size < SIZE:
        assert np.ptp(mask[2:-2, 2:-2]) < 0.1  # uniform grey; sampling would give black or white


@pytest.mark.parametrize("level, kept", [(0, False), (3, False), (40, True)])
def test_a_mask_that_is_black_everywhere_is_refused(tmp_path, level, kept):
    path = save(tmp_path, Image.new("L", (180, 120), level), "mask.png")
    if kept:
        assert read_mask(path, SIZE).max() == pytest.approx(level / 255)
        return
    with pytest.raises(
        nst.InputError, match="mask.png: black everywhere, so nothing would be stylised; paint the part"
    ):
        read_mask(path, SIZE)


def test_a_mask_of_another_aspect_ratio_is_refused(tmp_path):
    path = save(tmp_path, disc(), "mask.png")
    with pytest.raises(nst.InputError, match="120 x 180 pixels do not have the aspect ratio of its picture, 90 x 120"):
        read_mask(path, (90, 120))
    with pytest.raises(nst.InputError, match="the mask: 120 x 180 pixels"):
        read_mask(disc(), (120, 120))
