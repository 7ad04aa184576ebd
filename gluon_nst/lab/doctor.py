"""Is this machine ready for the lab? Each thing that can be wrong is looked at, and told with its remedy. Loads no MXNet.

What takes MXNet is asked of another process (`probe`), which may die, or hang, of what is wrong.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Iterator, NamedTuple

from gluon_nst.errors import InputError
from gluon_nst.files import cache_folder
from gluon_nst.machine import available_memory, check_threads, physical_cores
from gluon_nst.machine.instructions import instructions
from gluon_nst.machine.memory import check_address_space

OK, SLOW, FAULT = "ok", "slow", "FAULT"
"""What a thing may be: right; not as it should be, but the lab runs; such that the lab would fail."""

_PATIENCE = 60
"""Seconds that the other process may take; on two cores it takes seven."""

_JUPYTER = ("jupytext", "nbformat", "nbclient", "ipykernel", "jupyterlab")
_ROOM = 0.2e9
"""Bytes of disk that a lab takes: pictures, notebooks with their outputs, temporary files."""
_ROOM_FOR_WEIGHTS = 0.4e9
"""Bytes that fetching and converting the network's parameters takes at most."""
_LEAST_MEMORY = 0.8e9
"""With less MXNet is not even asked."""
_SLOW_NOTEBOOK = 8
"""Minutes for the chapter's notebook that are many in a lab."""


class Finding(NamedTuple):
    """One line of the doctor's."""

    level: str
    """OK, SLOW or FAULT."""
    name: str
    found: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at one thing after the other, and give each Finding when it is known; it takes about ten seconds."""
    yield _python()
    yield _jupyter()
    yield _threads()
    free = available_memory()
    enough = free >= _LEAST_MEMORY
    try:
        check_threads()
        check_address_space()
    except InputError as error:
        yield Finding(FAULT, "MXNet", "not asked", str(error))
        enough = False
    if not enough:
        yield _memory({"free": free, "needed": 1.0e9})
        yield from _disk(weights_are_here=False)
        return
    answers = _ask()
    yield from _mxnet(answers)
    yield _memory(answers.get("memory", {"free": free, "needed": 1.0e9}))
    parameters = answers.get("weights")
    yield from _disk(weights_are_here=parameters is None or "here" in parameters)
    if parameters is not None:
        yield _weights(parameters)
    yield from _times(answers)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    right = (3, 8) <= sys.version_info[:2] <= (3, 11) and found.endswith("Linux x86_64")
    return Finding(
        OK if right else FAULT, "Python", found, "" if right else "MXNet 1.9.1 takes Python 3.8 to 3.11 on Linux x86_64"
    )


def _jupyter() -> Finding:
    missing = [name for name in _JUPYTER if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(FAULT, "Jupyter", f"without {', '.join(missing)}", "pip install 'gluon-nst[notebook]'")
    return Finding(OK, "Jupyter", "JupyterLab, and all that makes and runs the notebooks")


def _threads() -> Finding:
    cores, given = physical_cores(), os.environ.get("OMP_NUM_THREADS", "")
    if instructions.came_too_late:
        remedy = "import gluon_nst before mxnet, everywhere: in scripts, in sitecustomize.py, in the first cell"
        return Finding(SLOW, "threads", f"mxnet was imported before gluon_nst, and takes half of {cores} cores", remedy)
    if given.isdecimal() and 0 < int(given) < cores:
        return Finding(SLOW, "threads", f"{given} of {cores} cores (OMP_NUM_THREADS={given})", "unset OMP_NUM_THREADS")
    return Finding(OK, "threads", f"{given} for {cores} cores")


def _memory(found: dict[str, Any]) -> Finding:
    free = float("inf") if found["free"] is None else found["free"]
    words = f"{free / 1e9:.1f} GB free, {found['needed'] / 1e9:.1f} GB needed at most"
    if free < found["needed"]:
        return Finding(FAULT, "memory", words, "end other programs, or raise the limit (ulimit -v, the container's)")
    return Finding(OK, "memory", words)


def _disk(weights_are_here: bool) -> Iterator[Finding]:
    places = {"this folder": Path.cwd(), "temporary files (TMPDIR)": Path(tempfile.gettempdir())}
    needed = dict.fromkeys(places, _ROOM)
    if not weights_are_here:
        places["the cache (GLUON_NST_CACHE)"] = cache_folder()
        needed["the cache (GLUON_NST_CACHE)"] = _ROOM_FOR_WEIGHTS
    free = {name: _free(path) for name, path in places.items()}
    full = [name for name in places if free[name] < needed[name]]
    for name in full:
        remedy = f"free {needed[name] / 1e9:.1f} GB, or choose another place"
        yield Finding(FAULT, "disk", f"{places[name]}: {name} has {free[name] / 1e9:.2f} GB free", remedy)
    if not full:
        yield Finding(OK, "disk", f"{min(free.values()) / 1e9:.1f} GB free")


def _free(path: Path) -> float:
    """Bytes that can be written at a place, which need not be there yet; none where nothing can."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(4096))
        return shutil.disk_usage(path).free
    except OSError:
        return 0.0


