"""Reductions over the positions of feature maps and pictures, and their losses.

The losses are proportional to the reductions. The sums of the parts of a picture add up to that of the whole, and a
mask is a weight in the sum. Only these sums are computed in the network's graph; the rest is arithmetic on a few
numbers (`objective`). All functions take NDArrays, and Symbols with known shapes.
"""

from __future__ import annotations

import math
from typing import Callable, Mapping, Sequence

from gluon_nst.errors import InputError
from gluon_nst.network.operators import operators, padded, shape_of
from gluon_nst.recipes.choices import CONTENT_REDUCTIONS
from gluon_nst.typing import Array


def summed_product(X: Array, Y: Array) -> Array:
    """Return the sum of X · Y over all elements, of shape (1,).

    It is computed by a matrix product, ten times as fast as MXNet's sum. The arrays are reshaped to a few rows, and the
    diagonal of the product is summed: a single dot product is as fast, but has ten times the rounding error.
    """
    F, size = operators(X), math.prod(shape_of(X))
    rows = next(rows for rows in (8, 3, 1) if size % rows == 0)
    product = F.FullyConnected(X.reshape((rows, -1)), Y.reshape((rows, -1)), no_bias=True, num_hidden=rows)
    return F.linalg.extractdiag(product).sum().reshape((1,))


def mean_square(X: Array) -> Array:
    """Return the mean of X² over all elements, of shape (1,)."""
    return summed_product(X, X) / math.prod(shape_of(X))


def factor(table: Mapping[str, Callable[[int, int], float]], what: str, name: str, shape: tuple[int, ...]) -> float:
    """Return the factor `name` in `table` for features of a `shape`.

    Errors call the argument `what`.
    """
    if name not in table:
        raise InputError(f"{what} {name}: not one of {', '.join(table)}")
    _, num_channels, height, width = shape
    return table[name](num_channels, height * width)


def weighted(X: Array, weights: Array | None) -> Array:
    """Multiply `X` by `weights` of its positions, if any.

    `X` is 1 × c × h × w, the weights are 1 × 1 × h × w.
    """
    return X if weights is None else operators(X).broadcast_mul(X, weights)


# -- losses -----------------------------------------------------------------------------------------------------------


class SquaredDifference:
    """The squared difference from the content picture's features.

    `reduction` is as in `chapter.content_loss`.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def sums(self, X: Array, Y: Array, weights: Array | None = None) -> Array:
        """Return the sum over all positions and channels, of shape (1,).

        `weights`, if any, are those of the positions.
        """
        difference = X - Y
        return summed_product(difference, weighted(difference, weights))

    def loss(self, sums: Array, shape: tuple[int, ...]) -> Array:
        """Return the loss from the `sums` for features of a `shape`.

        It is their mean, or another `reduction`.
        """
        return sums / math.prod(shape) * factor(CONTENT_REDUCTIONS, "reduction", self.reduction, shape)


def _part(X: Array, top: int | None, bottom: int | None, left: int | None, right: int | None) -> Array:
    return X.slice_axis(axis=2, begin=top, end=bottom).slice_axis(axis=3, begin=left, end=right)


class TotalVariation:
    """The absolute differences of neighbours in a composite 1 × 3 × h × w.

    They are those of section 14.12.5.3. `corners`, also in SquaredVariation, are weights of pixels' corners,
    1 × 1 × (h + 1) × (w + 1). A difference has the weight of the corner between its pixels.
    """

    def sums(self, X: Array, corners: Array | None = None) -> tuple[Array, Array]:
        """Return the sums for vertical and for horizontal neighbours, of shape (1,) each."""
        down = X.slice_axis(axis=2, begin=1, end=None) - X.slice_axis(axis=2, begin=0, end=-1)
        across = X.slice_axis(axis=3, begin=1, end=None) - X.slice_axis(axis=3, begin=0, end=-1)
        if corners is not None:
            down = weighted(down, _part(corners, 1, -1, 1, None))
            across = weighted(across, _part(corners, 1, None, 1, -1))
        return self._summed(down), self._summed(across)

    def loss(self, sums: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
        """Return half the sum of the two means."""
        (down, across), (_, num_channels, height, width) = sums, shape
        return 0.5 * (down / (num_channels * (height - 1) * width) + across / (num_channels * height * (width - 1)))

    @staticmethod
    def _summed(X: Array) -> Array:
        """Return the sum of |X|, computed as X times its sign; its gradient is the sign."""
        tiny = 1e-30  # clipping is five times as fast as MXNet's sign, and thus as the gradient of its abs
        return summed_product(X, operators(X).BlockGrad(X.clip(-tiny, tiny) * (1 / tiny)))


class SquaredVariation:
    """The squared differences of neighbours, also diagonal ones, in a composite.

    The composite is 1 × 3 × h × w, with replicated edges. This is a nine-point stencil, as in style-transfer-pytorch.
    """

    def sums(self, X: Array, corners: Array | None = None) -> tuple[Array, ...]:
        """Return the sums for neighbours of four directions, of shape (1,) each.

        They are the horizontal, the vertical and both diagonal ones.
        """
        larger = padded(X, "replicate")
        pairs = (
            (_part(X, 0, None, 1, None), _part(X, 0, None, 0, -1), (1, None, 1, -1)),
            (_part(X, 1, None, 0, None), _part(X, 0, -1, 0, None), (1, -1, 1, None)),
            (_part(larger, 1, None, 1, None), _part(larger, 0, -1, 0, -1), (0, None, 0, None)),
            (_part(larger, 1, None, 0, -1), _part(larger, 0, -1, 1, None), (0, None, 0, None)),
        )
        sums = []
        for first, second, corner_part in pairs:
            difference = first - second
            weights = None if corners is None else _part(corners, *corner_part)
            sums.append(summed_product(difference, weighted(difference, weights)))
        return tuple(sums)

    def loss(self, sums: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return the loss from the sums for the four directions.

        It is twice the sum of a third of the first two means and a twelfth of the others.
        """
        _, num_channels, height, width = shape
        across, down, *diagonals = sums
        size, padded_size = num_channels * height * width, num_channels * (height + 1) * (width + 1)
        return 2 * ((across + down) / (3 * size) + (diagonals[0] + diagonals[1]) / (12 * padded_size))
