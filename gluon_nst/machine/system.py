"""Access to /proc and /sys, to MXNet's version, and to Python subprocesses.

Functions that read /proc and /sys have a `root` for tests.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of termination: Ctrl-C, a scheduler's stop, the end of a session. Each process of a command may get them."""


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file, stripped, or "" if it can't be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cgroup_folders(controller: str, root: str | os.PathLike[str] = "/") -> Iterator[Path]:
    """Yield the folders of the process's control group and of its parents.

    `controller` is `cpu` or `memory`.
    """
    for line in read_text(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = Path(f"{root}/sys/fs/cgroup/{controllers}")
        folder = base / group.strip("/")
        # Limits of parent groups apply, too. In a container the path may be the host's: missing folders are skipped.
        for level in (folder, *folder.parents):
            yield level
            if level == base:
                break


def other_python(module: str, function: str) -> list[str]:
    """Return the command that calls a function of a module in a subprocess.

    The subprocess has the sys.path of this process. Thus the working directory, which may have a file random.py, is not
    searched.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import {function}; {function}()"
    return [sys.executable, "-W", "ignore", "-c", code]


def mxnet_build() -> str:
    """Return the name and version of the installed distribution of MXNet.

    `mxnet 1.9.1`, or a build for GPUs, `mxnet-cu112 1.9.1`; "" if there is none. MXNet is not loaded.
    """
    import importlib.metadata  # which takes a while to load

    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if re.fullmatch("mxnet([-_][a-z0-9]+)?", name, re.IGNORECASE):
            return f"{name} {distribution.version}"
    return ""
