"""The command recipes: lists recipes with their times, or prints one.

MXNet is loaded only to time them, on the first call on a machine with VGG-19's parameters; the times are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any, Dict, Optional

from gluon_nst import recipes
from gluon_nst.errors import NSTError
from gluon_nst.machine import processor, threads
from gluon_nst.machine.durations import format_duration
from gluon_nst.machine.files import OWN_SIZE, cache_folder, written_whole
from gluon_nst.machine.system import mxnet_build
from gluon_nst.version import __version__

Times = Dict[str, Optional[float]]
"""The seconds that recipes take on this machine, by name; None for one that does not fit into its memory."""


def print_recipe(name: str) -> int:
    """gluon-nst recipes NAME."""
    print(recipes.text(name), end="")
    return 0


def list_recipes() -> int:
    """gluon-nst recipes."""
    times, hint = _read_times(), ""
    untimed = [name for name in recipes.names() if name not in times]
    is_interrupted = False
    if untimed and not _weights_are_here():
        hint = "Times on this machine come once VGG-19's parameters are here: after a run, or gluon-nst weights fetch."
    elif untimed:
        try:
            _measure(untimed, times)
        except KeyboardInterrupt:
            is_interrupted = True
        except (NSTError, ImportError, MemoryError) as error:
            hint = f"Times on this machine could not be measured: {error}"
    for name in recipes.names():
        _print(name, times)
    print("A file of your own gets what it does not say from the recipe that it extends, or else from d2l-2019.")
    if hint:
        print(hint)
    if is_interrupted:
        raise KeyboardInterrupt("the recipes that have no time yet are timed by the next call")
    return 0


def _print(name: str, times: Times) -> None:
    recipe, width = recipes.read(name), max(map(len, recipes.names()))
    height, length = recipes.fit(recipe, OWN_SIZE).stages[-1].shape
    size = f"{height} x {length}"
    if name in times:
        seconds = times[name]
        takes = "more than fits into the memory" if seconds is None else f"about {format_duration(seconds, about=True)}"
        size += f", {takes} here"
    lines = [
        f"{recipe.title}{' (the default)' if name == recipes.DEFAULT else ''}",
        *([f"good for {recipe.good_for}"] if recipe.good_for else []),
        size,
        recipe.source,
    ]
    for number, line in enumerate(lines):
        print(f"{'' if number else name:<{width}} {line}")


# -- times ------------------------------------------------------------------------------------------------------------


def _weights_are_here() -> bool:
    """Whether the parameters of one of the sources are in the cache."""
    with contextlib.suppress(NSTError):
        return any((cache_folder() / f"vgg19-{source}.json").is_file() for source in recipes.SOURCES)
    return False


def _machine() -> dict[str, Any]:
    """Return all that the times depend on, except the recipes."""
    build = mxnet_build()
    device = "cpu"
    if not build.startswith("mxnet "):  # a build for GPUs, which alone can tell whether there is one
        from gluon_nst.machine import choose_device

        device = str(choose_device())
    return {"gluon-nst": __version__, "mxnet": build, "processor": processor(), "threads": threads(), "device": device}


def _hash(name: str) -> str:
    return hashlib.sha256(json.dumps(recipes.read(name).as_dict(), sort_keys=True).encode()).hexdigest()


def _read_times() -> Times:
    """Return the Times that are kept of this machine and of the recipes as they are."""
    try:
        kept = json.loads(cache_folder("recipe-times.json").read_text(encoding="utf-8"))
        if kept["machine"] == _machine():
            return {
                name: time["seconds"]
                for name, time in kept["recipes"].items()
                if name in recipes.names() and time["recipe"] == _hash(name)
            }
    except (NSTError, OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none are kept, or they can't be read: they are measured
    return {}


def _measure(names: list[str], times: Times) -> None:
    """Time recipes with a progress bar, and store the times in `times` and the cache."""
    from gluon_nst.observers import Bar
    from gluon_nst.runs.estimates import seconds_of_recipes

    progress = Bar().counting("timing the recipes on this machine, once", len(names))
    try:
        for name, seconds in seconds_of_recipes(names):
            times[name] = seconds
            if progress:
                progress.update(1)
    finally:
        if progress:
            progress.close()
        kept = {name: {"recipe": _hash(name), "seconds": seconds} for name, seconds in times.items()}
        with contextlib.suppress(NSTError), written_whole(cache_folder("recipe-times.json"), "w") as file:
            json.dump({"machine": _machine(), "recipes": kept}, file, indent=2)
