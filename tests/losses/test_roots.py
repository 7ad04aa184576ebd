"""The trace of a root and its gradient against NumPy in double precision, by eigenvalues."""

import multiprocessing

from gluon_nst.losses.roots import CAPPED, SMALLEST, _weights, cholesky, root_trace

import mxnet as mx
import numpy as np
import pytest

EPSILON = 1e-4


def covariance(channels, spectrum, seed, scale=1.0):
    """Return a covariance in single precision with the eigenvalues `spectrum(share)` for shares from 0 to 1."""
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(channels, channels)))
    S = (vectors * (scale * spectrum(np.linspace(0, 1, channels)))) @ vectors.T
    return ((S + S.T) / 2).astype("float32")


def wide(share):
    """Eigenvalues like those of VGG-19's layers: from 1e-4 to 300."""
    return 10 ** (6.5 * share**2 - 4)


def deficient(share):
    """Eigenvalues of fewer positions than channels: more than half of them are zero."""
    return np.where(share > 0.6, wide(share), 0)


def roots_of(S):
    """Return R and its inverse, where RᵀR = S + EPSILON · I."""
    values, vectors = np.linalg.eigh(S.astype("float64"))
    scales = np.sqrt(np.maximum(values, 0) + EPSILON)
    return scales[:, None] * vectors.T, vectors / scales


def by_numpy(S, R):
    """Return the trace of the root and its gradient, by eigenvalues."""
    values, vectors = np.linalg.eigh(R @ (S.astype("float64") + EPSILON * np.eye(len(S))) @ R.T)
    values = np.maximum(values, EPSILON**2)
    half = (vectors * values**-0.25).T @ R
    return np.sqrt(values).sum(), half.T @ half / 2


def by_mxnet(S, R, inverse):
    """Return the same by the function under test."""
    trace, gradient = root_trace(*(mx.nd.array(each, dtype="float32") for each in (S, R, inverse)), EPSILON)
    gradient = gradient.asnumpy().astype("float64")
    return float(trace.asscalar()), (gradient + gradient.T) / 2


def silenced(S, channels=slice(None, None, 3)):
    """Return `S` without the variance of some channels."""
    S = S.copy()
    S[channels], S[:, channels] = 0, 0
    return S


