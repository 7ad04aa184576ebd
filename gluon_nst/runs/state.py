"""State: everything that changes during a run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol, Sequence

import numpy as np
from mxnet import MXNetError
from PIL import Image

from gluon_nst.engine.memory import Plan
from gluon_nst.errors import InputError, NSTError, OutOfMemory
from gluon_nst.losses.records import Epoch, History, Status
from gluon_nst.machine import is_out_of_memory, nd_mode
from gluon_nst.machine.trees import as_ndarray, as_numpy, on_device
from gluon_nst.optimisers import Moments, OptimiserState
from gluon_nst.pictures.pixels import from_unit
from gluon_nst.recipes import Recipe
from gluon_nst.runs.provenance import Provenance, key
from gluon_nst.typing import NDArray


class Developer(Protocol):
    """The part of a Run that makes pictures of composites."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""

    def develop(self, X: NDArray, number: int) -> tuple[NDArray, Image.Image]:
        """Return the composite of a stage, without padding, and its picture.

        Stages are numbered from 1.
        """

    def in_frame(self, X: NDArray, number: int) -> NDArray:
        """Return the composite of a stage, by number from 1, without padding."""

    def pixels(self, X: NDArray, bits: int = 8) -> np.ndarray:
        """Return the pixels of a composite `X` without padding."""


def loss_of(record: Sequence[Epoch], recipe: Recipe, stage: int) -> float:
    """Return the total loss of a stage's picture, from the epochs in `record`.

    It is the lowest one if the best composite is kept or the optimiser is L-BFGS, otherwise the last one.
    """
    epochs = [each for each in record if each.stage == stage]
    changes = [epoch for epoch in recipe.changed_in(stage) if epoch < len(epochs)]
    totals = [each.losses.total for each in epochs[max([0, *changes]) :]]  # losses with other weights don't compare
    is_lowest = recipe.keep == "best" or (recipe.optimizer == "lbfgs" and recipe.keep == "last")
    return min(totals) if is_lowest else totals[-1]


SETTLING = 10
"""Epochs over which a recipe's `tolerance` is measured."""


