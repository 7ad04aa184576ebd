"""How long a run will take on this machine: by how long a unit of work takes, and by how long the runs before it took."""

from __future__ import annotations

from gluon_nst.recipes import Recipe
from gluon_nst.windows import whole, work

_START, _STAGE = 5.0, 0.7
"""Seconds until a process is at work, and for what each of its sizes takes before its first epoch."""
_UNKNOWN = 1e-8
"""Seconds of a unit of work until they are measured."""
_WEIGHT = 0.3
"""How much the last run counts beside those before it."""


def in_words(seconds: float) -> str:
    """A time in words.

    >>> in_words(40), in_words(200)
    ('40 seconds', '3 minutes')
    """
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


class Expectation:
    """`rates` are the seconds of a unit of work (`windows.work`) by the name of a recipe; until they are known guesses are made."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self._factor = 1.0

    def seconds(self, name: str, recipe: Recipe) -> float:
        """What a run of the recipe of that name, as it is fitted to its picture, takes, with its process."""
        rate = self.rates.get(name, _UNKNOWN)
        computing = sum(
            stage.epochs * rate * work(whole(recipe.last_layer, stage.shape)) + _STAGE for stage in recipe.stages
        )
        return _START + computing * self._factor

    def learn(self, expected: float, took: float) -> None:
        """A run has come to its end, and has computed for as many seconds as it `took`: other loads, other factors."""
        ratio = min(max(took / max(expected - _START, 1.0), 0.2), 5.0)
        self._factor *= 1 + _WEIGHT * (ratio - 1)
