"""Style statistics other than the Gram matrix, against their equations in NumPy in double precision."""

import gluon_nst as nst
from gluon_nst.engine.objective import Guides, Objective
from gluon_nst.losses.reductions import weighted
from gluon_nst.losses.style_statistics import Gram, GramMeanStd, Statistic, Wasserstein, style_statistic

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, sym

from training_inputs import composite, make_inputs, recipe

EPSILON = 1e-4
"""Added to the diagonals of both covariances."""

STATISTICS = {
    "gram": Gram(),
    "gram of hw": Gram("hw", "sum"),
    "gram-mean-std": GramMeanStd("mean/c^2", 10.0),
    "wasserstein": Wasserstein(),
}


def features(channels, positions, seed):
    """Return features after a ReLU with correlated channels of different scales: 1 × c × 4 × positions / 4."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(channels, channels)) @ random.normal(size=(channels, positions)) / np.sqrt(channels)
    found = np.maximum(mixed + random.normal(0, 0.5, (channels, 1)), 0) * random.uniform(0.1, 3, (channels, 1))
    return found.reshape((1, channels, 4, positions // 4)).astype(np.float32)


def matrix(X):
    return X.astype(np.float64).reshape(X.shape[1], -1)


def power(S, exponent):
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.maximum(values, 1e-30) ** exponent) @ vectors.T


def gaussian(X):
    F = matrix(X)
    mean = F.mean(axis=1, keepdims=True)
    return mean, (F - mean) @ (F - mean).T / F.shape[1] + EPSILON * np.eye(len(F))


def wasserstein(X, Y):
    """Return the distance, and its gradient with respect to X in closed form."""
    (mean, S), (mean_Y, S_Y), F = gaussian(X), gaussian(Y), matrix(X)
    A, (channels, positions) = power(S_Y, 0.5), F.shape
    inner = A @ S @ A
    value = ((mean - mean_Y) ** 2).mean() + np.trace(S_Y + S - 2 * power(inner, 0.5)) / channels
    of_S = (np.eye(channels) - A @ power(inner, -0.5) @ A) / channels
    gradient = 2 / positions * (of_S @ (F - mean) + (mean - mean_Y) / channels)
    return value, gradient.reshape(X.shape)


def found_distance(statistic, X, Y):
    """Return the distance of two feature maps and its gradient with respect to the first, by MXNet."""
    X, target = mx.nd.array(X), statistic.target(statistic.of(mx.nd.array(Y)))
    X.attach_grad()
    with autograd.record():
        distance = statistic.distance(statistic.of(X), target, X.shape)
    distance.backward()
    return float(distance.asscalar()), X.grad.asnumpy().astype(np.float64)


def off(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# -- Wasserstein ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "channels, positions, of_style, within, gradient_within",
    [
        (8, 200, 240, 2e-6, 1e-5),
        (64, 2000, 1200, 2e-6, 1e-5),
        (64, 40, 2000, 2e-6, 3e-4),  # fewer positions than channels: some eigenvalues are EPSILON
        (64, 2000, 40, 1e-5, 1e-4),
        (512, 40, 40, 1e-5, 5e-4),
    ],
)
def test_the_wasserstein_distance_and_its_gradient_agree_with_double_precision(
    channels, positions, of_style, within, gradient_within
):
    X, Y = features(channels, positions, 1), 1.3 * features(channels, of_style, 2)
    (value, gradient), (expected, expected_gradient) = found_distance(Wasserstein(), X, Y), wasserstein(X, Y)
    assert expected > 0.01
    assert value == pytest.approx(expected, rel=within)
    assert off(gradient, expected_gradient) < gradient_within


def test_the_expected_gradient_agrees_with_finite_differences():
    X, Y = (features(12, 80, seed).astype(np.float64) for seed in (3, 4))
    (_, gradient), direction = wasserstein(X, Y), np.random.default_rng(5).normal(size=X.shape)
    up, down = (wasserstein(X + sign * 1e-5 * direction, Y)[0] for sign in (1, -1))
    assert (up - down) / 2e-5 == pytest.approx((gradient * direction).sum(), rel=1e-6)


@pytest.mark.parametrize("channels, positions", [(8, 200), (64, 2000), (64, 40), (512, 40)])
def test_the_wasserstein_distance_of_features_to_themselves_is_0(channels, positions):
    X = features(channels, positions, 6)
    value, gradient = found_distance(Wasserstein(), X, X)
    scale = np.trace(gaussian(X)[1]) / channels
    assert abs(value) < 3e-6 * scale
    other = found_distance(Wasserstein(), X, features(channels, positions, 7))[1]
    assert np.linalg.norm(gradient) < 1e-5 * np.linalg.norm(other)


def test_the_wasserstein_distance_of_constants_is_that_of_their_means():
    X, Y = (np.full((1, 3, 4, 5), value, np.float32) for value in (2, 5))
    value, gradient = found_distance(Wasserstein(), X, Y)
    assert value == pytest.approx(9, rel=1e-5)
    assert np.allclose(gradient, -6 / 60, rtol=1e-4)


# -- Gram matrices, means and deviations ------------------------------------------------------------------------------


def gram_mean_std(X, Y, weight):
    """Return the mean squared differences of Gram matrices, and of means and deviations."""
    F, G = matrix(X), matrix(Y)
    grams, means, deviations = (
        (of_F - of_G)
        for of_F, of_G in (
            (F @ F.T / F.shape[1], G @ G.T / G.shape[1]),
            (F.mean(axis=1), G.mean(axis=1)),
            (F.std(axis=1), G.std(axis=1)),
        )
    )
    return (grams**2).mean() / len(F) ** 2 + weight * ((means**2).mean() + (deviations**2).mean())


@pytest.mark.parametrize("weight", [0.0, 10.0])
@pytest.mark.parametrize("channels, positions", [(8, 200), (64, 2000), (64, 40)])
def test_grams_means_and_deviations_agree_with_numpy(channels, positions, weight):
    X, Y = features(channels, positions, 1), 1.3 * features(channels, 240, 2)
    value, gradient = found_distance(GramMeanStd("mean/c^2", weight), X, Y)
    assert value == pytest.approx(gram_mean_std(X, Y, weight), rel=1e-4)
    direction = np.random.default_rng(3).normal(size=X.shape) * (X > 0)
    up, down = (gram_mean_std(X.astype(float) + sign * 1e-6 * direction, Y, weight) for sign in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((up - down) / 2e-6, rel=1e-3)


@pytest.mark.parametrize("statistic", [GramMeanStd(), Wasserstein()])
@pytest.mark.parametrize("silent_in", ["composite", "style", "both"])
def test_the_gradient_is_finite_for_a_channel_that_is_0(statistic, silent_in):
    X, Y = features(8, 200, 1), features(8, 240, 2)
    for name, each in (("composite", X), ("style", Y)):
        if silent_in in (name, "both"):
            each[:, 3] = 0
    value, gradient = found_distance(statistic, X, Y)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_means_and_deviations_have_a_weight_of_1_by_default():
    X, Y = features(8, 40, 1), features(8, 48, 2)
    assert found_distance(GramMeanStd(), X, Y)[0] == found_distance(GramMeanStd("mean", 1.0), X, Y)[0]


class Sum(Statistic):
    """The sum of each channel, with all defaults."""

    def sums(self, X, weights=None):
        return weighted(X, weights).sum(axis=(0, 2, 3))


def test_a_statistic_is_by_default_a_mean_over_positions_and_a_mean_squared_difference():
    X, Y, weights = features(6, 80, 1), features(6, 40, 2), np.random.default_rng(3).random((1, 1, 4, 20))
    expected, expected_Y = matrix(X).mean(axis=1), matrix(Y).mean(axis=1)
    assert Sum().of(mx.nd.array(X)).asnumpy() == pytest.approx(expected, rel=1e-5)
    assert found_distance(Sum(), X, Y)[0] == pytest.approx(((expected - expected_Y) ** 2).mean(), rel=1e-4)
    found = Sum().of(mx.nd.array(X), mx.nd.array(weights), weights.sum())
    assert found.asnumpy() == pytest.approx((X * weights).sum(axis=(0, 2, 3)) / weights.sum(), rel=1e-5)
    with pytest.raises(NotImplementedError):
        Statistic().sums(mx.nd.array(X))


def test_a_recipe_has_a_statistic_with_its_options():
    X, Y = features(6, 80, 1), features(6, 40, 2)
    options = {"gram_divisor": "hw", "style_reduction": "sum"}
    for statistic, expected in (
        ("gram", Gram("hw", "sum")),
        ("gram-mean-std", GramMeanStd("sum", 3.0)),
        ("wasserstein", Wasserstein()),
    ):
        found = style_statistic(recipe(style_statistic=statistic, moments_weight=3, **options))
        assert found_distance(found, X, Y)[0] == found_distance(expected, X, Y)[0]


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATISTICS)
def test_weights_of_1_and_0_select_a_part(name):
    statistic, X = STATISTICS[name], mx.nd.array(features(6, 80, 1))
    weights = mx.nd.zeros((1, 1, 4, 20))
    weights[:, :, 1:, 5:13] = 1
    found = statistic.of(X, weights, 24.0).asnumpy()
    assert np.allclose(found, statistic.of(X[:, :, 1:, 5:13]).asnumpy(), rtol=1e-5, atol=1e-6)
    assert not np.allclose(found, statistic.of(X).asnumpy(), rtol=1e-2)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_position_with_a_weight_of_2_counts_twice(name):
    statistic, X = STATISTICS[name], mx.nd.array(features(6, 80, 1))
    weights = mx.nd.ones((1, 1, 4, 20))
    weights[:, :, :, :4] = 2
    twice = mx.nd.concat(X, X[:, :, :, :4], dim=3)
    assert np.allclose(statistic.of(X, weights, 96.0).asnumpy(), statistic.of(twice).asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STATISTICS)
def test_a_symbol_gives_the_same_as_an_array(name, weighted):
    statistic, X, Y = STATISTICS[name], *(mx.nd.array(features(6, 80, seed)) for seed in (1, 2))
    target, weights = statistic.target(statistic.of(Y)), mx.nd.array(np.random.default_rng(3).random((1, 1, 4, 20)))
    positions = float(weights.sum().asscalar())
    guided = (weights, positions) if weighted else ()
    found, expected_gradient = statistic.distance(statistic.of(X, *guided), target, X.shape), X.copy()
    expected_gradient.attach_grad()
    with autograd.record():
        statistic.distance(statistic.of(expected_gradient, *guided), target, X.shape).backward()
    arrays = {"X": X, "weights": weights, **{f"target{number}": array for number, array in enumerate(target)}}
    symbols = {each: sym.var(each, shape=array.shape) for each, array in arrays.items()}
    guided = (symbols["weights"], positions) if weighted else ()
    targets = [symbols[f"target{number}"] for number in range(len(target))]
    graph = statistic.distance(statistic.of(symbols["X"], *guided), targets, X.shape)
    arrays = {each: arrays[each] for each in graph.list_arguments()}
    gradient = mx.nd.zeros_like(X)
    bound = graph.bind(mx.cpu(), arrays, {"X": gradient}, {each: "write" if each == "X" else "null" for each in arrays})
    (by_graph,) = bound.forward(is_train=True)
    bound.backward([mx.nd.ones_like(by_graph)])
    assert by_graph.shape == (1,)
    assert by_graph.asscalar() == pytest.approx(found.asscalar(), rel=1e-5)
    assert off(gradient.asnumpy(), expected_gradient.grad.asnumpy()) < 1e-5


# -- in the objective -------------------------------------------------------------------------------------------------

SHALLOW = {"content_layers": ["conv1_1"], "style_layers": ["pixels", "relu1_1", "relu2_1", "relu3_1"]}


def style_only(net, statistic, guides=None, **options):
    """Return the Objective of a composite with only the style loss of a `statistic`, and its targets."""
    chosen = recipe(content_weight=0, tv_weight=0, style_weight=1, **SHALLOW, **options)
    content_X, _, _ = make_inputs(net)
    contents_Y, _ = nst.extract_features(content_X, net, chosen.content_layers, ())
    _, styles_Y = nst.extract_features(composite(seed=2), net, (), chosen.style_layers)
    X = composite()
    return Objective(net, X, contents_Y, [statistic.of(Y) for Y in styles_Y], chosen, statistic, guides)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [Wasserstein(), GramMeanStd("mean/c^2", 10.0)])
def test_the_gradient_of_the_composite_agrees_with_finite_differences(net, statistic):
    objective = style_only(net, statistic)
    objective()
    gradient, at = objective.X.grad.asnumpy().astype(np.float64), objective.X.asnumpy()
    random = np.random.default_rng(0)
    for direction in (gradient, gradient * random.random(gradient.shape)):
        direction, sides = direction / np.linalg.norm(direction), []
        for sign in (1, -1):
            objective.X[:] = at + sign * 0.02 * direction
            sides.append(objective().total)
        assert (sides[0] - sides[1]) / 0.04 == pytest.approx((gradient * direction).sum(), rel=1e-2)


@pytest.mark.slow
def test_the_losses_of_the_objective_are_the_distances_of_the_features(net):
    objective = style_only(net, Wasserstein())
    losses = objective()
    (_, features_X), (_, features_Y) = (
        nst.extract_features(X, net, (), recipe(**SHALLOW).style_layers) for X in (composite(), composite(seed=2))
    )
    expected = [wasserstein(X.asnumpy(), Y.asnumpy())[0] for X, Y in zip(features_X, features_Y)]
    assert list(losses.of("style").values()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATISTICS)
def test_a_region_without_positions_adds_nothing_to_the_losses(net, name):
    """The other region has the whole weight, as if a mask hid this one."""
    statistic = STATISTICS[name]
    chosen = recipe(content_weight=0, tv_weight=0, style_weight=1, **SHALLOW)
    _, features_Y = nst.extract_features(composite(seed=2), net, (), chosen.style_layers)
    shapes = [(1, 1, 32, 48), (1, 1, 32, 48), (1, 1, 16, 24), (1, 1, 8, 12)]
    regions = {layer: [mx.nd.ones(shape), mx.nd.zeros(shape)] for layer, shape in zip(chosen.style_layers, shapes)}
    targets = [[statistic.of(Y), statistic.of(Y)] for Y in features_Y]
    content_Y = nst.extract_features(composite(seed=1), net, chosen.content_layers, ())[0]
    objective = Objective(net, composite(), content_Y, targets, chosen, statistic, Guides(styles=regions))
    losses = objective()
    assert list(losses.of("style").values()) == pytest.approx(
        list(style_only(net, statistic)().of("style").values()), rel=1e-4
    )
    assert np.isfinite(objective.X.grad.asnumpy()).all()
