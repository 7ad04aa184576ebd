"""The doors of the lab: passwords, and how slowly wrong ones can be tried."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any, Awaitable, Callable

from gluon_nst.errors import InputError

_FREE, _FIRST, _LONGEST = 5, 2.0, 60.0
"""Wrong tries of a session that cost nothing; seconds to wait after the next one, twice as many after each more, and at most."""
_CLASS, _PACE = 30, 2.0
"""Wrong tries of all sessions of an address that cost nothing, and the seconds between two of its tries after that."""
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

    One that is not `guessable`, since it is long and random, is never slow. `now` is the clock, and `sleep` waits by it.
    """

    # A guesser slows down their own session, and no classmate behind the same router. A session is only a cookie, though: for
    # one who makes up a new one for each try, the tries of an address are looked at in turn, one every two seconds, after as
    # many as a class mistypes. A new page of the same address then waits for its turn, and is not refused before 60 seconds.

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
        self._waiting: set[tuple[str, str]] = set()

    @property
    def stands_open(self) -> bool:
        """Whether nobody is asked for a password."""
        return self._password is None

    async def opens(self, password: str, address: str, session: str, known: bool = False) -> bool:
        """Whether it opens to a password from a `session` of an `address`; who is `known` was in already, and is never slow.

        Raises Slow after too many wrong tries.
        """
        if self._password is None:
            return True
        right = hmac.compare_digest(_bytes(password), _bytes(self._password))
        if known or not self._guessable:
            return right
        self._look(address, session)
        await self._turn(address, session)
        if right:
            self._wrong.pop((address, session), None)
        else:
            self._count(address, session)
        return right

    def _look(self, address: str, session: str) -> None:
        """Raise Slow where the session has to wait."""
        now = self._now()
        self._wrong = {key: tried for key, tried in self._wrong.items() if now - tried[1] <= _FORGOTTEN}
        wrong, last = self._wrong.get((address, session), (0, now))
        wait = last + min(_FIRST * 2 ** min(wrong - _FREE - 1, 10), _LONGEST) - now if wrong > _FREE else 0
        if (address, session) in self._waiting:  # one try at a time
            wait = self._turns[address] - now
        if wait > 0:
            raise Slow(max(wait, 1))

    async def _turn(self, address: str, session: str) -> None:
        """Wait until it is the session's turn. Raises Slow where the line is too long."""
        if self._wrong.get((address, None), (0, 0.0))[0] < _CLASS:
            return
        now = self._now()
        turn = max(now, self._turns.get(address, 0.0))
        if turn - now > _LONGEST:
            raise Slow(turn - now)
        self._turns[address] = turn + _PACE
        self._waiting.add((address, session))
        try:
            await self._sleep(turn - now)
        finally:
            self._waiting.discard((address, session))

    def _count(self, address: str, session: str) -> None:
        for key in ((address, session), (address, None)):
            self._wrong[key] = (self._wrong.get(key, (0, 0.0))[0] + 1, self._now())
