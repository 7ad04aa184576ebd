"""Averages of a stage's composites, and Adam's moments that are carried to the next stage."""

import pickle

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.optimisers import Adam
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from training_inputs import recipe

BETA1, EPSILON = 0.9, 1e-8


@pytest.fixture
def job(job):
    """The small Job with a network of one layer."""
    shallow = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}
    return lambda **options: job(**{**shallow, **options})


class Slope:
    """An objective whose gradient is the same everywhere."""

    def __init__(self, X, gradient):
        self.X, self.gradient = X, mx.nd.array(gradient)

    def __call__(self):
        with autograd.record():
            loss = (self.X * self.gradient).sum()
        loss.backward()
        return nst.Losses({"content/slope": loss.asscalar()}, float(loss.asscalar()))


def climb(adam, gradients, lr=0.1):
    for gradient in gradients:
        adam.step(adam.evaluate(Slope(adam.X, gradient)), lr)


def smooth(height, width, seed):
    """Return a smooth function sampled at a size."""
    down, across = np.mgrid[:height, :width]
    wave = np.sin(2 * np.pi * ((down + 0.5) / height + seed / 7)) + np.cos(2 * np.pi * (across + 0.5) / width)
    return np.stack([(1 + channel) * wave for channel in range(3)])[None].astype(np.float32)


def moments(gradients, beta2):
    """Return Adam's moments after these gradients."""
    mean, square = np.zeros(gradients[0].shape), np.zeros(gradients[0].shape)
    for gradient in gradients:
        mean, square = BETA1 * mean + (1 - BETA1) * gradient, beta2 * square + (1 - beta2) * gradient.astype(float) ** 2
    return mean, square


def steps_of(mean, square, gradient, count, beta2, lr=0.1):
    """Return Adam's step number `count` from the previous moments."""
    mean, square = BETA1 * mean + (1 - BETA1) * gradient, beta2 * square + (1 - beta2) * gradient.astype(float) ** 2
    return -lr * np.sqrt(1 - beta2**count) / (1 - BETA1**count) * mean / (np.sqrt(square) + EPSILON)


# -- Adam's moments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta2", [0.999, 0.99])
def test_the_first_step_at_the_next_size_uses_the_carried_moments_and_number_of_steps(beta2):
    chosen = recipe(carry_moments=True, beta2=beta2)
    before, start = Adam.start(mx.nd.zeros((1, 3, 12, 16)), chosen), mx.nd.zeros((1, 3, 24, 32))
    slopes = [np.full((1, 3, 12, 16), value, np.float32) for value in (1.0, -0.5, 3.0)]
    climb(before, slopes)
    after, gradient = (
        Adam.start(start, chosen, before.state.carried_moments()),
        np.full((1, 3, 24, 32), -2, np.float32),
    )
    climb(after, [gradient])
    mean, square = (each[0, 0, 0, 0] for each in moments(slopes, beta2))
    expected = steps_of(mean, square, gradient, 4, beta2)
    assert np.allclose(after.X.asnumpy(), expected, rtol=1e-4)
    assert np.abs(expected - steps_of(0, 0, gradient, 1, beta2)).min() > 0.02  # the step without carried moments


def test_moments_are_resized_like_pictures():
    chosen = recipe(carry_moments=True)
    before = Adam.start(mx.nd.zeros((1, 3, 24, 32)), chosen)
    climb(before, [smooth(24, 32, 1)] * 3)
    after, gradient = (
        Adam.start(mx.nd.zeros((1, 3, 48, 64)), chosen, before.state.carried_moments()),
        smooth(48, 64, 2),
    )
    climb(after, [gradient])
    mean, square = moments([smooth(48, 64, 1)] * 3, 0.999)  # the moments at this size
    expected = steps_of(mean, square, gradient, 4, 0.999)
    inner = (..., slice(3, -3), slice(3, -3))
    assert np.corrcoef(after.X.asnumpy()[inner].ravel(), expected[inner].ravel())[0, 1] > 0.99


def test_resized_squares_of_gradients_are_not_negative():
    chosen = recipe(carry_moments=True)
    before, gradient = Adam.start(mx.nd.zeros((1, 3, 16, 16)), chosen), np.zeros((1, 3, 16, 16), np.float32)
    gradient[..., 8, 8] = 1e3
    climb(before, [gradient] * 2)
    after = Adam.start(mx.nd.zeros((1, 3, 45, 45)), chosen, before.state.carried_moments())
    climb(after, [np.ones((1, 3, 45, 45), np.float32)])
    assert np.isfinite(after.X.asnumpy()).all()


def test_moments_are_not_carried_if_the_recipe_forbids_it():
    plain = recipe()
    before = Adam.start(mx.nd.zeros((1, 3, 12, 16)), plain)
    climb(before, [np.ones((1, 3, 12, 16), np.float32)] * 3)
    after, gradient = (
        Adam.start(mx.nd.zeros((1, 3, 24, 32)), plain, before.state.carried_moments()),
        np.full((1, 3, 24, 32), -2, np.float32),
    )
    climb(after, [gradient])
    assert np.allclose(after.X.asnumpy(), 0.1, rtol=1e-4)  # Adam's first step is the learning rate


CARRYING = {"optimizer": "adam", "lr": 0.05, "epochs": [4, 3]}


@pytest.mark.slow
def test_carried_moments_change_the_first_step_at_the_second_size(job):
    first, second = ([], [])
    for found, carry in ((first, False), (second, True)):
        run = prepare(job(carry_moments=carry, **CARRYING))
        for state in nst.steps(run):
            found.append(state.reached(run.recipe).asnumpy())
            if len(found) == 5:
                break
    assert all(np.array_equal(*pair) for pair in zip(first[:4], second[:4]))
    assert np.abs(first[4] - second[4]).mean() > 0.01


