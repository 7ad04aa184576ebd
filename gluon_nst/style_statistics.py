"""Statistics of feature maps: sums over positions, what they say of a picture of any size, and the distance of two.

A statistic is summed over the positions of a feature map, so that those of parts of a picture add up to that of the whole, and a
mask is a weight in the sum. Only the sums are computed in the network's graph; the rest is arithmetic on a few numbers
(`objective`). Everything here works on NDArrays, and on Symbols whose variables have shapes.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping

from mxnet import nd, sym

from gluon_nst.errors import InputError
from gluon_nst.recipes import Recipe
from gluon_nst.recipes.choices import CONTENT_REDUCTIONS, GRAM_DIVISORS, STYLE_REDUCTIONS

Array = Any
"""An NDArray, or a Symbol."""


def shape_of(X: Array) -> tuple[int, ...]:
    """The shape of an NDArray, or of a Symbol whose variables have theirs; raises InputError where they have not."""
    if not isinstance(X, sym.Symbol):
        return X.shape
    _, shapes, _ = X.infer_shape_partial()
    if not shapes or not shapes[0] or 0 in shapes[0]:
        raise InputError(f"symbol {X.name}: its shape is not known; give its variables their shapes")
    return shapes[0]


def operators(X: Array) -> Any:
    """MXNet's operators for `X`: `mxnet.nd`, or `mxnet.sym`."""
    return sym if isinstance(X, sym.Symbol) else nd


def summed_product(X: Array, Y: Array) -> Array:
    """The sum of X · Y over all elements, of shape (1,): a dot product, ten times faster than MXNet's sum."""
    return operators(X).dot(X.reshape(-1), Y.reshape(-1))


def mean_square(X: Array) -> Array:
    """The mean of X² over all elements, of shape (1,)."""
    return summed_product(X, X) / math.prod(shape_of(X))


def _factor(table: Mapping[str, Callable[[int, int], float]], what: str, name: str, shape: tuple[int, ...]) -> float:
    """The number that `table` has under `name` for features of a `shape`; `what` it is, for an error."""
    if name not in table:
        raise InputError(f"{what} {name}: not one of {', '.join(table)}")
    _, num_channels, height, width = shape
    return table[name](num_channels, height * width)


# -- of one feature map: what a style is ------------------------------------------------------------------------------


class Statistic:
    """A statistic of a feature map 1 × c × h × w. A subclass says what is summed; the rest has defaults."""

    def sums(self, X: Array) -> Array:
        """The sum over the positions of `X`."""
        raise NotImplementedError

    def normalised(self, sums: Array, shape: tuple[int, ...]) -> Array:
        """What does not grow with the picture: by default the mean over the positions of features of that `shape`."""
        _, _, height, width = shape
        return sums / (height * width)

    def distance(self, statistic: Array, target: Array, shape: tuple[int, ...]) -> Array:
        """How far a statistic of features of a `shape` is from a `target`, of shape (1,): by default the mean square."""
        return mean_square(statistic - target)

    def of(self, X: Array) -> Array:
        """The statistic of `X`, whole."""
        return self.normalised(self.sums(X), shape_of(X))


class Gram(Statistic):
    """The Gram matrix, c × c (Gatys et al. 2016, equation 3); `divisor` and `reduction` as in `losses.style_loss`."""

    def __init__(self, divisor: str = "chw", reduction: str = "mean") -> None:
        self.divisor, self.reduction = divisor, reduction

    def sums(self, X: Array) -> Array:
        """X Xᵀ of the features as c × hw, by oneDNN, which needs no transposed copy.

        Its gradient for a gradient D is (D + Dᵀ)X: one matrix product, where that of a product of two variables would take two.
        """
        F, (_, num_channels, height, width) = operators(X), shape_of(X)
        X = X.reshape((num_channels, height * width))
        product = F.FullyConnected(X, F.BlockGrad(X), no_bias=True, num_hidden=num_channels)
        # The same numbers, as it is symmetric; but what comes back from above is D + Dᵀ.
        return product + product.transpose() - F.BlockGrad(product)

    def normalised(self, sums: Array, shape: tuple[int, ...]) -> Array:
        """Divided by c·h·w, as in the book, or by another `divisor`."""
        return sums / _factor(GRAM_DIVISORS, "divisor", self.divisor, shape)

    def distance(self, statistic: Array, target: Array, shape: tuple[int, ...]) -> Array:
        """The squared differences of two Gram matrices, by the `reduction`."""
        loss = mean_square(statistic - target) * _factor(STYLE_REDUCTIONS, "reduction", self.reduction, shape)
        return loss / mean_square(target) if self.reduction == "relative" else loss


def style_statistic(recipe: Recipe) -> Statistic:
    """The statistic that is a style to `recipe`, and its distance."""
    return Gram(recipe.gram_divisor, recipe.style_reduction)


# -- sums that are a loss but for a factor ----------------------------------------------------------------------------


class SquaredDifference:
    """The squared difference of a feature map to the content picture's; `reduction` as in `losses.content_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def sums(self, X: Array, Y: Array) -> Array:
        """Over all positions and channels, of shape (1,)."""
        difference = X - Y
        return summed_product(difference, difference)

    def loss(self, sums: Array, shape: tuple[int, ...]) -> Array:
        """Their mean, or what the `reduction` makes of them, for features of a `shape`."""
        factor = _factor(CONTENT_REDUCTIONS, "reduction", self.reduction, shape)
        return sums / math.prod(shape) * factor


class TotalVariation:
    """The absolute differences of neighbours in a composite 1 × 3 × h × w (section 14.12.5.3)."""

    def sums(self, X: Array) -> tuple[Array, Array]:
        """Of those one above the other, and of those side by side; of shape (1,) each."""
        down = X.slice_axis(axis=2, begin=1, end=None) - X.slice_axis(axis=2, begin=0, end=-1)
        across = X.slice_axis(axis=3, begin=1, end=None) - X.slice_axis(axis=3, begin=0, end=-1)
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
