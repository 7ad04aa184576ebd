"""Estimates of a run's duration from measured speeds, corrected by recent runs."""

from __future__ import annotations

import statistics
from collections import deque

from gluon_nst.engine.windows import whole, work
from gluon_nst.recipes import Recipe

_STARTUP, _STAGE_STARTUP = 5.0, 0.7
"""Seconds that a process takes in addition to its epochs, until that is measured; seconds before the first epoch of a
stage."""
_DEFAULT_RATE = 1e-8
"""Seconds of a unit of work until they are measured."""
_HISTORY = 7
"""Number of runs in the median; older ones had a different load."""
_MAX_CORRECTION = 4.0
"""Largest correction, up or down; also the longest startup, as a multiple of _STARTUP."""


class DurationEstimator:
    """Estimates the duration of runs.

    `estimate` returns uncorrected seconds. The correction is applied when an estimate is shown, so that waiting runs
    use the latest one, and so that each run contributes the ratio of its duration to the uncorrected estimate once.

    `correction` is the median ratio of recent runs; `startup` the seconds that a process takes in addition to its
    epochs.
    """

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._reset()

    def _reset(self) -> None:
        # The initial values count as one run, so that a single outlier does not determine the median.
        self._ratios: deque[float] = deque([1.0], maxlen=_HISTORY)
        self._startups: deque[float] = deque([_STARTUP], maxlen=_HISTORY)
        self._take_medians()

    def _take_medians(self) -> None:
        self.startup = min(statistics.median(self._startups), _MAX_CORRECTION * _STARTUP)
        self.correction = min(max(statistics.median(self._ratios), 1 / _MAX_CORRECTION), _MAX_CORRECTION)

    def set_rates(self, rates: dict[str, float]) -> None:
        """Set the seconds of a unit of work by recipe, and reset the correction.

        A unit of work is that of `windows.work`.
        """
        self._rates = rates
        self._reset()

    def estimate(self, name: str, recipe: Recipe) -> float:
        """Return the uncorrected seconds of the epochs of a fitted recipe.

        `name` is the recipe's.
        """
        rate = self._rates.get(name, _DEFAULT_RATE)
        return sum(
            stage.epochs * rate * work(whole(recipe.last_layer, stage.shape)) + _STAGE_STARTUP
            for stage in recipe.stages
        )

    def corrected(self, uncorrected: float) -> float:
        """Return the seconds of a run, including its startup.

        `uncorrected` is the estimate for its epochs.
        """
        return self.startup + uncorrected * self.correction

    def add_run(self, uncorrected: float, computed: float, total: float) -> None:
        """Update the correction by a finished run.

        The arguments are its uncorrected estimate, the seconds of its epochs, and those of its process.
        """
        if uncorrected > 0:
            self._ratios.append(computed / uncorrected)
        self._startups.append(max(total - computed, 0.0))
        self._take_medians()
