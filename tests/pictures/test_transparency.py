"""Runs that keep the content's transparency or its colours, and runs with the styles' colours."""

import gluon_nst as nst
from gluon_nst import experiments
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.pictures.decoding import open_picture, read_made
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from skimage import color

from commands import SHALLOW, made
from painting import paint

CHOSEN = {"epochs": 3, "lr": 0.1, "content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}


def lab(picture):
    return color.rgb2lab(np.asarray(picture.convert("RGB")) / 255)


# -- transparency -----------------------------------------------------------------------------------------------------


@pytest.fixture
def alpha():
    """Return an alpha channel from opaque at the left to transparent at the right."""
    return Image.fromarray(np.broadcast_to(np.linspace(255, 0, 90).astype(np.uint8), (60, 90)).copy())


@pytest.fixture
def clear(alpha, tmp_path):
    """Return a content picture with this alpha channel."""
    picture = Image.fromarray(paint(60, 90, seed=1))
    picture.putalpha(alpha)
    picture.save(tmp_path / "clear.png")
    return tmp_path / "clear.png"


def test_at_the_contents_size_its_transparency_is_unchanged(run, clear, style, alpha):
    image = run(clear, style, sizes="own", **CHOSEN).image
    assert image.mode == "RGBA"
    assert image.size == (90, 60)
    assert image.getchannel("A").tobytes() == alpha.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"margin": 16}])
def test_at_another_size_the_transparency_is_resized(run, clear, style, alpha, options):
    result = run(clear, style, sizes=[(20, 30), (40, 60)], **{**CHOSEN, **options})
    for image in result.images:
        assert image.mode == "RGBA"
        difference = np.asarray(image.getchannel("A"), int) - np.asarray(alpha.resize(image.size, Image.BICUBIC), int)
        assert np.abs(difference).max() == 0
        assert np.all(np.diff(np.asarray(image.getchannel("A"), int)[5]) <= 0)


@pytest.mark.slow
def test_hidden_colours_of_transparent_pixels_do_not_influence_the_picture(run, clear, style):
    plain = Image.open(clear)
    hidden = Image.fromarray(paint(60, 90, seed=8))
    opaque = np.asarray(plain.getchannel("A")) > 0
    both = Image.composite(plain.convert("RGB"), hidden, Image.fromarray(opaque))
    both.putalpha(plain.getchannel("A"))
    pictures = [np.asarray(run(each, style, sizes=[(60, 90)], **CHOSEN).image) for each in (plain, both)]
    assert np.array_equal(*pictures)


def test_a_content_without_transparency_gives_an_opaque_picture(run):
    assert run(sizes=[(32, 48)], **CHOSEN).image.mode == "RGB"


def test_a_flattened_picture_is_opaque_on_white_and_recorded_as_such(run, job, clear, style):
    with Image.open(clear) as picture:
        by_hand = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    made = job()
    flat, opaque = (prepare(nst.Job(each, style, flatten=True, weights=made.weights)) for each in (clear, by_hand))
    assert np.abs(np.asarray(flat.content.image, int) - np.asarray(opaque.content.image, int)).max() <= 3
    assert flat.provenance["flattened"] is True
    assert "flattened" not in opaque.provenance
    assert run(clear, style, sizes=[(32, 48)], flatten=True, **CHOSEN).image.mode == "RGB"


@pytest.fixture
def cutout():
    """Return a red subject with a soft edge on transparent white."""
    disc = Image.new("L", (96, 96))
    ImageDraw.Draw(disc).ellipse((24, 24, 72, 72), fill=255)
    picture = Image.composite(Image.new("RGB", disc.size, (200, 30, 30)), Image.new("RGB", disc.size, "white"), disc)
    picture.putalpha(disc.filter(ImageFilter.GaussianBlur(4)))
    return picture


def test_the_subjects_colours_are_extended_under_a_soft_edge(cutout):
    """With a blurred alpha the colours at the edge stay the same only if those beyond it are the subject's."""
    alpha = np.asarray(cutout.getchannel("A"))
    picture = np.array(cutout)
    picture[alpha < 255, :3] = (200, 30, 30)  # as in a file of a paint program
    picture[alpha == 0, :3] = 255
    opened = open_picture(Image.fromarray(picture))
    assert np.abs(np.asarray(opened.image, int) - (200, 30, 30)).max() <= 3
    assert np.array_equal(np.asarray(opened.alpha), alpha)


