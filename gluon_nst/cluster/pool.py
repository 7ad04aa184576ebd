"""The workers of a Dask cluster, local or remote, their tasks and messages."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import multiprocessing
import re
import signal
import time
import uuid
import warnings
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

from gluon_nst.cluster import worker
from gluon_nst.cluster.worker import TaskContext
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.machine import available_memory, physical_cores
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import reading
from gluon_nst.machine.system import ENDING
from gluon_nst.version import __version__

_CONNECT_TIMEOUT = 10
"""Seconds to wait for a scheduler's answer, unless Dask's `distributed.comm.timeouts.connect` is shorter."""
_RESULT_TIMEOUT = 60
"""Seconds to wait for the transfer of a task's result."""
_MEMORY_OF_A_WORKER = 2e9
"""Bytes that each local worker needs, which limits their number."""


class Pool:
    """The workers of the cluster at `address`, or a number of local `workers`.

    `address` is that of the scheduler. Local workers share the machine's cores and memory; by default there is one for
    each GPU, or without GPUs one for each core, as far as the memory allows. `notify` is called with messages for the
    user. A context manager, whose exit ends the local workers. Raises InputError if Dask is not installed, and NSTError
    if no scheduler answers.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, notify: Callable[[str], object] = str
    ) -> None:
        require("a pool of workers", "distributed")
        if address and not re.fullmatch(r"tcp://[^/\s]+:\d+", address):
            raise InputError(f"--scheduler {address}: not tcp://HOST:PORT, as `dask scheduler` prints it")
        if address and workers:
            raise InputError("--workers: not with --scheduler, which has its own workers; leave one of the two out")
        self._address, self._number, self._notify = address, workers, notify
        self._stack = contextlib.ExitStack()
        self.context = TaskContext(f"gluon-nst-{uuid.uuid4().hex}", None, 0, keeps_files=address is not None)
        self._seen: dict[str, str] = {}
        """The folders of the workers whose version was checked, by their addresses."""
        self._left_out: set[str] = set()
        self._uploaded: set[tuple[str, str]] = set()
        """The (address, SHA-256) of the files that workers keep."""
        self._events: list[Any] = []
        """The Dask Events that tasks submitted with `once` set."""

    def __enter__(self) -> Pool:
        if self._address is None and getattr(multiprocessing.current_process(), "_inheriting", False):
            # A worker process is importing the program that starts the workers.
            raise NSTError(
                'workers are started while the program is imported; do it below `if __name__ == "__main__":`'
            )
        import dask
        import distributed

        for name in ("", ".client", ".core", ".nanny", ".scheduler", ".worker"):
            logger = logging.getLogger(f"distributed{name}")
            self._stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)  # a lost worker is reported here, in one line
        self._stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "(Large object|Sending large graph) of size")  # pictures have to be sent
        try:
            cluster = self._address or self._local_cluster()
            configured = dask.utils.parse_timedelta(dask.config.get("distributed.comm.timeouts.connect", None))
            timeout = min(_CONNECT_TIMEOUT, configured or _CONNECT_TIMEOUT)
            self._client = self._stack.enter_context(distributed.Client(cluster, timeout=timeout, set_as_default=False))
            self._messages = distributed.Queue(self.context.name, client=self._client)
            self._stop = distributed.Event(self.context.name, client=self._client)
            self._stack.callback(self._forget)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            self._stack.close()
            if self._address is None:
                raise NSTError(
                    f"the workers could not be started ({reason(error)}); run it again (a Python program starts them"
                    ' below `if __name__ == "__main__":`)'
                ) from None
            raise NSTError(f"{self._address}: no scheduler answers ({reason(error)}); check that it runs") from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def _forget(self) -> None:
        with contextlib.suppress(Exception):  # the scheduler may be lost
            self._messages.close()
            self._stop.clear()
            for event in self._events:
                event.clear()  # otherwise a scheduler that keeps running never deletes it

    def _local_cluster(self) -> Any:
        import dask
        import distributed
        import mxnet as mx

        gpus, cores = mx.context.num_gpus(), physical_cores()
        free = available_memory()
        number = self._number or gpus or max(1, min(cores, int(free // _MEMORY_OF_A_WORKER)))
        threads = max(1, cores // number)
        self.context = self.context._replace(threads=threads, gpus=gpus)
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # a nanny sets them to 1 by default
        environment = dict.fromkeys(variables, str(threads))
        with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}), _signals_blocked():
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

    # -- workers and tasks --------------------------------------------------------------------------------------------

    def workers(self) -> list[str]:
        """Return the addresses of the present workers that have this version of gluon-nst."""

        def version() -> str:  # pickled by value: a worker of a different version may not have the function
            from gluon_nst.version import __version__

            return __version__

        present = self._present()
        # A worker that was restarted at the same address has a different folder, which is empty.
        self._seen = {address: folder for address, folder in self._seen.items() if present.get(address) == folder}
        self._left_out.intersection_update(self._seen)
        self._uploaded = {each for each in self._uploaded if each[0] in self._seen}
        for address, found in self.run(version, workers=[each for each in present if each not in self._seen]).items():
            self._seen[address] = present[address]
            if isinstance(found, Exception):
                self._leave_out(address, reason(found))
            elif found != __version__:
                self._leave_out(address, f"it has gluon-nst {found}, not {__version__}")
        return self._accepted()

    def _accepted(self) -> list[str]:
        """Return the addresses of the checked workers that are not left out."""
        return [address for address in self._seen if address not in self._left_out]

    def _present(self) -> dict[str, str]:
        """Return the folders of the present workers, by their addresses."""
        with self._answered():
            workers = self._client.sync(self._client.scheduler.identity)["workers"]
        return {address: worker["local_directory"] for address, worker in workers.items()}

    def _leave_out(self, address: str, why: str) -> None:
        self._left_out.add(address)
        self._notify(f"worker {address}: left out, {why}")

    def upload(self, path: Path, sha256: str, workers: list[str]) -> list[str]:
        """Upload a file, once, to each of the workers, and return those that have it.

        Local workers read it in place. Dask's own `upload_file` would leave a copy on the scheduler.
        Raises InputError if it can't be read.
        """
        if not self.context.keeps_files:
            return workers
        new = [address for address in workers if (address, sha256) not in self._uploaded]
        if new:
            with reading(path, "parameters"):
                content = path.read_bytes()
            for address, error in self.run(worker.keep, sha256, content, workers=new).items():
                if error is None:
                    self._uploaded.add((address, sha256))
                else:
                    self._leave_out(address, reason(error))
        return [address for address in workers if (address, sha256) in self._uploaded]

    def run(self, function: Callable[..., Any], *arguments: Any, workers: list[str]) -> dict[str, Any]:
        """Return a short function's result, or its exception, for each worker.

        Workers that are lost are not in the result.
        """
        from distributed.comm import CommClosedError

        if not workers:
            return {}
        with self._answered():
            results = self._client.run(function, *arguments, workers=workers, on_error="return")
        present = self._present()  # a lost worker is different from one that fails
        return {
            address: result
            for address, result in results.items()
            if address in present and not isinstance(result, CommClosedError)
        }

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        workers: Iterable[str],
        once: bool = False,
        **options: Any,
    ) -> Any:
        """Return the Dask Future of a task that runs on one of the `workers`.

        `options` are those of Client.submit. With `once`, the task sets the Dask Event named by its key, to detect when
        Dask repeats it.
        """
        import distributed

        with self._answered():
            future = self._client.submit(function, *arguments, workers=list(workers), pure=False, **options)
            if once:
                self._events.append(distributed.Event(future.key, client=self._client))
        return future

    def cancel(self, future: Any) -> None:
        """Cancel the task of a future."""
        with self._answered():
            future.cancel()

    def send(self, value: Any, *near: Any) -> Any:
        """Return the Dask Future of a value that Dask sends to the workers.

        Dask sends it to those that need it, again if they are lost. It is placed on the workers of the futures `near`,
        and on one that was left out only if there is no other.
        """

        def received(value: Any, *near: Any) -> Any:  # pickled by value, so that any worker can run it
            return value

        return self.submit(received, value, *near, workers=self._accepted(), allow_other_workers=True)

    def done(self, futures: Sequence[Any], seconds: float) -> list[Any]:
        """Return the futures that are done, after waiting at most `seconds` for the first."""
        import distributed

        with self._answered(), self._client.as_current(), contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            if futures:
                distributed.wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
            else:
                time.sleep(seconds)
        return [future for future in futures if future.done()]

    def result(self, future: Any) -> Any:
        """Return the result of a future that is done.

        None if its worker is lost before the result has arrived.
        """
        with self._answered():
            try:
                return future.result(timeout=_RESULT_TIMEOUT)
            except (TimeoutError, asyncio.TimeoutError):
                return None
            except Exception:
                if future.status == "error":  # Dask has repeated the task, which failed
                    return None
                raise

    def messages(self) -> Iterator[Any]:
        """Yield the messages that tasks have put into the pool's Queue.

        They are those since the last call.
        """
        with self._answered():
            yield from self._messages.get(batch=True)

    def stop(self) -> None:
        """Request the tasks to stop after their current epochs."""
        with self._answered():
            self._stop.set()

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        """Raise NSTError for Dask's errors in the block if the scheduler is lost."""
        lost = (OSError, RuntimeError, concurrent.futures.CancelledError, asyncio.CancelledError, asyncio.TimeoutError)
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            # A closed client raises an exception whose class depends on Dask's version.
            if not isinstance(error, lost) and self._client.status == "running":
                raise
            raise NSTError(
                f"the scheduler is lost ({reason(error)}); finished work is kept, and the same command resumes it"
            ) from None


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that stop a command.

    Processes started in the block inherit that until they ignore them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
