"""How long a run takes here: the measured seconds of a unit of work, corrected by what the last runs took."""

from __future__ import annotations

import statistics
from collections import deque

from gluon_nst.engine.windows import whole, work
from gluon_nst.recipes import Recipe

_START, _STAGE = 5.0, 0.7
"""Seconds that a process needs beside its epochs, until that is measured, and each size before its first epoch."""
_UNKNOWN = 1e-8
"""Seconds of a unit of work until they are measured."""
_RUNS = 7
"""How many runs are remembered; older ones ran under a different load."""
_FURTHEST = 4.0
"""The largest correction, up or down; and the longest start of a process, in first guesses."""


def in_words(seconds: float) -> str:
    """A time in words.

    >>> in_words(40), in_words(200)
    ('40 seconds', '3 minutes')
    """
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


class Expectation:
    """Estimates of how long runs take.

    An estimate of `seconds` is never corrected itself: the correction is applied when an estimate is shown, so that
    runs which wait follow what was learned since, and that each run teaches the ratio of its duration to the measured
    one, once.

    `factor` is that correction, the median of the last runs; `start` the seconds that a process needs beside its
    epochs.
    """

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._forget()

    def _forget(self) -> None:
        # The first guess counts as one run, so that a single odd run does not decide alone.
        self._ratios: deque[float] = deque([1.0], maxlen=_RUNS)
        self._starts: deque[float] = deque([_START], maxlen=_RUNS)
        self._average()

    def _average(self) -> None:
        self.start = min(statistics.median(self._starts), _FURTHEST * _START)
        self.factor = min(max(statistics.median(self._ratios), 1 / _FURTHEST), _FURTHEST)

    def measured(self, rates: dict[str, float]) -> None:
        """Set the seconds of a unit of work (`windows.work`) by recipe name, and forget what was learned."""
        self._rates = rates
        self._forget()

    def seconds(self, name: str, recipe: Recipe) -> float:
        """The seconds that the epochs of a fitted recipe of that name take, uncorrected."""
        rate = self._rates.get(name, _UNKNOWN)
        return sum(
            stage.epochs * rate * work(whole(recipe.last_layer, stage.shape)) + _STAGE for stage in recipe.stages
        )

    def corrected(self, uncorrected: float) -> float:
        """What a run takes whose epochs are estimated at `uncorrected` seconds, with the start of its process."""
        return self.start + uncorrected * self.factor

    def learn(self, uncorrected: float, computed: float, took: float) -> None:
        """Learn from a run: the estimate of its epochs, the seconds they took, and those of its process."""
        if uncorrected > 0:
            self._ratios.append(computed / uncorrected)
        self._starts.append(max(took - computed, 0.0))
        self._average()
