"""The doors of the lab: passwords, and how slowly wrong ones can be tried."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any, Awaitable, Callable

from gluon_nst.errors import InputError

_FREE, _FIRST, _LONGEST = 5, 2.0, 60.0
"""Wrong tries of a session that cost nothing; the seconds to wait after the next one, doubled by each more; at most."""
_CLASS, _PACE = 30, 2.0
"""Wrong tries of all sessions of an address that cost nothing, and the seconds between two of its tries after that."""
_LINE = 30
"""Tries of an address that wait for their turn at most."""
_TICK = 0.1
"""Seconds between two looks at whether it is a session's turn."""
_FORGOTTEN = 900.0
"""Seconds after which wrong tries are forgotten."""


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # which a command line may hold


class Slow(InputError):
    """Too many wrong tries: the password is not looked at for a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong tries; wait {seconds:.0f} seconds, then try again")
        self.seconds = seconds


class Door:
    """A door that opens to a `password`; with None it stands open.

    A password that is not `guessable`, since it is long and random, is never slow. `now` is the clock, for `sleep` too.
    """

    # Wrong tries slow down their own session, and not a classmate behind the same router. Somebody who fetches a new
    # page for each try has a new session each time, so after as many wrong tries as a class mistypes, the tries of an
    # address are taken in turn, one every two seconds. The next one is that of the session with the most seconds since
    # it fetched its page, or tried last, divided by its tries: a classmate who has had the page for some seconds comes
    # before any number of sessions that try at once. Somebody who collects old pages still delays others.

    def __init__(
        self,
        password: str | None,
        guessable: bool = True,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._password, self._guessable, self._now, self._sleep = password, guessable, now, sleep
        # By address and session, and by address alone (None): how many wrong tries, and when the last one was.
        self._wrong: dict[tuple[str, str | None], tuple[int, float]] = {}
        self._turns: dict[str, float] = {}  # when the next try of an address has its turn
        # Who waits for a turn, by address and session; the least is next.
        self._lines: dict[str, dict[str, tuple[float, float]]] = {}

    @property
    def stands_open(self) -> bool:
        """Whether nobody is asked for a password."""
        return self._password is None

    async def opens(self, password: str, address: str, session: str, known: bool = False, age: float = 0.0) -> bool:
        """Whether it opens to a password from a `session` of an `address`, which fetched its page `age` seconds ago.

        A session that is `known` was in already, and is never slow. Raises Slow after too many wrong tries.
        """
        if self._password is None:
            return True
        right = hmac.compare_digest(_bytes(password), _bytes(self._password))
        if known or not self._guessable:
            return right
        patience = self._look(address, session, age)
        await self._turn(address, session, patience)
        if right:
            self._wrong.pop((address, session), None)
        else:
            self._count(address, session)
        return right

    def _look(self, address: str, session: str, age: float) -> float:
        """Seconds without a try divided by the session's tries, which order the line.

        Raises Slow where the session has to wait.
        """
        now = self._now()
        self._wrong = {key: tried for key, tried in self._wrong.items() if now - tried[1] <= _FORGOTTEN}
        wrong, last = self._wrong.get((address, session), (0, now - age))
        wait = last + min(_FIRST * 2 ** min(wrong - _FREE - 1, 10), _LONGEST) - now if wrong > _FREE else 0
        if session in self._lines.get(address, ()):  # one try at a time
            wait = _PACE
        if wait > 0:
            raise Slow(max(wait, 1))
        return (now - last) / (1 + wrong)

    async def _turn(self, address: str, session: str, patience: float) -> None:
        """Wait until it is the session's turn. Raises Slow where the line is too long."""
        if self._wrong.get((address, None), (0, 0.0))[0] < _CLASS:
            return
        came = self._now()
        line = self._lines.setdefault(address, {})
        line[session] = place = (-patience, came)
        try:
            while True:
                before = sum(each < place for each in line.values())
                wait = self._turns.get(address, 0.0) - self._now()
                if before >= _LINE or self._now() - came > _LONGEST:
                    raise Slow(5 * _PACE)  # by then it comes before those that are new
                if not before and wait <= 0:
                    break
                await self._sleep(max(wait, _TICK))
            self._turns[address] = self._now() + _PACE
        finally:
            del line[session]
            if not line:
                del self._lines[address]

    def _count(self, address: str, session: str) -> None:
        for key in ((address, session), (address, None)):
            self._wrong[key] = (self._wrong.get(key, (0, 0.0))[0] + 1, self._now())
