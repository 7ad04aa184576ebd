from gluon_nst.optimisers.lbfgs import BFloat16, LBFGSState, Minimiser, Pair
from gluon_nst.optimisers.preconditioner import LowPass

import numpy as np
import pytest


def minimise(function, x, evaluations, history_size=5, bounds=None, first_step=0.1):
    """Return the losses and points of the evaluations of `function`, which returns a loss and a gradient."""
    optimizer, losses, points = (
        Minimiser(LBFGSState.start(np.array(x, np.float32)), history_size, bounds, first_step),
        [],
        [],
    )
    while len(losses) < evaluations and not optimizer.state.settled:
        points.append(optimizer.state.X.copy())
        loss, gradient = function(optimizer.state.X.astype(np.float64))
        losses.append(loss)
        optimizer.step(loss, np.asarray(gradient, dtype=np.float32))
        optimizer.move()
    return losses, points


def rosenbrock(x):
    a, b = x[..., :-1], x[..., 1:]
    gradient = np.zeros_like(x)
    gradient[..., :-1] = -400 * a * (b - a**2) - 2 * (1 - a)
    gradient[..., 1:] += 200 * (b - a**2)
    return float((100 * (b - a**2) ** 2 + (1 - a) ** 2).sum()), gradient


def bowl(scales):
    return lambda x: (float((scales * x**2).sum() / 2), scales * x)


def test_it_finds_the_minimum_at_the_end_of_a_curved_valley():
    losses, points = minimise(rosenbrock, np.full((2, 3), -1.2, np.float32), 200)
    assert min(losses) < 1e-6
    assert np.abs(points[np.argmin(losses)] - 1).max() < 1e-2


def test_with_a_full_history_it_solves_a_quadratic_in_a_few_steps():
    scales = np.geomspace(1, 100, 8)
    losses, _ = minimise(bowl(scales), np.ones(8, np.float32), 40, history_size=8)
    assert min(losses) < 1e-8 * losses[0]
    forgetful, _ = minimise(bowl(scales), np.ones(8, np.float32), 40, history_size=1)
    assert min(forgetful) > min(losses)


def test_every_point_is_within_the_bounds_and_a_minimum_on_them_is_found():
    centre = np.array([[2.0, 0.3], [-1.0, 0.6]])
    bounds = np.float32(0), np.array([[1.0, 1.0], [1.0, 0.5]], np.float32)
    losses, points = minimise(
        lambda x: (float(((x - centre) ** 2).sum()), 2 * (x - centre)), np.full((2, 2), 0.5), 60, bounds=bounds
    )
    assert all((point >= bounds[0]).all() and (point <= bounds[1]).all() for point in points)
    assert points[np.argmin(losses)] == pytest.approx(np.array([[1.0, 0.3], [0.0, 0.5]]), abs=1e-3)


def test_a_step_that_is_too_long_is_shortened():
    losses, _ = minimise(bowl(np.ones(4)), np.ones(4, np.float32), 20, first_step=100)
    assert losses[1] > losses[0]
    assert min(losses) < 1e-6


def test_the_first_step_has_the_given_length():
    _, points = minimise(bowl(np.array([1.0, 5.0])), np.ones(2, np.float32), 2, first_step=0.25)
    assert np.sqrt(np.mean((points[1] - points[0]) ** 2)) == pytest.approx(0.25, rel=1e-5)


def test_it_converges_at_a_minimum():
    losses, _ = minimise(bowl(np.ones(3)), np.zeros(3, np.float32), 50)
    assert len(losses) == 1
    losses, _ = minimise(
        lambda x: (1.0 + 1e-9 * np.random.rand(), np.ones(3)), np.zeros(3, np.float32), 50
    )  # only noise
    assert len(losses) < 50


def test_a_noisy_gradient_does_not_stop_it():
    random = np.random.default_rng(0)

    def noisy(x):
        loss, gradient = bowl(np.geomspace(1, 50, 30))(x)
        return loss, gradient * (1 + 0.1 * random.standard_normal(30))  # as with bfloat16

    losses, _ = minimise(noisy, np.ones(30, np.float32), 80)
    assert min(losses) < 1e-4 * losses[0]