def test_a_result_on_black_has_no_halo(run, style, cutout):
    picture = np.array(cutout)
    picture[..., :3] = (200, 30, 30)
    picture[picture[..., 3] == 0, :3] = 255
    options = {"sizes": "own", "content_layers": ["conv1_1"], "style_layers": ["conv1_1"], "epochs": 1, "lr": 1e-6}
    image = run(Image.fromarray(picture), style, **options).image
    on_black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    wanted = np.asarray(cutout.getchannel("A"), float)[..., None] / 255 * (200, 30, 30)
    assert np.abs(np.asarray(on_black, float) - wanted).max() <= 4


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_transparent_pixels_do_not_count_in_the_style_statistics(job, content, style, part):
    """The statistics are those of the visible half, whatever the hidden colours of the other half."""
    visible = Image.fromarray(paint(64, 48, seed=3))
    statistics = []
    for hidden in ("white", "black"):
        picture = Image.new("RGBA", (96, 64), hidden)
        picture.putalpha(0)
        picture.paste(visible, (48 * part, 0))
        run = prepare(nst.Job(content, picture, weights=job().weights, sizes=[(48, 72)], **CHOSEN))
        statistics.append(targets_of(run, run.recipe.stages[0], run.net(), style_statistic(run.recipe)).styles_Y[0][0])
    alone = prepare(nst.Job(content, visible, weights=job().weights, sizes=[(64, 48)], **CHOSEN))
    expected = targets_of(alone, alone.recipe.stages[0], alone.net(), style_statistic(alone.recipe)).styles_Y[0][0]
    one, other = (each.asnumpy() for each in statistics)
    assert np.array_equal(one, other)
    assert np.abs(one - expected.asnumpy()).max() < 0.1 * np.abs(expected.asnumpy()).max()  # other sizes


def test_a_style_without_a_visible_position_of_a_deep_layer_is_refused(job, content):
    picture = Image.new("RGBA", (90, 60), (0, 0, 0, 0))
    picture.paste((200, 30, 30, 255), (0, 52, 90, 60))  # conv5_1 covers the first 48 of 60 rows
    layers = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv5_1"]}
    with pytest.raises(nst.InputError, match="the styles. transparency leave no position of conv5_1"):
        prepare(nst.Job(content, picture, weights=job().weights, sizes=[(60, 90)], **layers))


@pytest.mark.slow
def test_a_content_that_is_transparent_everywhere_is_white_and_reported(render, tmp_path):
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(tmp_path / "empty.png")
    assert np.asarray(open_picture(tmp_path / "empty.png").image).min() == 255
    status, _, err = render(*OWN, content=tmp_path / "empty.png", small=False)
    assert status == 0
    assert f"content {tmp_path / 'empty.png'}: transparent everywhere" in err


def test_histogram_uses_all_pixels_of_a_picture_that_is_transparent_everywhere(job, content, style):
    nothing = Image.new("RGBA", (90, 60), (9, 9, 9, 0))
    prepare(nst.Job(nothing, style, preserve_colors="histogram", weights=job().weights, **CHOSEN))
    with pytest.raises(nst.InputError, match="leave no position"):
        prepare(nst.Job(content, nothing, preserve_colors="histogram", weights=job().weights, **CHOSEN))


def test_histogram_uses_only_visible_pixels(blue, content, job):
    """A content picture with a transparent half has the colours of the visible half."""
    with Image.open(content) as picture:
        half = picture.crop((0, 0, 45, 60))
        clear = picture.convert("RGBA")
    clear.paste((255, 255, 255, 0), (45, 0, 90, 60))
    chosen = {**COLOURS, "preserve_colors": "histogram", "weights": job().weights, "sizes": [(60, 90)]}
    styles = [prepare(nst.Job(each, blue, **chosen)).styles[0].picture for each in (half, clear)]
    assert np.abs(np.asarray(styles[0].image, int) - np.asarray(styles[1].image, int)).max() <= 1


def test_transparency_works_with_a_mask_and_with_luminance(run, clear, style, alpha):
    mask = Image.fromarray(np.full((60, 90), 128, np.uint8))
    image = run(clear, style, sizes="own", mask=mask, preserve_colors="luminance", **CHOSEN).image
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == alpha.tobytes()


def test_a_transparent_style_gives_an_opaque_picture(run, content, clear):
    assert run(content, clear, sizes=[(32, 48)], **CHOSEN).image.mode == "RGB"


OWN = ["--longest-side", "own", "--epochs", "2", *SHALLOW]


