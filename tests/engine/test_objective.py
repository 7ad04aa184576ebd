import json

import gluon_nst as nst
from gluon_nst.engine import objective as objectives
from gluon_nst.engine.graph import Graph
from gluon_nst.engine.objective import Objective
from gluon_nst.engine.windows import cut
from gluon_nst.losses.reductions import weighted
from gluon_nst.losses.style_statistics import Gram, Statistic
from gluon_nst.network import bfloat16
from gluon_nst.network.operators import operators
from gluon_nst.optimisers import Adam

import mxnet as mx
import numpy as np
import pytest

from training_inputs import composite, make_inputs, needs_bfloat16, one_by_one, recipe
from weights_networks import with_scalings


@pytest.fixture(scope="module")
def inputs(net):
    return make_inputs(net)


def graph(net, inputs, X, **options):
    """Return the losses of `X` and the gradient, computed by the graphs."""
    _, contents_Y, styles_Y = inputs
    losses = Objective(net, X, contents_Y, [nst.gram(Y) for Y in styles_Y], recipe(**options))()
    return [losses.content, losses.style, losses.tv, losses.total], X.grad.asnumpy().astype(np.float64)


@pytest.mark.slow
def test_the_graphs_agree_with_the_chapters_functions(net, inputs):
    X = composite()
    losses, gradient = graph(net, inputs, X)
    expected, expected_gradient = one_by_one(net, inputs, X)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert np.linalg.norm(gradient - expected_gradient) < 1e-5 * np.linalg.norm(expected_gradient)


@pytest.mark.slow
def test_the_gradient_of_the_objective_agrees_with_finite_differences(net, inputs):
    X = composite()
    _, gradient = graph(net, inputs, X)
    random = np.random.default_rng(0)
    noisy = random.normal(size=gradient.shape) + 3 * gradient / gradient.std()
    for direction in (gradient, gradient * random.random(gradient.shape), noisy):
        direction = direction / np.linalg.norm(direction)
        step = 0.05
        moved = (X + mx.nd.array(sign * step * direction) for sign in (1, -1))
        up, down = (one_by_one(net, inputs, there)[0][3].astype(float) for there in moved)
        assert (up - down) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-2)


def test_only_the_composite_gets_a_gradient(net, inputs):
    X = composite()
    before = {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}
    graph(net, inputs, X)
    for name, parameter in net.collect_params().items():
        assert parameter.grad_req == "null"
        assert np.array_equal(parameter.data().asnumpy(), before[name])
    assert np.abs(X.grad.asnumpy()).max() > 0


def test_the_losses_have_the_layers_names(net, inputs):
    _, contents_Y, styles_Y = inputs
    options = {
        "content_layers": ["conv4_4"],
        "style_layers": {"conv1_1": 1, "conv2_1": 10, "conv3_1": 0, "conv4_1": 1, "conv5_1": 1},
    }
    weighted = Objective(net, composite(), contents_Y, [nst.gram(Y) for Y in styles_Y], recipe(**options))()
    plain = Objective(net, composite(), contents_Y, [nst.gram(Y) for Y in styles_Y], recipe())()
    layers = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
    assert list(weighted) == list(plain) == ["content/conv4_4", *(f"style/{layer}" for layer in layers), "tv"]
    factors = [weighted[f"style/{layer}"] / plain[f"style/{layer}"] for layer in layers]
    assert factors == pytest.approx([1, 10, 0, 1, 1])
    assert weighted.style == sum(weighted.of("style").values())
    assert weighted.total == pytest.approx(sum(weighted.values()))


class Mean(Statistic):
    """The mean of the features: a different statistic, in three lines."""

    def sums(self, X, weights=None):
        return weighted(X, weights).sum(axis=(2, 3))


