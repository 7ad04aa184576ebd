"""State: all that evolves in a run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

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
    """What makes pictures of composites: a Run."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""

    def develop(self, X: NDArray, number: int) -> tuple[NDArray, Image.Image]:
        """Return what is in the frame of a composite of the stage of this `number`, and its picture."""

    def in_frame(self, X: NDArray, number: int) -> NDArray:
        """Return what is in the frame of a composite of the stage of this `number`."""

    def pixels(self, X: NDArray, bits: int = 8) -> np.ndarray:
        """Return the pixels of the picture of what is in the frame, `X`."""


SETTLING = 10
"""Epochs over which a recipe's `tolerance` is measured."""


@dataclasses.dataclass
class State:
    """All that evolves in a run, whole between two epochs: what `steps` gives, takes to go on from, and changes in
    place.

    A tree of arrays and values. It can be pickled, and resumed in another process, to the same picture: what was
    pickled, or read from a checkpoint, has NumPy's arrays until it is resumed (`carried_moments` until the next stage).
    """

    images: list[Image.Image] = dataclasses.field(default_factory=list)
    """The composites of the stages that have ended, as PIL images."""
    record: list[Epoch] = dataclasses.field(default_factory=list)
    """One for each epoch, all stages in turn."""
    seconds: float = 0.0
    """How long the run has taken so far."""
    status: Status = Status.RUNNING
    """`running` while there is more to do; then any other Status but `interrupted`, which is a Result's."""
    note: str = ""
    """Why it ended, in one line, where it could not go on."""
    optimiser: OptimiserState | None = None
    """The state of the optimiser of the stage that has begun, with its composite; None between two stages."""
    composite: NDArray | None = None
    """The composite that the stage before ended with, 1 × 3 × h × w, standardised."""
    best: NDArray | None = None
    """What the optimiser's composite was when the loss of this stage was the lowest, where the recipe keeps that."""
    average: NDArray | None = None
    """The sum of the stage's composites, each weighted by how late it came, where the recipe keeps their average."""
    average_weight: float = 0.0
    """The sum of these weights."""
    carried_moments: Moments | None = None
    """What the optimiser of the stage before handed on: kept through a stage, which begins anew where it diverged."""
    lowest: float = math.inf
    """The lowest loss of this stage, since the weights of the losses are what they are."""
    comparable_from: int = 0
    """How long the record was when the stage began, or the weights of its losses changed: losses before that are
    others."""
    plans: list[Plan] = dataclasses.field(default_factory=list)
    """How each stage is computed, decided when the run begins: other windows round other sums, and make another
    picture."""
    made: Provenance | None = None
    """What the run says of itself that the state is of."""
    before: list[Provenance] = dataclasses.field(default_factory=list)
    """The same of runs that handed the state over."""

    def __post_init__(self) -> None:
        self.status = Status(self.status)
        self._run: Developer | None = None

    @nd_mode
    def __getstate__(self) -> dict[str, Any]:
        # MXNet pickles its arrays such that they can't be read in the other of its two array modes.
        state: dict[str, Any] = as_numpy({name: value for name, value in vars(self).items() if name != "_run"})
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _run=None)

    @property
    def stage(self) -> int:
        """The number of the stage that is at work, or that the last epoch was of; from 1."""
        if self.optimiser:
            return len(self.images) + 1
        return self.record[-1].stage if self.record else 1

    @property
    def epoch(self) -> int:
        """How many epochs of that stage are done."""
        last = self.record[-1] if self.record else None
        return last.epoch + 1 if last and last.stage == self.stage else 0

    @property
    def image(self) -> Image.Image:
        """The picture so far: of the stage that is at work, or else of the last stage that has ended.

        Raises NSTError if there is none yet, or if the state was read from a file and is not resumed yet.
        """
        if self._run is not None:
            return self.picture(self._run)
        if self.optimiser:
            raise NSTError("the state was read from a file, and has no picture until it is resumed")
        if not self.images:
            raise NSTError("there is no picture of the run yet")
        return self.images[-1]

    @property
    def losses(self) -> History:
        """The record of all epochs so far."""
        return History(self.record)

    @property
    def totals(self) -> list[float]:
        """The total losses of that stage's epochs, since the weights of the losses are what they are."""
        return [epoch.losses.total for epoch in self.record[max(self.comparable_from, len(self.record) - self.epoch) :]]

    @nd_mode
    def reached(self, recipe: Recipe) -> NDArray:
        """What the stage that is at work has come to, 1 × 3 × h × w, standardised: the array itself, which goes on to
        change."""
        if self.optimiser is None:
            return None if self.composite is None else as_ndarray(self.composite)
        X = self.optimiser.reached
        if recipe.keep == "best" and self.best is not None:
            X = self.best
        elif recipe.keep == "average" and self.average is not None:
            X = self.average / self.average_weight
        return from_unit(as_ndarray(X), recipe.pixel_unit)

    def picture(self, run: Developer) -> Image.Image:
        """The same as the PIL image that the `run` makes of it.

        Raises NSTError where there is none, as of a run that is in another process, and OutOfMemory.
        """
        if self.optimiser:
            try:
                return run.develop(self.reached(run.recipe), self.stage)[1]
            except (MemoryError, MXNetError) as error:
                if not is_out_of_memory(error):
                    raise
                raise OutOfMemory("there is no memory for a picture of the run") from None
        if not self.images:
            raise NSTError("there is no picture of the run here")
        return self.images[-1]

    @nd_mode
    def deep(self, run: Developer) -> np.ndarray:
        """The pixels of the last picture in 16 bits, h × w × 3 or 4: of the stage at work where an epoch of it is
        done."""
        if self.optimiser and self.epoch:
            X = run.in_frame(self.reached(run.recipe), self.stage)
        else:
            X = as_ndarray(self.composite)
        return run.pixels(X, 16)

    def go_on(self, made: Provenance, stages: int, run: Developer | None = None) -> None:
        """The run of so many `stages`, whose provenance is `made`, begins, or goes on where it was stopped or could
        not. A `run` makes the picture so far (`image`).

        Raises InputError where the state is another run's: what is in it was not made as that says.
        """
        if self.made is not None and key(self.made) != key(made):
            raise InputError("state: of another job; go on with its own, or call the state's `hand_over` first")
        self.made, self._run = made, run
        if len(self.images) < stages:
            self.status, self.note = Status.RUNNING, ""
        if self.optimiser is None:  # a stage that diverged begins anew
            self.record = [epoch for epoch in self.record if epoch.stage <= len(self.images)]

    def move_to(self, device: Any) -> None:
        """Move what the stage keeps to a device; the optimiser's own arrays are moved when it is made."""
        kept = self.composite, self.best, self.average
        self.composite, self.best, self.average = on_device(kept, device)

    def hand_over(self) -> None:
        """Let another job go on from here; its picture will say of both how it was made."""
        if self.made is not None:
            self.before, self.made, self.plans = [*self.before, self.made], None, []

    def begin(self, optimiser: OptimiserState) -> None:
        """A stage begins."""
        self.optimiser, self.best, self.lowest, self.comparable_from = optimiser, None, math.inf, len(self.record)
        self.average, self.average_weight = None, 0.0

    def change_weights(self) -> None:
        """The losses have other weights from the next epoch on: what was the best so far was so by others."""
        self.best, self.lowest, self.comparable_from = None, math.inf, len(self.record)

    def see(self, X: NDArray, total: float) -> None:
        """Keep a copy of the composite `X` where its loss is the lowest so far."""
        if total < self.lowest:
            self.lowest = total
            if self.best is None:
                self.best = X.copy()
            else:
                self.best[:] = X

    def take_into_average(self, X: NDArray, decay: float) -> None:
        """Let the composite `X` count, and those before it less: the average is corrected for its beginning at
        nothing."""
        now = X * (1 - decay)
        if self.average is None:
            self.average = now
        else:
            self.average *= decay
            self.average += now
        self.average_weight = self.average_weight * decay + (1 - decay)

    def settled(self, tolerance: float) -> bool:
        """Whether the lowest loss of the stage has fallen by less than this share of it over the last ten epochs."""
        totals = self.totals
        if not tolerance or len(totals) <= SETTLING:
            return False
        lowest = min(totals)
        return min(totals[:-SETTLING]) - lowest < tolerance * lowest

    def diverge(self, note: str) -> None:
        """The loss is not finite any more: what the stage has come to is of no use."""
        self.status, self.note, self.optimiser, self.best, self.average = Status.DIVERGED, note, None, None, None

    def end(self, run: Developer) -> None:
        """The stage is done: its picture is kept, and its composite is what the next one starts from."""
        assert self.optimiser is not None
        composite, picture = run.develop(self.reached(run.recipe), self.stage)
        self.carried_moments = self.optimiser.carried_moments() if run.recipe.carry_moments else None
        # All at once: whatever stops the run before finds the stage at work, and after it finds it done.
        self.optimiser, self.best, self.average, self.composite = None, None, None, composite
        self.images.append(picture)
