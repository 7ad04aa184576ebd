"""Statistics of feature maps: what they say of the style of a picture of any size, and the distance of two.

A statistic is summed over positions (`sums`); then it is normalised, blended with those of other styles, and compared.
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
    """A statistic of a feature map 1 × c × h × w. A subclass says what is summed; the rest has defaults.

    What is `normalised` is linear in the sums, so that weighted means of several styles' are those of the styles
    together.
    """

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """The sum over the positions of `X`, each of them counted by `weights` (1 × 1 × h × w) where there are any."""
        raise NotImplementedError

    def normalised(self, sums: Array, shape: tuple[int, ...], positions: float | None = None) -> Array:
        """What does not grow with the picture: by default the mean over the positions of features of that `shape`.

        `positions` is the sum of their weights, where they are weighted.
        """
        _, _, height, width = shape
        return sums / (positions or height * width)

    def target(self, statistic: NDArray) -> list[NDArray]:
        """What `distance` wants to know of a style's statistic, computed once: by default itself."""
        return [statistic]

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """How far a statistic of features of a `shape` is from a style's, of which `target` is known; of shape (1,).

        By default the mean square of their difference.
        """
        return mean_square(statistic - target[0])

    def of(self, X: Array, weights: Array | None = None, positions: float | None = None) -> Array:
        """The statistic of `X`, whole."""
        if weights is None:
            return self.normalised(self.sums(X), shape_of(X))
        return self.normalised(self.sums(X, weights), shape_of(X), positions)


def _second_moments(X: Array, weights: Array | None) -> Array:
    """X W Xᵀ of the features `X` (1 × c × h × w) as c × hw, with `weights` of their positions: c × c, by oneDNN.

    The second factor is a constant, and the gradient D of the product is made D + Dᵀ: so that of the features is (D +
    Dᵀ)XW, one matrix product, where that of a product of two variables would take two.
    """
    F, (_, num_channels, height, width) = operators(X), shape_of(X)
    flat, weighed = (each.reshape((num_channels, height * width)) for each in (X, weighted(F.BlockGrad(X), weights)))
    product = F.FullyConnected(flat, weighed, no_bias=True, num_hidden=num_channels)
    return product + product.transpose() - F.BlockGrad(product)


class Gram(Statistic):
    """The Gram matrix, c × c (Gatys et al. 2016, equation 3); `divisor` and `reduction` as in `losses.style_loss`."""

    def __init__(self, divisor: str = "chw", reduction: str = "mean") -> None:
        self.divisor, self.reduction = divisor, reduction

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """X Xᵀ of the features as c × hw, by oneDNN, which needs no transposed copy."""
        return _second_moments(X, weights)

    def normalised(self, sums: Array, shape: tuple[int, ...], positions: float | None = None) -> Array:
        """Divided by c·h·w, as in the book, or by another `divisor`."""
        share = 1.0 if positions is None else positions / math.prod(shape[2:])
        return sums / (factor(GRAM_DIVISORS, "divisor", self.divisor, shape) * share)

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """The squared differences of two Gram matrices, by the `reduction`."""
        (gram_Y,) = target
        loss = mean_square(statistic - gram_Y) * factor(STYLE_REDUCTIONS, "reduction", self.reduction, shape)
        return loss / mean_square(gram_Y) if self.reduction == "relative" else loss


class _Moments(Statistic):
    """The channels' second raw moments, and in a last column their means: c × (c + 1)."""

    def sums(self, X: Array, weights: Array | None = None) -> Array:
        """X Xᵀ of the features as c × hw, and the sum over hw."""
        F, (_, num_channels, height, width) = operators(X), shape_of(X)
        if weights is None:
            weights_of_means = F.ones_like(F.BlockGrad(X).slice_axis(axis=1, begin=0, end=1))
        else:
            weights_of_means = weights
        positions, flat = weights_of_means.reshape((1, height * width)), X.reshape((num_channels, height * width))
        # By a product as well: MXNet's own means take forty times as long.
        means = F.FullyConnected(flat, positions, no_bias=True, num_hidden=1)
        return F.concat(_second_moments(X, weights), means, dim=1)

    @staticmethod
    def _split(statistic: Array, num_channels: int) -> tuple[Array, Array]:
        """The second moments c × c, and the means c × 1."""
        moments = statistic.slice_axis(axis=1, begin=0, end=num_channels)
        return moments, statistic.slice_axis(axis=1, begin=num_channels, end=num_channels + 1)