@pytest.mark.slow
def test_the_command_keeps_the_transparency_or_flattens_it(render, clear, alpha, tmp_path):
    for options, mode in (([], "RGBA"), (["--flatten"], "RGB")):
        status, _, _ = render(*OWN, *options, content=clear, small=False)
        with Image.open(tmp_path / "out.png") as picture:
            assert (status, picture.mode, picture.size) == (0, mode, (90, 60))
            if mode == "RGBA":
                assert picture.getchannel("A").tobytes() == alpha.tobytes()
    assert made(tmp_path / "out.png")["flattened"] is True


@pytest.mark.slow
def test_a_jpeg_of_a_transparent_picture_is_on_white(render, clear, tmp_path):
    for name in ("out.png", "out.jpg"):
        assert render(*OWN, content=clear, small=False, output=tmp_path / name)[0] == 0
    with Image.open(tmp_path / "out.png") as png, Image.open(tmp_path / "out.jpg") as jpeg:
        white = Image.new("RGBA", png.size, "white")
        expected = np.asarray(Image.alpha_composite(white, png).convert("RGB"), int)
        found = np.asarray(jpeg.convert("RGB"), int)
    assert jpeg.mode == "RGB"
    assert np.abs(found - expected).mean() < 6
    assert found[:, -2:].min() > 225  # where it was transparent


def test_a_jpeg_of_a_transparent_picture_may_be_smaller_than_an_input(run, clear, style, tmp_path):
    run(clear, style, sizes=[(8, 12)], **CHOSEN).save(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as picture:
        assert picture.size == (12, 8)


@pytest.mark.slow
def test_films_and_snapshots_of_a_transparent_picture_are_written(render, clear, tmp_path):
    options = ["--save-every", "1", "--animate", tmp_path / "film.gif"]
    assert render(*OWN, *options, content=clear, small=False)[0] == 0
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames > 1
    snapshots = sorted(tmp_path.glob("out-*.png"))
    assert snapshots
    for path in snapshots:
        with Image.open(path) as picture:
            assert picture.mode == "RGBA"


@pytest.mark.slow
def test_a_kept_cell_is_as_transparent_as_when_it_was_computed(clear, style, converted, tmp_path):
    experiment = experiments.sweep(clear, style, {"lr": [0.1, 0.2]}, sizes=[(16, 24)], epochs=1, weights=str(converted))
    first, second = experiment.prepare().values()
    result = carry_out(first)
    result.save(tmp_path / "out.png")
    result.save_losses(tmp_path / "out.csv")
    kept = experiments.kept(tmp_path / "out.png", first)
    assert (kept.mode, kept.tobytes()) == ("RGBA", result.image.tobytes())
    assert experiments.kept(tmp_path / "out.png", second) is None
    picture, record = read_made(tmp_path / "out.png")
    assert picture.mode == "RGBA"
    assert record["content_sha256"] == result.provenance["content_sha256"]


@pytest.mark.slow
def test_a_sheet_of_transparent_pictures_is_the_same_with_kept_cells(clear, style, converted, tmp_path):
    experiment = experiments.sweep(clear, style, {"lr": [0.1, 0.2]}, sizes=[(16, 24)], epochs=1, weights=str(converted))
    first = list(experiment.run(tmp_path / "out"))
    left = Generations(tmp_path / "out/.lr=0.1.checkpoint", print)  # as if the first call had been killed at its end
    left.folder.mkdir()
    left.write({"epoch": 1})
    again = list(experiment.run(tmp_path / "out"))
    assert [outcome.note for outcome in again] == ["kept from before"] * 2
    assert not left.folder.exists()
    assert [outcome.picture.tobytes() for outcome in again] == [outcome.picture.tobytes() for outcome in first]
    assert experiment.sheet(again) is not None


@pytest.mark.slow
def test_a_resumed_run_makes_the_same_transparent_picture(job, clear, style):
    jobs = [nst.Job(clear, style, weights=job().weights, sizes=[(16, 24), (32, 48)], **CHOSEN)] * 2
    *_, whole = nst.steps(jobs[0])
    states = nst.steps(jobs[1])
    for _ in range(4):
        state = next(states)
    states.close()
    *_, state = nst.steps(jobs[1], state)
    assert state.images[1].mode == "RGBA"
    assert state.images[1].tobytes() == whole.images[1].tobytes()


# -- colours ----------------------------------------------------------------------------------------------------------

COLOURS = {"epochs": 8, "lr": 0.1, "content_weight": 0, "content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}


@pytest.fixture
def blue(tmp_path):
    """Return a style picture with colours unlike the content's."""
    pixels = paint(80, 70, seed=2) * [0.3, 0.5, 1.0]
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "blue.png")
    return tmp_path / "blue.png"


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0, 16])
def test_luminance_keeps_the_composites_lightness_with_the_contents_chroma(job, content, blue, margin):
    options = {**COLOURS, "sizes": [(60, 90)], "margin": margin, "weights": job().weights}
    *_, plain = nst.steps(nst.Job(content, blue, recipe="d2l-2019", **options))
    *_, kept = nst.steps(nst.Job(content, blue, preserve_colors="luminance", recipe="d2l-2019", **options))
    with Image.open(content) as picture:
        wanted, made_of, found = lab(picture), lab(plain.images[0]), lab(kept.images[0])
    assert np.abs(found - made_of)[..., 0].max() < 0.3
    distances = np.linalg.norm((found - wanted)[..., 1:], axis=2)
    before = np.linalg.norm((made_of - wanted)[..., 1:], axis=2)
    assert np.median(distances) < 1
    assert np.median(before) > 5
    # Outside sRGB the chroma is smaller, with the same hue.
    assert (np.linalg.norm(found[..., 1:], axis=2) < np.linalg.norm(wanted[..., 1:], axis=2) + 1).all()


