"""Result: the pictures of a run, its losses, its status and its provenance."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import Any, overload

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gluon_nst.errors import InputError, NSTError, OutOfMemory
from gluon_nst.losses.records import COLUMNS, FINISHED, History, Status
from gluon_nst.machine.files import reading, written_whole
from gluon_nst.pictures.encoding import Encoding, write_image
from gluon_nst.recipes import Recipe
from gluon_nst.runs import figures
from gluon_nst.runs.provenance import Provenance, as_text, key
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State, loss_of


def check_replaceable(picture: Path, with_losses: bool = True) -> None:
    """Raise InputError if a file of the user would be replaced.

    That is the case if the file `picture`, or the .csv beside it, exists and was not written by gluon-nst. It is for
    names that the program chose: a file that the user named as an output may be replaced.
    """
    losses = picture.with_suffix(".csv")
    marks = {
        picture: b"gluon-nst",
        losses: ",".join(COLUMNS).encode(),
    }  # in a picture it is in a text before the pixels
    for path in (picture, losses) if with_losses else (picture,):
        if os.path.lexists(path):
            with reading(path, "a file of gluon-nst's"), open(path, "rb") as file:
                if marks[path] not in file.read(2**16):
                    raise InputError(f"{path}: exists, and was not made by gluon-nst; move it, or name another folder")


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """The result of a run with any status: the composites, the losses, the provenance."""

    images: tuple[Image.Image, ...]
    """The composite of each stage with a finished epoch; a stage whose loss diverged has none."""
    losses: History
    """The records of all epochs, stage after stage; `losses.to_pandas()` is a table of them."""
    recipe: Recipe
    seconds: float
    status: Status
    """The status of the State: `complete`, `settled`, `diverged`, `out of memory` or `failed`; or `interrupted`."""
    note: str
    """The reason if the run could not continue."""
    provenance: Provenance
    """How the picture was made: recipe, inputs, weights, versions, seed, sizes."""
    encoding: Encoding = Encoding()
    """The encoding of the picture's file."""
    deep: np.ndarray | None = None
    """The last picture in 16 bits, if the run's encoding has 16: uint16, h × w × 3, or × 4 with alpha."""

    @classmethod
    def of(cls, run: Run, state: State) -> Result:
        """Return the Result of a run in its current `state`.

        Raises NSTError if there is no picture yet.
        """
        if not state.record:
            raise NSTError("the run has no picture yet")
        images, status, provenance = list(state.images), state.status, run.provenance
        status = Status.INTERRUPTED if status == Status.RUNNING else status
        if state.made is not None and key(state.made) != key(provenance):
            raise InputError("state: belongs to another job")
        if state.before:
            provenance = {**provenance, "before": state.before}
        last = state.record[-1]
        if state.optimiser and last.stage == state.stage:  # it has a finished epoch
            with contextlib.suppress(OutOfMemory):
                images.append(state.picture(run))
        if not images:
            raise NSTError(state.note or "not enough memory for a picture of the run")
        if status not in FINISHED:
            interrupted = {"stage": last.stage, "epochs": last.epoch + 1}
            provenance = {**provenance, "status": status, "interrupted": interrupted}
        deep = state.deep(run) if run.encoding.bits == 16 else None
        record, recipe = state.losses, run.recipe
        return cls(tuple(images), record, recipe, state.seconds, status, state.note, provenance, run.encoding, deep)

    @property
    def image(self) -> Image.Image:
        """The composite image, a PIL image."""
        return self.images[-1]

    @property
    def array(self) -> np.ndarray:
        """The composite image, uint8, height × width × 3, or × 4 with alpha."""
        return np.asarray(self.image)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.image, dtype)

    @property
    def loss(self) -> float:
        """The total loss of the picture.

        It is the lowest one if the best composite is kept or the optimiser is L-BFGS, otherwise the last one.
        """
        return loss_of(self.losses, self.recipe, len(self.images))

    @property
    def complete(self) -> bool:
        """Whether the run finished."""
        return self.status in FINISHED

    def save(self, path: str | Path, stage: int | None = None) -> None:
        """Write the composite with its provenance to a file.

        `stage` is counted from 1; by default it is the last one. The format is that of the ending of `path`. Raises
        InputError for a stage without a picture or another ending, and NSTError if the file can't be written.
        """
        number = len(self.images) if stage is None else stage
        if number not in range(1, len(self.images) + 1):
            raise InputError(f"stage {number}: there are pictures of the stages 1 to {len(self.images)}")
        deep = self.deep if number == len(self.images) else None
        picture = self.images[number - 1] if deep is None else deep
        record = {**self.provenance, "stage": number, "loss": loss_of(self.losses, self.recipe, number)}
        if deep is None and self.encoding.bits == 16:  # pictures of earlier stages have 8
            other_settings = {name: value for name, value in record.pop("file").items() if name != "bits"}
            record.update({"file": other_settings} if other_settings else {})
        write_image(picture, path, as_text(record), self.encoding, sync=True)

    def save_losses(self, path: str | Path) -> None:
        """Write the record as CSV, one row an epoch."""
        with written_whole(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(self.losses.rows())

    @overload
    def plot(self, ax: None = None) -> Figure: ...

    @overload
    def plot(self, ax: Axes) -> Axes: ...

    def plot(self, ax: Axes | None = None) -> Figure | Axes:
        """Plot the losses over the epochs, in total and by layer.

        Return a matplotlib Figure. With the Axes `ax`, plot those in total into it and return it.
        """
        if ax is None:
            return figures.plot_losses(self.losses, self.recipe)
        figures.plot_totals(ax, self.losses, self.recipe)
        return ax

    def save_plot(self, path: str | Path) -> None:
        """Write `plot()` as PNG, SVG or PDF, by the ending of `path`."""
        figures.save(self.plot(), path, as_text(self.provenance))

    def __repr__(self) -> str:
        size = f"{self.image.height} × {self.image.width} pixels"
        return f"<Result: {self.status}, {size}, total loss {self.loss:.4g}, {self.seconds:.0f} s>"

    def _repr_png_(self) -> bytes:
        """Return the picture as PNG, for notebooks."""
        file = io.BytesIO()
        self.image.save(file, format="PNG")
        return file.getvalue()
