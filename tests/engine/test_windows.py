"""Windows: their arithmetic, and the same losses, gradients and pictures as without windows."""

import functools

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.engine import windows
from gluon_nst.engine.memory import Plan
from gluon_nst.engine.objective import Guides, Objective
from gluon_nst.engine.padding import at_layer, canvas
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine.scratch import Scratch
from gluon_nst.network.layers import shape_at
from gluon_nst.pictures.pixels import in_unit
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of

import mxnet as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as draw
from PIL import Image

from painting import paint
from training_inputs import needs_bfloat16

# -- arithmetic -------------------------------------------------------------------------------------------------------

PARTS = [range(1), range(10), range(11), range(26), range(29), range(10, 29), range(10, 20)]


@settings(derandomize=True, deadline=None)
@given(side=draw.integers(1, 3000), most=draw.integers(1, 900), layers=draw.sampled_from(PARTS))
def test_the_cores_of_the_windows_tile_a_side(side, most, layers):
    spans = windows.spans(side, most, layers)
    assert (spans[0].begin, spans[0].core_begin, spans[-1].end, spans[-1].core_end) == (0, 0, side, side)
    assert all(before.core_end == after.core_begin for before, after in zip(spans, spans[1:]))
    assert all(span.begin <= span.core_begin < span.core_end <= span.end for span in spans)


@settings(derandomize=True, deadline=None)
@given(side=draw.integers(1, 3000), most=draw.integers(1, 900), layers=draw.sampled_from(PARTS))
def test_windows_have_one_length_and_halos_as_wide_as_the_reach_of_the_layers(side, most, layers):
    spans, (halo, grid) = windows.spans(side, most, layers), windows.halo_of(layers)
    assert len({span.end - span.begin for span in spans}) == 1
    for span in spans:
        assert span.begin % grid == 0
        assert span.core_begin % grid == 0
        assert span.begin == 0 or span.core_begin - span.begin >= halo
        # The poolings drop the end of a window beyond the grid.
        assert span.end == side or span.end // grid * grid - span.core_end >= halo


@settings(derandomize=True, deadline=None)
@given(side=draw.integers(1, 3000), more=draw.integers(0, 500), layers=draw.sampled_from(PARTS))
def test_windows_are_not_longer_than_allowed(side, more, layers):
    most = windows.smallest_window(layers) + more
    spans = windows.spans(side, most, layers)
    assert all(span.end - span.begin <= most for span in spans)
    assert (len(spans) == 1) == (side <= most)


@pytest.mark.parametrize("side, most, number", [(400, 400, 1), (401, 400, 2), (1000, 400, 4), (150, 100, 1)])
def test_the_number_of_windows_of_the_whole_network(side, most, number):
    assert len(windows.spans(side, most, range(29))) == number


