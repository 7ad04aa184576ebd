"""Passwords of the lab, and the rate limit of wrong attempts."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any, Awaitable, Callable

from gluon_nst.errors import InputError

_FREE_ATTEMPTS, _FIRST_DELAY, _MAX_DELAY = 5, 2.0, 60.0
"""Wrong attempts of a session without a delay; seconds of the next delay, which each further one doubles; maximum."""
_FREE_ATTEMPTS_OF_ADDRESS, _INTERVAL = 30, 2.0
"""Wrong attempts of all sessions of an address without a delay; seconds between two of its attempts after that."""
_MAX_QUEUE = 30
"""Maximum number of queued attempts of an address."""
_POLL_INTERVAL = 0.1
"""Seconds between two checks of whether a session is next."""
_EXPIRY = 900.0
"""Seconds after which wrong attempts are forgotten."""


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # which a command line may contain


class TooManyAttempts(InputError):
    """Too many wrong attempts: the password is not checked for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong tries; wait {seconds:.0f} seconds, then try again")
        self.seconds = seconds


class Authenticator:
    """Checks a `password`; None accepts everybody.

    Attempts at a password that is not `guessable`, because it is long and random, are not limited. `now` is the clock,
    also of `sleep`.
    """

    # Wrong attempts delay the same session, not a classmate behind the same router. An attacker who fetches a new page
    # for each attempt has a new session each time. So after more wrong attempts than a class makes by mistyping, the
    # attempts of an address are queued, one every two seconds. The next one is that of the session with the most
    # seconds since it fetched its page or since its last attempt, divided by its attempts: a classmate who opened the
    # page some seconds ago comes before any number of new sessions. An attacker who collects old pages can still delay
    # others.

    def __init__(
        self,
        password: str | None,
        guessable: bool = True,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._password, self._guessable, self._now, self._sleep = password, guessable, now, sleep
        # By address and session, and by address alone (None): number of wrong attempts, and the time of the last one.
        self._wrong: dict[tuple[str, str | None], tuple[int, float]] = {}
        self._next_times: dict[str, float] = {}  # when the next attempt of an address is checked
        # Queued sessions by address, each with its key; the smallest key is next.
        self._queues: dict[str, dict[str, tuple[float, float]]] = {}

    @property
    def requires_password(self) -> bool:
        """Whether a password is needed."""
        return self._password is not None

    async def check(self, password: str, address: str, session: str, known: bool = False, age: float = 0.0) -> bool:
        """Return whether a password is right.

        Its `session` of an `address` fetched the page `age` seconds ago. A `known` session was signed in already, and
        is not limited. Raises TooManyAttempts.
        """
        if self._password is None:
            return True
        right = hmac.compare_digest(_bytes(password), _bytes(self._password))
        if known or not self._guessable:
            return right
        priority = self._priority(address, session, age)
        await self._wait_in_queue(address, session, priority)
        if right:
            self._wrong.pop((address, session), None)
        else:
            self._count_wrong(address, session)
        return right

    def _priority(self, address: str, session: str, age: float) -> float:
        """Return the session's position in the queue: seconds since its last attempt.

        They are divided by the number of its attempts.

        Raises TooManyAttempts if the session has to wait.
        """
        now = self._now()
        self._wrong = {key: attempts for key, attempts in self._wrong.items() if now - attempts[1] <= _EXPIRY}
        wrong, last = self._wrong.get((address, session), (0, now - age))
        delay = min(_FIRST_DELAY * 2 ** min(wrong - _FREE_ATTEMPTS - 1, 10), _MAX_DELAY)
        wait = last + delay - now if wrong > _FREE_ATTEMPTS else 0
        if session in self._queues.get(address, ()):  # one attempt at a time
            wait = _INTERVAL
        if wait > 0:
            raise TooManyAttempts(max(wait, 1))
        return (now - last) / (1 + wrong)

    async def _wait_in_queue(self, address: str, session: str, priority: float) -> None:
        """Wait until the session is next. Raises TooManyAttempts if the queue is too long."""
        if self._wrong.get((address, None), (0, 0.0))[0] < _FREE_ATTEMPTS_OF_ADDRESS:
            return
        queued_at = self._now()
        queue = self._queues.setdefault(address, {})
        queue[session] = own_key = (-priority, queued_at)
        try:
            while True:
                before = sum(key < own_key for key in queue.values())
                wait = self._next_times.get(address, 0.0) - self._now()
                if before >= _MAX_QUEUE or self._now() - queued_at > _MAX_DELAY:
                    raise TooManyAttempts(5 * _INTERVAL)  # by then it has priority over new sessions
                if not before and wait <= 0:
                    break
                await self._sleep(max(wait, _POLL_INTERVAL))
            self._next_times[address] = self._now() + _INTERVAL
        finally:
            del queue[session]
            if not queue:
                del self._queues[address]

    def _count_wrong(self, address: str, session: str) -> None:
        for key in ((address, session), (address, None)):
            self._wrong[key] = (self._wrong.get(key, (0, 0.0))[0] + 1, self._now())
