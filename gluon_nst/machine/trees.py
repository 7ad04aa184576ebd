"""Trees of arrays: nested dicts, lists, tuples, NamedTuples and dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable


def _same(kind: type, fields: dict[Any, Any]) -> Any:
    return fields if issubclass(kind, dict) else kind(**fields)


def walk(tree: Any, leaf: Callable[[Any], Any], node: Callable[[type, dict[Any, Any]], Any] | None = _same) -> Any:
    """Return `tree` with `leaf(value)` for each value that is not itself a tree.

    `node(kind, fields)` returns what replaces a dict, a NamedTuple or a dataclass of type `kind`, by default a new one
    of that type. With None as `node`, NamedTuples and dataclasses are leaves. Lists and tuples stay lists and tuples.

    >>> walk({"a": [1, 2], "b": (3,)}, lambda value: 10 * value)
    {'a': [10, 20], 'b': (30,)}
    """
    is_named = hasattr(tree, "_asdict")
    fields = None
    if isinstance(tree, dict):
        fields = tree
    elif node and is_named:
        fields = tree._asdict()
    elif node and dataclasses.is_dataclass(tree):
        fields = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if fields is not None:
        walked = {name: walk(value, leaf, node) for name, value in fields.items()}
        return node(type(tree), walked) if node else walked
    if isinstance(tree, (list, tuple)) and not is_named:
        return type(tree)(walk(value, leaf, node) for value in tree)
    return leaf(tree)


def as_numpy(tree: Any) -> Any:
    """Return a tree with NumPy's arrays in place of MXNet's."""
    from mxnet import nd

    return walk(tree, lambda value: value.asnumpy() if isinstance(value, nd.NDArray) else value)


def on_device(tree: Any, device: Any) -> Any:
    """Return a tree with each array of NumPy or MXNet as an NDArray on a device."""
    import numpy as np
    from mxnet import nd

    def moved(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return nd.array(value, ctx=device, dtype=value.dtype)
        return value.as_in_context(device) if isinstance(value, nd.NDArray) else value

    return walk(tree, moved)


def as_ndarray(array: Any) -> Any:
    """Return an array as an NDArray.

    One of NumPy's becomes an NDArray on the CPU that shares its memory.
    """
    from mxnet import nd

    return array if isinstance(array, nd.NDArray) else nd.from_numpy(array[:])
