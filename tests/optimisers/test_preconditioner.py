"""Filters on the cosine transform: the preconditioner of L-BFGS, and enlargement without aliasing."""

from gluon_nst.optimisers.lbfgs import LBFGSState, Minimiser
from gluon_nst.optimisers.preconditioner import TAPER, LowPass, enlarged
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare

import numpy as np
import pytest
from scipy.fft import dctn, idctn

SHAPE = (1, 3, 20, 30)


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def wave(frequency, height, width):
    """Return a cosine along the rows with a frequency in cycles per pixel, 1 × 1 × h × w."""
    return np.broadcast_to(np.cos(2 * np.pi * frequency * (np.arange(width) + 0.5)), (1, 1, height, width)).astype("f4")


# -- the preconditioner -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_filter_is_symmetric_and_positive_definite(power):
    low_pass, a, b = LowPass(SHAPE, power), noise(0), noise(1)
    filtered = {name: values.copy() for name, values in {"a": a, "b": b}.items()}
    for values in filtered.values():
        low_pass.apply(values)
    assert np.vdot(a, filtered["b"]) == pytest.approx(np.vdot(filtered["a"], b), rel=1e-4)
    square = sum(low_pass.product(plane) for plane in a[0])
    assert square == pytest.approx(np.vdot(a, filtered["a"]), rel=1e-4)
    assert square > 0


def test_the_filter_attenuates_a_frequency_by_its_power_and_is_flat_for_the_lowest():
    gains = {}
    for frequency in (0.01, 0.02, 0.1, 0.2):
        values = wave(frequency, 50, 100)
        before = np.abs(values).max()
        LowPass(values.shape, 1.5).apply(values)
        gains[frequency] = np.abs(values).max() / before
    assert gains[0.1] / gains[0.2] == pytest.approx(2**1.5, rel=1e-3)
    assert gains[0.01] == pytest.approx(gains[0.02], rel=1e-3)


def frequencies(height, width):
    """Return the frequencies of the cosine transform, in cycles per pixel."""
    return np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_the_gains_of_the_filter_are_powers_of_the_frequency_with_a_mean_of_1(power):
    gains = np.maximum(frequencies(20, 30), 0.03) ** -power
    gains /= gains.mean()
    values = noise(5)
    expected = idctn(dctn(values, axes=(2, 3), norm="ortho") * gains, axes=(2, 3), norm="ortho")
    LowPass(SHAPE, power).apply(values)
    assert values == pytest.approx(expected, abs=1e-4)


def test_without_a_power_the_filter_changes_nothing():
    values = noise(2)
    filtered = values.copy()
    LowPass(SHAPE, 0.0).apply(filtered)
    assert filtered == pytest.approx(values, abs=1e-5)


def quadratic(x):
    """A loss with its minimum at 1 everywhere; a filter of power 2 is about the inverse of its Hessian."""
    difference = x - 1
    spectrum = dctn(difference, axes=(2, 3), norm="ortho")
    height, width = x.shape[2:]
    scales = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width)) ** 2 + 0.03**2
    gradient = dctn(spectrum * scales, type=3, axes=(2, 3), norm="ortho")
    return float((gradient * difference).sum() / 2), gradient


def lowest(power, bounds=None, evaluations=12):
    """Return the lowest loss of the evaluations, and all points, with a filter of a power; None for no filter."""
    preconditioner = None if power is None else LowPass(SHAPE, power)
    optimizer = Minimiser(LBFGSState.start(noise(3)), 5, bounds, 0.5, preconditioner)
    losses, points = [], []
    for _ in range(evaluations):
        points.append(optimizer.state.X.copy())
        loss, gradient = quadratic(optimizer.state.X.astype(np.float64))
        losses.append(loss)
        optimizer.step(loss, gradient.astype(np.float32))
        optimizer.move()
    return min(losses), points


def test_a_filter_like_the_inverse_hessian_needs_fewer_evaluations():
    assert lowest(2.0)[0] < 0.05 * lowest(None)[0]