def fewest(side, most, layers):
    """Return the smallest number of windows of at most `most`, or if there is none, of the next possible length."""
    halo, grid = windows.halo_of(layers)
    for length in range(most, side, grid):
        for number in range(2, (side - 2 * halo) // grid + 1):
            step = (side - 2 * halo) // (number * grid) * grid
            if side - (number - 1) * step <= length:
                return number
    return 1


@settings(derandomize=True, deadline=None)
@given(side=draw.integers(1, 1000), most=draw.integers(1, 400), layers=draw.sampled_from(PARTS))
@example(side=25, most=1, layers=range(10))
@example(side=28, most=16, layers=range(10))
@example(side=10, most=1, layers=range(1))
@example(side=22, most=6, layers=range(1))
def test_the_number_of_windows_is_the_smallest_possible(side, most, layers):
    assert len(windows.spans(side, most, layers)) == fewest(side, most, layers)


@pytest.mark.parametrize(
    "layers, halo, smallest, stride",
    [
        (range(1), (1, 1), 4, 1),
        (range(5), (2, 2), 8, 1),
        (range(10), (8, 4), 24, 1),  # 2 convolutions of 1 pixel and 2 of 2, on a grid of 4
        (range(29), (80, 16), 192, 1),  # 70 on a grid of 16
        (range(4, 10), (4, 4), 16, 1),  # pool1 is the first of these layers
        (range(5, 10), (2, 2), 8, 2),
        (range(10, 29), (16, 4), 40, 4),  # 4 + 4 · 2 + 4 on a grid of 4
    ],
)
def test_the_halo_and_the_grid_of_layers(layers, halo, smallest, stride):
    assert windows.halo_of(layers) == halo
    assert windows.smallest_window(layers) == smallest
    assert windows.stride_before(layers) == windows.Part(layers, [], []).stride == stride


def test_a_span_in_the_positions_of_a_layer():
    span, positions = windows.Span(40, 104, 48, 96), range(1000)
    assert [positions[span.core(stride)] for stride in (1, 4)] == [range(8, 56), range(2, 14)]
    assert [positions[span.covered(stride)] for stride in (1, 4)] == [range(40, 104), range(10, 26)]
    assert [positions[span.core_covered(stride)] for stride in (1, 4)] == [range(48, 96), range(12, 24)]


def test_a_part_has_its_windows_row_by_row():
    part = windows.part(range(10), (100, 160), (68, 60))
    assert (len(part.rows), len(part.columns), part.number) == (2, 4, 8)
    assert part.shape == (60, 52)
    assert list(part.windows) == [windows.Rectangle(rows, columns) for rows in part.rows for columns in part.columns]
    assert (part.rows, part.columns) == (windows.spans(100, 68, range(10)), windows.spans(160, 60, range(10)))


def test_the_network_is_cut_after_its_second_pooling():
    size, pool2, conv3_1, conv5_1 = (103, 158), 9, 10, 28
    assert windows.whole(conv5_1, size) == [windows.part(range(29), size, size)]
    assert windows.cut(pool2, size, (68, 60), (40, 48)) == [windows.part(range(10), size, (68, 60))]
    low, high = windows.cut(conv3_1, size, (68, 60))
    assert low == windows.part(range(10), size, (68, 60))
    assert high == windows.part(range(10, 11), (25, 39), (25, 39))
    low, high = windows.cut(conv5_1, (420, 500), (68, 60), (250, 330))
    assert low == windows.part(range(10), (420, 500), (68, 60))
    assert high == windows.part(range(10, 29), (105, 125), (62, 82))
    assert high.number > 1


def test_the_duration_is_counted_in_outputs_and_multiplications_of_each_window():
    # conv1_1 has 64 outputs per pixel, of 27 multiplications each; relu1_1 has 64 more outputs.
    conv, both = 64 + 64 * 27 / 600, 128 + 64 * 27 / 600
    assert windows.work(windows.whole(0, (30, 50))) == pytest.approx(1500 * conv)
    assert windows.work(windows.whole(1, (30, 50))) == pytest.approx(1500 * both)
    part = windows.part(range(2), (30, 50), (30, 27))
    assert part.number == 2
    assert windows.work([part]) == pytest.approx(2 * 30 * part.shape[1] * both * 4 / 3)  # forward twice
    # conv3_1 has 256 outputs for 16 pixels.
    outputs = 256 * (1 + 9 * 128 / 600)
    assert windows.work([windows.part(range(10, 11), (10, 12), (10, 12))]) == pytest.approx(120 * outputs)
    assert windows.work(windows.cut(28, (96, 128), (96, 128))) == pytest.approx(
        windows.work(windows.whole(28, (96, 128)))
    )


@pytest.mark.parametrize("last", [28, 25, 19])
def test_the_halo_is_as_wide_as_the_receptive_field(parameters, last):
    """The gradient of one feature in the middle of a picture is not 0 within the halo, up to a grid step."""
    net = nst.truncated_vgg19(parameters, last, mx.cpu())
    X = nst.preprocess(mx.nd.array(paint(208, 16), dtype="uint8"), (16, 208))
    X.attach_grad()
    halo, grid = windows.halo_of(range(last + 1))
    with mx.autograd.record():
        (Y,), _ = nst.extract_features(X, net, [last], ())
        middle = Y.shape[2] // 2
        feature = (Y[:, :, middle] ** 2).sum()
    feature.backward()
    rows = np.flatnonzero(np.abs(X.grad.asnumpy()).sum(axis=(0, 1, 3)))
    reach = max(middle * grid - rows.min(), rows.max() + 1 - (middle + 1) * grid)
    assert halo - grid < reach <= halo


# -- the objective in windows -----------------------------------------------------------------------------------------


def prepared(name, size, **options):
    """Return a recipe at one size, in float32 by default."""
    changed = recipes.customise(name, sizes=[size], size_factor=1, margin=0, **{"precision": "float32", **options})
    return recipes.follow_optimizer(recipes.fit(changed, size))


class Problem:
    """The objective of a recipe at a size (height, width) with the random network, whole and in windows."""

    def __init__(self, parameters, recipe, size, guided=False):
        self.recipe, self.size, (height, width) = recipe, size, size
        self.net = nst.truncated_vgg19(parameters, recipe.last_layer, mx.cpu(), recipe.pooling, recipe.padding)
        content, style, start = (
            nst.preprocess(mx.nd.array(paint(height, width, seed), dtype="uint8"), (width, height))
            for seed in (1, 2, 3)
        )
        self.statistic = style_statistic(recipe)
        self.contents_Y, _ = nst.extract_features(content, self.net, recipe.content_layers, ())
        _, features = nst.extract_features(style, self.net, (), recipe.style_layers)
        self.styles_Y, self.guides = [self.statistic.of(Y) for Y in features], Guides()
        if guided:
            self.guides = guides(recipe, size, content)
            self.styles_Y = [[target, target * 0.7] for target in self.styles_Y]
        self.X = in_unit(start, recipe.pixel_unit)
        self.X.attach_grad()

    def evaluate(self, parts=None, contents_Y=None):
        """Return the losses and the gradient."""
        known = self.contents_Y if contents_Y is None else contents_Y, self.styles_Y
        objective = Objective(self.net, self.X, *known, self.recipe, self.statistic, self.guides, parts)
        losses = objective()
        return losses, self.X.grad.asnumpy()

    @functools.lru_cache(maxsize=None)  # noqa: B019
    def whole(self):
        return self.evaluate()


def guides(recipe, size, content):
    """Return Guides with a soft mask, and two regions that meet in the middle."""
    height, width = size
    mask = np.broadcast_to(np.linspace(1.2, -0.1, width).clip(0, 1), size)
    upper = np.broadcast_to((np.arange(height) < height // 2)[:, None], size)
    mask, upper = (mx.nd.array(np.array(each)[None, None]) for each in (mask, upper))
    regions = [mask * upper, mask * (1 - upper)]
    styles = {layer: [at_layer(region, layer) for region in regions] for layer in recipe.style_layers}
    return Guides(styles, mask, in_unit(content, recipe.pixel_unit))


def assert_agree(actual, expected):
    """Compare losses, to 1e-5 of each or of their total, and gradients, to 1e-4 of the largest."""
    (losses, gradient), (losses_of_whole, gradient_of_whole) = actual, expected
    assert list(losses) == list(losses_of_whole)
    assert losses.total == pytest.approx(losses_of_whole.total, rel=1e-5)
    near = pytest.approx(list(losses_of_whole.values()), rel=1e-5, abs=1e-5 * losses_of_whole.total)
    assert list(losses.values()) == near
    largest = np.abs(gradient_of_whole).max()
    assert largest > 0
    assert np.abs(gradient - gradient_of_whole).max() < 1e-4 * largest


def most(number, side, layers):
    """Return a length that gives at least this number of windows along a `side`."""
    halo, grid = windows.halo_of(layers)
    return side if number == 1 else -(-(side - 2 * halo) // number) + 2 * halo + grid


def tiled(last, size, below, above=None):
    """Cut the network, with at least these numbers of windows (down, across) below and above the cut."""
    low, high = range(windows.CUT + 1), range(windows.CUT + 1, last + 1)
    sides = [most(number, side, low) for number, side in zip(below, size)]
    if above is None or not high:
        return windows.cut(last, size, sides)
    # A position above the cut covers 4 pixels in each direction.
    return windows.cut(last, size, sides, [4 * most(number, side // 4, high) for number, side in zip(above, size)])


def uncut(last, size, number):
    """Return the whole network in at least this number of windows, if they can be that small."""
    layers = range(last + 1)
    return [windows.part(layers, size, [most(each, side, layers) for each, side in zip(number, size)])]


TILINGS = {
    "one window": lambda last, size: windows.whole(last, size),
    "cut, one window each": lambda last, size: tiled(last, size, (1, 1)),
    "columns, whole above": lambda last, size: tiled(last, size, (1, 2)),
    "4 x 3, whole above": lambda last, size: tiled(last, size, (4, 3)),
    "3 x 1, 2 x 1 above": lambda last, size: tiled(last, size, (3, 1), (2, 1)),
    "2 x 2, 2 x 2 above": lambda last, size: tiled(last, size, (2, 2), (2, 2)),
    "2 x 1 of the whole network": lambda last, size: uncut(last, size, (2, 1)),
}
"""Functions that return the parts of the network up to a layer, at a size, by name."""

SMALL = {"wide": (97, 143), "tall": (210, 75)}
DIFFERENT = [*recipes.PUBLISHED, "stp", "spst", "fine"]
"""Recipes whose objectives differ from each other."""


@pytest.fixture(scope="module")
def problem(parameters):
    """Return a function that makes each Problem once, so that its whole network is evaluated once."""

    @functools.lru_cache(maxsize=1)
    def make(name, size, guided=False, **options):
        return Problem(parameters, prepared(name, size, **options), size, guided)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("shape", SMALL)
def test_the_chapters_losses_and_gradient_are_the_same_in_windows(problem, shape, tiling):
    size = SMALL[shape]
    posed = problem("d2l-2019", size)
    assert_agree(posed.evaluate(TILINGS[tiling](posed.recipe.last_layer, size)), posed.whole())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DIFFERENT if name != "d2l-2019"])
def test_a_recipes_losses_and_gradient_are_the_same_in_windows(problem, name):
    size = SMALL["tall"]
    posed = problem(name, size)
    assert_agree(posed.evaluate(tiled(posed.recipe.last_layer, size, (3, 2), (2, 1))), posed.whole())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size, tiling",  # the tilings differ in the network's layers, which are those of all recipes
    [
        ("d2l-2019", (257, 331), "2 x 2, 2 x 2 above"),
        ("gatys-2016", (601, 173), "2 x 1 of the whole network"),
        ("fine", (257, 331), "4 x 3, whole above"),
    ],
)
def test_the_losses_and_the_gradient_of_a_large_picture_are_the_same_in_windows(problem, name, size, tiling):
    posed = problem(name, size)
    parts = TILINGS[tiling](posed.recipe.last_layer, size)
    assert any(part.number > 1 for part in parts)
    assert_agree(posed.evaluate(parts), posed.whole())


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    size=draw.tuples(draw.integers(24, 150), draw.integers(24, 150)),
    below=draw.tuples(draw.integers(32, 90), draw.integers(32, 90)),
    above=draw.none() | draw.tuples(draw.integers(32, 90), draw.integers(32, 90)),
)
def test_the_losses_and_the_gradient_do_not_depend_on_the_windows(problem, size, below, above):
    posed = problem("d2l-2019", size, content_layers=(12,), style_layers=(0, 5, 14))
    assert_agree(posed.evaluate(windows.cut(posed.recipe.last_layer, size, below, above)), posed.whole())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "average"},
        {"padding": "replicate"},
        {"padding": "reflect"},
        {"tv_norm": "l2"},
        {"pixel_unit": "unit"},
        {"pixel_unit": "bytes", "tv_norm": "l2", "padding": "replicate"},
        {"style_statistic": "wasserstein"},
        {"style_statistic": "gram-mean-std"},
    ],
    ids=str,
)
def test_losses_with_a_mask_and_regions_are_the_same_in_windows(problem, options):
    size = SMALL["tall"]
    posed = problem("d2l-2019", size, guided=True, content_layers=(14,), style_layers=(0, 5, 19), **options)
    for parts in (tiled(19, size, (4, 2)), tiled(19, size, (3, 1), (2, 1))):
        assert_agree(posed.evaluate(parts), posed.whole())


