"""The padded canvas: the picture with a margin, on the network's grid.

The network's zero padding changes the outermost pixels of a picture, and the last pooling drops the end of a side that
is not a multiple of 16. With a margin, both happen outside the picture. The margin of the content and of the start is
the mirrored picture; an empty margin would get more of the style, and so would the picture's border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst.network.layers import GRID, LAYERS, smallest_side
from gluon_nst.typing import NDArray


class Canvas(NamedTuple):
    """The position of a picture of `shape` (height, width) in a canvas of `size`.

    `top` and `left` are the picture's margins.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int

    def place(self, X: NDArray) -> NDArray:
        """Return a picture (1 × c × h × w) on the canvas.

        The margin is the mirrored picture.
        """
        if self.size == self.shape:
            return X
        (height, width), (rows, columns) = self.shape, self.size
        vertical, horizontal = (self.top, rows - height - self.top), (self.left, columns - width - self.left)
        mirrored = np.pad(X.asnumpy(), ((0, 0), (0, 0), vertical, horizontal), mode="symmetric")
        return nd.array(mirrored, ctx=X.context)

    def crop(self, X: NDArray) -> NDArray:
        """Return the picture on a canvas (1 × c × h × w), without the margin."""
        if self.size == self.shape:
            return X
        height, width = self.shape
        X = X.slice_axis(axis=2, begin=self.top, end=self.top + height)
        return X.slice_axis(axis=3, begin=self.left, end=self.left + width)


def canvas(shape: tuple[int, int], margin: int) -> Canvas:
    """Return the canvas of a picture of `shape` with a `margin`.

    The margin has at least this number of pixels on each side; with 0 there is none.

    >>> canvas((300, 450), 16)
    Canvas(shape=(300, 450), size=(336, 496), top=18, left=23)
    """
    if not margin:
        return Canvas(shape, shape, 0, 0)
    height, width = (-(-(side + 2 * margin) // GRID) * GRID for side in shape)
    return Canvas(shape, (height, width), (height - shape[0]) // 2, (width - shape[1]) // 2)


def resized(weights: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize weights of pixels (h × w, float32) to a shape (height, width).

    The weights are averaged or interpolated.
    """
    height, width = shape
    return np.asarray(Image.fromarray(weights).resize((width, height), Image.Resampling.BILINEAR))


def sees(layer: int, weights: np.ndarray, canvas: Canvas) -> bool:
    """Return whether a position of a layer covers a pixel with a weight above 0.

    `weights` (h × w) are those of the pixels of the canvas's picture. A pooling drops the last row or column if their
    number is odd.
    """
    grid = smallest_side(layer)
    rows, columns = (side // grid * grid - before for side, before in zip(canvas.size, (canvas.top, canvas.left)))
    return bool(weights[:rows, :columns].any())


def at_layer(weights: NDArray, layer: int) -> NDArray:
    """Average weights of pixels over the pixels that each position of a layer covers.

    `weights` are 1 × 1 × h × w.
    """
    for name, index in LAYERS.items():
        if name.startswith("pool") and index <= layer:
            weights = nd.Pooling(weights, kernel=(2, 2), stride=(2, 2), pool_type="avg")
    return weights