def test_the_result_is_the_lowest_point_and_not_a_step_that_was_too_long():
    optimizer = Minimiser(LBFGSState.start(np.ones(4, np.float32)), 5, first_step=100)
    function, found = bowl(np.ones(4)), []
    for _ in range(6):
        loss, gradient = function(optimizer.state.X.astype(np.float64))
        found.append((loss, optimizer.state.X.copy()))
        optimizer.step(loss, np.asarray(gradient, dtype=np.float32))
        lowest, point = min(found, key=lambda each: each[0])
        assert np.array_equal(optimizer.state.lowest, point)
        optimizer.move()
    assert found[1][0] > found[0][0]


def test_stored_steps_in_bfloat16_are_precise_enough():
    scales = np.geomspace(1, 1000, 50)
    losses, _ = minimise(bowl(scales), np.ones(50, np.float32), 120, history_size=10)
    assert min(losses) < 1e-7 * losses[0]


def test_values_of_several_pieces_are_moved_like_those_of_one():
    count = 2**16 + 1000
    losses, points = minimise(bowl(np.geomspace(1, 10, count)), np.ones(count, np.float32), 30)
    assert min(losses) < 1e-6 * losses[0]
    assert np.abs(points[np.argmin(losses)]).max() < 1e-2


@pytest.mark.parametrize("factor", [2.0**80, 2.0**-80])
def test_the_scale_of_the_loss_makes_no_difference(factor):
    def scaled(x):
        return tuple(factor * each for each in rosenbrock(x))

    _, points = minimise(rosenbrock, np.full((2, 3), -1.2, np.float32), 50)
    _, found = minimise(scaled, np.full((2, 3), -1.2, np.float32), 50)
    assert np.array_equal(found, points)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_an_error(value):
    with pytest.raises(FloatingPointError, match="the gradient is not finite"):
        minimise(lambda x: (1.0, np.array([value, 1, 1])), np.ones(3, np.float32), 5)


def test_a_state_with_a_longer_history_than_the_recipe_allows_drops_the_oldest_steps():
    state = LBFGSState.start(np.full((2, 3), -1.2, np.float32))

    def climb(history_size):
        optimizer = Minimiser(state, history_size, first_step=0.1)
        for _ in range(12):
            loss, gradient = rosenbrock(state.X.astype(np.float64))
            optimizer.step(loss, gradient.astype(np.float32))
            optimizer.move()
        return len(state.pairs)

    assert climb(6) == 6
    newest = state.pairs[-2:]
    Minimiser(state, 7)
    assert len(state.pairs) == 6
    Minimiser(state, 2)
    assert all(kept is pair for kept, pair in zip(state.pairs, newest))
    assert climb(2) == 2


# -- single steps -----------------------------------------------------------------------------------------------------


def advance(optimizer, function):
    """Evaluate once, step and move; return the new point."""
    loss, gradient = function(optimizer.state.X.astype(np.float64))
    optimizer.step(loss, np.asarray(gradient, dtype=np.float32))
    optimizer.move()
    return optimizer.state.X.copy()


def halved(x):
    return bowl(1.0)(x)


@pytest.mark.parametrize(
    "length, expected",
    [
        (3.0, 0.0),  # the parabola has the minimum of the bowl
        (2.5, 0.0),
        (100.0, -9.0),  # at least a tenth of the step
        (2.0 * (1 - 5e-5), 5e-5),  # at most half of it
    ],
)
def test_a_step_that_is_too_long_is_shortened_to_the_minimum_of_a_parabola(length, expected):
    optimizer = Minimiser(LBFGSState.start(np.ones(4, np.float32)), 5, first_step=length)
    first, second = (advance(optimizer, halved) for _ in range(2))
    assert first == pytest.approx(1 - length, rel=1e-5)
    assert second == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_step_with_a_sufficient_decrease_is_accepted():
    optimizer = Minimiser(LBFGSState.start(np.ones(4, np.float32)), 5, first_step=2.0 * (1 - 2e-4))
    for _ in range(2):
        advance(optimizer, halved)
    assert len(optimizer.state.pairs) == 1
    assert optimizer.state.from_X == pytest.approx(-1 + 4e-4, abs=1e-6)


