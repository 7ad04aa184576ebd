"""Crew: the workers of a Dask cluster, this machine's own or a lab's, and what each of them is given to do.

Dask brings the work to the workers and tells who is there. What goes where is decided here, one task for a worker at a
time: a task is a process with all the worker's cores, and where a worker is lost the task goes on elsewhere from its
newest checkpoint, which Dask's own second attempt, with the arguments of the first, could not.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import re
import signal
import threading
import time
import uuid
import warnings
from typing import Any, Callable, Iterator, Sequence

from gluon_nst.cluster import worker
from gluon_nst.cluster.worker import TaskContext
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.machine import available_memory, physical_cores
from gluon_nst.machine.system import ENDING
from gluon_nst.version import __version__

_BEAT, _CONNECT = 5.0, 10
"""Seconds between two signs of life, and those in which a scheduler has to answer."""
_MEMORY_OF_A_WORKER = 2e9
"""Bytes that a worker should have, so that there are no more of them than that allows."""

Say = Callable[[str], object]


class Lost(Exception):
    """The worker is gone."""


class Gone(NSTError):
    """The scheduler is."""


class Crew:
    """The workers of the cluster whose scheduler is at an `address`, or else so many `workers` of this machine's own.

    They share its cores and its memory; by default there is one for each GPU, or else for each core, as far as the
    memory allows. `say` is given a line for people. A context manager: its own workers end with it. Raises InputError
    where the extra is missing, and NSTError where no scheduler answers.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, say: Say = str) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise InputError("Dask is not installed, which gives the work to the workers; install gluon-nst[cluster]")
        if address and not re.fullmatch(r"tcp://[^/\s]+:\d+", address):
            raise InputError(f"--scheduler {address}: not tcp://HOST:PORT, as `dask scheduler` prints it")
        if address and workers:
            raise InputError("--workers: those of --scheduler are there already; leave one of the two out")
        self._address, self._number, self._say = address, workers, say
        self._stack = contextlib.ExitStack()
        self._channel = f"gluon-nst-{uuid.uuid4().hex}"
        self._unfit: set[str] = set()
        self._greeted: set[str] = set()
        self._stopping, self._ended = False, threading.Event()

    def __enter__(self) -> Crew:
        import distributed

        for name in ("", ".client", ".core", ".nanny", ".scheduler", ".worker"):
            logger = logging.getLogger(f"distributed{name}")
            self._stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)  # what Dask has to say of a worker that dies is said here, in one line
        try:
            self.told = TaskContext(self._channel, None, 0)
            where = self._address or self._own()
            self._client = self._stack.enter_context(distributed.Client(where, timeout=_CONNECT, set_as_default=False))
            self._queue = distributed.Queue(self._channel, client=self._client)
            self._orders = distributed.Variable(self._channel, client=self._client)
            self._stack.callback(self._forget)
            self._beat()
            threading.Thread(target=self._beat_on, daemon=True).start()
        except (OSError, ValueError, RuntimeError) as error:
            self._stack.close()
            if self._address is None:
                raise NSTError(f"the workers could not be started ({reason(error)}); give the command again") from None
            raise NSTError(
                f"{self._address}: no scheduler answers there ({reason(error)}); look whether it runs"
            ) from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def _forget(self) -> None:
        self._ended.set()
        with contextlib.suppress(Exception):  # whatever state the scheduler is in
            self._orders.delete()
            self._queue.close()

    def _own(self) -> Any:
        """A cluster of this machine's own."""
        import dask
        import distributed
        import mxnet as mx

        gpus, cores = mx.context.num_gpus(), physical_cores()
        free = available_memory()
        number = self._number or gpus or max(1, min(cores, int(free // _MEMORY_OF_A_WORKER)))
        self.told = TaskContext(self._channel, max(1, cores // number), gpus)
        threads = {
            name: str(self.told.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        # By itself a nanny would set them all to 1.
        with dask.config.set({"distributed.nanny.pre-spawn-environ": threads}), _signals_later():
            return self._stack.enter_context(
                distributed.LocalCluster(
                    n_workers=number,
                    threads_per_worker=1,
                    memory_limit=int(free / number),
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    preload=[worker.__name__],
                )
            )

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    # -- the workers --------------------------------------------------------------------------------------------------

    def workers(self) -> list[str]:
        """The addresses of those that are there now, and can be used."""
        with self._answered():
            there = list(self._client.nthreads())
        for address in there:
            if address not in self._greeted:
                self._greeted.add(address)
                with contextlib.suppress(Lost):
                    self._greet(address)
        return [address for address in there if address not in self._unfit]

    def _greet(self, address: str) -> None:
        try:
            version = self.call(address, worker.hello)
            why = "" if version == __version__ else f"it has gluon-nst {version}, and this is {__version__}"
        except NSTError as error:
            why = str(error)
        if why:
            self._unfit.add(address)
            self._say(f"worker {address}: left out, {why}")

    def call(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a short function gives on a worker. Raises NSTError where it fails there, and Lost where the worker is
        gone."""
        try:
            return self._client.run(function, *arguments, workers=[address])[address]
        except Exception as error:  # the function's own, or Dask's
            with self._answered():
                if address not in self._client.nthreads():
                    raise Lost(address) from None
            raise NSTError(reason(error)) from None

    def start(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """A Dask Future of what `function(told, *arguments)` gives on a worker; it never moves to another."""
        with self._answered(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pictures among the arguments, which have to get there
            return self._client.submit(
                function, self.told, *arguments, workers=[address], allow_other_workers=False, pure=False
            )

    def done(self, futures: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the futures that are done, waiting so many seconds at most for one of them."""
        import distributed

        with self._answered(), self._client.as_current(), contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            if futures:
                distributed.wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
            else:
                time.sleep(seconds)
        return [future for future in futures if future.done()]

    def bring(self, address: str, sha256: str, path: str) -> None:
        """Have a worker hold the file at `path`, whose SHA-256 this is: sent once, unless it is there. Raises Lost."""
        if not self.call(address, worker.held, sha256, str(path)):
            with open(path, "rb") as file:
                self.call(address, worker.keep, sha256, file.read())

    # -- what is said -------------------------------------------------------------------------------------------------

    def heard(self) -> Iterator[Any]:
        """What workers have said since, in its order."""
        with self._answered():
            yield from self._queue.get(batch=True)

    def ask_to_stop(self) -> None:
        """Have the workers stop at what they are, when an epoch is done."""
        if not self._stopping:
            self._stopping = True
            with self._answered():
                self._beat()

    def _beat(self) -> None:
        """A sign of life to the workers, without which they stop after a while."""
        self._orders.set({"stop": self._stopping, "beat": time.monotonic()})

    def _beat_on(self) -> None:
        while not self._ended.wait(_BEAT):
            with contextlib.suppress(Exception):  # who gives the orders finds out as well
                self._beat()

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Gone(
                f"the scheduler is gone ({reason(error)}); what is done is kept,"
                " and the same command goes on from there"
            ) from None


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """In the block the signals that ask for the end wait; the processes that begin in it have them wait until they are
    ready to ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
