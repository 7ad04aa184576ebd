"""What the page sees of a run at work: its picture, its curve, the pictures along the way; an observer that writes them
into files."""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

from PIL import Image

from gluon_nst.errors import NSTError, OutOfMemory
from gluon_nst.lab.web.store import CURVE, LATEST, MOMENTS
from gluon_nst.machine.files import written_whole
from gluon_nst.pictures.encoding import write_image
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

_SECONDS = 0.8
"""Between two pictures, at least: a page that shows more of them shows nothing more."""
_MOMENTS, _POINTS = 60, 500
"""How many pictures along the way are kept, and how many points of a curve are told, at most about twice as many."""
_MOMENT_SIDE = 480


def every(epochs: int, most: int) -> int:
    """After how many epochs something happens that is to happen about so many times at `most`."""
    return max(1, math.ceil(epochs / most))


class Publisher(Observer):
    """Writes what the page sees into the `folder` of a run; `shown` is how many epochs were done then.

    A full disk ends that, and not the run: `missed` then says so.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shown, self.missed = 0, ""
        self._last = 0.0

    def begin(self, run: Run) -> None:
        self._run = run
        self.epochs = sum(stage.epochs for stage in run.recipe.stages)
        with contextlib.suppress(OSError):  # of a full disk: the pictures themselves will say so
            (self._folder / MOMENTS).mkdir(exist_ok=True)

    def share(self, state: State) -> float:
        """How much of the work is done, from 0 to 1, by pixels."""
        stages, ended = self._run.recipe.stages, len(state.images)
        work = [math.prod(stage.shape) * stage.epochs for stage in stages]
        at_work = math.prod(stages[ended].shape) * state.epoch if state.optimiser else 0
        return (sum(work[:ended]) + at_work) / sum(work)

    def state(self, state: State) -> None:
        done = len(state.record)
        moment = (done - 1) % every(self.epochs, _MOMENTS) == 0
        if moment or time.monotonic() - self._last > _SECONDS:
            self.publish(state, moment)

    def publish(self, state: State, moment: bool = True) -> None:
        """Write what there is now."""
        if not state.record:
            return
        try:
            picture = state.picture(self._run)
            write_image(picture, self._folder / LATEST)
            if moment:
                self._keep(picture, len(state.record))
            with written_whole(self._folder / CURVE, "w") as file:
                json.dump(self._curve(state), file)
            self.shown, self.missed = len(state.record), ""
        except OutOfMemory as error:
            self.missed = str(error)
        except (NSTError, OSError):
            self.missed = "the lab's disk is full: pictures along the way are missing"
        self._last = time.monotonic()

    def _keep(self, picture: Image.Image, done: int) -> None:
        small = picture.copy()
        small.thumbnail((_MOMENT_SIDE, _MOMENT_SIDE), Image.Resampling.LANCZOS)
        write_image(small, self._folder / MOMENTS / f"{done}.jpg")

    def _curve(self, state: State) -> dict[str, Any]:
        recipe, record = self._run.recipe, state.record
        step = every(len(record), _POINTS)
        told = [at for at in range(len(record)) if at % step == 0 or at == len(record) - 1]
        places = {(epoch.stage, epoch.epoch): at for at, epoch in enumerate(record)}
        # The next epoch, which may be one that was changed just now.
        places[len(state.images) + 1, state.epoch if state.optimiser else 0] = len(record)
        kept = sorted(int(path.stem) for path in (self._folder / MOMENTS).glob("[0-9]*.jpg"))
        return {
            "epochs": self.epochs,
            "stages": [
                {"at": at, "size": recipe.stages[epoch.stage - 1].shape}
                for at, epoch in enumerate(record)
                if epoch.epoch == 0
            ],
            "changes": [
                {"at": places[change.stage, change.epoch], "weights": change.weights}
                for change in recipe.changes
                if (change.stage, change.epoch) in places
            ],
            "losses": [
                [at, *(_short(getattr(record[at].losses, name)) for name in ("content", "style", "tv", "total"))]
                for at in told
            ],
            "moments": [done for done in kept if done <= len(record)],
        }


def _short(loss: float) -> float:
    return float(f"{loss:.5g}")
