"""steps: the run of a job, epoch by epoch, from coarse to fine; and transfer, which takes them all."""

from __future__ import annotations

import time
from typing import Any, Callable, Generator, Iterable, Protocol, Sequence

from mxnet import MXNetError

from gluon_nst.engine.graph import Computing
from gluon_nst.engine.memory import Plan, more_memory
from gluon_nst.engine.objective import Objective
from gluon_nst.errors import InputError, NSTError, OutOfMemory, reason
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import is_out_of_memory, nd_mode_steps, release_memory
from gluon_nst.recipes import DEFAULT, RecipeName, Stage
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.job import Job, Source, Styles, split
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.runs.targets import Targets, targets_of
from gluon_nst.runs.training import epochs, optimiser_of


class Elsewhere(Protocol):
    """Other machines, which compute the windows of large pictures: `cluster.spread.Spread`."""

    def plan(self, run: Run, stage: Stage) -> Plan | None:
        """How a stage is computed by them, in one part; None where it is small enough for this one."""

    def parts(self, run: Run, stage: Stage, plan: Plan, targets: Targets) -> list[Computing]:
        """What computes a stage by a plan."""


@nd_mode_steps
def steps(
    job: Job | Run, state: State | None = None, elsewhere: Elsewhere | None = None
) -> Generator[State, None, None]:
    """Give the State of a job after each of its epochs. Whoever stops taking them stops the run, which can go on from
    there.

    `job` is a Job, or the Run that was prepared of it. With a `state` the run goes on from that; it is one State,
    changed in place. Its status says how the run ended: where the loss is not finite any more, the memory runs out, or
    MXNet fails, what was reached before is in the state. `elsewhere` are machines that compute large stages in place of
    this one. Raises the errors of `prepare`, InputError for the state of another job, and NSTError or OutOfMemory where
    nothing was reached.
    """
    run = job if isinstance(job, Run) else prepare(job)
    state = State() if state is None else state
    stages = run.recipe.stages
    stage = stages[0]
    state.go_on(run.provenance, len(stages))
    state.plans = state.plans or [_plan(run, stage, elsewhere) for stage in stages]
    begun = time.perf_counter() - state.seconds
    try:
        net = run.net()
        while len(state.images) < len(stages) and state.status == "running":
            stage = stages[len(state.images)]
            for epoch in epochs(state, _objective(run, state, stage, net, elsewhere), run.recipe, stage, run.develop):
                if len(state.images) == len(stages):
                    state.status = "complete" if epoch.epoch + 1 >= stage.epochs else "settled"
                state.seconds = time.perf_counter() - begun
                yield state
        if state.status == "running":  # it was stopped between its last epoch and its end
            state.status = "complete"
    except (MemoryError, MXNetError, OSError, NSTError) as error:  # an OSError is the disk's, where temporary files lie
        if not is_out_of_memory(error):
            if isinstance(error, OSError) and not state.record:
                raise NSTError(f"the run failed: {reason(error)}") from None
            if isinstance(error, InputError) or not state.record:
                raise
            state.status, state.note = "failed", f"the run failed: {reason(error)}"
            return
        height, width = stage.shape
        note = f"size {height}x{width}: the memory ran out; choose a smaller size, or {more_memory()}"
        if not state.record:
            raise OutOfMemory(note) from None
        state.status, state.note = "out of memory", note
    if state.status == "diverged" and not state.images:
        raise NSTError(state.note)


def _plan(run: Run, stage: Stage, elsewhere: Elsewhere | None) -> Plan:
    return (elsewhere and elsewhere.plan(run, stage)) or run.plan(stage)


def _objective(run: Run, state: State, stage: Stage, net: Any, elsewhere: Elsewhere | None) -> Objective:
    """The Objective of a stage, bound to the composite in `state`, where the stage begins unless it has begun.

    Its weights are those of the next epoch.
    """
    number, epoch = len(state.images) + 1, state.epoch if state.optimiser else 0
    recipe, statistic = run.recipe.at(number, epoch), style_statistic(run.recipe)
    release_memory()  # of the stage before
    plan = state.plans[number - 1]
    if elsewhere is not None and not plan.in_one_part:
        plan = _plan(run, stage, elsewhere)
    elif elsewhere is None and plan.needed > run.allowed_memory:  # others have taken some of it meanwhile
        plan = run.plan(stage)
    targets = targets_of(run, stage, net, statistic, plan, elsewhere is not None and plan.in_one_part)
    parts: Sequence[Any] = plan.parts
    if elsewhere is not None and plan.in_one_part:
        parts = elsewhere.parts(run, stage, plan, targets)
    release_memory()  # what the features of whole pictures took
    if state.optimiser is None:
        start = run.start_of(number, targets.content_X, state.composite)
        state.begin(optimiser_of(start, recipe, state.handed_on))
    elif epoch in run.recipe.changed_in(number):
        state.turn()
    assert state.optimiser is not None
    if state.optimiser.X.shape != targets.content_X.shape:
        of_state, of_job = ("{2}x{3}".format(*X.shape) for X in (state.optimiser.X, targets.content_X))
        raise InputError(f"state: its composite is {of_state}, and the job's {of_job}; go on with its own job")
    known = targets.contents_Y, targets.styles_Y
    return Objective(net, state.optimiser.X, *known, recipe, statistic, targets.guides, parts)


Halt = Callable[[], bool]
"""Whether a run is to stop now, between two epochs."""


def never() -> bool:
    """The Halt of a run that is to come to its end."""
    return False


def carry_out(
    run: Run,
    observer: Observer | None = None,
    state: State | None = None,
    halt: Halt = never,
    elsewhere: Elsewhere | None = None,
) -> Result:
    """Take all the steps of a run, or those that are left to do in `state`, while an observer follows; gives its
    Result.

    Where `halt` says so after an epoch, the run stops there. The observer's `end` is left to the caller, who may have
    to keep the result first. `elsewhere` is as in `steps`.
    """
    state, observer = State() if state is None else state, Observers.of(observer)
    observer.begin(run)
    for _ in steps(run, state, elsewhere):
        observer.state(state)
        if halt():
            break
    return Result.of(run, state)


def transfer(
    content: Source,
    style: Styles,
    *,
    recipe: RecipeName = DEFAULT,
    seed: int = 0,
    weights: str = "auto",
    device: str = "auto",
    observers: Iterable[Observer] = (),
    state: State | None = None,
    **changes: Any,
) -> Result:
    """Transfer the style of one picture to the content of another, coarse to fine.

    - `content` and `style` are paths or PIL images; of styles there may be several, and each a Style.
    - `recipe` is a name, the path of a .toml file or a Recipe.
    - `seed` (for the start from noise), `weights` and `device` are as on the command line; so are `mask`, `regions` and
      `flatten`, among the changes.
    - `observers` follow the run.
    - `state` is what the run goes on from. An empty one holds what was reached where the run is stopped, by Ctrl-C for
      instance: the same call goes on then.
    - `changes` are those that `recipes.customise` takes: longest_side, sizes, epochs, lr, init, content_weight and so
      on.

    Returns a Result, whose status says whether the run completed. Raises InputError before anything is computed,
    WeightsError if no parameters are available, and NSTError or OutOfMemory if the run failed before there was a
    picture.
    """
    observer = Observers(observers)
    split(changes, also=("observers", "state"))  # raises TypeError for a misspelt one
    job = Job.customised(content, style, recipe=recipe, seed=seed, weights=weights, device=device, **changes)
    run = prepare(job, observer)
    note_if_long([run], observer, state)
    result = carry_out(run, observer, state)
    observer.end(result)
    return result
