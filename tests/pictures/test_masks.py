"""Runs with a mask, and with regions."""

import pickle

import gluon_nst as nst
from gluon_nst.engine.objective import Guides, Objective
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.pictures.pixels import standardisation
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from commands import SHALLOW
from painting import paint
from training_inputs import needs_bfloat16

STRONG = {
    "sizes": [(60, 90)], "epochs": 8, "lr": 0.3, "content_weight": 0, "content_layers": ["conv1_1"],
    "style_layers": ["conv1_1"],
}  # fmt: skip
"""At the content's size, with steps so large that every pixel changes."""


def pixels(picture):
    return np.asarray(picture.convert("RGB"), int)


def mask_of(levels):
    return Image.fromarray(np.broadcast_to(levels, (60, 90)).astype(np.uint8))


SHALLOW_LAYERS = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}

HALF = mask_of(np.where(np.arange(90) < 45, 255, 0))


# -- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"margin": 16}, {"optimizer": "lbfgs"}, {"pixel_unit": "unit", "lr": 0.1}])
def test_outside_the_mask_the_picture_is_the_content(run, content, options):
    result = pixels(run(mask=HALF, **{**STRONG, **options}).image)
    with Image.open(content) as picture:
        difference = np.abs(result - pixels(picture)).max(axis=2)
    assert difference[:, 45:].max() <= 1
    assert np.mean(difference[:, :45] > 10) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_at_another_size_it_is_the_resized_content(run, content, resize):
    result = pixels(run(mask=HALF, resize=resize, **{**STRONG, "sizes": [(30, 45), (44, 66)], "epochs": 6}).image)
    expected = nst.postprocess(nst.preprocess(nst.read_image(content), (66, 44), resize)).asnumpy() * 255
    difference = np.abs(result - expected).max(axis=2)
    assert difference[:, 35:].max() <= 1
    assert np.mean(difference[:, :31] > 10) > 0.5


def masked(job, content, mask, **options):
    """Return the pixels of a run's picture with a mask, of the content and of the composite."""
    *_, state = nst.steps(job(mask=mask, **{**STRONG, **options}))
    with Image.open(content) as picture:
        return pixels(state.images[0]), pixels(picture), nst.postprocess(state.composite).asnumpy() * 255


@pytest.mark.slow
@pytest.mark.parametrize("level", [64, 191])
def test_grey_blends_the_composite_with_the_content(job, content, level):
    found, before, composite = masked(job, content, mask_of(np.where(np.arange(90) < 45, 255, level)))
    assert np.abs(found - (before + (composite - before) * level / 255))[:, 45:].max() < 1.6  # rounded three times
    assert np.abs(found - composite)[:, :45].max() < 1.1
    assert np.abs(found - before)[:, 45:].mean() > 2


@pytest.mark.parametrize("margin", [0, 16])
def test_a_soft_mask_leaves_no_seam(job, content, margin):
    """The difference from the content decreases with the mask, column by column."""
    ramp = np.clip((65 - np.arange(90)) / 40, 0, 1)
    found, before, composite = masked(job, content, mask_of(np.rint(255 * ramp)), margin=margin)
    shares = ramp[None, :, None]
    assert np.abs(found - (before + (composite - before) * shares)).max() < 1.6
    difference = np.abs(found - before).mean(axis=(0, 2))
    assert difference[65:].max() < 1.1
    assert difference[55:65].mean() < 0.6 * difference[15:25].mean()
    assert np.abs(np.diff(difference)).max() < 0.3 * difference.max()


@pytest.mark.slow
def test_a_white_mask_changes_nothing(run):
    plain, masked = (run(mask=mask, **STRONG).image for mask in (None, mask_of(255)))
    assert np.abs(pixels(plain) - pixels(masked)).max() <= 2


def test_the_statistics_do_not_include_masked_pixels(job, content, net):
    """The target is the whole style. The losses are those of the white part: a composite that differs elsewhere has the
    same."""
    prepared = prepare(job(mask=HALF, sizes=[(60, 90)], epochs=1))
    guides = targets_of(prepared, prepared.recipe.stages[0], net, style_statistic(prepared.recipe)).guides
    assert set(guides.styles) == {0, 5}
    (weights,) = guides.styles[5]
    assert weights.shape == (1, 1, 30, 45)
    columns = weights.asnumpy()[0, 0]
    assert (columns[:, :22] == 1).all()
    assert (columns[:, 23:] == 0).all()
    assert (columns[:, 22] == 0.5).all()


