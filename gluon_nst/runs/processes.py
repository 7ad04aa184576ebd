"""Other processes of the program's own: a function that one carries out, and a run in one.

MXNet keeps what it has made for every size that it has computed, and never lets it go: 33 MB for a new size at 128
pixels, 80 to 100 MB at 300. A process that ends gives it all back.
"""

from __future__ import annotations

import contextlib
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


class Other:
    """Another process, which calls `function(link, *arguments)`, of which all can be pickled; the `link` is its Link.

    It has `threads`, where that is given, and ends with the block that this is the context manager of, and with this
    process.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, threads: int | None = None) -> None:
        environment = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
        command, self._stopped = other_python("gluon_nst.runs.processes", "answer"), False
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=environment
        )
        self.put((function, arguments))

    def put(self, value: Any) -> None:
        """Send it something, which its link gives. Raises NSTError where it has ended."""
        try:
            _dump(value, self._process.stdin)
        except OSError:
            raise self._ended() from None

    def get(self) -> tuple[str, Any]:
        """(kind, value) of what it says next: `result` with what the function gave, or a kind of its own.

        Raises the function's NSTError, and NSTError where the process has ended.
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
        ended = f"by signal {-status}; was there memory enough?" if status < 0 else f"with status {status}"
        return NSTError(f"the process of this run ended {ended}")

    def stop(self) -> None:
        """Ask it to stop, as its link says then."""
        if not self._stopped:
            self._stopped = True
            self._process.terminate()

    def __enter__(self) -> Other:
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


class Link:
    """The other process's end: what it is sent, what it says, and whether it is asked to stop. It ends where nobody
    listens any more."""

    def __init__(self, received: IO[bytes], said: IO[bytes]) -> None:
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._received.put(pickle.load(received))  # by the main thread, in which MXNet is loaded so
        self._said, self._asked = said, threading.Event()
        # A worker, whose child this may be, lets none through while it begins.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        signal.signal(signal.SIGTERM, lambda number, frame: self._asked.set())
        threading.Thread(target=self._listen, args=(received,), daemon=True).start()

    def _listen(self, received: IO[bytes]) -> None:
        try:
            while True:
                self._received.put(pickle.load(received))
        except (EOFError, OSError, pickle.UnpicklingError):
            # Whoever wanted this is gone, killed perhaps: nothing that is still made here would be taken.
            os.kill(os.getpid(), signal.SIGKILL)

    def get(self) -> Any:
        """What was sent next; it waits for it."""
        return self._received.get()

    def put(self, kind: str, value: Any) -> None:
        """Say something."""
        _dump((kind, value), self._said)

    def is_asked(self) -> bool:
        """Whether it is asked to stop."""
        return self._asked.is_set()


def answer() -> None:
    """In the other process: call the function that comes in on standard input, and put what it says, and its result, on
    standard output."""
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is not to come between them
    try:
        link = Link(sys.stdin.buffer, said)
    except (EOFError, pickle.UnpicklingError):  # whoever asked was gone before all was said
        return
    try:
        function, arguments = link.get()
        link.put("result", function(link, *arguments))
    except Exception as error:
        told = type(error)(str(error)) if isinstance(error, NSTError) else NSTError(reason(error))  # MXNet's own
        with contextlib.suppress(OSError):  # nobody may be there any more, nor what the function was at
            link.put("error", told)


# -- a run ------------------------------------------------------------------------------------------------------------


def carry_out_apart(
    run: Run, observer: Observer | None = None, folder: str | Path | None = None, halt: Halt = never
) -> Result:
    """`loop.carry_out` in another process. Errors are as there, and NSTError where the process was ended.

    The `observer` hears of its epochs; the pictures along the way stay in the other process. Whatever ends this
    function ends that process. What it was at is kept where there is a `folder` for its checkpoint, from which it goes
    on.
    """
    state, observer = State(), Observers.of(observer)
    observer.begin(run)
    with Other(_carry_out, run, folder) as other:
        for kind, value in iter(other.get, None):
            if kind == "result":
                break
            if kind == "note":
                observer.note(value)
                continue
            state.record.append(value)
            observer.state(state)
            if halt():
                other.stop()  # it ends when its epoch is done
    return value


def _carry_out(link: Link, run: Run, folder: str | Path | None) -> Result:
    run.check_memory()  # anew: what the other process has this one can't have
    if folder:
        return carry_out_kept(run, Reporter(link), folder, link.is_asked)
    return carry_out(run, Reporter(link), halt=link.is_asked)


class Reporter(Observer):
    """Lets the process that asked know of each epoch."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def note(self, line: str) -> None:
        self._link.put("note", line)

    def state(self, state: State) -> None:
        self._link.put("epoch", state.record[-1])
