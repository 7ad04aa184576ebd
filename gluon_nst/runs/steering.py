"""Steering: other weights of the losses half-way, such that the recipe says so, and makes the same picture again."""

from __future__ import annotations

import dataclasses

from gluon_nst.recipes import Change
from gluon_nst.runs.job import Job
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State


def steer(
    job: Job | Run,
    state: State,
    *,
    content_weight: float | None = None,
    style_weight: float | None = None,
    tv_weight: float | None = None,
) -> Run:
    """The run of a job whose losses have other weights from here on; `steps(run, state)` goes on with it.

    What is not given stays as it is. The recipe of the run that is returned has a Change at the stage and the epoch
    that `state` has come to, and the state says that it was made by that: from its beginning it makes the same picture.
    Raises the errors of `prepare`, and InputError for a weight that can't be.
    """
    run = job if isinstance(job, Run) else prepare(job)
    stage = len(state.images) + 1
    change = Change(stage, state.epoch if state.optimiser else 0, content_weight, style_weight, tv_weight)
    if not change.weights or stage > len(run.recipe.stages):
        return run
    place = change.stage, change.epoch
    before = {(each.stage, each.epoch): each for each in run.recipe.changes}
    if place in before:
        change = dataclasses.replace(before[place], **change.weights)
    # What was to change later in the job's own recipe still does.
    steered = with_changes(run, tuple({**before, place: change}.values()))
    if state.made is not None:
        state.made = steered.provenance
    return steered


def with_changes(run: Run, changes: tuple[Change, ...]) -> Run:
    """The run whose weights of the losses change as these say."""
    recipe = dataclasses.replace(run.recipe, changes=changes)
    return dataclasses.replace(run, recipe=recipe, provenance={**run.provenance, "recipe": recipe.as_dict()})
