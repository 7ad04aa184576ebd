"""VGG-16 and VGG-19, computed from the definition and by MXNet, for the tests of weights."""

from gluon_nst.network import layers, vgg
from gluon_nst.pictures.pixels import RGB_MEAN, RGB_STD
from gluon_nst.weights import conversion, formats

import h5py
import mxnet as mx
import numpy as np


def assert_equal(found, expected, **tolerances):
    assert list(found) == list(layers.parameter_shapes())
    for name, array in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), array, err_msg=name, **{"rtol": 0, **tolerances})


def assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def convolve(picture, kernel, bias, padding=0.0):
    """Compute a 3 × 3 convolution with padding, height × width × channels, in double precision, from the definition."""
    height, width, _ = picture.shape
    padded = np.empty((height + 2, width + 2, picture.shape[2]))
    padded[:] = padding
    padded[1:-1, 1:-1] = picture
    taps = [padded[y : y + height, x : x + width] @ kernel[y, x].astype(np.float64) for y in range(3) for x in range(3)]
    return sum(taps) + bias


def vgg16(picture, convolutions):
    """Compute the outputs of VGG-16's thirteen convolutions before their ReLU, for RGB from 0 to 255, like Caffe.

    The padding is ImageNet's mean, as with the chapter's preprocessing, instead of Caffe's.
    """
    caffe_mean = np.array((103.939, 116.779, 123.68))
    x, padding = picture[:, :, ::-1] - caffe_mean, 255 * np.array(RGB_MEAN)[::-1] - caffe_mean
    outputs, last_block = [], 1
    for block, _, kernel, bias in convolutions:
        if block != last_block:
            height, width, channels = x.shape
            x = x[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
            last_block = block
        outputs.append(convolve(x, kernel, bias, padding if not outputs else 0.0))
        x = np.maximum(outputs[-1], 0)
    return outputs


def run_vgg19(parameters, picture):
    """Return the outputs of the sixteen convolutions by index, height × width × channels, for RGB from 0 to 255."""
    arrays = {name: mx.nd.array(array) for name, array in parameters.items()}
    net = vgg.truncated_vgg19(arrays, 34, mx.cpu())
    X = mx.nd.array(((picture / 255 - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)[None])
    outputs = {}
    for index, layer in enumerate(net):
        X = layer(X)
        if index in layers.CONVOLUTIONS:
            outputs[index] = X.asnumpy()[0].transpose(1, 2, 0)
    return outputs


def assert_computes_vgg16(path, picture):
    with h5py.File(path, "r") as file:
        convolved = []
        for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for number in range(convolutions):
                group = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                convolved.append((block, number + 1, group["0"][()], group["1"][()]))
    expected = vgg16(picture, convolved)
    found = run_vgg19(conversion.fold_caffe_input(formats.read(path)), picture)
    shared = [index for index in layers.CONVOLUTIONS if index not in (16, 25, 34)]
    for index, output in zip(shared, expected):
        assert_close(found[index], output, 1e-4)
    for index, below in ((16, 14), (25, 23), (34, 32)):
        np.testing.assert_array_equal(found[index], np.maximum(found[below], 0))


def scaling_convolution(channels, factor):
    """Return the kernel and the bias of a convolution that multiplies by a factor."""
    weight = np.zeros((channels, channels, 3, 3), np.float32)
    weight[range(channels), range(channels), 1, 1] = factor
    return mx.nd.array(weight), mx.nd.zeros(channels)


def with_scalings(parameters, **factors):
    """Return the `parameters` with such convolutions in place of the named ones."""
    changed = dict(parameters)
    for name, factor in factors.items():
        index = layers.LAYERS[name]
        weight, bias = scaling_convolution(len(parameters[f"features.{index}.bias"]), factor)
        changed.update({f"features.{index}.weight": weight, f"features.{index}.bias": bias})
    return changed