def _ask() -> dict[str, Any]:
    """What the other process has found; where it did not come to its end, `failed` says how."""
    # Where mxnet was imported first here, it is there too, and what is timed is so slow.
    first = "import mxnet; " if instructions.came_too_late else ""
    code = f"{first}from gluon_nst.lab import probe; probe.main()"
    command = [sys.executable, "-W", "ignore", "-c", code]
    with tempfile.TemporaryFile() as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as other:
        timer = threading.Timer(_PATIENCE, other.kill)
        timer.start()
        answers: dict[str, Any] = {}
        assert other.stdout
        for line in other.stdout:
            try:
                answers.update(json.loads(line))
            except ValueError:  # what something else prints
                continue
        status, waited = other.wait(), timer.is_alive()
        timer.cancel()
        if status != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            how = f"ended by signal {-status}" if status < 0 else (said[-1] if said else f"ended with status {status}")
            answers["failed"] = how if waited else f"no answer in {_PATIENCE} seconds"
    return answers


def _mxnet(answers: dict[str, Any]) -> Iterator[Finding]:
    found, failed = answers.get("software"), answers.get("failed")
    if found is None:
        remedy = "install what is missing (Debian: libgomp1 libquadmath0), or gluon-nst anew"
        yield Finding(FAULT, "MXNet", f"does not load: {failed}", remedy)
        return
    built = "oneDNN" if "MKLDNN" in found["built with"] else "no oneDNN: every convolution is slow"
    built += ", CUDA" if "CUDA" in found["built with"] else ", no CUDA"
    yield Finding(OK, "MXNet", f"{found['mxnet']} with {built}; computes on {found['device']}")
    why = f"by {found['bfloat16 by']}" if found["precision"] == "bfloat16" else "the fastest here"
    yield Finding(OK, "precision", f"{found['precision']} where a recipe says auto, {why}; AMX: {found['amx']}")


def _weights(found: dict[str, Any]) -> Finding:
    (where, source), *_ = found.items()
    if source is None:
        remedy = "bring a kit (gluon-nst kit), or a file: gluon-nst weights import FILE (docs/weights.md)"
        return Finding(FAULT, "weights", "none here, and no source of them answers", remedy)
    if where == "to be fetched":
        return Finding(
            SLOW, "weights", f"none here; {source} answers", f"fetch them now: gluon-nst weights fetch {source}"
        )
    return Finding(OK, "weights", f"{where}, from {source}" if where == "here" else f"{where}: {source}'s")


def _times(answers: dict[str, Any]) -> Iterator[Finding]:
    epoch, minutes = answers.get("epoch"), answers.get("minutes")
    if "software" in answers and minutes is None:
        remedy = "free memory, and run gluon-nst doctor again"
        yield Finding(FAULT, "speed", f"an epoch could not be timed: {answers.get('failed')}", remedy)
    if epoch is None or minutes is None:
        return
    yield Finding(OK, "speed", f"{epoch['seconds']:.2f} s for an epoch of the chapter at 150 × 225")
    recipes = ", ".join(f"{name} {_minutes(found)}" for name, found in minutes["recipes"].items())
    yield Finding(OK, "recipes", f"minutes expected, at their own sizes: {recipes}")
    notebook = minutes["notebook"]
    slow = notebook > _SLOW_NOTEBOOK
    remedy = "have it run beforehand, or let two students share the machine with the most cores" if slow else ""
    yield Finding(SLOW if slow else OK, "notebook", f"the chapter's takes about {_minutes(notebook)} minutes", remedy)


def _minutes(found: float) -> str:
    return f"{found:.1f}" if found < 9.95 else f"{found:.0f}"
