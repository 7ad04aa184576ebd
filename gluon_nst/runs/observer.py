"""Observer: the base class of progress bars, films, snapshots and checkpoints."""

from __future__ import annotations

from typing import Iterable

from gluon_nst.errors import NSTError, reason
from gluon_nst.machine.progress import Download
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State


class Observer:
    """An observer that ignores all notifications.

    Subclasses override the methods that they need.
    """

    def note(self, line: str) -> None:
        """Called with a line for the user, about the weights or from another observer."""

    def download(self, description: str, size: int | None) -> Download | None:
        """Called when a download starts, with its size in bytes if known.

        Returns its progress bar, or None.
        """
        return None

    def begin(self, run: Run) -> None:
        """Called when a run starts."""

    def state(self, state: State) -> None:
        """Called after each epoch, which is the last one in the record of `state`."""

    def end(self, result: Result) -> None:
        """Called after the end of a run, when the caller has saved its result."""


_FAILURES = (NSTError, OSError, MemoryError)


class Observers(Observer):
    """Several observers as one.

    If one fails, for example because the disk is full, it is removed with a note, and the run continues.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = list(observers)
        self._active = list(self._all)

    @classmethod
    def of(cls, observer: Observer | None) -> Observers:
        """Return an Observers of one observer, or of none.

        Observers are returned unchanged.
        """
        if isinstance(observer, Observers):
            return observer
        return cls([observer] if observer else [])

    def note(self, line: str) -> None:
        for observer in self._all:
            observer.note(line)

    def download(self, description: str, size: int | None) -> Download | None:
        downloads = (observer.download(description, size) for observer in self._all)
        return next((download for download in downloads if download is not None), None)

    def begin(self, run: Run) -> None:
        self._active = list(self._all)
        for observer in self._all:
            observer.begin(run)

    def state(self, state: State) -> None:
        for observer in list(self._active):
            try:
                observer.state(state)
            except _FAILURES as error:
                self._active.remove(observer)
                self.note(f"{reason(error)}; the run continues without it")

    def end(self, result: Result) -> None:
        for observer in self._active:
            try:
                observer.end(result)
            except _FAILURES as error:
                self.note(reason(error))
