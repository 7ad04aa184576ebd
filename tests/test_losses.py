"""The losses against NumPy written from the book's equations, and the objective's gradient against differences."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd

import gluon_nst as nst
from gluon_nst.training import Objective

from painting import paint


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
def test_gram_is_the_books(shape):
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


def test_compute_loss_weighs_and_adds():
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
    assert [close(l, e) for l, e in zip(contents_l + styles_l, expected_contents + expected_styles)] == [True] * 4
    assert close(tv_l, 7 * book_tv(X))
    assert close(total, sum(expected_contents) + sum(expected_styles) + 7 * book_tv(X))


def test_losses_take_and_give_np_arrays_in_np_mode(np_mode):
    X = mx.np.array(features(3, 6, 8, seed=12))
    for loss in (nst.content_loss(X, X), nst.gram(X), nst.style_loss(X, nst.gram(X)), nst.tv_loss(X)):
        assert isinstance(loss, mx.np.ndarray)


@pytest.fixture(scope="module")
def problem(net):
    """Objective, targets and a composite that is off both of them."""
    content, style, start = (mx.nd.array(paint(32, 48, seed), dtype="uint8") for seed in (1, 2, 3))
    _, contents_Y = nst.get_contents(content, (48, 32), mx.cpu(), net)
    _, styles_Y = nst.get_styles(style, (48, 32), mx.cpu(), net)
    loss_weights = {"content_weight": 1.0, "style_weight": 1e3, "tv_weight": 10.0}
    objective = Objective(net, (25,), (0, 5, 10, 19, 28), loss_weights)
    return objective, nst.preprocess(start, (48, 32)), contents_Y, [nst.gram(Y) for Y in styles_Y]


def value_and_gradient(loss, X):
    X = X.copy()
    X.attach_grad()
    with autograd.record():
        value = loss(X)
    value.backward()
    return value.asscalar(), X.grad.asnumpy().astype(np.float64)


def test_the_graph_agrees_with_the_functions_called_one_by_one(net, problem):
    objective, X, contents_Y, styles_Y_gram = problem
    value, gradient = value_and_gradient(lambda X: objective(X, contents_Y, styles_Y_gram)[3], X)

    def one_by_one(X):
        contents_Y_hat, styles_Y_hat = nst.extract_features(X, net)
        return nst.compute_loss(X, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram)[3]

    expected, expected_gradient = value_and_gradient(one_by_one, X)
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.linalg.norm(gradient - expected_gradient) < 1e-5 * np.linalg.norm(expected_gradient)


def test_the_gradient_of_the_objective_agrees_with_finite_differences(problem):
    objective, X, contents_Y, styles_Y_gram = problem

    def loss(X):
        return objective(X, contents_Y, styles_Y_gram)[3]

    _, gradient = value_and_gradient(loss, X)
    random = np.random.default_rng(0)
    for direction in (gradient, gradient * random.random(gradient.shape), random.normal(size=gradient.shape) + 3 * gradient / gradient.std()):
        direction = direction / np.linalg.norm(direction)
        step = 0.05
        up, down = (loss(X + nd.array(sign * step * direction)).asscalar().astype(float) for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-2)
