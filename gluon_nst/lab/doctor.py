"""Check whether a machine is ready for the lab, without loading MXNet.

Each fault has a remedy. Measurements with MXNet run in a subprocess (`probe`), because MXNet may crash or hang on a
faulty machine.
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
"""Levels of a finding: right; the lab runs, but slowly or not offline; the lab would fail."""

_PROBE_TIMEOUT = 60
"""Seconds that the subprocess may take; on two cores it takes seven."""

_JUPYTER = ("jupytext", "nbformat", "nbclient", "ipykernel", "jupyterlab")
_DISK_FOR_LAB = 0.2e9
"""Bytes of disk for a lab: pictures, notebooks with their outputs, temporary files."""
_DISK_FOR_WEIGHTS = 0.4e9
"""Maximum bytes of disk for fetching and converting the network's parameters."""
_MIN_MEMORY = 0.8e9
"""Bytes of memory without which the subprocess is not started."""
_NOTEBOOK_MEMORY = 1.0e9
"""Bytes that the notebook's runs need at most, if the subprocess did not report it."""
_MAX_MINUTES = 8
"""Minutes of the chapter's notebook above which it counts as slow."""


class Finding(NamedTuple):
    """A finding, one line of the output."""

    level: str
    """OK, SLOW or FAULT."""
    name: str
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Yield each Finding as soon as it is known; it takes about ten seconds in all."""
    yield _python()
    yield _jupyter()
    free = available_memory()
    enough = free >= _MIN_MEMORY
    try:
        check_threads()
        yield _threads()
        check_address_space()
    except InputError as error:
        yield Finding(FAULT, "MXNet", "not checked", str(error))
        enough = False
    yield from _disk()
    if not enough:
        yield _memory({"free": free, "needed": _NOTEBOOK_MEMORY})
        return
    report = _run_probe()
    yield from _mxnet(report)
    yield _memory(report.get("memory", {"free": free, "needed": _NOTEBOOK_MEMORY}))
    if "weights" in report:
        yield from _weights(report["weights"])
    yield from _times(report)


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    right = (3, 8) <= sys.version_info[:2] <= (3, 11) and detail.endswith("Linux x86_64")
    if not right:
        return Finding(FAULT, "Python", detail, "MXNet 1.9.1 needs Python 3.8 to 3.11 on Linux x86_64")
    return Finding(OK, "Python", detail)


def _jupyter() -> Finding:
    missing = [name for name in _JUPYTER if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(FAULT, "Jupyter", f"missing: {', '.join(missing)}", "pip install 'gluon-nst[notebook]'")
    return Finding(OK, "Jupyter", "JupyterLab and the packages for notebooks")


def _threads() -> Finding:
    cores, threads = physical_cores(), os.environ.get("OMP_NUM_THREADS", "")
    if instructions.mxnet_imported_first:
        remedy = "import gluon_nst before mxnet: in scripts, in sitecustomize.py, in the first cell"
        return Finding(SLOW, "threads", f"mxnet was imported before gluon_nst, and uses half of {cores} cores", remedy)
    if threads != str(cores):
        return Finding(SLOW, "threads", f"{threads} for {cores} cores (OMP_NUM_THREADS)", "unset OMP_NUM_THREADS")
    return Finding(OK, "threads", f"{threads} for {cores} cores")


def _memory(memory: dict[str, Any]) -> Finding:
    free = float("inf") if memory["free"] is None else memory["free"]
    detail = f"{free / 1e9:.1f} GB free, {memory['needed'] / 1e9:.1f} GB needed at most"
    if free < memory["needed"]:
        return Finding(
            FAULT, "memory", detail, "close other programs, or raise the limit (ulimit -v, or that of the container)"
        )
    return Finding(OK, "memory", detail)


def _disk() -> Iterator[Finding]:
    try:
        temporary = tempfile.gettempdir()
    except OSError:  # no folder is writable
        yield Finding(FAULT, "disk", "no writable folder for temporary files", "free some space, or set TMPDIR")
        temporary = ""
    folders = {"this folder": (".", _DISK_FOR_LAB)}
    if temporary:
        folders["temporary files (TMPDIR)"] = (temporary, _DISK_FOR_LAB)
    free = {name: _writable_bytes(Path(path)) for name, (path, _) in folders.items()}
    full = [name for name, (_, required) in folders.items() if free[name] < required]
    for name in full:
        path, required = folders[name]
        yield _full(name, Path(path), free[name], required)
    if not full and temporary:
        yield Finding(OK, "disk", f"{min(free.values()) / 1e9:.1f} GB free")


def _full(name: str, path: Path, free: float, required: float) -> Finding:
    remedy = f"free {required / 1e9:.1f} GB, or choose another folder"
    return Finding(FAULT, "disk", f"{name}: {_absolute(path)} has {free / 1e9:.2f} GB free to write", remedy)


def _absolute(path: Path) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory was deleted
        return str(path)


def _writable_bytes(path: Path) -> float:
    """Return the bytes that can be written at a path, or 0 if it is not writable.

    The path need not exist.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(4096))
        return shutil.disk_usage(path).free
    except OSError:
        return 0.0


