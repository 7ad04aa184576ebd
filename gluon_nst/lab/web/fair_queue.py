"""Fair queue of runs: frequent requests do not delay those of other students.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Each run gets a start tag in virtual time, in seconds of
computing, and the run with the smallest tag is served first. A student's second run starts where the first one
finishes; a new student's first run starts at the tag that is being served. So each student gets the same share,
however many runs they request.
"""

from __future__ import annotations

import heapq
from typing import Callable, NamedTuple, Sequence


class Entry(NamedTuple):
    """A run in the queue; the smallest entry is served first."""

    start_tag: float
    """In seconds of computing."""
    since: float
    """When it was queued: it orders equal start tags."""
    run: str
    student: str
    cost: float
    """Estimated seconds of computing."""


class FairQueue:
    """The waiting runs, and the virtual time at which each student's next run starts."""

    def __init__(self) -> None:
        self._waiting: dict[str, Entry] = {}
        self._served: dict[str, Entry] = {}
        self._finish_tags: dict[str, float] = {}  # by student
        self._virtual_time = 0.0

    def add(self, run: str, student: str, cost: float, since: float) -> None:
        """Add a run."""
        start_tag = max(self._virtual_time, self._finish_tags.get(student, 0.0))
        self._waiting[run] = Entry(start_tag, since, run, student, cost)
        self._finish_tags[student] = start_tag + cost

    def remove(self, run: str) -> None:
        """Remove a waiting run; the student's later runs move up."""
        removed = self._waiting.pop(run, None)
        if removed:
            self._refund(removed, 0)
            for other in list(self._waiting.values()):
                if other.student == removed.student and other.start_tag > removed.start_tag:
                    start_tag = max(self._virtual_time, other.start_tag - removed.cost)
                    self._waiting[other.run] = other._replace(start_tag=start_tag)

    def finish(self, run: str, seconds: float) -> None:
        """Charge a served run the seconds that it took instead of its estimated cost."""
        self._refund(self._served.pop(run), seconds)

    def _refund(self, entry: Entry, seconds: float) -> None:
        finish_tag = self._finish_tags.get(entry.student, 0.0) - (entry.cost - seconds)
        self._finish_tags[entry.student] = max(self._virtual_time, finish_tag)

    def pop(self) -> str | None:
        """Remove and return the next run; None if the queue is empty."""
        if not self._waiting:
            return None
        first = min(self._waiting.values())
        self._virtual_time = max(self._virtual_time, first.start_tag)
        self._served[first.run] = self._waiting.pop(first.run)
        return first.run

    def forecast(
        self, busy: Sequence[float], workers: int, cost: Callable[[str], float]
    ) -> dict[str, tuple[int, float]]:
        """Return {run: (position from 1, seconds until it is served)}.

        `busy` are the remaining seconds of the workers that compute now, out of `workers`; `cost` returns the current
        estimate of a run.
        """
        free_at = sorted([*busy, *[0.0] * max(0, workers - len(busy))])[: max(workers, 1)]
        heapq.heapify(free_at)
        forecast = {}
        for position, entry in enumerate(sorted(self._waiting.values()), start=1):
            start = heapq.heappop(free_at)
            heapq.heappush(free_at, start + cost(entry.run))
            forecast[entry.run] = (position, start)
        return forecast

    def __len__(self) -> int:
        return len(self._waiting)
