"""Server-sent events: the notifier of changes, and the JSON of a run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from gluon_nst.lab.web.models import RESUMABLE, WAITING, WORKING, LabRun
from gluon_nst.lab.web.scheduler import Forecast

_INTERVAL = 0.4
"""Minimum seconds between two notifications."""
_ROUNDING = ((20.0, 2.0), (float("inf"), 5.0))
"""(Maximum seconds, step): estimates are rounded to the step, because a number that changes all the time is hard to
read."""


class ChangeNotifier:
    """Wakes waiting event streams after a change, at most once in each interval.

    `version` counts the notifications. Create it in the event loop, where `run` has to be a task.
    """

    def __init__(self) -> None:
        self.version = 0
        self._changed, self._event = False, asyncio.Event()

    def notify(self) -> None:
        """Record that something has changed."""
        self._changed = True

    async def run(self) -> None:
        """Wake the waiting streams after changes, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            if self._changed:
                self._changed = False
                self.version += 1
                self._event.set()
                self._event = asyncio.Event()

    async def wait(self, version: int, seconds: float) -> None:
        """Wait until the version is newer than `version`, for at most `seconds`."""
        if self.version == version:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._event.wait(), seconds)


def run_as_json(run: LabRun, forecasts: dict[str, Forecast]) -> dict[str, Any]:
    """Describe a run for the page; `forecasts` are those of `Scheduler.forecasts`."""
    forecast = forecasts.get(run.id, Forecast(0, 0.0, 0.0))
    return {
        "id": run.id,
        "asked": run.asked,
        "labels": run.labels,
        "since": run.since,
        "status": run.status,
        "note": run.note,
        "epochs": run.epochs,
        "done": run.done,
        "shown": run.shown,
        "share": round(run.share, 3),
        "seconds": run.seconds,
        "weights": dict(run.weights),
        "steered": run.steered,
        "turns": run.turns,
        "pictured": run.pictured and run.status not in (WAITING, WORKING),
        "film": run.film,
        "goes_on": run.status in RESUMABLE,
        "place": forecast.position,
        "starts": _rounded(forecast.starts_in),
        "left": _rounded(forecast.remaining),
    }


def _rounded(seconds: float) -> float:
    step = next(step for maximum, step in _ROUNDING if seconds <= maximum)
    return round(seconds / step) * step
