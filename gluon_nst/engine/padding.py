"""The canvas that is optimised: the picture with a margin around it, on the network's grid.

What the network's zero padding does to a picture it does to its outermost pixels, and where a side is no multiple of 16
the last pooling leaves its end out. With a margin all of that is cut off. The margin is the picture mirrored, content
and start: left free it would be painted with more of the style, and the picture's border with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst.network.layers import GRID, LAYERS, smallest_side
from gluon_nst.typing import NDArray


class Canvas(NamedTuple):
    """Where a picture of `shape` (height, width) lies in a canvas of `size`: `top` and `left` are the margin there."""

    shape: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int

    def place(self, X: NDArray) -> NDArray:
        """A picture (1 × c × h × w) on the canvas, the margin mirrored."""
        if self.size == self.shape:
            return X
        (height, width), (rows, columns) = self.shape, self.size
        vertical, horizontal = (self.top, rows - height - self.top), (self.left, columns - width - self.left)
        mirrored = np.pad(X.asnumpy(), ((0, 0), (0, 0), vertical, horizontal), mode="symmetric")
        return nd.array(mirrored, ctx=X.context)

    def crop(self, X: NDArray) -> NDArray:
        """The picture on a canvas (1 × c × h × w)."""
        if self.size == self.shape:
            return X
        height, width = self.shape
        X = X.slice_axis(axis=2, begin=self.top, end=self.top + height)
        return X.slice_axis(axis=3, begin=self.left, end=self.left + width)


def canvas(shape: tuple[int, int], margin: int) -> Canvas:
    """The canvas of a picture with a margin of so many pixels at least; of the picture's own size where that is 0.

    >>> canvas((300, 450), 16)
    Canvas(shape=(300, 450), size=(336, 496), top=18, left=23)
    """
    if not margin:
        return Canvas(shape, shape, 0, 0)
    height, width = (-(-(side + 2 * margin) // GRID) * GRID for side in shape)
    return Canvas(shape, (height, width), (height - shape[0]) // 2, (width - shape[1]) // 2)


def resized(weights: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Weights of pixels, float32 h × w, for a picture of another shape (height, width): averaged, or interpolated."""
    height, width = shape
    return np.asarray(Image.fromarray(weights).resize((width, height), Image.Resampling.BILINEAR))


def sees(layer: int, weights: np.ndarray, canvas: Canvas) -> bool:
    """Whether a position of a layer covers any of the pixels, h × w on the canvas' picture, that have weights.

    A pooling leaves the last row or column out where their number is odd.
    """
    grid = smallest_side(layer)
    rows, columns = (side // grid * grid - before for side, before in zip(canvas.size, (canvas.top, canvas.left)))
    return bool(weights[:rows, :columns].any())


def at_layer(weights: NDArray, layer: int) -> NDArray:
    """Weights of pixels (1 × 1 × h × w) as those of the positions of a layer: the average over the pixels that each
    covers."""
    for name, index in LAYERS.items():
        if name.startswith("pool") and index <= layer:
            weights = nd.Pooling(weights, kernel=(2, 2), stride=(2, 2), pool_type="avg")
    return weights
