"""Observer: the one protocol by which a run is followed, whether to show it, to film it or to keep pictures of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, Protocol

from gluon_nst.errors import NSTError

if TYPE_CHECKING:
    from gluon_nst.result import Result
    from gluon_nst.run import Run
    from gluon_nst.state import State


class Download(Protocol):
    """What a download is reported to."""

    def update(self, size: int) -> object:
        """So many bytes more are here."""

    def close(self) -> object:
        """It has ended."""


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
        """An epoch is done: the last one in the state's record."""

    def end(self, result: Result) -> None:
        """The run has ended, however it did, and its result is kept."""


class Observers(Observer):
    """Several observers as one. One that fails, for want of space on a disk say, is told of and let go: the run goes on."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = list(observers)

    def note(self, line: str) -> None:
        for observer in self._observers:
            observer.note(line)

    def download(self, description: str, size: int | None) -> Download | None:
        downloads = (observer.download(description, size) for observer in self._observers)
        return next((download for download in downloads if download is not None), None)

    def begin(self, run: Run) -> None:
        for observer in self._observers:
            observer.begin(run)

    def state(self, state: State) -> None:
        for observer in list(self._observers):
            try:
                observer.state(state)
            except NSTError as error:
                self._observers.remove(observer)
                self.note(f"{error}; the run goes on without")

    def end(self, result: Result) -> None:
        for observer in self._observers:
            observer.end(result)