@pytest.mark.slow
@needs_bfloat16
@pytest.mark.parametrize("guided", [False, True])
def test_bfloat16_is_nearly_the_same_in_windows(problem, guided):
    size = SMALL["tall"]
    posed = problem("d2l-2019", size, guided=guided, precision="bfloat16")
    losses_of_whole, gradient_of_whole = posed.whole()
    for parts in (tiled(28, size, (4, 2)), tiled(28, size, (3, 1), (2, 1))):
        losses, gradient = posed.evaluate(parts)
        assert list(losses.values()) == pytest.approx(list(losses_of_whole.values()), rel=1e-2)
        difference = np.linalg.norm(gradient - gradient_of_whole)
        assert difference < 0.25 * np.linalg.norm(gradient_of_whole)


@pytest.mark.slow
@pytest.mark.parametrize("tiling", TILINGS)
def test_the_content_features_may_be_on_disk(problem, tiling):
    size = SMALL["tall"]
    posed = problem("d2l-2019", size)
    parts = TILINGS[tiling](posed.recipe.last_layer, size)
    on_disk = []
    for layer, Y in zip(posed.recipe.content_layers, posed.contents_Y):
        on_disk.append(Scratch(shape_at(layer, size)))
        on_disk[-1].write(Y.asnumpy(), slice(None), slice(None))
    (losses, gradient), (in_memory, gradient_in_memory) = posed.evaluate(parts, on_disk), posed.evaluate(parts)
    assert losses == in_memory
    assert np.array_equal(gradient, gradient_in_memory)