def _run_probe() -> dict[str, Any]:
    """Return the measurements of the subprocess.

    If it did not finish, `failed` has the reason.
    """
    # If mxnet was imported first here, import it first there, too, to measure the speed of this process.
    first = "import mxnet; " if instructions.mxnet_imported_first else ""
    code = f"{first}from gluon_nst.lab import probe; probe.main()"
    command = [sys.executable, "-W", "ignore", "-c", code]
    report: dict[str, Any] = {}
    other_lines: list[str] = []  # warnings and errors
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        timer = threading.Timer(_PROBE_TIMEOUT, process.kill)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                try:
                    report.update(json.loads(line))
                except (TypeError, ValueError):
                    other_lines += [line.strip()] if line.strip() else []
            status, in_time = process.wait(), timer.is_alive()
        finally:  # also after an interrupt
            timer.cancel()
            process.kill()
    if not in_time:
        report["failed"] = f"no answer in {_PROBE_TIMEOUT} seconds"
    elif status:
        reason = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        report["failed"] = other_lines[-1] if other_lines and status > 0 else reason
    return report


def _mxnet(report: dict[str, Any]) -> Iterator[Finding]:
    software, failed = report.get("software"), report.get("failed")
    if software is None:
        failed = failed or "no answer"
        remedy = "install the missing libraries (Debian: libgomp1 libquadmath0), or reinstall gluon-nst"
        if "backend" in failed and "MPLBACKEND" in os.environ:
            backend = os.environ["MPLBACKEND"]
            failed, remedy = f"MPLBACKEND={backend}, which is not a backend of matplotlib", "unset it, or set it to Agg"
        yield Finding(FAULT, "MXNet", f"does not load: {failed}", remedy)
        return
    features = "oneDNN" if "MKLDNN" in software["features"] else "no oneDNN: every convolution is slow"
    features += ", CUDA" if "CUDA" in software["features"] else ", no CUDA"
    yield Finding(OK, "MXNet", f"{software['mxnet']} with {features}; computes on {software['device']}")
    reason = f"by {software['bfloat16 by']}" if software["precision"] == "bfloat16" else "the fastest here"
    precision = f"{software['precision']} for the setting auto, {reason}"
    yield Finding(OK, "precision", f"{precision}; AMX: {software['amx']}")


def _weights(weights: dict[str, Any]) -> Iterator[Finding]:
    if weights["status"] == "cached":
        yield Finding(OK, "weights", f"cached: {weights['title']}")
        return
    folder = cache_folder()
    if os.path.lexists(folder.parent) and not folder.parent.is_dir():
        yield Finding(FAULT, "weights", f"{folder.parent}: not a folder", "set GLUON_NST_CACHE to a folder")
        return
    free = _writable_bytes(folder)
    if free < _DISK_FOR_WEIGHTS:
        yield _full("the cache (GLUON_NST_CACHE)", folder, free, _DISK_FOR_WEIGHTS)
    if weights["status"] == "on this machine":
        yield Finding(OK, "weights", f"found in the cache of another program: {weights['title']}")
    elif weights["source"] is None:
        remedy = "install a kit (gluon-nst kit), or import a file: gluon-nst weights import FILE (docs/weights.md)"
        yield Finding(FAULT, "weights", "not cached, and no source of them is reachable", remedy)
    else:
        remedy = f"fetch them while the machine is online: gluon-nst weights fetch {weights['source']}"
        yield Finding(SLOW, "weights", f"not cached; {weights['source']} is reachable", remedy)


def _times(report: dict[str, Any]) -> Iterator[Finding]:
    epoch, minutes = report.get("epoch"), report.get("minutes")
    if "software" in report and minutes is None:
        remedy = "close other programs, and run gluon-nst doctor again"
        yield Finding(FAULT, "speed", f"the time of an epoch could not be measured: {report.get('failed')}", remedy)
    if epoch is None or minutes is None:
        return
    yield Finding(OK, "speed", f"{epoch['seconds']:.2f} s for an epoch of the chapter at 150x225")
    recipes = ", ".join(f"{name} {_minutes(value)}" for name, value in minutes["recipes"].items())
    yield Finding(OK, "recipes", f"minutes expected, at their own sizes: {recipes}")
    notebook = minutes["notebook"]
    slow = notebook > _MAX_MINUTES
    remedy = "run it beforehand, or let two students share the machine with the most cores" if slow else ""
    yield Finding(SLOW if slow else OK, "notebook", f"the chapter's takes about {_minutes(notebook)} minutes", remedy)


def _minutes(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes < 9.95 else f"{minutes:.0f}"
