"""Style statistics: reductions of feature maps that describe a style.

A statistic is summed over positions (`sums`), normalised, averaged with those of other styles, and compared.
"""

from __future__ import annotations

import math
from typing import Callable, Sequence

import numpy as np
from mxnet import nd

from gluon_nst.losses.reductions import factor, mean_square, summed_product, weighted
from gluon_nst.losses.roots import root_trace
from gluon_nst.network.operators import operators, shape_of
from gluon_nst.recipes import Recipe
from gluon_nst.recipes.choices import GRAM_DIVISORS, STYLE_REDUCTIONS
from gluon_nst.typing import Array, NDArray


class Statistic:
    """A statistic of a feature map 1 × c × h × w.

    Subclasses define `sums`; the other methods have defaults. `normalised` must be linear in the sums, so that weighted
    means of several styles' statistics are well-defined.
    """

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """Return the sum over the positions of `X`.

        `weights` (1 × 1 × h × w), if any, are those of the positions.
        """
        raise NotImplementedError

    def normalised(self, sums: Array, shape: tuple[int, ...], positions: float | None = None) -> Array:
        """Return the statistic, independent of the picture's size.

        By default it is the mean over positions. `shape` is that of the features; `positions` is the sum of the weights
        of positions, if they have any.
        """
        _, _, height, width = shape
        return sums / (positions or height * width)

    def target(self, statistic: NDArray) -> list[NDArray]:
        """Return the arrays of a style's statistic that `distance` needs.

        They are computed once; by default they are the statistic itself.
        """
        return [statistic]

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return the distance of a statistic from a style's `target`, of shape (1,).

        `shape` is that of the features. By default the distance is the mean square of the difference.
        """
        return mean_square(statistic - target[0])

    def of(self, X: Array, weights: Array | None = None, positions: float | None = None) -> Array:
        """Return the normalised statistic of a feature map `X`."""
        if weights is None:
            return self.normalised(self.sums(X), shape_of(X))
        return self.normalised(self.sums(X, weights), shape_of(X), positions)


def _second_moments(X: Array, weights: Array | None) -> Array:
    """Return X W Xᵀ, c × c, of features `X` as c × hw, by oneDNN.

    `X` is 1 × c × h × w; `weights` (W), if any, are those of the positions. The second factor is a constant, and the
    gradient D of the product is replaced by D + Dᵀ. The gradient of the features is then (D + Dᵀ)XW, one matrix
    product; a product of two variables would need two.
    """
    F, (_, num_channels, height, width) = operators(X), shape_of(X)
    flat, weighed = (each.reshape((num_channels, height * width)) for each in (X, weighted(F.BlockGrad(X), weights)))
    product = F.FullyConnected(flat, weighed, no_bias=True, num_hidden=num_channels)
    return product + product.transpose() - F.BlockGrad(product)


class Gram(Statistic):
    """The Gram matrix, c × c (Gatys et al. 2016, equation 3).

    `divisor`, `reduction` are as in `chapter.style_loss`.
    """

    def __init__(self, divisor: str = "chw", reduction: str = "mean") -> None:
        self.divisor, self.reduction = divisor, reduction

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """Return X Xᵀ of the features as c × hw, by oneDNN, without a transposed copy."""
        return _second_moments(X, weights)

    def normalised(self, sums: Array, shape: tuple[int, ...], positions: float | None = None) -> Array:
        """Return the sums divided by c·h·w, as in the book, or by another `divisor`."""
        share = 1.0 if positions is None else positions / math.prod(shape[2:])
        return sums / (factor(GRAM_DIVISORS, "divisor", self.divisor, shape) * share)

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return the squared differences of two Gram matrices, by the `reduction`."""
        (gram_Y,) = target
        loss = mean_square(statistic - gram_Y) * factor(STYLE_REDUCTIONS, "reduction", self.reduction, shape)
        return loss / mean_square(gram_Y) if self.reduction == "relative" else loss


class _Moments(Statistic):
    """The channels' second raw moments, and in a last column their means: c × (c + 1)."""

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """Return X Xᵀ of the features as c × hw, and in a last column the sum over hw."""
        F, (_, num_channels, height, width) = operators(X), shape_of(X)
        if weights is None:
            weights_of_means = F.ones_like(F.BlockGrad(X).slice_axis(axis=1, begin=0, end=1))
        else:
            weights_of_means = weights
        positions, flat = weights_of_means.reshape((1, height * width)), X.reshape((num_channels, height * width))
        # By a product as well, because MXNet's own means take forty times as long.
        means = F.FullyConnected(flat, positions, no_bias=True, num_hidden=1)
        return F.concat(_second_moments(X, weights), means, dim=1)

    @staticmethod
    def _split(statistic: Array, num_channels: int) -> tuple[Array, Array]:
        """Return the second moments, c × c, and the means, c × 1."""
        moments = statistic.slice_axis(axis=1, begin=0, end=num_channels)
        return moments, statistic.slice_axis(axis=1, begin=num_channels, end=num_channels + 1)