def test_a_filter_of_power_0_gives_the_same_steps_as_none():
    for one, other in zip(lowest(0.0)[1], lowest(None)[1]):
        assert one == pytest.approx(other, abs=1e-3)


def test_preconditioned_steps_stay_within_bounds_and_lower_the_loss():
    loss, points = lowest(1.0, bounds=(np.float32(-0.5), np.float32(0.5)), evaluations=20)
    assert all(np.abs(point).max() <= 0.5 for point in points)
    at_the_bound, _ = quadratic(np.full(SHAPE, 0.5))
    assert loss < 1.01 * at_the_bound


@pytest.mark.slow
def test_a_preconditioned_run_makes_smoother_changes(job):
    changes = {}
    for preconditioner in ("none", "low-pass"):
        result = carry_out(
            prepare(job(optimizer="lbfgs", preconditioner=preconditioner, preconditioner_power=2.0, epochs=2))
        )
        changes[preconditioner] = np.asarray(result.image, np.float64)
    roughness = {name: np.abs(np.diff(pixels, axis=1)).mean() for name, pixels in changes.items()}
    assert roughness["low-pass"] < roughness["none"]


# -- enlargement ------------------------------------------------------------------------------------------------------


def test_a_wave_keeps_its_frequency_and_amplitude_and_gets_no_copies():
    larger = enlarged(wave(0.1, 40, 40), (60, 60))
    assert larger == pytest.approx(wave(0.1 * 40 / 60, 60, 60), abs=1e-5)


def test_noise_gets_no_new_frequencies():
    spectrum = np.abs(dctn(enlarged(noise(4), (30, 45))[0, 0], norm="ortho"))
    assert spectrum[20:].max() < 1e-4
    assert spectrum[:, 30:].max() < 1e-4


def test_frequencies_above_the_taper_are_removed():
    spectrum = np.zeros((1, 1, 32, 32), np.float32)
    spectrum[..., 28, 28] = 1  # like the squares of a chessboard
    assert np.hypot(28 / 64, 28 / 64) > TAPER[1]
    checkers = dctn(spectrum, type=3, axes=(2, 3), norm="ortho")
    assert np.abs(checkers).max() > 0.01
    assert np.abs(enlarged(checkers, (48, 48))).max() < 1e-6


@pytest.mark.parametrize("shape", [(30, 45), (30, 24), (12, 45), (12, 24)])
def test_an_enlargement_keeps_the_spectrum_up_to_the_taper(shape):
    X = noise(6)
    height, width = min(shape[0], 20), min(shape[1], 30)
    share = np.clip((frequencies(height, width) - 0.35) / 0.15, 0, 1)
    expected = np.zeros((1, 3, *shape))
    expected[..., :height, :width] = dctn(X, axes=(2, 3), norm="ortho")[..., :height, :width]
    expected[..., :height, :width] *= (1 + np.cos(np.pi * share)) / 2 * np.sqrt(shape[0] * shape[1] / 600)
    larger = enlarged(X, shape)
    assert larger.dtype == np.float32
    assert larger == pytest.approx(idctn(expected, axes=(2, 3), norm="ortho"), abs=1e-5)


def test_a_constant_stays_at_any_shape():
    for shape in ((10, 60), (20, 30), (35, 31), (12, 13)):
        assert enlarged(np.full(SHAPE, 0.7, np.float32), shape) == pytest.approx(np.full((1, 3, *shape), 0.7), abs=1e-5)


@pytest.mark.slow
def test_upsampling_changes_only_the_second_stage(job):
    made = {}
    for upsampling in ("resize", "cosine"):
        run = prepare(job(upsampling=upsampling, sizes=[(32, 48), (48, 72)], epochs=[2, 2]))
        made[upsampling] = carry_out(run).images
    first, second = zip(*made.values())
    assert first[0].tobytes() == first[1].tobytes()
    assert second[0].tobytes() != second[1].tobytes()
