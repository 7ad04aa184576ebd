"""News: whoever shows something hears when there is something new, and not more often than is of use."""

from __future__ import annotations

import asyncio
import contextlib

_PULSE = 0.4
"""Seconds between two of them at least."""


class News:
    """Counts what is new. Made in the event loop, where `pulse` has to run."""

    def __init__(self) -> None:
        self.number = 0
        self._told, self._event = False, asyncio.Event()

    def tell(self) -> None:
        """Something is new."""
        self._told = True

    async def pulse(self) -> None:
        """Pass it on, for as long as this runs."""
        while True:
            await asyncio.sleep(_PULSE)
            if self._told:
                self._told = False
                self.number += 1
                self._event.set()
                self._event = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> None:
        """Wait until there is more than what has been `seen`, for so many seconds at most."""
        if self.number == seen:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._event.wait(), seconds)
