import pickle

import gluon_nst as nst
from gluon_nst.machine.trees import as_numpy
from gluon_nst.optimisers import CLASSES, resumed
from gluon_nst.recipes import OPTIMIZERS
from gluon_nst.runs.training import optimiser_of

import numpy as np
import pytest
from mxnet import autograd

from training_inputs import composite, recipe


class Bowl:
    """An objective that is lowest where every pixel is 0.5; its gradient goes to where an Objective's would."""

    def __init__(self, X):
        self.X = X

    def __call__(self):
        with autograd.record():
            loss = ((self.X - 0.5) ** 2).mean()
        loss.backward()
        return nst.Losses({"content/bowl": loss.asscalar()}, float(loss.asscalar()))


def descend(optimiser, epochs):
    found = []
    for _ in range(epochs):
        losses = optimiser.evaluate(Bowl(optimiser.X))
        optimiser.step(losses, 0.05)
        found.append(losses.total)
    return found


def test_every_optimizer_that_a_recipe_can_name_has_a_class():
    assert set(CLASSES) == set(OPTIMIZERS)


@pytest.mark.parametrize("optimizer", CLASSES)
@pytest.mark.parametrize("clip_at", ["end", "step"])
def test_an_optimiser_whose_state_is_pickled_between_two_steps_goes_on_as_it_would_have(optimizer, clip_at):
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
def test_an_optimiser_leaves_what_it_starts_from(optimizer):
    X = composite()
    before = X.asnumpy()
    descend(optimiser_of(X, recipe(optimizer=optimizer)), 3)
    assert np.array_equal(X.asnumpy(), before)
