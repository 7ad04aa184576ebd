"""A Dask worker's share of the machine, files, and requests to stop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from gluon_nst.machine import physical_cores
from gluon_nst.machine.files import written_whole
from gluon_nst.machine.system import ENDING

_STOP_CHECKED_EVERY = 2.0
"""Seconds between two queries of the scheduler."""


def dask_setup(worker: Any) -> None:
    """Ignore the signals that stop a command.

    Local workers preload this module, so that they finish their epochs.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def memory_limit(dask_worker: Any = None) -> float | None:
    """Return the bytes that one of a worker's tasks may take, if limited.

    Dask passes `dask_worker`.
    """
    limit = dask_worker.memory_manager.memory_limit
    return limit / dask_worker.state.nthreads if limit else None


def uploaded(sha256: str, dask_worker: Any) -> Path:
    """Return the path of an uploaded file in the worker's own folder.

    Dask deletes the folder when the worker ends.
    """
    return Path(dask_worker.local_directory) / sha256


def keep(sha256: str, content: bytes, dask_worker: Any = None) -> None:
    """Save a file that the pool uploads. Dask passes `dask_worker`."""
    with written_whole(uploaded(sha256, dask_worker)) as file:
        file.write(content)


class TaskContext(NamedTuple):
    """The settings of the pool that a task needs."""

    name: str
    """The name of the pool's Dask Queue of messages, and of the Dask Event that stops its tasks."""
    threads: int | None
    """Threads of each task's process; None if the worker determines them."""
    gpus: int
    """Number of GPUs that local workers share."""
    keeps_files: bool
    """Whether the workers have their own copies of uploaded files; local ones read the originals."""

    def file(self, path: Path, sha256: str) -> Path:
        """Return the path on this worker of a `path` on the pool's machine."""
        from distributed import get_worker

        return uploaded(sha256, get_worker()) if self.keeps_files else path

    def device(self, requested: str) -> str:
        """Return the device of a process of this worker.

        Local workers with GPUs each use a different one.
        """
        from distributed import get_worker

        name = str(get_worker().name)
        return f"gpu:{int(name) % self.gpus}" if requested == "auto" and self.gpus and name.isdecimal() else requested

    def cores(self) -> int:
        """Return the threads of a process of this worker.

        They are its share of the cores, or OMP_NUM_THREADS. Dask sets OMP_NUM_THREADS to 1 on a worker unless the user
        has set it, so a value of 1 is ignored.
        """
        from distributed import get_worker

        if self.threads is not None:
            return self.threads
        setting = os.environ.get("OMP_NUM_THREADS", "1")
        if setting.isdecimal() and int(setting) > 1:
            return int(setting)
        return max(1, physical_cores() // get_worker().state.nthreads)


class StopRequest:
    """The request to stop the task in this thread.

    The pool requests it, or Dask has cancelled the task, as it does when the task's client has disconnected.
    """

    def __init__(self, context: TaskContext) -> None:
        from distributed import Event, get_worker

        self._event, self._worker = Event(context.name), get_worker()
        self._key = self._worker.get_current_task()
        self._checked, self._is_set = float("-inf"), False

    def is_cancelled(self) -> bool:
        """Return whether Dask has cancelled the task."""
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state == "cancelled"

    def is_set(self) -> bool:
        """Return whether the task should stop."""
        if not self._is_set and time.monotonic() - self._checked > _STOP_CHECKED_EVERY:
            self._checked = time.monotonic()
            try:
                self._is_set = self.is_cancelled() or self._event.is_set()
            except Exception:  # classes of Dask's own: the scheduler is lost
                self._is_set = True
        return self._is_set
