"""Is this machine ready for the lab? Each thing that can be wrong is looked at, and told with its remedy. Loads no
MXNet.

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
from gluon_nst.machine import available_memory, check_threads, physical_cores
from gluon_nst.machine.files import cache_folder
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
_ALL_MEMORY = 1.0e9
"""Bytes that the notebook's runs need at most, where it could not be asked."""
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
    free = available_memory()
    enough = free >= _LEAST_MEMORY
    try:
        check_threads()
        yield _threads()
        check_address_space()
    except InputError as error:
        yield Finding(FAULT, "MXNet", "not asked", str(error))
        enough = False
    yield from _disk()
    if not enough:
        yield _memory({"free": free, "needed": _ALL_MEMORY})
        return
    answers = _ask()
    yield from _mxnet(answers)
    yield _memory(answers.get("memory", {"free": free, "needed": _ALL_MEMORY}))
    if "weights" in answers:
        yield from _weights(answers["weights"])
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
    if given != str(cores):
        return Finding(SLOW, "threads", f"{given} for {cores} cores (OMP_NUM_THREADS)", "unset OMP_NUM_THREADS")
    return Finding(OK, "threads", f"{given} for {cores} cores")


def _memory(found: dict[str, Any]) -> Finding:
    free = float("inf") if found["free"] is None else found["free"]
    words = f"{free / 1e9:.1f} GB free, {found['needed'] / 1e9:.1f} GB needed at most"
    if free < found["needed"]:
        return Finding(FAULT, "memory", words, "end other programs, or raise the limit (ulimit -v, the container's)")
    return Finding(OK, "memory", words)


def _disk() -> Iterator[Finding]:
    try:
        temporary = tempfile.gettempdir()
    except OSError:  # none can be written in
        yield Finding(
            FAULT, "disk", "no folder for temporary files can be written in", "free some space, or set TMPDIR"
        )
        temporary = ""
    places = {"this folder": (".", _ROOM)}
    if temporary:
        places["temporary files (TMPDIR)"] = (temporary, _ROOM)
    free = {name: _free(Path(path)) for name, (path, _) in places.items()}
    full = [name for name, (_, room) in places.items() if free[name] < room]
    for name in full:
        path, room = places[name]
        yield _full(name, Path(path), free[name], room)
    if not full and temporary:
        yield Finding(OK, "disk", f"{min(free.values()) / 1e9:.1f} GB free")


def _full(name: str, path: Path, free: float, room: float) -> Finding:
    remedy = f"free {room / 1e9:.1f} GB, or choose another place"
    return Finding(FAULT, "disk", f"{name}: {_absolute(path)} has {free / 1e9:.2f} GB to write in", remedy)


def _absolute(path: Path) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the folder that the command was started in is gone
        return str(path)


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
    answers: dict[str, Any] = {}
    said: list[str] = []  # by anything but the findings
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        timer = threading.Timer(_PATIENCE, other.kill)
        timer.daemon = True
        timer.start()
        try:
            for line in other.stdout or ():
                try:
                    answers.update(json.loads(line))
                except (TypeError, ValueError):
                    said += [line.strip()] if line.strip() else []
            status, waited = other.wait(), timer.is_alive()
        finally:  # also where the doctor is stopped
            timer.cancel()
            other.kill()
    if not waited:
        answers["failed"] = f"no answer in {_PATIENCE} seconds"
    elif status:
        ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        answers["failed"] = said[-1] if said and status > 0 else ended
    return answers


def _mxnet(answers: dict[str, Any]) -> Iterator[Finding]:
    found, failed = answers.get("software"), answers.get("failed")
    if found is None:
        failed = failed or "no answer"
        remedy = "install what is missing (Debian: libgomp1 libquadmath0), or gluon-nst anew"
        if "backend" in failed and "MPLBACKEND" in os.environ:
            backend = os.environ["MPLBACKEND"]
            failed, remedy = f"MPLBACKEND={backend}, which matplotlib does not know", "unset it, or set it to Agg"
        yield Finding(FAULT, "MXNet", f"does not load: {failed}", remedy)
        return
    built = "oneDNN" if "MKLDNN" in found["built with"] else "no oneDNN: every convolution is slow"
    built += ", CUDA" if "CUDA" in found["built with"] else ", no CUDA"
    yield Finding(OK, "MXNet", f"{found['mxnet']} with {built}; computes on {found['device']}")
    why = f"by {found['bfloat16 by']}" if found["precision"] == "bfloat16" else "the fastest here"
    yield Finding(OK, "precision", f"{found['precision']} where a recipe says auto, {why}; AMX: {found['amx']}")


def _weights(found: dict[str, Any]) -> Iterator[Finding]:
    if found["where"] == "here":
        yield Finding(OK, "weights", f"here: {found['title']}")
        return
    folder = cache_folder()
    if os.path.lexists(folder.parent) and not folder.parent.is_dir():
        yield Finding(FAULT, "weights", f"{folder.parent}: not a folder", "set GLUON_NST_CACHE to another")
        return
    free = _free(folder)
    if free < _ROOM_FOR_WEIGHTS:
        yield _full("the cache (GLUON_NST_CACHE)", folder, free, _ROOM_FOR_WEIGHTS)
    if found["where"] == "left":
        yield Finding(OK, "weights", f"left here by another program: {found['title']}")
    elif found["source"] is None:
        remedy = "bring a kit (gluon-nst kit), or a file: gluon-nst weights import FILE (docs/weights.md)"
        yield Finding(FAULT, "weights", "none here, and no source of them answers", remedy)
    else:
        remedy = f"fetch them while there is a network: gluon-nst weights fetch {found['source']}"
        yield Finding(SLOW, "weights", f"none here; {found['source']} answers", remedy)


def _times(answers: dict[str, Any]) -> Iterator[Finding]:
    epoch, minutes = answers.get("epoch"), answers.get("minutes")
    if "software" in answers and minutes is None:
        remedy = "end other programs, and run gluon-nst doctor again"
        yield Finding(FAULT, "speed", f"an epoch could not be timed: {answers.get('failed')}", remedy)
    if epoch is None or minutes is None:
        return
    yield Finding(OK, "speed", f"{epoch['seconds']:.2f} s for an epoch of the chapter at 150x225")
    recipes = ", ".join(f"{name} {_minutes(found)}" for name, found in minutes["recipes"].items())
    yield Finding(OK, "recipes", f"minutes expected, at their own sizes: {recipes}")
    notebook = minutes["notebook"]
    slow = notebook > _SLOW_NOTEBOOK
    remedy = "have it run beforehand, or let two students share the machine with the most cores" if slow else ""
    yield Finding(SLOW if slow else OK, "notebook", f"the chapter's takes about {_minutes(notebook)} minutes", remedy)


def _minutes(found: float) -> str:
    return f"{found:.1f}" if found < 9.95 else f"{found:.0f}"