@pytest.mark.parametrize("pixel_unit", ["standardised", "unit", "bytes"])
def test_the_networks_input_is_the_composite_blended_with_the_content(job, net, pixel_unit):
    """In every unit of the pixels, the losses are those of the features of a blended composite."""
    prepared = prepare(job(mask=mask_of(102), sizes=[(60, 90)], epochs=1, pixel_unit=pixel_unit, **SHALLOW_LAYERS))
    targets = targets_of(prepared, prepared.recipe.stages[0], net, style_statistic(prepared.recipe))
    standardised = nst.preprocess(mx.nd.array(paint(60, 90, seed=9), dtype="uint8"), (90, 60))
    scale, shift = (mx.nd.array(each) for each in standardisation(pixel_unit))
    losses = []
    for X, guides in (
        (standardised, targets.guides),
        (0.4 * standardised + 0.6 * targets.content_X, Guides(styles=targets.guides.styles)),
    ):
        X = mx.nd.broadcast_div(mx.nd.broadcast_sub(X, shift), scale)
        X.attach_grad()
        losses.append(Objective(net, X, targets.contents_Y, targets.styles_Y, prepared.recipe, guides=guides)())
    assert list(losses[0].values()) == pytest.approx(list(losses[1].values()), rel=1e-3)
    assert losses[0].content > 0.1


def test_a_different_mask_gives_a_different_key(job):
    keys = {prepare(job(mask=mask)).key for mask in (None, HALF, mask_of(128))}
    assert len(keys) == 3


@pytest.mark.slow
def test_the_command_takes_a_mask(render, content, tmp_path):
    HALF.save(tmp_path / "mask.png")
    options = ["--mask", tmp_path / "mask.png", "--sizes", "60x90", "--epochs", "8", "--lr", "0.2", *SHALLOW]
    status, _, _ = render(*options, small=False)
    with Image.open(tmp_path / "out.png") as after, Image.open(content) as before:
        difference = np.abs(pixels(after) - pixels(before)).max(axis=2)
    assert status == 0
    assert difference[:, 45:].max() <= 1
    assert difference[:, :45].mean() > 10


@pytest.mark.parametrize(
    "level, message", [(0, "black everywhere, so nothing would be stylised"), (None, "no such file")]
)
def test_the_command_refuses_a_mask_that_is_black_or_missing(refuses, tmp_path, level, message):
    if level is not None:
        mask_of(level).save(tmp_path / "mask.png")
    refuses(message, "--mask", tmp_path / "mask.png")


# -- regions ----------------------------------------------------------------------------------------------------------

RED, BLUE, GREEN = (230, 20, 30), (30, 40, 200), (20, 150, 40)


def painted(height, width, *colours):
    """Return vertical stripes of these colours."""
    which = np.arange(width) * len(colours) // width
    return Image.fromarray(np.broadcast_to(np.array(colours, np.uint8)[which], (height, width, 3)).copy())


@pytest.fixture
def two_in_one():
    """Return a style with two very different halves, and its map."""
    array = paint(60, 90, seed=6).astype(float)
    array[:, :45] = (np.mgrid[:60, :45][1] % 6 * 50)[..., None]
    array[:, 45:] = array[:, 45:] * [0.5, 0.2, 0.1]
    return Image.fromarray(array.astype(np.uint8)), painted(60, 90, RED, BLUE)


def guided(job, two_in_one, map_of_content, **options):
    """Return the Job of a content with a map, and a style with its map."""
    picture, map_of_style = two_in_one
    style = nst.Style(picture, regions=map_of_style)
    made = job()
    chosen = {
        "sizes": [(32, 48)], "epochs": 25, "lr": 0.1, "content_weight": 0, "tv_weight": 0,
        "content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv2_1"],
    }  # fmt: skip
    return nst.Job(
        made.content, style, regions=map_of_content, weights=made.weights, **{"recipe": "d2l-2019", **chosen, **options}
    )


