"""The chapter's losses, sections 14.12.5.1 to 14.12.5.4, for NDArray and Symbol alike."""

from mxnet import nd, sym

from gluon_nst.runtime import nd_mode


@nd_mode
def content_loss(Y_hat, Y):
    """The mean squared difference of two feature maps of one shape: a scalar of shape (1,)."""
    return (Y_hat - Y).square().mean()


@nd_mode
def gram(X):
    """The Gram matrix of a feature map 1 × c × h × w, divided by c·h·w: c × c (Gatys et al. 2016, equation 3).

    Without the division large values of h and w would weigh more; a Gram matrix of c channels has nothing else that
    grows with the picture.
    """
    F = sym if isinstance(X, sym.Symbol) else nd
    size = X.size_array().astype("float32")
    X = X.reshape((-3, -3))  # (1·c) × (h·w)
    # gemm2 transposes as it multiplies, where dot would copy the whole feature map first.
    return F.broadcast_div(F.linalg.gemm2(X, X, transpose_b=True), size)


@nd_mode
def style_loss(Y_hat, gram_Y):
    """The mean squared difference of the Gram matrix of `Y_hat` (1 × c × h × w) and `gram_Y` (c × c)."""
    return (gram(Y_hat) - gram_Y).square().mean()


@nd_mode
def tv_loss(Y_hat):
    """The total variation loss of a composite 1 × 3 × h × w: half the sum of the mean |Δ| down and across."""
    down = Y_hat.slice_axis(axis=2, begin=1, end=None) - Y_hat.slice_axis(axis=2, begin=0, end=-1)
    across = Y_hat.slice_axis(axis=3, begin=1, end=None) - Y_hat.slice_axis(axis=3, begin=0, end=-1)
    return 0.5 * (down.abs().mean() + across.abs().mean())


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
):
    """The weighted losses: a list by content layer, a list by style layer, the total variation loss, and their sum.

    The default weights are those of the book's 2019 edition; the 2023 edition has a style weight of 1e4.
    """
    contents_l = [content_loss(Y_hat, Y) * content_weight for Y_hat, Y in zip(contents_Y_hat, contents_Y)]
    styles_l = [style_loss(Y_hat, Y) * style_weight for Y_hat, Y in zip(styles_Y_hat, styles_Y_gram)]
    tv_l = tv_loss(X) * tv_weight
    total = tv_l
    for layer_loss in styles_l + contents_l:
        total = total + layer_loss
    return contents_l, styles_l, tv_l, total
