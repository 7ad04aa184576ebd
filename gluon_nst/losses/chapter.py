"""The chapter's losses, sections 14.12.5.1 to 14.12.5.4.

They accept NDArrays, and Symbols with known shapes.
"""

from __future__ import annotations

from typing import Sequence, Union

from gluon_nst.errors import InputError
from gluon_nst.losses.reductions import SquaredDifference, TotalVariation
from gluon_nst.losses.style_statistics import Gram
from gluon_nst.machine import nd_mode
from gluon_nst.network.operators import shape_of
from gluon_nst.typing import Array

LayerWeight = Union[float, Sequence[float]]
"""One number for all layers, or one for each."""


@nd_mode
def content_loss(Y_hat: Array, Y: Array, reduction: str = "mean") -> Array:
    """Return the mean squared difference of two feature maps.

    The feature maps have the same shape, the result the shape (1,). `reduction` is `mean`, as in the book, `sum`, or
    `sum/2` (Gatys et al. 2016, equation 1).
    """
    squared_difference = SquaredDifference(reduction)
    return squared_difference.loss(squared_difference.sums(Y_hat, Y), shape_of(Y_hat))


@nd_mode
def gram(X: Array, divisor: str = "chw") -> Array:
    """Return the Gram matrix, c × c, of a feature map 1 × c × h × w.

    It is divided by c·h·w, which makes it independent of h and w (Gatys et al. 2016, equation 3). `divisor` is `chw`,
    as in the book, or as in other programs `hw`, or `none`.
    """
    return Gram(divisor).of(X)


@nd_mode
def style_loss(Y_hat: Array, gram_Y: Array, divisor: str = "chw", reduction: str = "mean") -> Array:
    """Return the mean squared difference of the Gram matrix of `Y_hat` and `gram_Y`.

    `Y_hat` is 1 × c × h × w, `gram_Y` c × c, the result has the shape (1,). `divisor` is that of both Gram matrices.
    `reduction` is `mean`, as in the book, `mean/chw` (Udacity's), `sum`, `sum/(2chw)^2` (Gatys et al. 2016, equation
    4), or `relative`: the mean, divided by the mean square of `gram_Y`, which gives layers of different scales equal
    weights.
    """
    statistic = Gram(divisor, reduction)
    return statistic.distance(statistic.of(Y_hat), [gram_Y], shape_of(Y_hat))


@nd_mode
def tv_loss(Y_hat: Array) -> Array:
    """Return the total variation loss of a composite, 1 × 3 × h × w.

    It is half the sum of the mean absolute differences of vertical and of horizontal neighbours, of shape (1,).
    """
    variation = TotalVariation()
    return variation.loss(variation.sums(Y_hat), shape_of(Y_hat))


def _by_layer(weight: LayerWeight, layers: Sequence[Array]) -> list[float]:
    """Return the weight of each of the `layers`."""
    each = [weight] * len(layers) if isinstance(weight, (int, float)) else list(weight)
    if len(each) != len(layers):
        raise InputError(f"{len(each)} weights for {len(layers)} layers; give one each, or one for all")
    return each


def add_up(contents_l: Sequence[Array], styles_l: Sequence[Array], tv_l: Array) -> Array:
    """Return the total loss, of shape (1,)."""
    total = tv_l
    for loss in [*styles_l, *contents_l]:
        total = total + loss
    return total


@nd_mode
def compute_loss(
    X: Array,
    contents_Y_hat: Sequence[Array],
    styles_Y_hat: Sequence[Array],
    contents_Y: Sequence[Array],
    styles_Y_gram: Sequence[Array],
    content_weight: LayerWeight = 1.0,
    style_weight: LayerWeight = 1e3,
    tv_weight: float = 10.0,
) -> tuple[list[Array], list[Array], Array, Array]:
    """Return the weighted losses and their sum.

    They are a list by content layer, a list by style layer, the total variation loss, and the sum; of shape (1,) each.
    `content_weight` and `style_weight` are one number, or one for each layer. The default weights are those of the
    book's 2019 edition; the 2023 edition has a style weight of 1e4.
    """
    contents_l = [
        content_loss(Y_hat, Y) * weight
        for Y_hat, Y, weight in zip(contents_Y_hat, contents_Y, _by_layer(content_weight, contents_Y))
    ]
    styles_l = [
        style_loss(Y_hat, gram_Y) * weight
        for Y_hat, gram_Y, weight in zip(styles_Y_hat, styles_Y_gram, _by_layer(style_weight, styles_Y_gram))
    ]
    tv_l = tv_loss(X) * tv_weight
    return contents_l, styles_l, tv_l, add_up(contents_l, styles_l, tv_l)
