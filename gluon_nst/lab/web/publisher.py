"""Publisher: an observer that writes the latest picture, curves and snapshots."""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

from PIL import Image

from gluon_nst.errors import NSTError, OutOfMemory
from gluon_nst.lab.web.store import CURVE, LATEST, SNAPSHOTS
from gluon_nst.machine.files import written_whole
from gluon_nst.pictures.encoding import write_image
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

_INTERVAL = 0.8
"""Minimum seconds between two pictures."""
_SNAPSHOTS, _CURVE_POINTS = 60, 500
"""Approximate maximum number of snapshots of a run; half the maximum number of points of a curve."""
_SNAPSHOT_SIDE = 480
_CURVES = ("content", "style", "tv", "total")


def interval(epochs: int, count: int) -> int:
    """Return the number of epochs between two of about `count` events."""
    return max(1, math.ceil(epochs / count))


class Publisher(Observer):
    """Writes the files that the page shows into the `folder` of a run.

    `shown` is the number of finished epochs of the latest picture. A full disk does not stop the run: `error` reports
    it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shown, self.error = 0, ""
        self._last_time = 0.0

    def begin(self, run: Run) -> None:
        self._run = run
        self.epochs = sum(stage.epochs for stage in run.recipe.stages)
        with contextlib.suppress(OSError):  # of a full disk, which `publish` reports
            (self._folder / SNAPSHOTS).mkdir(exist_ok=True)

    def finished_share(self, state: State) -> float:
        """Return the finished share of the work, from 0 to 1.

        Epochs count by their pixels.
        """
        stages, finished = self._run.recipe.stages, len(state.images)
        work = [math.prod(stage.shape) * stage.epochs for stage in stages]
        current = math.prod(stages[finished].shape) * state.epoch if state.optimiser else 0
        return (sum(work[:finished]) + current) / sum(work)

    def state(self, state: State) -> None:
        done = len(state.record)
        snapshot = (done - 1) % interval(self.epochs, _SNAPSHOTS) == 0
        if snapshot or time.monotonic() - self._last_time > _INTERVAL:
            self.publish(state, snapshot)

    def publish(self, state: State, snapshot: bool = True) -> None:
        """Write the current picture and curves, and the picture as a `snapshot`, too."""
        if not state.record:
            return
        try:
            picture = state.picture(self._run)
            write_image(picture, self._folder / LATEST)
            if snapshot:
                self._write_snapshot(picture, len(state.record))
            with written_whole(self._folder / CURVE, "w") as file:
                json.dump(self._curve(state), file)
            self.shown, self.error = len(state.record), ""
        except OutOfMemory as error:
            self.error = str(error)
        except (NSTError, OSError):
            self.error = "the lab's disk is full: some intermediate pictures are missing"
        self._last_time = time.monotonic()

    def _write_snapshot(self, picture: Image.Image, done: int) -> None:
        small = picture.copy()
        small.thumbnail((_SNAPSHOT_SIDE, _SNAPSHOT_SIDE), Image.Resampling.LANCZOS)
        write_image(small, self._folder / SNAPSHOTS / f"{done}.jpg")

    def _curve(self, state: State) -> dict[str, Any]:
        recipe, record = self._run.recipe, state.record
        step = interval(len(record), _CURVE_POINTS)
        points = [index for index in range(len(record)) if index % step == 0 or index == len(record) - 1]
        indices = {(epoch.stage, epoch.epoch): index for index, epoch in enumerate(record)}
        # The next epoch, at which weights may have changed just now.
        indices[len(state.images) + 1, state.epoch if state.optimiser else 0] = len(record)
        snapshots = sorted(int(path.stem) for path in (self._folder / SNAPSHOTS).glob("[0-9]*.jpg"))
        return {
            "epochs": self.epochs,
            "stages": [
                {"at": index, "size": recipe.stages[epoch.stage - 1].shape}
                for index, epoch in enumerate(record)
                if epoch.epoch == 0
            ],
            "changes": [
                {"at": indices[change.stage, change.epoch], "weights": change.weights}
                for change in recipe.changes
                if (change.stage, change.epoch) in indices
            ],
            "losses": [
                [index, *(_rounded(getattr(record[index].losses, name)) for name in _CURVES)] for index in points
            ],
            "moments": [done for done in snapshots if done <= len(record)],
        }


def _rounded(loss: float) -> float:
    return float(f"{loss:.5g}")