CASES = {
    "64 channels": (covariance(64, wide, 1), covariance(64, wide, 2)),
    "512 channels": (covariance(512, wide, 1), covariance(512, wide, 2, 2.0)),
    "fewer positions than channels": (covariance(256, deficient, 1), covariance(256, deficient, 2)),
    "of the composite alone": (covariance(128, deficient, 1), covariance(128, wide, 2)),
    "of the style alone": (covariance(128, wide, 1), covariance(128, deficient, 2)),
    "equal": (covariance(128, wide, 1), covariance(128, wide, 1)),
    "nearly equal": (covariance(128, wide, 1), covariance(128, wide, 1) + covariance(128, wide, 3, 1e-3)),
    "dead channels in the composite": (silenced(covariance(64, wide, 1)), covariance(64, wide, 2)),
    "dead channels in the style": (covariance(64, wide, 1), silenced(covariance(64, wide, 2))),
    "dead channels in both": (silenced(covariance(64, wide, 1)), silenced(covariance(64, wide, 2))),
    "no variance in the composite": (np.zeros((64, 64), "float32"), covariance(64, wide, 2)),
    "no variance in the style": (covariance(64, wide, 1), np.zeros((64, 64), "float32")),
    "no variance at all": (np.zeros((64, 64), "float32"),) * 2,
    "one channel": (np.full((1, 1), 2, "float32"), np.full((1, 1), 3, "float32")),
    "ten times the features": (covariance(64, wide, 1, 100), covariance(64, wide, 2)),
    "a tenth of the features": (covariance(64, wide, 1, 0.01), covariance(64, wide, 2, 0.01)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_trace_and_its_gradient_agree_with_double_precision(name):
    S, S_Y = CASES[name]
    R, inverse = roots_of(S_Y)
    (trace, gradient), (expected, expected_gradient) = by_mxnet(S, R, inverse), by_numpy(S, R)
    assert trace == pytest.approx(expected, rel=2e-6)
    _, vectors = np.linalg.eigh(S.astype("float64"))
    small = vectors[:, : -(-len(S) // 4)]  # the gradient is larger in directions of small variance
    for within in (np.eye(len(S)), small):
        off = within.T @ (gradient - expected_gradient) @ within
        assert np.linalg.norm(off) < 1e-3 * np.linalg.norm(within.T @ expected_gradient @ within)


def test_the_gradient_agrees_with_finite_differences():
    S, (R, inverse) = covariance(48, wide, 1), roots_of(covariance(48, wide, 2))
    _, gradient = by_mxnet(S, R, inverse)
    random = np.random.default_rng(3)
    for _ in range(3):
        direction = random.normal(size=(48, 48)) * 1e-6
        direction, sides = direction + direction.T, []
        for sign in (1, -1):
            values = np.linalg.eigvalsh(R @ (S.astype("float64") + EPSILON * np.eye(48) + sign * direction) @ R.T)
            sides.append(np.sqrt(values).sum())
        assert (gradient * direction).sum() == pytest.approx((sides[0] - sides[1]) / 2, rel=1e-3)


@pytest.mark.parametrize("smallest", [SMALLEST, 1e-3, 0.1])
def test_the_steps_take_all_singular_values_to_one(smallest):
    x = np.geomspace(smallest, 1, 5000)
    for a, b, c in _weights():
        x = x * (a + b * x**2) / (1 + c * x**2)
    assert np.abs(x * (15 - 10 * x**2 + 3 * x**4) / 8 - 1).max() < 1e-6


@pytest.mark.parametrize("smallest", [CAPPED, 0.01, 0.1, 0.5])
def test_the_first_step_is_optimal(smallest):
    (a, b, c), *_ = _weights(smallest)
    x = np.geomspace(smallest, 1, 20001)
    y = x * (a + b * x**2) / (1 + c * x**2)
    peak = x < np.sqrt(smallest)  # it rises to 1, falls to its first value, and rises to 1 again
    assert y[peak].max() == pytest.approx(1, abs=1e-6)
    assert y[-1] == pytest.approx(1, abs=1e-12)
    assert y.max() < 1 + 1e-12
    assert y[y[peak].argmax() :].min() == pytest.approx(y[0], rel=1e-6)
    assert y.min() == pytest.approx(y[0], rel=1e-6)


def test_the_weights_for_smaller_singular_values_are_capped():
    assert _weights(CAPPED / 30)[0] == _weights(CAPPED)[0] != _weights(CAPPED * 1.1)[0]
    assert len(_weights()) == 3


@pytest.mark.parametrize(
    "least, shift", [(2.0, 1e-4), (0.0, 1e-4), (-0.4e-4, 1e-4), (-0.6e-4, 2e-4), (-3e-4, 4e-4), (-3.7e-4, 8e-4)]
)
def test_the_diagonal_is_shifted_until_the_pivots_are_half_of_epsilon(least, shift):
    S = np.array([[4, 0.5, 0], [0.5, 3, 0], [0, 0, least]])
    factor = cholesky(S, EPSILON)
    assert factor @ factor.T == pytest.approx(S + shift * np.eye(3), abs=1e-12)
    assert np.array_equal(factor, np.tril(factor))
    assert S[2, 2] == least


@pytest.mark.parametrize("largest, finite", [(0.99e18, True), (1.01e18, False)])
def test_a_covariance_whose_squares_overflow_has_no_factor(largest, finite):
    assert np.isfinite(cholesky(np.diag([1.0, largest]), EPSILON)).all() == finite


@pytest.mark.parametrize("least", [-1e-6, -2e-4, -1.0, -1e4])
def test_a_covariance_with_negative_eigenvalues_has_a_finite_trace_and_gradient(least):
    S = covariance(64, wide, 1) + np.float32(least) * np.diag(np.arange(64) == 7).astype("float32")
    factor = cholesky(S, EPSILON)
    shift = (factor @ factor.T - S)[0, 0]
    assert (factor == np.tril(factor)).all()
    assert np.allclose(factor @ factor.T, S + shift * np.eye(64), atol=1e-3)
    assert shift <= EPSILON * 1.001 or shift < 4 * max(EPSILON, -np.linalg.eigvalsh(S.astype("float64"))[0])
    trace, gradient = by_mxnet(S, *roots_of(covariance(64, wide, 2)))
    assert np.isfinite(trace)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e6, 1e12])
def test_covariances_of_any_size_have_a_finite_trace_and_gradient(scale):
    S, S_Y = covariance(64, wide, 1, scale), covariance(64, wide, 2, scale)
    R, inverse = roots_of(S_Y)
    trace, gradient = by_mxnet(S, R, inverse)
    assert trace == pytest.approx(by_numpy(S, R)[0], rel=1e-2)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_not_finite_give_nan_and_no_error(value):
    S = covariance(16, wide, 1)
    S[3, 5] = S[5, 3] = value
    trace, gradient = by_mxnet(S, *roots_of(covariance(16, wide, 2)))
    assert np.isnan(trace)
    assert np.isnan(gradient).all()


def test_two_evaluations_give_the_same_numbers():
    S, (R, inverse) = covariance(256, wide, 1), roots_of(covariance(256, wide, 2))
    (trace, gradient), (again, gradient_again) = (by_mxnet(S, R, inverse) for _ in range(2))
    assert trace == again
    assert (gradient == gradient_again).all()


def test_np_mode_changes_nothing():
    S, (R, inverse) = covariance(16, wide, 1), roots_of(covariance(16, wide, 2))
    expected, _ = by_mxnet(S, R, inverse)
    mx.npx.set_np()
    try:
        with mx.util.np_array(False), mx.util.np_shape(False):
            assert by_mxnet(S, R, inverse)[0] == expected
    finally:
        mx.npx.reset_np()


def _trace_into(queue):
    queue.put(by_mxnet(CASES["64 channels"][0], *roots_of(CASES["64 channels"][1]))[0])


def test_a_forked_process_computes_the_same():
    expected, _ = by_mxnet(CASES["64 channels"][0], *roots_of(CASES["64 channels"][1]))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_trace_into, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        child.kill()
        child.join()
