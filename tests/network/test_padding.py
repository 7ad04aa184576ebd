"""The padding of the first convolution against NumPy, at the border of the picture, in both precisions."""

import gluon_nst as nst
from gluon_nst.engine.objective import Objective
from gluon_nst.network.bfloat16 import bfloat16_features

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from painting import paint
from training_inputs import composite, needs_bfloat16, recipe

MODES = {"zero": "constant", "replicate": "edge", "reflect": "reflect"}


def convolved(X, parameters, index, mode="constant"):
    """Compute the convolution `index` of the network in double precision, for 1 × c × h × w padded by np.pad."""
    weight, bias = (parameters[f"features.{index}.{name}"].asnumpy().astype(float) for name in ("weight", "bias"))
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True) + bias.reshape((1, -1, 1, 1))


def second(X, parameters, padding):
    """Compute conv1_2 of the network with this padding of the first convolution."""
    return convolved(np.maximum(convolved(X, parameters, 0, MODES[padding]), 0), parameters, 2)


def border(shape):
    """Return an array that is 1 at the outermost positions and 0 inside."""
    weights = np.ones((1, 1, *shape[2:]), np.float32)
    weights[:, :, 1:-1, 1:-1] = 0
    return weights


@pytest.mark.parametrize("padding", MODES)
def test_the_first_layers_features_agree_with_numpy(parameters, padding):
    X = composite()
    net = nst.truncated_vgg19(parameters, 0, mx.cpu(), padding=padding)
    found, expected = net(X).asnumpy(), convolved(X.asnumpy().astype(float), parameters, 0, MODES[padding])
    assert found.shape == expected.shape == (1, 64, 32, 48)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def at_the_border(parameters, padding, expected, layer, precision):
    """Return the mean squared difference, at the border, of a layer's features in the objective's graph from those
    expected."""
    net, X = nst.truncated_vgg19(parameters, layer, mx.cpu(), padding=padding), composite()
    of_net = {name: parameter.data() for name, parameter in net.collect_params().items()}
    variable, arrays = mx.sym.var("X", shape=X.shape), {"X": X}
    if precision == "bfloat16":
        features_by_layer, added = bfloat16_features(variable, dict(enumerate(net)), [layer], of_net)
        features = features_by_layer[layer]
        arrays.update(added)
    else:
        _, (features,) = nst.extract_features(variable, net, (), (layer,))
    arrays.update(of_net)
    used = {name: arrays[name] for name in features.list_arguments()}
    (found,) = features.bind(mx.cpu(), used, grad_req="null").forward()
    edge = border(expected.shape)
    return (((found.asnumpy() - expected) * edge) ** 2).sum() / (edge.sum() * expected.shape[1])


@pytest.mark.parametrize("precision, within", [("float32", 1e-5), pytest.param("bfloat16", 2e-2, marks=needs_bfloat16)])
@pytest.mark.parametrize("padding", MODES)
def test_the_objectives_features_at_the_border_agree_with_numpy(parameters, padding, precision, within):
    """Of conv1_2, the first layer in bfloat16, whose own padding is zero."""
    X = composite().asnumpy().astype(float)
    expected = second(X, parameters, padding)
    edge = border(expected.shape)
    scale = (expected**2 * edge).sum() / edge.sum() / expected.shape[1]
    found = at_the_border(parameters, padding, expected, 2, precision)
    assert np.sqrt(found / scale) < within
    for other in set(MODES) - {padding}:
        apart = at_the_border(parameters, padding, second(X, parameters, other), 2, precision)
        assert np.sqrt(apart / scale) > 2.5 * within


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_the_gradient_at_the_border_agrees_with_finite_differences(parameters, padding):
    X = composite()
    chosen = recipe(
        content_layers=["conv1_1"], style_layers=["conv1_1"], style_weight=0, tv_weight=0, padding=padding,
    )  # fmt: skip
    net = nst.truncated_vgg19(parameters, 0, mx.cpu(), padding=padding)
    contents_Y, _ = nst.extract_features(composite(seed=1), net, (0,), ())
    objective = Objective(net, X, contents_Y, [mx.nd.zeros((64, 64))], chosen)
    objective()
    gradient, at = X.grad.asnumpy().astype(float), X.asnumpy()
    expected_Y = contents_Y[0].asnumpy().astype(float)

    def loss(X):
        return ((convolved(X, parameters, 0, MODES[padding]) - expected_Y) ** 2).mean()

    for place in [(0, 0, 0, 0), (0, 1, 31, 47), (0, 2, 0, 20), (0, 0, 1, 1), (0, 1, 15, 47), (0, 2, 16, 20)]:
        step = np.zeros(X.shape)
        step[place] = 1e-3
        sides = [loss(at.astype(float) + sign * step) for sign in (1, -1)]
        assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=1e-3, abs=1e-6)


def test_an_unknown_padding_is_refused(parameters):
    with pytest.raises(nst.InputError, match="padding mirror: not one of zero, replicate, reflect"):
        nst.truncated_vgg19(parameters, 0, mx.cpu(), padding="mirror")


@pytest.mark.parametrize("padding", MODES)
def test_the_style_and_the_composite_have_the_same_padding(run, padding):
    """The losses are 0 if one picture is content, style and start."""
    same = Image.fromarray(paint(32, 48, seed=3))
    result = run(same, same, padding=padding, tv_weight=0, sizes=[(32, 48)], epochs=1)
    assert result.losses[0].losses.total < 1e-6
