"""The chapter's losses, sections 14.12.5.1 to 14.12.5.4, for NDArrays, and for Symbols whose variables have shapes."""

import math

from mxnet import nd, sym

from gluon_nst.errors import InputError
from gluon_nst.recipe import CONTENT_REDUCTIONS, GRAM_DIVISORS, STYLE_REDUCTIONS
from gluon_nst.runtime import nd_mode


def _shape(X):
    """The shape of an NDArray, or of a Symbol whose variables have theirs."""
    if not isinstance(X, sym.Symbol):
        return X.shape
    _, shapes, _ = X.infer_shape_partial()
    if not shapes or not shapes[0] or 0 in shapes[0]:
        raise InputError(f"symbol {X.name}: its shape is not known; give its variables their shapes")
    return shapes[0]


def _operators(X):
    return sym if isinstance(X, sym.Symbol) else nd


def _mean_product(X, Y):
    """The mean of X · Y over all elements, of shape (1,): a dot product, ten times faster than MXNet's mean."""
    return _operators(X).dot(X.reshape(-1), Y.reshape(-1)) / math.prod(_shape(X))


def _mean_absolute(X):
    """The mean of |X| over all elements, of shape (1,), as that of X times its sign; its gradient is the sign."""
    tiny = 1e-30  # MXNet's sign, and so the gradient of its abs, is five times slower than this clipping
    return _mean_product(X, _operators(X).BlockGrad(X.clip(-tiny, tiny) * (1 / tiny)))


def _factor(table, what, name, X):
    """The number that `table` has under `name` for a feature map of the shape of `X`; `what` it is, for an error."""
    if name not in table:
        raise InputError(f"{what} {name}: not one of {', '.join(table)}")
    _, num_channels, height, width = _shape(X)
    return table[name](num_channels, height * width)


@nd_mode
def content_loss(Y_hat, Y, reduction="mean"):
    """The mean squared difference of two feature maps of one shape: a scalar of shape (1,).

    `reduction` is `mean`, as in the book, `sum`, or `sum/2` (Gatys et al. 2016, equation 1).
    """
    difference = Y_hat - Y
    return _mean_product(difference, difference) * _factor(CONTENT_REDUCTIONS, "reduction", reduction, Y_hat)


@nd_mode
def gram(X, divisor="chw"):
    """The Gram matrix of a feature map 1 × c × h × w, divided by c·h·w: c × c (Gatys et al. 2016, equation 3).

    Without the division large values of h and w would weigh more; a Gram matrix of c channels has nothing else that
    grows with the picture. Other programs than the book's divide by `hw`, or by `none`.
    """
    F, (_, num_channels, height, width) = _operators(X), _shape(X)
    divided_by = _factor(GRAM_DIVISORS, "divisor", divisor, X)
    X = X.reshape((num_channels, height * width))
    # XXᵀ by oneDNN, which needs no transposed copy. Its gradient for a gradient D is (D + Dᵀ)X: one matrix product,
    # where that of a product of two variables would take two.
    product = F.FullyConnected(X, F.BlockGrad(X), no_bias=True, num_hidden=num_channels)
    product = product + product.transpose() - F.BlockGrad(product)
    return product / divided_by


@nd_mode
def style_loss(Y_hat, gram_Y, divisor="chw", reduction="mean"):
    """The mean squared difference of the Gram matrix of `Y_hat` (1 × c × h × w) and `gram_Y` (c × c).

    `divisor` is that of both Gram matrices. `reduction` is `mean`, as in the book, `mean/chw` (Udacity's), `sum`,
    `sum/(2chw)^2` (Gatys et al. 2016, equation 4), or `relative`: the mean, divided by that of `gram_Y` squared, which
    gives layers of different scales an equal voice.
    """
    difference = gram(Y_hat, divisor) - gram_Y
    loss = _mean_product(difference, difference) * _factor(STYLE_REDUCTIONS, "reduction", reduction, Y_hat)
    return loss / _mean_product(gram_Y, gram_Y) if reduction == "relative" else loss


@nd_mode
def tv_loss(Y_hat):
    """The total variation loss of a composite 1 × 3 × h × w: half the sum of the mean |Δ| down and across."""
    down = Y_hat.slice_axis(axis=2, begin=1, end=None) - Y_hat.slice_axis(axis=2, begin=0, end=-1)
    across = Y_hat.slice_axis(axis=3, begin=1, end=None) - Y_hat.slice_axis(axis=3, begin=0, end=-1)
    return 0.5 * (_mean_absolute(down) + _mean_absolute(across))


def _by_layer(weight, layers):
    """The weight of each of the `layers`, where `weight` is one number for all of them or a sequence."""
    weights = list(weight) if isinstance(weight, (list, tuple)) else [weight] * len(layers)
    if len(weights) != len(layers):
        raise InputError(f"{len(weights)} weights for {len(layers)} layers; give one each, or one for all")
    return weights


@nd_mode
def compute_loss(
    X,
    contents_Y_hat,
    styles_Y_hat,
    contents_Y,
    styles_Y_gram,
    content_weight=1.0,
    style_weight=1e3,
    tv_weight=10.0,
    *,
    gram_divisor="chw",
    content_reduction="mean",
    style_reduction="mean",
):
    """The weighted losses: a list by content layer, a list by style layer, the total variation loss, and their sum.

    `content_weight` and `style_weight` are one number, or one for each layer. The default weights are those of the
    book's 2019 edition; the 2023 edition has a style weight of 1e4. The last three are as in `gram`, `content_loss` and
    `style_loss`.
    """
    contents_l = [
        content_loss(Y_hat, Y, content_reduction) * weight
        for Y_hat, Y, weight in zip(contents_Y_hat, contents_Y, _by_layer(content_weight, contents_Y))
    ]
    styles_l = [
        style_loss(Y_hat, Y, gram_divisor, style_reduction) * weight
        for Y_hat, Y, weight in zip(styles_Y_hat, styles_Y_gram, _by_layer(style_weight, styles_Y_gram))
    ]
    tv_l = tv_loss(X) * tv_weight
    total = tv_l
    for layer_loss in styles_l + contents_l:
        total = total + layer_loss
    return contents_l, styles_l, tv_l, total