def test_it_restarts_along_the_negative_gradient_after_five_shortenings_and_then_converges():
    def valley(x):  # curved, so that steps are stored
        return bowl(np.array([1.0, 4.0, 9.0]))(x)

    optimizer = Minimiser(LBFGSState.start(np.ones(3, np.float32)), 5, first_step=0.1)
    for _ in range(3):
        advance(optimizer, valley)
    state = optimizer.state
    begun, gradient = state.from_X.copy(), state.from_gradient.copy()
    assert len(state.pairs) == 2
    for _ in range(6):
        assert state.pairs
        advance(optimizer, lambda x: (1e3, np.ones(3)))
    assert (len(state.pairs), state.settled) == (0, False)
    assert np.array_equal(state.from_X, begun)
    change = state.X - begun
    assert change == pytest.approx(-0.1 * gradient / np.sqrt(np.mean(gradient**2)), rel=1e-4)
    for _ in range(5):
        advance(optimizer, lambda x: (1e3, np.ones(3)))
        assert not state.settled
    advance(optimizer, lambda x: (1e3, np.ones(3)))
    assert state.settled


def dense_step(state, preconditioner=None):
    """-H g, where H is built from the stored steps by the BFGS formula (equation 6.17), in double precision."""
    size = state.X.size
    P = np.eye(size)
    if preconditioner is not None:
        columns = np.eye(size, dtype=np.float32).reshape(size, *state.X.shape)
        for column in columns:
            preconditioner.apply(column)
        P = columns.reshape(size, size).astype(np.float64).T
    s = [pair.step.values(slice(None)).astype(np.float64) for pair in state.pairs]
    y = [pair.change.values(slice(None)).astype(np.float64) for pair in state.pairs]
    H = P * (s[-1] @ y[-1]) / (y[-1] @ P @ y[-1])
    for step, change in zip(s, y):
        inverse = 1 / (step @ change)
        left = np.eye(size) - inverse * np.outer(step, change)
        H = left @ H @ left.T + inverse * np.outer(step, step)
    return -H @ state.from_gradient.reshape(-1)


@pytest.mark.parametrize("power", [None, 1.0])
def test_a_step_agrees_with_the_bfgs_formula(power):
    shape = (1, 3, 4, 5)
    preconditioner = None if power is None else LowPass(shape, power)
    scales = np.geomspace(1, 20, 60).reshape(shape)
    start = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    optimizer = Minimiser(LBFGSState.start(start), 3, None, 0.1, preconditioner)
    state, lengths = optimizer.state, []
    for _ in range(9):
        advance(optimizer, bowl(scales))
        if state.pairs:
            expected = dense_step(state, preconditioner)
            lengths.append(state.length)
            assert np.linalg.norm(state.direction.reshape(-1) - expected) < 1e-4 * np.linalg.norm(expected)
            assert state.slope == pytest.approx(expected @ state.from_gradient.reshape(-1), rel=1e-4)
            assert np.allclose(state.X, state.from_X + state.length * state.direction, rtol=1e-6, atol=1e-6)
            assert state.length == 1 or state.shortenings
    assert len(state.pairs) == 3
    assert lengths.count(1) > 3


def test_the_first_step_is_2_percent_by_default():
    optimizer = Minimiser(LBFGSState.start(np.zeros(2, np.float32)), 5)
    assert np.sqrt(np.mean(advance(optimizer, lambda x: (1.0, np.array([3.0, -4.0]))) ** 2)) == pytest.approx(0.02)


def test_a_step_with_negative_curvature_is_not_stored():
    optimizer = Minimiser(LBFGSState.start(np.full(3, 0.01, np.float32)), 5, first_step=0.005)
    points = [advance(optimizer, lambda x: (-float((x**2).sum()), -2 * x)) for _ in range(3)]
    assert optimizer.state.pairs == []
    assert points == [pytest.approx(x) for x in (0.015, 0.02, 0.025)]


def test_stored_steps_are_discarded_if_the_direction_is_not_one_of_descent():
    state = LBFGSState.start(np.ones(3, np.float32))
    step, change = (BFloat16(np.empty(3, np.uint16)) for _ in range(2))
    for values in (step, change):
        values.write(np.ones(3, np.float32), np.zeros(3, np.float32))
    state.pairs = [Pair(step, change, -1 / 3, 3.0)]
    optimizer = Minimiser(state, 5, first_step=0.5)
    assert advance(optimizer, halved) == pytest.approx(0.5)
    assert state.pairs == []
    assert state.slope < 0