@pytest.mark.slow
@pytest.mark.parametrize("tiling", ["4 x 3, whole above", "3 x 1, 2 x 1 above"])
def test_a_second_evaluation_in_windows_gives_the_same(problem, tiling):
    size = SMALL["tall"]
    posed = problem("d2l-2019", size)
    parts = TILINGS[tiling](posed.recipe.last_layer, size)
    objective = Objective(posed.net, posed.X, posed.contents_Y, posed.styles_Y, posed.recipe, parts=parts)
    (first, gradient), (second, gradient_again) = ((objective(), posed.X.grad.asnumpy()) for _ in range(2))
    assert first == second
    assert np.array_equal(gradient, gradient_again)


# -- whole runs in windows --------------------------------------------------------------------------------------------


def pixels(picture):
    return np.asarray(picture.convert("RGB"), int)


def runs(job, monkeypatch, style_window, **options):
    """Return the pictures of two runs of a job: whole, and with windows in every stage."""
    planned = []

    def in_windows(recipe, size, styles, memory):
        of_canvas = canvas(size, recipe.margin).size
        planned.append(Plan(tiled(recipe.last_layer, of_canvas, (3, 2), (2, 1)), memory, style_window))
        return planned[-1]

    made = []
    for patched in (False, True):
        with monkeypatch.context() as patch:
            if patched:
                patch.setattr("gluon_nst.runs.run.plan", in_windows)
            *_, state = nst.steps(job(**options))
        made.append([pixels(image) for image in state.images])
    assert planned
    assert all(plan.windowed for plan in planned)
    return zip(*made)


