"""Trees of arrays and values."""

import dataclasses
from typing import Any, NamedTuple

from gluon_nst.machine.trees import as_numpy, on_device, walk

import mxnet as mx
import numpy as np


class Pair(NamedTuple):
    one: Any
    other: Any


@dataclasses.dataclass
class Kept:
    values: Any


def test_leaves_are_replaced_and_types_are_kept():
    tree = {"a": [1, (2,)], 3: Pair(4, Kept({"b": 5}))}
    assert walk(tree, lambda value: -value) == {"a": [-1, (-2,)], 3: Pair(-4, Kept({"b": -5}))}
    assert tree["a"] == [1, (2,)]


def test_nodes_are_replaced_or_are_leaves():
    tree = [Pair(1, Kept(2))]
    assert walk(tree, str, lambda kind, fields: {kind.__name__: fields}) == [
        {"Pair": {"one": "1", "other": {"Kept": {"values": "2"}}}}
    ]
    assert walk(tree, lambda value: type(value).__name__, node=None) == ["Pair"]


def test_arrays_go_to_numpy_and_back():
    tree = Pair(mx.nd.arange(3), [None, "text", mx.nd.ones((1, 2))])
    found = as_numpy(tree)
    assert type(found.one) is type(found.other[2]) is np.ndarray
    assert found.other[:2] == [None, "text"]
    again = on_device(found, mx.cpu())
    assert isinstance(again.one, mx.nd.NDArray)
    assert np.array_equal(again.other[2].asnumpy(), [[1, 1]])