def statistics_of(net, picture, statistic, columns):
    """Return the statistics of some columns of a picture, by layer, without its edge and the border of two regions."""
    array = mx.nd.array(np.asarray(picture)[:, columns])
    X = nst.preprocess(array, array.shape[1::-1])
    _, features = nst.extract_features(X, net, (), (0, 5))
    return [(statistic.of(Y[:, :, 3:-3, 3:-3]), Y.shape) for Y in features]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, order",
    [("gram", (RED, BLUE)), ("gram", (BLUE, RED)), ("wasserstein", (BLUE, RED))],
)
def test_a_region_is_stylised_from_its_region_of_the_style(job, net, two_in_one, name, order):
    options = {"style_statistic": name, "style_weight": 1 if name == "wasserstein" else 1e3}
    *_, state = nst.steps(guided(job, two_in_one, painted(60, 90, *order), optimizer="lbfgs", **options))
    statistic = style_statistic(nst.Recipe((nst.Stage((32, 48), 1),), style_statistic=name))
    halves = {RED: slice(0, 45), BLUE: slice(45, 90)}
    for colour, columns in zip(order, (slice(0, 24), slice(24, 48))):
        found = statistics_of(net, state.images[0], statistic, columns)
        other = BLUE if colour == RED else RED
        for layer, (made, shape) in enumerate(found):
            distances = []
            for each in (colour, other):
                target, _ = statistics_of(net, two_in_one[0], statistic, halves[each])[layer]
                distances.append(statistic.distance(made, statistic.target(target), shape).asscalar())
            assert distances[0] < 0.6 * distances[1]


def test_the_target_of_a_region_is_the_statistic_of_the_styles_region(job, net, two_in_one):
    prepared = prepare(guided(job, two_in_one, painted(60, 90, BLUE, RED), sizes=[(60, 90)], style_layers=["conv1_1"]))
    statistic = style_statistic(prepared.recipe)
    targets = targets_of(prepared, prepared.recipe.stages[0], net, statistic)
    X = nst.preprocess(mx.nd.array(np.asarray(two_in_one[0])), (90, 60))
    _, (features,) = nst.extract_features(X, net, (), (0,))
    expected = [statistic.of(features[:, :, :, part]).asnumpy() for part in (slice(0, 45), slice(45, 90))]
    found = [target.asnumpy() for target in targets.styles_Y[0]]
    order = sorted(range(2), key=lambda number: targets.guides.styles[0][number].asnumpy()[..., :45].sum())
    for number, part in zip(order, expected):  # red is the content's right half, and the style's left one
        assert np.allclose(found[number], part, rtol=1e-4, atol=1e-6)


def test_the_weights_of_a_region_include_the_mask(job, net, two_in_one):
    mask = mask_of(np.where(np.arange(90) < 60, 204, 0))
    options = {"sizes": [(60, 90)], "epochs": 1, "style_layers": ["conv1_1"]}
    prepared = prepare(guided(job, two_in_one, painted(60, 90, RED, BLUE), mask=mask, **options))
    targets = targets_of(prepared, prepared.recipe.stages[0], net, style_statistic(prepared.recipe))
    columns = sorted((each.asnumpy()[0, 0, 0].tolist() for each in targets.guides.styles[0]), reverse=True)
    expected = np.zeros((2, 90))
    expected[0, :45] = expected[1, 45:60] = 0.8
    assert np.allclose(columns, expected, atol=1e-6)


def test_a_region_of_two_styles_has_their_mean_as_target(job, net, two_in_one):
    picture, map_of_style = two_in_one
    other = Image.fromarray(paint(60, 90, seed=7))
    made = job()
    styles = [nst.Style(picture, 3.0, regions=map_of_style), nst.Style(other, 1.0, regions=painted(60, 90, RED))]
    options = {"weights": made.weights, "sizes": [(60, 90)], "epochs": 1, "content_layers": ["conv1_1"]}
    content_map = painted(60, 90, RED, RED, BLUE)
    prepared = prepare(
        nst.Job(made.content, styles, regions=content_map, style_layers=["conv1_1"], recipe="d2l-2019", **options)
    )
    statistic = style_statistic(prepared.recipe)
    found = [each.asnumpy() for each in targets_of(prepared, prepared.recipe.stages[0], net, statistic).styles_Y[0]]
    features = [
        nst.extract_features(nst.preprocess(mx.nd.array(np.asarray(each)), (90, 60)), net, (), (0,))[1][0]
        for each in (picture, other)
    ]
    red = [statistic.of(features[0][:, :, :, :45]).asnumpy(), statistic.of(features[1]).asnumpy()]
    assert np.allclose(found[0], 0.75 * red[0] + 0.25 * red[1], rtol=1e-4, atol=1e-6)
    assert np.allclose(found[1], statistic.of(features[0][:, :, :, 45:]).asnumpy(), rtol=1e-4, atol=1e-6)