@dataclasses.dataclass
class State:
    """Everything that changes during a run, between two epochs.

    `steps` yields it after each epoch, resumes from it, and changes it in place. It is a tree of arrays and values, and
    can be pickled and resumed in another process, with the same picture. A State that was unpickled or read from a
    checkpoint has NumPy arrays until it is resumed (`carried_moments`: until the next stage).
    """

    images: list[Image.Image] = dataclasses.field(default_factory=list)
    """The composites of the finished stages, as PIL images."""
    record: list[Epoch] = dataclasses.field(default_factory=list)
    """The records of all epochs, stage after stage."""
    seconds: float = 0.0
    """Duration of the run so far, in seconds."""
    status: Status = Status.RUNNING
    """`running` until the run ends; then any other Status except `interrupted`, which only a Result has."""
    note: str = ""
    """The reason, in one line, if the run could not continue."""
    optimiser: OptimiserState | None = None
    """The state of the current stage's optimiser, with its composite; None between two stages."""
    composite: NDArray | None = None
    """The final composite of the previous stage, 1 × 3 × h × w, standardised."""
    best: NDArray | None = None
    """The optimiser's composite with the lowest loss of this stage, if the recipe keeps the best one."""
    average: NDArray | None = None
    """The sum of the stage's composites, with weights that decay with age, if the recipe keeps their average."""
    average_weight: float = 0.0
    """The sum of these weights."""
    carried_moments: Moments | None = None
    """Adam's moments from the previous stage; kept during a stage, which may have to restart if it diverges."""
    lowest: float = math.inf
    """The lowest loss of this stage since the last weight change."""
    comparable_from: int = 0
    """Index of the first epoch in `record` whose losses are comparable with the current ones: later than the start of
    the stage if the weights of the losses were changed."""
    plans: list[Plan] = dataclasses.field(default_factory=list)
    """The memory plan of each stage. Set at the start of the run, because different windows round differently and
    give a different picture."""
    made: Provenance | None = None
    """The provenance of the run that the state belongs to."""
    before: list[Provenance] = dataclasses.field(default_factory=list)
    """The provenances of the previous runs, which handed the state over."""

    def __post_init__(self) -> None:
        self.status = Status(self.status)
        self._run: Developer | None = None

    @nd_mode
    def __getstate__(self) -> dict[str, Any]:
        # MXNet's own pickles of arrays can't be read in the other one of its two array modes.
        state: dict[str, Any] = as_numpy({name: value for name, value in vars(self).items() if name != "_run"})
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _run=None)

    @property
    def stage(self) -> int:
        """The number of the current stage, or of the last epoch's stage, counted from 1."""
        if self.optimiser:
            return len(self.images) + 1
        return self.record[-1].stage if self.record else 1

    @property
    def epoch(self) -> int:
        """The number of finished epochs of that stage."""
        last = self.record[-1] if self.record else None
        return last.epoch + 1 if last and last.stage == self.stage else 0

    @property
    def image(self) -> Image.Image:
        """The picture so far: that of the current stage, or else of the last finished one.

        Raises NSTError if there is none yet, or if the state was read from a file and is not resumed yet.
        """
        if self._run is not None:
            return self.picture(self._run)
        if self.optimiser:
            raise NSTError("the state was read from a file, and has no picture until it is resumed")
        if not self.images:
            raise NSTError("the run has no picture yet")
        return self.images[-1]

    @property
    def losses(self) -> History:
        """The record of all epochs so far."""
        return History(self.record)

    @property
    def totals(self) -> list[float]:
        """The total losses of that stage's epochs since the last weight change."""
        return [epoch.losses.total for epoch in self.record[max(self.comparable_from, len(self.record) - self.epoch) :]]

    @nd_mode
    def reached(self, recipe: Recipe) -> NDArray:
        """Return the current composite: the last, best or average one, by `recipe.keep`.

        It is 1 × 3 × h × w, standardised. It may be the optimiser's own array, which the next epoch changes.
        """
        if self.optimiser is None:
            return None if self.composite is None else as_ndarray(self.composite)
        X = self.optimiser.reached
        if recipe.keep == "best" and self.best is not None:
            X = self.best
        elif recipe.keep == "average" and self.average is not None:
            X = self.average / self.average_weight
        return from_unit(as_ndarray(X), recipe.pixel_unit)

    def picture(self, run: Developer) -> Image.Image:
        """Return the picture of the current composite, or else of the last finished stage.

        Raises OutOfMemory, and NSTError if there is none, for example because the run is in another process.
        """
        if self.optimiser:
            try:
                return run.develop(self.reached(run.recipe), self.stage)[1]
            except (MemoryError, MXNetError) as error:
                if not is_out_of_memory(error):
                    raise
                raise OutOfMemory("not enough memory for a picture of the run") from None
        if not self.images:
            raise NSTError("this process has no picture of the run")
        return self.images[-1]

    @nd_mode
    def deep(self, run: Developer) -> np.ndarray:
        """Return the pixels of the last picture in 16 bits, h × w × 3, or × 4 with alpha.

        It is that of the current stage if it has a finished epoch.
        """
        if self.optimiser and self.epoch:
            X = run.in_frame(self.reached(run.recipe), self.stage)
        else:
            X = as_ndarray(self.composite)
        return run.pixels(X, 16)

    def go_on(self, made: Provenance, stages: int, run: Developer | None = None) -> None:
        """Start or resume a run with this number of `stages`.

        `made` is the provenance of the run; `run` makes the pictures for `image`. Raises InputError if the state
        belongs to a run with a different provenance.
        """
        if self.made is not None and key(self.made) != key(made):
            raise InputError("state: belongs to another job; resume that one, or call the state's `hand_over` first")
        self.made, self._run = made, run
        if len(self.images) < stages:
            self.status, self.note = Status.RUNNING, ""
        if self.optimiser is None:  # a stage that diverged restarts
            self.record = [epoch for epoch in self.record if epoch.stage <= len(self.images)]

    def move_to(self, device: Any) -> None:
        """Move the composites to a device.

        The optimiser moves its own arrays when it is created.
        """
        kept = self.composite, self.best, self.average
        self.composite, self.best, self.average = on_device(kept, device)

    def hand_over(self) -> None:
        """Allow another job to resume from this state.

        The record in its picture will list both jobs.
        """
        if self.made is not None:
            self.before, self.made, self.plans = [*self.before, self.made], None, []

    def begin(self, optimiser: OptimiserState) -> None:
        """Start a stage."""
        self.optimiser, self.best, self.lowest, self.comparable_from = optimiser, None, math.inf, len(self.record)
        self.average, self.average_weight = None, 0.0

    def change_weights(self) -> None:
        """Discard the best composite, because the weights of the losses change."""
        self.best, self.lowest, self.comparable_from = None, math.inf, len(self.record)

    def see(self, X: NDArray, total: float) -> None:
        """Keep a copy of the composite `X` if its loss `total` is the lowest so far."""
        if total < self.lowest:
            self.lowest = total
            if self.best is None:
                self.best = X.copy()
            else:
                self.best[:] = X

    def take_into_average(self, X: NDArray, decay: float) -> None:
        """Add the composite `X` to the moving average.

        `average_weight` corrects for the average's start at zero.
        """
        now = X * (1 - decay)
        if self.average is None:
            self.average = now
        else:
            self.average *= decay
            self.average += now
        self.average_weight = self.average_weight * decay + (1 - decay)

    def settled(self, tolerance: float) -> bool:
        """Whether the loss has converged.

        It has if its minimum fell by less than this share of it in the last ten epochs.
        """
        totals = self.totals
        if not tolerance or len(totals) <= SETTLING:
            return False
        lowest = min(totals)
        return min(totals[:-SETTLING]) - lowest < tolerance * lowest

    def diverge(self, note: str) -> None:
        """Set the status `diverged` with a note, and discard the composite of the stage."""
        self.status, self.note, self.optimiser, self.best, self.average = Status.DIVERGED, note, None, None, None

    def end(self, run: Developer) -> None:
        """Finish the stage: keep its picture, and its composite for the next stage."""
        assert self.optimiser is not None
        composite, picture = run.develop(self.reached(run.recipe), self.stage)
        self.carried_moments = self.optimiser.carried_moments() if run.recipe.carry_moments else None
        # In one statement: if the run is stopped before or after it, the stage is either unfinished or finished.
        self.optimiser, self.best, self.average, self.composite = None, None, None, composite
        self.images.append(picture)
