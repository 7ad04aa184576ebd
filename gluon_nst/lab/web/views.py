"""What the page is told of a run."""

from __future__ import annotations

from typing import Any

from gluon_nst.lab.web.models import GOES_ON, WAITING, WORKING, Ticket
from gluon_nst.lab.web.scheduler import Forecast

_STEPS = ((20.0, 2.0), (float("inf"), 5.0))
"""Seconds up to which an estimate is shown, and to which it is then rounded: one that always changes can't be read."""


def view(ticket: Ticket, forecasts: dict[str, Forecast]) -> dict[str, Any]:
    """A run as its student sees it; `forecasts` are those of Workshop.forecasts."""
    forecast = forecasts.get(ticket.id, Forecast(0, 0.0, 0.0))
    return {
        "id": ticket.id,
        "asked": ticket.asked,
        "labels": ticket.labels,
        "since": ticket.since,
        "status": ticket.status,
        "note": ticket.note,
        "epochs": ticket.epochs,
        "done": ticket.done,
        "shown": ticket.shown,
        "share": round(ticket.share, 3),
        "seconds": ticket.seconds,
        "weights": dict(ticket.weights),
        "steered": ticket.steered,
        "turns": ticket.turns,
        "pictured": ticket.pictured and ticket.status not in (WAITING, WORKING),
        "film": ticket.film,
        "goes_on": ticket.status in GOES_ON,
        "place": forecast.place,
        "starts": _rounded(forecast.starts),
        "left": _rounded(forecast.left),
    }


def _rounded(seconds: float) -> float:
    step = next(step for most, step in _STEPS if seconds <= most)
    return round(seconds / step) * step
