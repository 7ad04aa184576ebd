"""Finding parameters: a user's file, an imported file, and the order of `auto`."""

import shutil
import sys
import time
from pathlib import Path

from gluon_nst import weights
from gluon_nst.errors import InputError, WeightsError
from gluon_nst.weights import conversion

import numpy as np
import pytest

from weights_files import KERAS_FILE, URLS, digest, in_cache, save_safetensors

pytestmark = pytest.mark.usefixtures("weights_folder")


@pytest.mark.slow
def test_a_file_is_converted_once_per_content(originals, tmp_path, weights_folder, arrays, monkeypatch):
    path = Path(shutil.copy(str(originals["torchvision"]), str(tmp_path / "mine.bin")))
    trunk = weights.find(str(path))
    assert trunk.source == f"file-{digest(path)[:12]}"
    assert trunk.path.parent == weights_folder
    assert trunk.record["original"]["sha256"] == digest(path)
    assert trunk.sha256 == digest(trunk.path)
    assert in_cache(weights_folder) == [f"vgg19-{trunk.source}.json", f"vgg19-{trunk.source}.params"]
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", None)  # not called again
        assert weights.find(str(path)) == trunk
    save_safetensors(path, {name: array + 1 for name, array in arrays.items()})
    changed = weights.find(path)
    assert changed.source != trunk.source
    np.testing.assert_array_equal(changed.parameters(0)["features.0.bias"].asnumpy(), arrays["features.0.bias"] + 1)


def test_a_missing_file_and_a_folder_are_refused(tmp_path, weights_folder):
    with pytest.raises(InputError, match="weights modelzoo: no such file, and none of auto, model-zoo, caffe"):
        weights.find("modelzoo")
    with pytest.raises(InputError, match="nowhere.h5: no such file"):
        weights.import_file(tmp_path / "nowhere.h5")
    for use in (weights.find, weights.import_file):
        with pytest.raises(InputError, match="a folder, not a file of parameters; name a file"):
            use(tmp_path)
    with pytest.raises(InputError, match="source nobody: not one of model-zoo, caffe, torchvision, pypi"):
        weights.fetch("nobody")
    assert in_cache(weights_folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, source",
    [("params", "model-zoo"), ("model-zoo", "model-zoo"), ("caffe", "caffe"), ("torchvision", "torchvision"),
     ("hed", "pypi"), ("pypi", "pypi")],
)  # fmt: skip
def test_an_imported_file_replaces_a_download(name, source, originals, published, small_pictures):
    trunk = weights.import_file(originals[name])
    assert trunk.source == source
    assert trunk.record["from"] == str(originals[name])
    assert weights.cached(source) == weights.find(source) == weights.find() == trunk


@pytest.mark.parametrize(
    "name, message",
    [
        ("params", "has SHA1 [0-9a-f]{40}, not model-zoo's published ad2f660d"),
        ("caffe", "has MD5 [0-9a-f]{32}, not caffe's published 253f8cb5.*has SHA256 .*, not pypi's published 4502df9d"),
    ],
)
def test_an_imported_file_must_be_the_published_one(name, message, originals, weights_folder):
    with pytest.raises(InputError, match=message + ".*; to use it unverified, name it with --weights"):
        weights.import_file(originals[name])
    assert in_cache(weights_folder) == []


@pytest.mark.slow
def test_auto_without_a_network_names_every_source_in_one_line(weights_folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines, start = [], time.monotonic()
    with pytest.raises(WeightsError) as caught:
        weights.find(notify=lines.append)
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert "\n" not in message
    assert "copy a file to it and run: gluon-nst weights import FILE" in message
    assert "Connection refused" in message
    assert "HF_HUB_OFFLINE is set" in message
    skipped = [line.split(":")[0] for line in lines if ": skipped, " in line]
    assert skipped == ["model-zoo", "caffe", "torchvision", "pypi"]
    assert in_cache(weights_folder) == []
    assert weights.cached() is None


@pytest.fixture
def no_hub(monkeypatch):
    """Hide huggingface_hub, as if it were not installed."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def test_without_the_hubs_package_the_error_names_the_extra(no_hub, server):
    with pytest.raises(WeightsError, match=r"needs the package huggingface_hub; install gluon-nst\[hub\]") as caught:
        weights.fetch("torchvision")
    assert "\n" not in str(caught.value)
    assert weights.SOURCES["torchvision"].on_this_machine() is None
    assert not weights.SOURCES["torchvision"].answers()
    assert weights.SOURCES["caffe"].answers()
    assert URLS["torchvision"] not in server.gets


@pytest.mark.slow
def test_without_the_hubs_package_auto_uses_the_other_sources(no_hub, server):
    for name in ("model-zoo", "caffe"):
        del server.files[URLS[name]]
    lines = []
    assert weights.find(notify=lines.append).source == "pypi"
    assert sum("torchvision: skipped, " in line and "gluon-nst[hub]" in line for line in lines) == 1


@pytest.mark.slow
def test_auto_uses_the_first_available_source_and_reports_skipped_ones(server, monkeypatch):
    del server.files[URLS["model-zoo"]]
    lines = []
    assert weights.find(notify=lines.append).source == "caffe"
    assert sum("model-zoo: skipped, " in line and "404" in line for line in lines) == 1
    assert set(server.gets) == {URLS["model-zoo"], URLS["caffe"]}


@pytest.mark.slow
def test_auto_prefers_cached_trunks_to_downloads(server):
    trunk = weights.fetch("torchvision")
    server.gets.clear()
    assert weights.find() == trunk == weights.cached()
    assert server.gets == {}


@pytest.mark.slow
def test_auto_uses_the_preferred_source_if_it_is_on_this_machine(server):
    weights.fetch("caffe")
    assert weights.find(preferred="torchvision").source == "caffe"
    weights.fetch("torchvision")
    server.gets.clear()
    assert weights.find(preferred="torchvision").source == "torchvision"
    assert weights.find(preferred="model-zoo").source == weights.find().source == "caffe"
    assert server.gets == {}


@pytest.mark.slow
def test_auto_prefers_files_of_other_programs_to_downloads(server, originals, tmp_path):
    lines = []
    (tmp_path / "keras/models").mkdir(parents=True)
    shutil.copy(str(originals["caffe"]), str(tmp_path / "keras/models" / KERAS_FILE))
    (tmp_path / "mxnet/models").mkdir(parents=True)
    (tmp_path / "mxnet/models/vgg19-ad2f660d.params").write_bytes(b"\x12\x01" + bytes(30))
    trunk = weights.find(notify=lines.append)
    assert trunk.source == "caffe"
    assert trunk.record["from"] == str(tmp_path / "keras/models" / KERAS_FILE)
    assert any("vgg19-ad2f660d.params is not used, " in line and "SHA1" in line for line in lines)
    assert server.gets == {}