@pytest.mark.slow
def test_a_run_without_carried_moments_starts_the_second_size_like_a_new_run(job):
    """Its first step has the length of the learning rate; with carried moments it could have any length."""
    for carry in (False, True):
        run = prepare(job(carry_moments=carry, **CARRYING))
        states = nst.steps(run)
        for _ in range(4):
            state = next(states)
        content_X = nst.preprocess(run.content.array, (64, 48))
        start = run.start_of(2, content_X, state.composite).asnumpy()
        next(states)
        moved = np.abs(state.optimiser.X.asnumpy() - start)
        assert (np.abs(moved - 0.05).mean() < 1e-3) != carry
        assert np.percentile(moved, 99) < 0.2
        states.close()


# -- averages ---------------------------------------------------------------------------------------------------------


def composites(job, **options):
    """Return the optimiser's composite and the average after each epoch of a stage, and the run."""
    run = prepare(job(sizes=[(32, 48)], keep="average", **options))
    X, averages = [], []
    start = run.start_of(1, nst.preprocess(run.content.array, (48, 32)), None).asnumpy()
    for state in nst.steps(run):
        if state.optimiser is not None:
            X.append(state.optimiser.X.asnumpy())
            averages.append(state.reached(run.recipe).asnumpy())
    return run, start, X, averages, state


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_decays_exponentially_with_bias_correction(job, decay):
    _, start, X, averages, _ = composites(job, epochs=6, lr=0.1, average_decay=decay)
    assert len(X) == 5
    for number in range(1, 6):
        weights = decay ** np.arange(number, -1, -1.0)
        stack = np.stack([start, *X[:number]]).astype(np.float64)
        expected = np.tensordot(weights / weights.sum(), stack, axes=1)
        assert np.abs(averages[number - 1] - expected).max() < 1e-5


def test_the_result_of_a_stage_is_the_average(job):
    _, _, _, _, state = composites(job, epochs=6, lr=0.1, average_decay=0.9)
    _, _, X, averages, _ = composites(job, epochs=7, lr=0.1, average_decay=0.9)
    assert np.array_equal(averages[5], state.composite.asnumpy())
    assert np.abs(X[5] - averages[5]).mean() > 0.05
    shown = nst.postprocess(mx.nd.array(averages[5])).asnumpy() * 255
    assert np.abs(np.asarray(state.images[0], float) - shown).max() < 0.51


def test_the_average_has_less_noise(job):
    _, _, X, averages, _ = composites(job, epochs=25, lr=0.5, average_decay=0.95)

    def variation(seen):
        return np.mean([np.abs(after - before).mean() for before, after in zip(seen[-8:], seen[-7:])])

    assert variation(averages) < 0.2 * variation(X)


@pytest.mark.slow
def test_each_size_has_its_own_average(job):
    run = prepare(job(keep="average", average_decay=0.99, lr=0.2, epochs=[5, 1]))
    states = nst.steps(run)
    for _ in range(5):
        state = next(states)
    start = run.start_of(2, nst.preprocess(run.content.array, (64, 48)), state.composite).asnumpy()
    assert state.average is None
    run = prepare(job(keep="average", average_decay=0.99, lr=0.2, epochs=[5, 2]))
    states = nst.steps(run)
    for _ in range(6):
        state = next(states)
    X = state.optimiser.X.asnumpy()
    assert np.allclose(state.reached(run.recipe).asnumpy(), (0.99 * start + X) / 1.99, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count, np_arrays", [(2, True), (4, False), (6, False)])
def test_a_run_with_averages_and_carried_moments_resumes_with_the_same_bytes(job, count, np_arrays):
    options = {
        "keep": "average",
        "carry_moments": True,
        "lr": 0.05,
        "clip_at": "step",
        "pixel_unit": "unit",
        "beta2": 0.99,
    }
    *_, whole = nst.steps(job(**options))
    states = nst.steps(job(**options))
    if np_arrays:
        mx.npx.set_np()
    try:
        for _ in range(count):
            state = next(states)
        states.close()
        state = pickle.loads(pickle.dumps(state))
        *_, state = nst.steps(job(**options), state)
    finally:
        mx.npx.reset_np()
    assert [picture.tobytes() for picture in state.images] == [picture.tobytes() for picture in whole.images]
    assert [epoch.losses.total for epoch in state.record] == [epoch.losses.total for epoch in whole.record]


def test_moments_can_not_be_carried_with_a_margin():
    with pytest.raises(nst.InputError, match="carry_moments: a stage's margin does not fit the next stage's"):
        recipes.customise("stp", margin=16)


@pytest.mark.slow
def test_a_stage_that_diverged_restarts_with_the_carried_moments(job):
    options = {"carry_moments": True, "lr": 0.05}
    *_, state = nst.steps(job(**{**options, "lr": [0.05, 1e30]}))
    assert state.status == "diverged"
    state.hand_over()
    *_, state = nst.steps(job(**options), state)
    *_, whole = nst.steps(job(**options))
    assert state.status == "complete"
    assert state.images[-1].tobytes() == whole.images[-1].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("weight", [2.0**70, 2.0**-70])
def test_the_scale_of_all_weights_makes_no_difference_with_lbfgs(job, weight):
    only_style = {"optimizer": "lbfgs", "content_weight": 0, "tv_weight": 0}
    first, second = (carry_out(prepare(job(**only_style, style_weight=each))).image for each in (1, weight))
    assert first.tobytes() == second.tobytes()
