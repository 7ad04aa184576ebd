"""A run in a process of its own.

MXNet keeps what it has made for every size that it has computed, and never lets it go: 33 MB for a new size at 128 pixels, 80 to
100 MB at 300. A process that ends gives it all back.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from gluon_nst.checkpoint import carry_out_kept
from gluon_nst.errors import NSTError, reason
from gluon_nst.loop import Halt, carry_out, never
from gluon_nst.machine.system import other_python
from gluon_nst.observer import Observer, Observers
from gluon_nst.result import Result
from gluon_nst.run import Run
from gluon_nst.state import State


def carry_out_apart(
    run: Run, observer: Observer | None = None, folder: str | Path | None = None, halt: Halt = never
) -> Result:
    """`loop.carry_out` in another process. Errors are as there, and NSTError where the process was ended.

    The `observer` hears of its epochs; the pictures along the way stay in the other process. Whatever ends this function ends
    that process. What it was at is kept where there is a `folder` for its checkpoint, from which it goes on.
    """
    state, observer = State(), Observers.of(observer)
    observer.begin(run)
    halted = False
    command = other_python("gluon_nst.apart", "answer")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as other:
        assert other.stdin and other.stdout
        try:
            with other.stdin:
                pickle.dump((run, folder), other.stdin)
            while True:
                kind, value = pickle.load(other.stdout)
                if kind == "result":
                    return value
                if kind == "error":
                    raise value
                if kind == "note":
                    observer.note(value)
                    continue
                state.record.append(value)
                observer.state(state)
                if halt() and not halted:
                    halted = True
                    other.terminate()  # it ends when its epoch is done
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = other.wait()
            ended = f"by signal {-status}; was there memory enough?" if status < 0 else f"with status {status}"
            raise NSTError(f"the process of this run ended {ended}") from None
        finally:
            other.kill()


class _Reporter(Observer):
    """Puts each epoch's record on the way to the process that asked."""

    def __init__(self, put: Any) -> None:
        self._put = put

    def note(self, line: str) -> None:
        self._put("note", line)

    def state(self, state: State) -> None:
        self._put("epoch", state.record[-1])


def answer() -> None:
    """In the other process: take the run from standard input, and put its epochs and its result on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is not to come between them

    def put(kind: str, value: Any) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        run, folder = pickle.load(sys.stdin.buffer)
        run.check_memory()  # anew: what the other process has this one can't have
        reporter = _Reporter(put)
        if folder:
            put("result", carry_out_kept(run, reporter, folder, asked.is_set))
        else:
            put("result", carry_out(run, reporter, halt=asked.is_set))
    except NSTError as error:
        put("error", type(error)(str(error)))
    except Exception as error:  # MXNet's own
        put("error", NSTError(reason(error)))
