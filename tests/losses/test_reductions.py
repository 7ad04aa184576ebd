"""Reductions other than the chapter's, against NumPy in double precision."""

import gluon_nst as nst
from gluon_nst.engine.objective import Objective
from gluon_nst.losses.reductions import SquaredDifference, SquaredVariation, TotalVariation, mean_square, summed_product

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from training_inputs import composite, recipe


def picture(height, width, seed=1):
    return np.random.default_rng(seed).random((1, 3, height, width)).astype(np.float32)


def nine_points(X):
    """Return the squared variation over each pixel and its eight neighbours, with replicated edges."""
    X = X.astype(np.float64)
    right, below = np.diff(X, axis=3, append=X[..., -1:]), np.diff(X, axis=2, append=X[:, :, -1:])
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    falling = padded[:, :, 1:, 1:] - padded[:, :, :-1, :-1]
    rising = padded[:, :, :-1, 1:] - padded[:, :, 1:, :-1]
    sides, diagonals = ((first**2).mean() + (second**2).mean() for first, second in ((right, below), (falling, rising)))
    return 2 * (sides / 3 + diagonals / 12)


def variation(X):
    squared = SquaredVariation()
    return squared.loss(squared.sums(X), X.shape)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 24, 35, 64])
def test_a_sum_of_products_agrees_with_numpy_for_any_length(size):
    a, b = np.random.default_rng(4).normal(size=(2, 1, 1, 1, size))
    A, B = mx.nd.array(a), mx.nd.array(b)
    assert summed_product(A, B).shape == mean_square(A).shape == (1,)
    assert summed_product(A, B).asscalar() == pytest.approx((a * b).sum(), rel=1e-5, abs=1e-6)
    assert mean_square(A).asscalar() == pytest.approx((a**2).mean(), rel=1e-5)


def test_a_squared_difference_weights_each_position():
    X, Y, weights = picture(5, 7), picture(5, 7, seed=2), np.random.default_rng(3).random((1, 1, 5, 7))
    difference = SquaredDifference()
    sums = difference.sums(*(mx.nd.array(each) for each in (X, Y, weights)))
    assert sums.asscalar() == pytest.approx((weights * (X - Y) ** 2).sum(), rel=1e-5)
    assert difference.loss(sums, X.shape).asscalar() == pytest.approx(sums.asscalar() / 105, rel=1e-6)


def test_differences_of_neighbours_have_the_weight_of_their_corner():
    X, corners = picture(5, 7).astype(float), np.random.default_rng(3).random((1, 1, 6, 8))
    given = mx.nd.array(X), mx.nd.array(corners)
    down, across = X[:, :, 1:] - X[:, :, :-1], X[..., 1:] - X[..., :-1]
    by_down, by_across = corners[:, :, 1:-1, 1:], corners[:, :, 1:, 1:-1]
    expected = [(by_down * np.abs(down)).sum(), (by_across * np.abs(across)).sum()]
    assert [each.asscalar() for each in TotalVariation().sums(*given)] == pytest.approx(expected, rel=1e-5)
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    falling, rising = padded[:, :, 1:, 1:] - padded[:, :, :-1, :-1], padded[:, :, 1:, :-1] - padded[:, :, :-1, 1:]
    pairs = ((across, by_across), (down, by_down), (falling, corners), (rising, corners))
    expected = [(weights * difference**2).sum() for difference, weights in pairs]
    assert [each.asscalar() for each in SquaredVariation().sums(*given)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("height, width", [(2, 2), (5, 7), (30, 45)])
def test_the_squared_variation_agrees_with_numpy(height, width):
    X = picture(height, width)
    assert variation(mx.nd.array(X)).asscalar() == pytest.approx(nine_points(X), rel=1e-5)


def test_the_squared_variation_of_one_colour_is_0_and_grows_with_the_square():
    X = mx.nd.array(picture(9, 12))
    assert variation(mx.nd.ones_like(X) * 0.3).asscalar() == 0
    assert variation(3 * X).asscalar() == pytest.approx(9 * variation(X).asscalar(), rel=1e-5)


def test_the_gradient_of_the_squared_variation_agrees_with_finite_differences():
    X = picture(6, 9)
    composite = mx.nd.array(X)
    composite.attach_grad()
    with autograd.record():
        variation(composite).backward()
    for place in np.ndindex(1, 3, 6, 9):
        step = np.zeros(X.shape)
        step[place] = 1e-3
        expected = (nine_points(X + step) - nine_points(X - step)) / 2e-3  # exact: it is quadratic
        assert composite.grad.asnumpy()[place] == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("pixel_unit, of_unit", [("standardised", None), ("unit", 1), ("bytes", 255)])
def test_the_objective_uses_pixels_from_0_to_1_in_every_unit(net, pixel_unit, of_unit):
    chosen = recipe(
        content_weight=0, style_weight=0, tv_weight=3, tv_norm="l2", pixel_unit=pixel_unit, content_layers=["conv1_1"],
        style_layers=["conv1_1"],
    )  # fmt: skip
    X = composite()
    shown = X.asnumpy() * np.reshape((0.229, 0.224, 0.225), (1, 3, 1, 1)) + np.reshape(
        (0.485, 0.456, 0.406), (1, 3, 1, 1)
    )
    contents_Y, styles_Y = nst.extract_features(composite(seed=1), net, (0,), (0,))
    if of_unit:
        X = mx.nd.array(shown * of_unit)
        X.attach_grad()
    losses = Objective(net, X, contents_Y, [nst.gram(Y) for Y in styles_Y], chosen)()
    assert losses.tv == losses.total == pytest.approx(3 * nine_points(shown), rel=1e-4)
