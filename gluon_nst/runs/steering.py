"""Changes the weights of the losses during a run.

The changed recipe reproduces the same picture from the start.
"""

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
    """Change weights of the losses from the next epoch on.

    Return the Run with which `steps(run, state)` continues. None keeps a weight. The recipe of the returned Run has a
    Change at the current stage and epoch of `state`, and the provenance of the state is that of the Run: from its
    start, the Run makes the same picture. Raises the errors of `prepare`, and InputError for a weight that is not
    allowed.
    """
    run = job if isinstance(job, Run) else prepare(job)
    stage = len(state.images) + 1
    change = Change(stage, state.epoch if state.optimiser else 0, content_weight, style_weight, tv_weight)
    if not change.weights or stage > len(run.recipe.stages):
        return run
    position = change.stage, change.epoch
    existing = {(each.stage, each.epoch): each for each in run.recipe.changes}
    if position in existing:
        change = dataclasses.replace(existing[position], **change.weights)
    # Later changes of the job's own recipe are kept.
    steered = with_changes(run, tuple({**existing, position: change}.values()))
    if state.made is not None:
        state.made = steered.provenance
    return steered


def with_changes(run: Run, changes: tuple[Change, ...]) -> Run:
    """Return the run with these weight changes."""
    recipe = dataclasses.replace(run.recipe, changes=changes)
    return dataclasses.replace(run, recipe=recipe, provenance={**run.provenance, "recipe": recipe.as_dict()})
