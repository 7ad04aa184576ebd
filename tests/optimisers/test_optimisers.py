import pickle

import gluon_nst as nst
from gluon_nst.machine.trees import as_numpy
from gluon_nst.optimisers import CLASSES, resumed
from gluon_nst.optimisers.adam import Adam, Moments
from gluon_nst.optimisers.lbfgs import LBFGS
from gluon_nst.recipes import OPTIMIZERS
from gluon_nst.runs.training import optimiser_of

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from training_inputs import composite, recipe

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""ImageNet's mean and standard deviation, which standardise pixels from 0 to 1."""


class Bowl:
    """An objective with its minimum at one value for all pixels. It writes the gradient to `X.grad`."""

    def __init__(self, X, lowest=0.5):
        self.X, self.lowest = X, lowest

    def __call__(self):
        with autograd.record():
            loss = ((self.X - self.lowest) ** 2).mean()
        loss.backward()
        return nst.Losses({"content/bowl": loss.asscalar()}, float(loss.asscalar()))


def descend(optimiser, epochs, lr=0.05, lowest=0.5):
    found = []
    for _ in range(epochs):
        losses = optimiser.evaluate(Bowl(optimiser.X, lowest))
        optimiser.step(losses, lr)
        found.append(losses.total)
    return found


def test_every_optimizer_that_a_recipe_can_name_has_a_class():
    assert set(CLASSES) == set(OPTIMIZERS)


@pytest.mark.parametrize("optimizer", CLASSES)
@pytest.mark.parametrize("clip_at", ["end", "step"])
def test_an_optimiser_whose_state_was_pickled_continues_with_the_same_results(optimizer, clip_at):
    chosen = recipe(optimizer=optimizer, clip_at=clip_at)
    optimiser = optimiser_of(composite(), chosen)
    first = descend(optimiser, 5)
    state = pickle.loads(pickle.dumps(as_numpy(optimiser.state)))
    again = resumed(state, chosen, optimiser.X.context)
    expected, found = descend(optimiser, 5), descend(again, 5)
    assert found == expected
    assert found[-1] < first[0]
    assert np.array_equal(again.X.asnumpy(), optimiser.X.asnumpy())


@pytest.mark.parametrize("optimizer", CLASSES)
def test_an_optimiser_does_not_change_its_start(optimizer):
    X = composite()
    before = X.asnumpy()
    descend(optimiser_of(X, recipe(optimizer=optimizer)), 3)
    assert np.array_equal(X.asnumpy(), before)


def test_an_unknown_optimiser_state_is_refused():
    with pytest.raises(TypeError, match="dict is not the state of an optimiser"):
        resumed({}, recipe(), mx.cpu())


def test_only_adam_uses_a_learning_rate():
    assert (Adam.scheduled, LBFGS.scheduled) == (True, False)


@pytest.mark.parametrize("optimizer", CLASSES)
@pytest.mark.parametrize("pixel_unit, least, largest", [
    ("unit", 0, 1), ("bytes", 0, 255),
    ("standardised", -MEAN / DEVIATION, (1 - MEAN) / DEVIATION),
])  # fmt: skip
def test_pixels_are_clipped_at_each_step_if_the_recipe_requires_it(optimizer, pixel_unit, least, largest):
    least, largest = (np.broadcast_to(np.reshape(each, (-1, 1, 1)), (3, 1, 1)) for each in (least, largest))
    for lowest, bound in ((-1e4, least), (1e4, largest)):
        clipped, free = (optimiser_of(composite(), recipe(optimizer=optimizer, clip_at=clip_at, pixel_unit=pixel_unit))
                         for clip_at in ("step", "end"))  # fmt: skip
        for optimiser in (clipped, free):
            descend(optimiser, 2, lr=500, lowest=lowest)
            optimiser.evaluate(Bowl(optimiser.X, lowest))
        assert clipped.X.asnumpy().min() >= least.min() - 1e-4
        assert clipped.X.asnumpy().max() <= largest.max() + 1e-4
        assert (free.X.asnumpy() < least).any() or (free.X.asnumpy() > largest).any()
        if optimizer == "adam":
            assert clipped.X.asnumpy()[0] == pytest.approx(np.broadcast_to(bound, (3, 32, 48)), abs=1e-4)


# -- Adam -------------------------------------------------------------------------------------------------------------


def adam(x, mean, square, steps, epochs, lr, beta2):
    """Compute steps of Adam (Kingma and Ba 2015) on the bowl with NumPy."""
    for step in range(steps + 1, steps + epochs + 1):
        gradient = 2 * (x - 0.5) / x.size
        mean, square = 0.9 * mean + 0.1 * gradient, beta2 * square + (1 - beta2) * gradient**2
        rate = lr * np.sqrt(1 - beta2**step) / (1 - 0.9**step)
        x = x - rate * mean / (np.sqrt(square) + 1e-8)
    return x


