"""The cache of converted trunks, each with a record.

One process at a time writes to it. It has, for each source, `vgg19-SOURCE.params` (the result of `conversion.convert`)
and `vgg19-SOURCE.json` (origin, hashes, date, scales), which is written last: a file whose hash differs from its record
is ignored.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import filelock
import pooch
from mxnet import nd

from gluon_nst.errors import WeightsError
from gluon_nst.machine import nd_mode
from gluon_nst.machine.files import cache_folder, lock, reading, written_whole
from gluon_nst.weights import conversion

Notify = Callable[[str], object]
"""Function that is called with messages for the user."""


def print_nothing(line: str) -> None:
    """The `notify` that ignores all messages."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file at `path`.

    A file is read once per process unless it changes.
    """
    state = os.stat(path)
    return _sha256(str(path), state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=32)
def _sha256(path: str, size: int, modified: int, inode: int) -> str:
    return pooch.file_hash(path, alg="sha256")


@dataclass(frozen=True)
class Trunk:
    """A converted trunk in the cache.

    It has its source's name, its file and that file's SHA-256, and the JSON beside it.
    """

    source: str
    path: Path
    sha256: str
    record: dict[str, Any] = field(repr=False)

    @nd_mode
    def parameters(self, last: int, activation_scale: str = "model-zoo") -> dict[str, Any]:
        """Return the parameters of the convolutions up to layer `last`.

        They are float32 NDArrays on the CPU by the zoo's names. `activation_scale`, one of recipes.ACTIVATION_SCALES,
        is the scale of the network's activations. `caffe` affects only Caffe-scaled trunks. The means of `mean-one` are
        measured on the calibration pictures.
        """
        arrays = nd.load(str(self.path))
        arrays = {name: array for name, array in arrays.items() if int(name.split(".")[1]) <= last}
        if activation_scale == "mean-one":
            means = conversion.activations({name: array.asnumpy() for name, array in arrays.items()}, last)
            arrays = conversion.rescale(arrays, {index: 1 / mean for index, mean in means.items()})
        elif activation_scale == "caffe" and self.record["scales"]:
            unscale = {int(index): 1 / scale for index, scale in self.record["scales"].items()}
            arrays = conversion.rescale(arrays, unscale)
        own_input = activation_scale != "model-zoo" and self.record["scales"]
        return conversion.pad_as_caffe(arrays) if own_input else arrays


def _trunk_file(name: str) -> Path:
    return cache_folder() / f"vgg19-{name}.params"


def look_up(name: str, notify: Notify = print_nothing) -> Trunk | None:
    """Return the Trunk `name` in the cache, or None if it is missing or incomplete."""
    path = _trunk_file(name)
    record_path = path.with_suffix(".json")
    if not (os.path.exists(path) or os.path.exists(record_path)):
        return None
    try:
        with reading(path, "parameters"), reading(record_path, "a record"):
            record = json.loads(record_path.read_text(encoding="utf-8"))
        if record["sha256"] == sha256_of(path):
            return Trunk(name, path, record["sha256"], record)
    except (OSError, ValueError, KeyError, TypeError):  # InputError is a ValueError
        pass
    notify(f"{path}: damaged or incomplete; it is converted again")
    return None


@nd_mode
def keep(name: str, converted: conversion.Converted, original: Path, origin: object, folder: Path) -> Trunk:
    """Save the conversion of the file `original`, with its `origin`, in the cache.

    `folder` is for temporary files.
    """
    unfinished, target = folder / "vgg19.params", _trunk_file(name)
    nd.save(str(unfinished), {name: nd.array(array) for name, array in converted.parameters.items()})
    record = {
        "source": name,
        "from": str(origin),
        "original": {"name": original.name, "sha256": sha256_of(original)},
        "sha256": pooch.file_hash(str(unfinished), alg="sha256"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "conversion": converted.conversion,
        "scales": {str(index): scale for index, scale in converted.scales.items()},
    }
    os.replace(unfinished, target)
    with written_whole(target.with_suffix(".json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2)
    return Trunk(name, target, record["sha256"], record)


# -- one process at a time --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(name: str, notify: Notify) -> Iterator[Path]:
    """Lock `name` in the cache.

    Yield an empty folder for temporary files, which is deleted at the end.
    """
    folder = cache_folder()
    work = folder / f".unfinished-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(_acquired(folder / f".{name}.lock", name, notify).release)
            shutil.rmtree(work, ignore_errors=True)  # left by a killed process
            cleanup.callback(shutil.rmtree, work, ignore_errors=True)
            work.mkdir()
            yield work
    except OSError as error:
        raise WeightsError(
            f"{folder}: can't write the parameters ({error.strerror or error}); free some space, or set "
            "GLUON_NST_CACHE to another folder"
        ) from None


def _acquired(path: Path, name: str, notify: Notify) -> filelock.BaseFileLock:
    """Acquire the lock in the file `path`, without a time limit; reports a wait."""
    try:
        return lock(path, timeout=1)
    except filelock.Timeout:
        notify(f"{name}: waiting for another process that is preparing it")
        return lock(path, timeout=-1)