@pytest.mark.slow
def test_the_next_stage_starts_from_the_composite_and_not_from_the_kept_colours(job, content, blue):
    options = {**COLOURS, "sizes": [(16, 24), (32, 48)], "weights": job().weights}
    *_, plain = nst.steps(nst.Job(content, blue, recipe="d2l-2019", **options))
    *_, kept = nst.steps(nst.Job(content, blue, preserve_colors="luminance", recipe="d2l-2019", **options))
    assert [epoch.losses.total for epoch in kept.record] == [epoch.losses.total for epoch in plain.record]


def test_histogram_gives_the_style_the_contents_colours(run, job, content, blue):
    prepared = prepare(
        nst.Job(content, blue, preserve_colors="histogram", weights=job().weights, sizes=[(32, 48)], **COLOURS)
    )
    moments = [
        (np.asarray(picture).reshape(-1, 3).mean(axis=0), np.cov(np.asarray(picture).reshape(-1, 3).T))
        for picture in (prepared.styles[0].picture.image, prepared.content.image)
    ]
    assert np.abs(moments[0][0] - moments[1][0]).max() < 3
    assert np.abs(moments[0][1] - moments[1][1]).max() < 0.1 * np.abs(moments[1][1]).max()
    with Image.open(blue) as picture:
        assert np.abs(np.asarray(prepared.styles[0].picture.image, int) - np.asarray(picture, int)).mean() > 20


@pytest.mark.slow
def test_histogram_makes_the_pictures_colours_closer_to_the_contents(run, content, blue):
    pictures = [
        np.asarray(run(content, blue, sizes=[(32, 48)], preserve_colors=name, **{**COLOURS, "epochs": 20}).image, float)
        for name in ("no", "histogram")
    ]
    with Image.open(content) as picture:
        wanted = np.asarray(picture, float).mean(axis=(0, 1))
    plain, kept = (np.linalg.norm(each.mean(axis=(0, 1)) - wanted) for each in pictures)
    assert kept < 0.5 * plain


def means(picture, columns):
    return np.asarray(picture, float)[:, columns].mean(axis=(0, 1))


STYLE_COLORS = {**COLOURS, "content_colors": "style", "sizes": [(60, 90)]}
LEFT, RIGHT, ALL = slice(0, 45), slice(45, 90), slice(None)


@pytest.fixture
def left():
    """Return a mask, or a region map: the left half of the content picture."""
    mask = Image.new("L", (90, 60))
    mask.paste(255, (0, 0, 45, 60))
    return mask


