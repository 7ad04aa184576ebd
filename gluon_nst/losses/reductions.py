"""Sums over the positions of feature maps and of pictures, and the losses that are such a sum but for a factor.

The sums of parts of a picture add up to that of the whole, and a mask is a weight in the sum. Only they are computed in
the network's graph; the rest is arithmetic on a few numbers (`objective`). Everything here works on NDArrays, and on
Symbols whose variables have shapes.
"""

from __future__ import annotations

import math
from typing import Callable, Mapping, Sequence

from gluon_nst.errors import InputError
from gluon_nst.network.operators import operators, padded, shape_of
from gluon_nst.recipes.choices import CONTENT_REDUCTIONS
from gluon_nst.typing import Array


def summed_product(X: Array, Y: Array) -> Array:
    """The sum of X · Y over all elements, of shape (1,): by oneDNN's product of two matrices, ten times faster than
    MXNet's sum.

    Of a few rows, of which the products of each with itself are wanted: a dot product of all numbers, as fast, has ten
    times the rounding error.
    """
    F, size = operators(X), math.prod(shape_of(X))
    rows = next(rows for rows in (8, 3, 1) if size % rows == 0)
    product = F.FullyConnected(X.reshape((rows, -1)), Y.reshape((rows, -1)), no_bias=True, num_hidden=rows)
    return F.linalg.extractdiag(product).sum().reshape((1,))


def mean_square(X: Array) -> Array:
    """The mean of X² over all elements, of shape (1,)."""
    return summed_product(X, X) / math.prod(shape_of(X))


def factor(table: Mapping[str, Callable[[int, int], float]], what: str, name: str, shape: tuple[int, ...]) -> float:
    """The number that `table` has under `name` for features of a `shape`; `what` it is, for an error."""
    if name not in table:
        raise InputError(f"{what} {name}: not one of {', '.join(table)}")
    _, num_channels, height, width = shape
    return table[name](num_channels, height * width)


def weighted(X: Array, weights: Array | None) -> Array:
    """`X` (1 × c × h × w) by `weights` of its positions (1 × 1 × h × w), where there are any."""
    return X if weights is None else operators(X).broadcast_mul(X, weights)


# -- losses -----------------------------------------------------------------------------------------------------------


class SquaredDifference:
    """The squared difference of a feature map to the content picture's; `reduction` as in `losses.content_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def sums(self, X: Array, Y: Array, weights: Array | None = None) -> Array:
        """Over all positions and channels, of shape (1,); each position is counted by `weights` where there are any."""
        difference = X - Y
        return summed_product(difference, weighted(difference, weights))

    def loss(self, sums: Array, shape: tuple[int, ...]) -> Array:
        """Their mean, or what the `reduction` makes of them, for features of a `shape`."""
        return sums / math.prod(shape) * factor(CONTENT_REDUCTIONS, "reduction", self.reduction, shape)


def _part(X: Array, top: int | None, bottom: int | None, left: int | None, right: int | None) -> Array:
    return X.slice_axis(axis=2, begin=top, end=bottom).slice_axis(axis=3, begin=left, end=right)


class TotalVariation:
    """The absolute differences of neighbours in a composite 1 × 3 × h × w (section 14.12.5.3).

    `corners`, here and in SquaredVariation, weights the differences by the corner where they meet, at the upper left of
    a pixel or of none: 1 × 1 × (h + 1) × (w + 1).
    """

    def sums(self, X: Array, corners: Array | None = None) -> tuple[Array, Array]:
        """Of those one above the other, and of those side by side; of shape (1,) each."""
        down = X.slice_axis(axis=2, begin=1, end=None) - X.slice_axis(axis=2, begin=0, end=-1)
        across = X.slice_axis(axis=3, begin=1, end=None) - X.slice_axis(axis=3, begin=0, end=-1)
        if corners is not None:
            down = weighted(down, _part(corners, 1, -1, 1, None))
            across = weighted(across, _part(corners, 1, None, 1, -1))
        return self._summed(down), self._summed(across)

    def loss(self, sums: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
        """Half the sum of the two means."""
        (down, across), (_, num_channels, height, width) = sums, shape
        return 0.5 * (down / (num_channels * (height - 1) * width) + across / (num_channels * height * (width - 1)))

    @staticmethod
    def _summed(X: Array) -> Array:
        """The sum of |X|, as that of X times its sign; its gradient is the sign."""
        tiny = 1e-30  # MXNet's sign, and so the gradient of its abs, is five times slower than this clipping
        return summed_product(X, operators(X).BlockGrad(X.clip(-tiny, tiny) * (1 / tiny)))


class SquaredVariation:
    """The squared differences of neighbours, the diagonal ones too, in a composite 1 × 3 × h × w whose edge goes on.

    A nine-point stencil, as in style-transfer-pytorch.
    """

    def sums(self, X: Array, corners: Array | None = None) -> tuple[Array, ...]:
        """Of those side by side, one above the other, and along both diagonals; of shape (1,) each."""
        larger = padded(X, "replicate")
        pairs = (
            (_part(X, 0, None, 1, None), _part(X, 0, None, 0, -1), (1, None, 1, -1)),
            (_part(X, 1, None, 0, None), _part(X, 0, -1, 0, None), (1, -1, 1, None)),
            (_part(larger, 1, None, 1, None), _part(larger, 0, -1, 0, -1), (0, None, 0, None)),
            (_part(larger, 1, None, 0, -1), _part(larger, 0, -1, 1, None), (0, None, 0, None)),
        )
        sums = []
        for first, second, meeting in pairs:
            difference = first - second
            weights = None if corners is None else _part(corners, *meeting)
            sums.append(summed_product(difference, weighted(difference, weights)))
        return tuple(sums)

    def loss(self, sums: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Twice the sum of a third of the first two means, and of a twelfth of the others."""
        _, num_channels, height, width = shape
        across, down, *diagonals = sums
        size, padded_size = num_channels * height * width, num_channels * (height + 1) * (width + 1)
        return 2 * ((across + down) / (3 * size) + (diagonals[0] + diagonals[1]) / (12 * padded_size))