def test_the_weight_of_a_region_in_the_loss_is_its_share_of_the_positions(job, net, two_in_one):
    prepared = prepare(
        guided(job, two_in_one, painted(60, 90, RED, RED, BLUE), sizes=[(60, 90)], style_layers=["conv1_1"])
    )
    statistic = style_statistic(prepared.recipe)
    targets = targets_of(prepared, prepared.recipe.stages[0], net, statistic)
    X = targets.content_X.copy()
    X.attach_grad()
    losses = Objective(net, X, targets.contents_Y, targets.styles_Y, prepared.recipe, statistic, targets.guides)()
    _, (features,) = nst.extract_features(X, net, (), (0,))
    red, blue = (
        statistic.distance(statistic.of(part), statistic.target(target), part.shape).asscalar()
        for part, target in zip((features[:, :, :, :60], features[:, :, :, 60:]), targets.styles_Y[0])
    )
    assert losses.style == pytest.approx(1e3 * (2 * red + blue) / 3, rel=1e-4)


@pytest.mark.parametrize("name", ["gram", "wasserstein"])
def test_a_mask_may_hide_a_whole_region(job, two_in_one, name):
    mask = mask_of(np.where(np.arange(90) < 40, 255, 0))
    options = {"style_statistic": name, "epochs": 3}
    *_, state = nst.steps(guided(job, two_in_one, painted(60, 90, RED, BLUE), mask=mask, **options))
    assert state.status == "complete"
    assert all(np.isfinite(epoch.losses.total) for epoch in state.record)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gram"])
def test_a_region_at_the_edge_without_positions_of_a_deep_layer_uses_the_others(job, two_in_one, name):
    """The layers above the fourth pooling cover 48 of 60 rows; the last nine rows of the map are a region."""
    picture, _ = two_in_one
    array = np.asarray(painted(60, 90, RED)).copy()
    array[51:] = BLUE
    region_map = Image.fromarray(array)
    made = job()
    options = {"weights": made.weights, "sizes": [(60, 90)], "epochs": 2, "style_statistic": name, "lr": 0.05}
    layers = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv5_1"]}
    style = nst.Style(picture, regions=region_map)
    *_, state = nst.steps(nst.Job(made.content, style, regions=region_map, recipe="d2l-2019", **options, **layers))
    assert state.status == "complete"
    assert all(np.isfinite(epoch.losses.total) for epoch in state.record)


@pytest.mark.slow
def test_a_region_at_the_edge_of_the_style_without_positions_of_a_deep_layer_does_not_diverge(job, two_in_one):
    picture, _ = two_in_one
    array = np.asarray(painted(60, 90, RED)).copy()
    array[51:] = BLUE
    made = job()
    options = {"weights": made.weights, "sizes": [(60, 90)], "epochs": 2, "lr": 0.05}
    layers = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv5_1"]}
    style = nst.Style(picture, regions=Image.fromarray(array))
    *_, state = nst.steps(
        nst.Job(made.content, style, regions=painted(60, 90, RED, BLUE), recipe="d2l-2019", **options, **layers)
    )
    assert state.status == "complete"
    assert all(np.isfinite(epoch.losses.total) for epoch in state.record)


def test_a_mask_without_positions_of_a_deep_layer_is_refused(job):
    mask = Image.fromarray(np.where(np.arange(60) < 51, 0, 255).astype(np.uint8)[:, None].repeat(90, axis=1))
    layers = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv5_1"]}
    message = "size 60x90: .* leave no position of conv5_1"
    with pytest.raises(nst.InputError, match=message):  # before the first stage, which would have positions
        prepare(job(mask=mask, sizes=[(64, 96), (60, 90)], epochs=2, **layers))
    prepare(job(mask=mask, sizes=[(64, 96), (60, 90)], margin=16, epochs=2, **layers))


def test_regions_without_positions_of_a_deep_layer_in_the_style_are_refused(job, two_in_one):
    array = np.asarray(painted(60, 90, RED)).copy()
    array[51:] = BLUE
    made = job()
    options = {"weights": made.weights, "sizes": [(60, 90)], "epochs": 2}
    layers = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv5_1"]}
    style = nst.Style(two_in_one[0], regions=Image.fromarray(array))
    blue = painted(60, 90, BLUE)
    with pytest.raises(nst.InputError, match="leave no position of conv5_1"):
        prepare(nst.Job(made.content, style, regions=blue, recipe="d2l-2019", **options, **layers))


