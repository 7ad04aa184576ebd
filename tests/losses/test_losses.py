"""The losses against NumPy written from the book's equations."""

import gluon_nst as nst
from gluon_nst.losses.records import FINISHED, Status

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd


def features(channels, height, width, seed):
    return np.random.default_rng(seed).normal(0.5, 2, (1, channels, height, width)).astype(np.float32)


def book_gram(X):
    """Equation 14.12.1: X Xᵀ over the c × hw matrix, divided by c·h·w."""
    channels = X.shape[1]
    matrix = X.astype(np.float64).reshape(channels, -1)
    return matrix @ matrix.T / matrix.size


def book_tv(X):
    X = X.astype(np.float64)
    return 0.5 * (np.abs(X[:, :, 1:] - X[:, :, :-1]).mean() + np.abs(X[:, :, :, 1:] - X[:, :, :, :-1]).mean())


def close(value, expected):
    return np.allclose(value.asnumpy(), expected, rtol=1e-5, atol=0)


SHAPES = [(3, 5, 7), (64, 30, 45), (17, 1, 9), (1, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_content_loss_is_the_mean_squared_difference(shape):
    a, b = features(*shape, seed=1), features(*shape, seed=2)
    assert close(nst.content_loss(nd.array(a), nd.array(b)), ((a.astype(float) - b) ** 2).mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_gram_agrees_with_the_book(shape):
    X = features(*shape, seed=3)
    gram = nst.gram(nd.array(X))
    assert gram.shape == (shape[0], shape[0])
    assert np.allclose(gram.asnumpy(), book_gram(X), rtol=1e-5, atol=1e-5 * book_gram(X).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_style_loss_is_the_mean_squared_difference_of_grams(shape):
    a, b = features(*shape, seed=4), features(*shape, seed=5) * 2
    expected = ((book_gram(a) - book_gram(b)) ** 2).mean()
    assert close(nst.style_loss(nd.array(a), nd.array(book_gram(b))), expected)


@pytest.mark.parametrize("height, width", [(2, 2), (5, 7), (150, 225)])
def test_tv_loss_is_half_the_mean_absolute_differences(height, width):
    X = features(3, height, width, seed=6)
    assert close(nst.tv_loss(nd.array(X)), book_tv(X))


def test_compute_loss_returns_weighted_losses_and_their_sum():
    X = features(3, 20, 30, seed=7)
    contents = [features(8, 5, 6, seed=8), features(4, 3, 3, seed=9)]
    styles = [features(8, 10, 6, seed=10), features(5, 4, 3, seed=11)]
    targets = [c + 1 for c in contents], [book_gram(s * 1.5) for s in styles]
    expected_contents = [2 * 1.0, 2 * 1.0]
    expected_styles = [300 * ((book_gram(s) - t) ** 2).mean() for s, t in zip(styles, targets[1])]
    contents_l, styles_l, tv_l, total = nst.compute_loss(
        nd.array(X),
        [nd.array(c) for c in contents],
        [nd.array(s) for s in styles],
        [nd.array(t) for t in targets[0]],
        [nd.array(t) for t in targets[1]],
        content_weight=2,
        style_weight=300,
        tv_weight=7,
    )
    assert [close(loss, value) for loss, value in zip(contents_l + styles_l, expected_contents + expected_styles)] == [
        True
    ] * 4
    assert close(tv_l, 7 * book_tv(X))
    assert close(total, sum(expected_contents) + sum(expected_styles) + 7 * book_tv(X))


def test_the_default_weights_are_those_of_the_2019_edition():
    X, content, style = (nd.array(features(3, 6, 8, seed=seed)) for seed in (7, 8, 9))
    targets = content + 1, nst.gram(style * 1.5)
    (content_l,), (style_l,), tv_l, total = nst.compute_loss(X, [content], [style], [targets[0]], [targets[1]])
    assert close(content_l, 1)
    assert close(style_l, 1000 * nst.style_loss(style, targets[1]).asscalar())
    assert close(tv_l, 10 * book_tv(X.asnumpy()))
    assert close(total, sum(each.asscalar() for each in (content_l, style_l, tv_l)))


@pytest.mark.parametrize("divisor, divided_by", [("chw", 8 * 5 * 6), ("hw", 5 * 6), ("none", 1)])
@pytest.mark.parametrize("reduction, factor", [
    ("mean", 1 / 64), ("mean/chw", 1 / 64 / 240), ("sum", 1), ("sum/(2chw)^2", 1 / (4 * 8**2 * 30**2)),
])  # fmt: skip
def test_style_loss_agrees_with_each_published_program(divisor, divided_by, reduction, factor):
    a, b = features(8, 5, 6, seed=15), features(8, 5, 6, seed=16)
    grams = [X.astype(float).reshape(8, 30) @ X.astype(float).reshape(8, 30).T / divided_by for X in (a, b)]
    loss = nst.style_loss(nd.array(a), nst.gram(nd.array(b), divisor), divisor, reduction)
    assert close(loss, ((grams[0] - grams[1]) ** 2).sum() * factor)


@pytest.mark.parametrize("reduction, factor", [("mean", 1 / 240), ("sum", 1), ("sum/2", 0.5)])
def test_content_loss_agrees_with_each_published_program(reduction, factor):
    a, b = features(8, 5, 6, seed=15), features(8, 5, 6, seed=16)
    assert close(nst.content_loss(nd.array(a), nd.array(b), reduction), ((a.astype(float) - b) ** 2).sum() * factor)


def test_a_relative_style_loss_is_divided_by_the_mean_square_of_the_target():
    a, b = features(8, 5, 6, seed=15), features(8, 5, 6, seed=16)
    expected = ((book_gram(a) - book_gram(b)) ** 2).mean() / (book_gram(b) ** 2).mean()
    assert close(nst.style_loss(nd.array(a), nd.array(book_gram(b)), reduction="relative"), expected)
    assert close(nst.style_loss(nd.array(a * 7), nd.array(book_gram(b * 7)), reduction="relative"), expected)


def test_an_unknown_reduction_is_refused():
    X = nd.array(features(3, 5, 6, seed=17))
    with pytest.raises(nst.InputError, match="divisor chwn: not one of chw, hw, none"):
        nst.gram(X, "chwn")
    with pytest.raises(nst.InputError, match="reduction median: not one of mean, sum, sum/2"):
        nst.content_loss(X, X, "median")


def test_compute_loss_takes_a_weight_for_each_layer():
    X = nd.array(features(3, 20, 30, seed=7))
    layers = [nd.array(features(8, 5, 6, seed=seed)) for seed in (8, 9)]
    targets = [layer + 1 for layer in layers]
    contents_l, *_ = nst.compute_loss(X, layers, [], targets, [], content_weight=[2, 0.5])
    assert [close(loss, weight) for loss, weight in zip(contents_l, (2, 0.5))] == [True, True]
    with pytest.raises(nst.InputError, match="3 weights for 2 layers; give one each, or one for all"):
        nst.compute_loss(X, layers, [], targets, [], content_weight=[1, 2, 3])


def test_a_symbol_needs_the_shapes_of_its_variables():
    Y = mx.sym.var("Y", shape=(1, 8, 5, 6))
    assert nst.gram(Y).infer_shape()[1] == [(8, 8)]
    for unknown in (mx.sym.var("Z"), mx.sym.var("Z", shape=(1, 8, 0, 6))):
        with pytest.raises(nst.InputError, match="symbol Z: its shape is not known; give its variables shapes"):
            nst.gram(unknown)


def test_losses_take_and_return_np_arrays_in_np_mode(np_mode):
    X = mx.np.array(features(3, 6, 8, seed=12))
    for loss in (nst.content_loss(X, X), nst.gram(X), nst.style_loss(X, nst.gram(X)), nst.tv_loss(X)):
        assert isinstance(loss, mx.np.ndarray)


def test_the_gradient_of_a_gram_matrix_is_right_for_any_head_gradient():
    X, D = nd.array(features(8, 5, 6, seed=13)), nd.array(features(8, 8, 1, seed=14).reshape(8, 8))
    X.attach_grad()
    with autograd.record():
        (nst.gram(X) * D).sum().backward()
    matrix, D = X.asnumpy().reshape(8, 30).astype(float), D.asnumpy().astype(float)
    assert np.allclose(X.grad.asnumpy().reshape(8, 30), (D + D.T) @ matrix / 240, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_tv_loss_is_the_sign_and_0_for_equal_neighbours():
    X = nd.array(np.array([[[[0.0, 0.0, 1e-6], [0.0, 0.0, -3.0]]]]))
    X.attach_grad()
    with autograd.record():
        nst.tv_loss(X).backward()
    across, down = np.array([[0, -1, 1], [0, 1, -1]]) / 4, np.array([[0, 0, 1], [0, 0, -1]]) / 3
    assert np.allclose(X.grad.asnumpy()[0, 0], 0.5 * (across + down))


# -- records ----------------------------------------------------------------------------------------------------------


def test_losses_are_a_mapping_with_a_sum_for_each_kind():
    terms = {"content/conv4_4": 1.0, "style/conv1_1": 2.0, "style/conv2_1": 3.0, "tv": 0.5}
    losses = nst.Losses(terms, total=6.5)
    assert (dict(losses), list(losses), len(losses)) == (terms, list(terms), 4)
    assert losses.of("style") == {"conv1_1": 2.0, "conv2_1": 3.0}
    assert (losses.content, losses.style, losses.tv, losses.total) == (1.0, 5.0, 0.5, 6.5)
    assert repr(losses) == f"Losses({terms}, total=6.5)"
    without = nst.Losses({"styles/conv1_1": 2.0}, total=2.0)
    assert (without.content, without.style, without.tv) == (0, 0, 0)
    assert losses == nst.Losses(terms, total=7.0)  # as mappings


def test_a_status_is_printed_as_its_text():
    texts = ["running", "complete", "settled", "interrupted", "diverged", "out of memory", "failed"]
    assert [str(status) for status in Status] == texts
    assert [f"{status!r}" for status in Status] == [f"{text!r}" for text in texts]
    assert FINISHED == ("complete", "settled")