class GramMeanStd(_Moments):
    """Gram matrix, means and standard deviations of the channels.

    The source is Galerne, Raad, Lezama and Morel 2024.

    - `reduction` is that of the Gram matrices' squared differences, as in `Gram`; the matrices are divided by h·w.
    - `moments_weight` is the weight of the mean squared differences of means and of standard deviations.
    """

    def __init__(self, reduction: str = "mean", moments_weight: float = 1.0) -> None:
        self.reduction, self.moments_weight = reduction, moments_weight

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return the weighted sum of the squared differences of the three."""
        F, num_channels = operators(statistic), shape[1]
        (gram_X, means), (gram_Y, means_Y) = (self._split(each, num_channels) for each in (statistic, target[0]))
        grams = mean_square(gram_X - gram_Y) * factor(STYLE_REDUCTIONS, "reduction", self.reduction, shape)

        def deviations(gram: Array, means: Array) -> Array:
            variances = F.linalg.extractdiag(gram) - (means * means).reshape((num_channels,))
            return variances.clip(1e-8, 3e38).sqrt()  # the root has no gradient at 0, as for a channel that is 0

        difference = deviations(gram_X, means) - deviations(gram_Y, means_Y)
        return grams + (mean_square(means - means_Y) + mean_square(difference)) * self.moments_weight


class Wasserstein(_Moments):
    """The squared 2-Wasserstein distance of Gaussians, per channel.

    The Gaussians have the channels' means and covariances. As in style-transfer-pytorch (Crowson), which follows Olkin
    and Pukelsheim 1982: the mean of the squared differences of the means, plus the mean of the diagonal of
    Σ_Y + Σ - 2·(Σ_Y^½ Σ Σ_Y^½)^½, with 1e-4 added to both covariances' diagonals.

    With Σ_Y = Rᵀ R, where R = Λ^½ Vᵀ of its eigenvalues and eigenvectors, (R Σ Rᵀ)^½ has the same trace and keeps the
    precision of the small eigenvalues. `roots.root_trace` computes this trace and its gradient with respect to Σ,
    ½ Rᵀ (R Σ Rᵀ)^(-½) R. No root is differentiated.
    """

    EPSILON = 1e-4

    def _covariance(self, statistic: Array, num_channels: int) -> tuple[Array, Array]:
        moments, means = self._split(statistic, num_channels)
        return moments - operators(means).dot(means, means, transpose_b=True), means

    def target(self, statistic: NDArray) -> list[NDArray]:
        """Return the means, R, R⁻¹, and the trace of the covariance."""
        covariance, means = self._covariance(statistic.astype("float64"), len(statistic))
        eigenvalues, vectors = np.linalg.eigh(covariance.asnumpy())
        eigenvalues = np.maximum(eigenvalues, 0) + self.EPSILON
        scales = np.sqrt(eigenvalues)
        constants = (scales[:, None] * vectors.T, vectors / scales, eigenvalues.sum(keepdims=True))
        arrays = (nd.array(each, ctx=statistic.context, dtype="float32") for each in constants)
        return [means.astype("float32"), *arrays]

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        F, num_channels = operators(statistic), shape[1]
        means_Y, R, inverse, trace_Y = target
        covariance, means = self._covariance(statistic, num_channels)
        trace = F.linalg.extractdiag(covariance).sum() + num_channels * self.EPSILON
        root, gradient = root_trace(F.BlockGrad(covariance), R, inverse, self.EPSILON)
        # The value is that of `root`, the gradient is `gradient`: the difference of the two products is 0.
        linear = summed_product(covariance, F.BlockGrad(gradient))
        root = F.BlockGrad(root) + linear - F.BlockGrad(linear)
        return mean_square(means - means_Y) + (trace_Y + trace - 2 * root) / num_channels


def style_statistic(recipe: Recipe) -> Statistic:
    """Return the style statistic of a recipe."""
    create: dict[str, Callable[[], Statistic]] = {
        "gram": lambda: Gram(recipe.gram_divisor, recipe.style_reduction),
        "gram-mean-std": lambda: GramMeanStd(recipe.style_reduction, recipe.moments_weight),
        "wasserstein": Wasserstein,
    }
    return create[recipe.style_statistic]()
