"""Subprocesses that call a function, or carry out a run.

MXNet never frees the buffers and code of a size that it has computed: 33 MB for a new size at 128 pixels, 80 to 100 MB
at 300. When a subprocess exits, the system frees all of it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Callable

from gluon_nst.errors import NSTError, reason
from gluon_nst.machine.system import ENDING, other_python
from gluon_nst.runs.checkpoint import carry_out_kept
from gluon_nst.runs.loop import Halt, carry_out, never
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State


class Subprocess:
    """A subprocess that calls `function(parent, *arguments)`.

    Function and arguments must be picklable; `parent` is the connection to this process. The subprocess computes with
    `threads`, by default those of this process. It is killed at the end of the block of this context manager, and when
    this process exits.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, threads: int | None = None) -> None:
        environment = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
        command, self._stopped = other_python("gluon_nst.runs.processes", "answer"), False
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=environment
        )
        self.put((function, arguments))

    def put(self, value: Any) -> None:
        """Send a value to it. Raises NSTError if it has exited."""
        try:
            _dump(value, self._process.stdin)
        except OSError:
            raise self._ended() from None

    def get(self) -> tuple[str, Any]:
        """Return the next message (kind, value); `result` has the return value.

        Raises the function's NSTError, and NSTError if the process has exited.
        """
        try:
            kind, value = pickle.load(self._process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            raise self._ended() from None
        if kind == "error":
            raise value
        return kind, value

    def _ended(self) -> NSTError:
        status = self._process.wait()
        if status < 0:
            return NSTError(f"the process of this run was killed by signal {-status}; was there enough memory?")
        return NSTError(f"the process of this run exited with status {status}")

    def stop(self) -> None:
        """Request a stop."""
        if not self._stopped:
            self._stopped = True
            self._process.terminate()

    def __enter__(self) -> Subprocess:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()


def _dump(value: Any, file: IO[bytes] | None) -> None:
    assert file
    pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    file.flush()


class Parent:
    """The connection of a subprocess to its parent, whose exit kills it."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._received.put(pickle.load(stdin))  # in the main thread, so that MXNet is loaded there
        self._output, self._stop_requested = stdout, threading.Event()
        # A Dask worker, which may be the parent, blocks them while it starts.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        signal.signal(signal.SIGTERM, lambda number, frame: self._stop_requested.set())
        threading.Thread(target=self._listen, args=(stdin,), daemon=True).start()

    def _listen(self, stdin: IO[bytes]) -> None:
        try:
            while True:
                self._received.put(pickle.load(stdin))
        except (EOFError, OSError, pickle.UnpicklingError):
            # The parent has exited, or was killed: nobody would receive the result.
            os.kill(os.getpid(), signal.SIGKILL)

    def get(self) -> Any:
        """Wait for the next value from the parent, and return it."""
        return self._received.get()

    def put(self, kind: str, value: Any) -> None:
        """Send a message to the parent."""
        _dump((kind, value), self._output)

    def is_stop_requested(self) -> bool:
        """Whether the parent has requested a stop."""
        return self._stop_requested.is_set()


def answer() -> None:
    """Run as the main function of a subprocess.

    It calls the function from standard input, and sends its messages and its result to standard output.
    """
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that prints do not mix with the messages
    try:
        parent = Parent(sys.stdin.buffer, output)
    except (EOFError, pickle.UnpicklingError):  # the parent has exited
        return
    try:
        function, arguments = parent.get()
        gc.freeze()  # exclude the imported modules from garbage collection, as in the command line
        parent.put("result", function(parent, *arguments))
    except Exception as error:
        plain_error = type(error)(str(error)) if isinstance(error, NSTError) else NSTError(reason(error))  # MXNet's own
        with contextlib.suppress(OSError):  # the parent may have exited
            parent.put("error", plain_error)


# -- a run ------------------------------------------------------------------------------------------------------------


def carry_out_apart(
    run: Run, observer: Observer | None = None, folder: str | Path | None = None, halt: Halt = never
) -> Result:
    """Call `loop.carry_out` in a subprocess.

    Raises its errors, and NSTError if the process was killed. The `observer` is notified of each epoch, but has no
    pictures before the end. The subprocess exits with this function. With a `folder` for its checkpoint it resumes from
    there.
    """
    state, observer = State(), Observers.of(observer)
    observer.begin(run)
    with Subprocess(_carry_out, run, folder) as process:
        for kind, value in iter(process.get, None):
            if kind == "result":
                break
            if kind == "note":
                observer.note(value)
                continue
            state.record.append(value)
            observer.state(state)
            if halt():
                process.stop()  # after the current epoch
    return value


def _carry_out(parent: Parent, run: Run, folder: str | Path | None) -> Result:
    run.check_memory()  # again: the parent uses memory, too
    if folder:
        return carry_out_kept(run, Reporter(parent), folder, parent.is_stop_requested)
    return carry_out(run, Reporter(parent), halt=parent.is_stop_requested)


class Reporter(Observer):
    """Reports each epoch to the parent process."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def note(self, line: str) -> None:
        self._parent.put("note", line)

    def state(self, state: State) -> None:
        self._parent.put("epoch", state.record[-1])
