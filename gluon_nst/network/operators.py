"""MXNet's operators for NDArrays and for Symbols with known shapes."""

from __future__ import annotations

from typing import Any

from mxnet import nd, sym

from gluon_nst.errors import InputError
from gluon_nst.typing import Array


def shape_of(X: Array) -> tuple[int, ...]:
    """Return the shape of an NDArray or a Symbol.

    Raises InputError if the shape of a Symbol is not known.
    """
    if not isinstance(X, sym.Symbol):
        return X.shape
    _, shapes, _ = X.infer_shape_partial()
    if not shapes or not shapes[0] or 0 in shapes[0]:
        raise InputError(f"symbol {X.name}: its shape is not known; give its variables shapes")
    return shapes[0]


def operators(X: Array) -> Any:
    """Return MXNet's operators for `X`: `mxnet.nd` or `mxnet.sym`."""
    return sym if isinstance(X, sym.Symbol) else nd


def padded(X: Array, padding: str) -> Array:
    """Pad a picture by one pixel on each side, by `replicate` or `reflect`.

    The picture is 1 × 3 × h × w.
    """
    return operators(X).pad(
        X, mode={"replicate": "edge", "reflect": "reflect"}[padding], pad_width=(0, 0, 0, 0, 1, 1, 1, 1)
    )
