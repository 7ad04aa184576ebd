"""Training of the composite (section 14.12.7).

`epochs` is the only loop over the epochs of a stage; `train` is the chapter's function.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, Callable, Iterator, NamedTuple, Sequence, cast

from PIL import Image

from gluon_nst.engine.objective import Objective
from gluon_nst.errors import NSTError
from gluon_nst.losses.records import Epoch, Losses, Status
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import choose_precision, nd_mode
from gluon_nst.optimisers import CLASSES, Moments, Optimiser
from gluon_nst.pictures.pixels import in_unit, to_picture
from gluon_nst.recipes import Recipe, Stage, follow_optimizer, read
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import Developer, State
from gluon_nst.typing import NDArray


def optimiser_of(X: NDArray, recipe: Recipe, before: Moments | None = None) -> Optimiser:
    """Create the recipe's optimiser for a composite that starts as `X`.

    `X` is 1 × 3 × h × w, standardised. `before` are the moments carried over from the previous stage.
    """
    return CLASSES[recipe.optimizer].start(in_unit(X, recipe.pixel_unit), recipe, before)


def epochs(
    state: State, optimiser: Optimiser, objective: Callable[[], Losses], run: Developer, stage: Stage
) -> Iterator[Epoch]:
    """Train the current `stage` of `state`.

    Yield each epoch's record after it was added to the state. The iteration ends at an epoch where the recipe changes
    the weights of the losses, because `objective` has the old weights. The `optimiser` changes the arrays of the state
    in place.

    The stage ends after its last epoch, or when its loss has converged; its picture is made before the last record is
    yielded. If the loss or its gradient is not finite, the status of the state becomes `diverged`, and there is no
    picture.
    """
    recipe, last = run.recipe, time.perf_counter()
    if state.epoch and _is_finished(state, recipe, stage):  # resumed after the last epoch
        state.end(run)
    elif not state.epoch and recipe.keep == "average" and state.average is None:
        state.take_into_average(optimiser.X, recipe.average_decay)
    while state.optimiser:
        losses = optimiser.evaluate(objective)
        number, now = state.epoch, time.perf_counter()
        where = f"stage {state.stage}, epoch {number}"
        if not math.isfinite(losses.total):
            lower = "the learning rate or the weights" if optimiser.scheduled else "the weights"
            state.diverge(f"{where}: the loss is {losses.total}; lower {lower}")
            return
        if recipe.keep == "best":
            state.see(optimiser.X, losses.total)
        lr = stage.lr_at(number)
        try:
            optimiser.step(losses, lr)
        except FloatingPointError as error:
            state.diverge(f"{where}: {error}")
            return
        if recipe.keep == "average":
            reached = state.optimiser.reached.as_in_context(optimiser.X.context)
            state.take_into_average(reached, recipe.average_decay)
        epoch = Epoch(state.stage, number, losses, lr if optimiser.scheduled else 1.0, now - last)
        state.record.append(epoch)
        last = now
        if _is_finished(state, recipe, stage):
            del objective  # to free memory for the picture
            state.end(run)
        changes = state.optimiser and state.epoch in recipe.changed_in(state.stage)
        yield epoch
        if changes:
            return


def _is_finished(state: State, recipe: Recipe, stage: Stage) -> bool:
    """Whether the stage has finished its epochs, or its loss has converged."""
    assert state.optimiser is not None
    return state.epoch >= stage.epochs or state.optimiser.settled or state.settled(recipe.tolerance)


class _TrainingRun(NamedTuple):
    """The part of a Run that observers of `train` need."""

    recipe: Recipe
    device: Any

    def develop(self, X: NDArray, number: int) -> tuple[NDArray, Image.Image]:
        X = X.as_in_context(self.device)
        return X, to_picture(X)


@nd_mode
def train(  # noqa: PLR0913 (the chapter's own)
    X: NDArray,
    contents_Y: Sequence[NDArray],
    styles_Y: Sequence[NDArray],
    net: Any,
    device: Any,
    lr: float,
    num_epochs: int,
    lr_decay_epoch: int,
    *,
    recipe: Recipe | str = "d2l-2019",
    report: Callable[[Epoch], Any] | None = None,
    observer: Observer | None = None,
) -> NDArray:
    """Train a composite that starts as `X` (1 × 3 × h × w), and return it.

    The learning rate `lr` is multiplied by the recipe's `lr_decay` after the step of every epoch whose number is a
    positive multiple of `lr_decay_epoch`. The layers of `contents_Y` and `styles_Y`, the losses and the optimiser are
    those of the first stage of `recipe` (a Recipe, or a name), whose sizes are ignored.

    `report` is called with the record of each epoch; its losses are those printed in the chapter. `observer` may be one
    that needs only the recipe and the pictures of a run (`Live`, `Lines`). Raises NSTError if the loss is not finite.
    """
    recipe = follow_optimizer(read(recipe))
    recipe = dataclasses.replace(recipe, precision=choose_precision(recipe.precision, device))
    stage = dataclasses.replace(
        recipe.stages[0], size=X.shape[2:], epochs=num_epochs, lr=lr, lr_decay_epoch=lr_decay_epoch
    )
    run = cast(Run, _TrainingRun(dataclasses.replace(recipe, stages=(stage,)), device))
    observers, state, statistic = Observers.of(observer), State(), style_statistic(recipe)
    observers.begin(run)
    style_targets = [statistic.of(Y) for Y in styles_Y]
    optimiser = optimiser_of(X.as_in_context(device), recipe)
    state.begin(optimiser.state)
    objective = Objective(net, optimiser.X, contents_Y, style_targets, recipe)
    for epoch in epochs(state, optimiser, objective, run, stage):
        if report:
            report(epoch)
        observers.state(state)
    if state.status == Status.DIVERGED:
        raise NSTError(state.note)
    return state.composite
