import gluon_nst as nst
from gluon_nst.network import layers, vgg

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision

from painting import paint
from weights_networks import scaling_convolution, with_scalings


def test_the_books_indices_have_the_papers_names():
    names = {index: name for name, index in layers.LAYERS.items()}
    assert [names[index] for index in (0, 5, 10, 19, 28)] == ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
    assert names[25] == "conv4_4"
    assert len(names) == 37


def test_names_and_indices_are_those_of_the_model_zoo():
    features = vision.vgg19().features
    kinds = {"conv": nn.Conv2D, "relu": nn.Activation, "pool": nn.MaxPool2D}
    for name, index in layers.LAYERS.items():
        assert type(features[index]) is kinds[name[:4]]


def test_the_parameters_have_the_model_zoos_names_and_shapes():
    zoo = vision.vgg19()
    zoo.initialize()
    zoo(mx.nd.zeros((1, 3, 32, 32)))
    shapes = {
        f"features.{index}.{kind}": getattr(layer, kind).shape
        for index, layer in enumerate(zoo.features)
        if isinstance(layer, nn.Conv2D)
        for kind in ("weight", "bias")
    }
    assert layers.parameter_shapes() == shapes


def test_the_network_ends_after_the_last_layer_and_is_frozen(parameters):
    net = nst.truncated_vgg19(parameters, 28, mx.cpu())
    assert type(net) is nn.Sequential
    assert len(net) == 29
    assert {p.grad_req for p in net.collect_params().values()} == {"null"}
    assert len(list(net.collect_params())) == 26


@pytest.mark.slow
def test_the_network_has_the_given_parameters(parameters):
    net = nst.truncated_vgg19(parameters, 7, mx.cpu())
    for index in (0, 2, 5, 7):
        assert (net[index].weight.data() == parameters[f"features.{index}.weight"]).asnumpy().all()
        assert (net[index].bias.data() == parameters[f"features.{index}.bias"]).asnumpy().all()


@pytest.mark.parametrize("last, side", [(3, 1), (4, 2), (25, 8), (28, 16), (36, 32)])
def test_the_smallest_side_is_the_smallest_that_works(parameters, last, side):
    assert layers.smallest_side(last) == side
    net = nst.truncated_vgg19(parameters, last, mx.cpu())
    assert min(net(mx.nd.zeros((1, 3, side, side))).shape) == 1


@pytest.mark.slow
def test_features_are_the_outputs_of_the_layers_in_order(net):
    X = nst.preprocess(mx.nd.array(paint(32, 48), dtype="uint8"), (48, 32))
    contents, styles = nst.extract_features(X, net, (25,), (0, 5, 10, 19, 28))
    assert [Y.shape for Y in contents] == [(1, 512, 4, 6)]
    assert [Y.shape[1] for Y in styles] == [64, 128, 256, 512, 512]
    for layer in list(net)[:20]:
        X = layer(X)
    assert np.array_equal(styles[3].asnumpy(), X.asnumpy())


