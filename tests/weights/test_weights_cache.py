"""The cache of converted trunks: their parameters, damaged files, and several processes at once."""

import os
import subprocess
import sys
from pathlib import Path

from gluon_nst import weights
from gluon_nst.errors import WeightsError
from gluon_nst.network import layers, vgg
from gluon_nst.pictures.pixels import RGB_MEAN, RGB_STD
from gluon_nst.weights import conversion

import filelock
import mxnet as mx
import numpy as np
import pooch
import pytest

from weights_files import URLS, blocks_and_numbers, digest, in_cache
from weights_networks import assert_close, assert_equal, convolve

pytestmark = pytest.mark.usefixtures("weights_folder")


@pytest.mark.slow
def test_a_trunk_has_the_parameters_of_the_requested_layers(originals, arrays):
    trunk = weights.find(originals["params"])
    found = trunk.parameters(28)
    assert list(found) == [name for name in layers.parameter_shapes() if int(name.split(".")[1]) <= 28]
    for name, array in found.items():
        assert type(array) is mx.nd.NDArray
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array.asnumpy(), arrays[name])
    assert_equal(
        {name: array.asnumpy() for name, array in trunk.parameters(34, activation_scale="caffe").items()}, arrays
    )


@pytest.mark.slow
def test_a_caffe_scaled_file_can_be_used_unscaled(originals, arrays, small_pictures):
    trunk = weights.find(originals["caffe"])
    scales = trunk.record["scales"]
    assert list(map(int, scales)) == list(layers.CONVOLUTIONS)
    folded = conversion.fold_caffe_input(arrays)
    unscaled = trunk.parameters(10, activation_scale="caffe")
    assert len(unscaled) == 11
    for name, array in unscaled.items():
        if name not in ("features.0.bias", "features.0.zero"):
            np.testing.assert_allclose(array.asnumpy(), folded[name], rtol=1e-6)
    np.testing.assert_allclose(
        trunk.parameters(0)["features.0.weight"].asnumpy(), folded["features.0.weight"] * scales["0"], rtol=1e-6
    )


@pytest.mark.slow
def test_an_unscaled_network_agrees_with_caffes_up_to_the_borders(originals, arrays, picture, small_pictures):
    (_, _, kernel, bias), *_ = blocks_and_numbers(arrays)
    net = vgg.truncated_vgg19(weights.find(originals["caffe"]).parameters(0, activation_scale="caffe"), 0, mx.cpu())
    X = mx.nd.array(((picture / 255 - RGB_MEAN) / RGB_STD).transpose(2, 0, 1)[None])
    expected = convolve(picture[:, :, ::-1] - np.array((103.939, 116.779, 123.68)), kernel, bias, 0.0)
    assert_close(net(X).asnumpy()[0].transpose(1, 2, 0), expected, 1e-5)


@pytest.mark.slow
def test_trunks_work_after_set_np(originals, small_pictures):
    mx.npx.set_np()
    try:
        trunk = weights.find(originals["hed"])
        unscaled = trunk.parameters(0, activation_scale="caffe")
        array = unscaled["features.0.weight"]
        assert len(vgg.truncated_vgg19(unscaled, 0, mx.cpu())) == 1
    finally:
        mx.npx.reset_np()
    assert type(array) is mx.np.ndarray
    assert array.shape == (64, 3, 3, 3)


@pytest.mark.slow
def test_an_interrupted_conversion_leaves_nothing(server, weights_folder, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mx.nd, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            weights.fetch("caffe")
    assert in_cache(weights_folder) == []
    with monkeypatch.context() as patch:  # between the two files
        patch.setattr("gluon_nst.weights.cache.written_whole", interrupt)
        with pytest.raises(KeyboardInterrupt):
            weights.fetch("caffe")
    assert weights.cached("caffe") is None
    (weights_folder / ".unfinished-caffe").mkdir()  # as a killed process leaves it
    (weights_folder / ".unfinished-caffe" / "junk").write_bytes(bytes(10))
    assert weights.fetch("caffe").source == "caffe"
    assert in_cache(weights_folder) == ["vgg19-caffe.json", "vgg19-caffe.params"]


@pytest.mark.slow
def test_a_damaged_cache_is_converted_again(server):
    trunk = weights.fetch("caffe")
    with open(str(trunk.path), "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    lines = []
    assert weights.cached("caffe", notify=lines.append) is None
    assert "damaged or incomplete" in lines[0]
    assert weights.fetch("caffe").sha256 == trunk.sha256 == digest(trunk.path)
    trunk.path.with_suffix(".json").write_text("{")
    assert weights.cached("caffe") is None
    assert weights.fetch("caffe").sha256 == trunk.sha256


@pytest.fixture
def hashed(monkeypatch):
    """Return the list of hashed files."""
    paths, file_hash = [], pooch.file_hash

    def counting(path, alg="sha256"):
        paths.append(path)
        return file_hash(path, alg=alg)

    monkeypatch.setattr(pooch, "file_hash", counting)
    return paths


@pytest.mark.slow
def test_a_trunk_is_hashed_once_per_process(originals, published, hashed):
    trunk = weights.import_file(originals["params"])
    hashed.clear()
    for _ in range(3):
        assert weights.cached("model-zoo") == weights.cached() == weights.find("model-zoo") == trunk
    assert hashed == [str(trunk.path)]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["replaced", "written over"])
def test_a_changed_trunk_is_hashed_again(how, originals, published, hashed, tmp_path):
    trunk = weights.import_file(originals["params"])
    assert weights.cached("model-zoo") == trunk
    before, content = trunk.path.stat(), bytearray(trunk.path.read_bytes())
    content[-1] ^= 1
    if how == "replaced":  # by a file of the same size and time
        other = tmp_path / "other"
        other.write_bytes(bytes(content))
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(other, trunk.path)
    else:  # in place, with the same size and inode
        trunk.path.write_bytes(bytes(content))
    hashed.clear()
    lines = []
    assert weights.cached("model-zoo", notify=lines.append) is None
    assert hashed == [str(trunk.path)]
    assert "damaged or incomplete" in lines[0]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, originals):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("GLUON_NST_CACHE", str(tmp_path / "taken"))
    with pytest.raises(WeightsError, match="taken.*can't write the parameters.*GLUON_NST_CACHE"):
        weights.find(originals["params"])


@pytest.mark.slow
def test_two_processes_at_once_download_once(server, table, weights_folder):
    program = (
        "import dataclasses; from gluon_nst import weights\n"
        "source = weights.SOURCES['model-zoo']\n"
        f"weights.SOURCES['model-zoo'] = dataclasses.replace(source, hashes={table['model-zoo'].hashes!r})\n"
        "print(weights.fetch('model-zoo', notify=lambda line: print(line, flush=True)).sha256)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True, "env": environment}
    processes = [subprocess.Popen([sys.executable, "-c", program], **options) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({output.splitlines()[-1] for output, _ in outputs}) == 1
    assert server.gets == {URLS["model-zoo"]: 1}
    assert in_cache(weights_folder) == ["vgg19-model-zoo.json", "vgg19-model-zoo.params"]


@pytest.mark.slow
def test_a_waiting_process_reports_it_once(weights_folder, originals, published):
    lines = []
    weights_folder.mkdir(parents=True)
    lock = filelock.FileLock(str(weights_folder / ".model-zoo.lock"), thread_local=False)
    lock.acquire()

    def notify(line):
        lines.append(line)
        if "waiting for another process" in line:
            lock.release()

    assert weights.import_file(originals["params"], notify=notify).source == "model-zoo"
    assert sum("waiting" in line for line in lines) == 1
