"""The fair line: whoever asks for much waits behind whoever asks for little. Plain arithmetic.

Start-time fair queueing (Goyal, Vin and Cheng 1996): each ticket gets a begin, which is that of its student's next
turn, and the least begin is served first. A student's second ticket begins where the first one ends, in seconds of
computing; a newcomer begins at what is being served now. So it counts who asks, not how often.
"""

from __future__ import annotations

import heapq
from typing import Callable, NamedTuple, Sequence


class Place(NamedTuple):
    """A ticket in the line; the least of them is served first."""

    begin: float
    """In seconds of computing."""
    since: float
    """When it came: of those that begin together the first."""
    ticket: str
    student: str
    cost: float
    """Seconds that it is expected to compute."""


class Line:
    """Those who wait, and how much every student has had."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._served: dict[str, Place] = {}
        self._next: dict[str, float] = {}  # where each student's next ticket begins
        self._now = 0.0

    def join(self, ticket: str, student: str, cost: float, since: float) -> None:
        """A ticket comes into the line."""
        begin = max(self._now, self._next.get(student, 0.0))
        self._places[ticket] = Place(begin, since, ticket, student, cost)
        self._next[student] = begin + cost

    def leave(self, ticket: str) -> None:
        """It is no longer wanted: its student's others move up."""
        left = self._places.pop(ticket, None)
        if left:
            self._refund(left, 0)
            for other in list(self._places.values()):
                if other.student == left.student and other.begin > left.begin:
                    begin = max(self._now, other.begin - left.cost)
                    self._places[other.ticket] = other._replace(begin=begin)

    def ended(self, ticket: str, seconds: float) -> None:
        """A ticket that was served has taken so many seconds, whatever it was expected to take when it joined."""
        self._refund(self._served.pop(ticket), seconds)

    def _refund(self, place: Place, seconds: float) -> None:
        self._next[place.student] = max(self._now, self._next.get(place.student, 0.0) - (place.cost - seconds))

    def serve(self) -> str | None:
        """Take the ticket out whose turn it is."""
        if not self._places:
            return None
        first = min(self._places.values())
        self._now = max(self._now, first.begin)
        self._served[first.ticket] = self._places.pop(first.ticket)
        return first.ticket

    def expected(
        self, busy: Sequence[float], workers: int, cost: Callable[[str], float]
    ) -> dict[str, tuple[int, float]]:
        """{ticket: (its place from 1, seconds until it is served)}.

        `busy` are the seconds that each of the `workers` still has to do; `cost` gives the present estimate of a
        ticket.
        """
        free = sorted([*busy, *[0.0] * max(0, workers - len(busy))])[: max(workers, 1)]
        heapq.heapify(free)
        found = {}
        for number, place in enumerate(sorted(self._places.values()), start=1):
            begins = heapq.heappop(free)
            heapq.heappush(free, begins + cost(place.ticket))
            found[place.ticket] = (number, begins)
        return found

    def __len__(self) -> int:
        return len(self._places)
