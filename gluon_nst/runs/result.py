"""Result: the pictures of a run, how they came about, and what it took."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from gluon_nst.errors import InputError, NSTError, OutOfMemory
from gluon_nst.losses.records import FINISHED, Epoch
from gluon_nst.machine.files import reading, written_whole
from gluon_nst.pictures.encoding import Encoding, write_image
from gluon_nst.recipes import Recipe
from gluon_nst.runs import figures
from gluon_nst.runs.provenance import Provenance, as_text, key
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

LOSSES = ("stage", "epoch", "content", "style", "tv", "total", "lr", "seconds")
"""The columns of a file of losses."""


def check_replaceable(picture: Path, with_losses: bool = True) -> None:
    """Raise InputError if the file `picture`, or the .csv beside it, exists and was not written by gluon-nst.

    For names that the program chose: a file that the user named as an output may be replaced.
    """
    losses = picture.with_suffix(".csv")
    marks = {picture: b"gluon-nst", losses: ",".join(LOSSES).encode()}  # of a picture, in a text before its pixels
    for path in (picture, losses) if with_losses else (picture,):
        if os.path.lexists(path):
            with reading(path, "a file of gluon-nst's"), open(path, "rb") as file:
                if marks[path] not in file.read(2**16):
                    raise InputError(f"{path}: exists, and was not made by gluon-nst; move it, or name another folder")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives, however it ended: the composite, how it came about, and what it took."""

    images: tuple[Image.Image, ...]
    """The composite of every stage of which an epoch was done; a stage whose loss diverged has none."""
    losses: tuple[Epoch, ...]
    """The record of every epoch, all stages in turn."""
    recipe: Recipe
    seconds: float
    status: str
    """That of the State: `complete`, `settled`, `diverged`, `out of memory` or `failed`; or `interrupted`."""
    note: str
    """Why it ended, where it could not go on."""
    provenance: Provenance
    """How the picture was made: recipe, inputs, weights, versions, seed, sizes."""
    encoding: Encoding = Encoding()
    """How the picture is written."""
    deep: np.ndarray | None = None
    """The pixels of the last picture in 16 bits, where the run was to have them: uint16, h × w × 3, or × 4 with
    transparency."""

    @classmethod
    def of(cls, run: Run, state: State) -> Result:
        """What `run` has come to in `state`. Raises NSTError where there is no picture yet."""
        if not state.record:
            raise NSTError("the run has not come to a picture yet")
        images, status, made = list(state.images), state.status, run.provenance
        status = "interrupted" if status == "running" else status
        if state.made is not None and key(state.made) != key(made):
            raise InputError("state: of another job than the run")
        if state.before:
            made = {**made, "before": state.before}
        last = state.record[-1]
        if state.optimiser and last.stage == state.stage:  # an epoch of it is done
            with contextlib.suppress(OutOfMemory):
                images.append(state.picture(run))
        if not images:
            raise NSTError(state.note or "there is no memory for a picture of the run")
        if status not in FINISHED:
            made = {**made, "status": status, "interrupted": {"stage": last.stage, "epochs": last.epoch + 1}}
        deep = state.deep(run) if run.encoding.bits == 16 else None
        record, recipe = tuple(state.record), run.recipe
        return cls(tuple(images), record, recipe, state.seconds, status, state.note, made, run.encoding, deep)

    @property
    def image(self) -> Image.Image:
        """The composite image, a PIL image."""
        return self.images[-1]

    @property
    def loss(self) -> float:
        """The total loss: the lowest, where the best composite is kept or the optimiser goes by it, else the last
        recorded."""
        stage = len(self.images)
        since = max([0, *self.recipe.changed_in(stage)])  # before that the weights were others
        last = [each.losses.total for each in self.losses if each.stage == stage and each.epoch >= since]
        lowest = self.recipe.keep == "best" or (self.recipe.optimizer == "lbfgs" and self.recipe.keep == "last")
        return min(last) if lowest else last[-1]

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.status in FINISHED

    def save(self, path: str | Path, stage: int | None = None) -> None:
        """Write the composite (of `stage`, counted from 1; by default the last one) with its provenance in it."""
        number = len(self.images) if stage is None else stage
        if number not in range(1, len(self.images) + 1):
            raise InputError(f"stage {number}: there are pictures of the stages 1 to {len(self.images)}")
        deep = self.deep if number == len(self.images) else None
        picture, made = self.images[number - 1] if deep is None else deep, {**self.provenance, "stage": number}
        if deep is None and self.encoding.bits == 16:  # of the stages before there are 8
            others = {name: value for name, value in made.pop("file").items() if name != "bits"}
            made.update({"file": others} if others else {})
        write_image(picture, path, as_text(made), self.encoding, sync=True)

    def save_losses(self, path: str | Path) -> None:
        """Write the record as CSV, one row an epoch."""
        with written_whole(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(LOSSES)
            for stage, epoch, losses, lr, seconds in self.losses:
                rows.writerow([stage, epoch, losses.content, losses.style, losses.tv, losses.total, lr, seconds])

    def plot(self) -> Figure:
        """The losses over the epochs, together and layer by layer, as a matplotlib Figure."""
        return figures.plot_losses(self.losses, self.recipe)

    def save_plot(self, path: str | Path) -> None:
        """Write `plot()` as PNG, SVG or PDF, by the ending of `path`."""
        figures.save(self.plot(), path, as_text(self.provenance))

    def _repr_png_(self) -> bytes:
        """What a notebook shows of it: its picture."""
        file = io.BytesIO()
        self.image.save(file, format="PNG")
        return file.getvalue()
