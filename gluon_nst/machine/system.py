"""What Linux tells of itself in /proc and /sys; a `root` other than / is for a tree like them elsewhere. And another
Python."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask for the end: Ctrl-C, a scheduler's stop, the end of a session. They often go to all processes of a
command."""


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, without the white space around it; nothing where the file can't be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cgroup_folders(controller: str, root: str | os.PathLike[str] = "/") -> Iterator[Path]:
    """The folders of the process's control group and of those above it, for a `controller` (cpu, memory)."""
    for line in read_text(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = Path(f"{root}/sys/fs/cgroup/{controllers}")
        folder = base / group.strip("/")
        # A limit on any group above binds too, and in a container the path may be the host's: the
        # folders that are not there are skipped on the way up to the mount.
        for level in (folder, *folder.parents):
            yield level
            if level == base:
                break


def other_python(module: str, function: str) -> list[str]:
    """The command that calls a function of a module of the package in another process, with the same path as here.

    So without the working folder, which may hold a random.py of the user's.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import {function}; {function}()"
    return [sys.executable, "-W", "ignore", "-c", code]
