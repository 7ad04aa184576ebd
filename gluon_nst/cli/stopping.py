"""Stopping a run by signals: the first after the epoch, the second at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

from gluon_nst.machine.system import ENDING


class Stop:
    """A block in which signals stop a run.

    The first one requests a stop after the current epoch, and the second one interrupts at once.
    """

    def __init__(self) -> None:
        self._old_handlers: dict[int, Any] = {}
        self._requested = False

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # in another thread there are no signals
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._old_handlers[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: Any) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        with contextlib.suppress(OSError):  # not to Python's stream, which may be in the middle of a line
            os.write(2, b"\nstopping when this epoch is done, to keep it; once more stops at once\n")

    def is_requested(self) -> bool:
        """Whether a stop is requested."""
        return self._requested