class Moments(Statistic):
    """The mean of the features and of their squares, with its own distance."""

    def sums(self, X, weights=None):
        parts = (weighted(each, weights).sum(axis=(2, 3)) for each in (X, X * X))
        return operators(X).concat(*parts, dim=1)

    def distance(self, statistic, target, shape):
        return ((statistic - target[0]) ** 2).sum().reshape(1) / shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [Mean(), Moments(), Gram("hw", "sum")])
def test_a_custom_statistic_can_be_trained(net, inputs, statistic):
    content_X, contents_Y, styles_Y = inputs
    chosen = recipe(content_weight=0, tv_weight=0, style_weight=1, lr=0.05)
    adam = Adam.start(content_X, chosen)
    objective = Objective(net, adam.X, contents_Y, [statistic.of(Y) for Y in styles_Y], chosen, statistic)
    totals = []
    for _ in range(8):
        losses = adam.evaluate(objective)
        adam.step(losses, 0.05)
        totals.append(losses.total)
    assert totals[-1] < 0.5 * totals[0]
    assert losses.content == losses.tv == 0


def test_the_gradient_of_a_custom_statistic_agrees_with_finite_differences(net, inputs):
    X, (_, contents_Y, styles_Y), statistic = composite(), inputs, Moments()
    chosen = recipe(content_weight=0, tv_weight=0, style_weight=1)
    objective = Objective(net, X, contents_Y, [statistic.of(Y) for Y in styles_Y], chosen, statistic)
    objective()
    gradient, at = X.grad.asnumpy().astype(np.float64), X.asnumpy()
    direction = gradient / np.linalg.norm(gradient)
    sides = []
    for sign in (1, -1):
        X[:] = at + sign * 0.02 * direction
        sides.append(objective().total)
    assert (sides[0] - sides[1]) / 0.04 == pytest.approx(np.linalg.norm(gradient), rel=1e-2)


def test_the_sums_of_two_halves_are_those_of_the_whole():
    features = mx.nd.array(np.random.default_rng(0).normal(size=(1, 8, 6, 10)))
    for statistic in (Gram(), Mean()):
        whole = statistic.sums(features).asnumpy()
        halves = sum(statistic.sums(features[:, :, :, part]).asnumpy() for part in (slice(0, 4), slice(4, 10)))
        assert np.allclose(whole, halves, rtol=1e-5, atol=1e-4)


@needs_bfloat16
def test_bfloat16_is_close_to_float32(net, inputs):
    X = composite()
    expected, expected_gradient = one_by_one(net, inputs, X)
    losses, gradient = graph(net, inputs, X, precision="bfloat16")
    assert losses == pytest.approx(expected, rel=1e-2)
    assert losses[:2] != pytest.approx(expected[:2], rel=1e-6)
    cosine = (gradient * expected_gradient).sum() / np.linalg.norm(gradient) / np.linalg.norm(expected_gradient)
    assert cosine > 0.97


@needs_bfloat16
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("amx", ["used", "the processor has none"])
def test_bfloat16_is_close_to_float32_if_features_are_pooled_and_convolved(parameters, monkeypatch, amx, pooling):
    """After a layer with a loss, the graph differs with AMX; both graphs work on any processor."""
    monkeypatch.setattr(bfloat16.instructions, "amx", amx)
    options = {"content_layers": ["conv4_2"], "style_layers": ["relu1_2", "relu2_1", "relu2_2", "conv4_2"]}
    net = nst.truncated_vgg19(parameters, 21, mx.cpu(), pooling)
    X, content, style = composite(), composite(seed=1), composite(seed=2)
    chosen = recipe(**options)
    contents_Y, _ = nst.extract_features(content, net, chosen.content_layers, ())
    _, styles_Y = nst.extract_features(style, net, (), chosen.style_layers)
    losses, gradient = graph(net, (X, contents_Y, styles_Y), X, precision="bfloat16", **options)
    expected, expected_gradient = graph(net, (X, contents_Y, styles_Y), X, **options)
    assert losses == pytest.approx(expected, rel=2e-2)
    cosine = (gradient * expected_gradient).sum() / np.linalg.norm(gradient) / np.linalg.norm(expected_gradient)
    assert cosine > 0.97