ALIKE = {"sizes": [(48, 64), (72, 108)], "epochs": [3, 4], "content_layers": ["conv3_1"]}
"""A few epochs: with more of L-BFGS, rounding errors become large."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.02},
        {"optimizer": "lbfgs"},
        {"optimizer": "lbfgs", "margin": 16, "style_statistic": "wasserstein", "style_weight": 1},
        {"style_size": 2.0, "mask": Image.fromarray(np.full((60, 90), 180, np.uint8))},
        {
            "optimizer": "lbfgs",
            "preconditioner": "low-pass",
            "upsampling": "cosine",
            "style_layers": ["pixels", "conv2_1"],
            "style_statistic": "gram-mean-std",
        },
    ],
    ids=["adam", "lbfgs", "lbfgs with a margin", "mask", "preconditioned"],
)
def test_a_run_in_windows_makes_the_same_picture(job, monkeypatch, options):
    for whole, in_windows in runs(job, monkeypatch, 60, **ALIKE, **options):
        assert np.abs(in_windows - whole).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"recipe": "fine", "epochs": 2}])
def test_a_run_with_windows_of_the_whole_network_makes_the_same_picture(job, monkeypatch, options):
    deep = {"sizes": [(210, 140)], "epochs": 3, "content_layers": ["conv4_4"]}
    deep["style_layers"] = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
    for whole, in_windows in runs(
        job, monkeypatch, 200, **{**deep, "size_factor": 1, "precision": "float32", **options}
    ):
        difference = np.abs(in_windows - whole)
        assert difference.max() <= 1
        assert difference.mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_with_little_memory_uses_windows_and_makes_the_same_picture(job, optimizer):
    options = {"sizes": [(128, 160)], "epochs": 5, "optimizer": optimizer}
    whole, limited = job(**options), job(**options, memory=0.51e9)
    planned = [prepare(each) for each in (whole, limited)]
    assert [run.plan(run.recipe.stages[0]).windowed for run in planned] == [False, True]
    (*_, state), (*_, state_in_windows) = nst.steps(planned[0]), nst.steps(planned[1])
    difference = pixels(state.images[0]) - pixels(state_in_windows.images[0])
    assert np.abs(difference).max() <= 1
    assert whole.memory is None


@pytest.mark.slow
def test_the_style_statistics_do_not_depend_on_the_windows(job, net):
    """The style picture is longer than its windows."""
    statistics = []
    for side in (1000, 60):
        run = prepare(job(sizes=[(64, 96)], epochs=1, style_size=2.0))
        own = run.plan(run.recipe.stages[0])
        plan = Plan(own.parts, own.needed, side)
        statistics.append(targets_of(run, run.recipe.stages[0], net, style_statistic(run.recipe), plan).styles_Y)
    for (whole,), (in_windows,) in zip(*statistics):
        assert np.abs((whole - in_windows).asnumpy()).max() < 1e-5 * np.abs(whole.asnumpy()).max()
