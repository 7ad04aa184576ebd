"""What is called on a worker of the cluster, in its process: who it is, what it holds, and how whoever gives the orders
is heard."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from gluon_nst.machine import physical_cores
from gluon_nst.machine.files import written_whole
from gluon_nst.machine.system import ENDING
from gluon_nst.version import __version__

_HEARD_EVERY, _LOST = 2.0, 60.0
"""Seconds between two looks at the orders, and those without a sign of life after which whoever gave them is gone."""


def dask_setup(worker: Any) -> None:
    """Called by Dask as a worker of this machine's own begins: signals are for who began it, and lets the jobs be
    kept."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def hello() -> str:
    """The version of the program that the worker has."""
    return __version__


class TaskContext(NamedTuple):
    """What a worker is told with each task."""

    channel: str
    """The name under which the scheduler has what is said to and fro."""
    threads: int | None
    """Those of each of its processes, or None where that is for it to find."""
    gpus: int
    """How many GPUs the machine's own workers share."""

    def device(self, asked: str) -> str:
        """The device of a process of this worker: of several workers with GPUs each has its own."""
        from distributed import get_worker

        name = str(get_worker().name)
        return f"gpu:{int(name) % self.gpus}" if asked == "auto" and self.gpus and name.isdecimal() else asked

    def cores(self) -> int:
        """The threads of a process of this worker.

        A worker of others' has its share of the machine's cores. Dask sets OMP_NUM_THREADS to 1 there unless somebody
        has said another number.
        """
        from distributed import get_worker

        if self.threads is not None:
            return self.threads
        given = os.environ.get("OMP_NUM_THREADS", "1")
        if given.isdecimal() and int(given) > 1:
            return int(given)
        return max(1, physical_cores() // get_worker().state.nthreads)


def memory_of(dask_worker: Any = None) -> float | None:
    """The bytes that a process of a worker may take, where that is known. Dask gives `dask_worker`."""
    limit = dask_worker.memory_manager.memory_limit
    return limit / dask_worker.state.nthreads if limit else None


class Channel:
    """Says things to whoever gave the orders, by way of the scheduler, and hears whether to stop."""

    def __init__(self, told: TaskContext) -> None:
        from distributed import Queue, Variable

        self._queue, self._orders = Queue(told.channel), Variable(told.channel)
        self._heard = self._alive = time.monotonic()
        self._last: Any = None
        self._stop = False

    def say(self, *message: Any) -> None:
        """Put a message of plain values on its way; it is with the scheduler when this returns."""
        self._queue.put(message)

    def close(self) -> None:
        """Let the scheduler know that nothing more is said."""
        with contextlib.suppress(Exception):  # of Dask's own kinds, where it is gone
            self._queue.close()

    def is_stopped(self) -> bool:
        """Whether to stop: that was asked for, or nobody is there any more."""
        now = time.monotonic()
        if not self._stop and now - self._heard > _HEARD_EVERY:
            self._heard = now
            try:
                orders: dict[str, Any] | None = self._orders.get(timeout=5)
            except Exception:  # of Dask's own kinds, where there are no orders any more
                orders = None
            if orders and orders != self._last:
                self._last, self._alive = orders, now
            self._stop = bool(orders and orders["stop"]) or now - self._alive > _LOST
        return self._stop


# -- what comes by its content ----------------------------------------------------------------------------------------


def folder(dask_worker: Any) -> Path:
    """A worker's own folder for what it is sent; Dask removes it with the worker."""
    made = Path(dask_worker.local_directory) / "gluon-nst"
    made.mkdir(parents=True, exist_ok=True)
    return made


def held(sha256: str, path: str, dask_worker: Any = None) -> bool:
    """Whether the worker has a file of this SHA-256: sent before, or, on the same machine, at the `path` where it was
    found.

    Dask gives `dask_worker`.
    """
    from gluon_nst.weights.cache import sha256_of  # loads MXNet, without which a worker begins sooner

    if (folder(dask_worker) / sha256).is_file():
        return True
    try:
        return sha256_of(Path(path)) == sha256
    except OSError:
        return False


def keep(sha256: str, content: bytes, dask_worker: Any = None) -> None:
    """Keep a file that was sent."""
    with written_whole(folder(dask_worker) / sha256) as file:
        file.write(content)


def place(sha256: str, path: str, dask_worker: Any) -> Path:
    """Where the worker has a file that it holds."""
    kept = folder(dask_worker) / sha256
    return kept if kept.is_file() else Path(path)
