"""Observer: the one protocol by which a run is followed, whether to show it, to film it or to keep pictures of it."""

from __future__ import annotations

from typing import Iterable

from gluon_nst.errors import NSTError, reason
from gluon_nst.machine.progress import Download
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State


class Observer:
    """Hears of a run, and does nothing about it: subclasses do, for what they are interested in."""

    def note(self, line: str) -> None:
        """A line for people: of the weights, or of another observer."""

    def download(self, description: str, size: int | None) -> Download | None:
        """A download begins, of so many bytes where that is known; gives what it is reported to."""
        return None

    def begin(self, run: Run) -> None:
        """A run begins."""

    def state(self, state: State) -> None:
        """An epoch is done, the last one of the state's record; `state` is what the run has come to."""

    def end(self, result: Result) -> None:
        """The run has ended with a result, and whoever asked for it has kept that."""


_FAILURES = (NSTError, OSError, MemoryError)


class Observers(Observer):
    """Several observers as one.

    One that fails, for want of space on a disk say, is told of and let go for this run, and the run goes on.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = list(observers)
        self._following = list(self._all)

    @classmethod
    def of(cls, observer: Observer | None) -> Observers:
        """One observer, or none, as several; several as they are."""
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
        self._following = list(self._all)
        for observer in self._all:
            observer.begin(run)

    def state(self, state: State) -> None:
        for observer in list(self._following):
            try:
                observer.state(state)
            except _FAILURES as error:
                self._following.remove(observer)
                self.note(f"{reason(error)}; the run goes on without")

    def end(self, result: Result) -> None:
        for observer in self._following:
            try:
                observer.end(result)
            except _FAILURES as error:
                self.note(reason(error))
