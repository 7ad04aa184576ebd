"""The doors of the lab: passwords, and how slowly somebody may go on trying wrong ones."""

from __future__ import annotations

import hmac
import time
from typing import Callable

from gluon_nst.errors import InputError

_FREE, _FIRST, _LONGEST = 5, 2.0, 60.0
"""Wrong tries that cost nothing; seconds to wait after the next one, twice as many after each more, and at most."""
_FORGOTTEN = 900.0
"""Seconds after which an address's wrong tries are forgotten."""


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # which a command line may hold


class Slow(InputError):
    """Too many wrong tries from one address: nothing is even looked at for a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong tries; wait {seconds:.0f} seconds, then try again")
        self.seconds = seconds


class Door:
    """A door that opens to a `password`; with None it stands open. `now` is the clock."""

    def __init__(self, password: str | None, now: Callable[[], float] = time.monotonic) -> None:
        self._password, self._now = password, now
        self._wrong: dict[str, tuple[int, float]] = {}  # by address: how many wrong tries, and when was the last

    @property
    def stands_open(self) -> bool:
        """Whether nobody is asked for a password."""
        return self._password is None

    def opens(self, password: str, address: str) -> bool:
        """Whether somebody at an `address` has the password. Raises Slow where they have tried too often."""
        if self._password is None:
            return True
        now = self._now()
        wrong, last = self._wrong.get(address, (0, now))
        if now - last > _FORGOTTEN:
            wrong = 0
        if wrong > _FREE:
            wait = last + min(_FIRST * 2 ** min(wrong - _FREE - 1, 10), _LONGEST) - now
            if wait > 0:
                raise Slow(max(wait, 1))
        if hmac.compare_digest(_bytes(password), _bytes(self._password)):
            self._wrong.pop(address, None)
            return True
        self._wrong = {other: tried for other, tried in self._wrong.items() if now - tried[1] <= _FORGOTTEN}
        self._wrong[address] = (wrong + 1, now)
        return False