@pytest.mark.slow
def test_patches_are_the_pixels_around_each_pixel_with_replicated_edges(net):
    X = mx.nd.array(np.random.default_rng(0).standard_normal((1, 3, 32, 48)))
    around = np.pad(X.asnumpy()[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    expected = np.stack([around[c, y : y + 32, x : x + 48] for c in range(3) for y in range(3) for x in range(3)])
    _, (patches, first) = nst.extract_features(X, net, (), (layers.PIXELS, 0))
    assert np.array_equal(patches.asnumpy()[0], expected)
    assert patches.shape == layers.shape_at(layers.PIXELS, (32, 48))
    assert np.array_equal(first.asnumpy(), net[0](X).asnumpy())


def test_contents_and_styles_are_those_of_the_preprocessed_pictures(net):
    picture = mx.nd.array(paint(40, 50), dtype="uint8")
    content_X, contents_Y = nst.get_contents(picture, (48, 32), mx.cpu(), net)
    style_X, styles_Y = nst.get_styles(picture, (48, 32), mx.cpu(), net)
    assert content_X.shape == style_X.shape == (1, 3, 32, 48)
    contents, styles = nst.extract_features(content_X, net)
    assert [Y.shape for Y in contents_Y] == [Y.shape for Y in contents]
    assert len(styles_Y) == 5
    assert np.array_equal(contents_Y[0].asnumpy(), contents[0].asnumpy())
    assert np.array_equal(styles_Y[4].asnumpy(), styles[4].asnumpy())


def test_extract_features_works_in_np_mode(parameters, np_mode):
    net = nst.truncated_vgg19(parameters, 28, mx.cpu())
    X = nst.preprocess(mx.np.array(paint(32, 48), dtype="uint8"), (48, 32))
    contents, styles = nst.extract_features(X, net)
    assert all(isinstance(Y, mx.np.ndarray) for Y in (X, *contents, *styles))


def test_average_pooling_replaces_max_pooling(parameters):
    X = nst.preprocess(mx.nd.array(paint(32, 48), dtype="uint8"), (48, 32))
    before, after = (nst.truncated_vgg19(parameters, last, mx.cpu(), "average")(X).asnumpy() for last in (3, 4))
    assert np.allclose(after, before.reshape(1, 64, 16, 2, 24, 2).mean(axis=(3, 5)), rtol=1e-5, atol=1e-5)
    with pytest.raises(nst.InputError, match="pooling sum: not one of max, average"):
        nst.truncated_vgg19(parameters, 4, mx.cpu(), "sum")


def test_the_first_layers_padding_can_represent_another_input_than_0(parameters):
    X, zero = (np.random.default_rng(seed).normal(size=(1, 3, *size)) for seed, size in ((1, (16, 20)), (2, (1, 1))))
    shifted = nst.truncated_vgg19({**parameters, "features.0.zero": mx.nd.array(zero)}, 0, mx.cpu())
    plain = nst.truncated_vgg19(parameters, 0, mx.cpu())
    assert np.allclose(shifted(mx.nd.array(X)).asnumpy(), plain(mx.nd.array(X - zero)).asnumpy(), atol=1e-4)


def test_multiplications_are_those_of_the_layers(net):
    X, count = mx.nd.zeros((1, 3, 32, 48)), 0
    for index, layer in enumerate(net):
        X = layer(X)
        if isinstance(layer, nn.Conv2D):
            count += X.size * np.prod(layer.weight.shape[1:])
        assert layers.multiplications(index) == count / (32 * 48)


# -- scaling convolutions ---------------------------------------------------------------------------------------------


def test_scalings_are_detected_by_their_parameters(parameters):
    scaled = with_scalings(parameters, conv3_4=5.5, conv4_4=1.0, conv2_2=-1.0)
    for index in (21, 23):  # conv4_2 has a bias, conv4_3 a kernel that is nearly the identity
        scaled[f"features.{index}.weight"], scaled[f"features.{index}.bias"] = scaling_convolution(512, 1)
    scaled["features.21.bias"][7] = 1e-6
    scaled["features.23.weight"][7, 7, 1, 1] = 1.001
    assert vgg.scalings(nst.truncated_vgg19(scaled, 28, mx.cpu())) == {16: 5.5, 25: 1.0}
    assert vgg.scalings(nst.truncated_vgg19(parameters, 28, mx.cpu())) == {}


def test_a_convolution_without_a_relu_before_it_is_not_a_scaling(parameters):
    scaled = with_scalings(parameters, conv3_4=2.0)
    assert vgg.scalings(nst.truncated_vgg19(scaled, 16, mx.cpu())[14:]) == {2: 2.0}
    assert vgg.scalings(nst.truncated_vgg19(scaled, 16, mx.cpu())[16:]) == {}


def test_outputs_agree_with_the_layers(parameters):
    net = nst.truncated_vgg19(with_scalings(parameters, conv3_4=5.5), 18, mx.cpu())
    X = nst.preprocess(mx.nd.array(paint(32, 48), dtype="uint8"), (48, 32))
    expected, _ = nst.extract_features(X, net, range(19), ())
    found = dict(vgg.outputs(X, net, range(19)))
    assert list(found) == list(range(19))
    for index, Y in found.items():
        assert np.allclose(Y.asnumpy(), expected[index].asnumpy(), rtol=1e-5, atol=1e-5), index


def test_outputs_are_those_of_the_wanted_layers_in_order(net):
    X = nst.preprocess(mx.nd.array(paint(32, 48), dtype="uint8"), (48, 32))
    channels = {index: Y.shape[1] for index, Y in vgg.outputs(X, net, {-1: 1.0, 1: 1.0, 6: 1.0})}
    assert list(channels.items()) == [(-1, 27), (1, 64), (6, 128)]
    assert [index for index, _ in vgg.outputs(X, net, [-1])] == [-1]
    assert list(vgg.outputs(X, net, ())) == []
