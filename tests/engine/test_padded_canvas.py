"""The padded canvas: a picture with a margin, on the network's grid."""

import pickle

import gluon_nst as nst
from gluon_nst.engine.padding import at_layer, canvas, resized
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.network.layers import LAYERS
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of

import mxnet as mx
import numpy as np
import pytest

SHAPES = [(300, 450), (17, 33), (64, 64), (31, 16)]


@pytest.fixture
def job(job):
    """The small Job with a network of one layer."""
    shallow = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}
    return lambda **options: job(**{**shallow, **options})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("margin", [1, 8, 16, 40])
def test_a_canvas_is_on_the_grid_with_the_margin_on_all_sides(shape, margin):
    made = canvas(shape, margin)
    for side, whole, before in zip(shape, made.size, (made.top, made.left)):
        after = whole - side - before
        assert whole % 16 == 0
        assert min(before, after) >= margin
        assert abs(after - before) <= 1
        assert whole < side + 2 * margin + 16  # and no larger than necessary


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_margin_the_canvas_is_the_picture(shape):
    made, X = canvas(shape, 0), mx.nd.array(np.random.default_rng(1).random((1, 3, *shape)))
    assert made.size == shape
    assert made.place(X) is X
    assert made.crop(X) is X


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("margin", [1, 16, 40])
def test_cropping_undoes_placing(shape, margin):
    made, X = canvas(shape, margin), mx.nd.array(np.random.default_rng(1).random((1, 3, *shape)))
    placed = made.place(X)
    assert placed.shape == (1, 3, *made.size)
    assert np.array_equal(made.crop(placed).asnumpy(), X.asnumpy())


def test_the_margin_is_mirrored():
    made, X = canvas((20, 30), 6), mx.nd.array(np.random.default_rng(1).random((1, 3, 20, 30)))
    placed = made.place(X).asnumpy()
    top, left = made.top, made.left
    assert np.array_equal(placed[:, :, top - 1], placed[:, :, top])
    assert np.array_equal(placed[:, :, :top], placed[:, :, top : 2 * top][:, :, ::-1])
    assert np.array_equal(placed[..., left + 30], placed[..., left + 29])


@pytest.mark.parametrize("name, step", [("conv1_1", 1), ("relu1_2", 1), ("pool1", 2), ("conv3_1", 4), ("relu5_1", 16)])
def test_the_weight_of_a_position_is_the_average_over_the_pixels_that_it_covers(name, step):
    weights = np.random.default_rng(2).random((37, 50)).astype(np.float32)
    found = at_layer(mx.nd.array(weights[None, None]), LAYERS[name]).asnumpy()[0, 0]
    rows, columns = 37 // step, 50 // step
    whole = weights[: rows * step, : columns * step].reshape(rows, step, columns, step)
    assert np.allclose(found, whole.mean(axis=(1, 3)), atol=1e-6)


@pytest.mark.parametrize("name", ["conv1_1", "pool1", "conv2_2", "conv4_2", "conv5_1"])
def test_the_weights_have_the_shape_of_the_features(net, name):
    X = mx.nd.zeros((1, 3, 37, 50))
    features, _ = nst.extract_features(X, net, (LAYERS[name],), ())
    assert at_layer(mx.nd.ones((1, 1, 37, 50)), LAYERS[name]).shape[2:] == features[0].shape[2:]


@pytest.mark.parametrize("shape", [(15, 20), (60, 80), (30, 41)])
def test_resized_weights_keep_their_mean(shape):
    weights = np.random.default_rng(3).random((30, 40)).astype(np.float32)
    found = resized(weights, shape)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(weights.mean(), abs=0.02)
    assert found.min() >= 0
    assert found.max() <= 1


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_with_a_margin_gives_pictures_of_the_stages_own_sizes(job):
    run = prepare(job(margin=16, sizes=[(32, 48), (45, 61)], epochs=2))
    assert [sizes[0] for sizes in run.sizes] == [(64, 80), (80, 96)]
    for state in nst.steps(run):
        shown = state.picture(run)
        assert shown.size == [(48, 32), (61, 45)][state.stage - 1]
        if state.optimiser is not None:
            assert state.optimiser.X.shape[2:] == run.canvas(run.recipe.stages[state.stage - 1]).size
    assert [picture.size for picture in state.images] == [(48, 32), (61, 45)]
    assert state.composite.shape == (
        1,
        3,
        45,
        61,
    )


@pytest.mark.slow
@pytest.mark.parametrize("init", ["content", "noise"])
@pytest.mark.parametrize("carry", ["picture", "change"])
def test_each_stage_starts_with_its_picture_inside_the_margin(job, carry, init):
    """With tiny steps, so that the result of a stage is its start."""
    options = {"carry": carry, "init": init, "lr": 1e-7, "epochs": 1, "sizes": [(32, 48), (45, 61)]}
    *_, plain = nst.steps(job(**options))
    *_, framed = nst.steps(job(margin=16, **options))
    for number in (0, 1):
        first, second = (np.asarray(state.images[number], int) for state in (plain, framed))
        assert np.abs(first - second).max() <= 1


def test_the_content_in_the_margin_is_the_mirrored_picture(job, net):
    run = prepare(job(margin=16, sizes=[(32, 48)], epochs=2))
    stage = run.recipe.stages[0]
    content_X = targets_of(run, stage, net, style_statistic(run.recipe)).content_X.asnumpy()
    picture = nst.preprocess(run.content.array, (48, 32)).asnumpy()
    assert content_X.shape == (1, 3, 64, 80)
    assert np.array_equal(content_X[:, :, 16:48, 16:64], picture)
    assert np.array_equal(content_X[:, :, :16, 16:64], picture[:, :, 15::-1])


def test_the_style_loss_is_not_guided_by_the_margin(job, net):
    run = prepare(job(margin=16, sizes=[(32, 48)], epochs=2))
    assert targets_of(run, run.recipe.stages[0], net, style_statistic(run.recipe)).guides.styles == {}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, count", [("adam", 2), ("adam", 6), ("lbfgs", 6)])
def test_a_stopped_run_with_a_margin_resumes_with_the_same_bytes(job, optimizer, count):
    options = {"optimizer": optimizer, "margin": 8, "carry": "change", "clip_at": "end"}
    *_, whole = nst.steps(job(**options))
    steps = nst.steps(job(**options))
    for _ in range(count):
        state = next(steps)
    steps.close()
    state = pickle.loads(pickle.dumps(state))
    *_, state = nst.steps(job(**options), state)
    assert [picture.tobytes() for picture in state.images] == [picture.tobytes() for picture in whole.images]
    assert [epoch.losses.total for epoch in state.record] == [epoch.losses.total for epoch in whole.record]


def test_a_margin_gives_a_different_picture_and_key(job):
    plain, framed = (prepare(job(margin=margin, sizes=[(32, 48)], epochs=2)) for margin in (0, 16))
    pictures = []
    for run in (plain, framed):
        *_, state = nst.steps(run)
        pictures.append(state.images[0].tobytes())
    assert plain.key != framed.key
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_with_a_margin_works_in_np_mode(job, optimizer, np_mode):
    run = prepare(job(margin=16, optimizer=optimizer))
    states = nst.steps(run)
    state = next(states)
    assert state.picture(run).size == (48, 32)
    assert nst.Result.of(run, state).image.size == (48, 32)
    states.close()