def test_regions_with_a_margin_give_a_picture_of_the_stages_size(job, two_in_one):
    *_, state = nst.steps(guided(job, two_in_one, painted(60, 90, RED, BLUE), margin=16, epochs=2))
    assert state.status == "complete"
    assert state.images[0].size == (48, 32)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def maps(tmp_path):
    """Return the paths of maps: red and blue, red and green, and only red."""
    found = {}
    for name, colours in {"blue": (RED, BLUE), "green": (RED, GREEN), "red": (RED,)}.items():
        found[name] = tmp_path / f"{name}.png"
        painted(60, 90, *colours).save(found[name])
    return found


def test_the_error_names_a_colour_that_the_styles_map_does_not_have(refuses, maps, style, tmp_path):
    Image.fromarray(np.asarray(Image.open(maps["red"]).resize((70, 80)))).save(tmp_path / "own.png")
    refuses(
        "no style's map has its colour #1e28c8",
        "--regions",
        maps["blue"],
        "--style-regions",
        tmp_path / "own.png",
    )


def test_content_and_styles_must_both_have_maps(refuses, maps):
    refuses("--regions: 0 maps for 1 style pictures; give one for each with --style-regions", "--regions", maps["blue"])
    refuses("--style-regions: the content has no region map; give it one", "--style-regions", maps["red"])


def test_a_map_with_another_aspect_ratio_than_its_picture_is_refused(refuses, maps):
    message = "do not have the aspect ratio of its picture, 80 x 70"
    refuses(message, "--regions", maps["red"], "--style-regions", maps["red"])


@pytest.mark.slow
def test_a_sweep_does_not_overwrite_its_mask(experiment, tmp_path):
    for path, options in (
        (tmp_path / "mask.png", ["--figure", tmp_path / "mask.png"]),
        (tmp_path / "out/lr=0.1.png", []),
    ):
        path.parent.mkdir(exist_ok=True)
        HALF.save(path)
        before = path.read_bytes()
        status, _, err = experiment("sweep", "--vary", "lr=0.1,0.2", "--mask", path, *options, *SHALLOW)
        assert status == 2
        assert path.name in err
        assert path.read_bytes() == before


# -- all together -----------------------------------------------------------------------------------------------------


def everything(content, two_in_one, **options):
    """Return the pictures and options of a run with a mask, regions, colours and transparency."""
    picture, map_of_style = two_in_one
    opaque = Image.open(content).convert("RGBA")
    opaque.putalpha(77)
    style = nst.Style(picture, regions=map_of_style, scale=0.8)
    chosen = {
        "mask": HALF, "regions": painted(60, 90, RED, BLUE), "margin": 16, "preserve_colors": "luminance",
        "padding": "reflect", "noise": 0.1, "carry": "change", "tv_norm": "l2", "style_statistic": "wasserstein",
        "style_weight": 1, "keep": "average", "sizes": [(24, 36), (32, 48)], "epochs": 2,
        "content_layers": ["conv2_1"], "style_layers": ["conv1_1", "conv2_1"],
    }  # fmt: skip
    return (opaque, [style, style]), {**chosen, **options}


@pytest.mark.slow
def test_a_run_with_everything_is_the_same_in_np_mode(run, content, two_in_one, np_mode):
    pictures, options = everything(content, two_in_one)
    found = run(*pictures, **options).image
    mx.npx.reset_np()
    assert found.mode == "RGBA"
    assert found.tobytes() == run(*pictures, **options).image.tobytes()


@pytest.mark.slow
@needs_bfloat16
def test_a_run_with_everything_is_nearly_the_same_in_bfloat16(run, content, two_in_one):
    pictures, options = everything(content, two_in_one)
    results = [run(*pictures, precision=precision, **options) for precision in ("float32", "bfloat16")]
    assert results[1].loss == pytest.approx(results[0].loss, rel=0.05)
    assert np.abs(pixels(results[0].image) - pixels(results[1].image)).mean() < 3


@pytest.mark.slow
def test_a_run_with_everything_can_be_pickled(job, content, two_in_one):
    pictures, options = everything(content, two_in_one)
    made = job()
    prepared = prepare(nst.Job(*pictures, weights=made.weights, recipe="d2l-2019", **options))
    again = pickle.loads(pickle.dumps(prepared))
    assert carry_out(again).image.tobytes() == carry_out(prepared).image.tobytes()
    assert again.key == prepared.key