def halves(left, right, seed, size=(80, 70)):
    """Return a picture with two halves of different colours and noise of different strengths."""
    random = np.random.default_rng(seed)
    pixels = np.empty((*size, 3))
    for part, colour, noise in ((slice(0, size[1] // 2), left, 10), (slice(size[1] // 2, None), right, 25)):
        pixels[:, part] = colour + noise * random.standard_normal(pixels[:, part].shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_with_content_colors_style_the_reference_has_the_styles_colours(job, content, blue):
    prepared = prepare(nst.Job(content, blue, weights=job().weights, **STYLE_COLORS))
    with Image.open(blue) as picture:
        wanted = means(picture, ALL)
    assert np.abs(means(prepared.reference.image, ALL) - wanted).max() < 3
    assert np.abs(means(prepared.content.image, ALL) - wanted).max() > 20


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_run_starts_with_a_content_loss_of_0(job, content, blue, left, masked):
    """The composite is the reference; outside the mask the network's input is the content picture in both."""
    options = {**STYLE_COLORS, "content_weight": 1, "weights": job().weights, "mask": left if masked else None}
    (first, *_), (other, *_) = (
        list(nst.steps(nst.Job(content, blue, **{**options, **changes})))[-1].record
        for changes in ({}, {"init": "style"})
    )
    assert first.losses.content < 1e-3 * other.losses.content


@pytest.mark.slow
def test_a_change_is_carried_from_the_reference(job, content, blue):
    options = {**STYLE_COLORS, "sizes": [(30, 45), (60, 90)], "carry": "change", "content_weight": 1, "lr": 1e-6}
    *_, state = nst.steps(nst.Job(content, blue, weights=job().weights, **options))
    second = next(epoch for epoch in state.record if epoch.stage == 2)
    assert second.losses.content < 0.02  # it would be 5 with the difference from the content picture


def test_the_reference_has_the_weighted_mean_colours_of_all_styles(job, content, blue):
    red = Image.new("RGB", (40, 40), (200, 40, 40))
    styles = [nst.Style(blue, 3e307), nst.Style(red, 1e307)]
    prepared = prepare(nst.Job(content, styles, weights=job().weights, **STYLE_COLORS))
    with Image.open(blue) as picture:
        wanted = 0.75 * means(picture, ALL) + 0.25 * means(red, ALL)
    assert np.abs(means(prepared.reference.image, ALL) - wanted).max() < 6  # some are clipped


def test_only_the_content_inside_the_mask_counts(job, blue, left):
    content = halves((90, 100, 80), (200, 120, 60), 1, (60, 90))
    prepared = prepare(nst.Job(content, blue, weights=job().weights, mask=left, **STYLE_COLORS))
    with Image.open(blue) as picture:
        assert np.abs(means(prepared.reference.image, LEFT) - means(picture, ALL)).max() < 4
    assert np.array_equal(np.asarray(prepared.reference.image)[:, RIGHT], np.asarray(content)[:, RIGHT])


def test_each_region_of_the_reference_has_the_colours_of_its_own_styles(job, left):
    content = halves((90, 100, 80), (150, 120, 60), 1, (60, 90))
    style = halves((60, 80, 150), (170, 90, 80), 2)
    regions = Image.new("L", style.size)
    regions.paste(255, (0, 0, 35, 80))
    styles = nst.Style(style, regions=regions)
    prepared = prepare(nst.Job(content, styles, weights=job().weights, regions=left, **STYLE_COLORS))
    for own, of_style in ((LEFT, slice(0, 35)), (RIGHT, slice(35, 70))):
        assert np.abs(means(prepared.reference.image, own) - means(style, of_style)).max() < 3
        deviations = [
            np.asarray(image, float)[:, part].std()
            for image, part in ((prepared.reference.image, own), (style, of_style))
        ]
        assert deviations[0] == pytest.approx(deviations[1], rel=0.1)


def test_the_record_has_the_hash_of_the_styles_file(run, content, blue):
    results = [
        run(content, blue, sizes=[(16, 24)], preserve_colors=name, **{**CHOSEN, "epochs": 1})
        for name in ("no", "histogram")
    ]
    first, second = (result.provenance for result in results)
    assert first["style_sha256"] == second["style_sha256"]
    assert first["recipe"] != second["recipe"]


@pytest.mark.slow
def test_the_command_keeps_the_contents_colours(render, content, blue, tmp_path):
    options = ["--longest-side", "own", "--epochs", "8", "--lr", "0.1", "--content-weight", "0", *SHALLOW]
    distances = []
    for name in ("no", "luminance"):
        status, _, _ = render(*options, "--preserve-colors", name, style=blue, small=False)
        with Image.open(tmp_path / "out.png") as picture, Image.open(content) as wanted:
            distances.append(np.linalg.norm((lab(picture) - lab(wanted))[..., 1:], axis=2).mean())
    assert status == 0
    assert distances[1] < 0.3 * distances[0]