class GramMeanStd(_Moments):
    """Gram matrix, means and standard deviations of the channels (Galerne, Raad, Lezama and Morel 2024).

    - `reduction` is made of the Gram matrices' squared differences, as in `Gram`; they are divided by h·w.
    - `moments_weight` counts the mean squared differences of means and of standard deviations beside them.
    """

    def __init__(self, reduction: str = "mean", moments_weight: float = 1.0) -> None:
        self.reduction, self.moments_weight = reduction, moments_weight

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """The squared differences of the three."""
        F, num_channels = operators(statistic), shape[1]
        (gram_X, means), (gram_Y, means_Y) = (self._split(each, num_channels) for each in (statistic, target[0]))
        grams = mean_square(gram_X - gram_Y) * factor(STYLE_REDUCTIONS, "reduction", self.reduction, shape)

        def deviations(gram: Array, means: Array) -> Array:
            variances = F.linalg.extractdiag(gram) - (means * means).reshape((num_channels,))
            return variances.clip(1e-8, 3e38).sqrt()  # of a channel that never fires the root has no gradient

        difference = deviations(gram_X, means) - deviations(gram_Y, means_Y)
        return grams + (mean_square(means - means_Y) + mean_square(difference)) * self.moments_weight


class Wasserstein(_Moments):
    """The squared 2-Wasserstein distance of two Gaussians with the channels' means and covariances, as a mean over the
    channels.

    As in style-transfer-pytorch (Crowson), which follows Olkin and Pukelsheim 1982: the mean of the squared differences
    of the means, and that of the diagonal of Σ_Y + Σ - 2·(Σ_Y^½ Σ Σ_Y^½)^½, where 1e-4 is added to both covariances'
    diagonals.

    With Σ_Y = Rᵀ R, where R = Λ^½ Vᵀ of its eigenvalues and eigenvectors, (R Σ Rᵀ)^½ has the same trace and keeps the
    precision of the small eigenvalues. `roots.root_trace` computes this trace and its gradient with respect to Σ,
    ½ Rᵀ (R Σ Rᵀ)^(-½) R. No root is differentiated.
    """

    EPSILON = 1e-4

    def _covariance(self, statistic: Array, num_channels: int) -> tuple[Array, Array]:
        moments, means = self._split(statistic, num_channels)
        return moments - operators(means).dot(means, means, transpose_b=True), means

    def target(self, statistic: NDArray) -> list[NDArray]:
        """Means, R, R⁻¹, and the trace of the covariance."""
        covariance, means = self._covariance(statistic.astype("float64"), len(statistic))
        eigenvalues, vectors = np.linalg.eigh(covariance.asnumpy())
        eigenvalues = np.maximum(eigenvalues, 0) + self.EPSILON
        scales = np.sqrt(eigenvalues)
        known = (scales[:, None] * vectors.T, vectors / scales, eigenvalues.sum(keepdims=True))
        return [means.astype("float32"), *(nd.array(each, ctx=statistic.context, dtype="float32") for each in known)]

    def distance(self, statistic: Array, target: Sequence[Array], shape: tuple[int, ...]) -> Array:
        F, num_channels = operators(statistic), shape[1]
        means_Y, R, inverse, trace_Y = target
        covariance, means = self._covariance(statistic, num_channels)
        trace = F.linalg.extractdiag(covariance).sum() + num_channels * self.EPSILON
        root, gradient = root_trace(F.BlockGrad(covariance), R, inverse, self.EPSILON)
        # What it is, and what its gradient is, apart: the difference of the two products is nothing.
        linear = summed_product(covariance, F.BlockGrad(gradient))
        root = F.BlockGrad(root) + linear - F.BlockGrad(linear)
        return mean_square(means - means_Y) + (trace_Y + trace - 2 * root) / num_channels


def style_statistic(recipe: Recipe) -> Statistic:
    """The statistic that is a style to `recipe`, and its distance."""
    create: dict[str, Callable[[], Statistic]] = {
        "gram": lambda: Gram(recipe.gram_divisor, recipe.style_reduction),
        "gram-mean-std": lambda: GramMeanStd(recipe.style_reduction, recipe.moments_weight),
        "wasserstein": Wasserstein,
    }
    return create[recipe.style_statistic]()
