"""Stopping a run that is kept in a checkpoint: when its epoch is done where that is asked once, at once where it is
asked twice."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

from gluon_nst.machine.system import ENDING


class Stop:
    """While it is open a signal asks for the end of the run when its epoch is done, and the next one ends it at
    once."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._asked = False

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # in another thread there are no signals
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        with contextlib.suppress(OSError):  # not by Python's stream, which may be in the midst of a line
            os.write(2, b"\nstopping when this epoch is done, to keep it; once more stops at once\n")

    def is_asked(self) -> bool:
        """Whether the end is asked for."""
        return self._asked