@pytest.mark.parametrize("beta2", [0.999, 0.9])
def test_adam_agrees_with_numpy(beta2):
    X = composite()
    optimiser, zeros = optimiser_of(X, recipe(beta2=beta2)), np.zeros(X.shape)
    descend(optimiser, 4)
    assert optimiser.X.asnumpy() == pytest.approx(adam(X.asnumpy(), zeros, zeros, 0, 4, 0.05, beta2), abs=1e-4)
    assert optimiser.state.moments.steps == 4
    assert optimiser.state.carried_moments() is optimiser.state.moments
    assert np.array_equal(optimiser.state.reached.asnumpy(), optimiser.X.asnumpy())


@pytest.mark.parametrize("carry_moments", [True, False])
def test_adam_starts_with_the_moments_of_the_previous_size_if_the_recipe_carries_them(carry_moments):
    before, X = Moments(mx.nd.full((1, 3, 16, 24), 2e-4), mx.nd.full((1, 3, 16, 24), 1e-7), 7), composite()
    optimiser = optimiser_of(X, recipe(carry_moments=carry_moments), before)
    descend(optimiser, 2)
    carried = (2e-4, 1e-7, 7) if carry_moments else (0, 0, 0)
    assert optimiser.X.asnumpy() == pytest.approx(adam(X.asnumpy(), *carried, 2, 0.05, 0.999), abs=1e-4)
    assert optimiser.state.moments.steps == carried[-1] + 2


def test_moments_are_resized_and_squares_stay_positive():
    edge = np.zeros((1, 3, 16, 24), np.float32)
    edge[..., 12:] = 1
    before = Moments(mx.nd.array(-edge), mx.nd.array(edge), 3)
    moments = Adam.start(composite(), recipe(carry_moments=True), before).state.moments
    assert moments.mean.shape == moments.square.shape == (1, 3, 32, 48)
    mean, square = moments.mean.asnumpy(), moments.square.asnumpy()
    assert mean[..., :20] == pytest.approx(0)
    assert mean[..., 28:] == pytest.approx(-1)
    assert mean.max() > 0.01  # bicubic kernels overshoot
    assert square.min() == 0
    assert square.max() == 1


def test_a_weight_change_does_not_change_adam():
    changed, other = (optimiser_of(composite(), recipe()) for _ in range(2))
    for optimiser in (changed, other):
        descend(optimiser, 2)
    changed.change_weights()
    for optimiser in (changed, other):
        descend(optimiser, 2)
    assert np.array_equal(changed.X.asnumpy(), other.X.asnumpy())


# -- L-BFGS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel_unit, unit", [("standardised", 1), ("unit", 1), ("bytes", 255)])
def test_the_first_step_of_lbfgs_is_the_same_for_the_network_in_every_unit(pixel_unit, unit):
    optimiser = optimiser_of(composite(), recipe(optimizer="lbfgs", clip_at="end", pixel_unit=pixel_unit))
    start = optimiser.X.asnumpy()
    descend(optimiser, 1)
    optimiser.evaluate(Bowl(optimiser.X))
    scale = 1 if pixel_unit == "standardised" else np.mean(1 / DEVIATION) / unit
    assert np.sqrt(np.mean((optimiser.X.asnumpy() - start) ** 2)) == pytest.approx(0.06 / scale, rel=1e-4)


def test_a_weight_change_restarts_lbfgs_at_the_lowest_point():
    optimiser = optimiser_of(composite(), recipe(optimizer="lbfgs", clip_at="end"))
    descend(optimiser, 3)
    lowest = optimiser.state.lowest.copy()
    assert np.array_equal(optimiser.state.reached.asnumpy(), lowest)
    optimiser.change_weights()
    optimiser.evaluate(Bowl(optimiser.X))
    assert np.array_equal(optimiser.X.asnumpy(), lowest)
    assert optimiser.state.pairs == []
    assert optimiser.state.carried_moments() is None


@pytest.mark.parametrize("preconditioner", ["none", "low-pass"])
def test_lbfgs_smooths_its_first_step_if_the_recipe_requires_it(preconditioner):
    chosen = recipe(optimizer="lbfgs", clip_at="end", preconditioner=preconditioner, preconditioner_power=2.0)
    optimiser = optimiser_of(composite(), chosen)
    start = optimiser.X.asnumpy()
    descend(optimiser, 1)
    optimiser.evaluate(Bowl(optimiser.X))
    change = optimiser.X.asnumpy() - start
    roughness = np.abs(np.diff(change)).mean() / np.abs(np.diff(start)).mean()
    assert (roughness < 0.5 * np.abs(change).mean() / np.abs(start - 0.5).mean()) == (preconditioner == "low-pass")