@needs_bfloat16
def test_bfloat16_is_used_only_inside_the_graphs(net, inputs):
    before = nst.extract_features(inputs[0], net)[1][-1].asnumpy()
    graph(net, inputs, composite(), precision="bfloat16")
    after = nst.extract_features(inputs[0], net)[1][-1]
    assert after.dtype == np.float32
    assert np.array_equal(after.asnumpy(), before)


# -- without scaling convolutions -------------------------------------------------------------------------------------


@pytest.fixture
def convolutions(monkeypatch):
    """Collect the number of convolutions in each graph that has any."""
    numbers, bind = [], Graph.bind

    def counted(self, outputs, others):
        nodes = json.loads(mx.sym.Group(outputs).tojson())["nodes"]
        number = sum(node["op"] == "Convolution" for node in nodes)
        numbers.extend([number] if number else [])
        return bind(self, outputs, others)

    monkeypatch.setattr(Graph, "bind", counted)
    return numbers


@pytest.fixture(scope="module")
def scaled(parameters):
    """Return the random network with two scaling convolutions, and its inputs."""
    net = nst.truncated_vgg19(with_scalings(parameters, conv3_4=5.5, conv4_4=0.25), 28, mx.cpu())
    return net, make_inputs(net)


PRECISIONS = ["float32", pytest.param("bfloat16", marks=needs_bfloat16)]


@pytest.mark.slow
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_scaling_convolutions_are_left_out_of_the_graph(scaled, convolutions, monkeypatch, precision, windowed):
    net, (_, contents_Y, styles_Y) = scaled
    targets = [nst.gram(Y) for Y in styles_Y]
    parts, X = cut(28, (32, 48), (64, 40)) if windowed else None, composite()

    def evaluate():
        losses = Objective(net, X, contents_Y, targets, recipe(precision=precision), parts=parts)()
        return list(losses.values()), X.grad.asnumpy().astype(np.float64)

    losses, gradient = evaluate()
    first, left_out = (1, 2) if precision == "bfloat16" else (0, 2)  # bfloat16 has two first convolutions
    assert sum(convolutions) == 13 + first - left_out
    convolutions.clear()
    monkeypatch.setattr(objectives, "without_scalings", all_layers)
    expected, expected_gradient = evaluate()
    assert sum(convolutions) == 13 + first
    assert losses == pytest.approx(expected, rel=1e-5 if precision == "float32" else 1e-2)
    error = np.linalg.norm(gradient - expected_gradient) / np.linalg.norm(expected_gradient)
    assert error < (1e-5 if precision == "float32" else 0.3)


def all_layers(net, wanted):
    """Return the result of `without_scalings` for a network without scalings."""
    return dict(enumerate(net)), {name: parameter.data() for name, parameter in net.collect_params().items()}


def test_a_trunk_without_scalings_keeps_all_its_convolutions(net, inputs, convolutions):
    graph(net, inputs, composite())
    assert convolutions == [13]


@pytest.mark.parametrize("layer, number", [("conv4_3", 12), ("relu4_3", 12), ("conv4_4", 11), ("relu4_4", 11)])
def test_a_scaling_that_would_change_requested_features_is_kept(scaled, convolutions, layer, number):
    (net, _), X = scaled, composite()
    chosen = recipe(content_layers=[layer], style_layers=["conv5_1"])
    contents_Y, styles_Y = nst.extract_features(composite(seed=1), net, chosen.content_layers, [28])
    losses = Objective(net, X, contents_Y, [nst.gram(Y) for Y in styles_Y], chosen)()
    (found,), _ = nst.extract_features(X, net, chosen.content_layers, ())
    assert losses.content == pytest.approx(((found - contents_Y[0]) ** 2).mean().asscalar(), rel=1e-5)
    assert convolutions == [number]
