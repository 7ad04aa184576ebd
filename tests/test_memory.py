import re

import gluon_nst as nst
from gluon_nst import layers, recipes
from gluon_nst.memory import estimate_memory

import mxnet as mx
import pytest


def test_the_estimate_grows_with_the_size_and_the_layers():
    chapter = recipes.read("d2l-2019")
    small, large = (estimate_memory(chapter, (height, 450)) for height in (300, 600))
    assert small < large < 2 * small
    assert estimate_memory(recipes.customise(chapter, optimizer="lbfgs"), (300, 450)) > small
    few = recipes.customise(chapter, content_layers=["conv1_1"], style_layers=["conv1_1"])
    assert estimate_memory(few, (300, 450)) < small


def test_outputs_per_pixel_are_those_of_the_layers(net):
    X, count = mx.nd.zeros((1, 3, 32, 48)), 0
    for index, layer in enumerate(net):
        X = layer(X)
        count += X.size
        assert layers.outputs_per_pixel(index) == count / (32 * 48)


def test_a_size_that_would_fit_is_named(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.memory.available_memory", lambda: 2e9)
    with pytest.raises(
        nst.InputError, match=r"size 1000x1500: needs about .* such as (\d+)x(\d+), or end other programs"
    ) as refused:
        run(sizes=[(32, 48), (1000, 1500)])
    height, width = map(int, re.search(r"such as (\d+)x(\d+)", str(refused.value)).groups())
    assert estimate_memory(recipes.read("d2l-2019"), (height, width)) <= 2e9
    assert estimate_memory(recipes.read("d2l-2019"), (height + 20, width + 30)) > 2e9
