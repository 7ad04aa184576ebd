"""The loop over the stages: `steps` yields each epoch, `carry_out` runs them all."""

from __future__ import annotations

import time
from typing import Any, Callable, Generator, Protocol, Sequence

from mxnet import MXNetError

from gluon_nst.engine.graph import Computing
from gluon_nst.engine.memory import Plan, more_memory
from gluon_nst.engine.objective import Objective
from gluon_nst.errors import InputError, NSTError, OutOfMemory, reason
from gluon_nst.losses.records import Status
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import is_out_of_memory, nd_mode_steps, release_memory
from gluon_nst.optimisers import Optimiser, resumed
from gluon_nst.recipes import Stage
from gluon_nst.runs.job import Job
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.runs.targets import Targets, targets_of
from gluon_nst.runs.training import epochs, optimiser_of


class Elsewhere(Protocol):
    """Remote workers for the windows of large pictures: `cluster.spread.Spread`."""

    def plan(self, run: Run, stage: Stage) -> Plan | None:
        """Return the plan of a stage for the workers, or None if this machine computes it."""

    def parts(self, run: Run, stage: Stage, plan: Plan, targets: Targets) -> list[Computing]:
        """Return the factories that evaluate a stage by a plan."""


@nd_mode_steps
def steps(
    job: Job | Run, state: State | None = None, elsewhere: Elsewhere | None = None
) -> Generator[State, None, None]:
    """Yield the State of a job after each epoch.

    The run stops when the caller stops iterating, and can be resumed. `job` is a Job, or the Run that `prepare`
    returned for it. With a `state` the run resumes from it; there is one State, which is changed in place. After the
    end its status says why the run ended: if the loss is not finite, the memory runs out, or MXNet fails, it still has
    the results so far. `elsewhere` are remote workers for large stages. Raises the errors of `prepare`, InputError for
    the state of a different job, and NSTError or OutOfMemory if there is no result.
    """
    run = job if isinstance(job, Run) else prepare(job)
    state = State() if state is None else state
    stages = run.recipe.stages
    stage = stages[0]
    state.go_on(run.provenance, len(stages), run)
    state.plans = state.plans or [_plan(run, stage, elsewhere) for stage in stages]
    start = time.perf_counter() - state.seconds
    try:
        state.move_to(run.device)
        net = run.net()
        while len(state.images) < len(stages) and state.status == Status.RUNNING:
            stage = stages[len(state.images)]
            # The objective is in no variable here: it is released before the picture is made.
            for epoch in epochs(state, *_optimiser_and_objective(run, state, stage, net, elsewhere), run, stage):
                if len(state.images) == len(stages):
                    state.status = Status.COMPLETE if epoch.epoch + 1 >= stage.epochs else Status.SETTLED
                state.seconds = time.perf_counter() - start
                yield state
        if state.status == Status.RUNNING:  # it was stopped after its last epoch
            state.status = Status.COMPLETE
    except (MemoryError, MXNetError, OSError, NSTError) as error:  # OSError: of temporary files on disk
        if not is_out_of_memory(error):
            if isinstance(error, OSError) and not state.record:
                raise NSTError(f"the run failed: {reason(error)}") from None
            if isinstance(error, InputError) or not state.record:
                raise
            state.status, state.note = Status.FAILED, f"the run failed: {reason(error)}"
            return
        height, width = stage.shape
        note = f"size {height}x{width}: the memory ran out; choose a smaller size, or {more_memory()}"
        if not state.record:
            raise OutOfMemory(note) from None
        state.status, state.note = Status.OUT_OF_MEMORY, note
    if state.status == Status.DIVERGED and not state.images:
        raise NSTError(state.note)


def _plan(run: Run, stage: Stage, elsewhere: Elsewhere | None) -> Plan:
    return (elsewhere and elsewhere.plan(run, stage)) or run.plan(stage)


def _optimiser_and_objective(
    run: Run, state: State, stage: Stage, net: Any, elsewhere: Elsewhere | None
) -> tuple[Optimiser, Objective]:
    """Return the optimiser of a stage and the Objective that it minimises.

    The optimiser uses its state in `state`. The stage is started if necessary. The Objective has the weights of the
    next epoch.
    """
    number, epoch = len(state.images) + 1, state.epoch if state.optimiser else 0
    recipe, statistic = run.recipe.at(number, epoch), style_statistic(run.recipe)
    release_memory()  # of the previous stage
    plan = state.plans[number - 1]
    if elsewhere is not None and not plan.in_one_part:
        plan = _plan(run, stage, elsewhere)
    elif elsewhere is None and plan.needed > run.allowed_memory:  # less memory is free than before
        plan = run.plan(stage)
    targets = targets_of(run, stage, net, statistic, plan, elsewhere is not None and plan.in_one_part)
    parts: Sequence[Any] = plan.parts
    if elsewhere is not None and plan.in_one_part:
        parts = elsewhere.parts(run, stage, plan, targets)
    release_memory()  # of the features of whole pictures
    if state.optimiser is None:
        start = run.start_of(number, targets.content_X, state.composite)
        optimiser = optimiser_of(start, recipe, state.carried_moments)
        state.begin(optimiser.state)
    else:
        optimiser = resumed(state.optimiser, recipe, run.device)
        if epoch in run.recipe.changed_in(number):
            optimiser.change_weights()
            state.change_weights()
    if optimiser.X.shape != targets.content_X.shape:
        state_shape, job_shape = ("{2}x{3}".format(*X.shape) for X in (optimiser.X, targets.content_X))
        raise InputError(f"state: its composite is {state_shape}, and the job's {job_shape}; resume that state's job")
    targets_Y = targets.contents_Y, targets.styles_Y
    return optimiser, Objective(net, optimiser.X, *targets_Y, recipe, statistic, targets.guides, parts)


Halt = Callable[[], bool]
"""Returns whether to stop the run after the current epoch."""


def never() -> bool:
    """Return False: the run is not stopped."""
    return False


def carry_out(
    run: Run,
    observer: Observer | None = None,
    state: State | None = None,
    halt: Halt = never,
    elsewhere: Elsewhere | None = None,
) -> Result:
    """Run all steps, or those after `state`, and return the Result.

    The observer is notified after each step. The run stops after an epoch if `halt` returns true. The caller calls the
    observer's `end`, after saving the result. `elsewhere` is as in `steps`.
    """
    state, observer = State() if state is None else state, Observers.of(observer)
    observer.begin(run)
    for _ in steps(run, state, elsewhere):
        observer.state(state)
        if halt():
            break
    return Result.of(run, state)
