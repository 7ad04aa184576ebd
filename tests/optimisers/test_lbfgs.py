from gluon_nst.optimisers.lbfgs import LBFGSState, Minimiser

import numpy as np
import pytest


def minimise(function, x, evaluations, history_size=5, bounds=None, first_step=0.1):
    """The losses and the points of so many evaluations of `function`, which gives a loss and a gradient."""
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


def test_with_a_memory_of_every_direction_it_solves_a_quadratic_in_a_few_steps():
    scales = np.geomspace(1, 100, 8)
    losses, _ = minimise(bowl(scales), np.ones(8, np.float32), 40, history_size=8)
    assert min(losses) < 1e-8 * losses[0]
    forgetful, _ = minimise(bowl(scales), np.ones(8, np.float32), 40, history_size=1)
    assert min(forgetful) > min(losses)


def test_every_point_is_within_the_bounds_and_the_minimum_on_them_is_found():
    centre = np.array([[2.0, 0.3], [-1.0, 0.6]])
    bounds = np.float32(0), np.array([[1.0, 1.0], [1.0, 0.5]], np.float32)
    losses, points = minimise(
        lambda x: (float(((x - centre) ** 2).sum()), 2 * (x - centre)), np.full((2, 2), 0.5), 60, bounds=bounds
    )
    assert all((point >= bounds[0]).all() and (point <= bounds[1]).all() for point in points)
    assert points[np.argmin(losses)] == pytest.approx(np.array([[1.0, 0.3], [0.0, 0.5]]), abs=1e-3)


def test_a_step_that_is_too_long_is_taken_back():
    losses, _ = minimise(bowl(np.ones(4)), np.ones(4, np.float32), 20, first_step=100)
    assert losses[1] > losses[0]
    assert min(losses) < 1e-6


def test_the_first_step_has_the_length_it_is_given():
    _, points = minimise(bowl(np.array([1.0, 5.0])), np.ones(2, np.float32), 2, first_step=0.25)
    assert np.sqrt(np.mean((points[1] - points[0]) ** 2)) == pytest.approx(0.25, rel=1e-5)


def test_it_settles_where_nothing_is_left_to_gain():
    losses, _ = minimise(bowl(np.ones(3)), np.zeros(3, np.float32), 50)
    assert len(losses) == 1
    losses, _ = minimise(
        lambda x: (1.0 + 1e-9 * np.random.rand(), np.ones(3)), np.zeros(3, np.float32), 50
    )  # nothing but noise
    assert len(losses) < 50


def test_a_gradient_that_is_noisy_does_not_stop_it():
    random = np.random.default_rng(0)

    def noisy(x):
        loss, gradient = bowl(np.geomspace(1, 50, 30))(x)
        return loss, gradient * (1 + 0.1 * random.standard_normal(30))  # as bfloat16's is

    losses, _ = minimise(noisy, np.ones(30, np.float32), 80)
    assert min(losses) < 1e-4 * losses[0]


def test_what_is_reached_is_the_lowest_point_and_not_a_step_that_was_too_long():
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


def test_remembered_steps_in_half_the_precision_are_near_enough():
    scales = np.geomspace(1, 1000, 50)
    losses, _ = minimise(bowl(scales), np.ones(50, np.float32), 120, history_size=10)
    assert min(losses) < 1e-7 * losses[0]


def test_values_of_several_pieces_are_moved_as_one_is():
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
    assert climb(2) == 2
