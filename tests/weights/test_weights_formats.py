"""The file formats of parameters, and refused files."""

import sys

from gluon_nst import weights
from gluon_nst.errors import InputError
from gluon_nst.weights import formats

import numpy as np
import pytest

from weights_files import in_cache, save_keras, save_legacy_gluon, save_safetensors
from weights_networks import assert_equal

pytestmark = pytest.mark.usefixtures("weights_folder")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision", "params", "caffe"])
def test_each_format_gives_the_same_parameters(name, originals, arrays):
    assert_equal(formats.read(originals[name]), arrays)


@pytest.mark.slow
def test_gluon_files_with_legacy_names_give_the_same_parameters(tmp_path, arrays):
    assert_equal(formats.read(save_legacy_gluon(tmp_path / "legacy.params", arrays)), arrays)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["flat", "new", "keras3"])
def test_each_layout_of_keras_gives_the_same_parameters(layout, tmp_path, arrays):
    assert_equal(formats.read(save_keras(tmp_path / "vgg19.h5", arrays, layout)), arrays)


def test_the_hed_layout_gives_vgg16_with_identity_kernels(originals, arrays):
    found = formats.read(originals["hed"])
    for name, array in found.items():
        if name.split(".")[1] in ("16", "25", "34"):
            if name.endswith("weight"):
                picture = np.random.default_rng(0).random((array.shape[1], 3, 3), dtype=np.float32)
                np.testing.assert_array_equal(np.einsum("oihw,ihw->o", array, picture), picture[:, 1, 1])
            else:
                assert not array.any()
        else:
            np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_gives_the_same_parameters(zipped, tmp_path, arrays):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "vgg19.pth"
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    assert_equal(formats.read(path), arrays)


def test_the_error_for_pth_without_pytorch_suggests_another_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "vgg19.pth"
    path.write_bytes(b"\x80\x02}q\x00.")
    message = r"vgg19\.pth: .* needs the package torch; install gluon-nst\[torch\], or .*model\.safetensors"
    with pytest.raises(InputError, match=message):
        weights.find(str(path))


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
def test_a_file_of_the_wrong_kind_is_refused(content, message, tmp_path, weights_folder):
    path = tmp_path / "bad.file"
    path.write_bytes(content)
    # An imported file must first have the published hash.
    for use, expected in ((weights.find, message), (weights.import_file, f"{message}|not .*'s published")):
        with pytest.raises(InputError, match=expected) as caught:
            use(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert in_cache(weights_folder) == []


def test_a_missing_layer_and_a_wrong_shape_are_named(tmp_path, arrays, weights_folder):
    few = {name: array for name, array in arrays.items() if array.size < 1e6}
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
    assert in_cache(weights_folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision", "params", "caffe", "model-zoo", "pypi"])
def test_a_truncated_file_is_refused(name, originals, tmp_path, weights_folder):
    path = tmp_path / originals[name].name
    path.write_bytes(originals[name].read_bytes()[:-1_000_000])
    with pytest.raises(InputError, match="damaged"):
        weights.find(path)
    assert in_cache(weights_folder) == []