def test_pixels_that_would_pass_their_bounds_are_left_out_of_the_step():
    bounds = np.float32(0), np.array([1, 1, 1, 1, 1, 2], np.float32)
    start = np.array([0, 0, 1, 1, 0.5, 1], np.float32)
    gradient = np.array([0.25, -0.25, -0.25, 0.25, 0.25, -0.25])
    optimizer = Minimiser(LBFGSState.start(start.copy()), 5, bounds, first_step=0.1)
    moved = advance(optimizer, lambda x: (float(gradient @ x), gradient)) - start
    each = 0.1 * np.sqrt(6 / 4)  # of the four that move
    assert moved == pytest.approx([0, each, 0, -each, -each, each], rel=1e-5)
    assert optimizer.state.direction[[0, 2]] == pytest.approx(0)


def test_stored_steps_do_not_move_pixels_at_their_bounds():
    bounds = np.float32(-5), np.float32(5)
    A = np.array([[2.0, 1.5, 0], [1.5, 2.0, 0], [0, 0, 1.0]])

    def coupled(x):
        return float(x @ A @ x / 2 - 30 * x[0]), A @ x - np.array([30.0, 0, 0])

    optimizer = Minimiser(LBFGSState.start(np.array([4.9, 1, 1], np.float32)), 5, bounds, first_step=0.5)
    for _ in range(3):
        point = advance(optimizer, coupled)
    assert optimizer.state.pairs
    assert point[0] == 5
    assert optimizer.state.direction[0] == 0
    assert optimizer.state.direction[1] != 0


@pytest.mark.parametrize("bound, inwards", [(0, 1), (1, -1)])
def test_a_pixel_at_its_bound_without_a_gradient_moves_with_the_others(bound, inwards):
    state = LBFGSState.start(np.array([bound, 0.5], np.float32))
    step, change = (BFloat16(np.empty(2, np.uint16)) for _ in range(2))
    for kept, values in ((step, (-inwards, 0.5)), (change, (-0.5 * inwards, 2))):
        kept.write(np.array(values, np.float32), np.zeros(2, np.float32))
    state.pairs = [Pair(step, change, 1 / 1.5, 4.25)]
    optimizer = Minimiser(state, 5, (np.float32(0), np.float32(1)))
    optimizer.step(1.0, np.array([0, 0.5], np.float32))
    assert state.direction == pytest.approx(dense_step(state), rel=1e-4)
    assert state.direction[0] * inwards > 0.03


def test_a_restart_is_at_the_best_point_with_an_empty_history():
    optimizer = Minimiser(LBFGSState.start(np.ones(4, np.float32)), 5, first_step=0.1)
    for _ in range(3):
        advance(optimizer, bowl(np.array([1, 2, 3, 4])))
    state = optimizer.state
    lowest, state.settled = state.from_X.copy(), True
    assert not np.array_equal(state.X, lowest)
    optimizer.restart()
    assert np.array_equal(state.X, lowest)
    assert (state.pairs, state.from_loss, state.settled) == ([], None, False)
    optimizer.move()
    assert np.array_equal(state.X, lowest)


# -- bfloat16 ---------------------------------------------------------------------------------------------------------


def test_bfloat16_rounds_to_the_nearest_even():
    # Near 1 it has steps of 1/128.
    values = np.array(
        [1 + 1 / 256, 1 + 3 / 256, 1 + 1.01 / 256, 1 + 0.99 / 256, -1 - 1 / 256, -1 - 3 / 256], np.float32
    )
    kept = BFloat16(np.empty(6, np.uint16))
    kept.write(values + 1, np.ones(6, np.float32))
    expected = np.array([1, 1 + 2 / 128, 1 + 1 / 128, 1, -1, -1 - 2 / 128], np.float32)
    assert np.array_equal(kept.values(slice(None)), expected)
    assert np.array_equal(kept.values(slice(2, 4)), expected[2:4])


def test_values_in_bfloat16_of_several_pieces_are_multiplied_and_added():
    count = 2**17 + 5
    own, other = np.random.default_rng(2).integers(-8, 9, (2, count)).astype(np.float32)  # exact in bfloat16
    kept = BFloat16(np.empty(count, np.uint16))
    kept.write(own, np.zeros(count, np.float32))
    pieces = list(kept.pieces())
    assert np.array_equal(np.concatenate([values for _, values in pieces]), own)
    assert np.array_equal(np.concatenate([np.arange(count)[place] for place, _ in pieces]), np.arange(count))
    assert kept.product(other) == own.astype(np.float64) @ other
    added = other.copy()
    kept.add_to(added, 0.5)
    assert np.array_equal(added, other + own / 2)
