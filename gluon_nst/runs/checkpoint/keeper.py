"""Checkpoint: saves the State of a run in a folder, from which an interrupted run resumes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, Callable

from mxnet import MXNetError, nd

from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.losses.records import FINISHED, Status
from gluon_nst.machine import is_out_of_memory
from gluon_nst.runs.checkpoint.container import Damaged, OtherFormat, is_finite, restored
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.loop import Halt, carry_out, never
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.provenance import differences, listed, other_machine
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

EVERY = 60.0
"""Seconds from one checkpoint to the next, where writing them takes no more than a fiftieth of that."""
_LARGEST_SHARE = 1 / 50


class Different(InputError):
    """What is in the folder is of another run."""


class Checkpoint(Observer):
    """Writes the State of a run into a `folder`, now and then and at its end, and reads it back.

    - `every` is the seconds between two of them; by default a minute, or more where writing takes long.
    - `say` is given a line for people.
    - `command` is what a person would have to do to go on, in plain values: `gluon-nst resume` reads it.

    It is a context manager: while it is open no other process can have the folder.

    >>> with Checkpoint("folder") as checkpoint:                                                        # doctest: +SKIP
    ...     result = carry_out(run, checkpoint, checkpoint.load(run))
    """

    def __init__(
        self,
        folder: str | Path,
        every: float | None = None,
        say: Callable[[str], object] | None = None,
        command: Any = None,
    ) -> None:
        say = say or self.note
        self._generations, self._every, self._say, self._command = Generations(folder, say), every, say, command
        self.folder = self._generations.folder
        self._state: State | None = None
        self._failed, self._written_at, self._cost = False, 0.0, 0.0
        self._on_disk: Any = None
        """The provenance and the command of what is in the folder."""
        self._last: tuple[int, bool] | None = None
        """Of the checkpoint written last: how many epochs were done, and whether a stage had begun."""

    def __enter__(self) -> Checkpoint:
        self._generations.open()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        state = self._state
        try:
            if state and state.status == Status.DIVERGED:
                self._take_back(state)
            elif state and state.status in (Status.RUNNING, *FINISHED) and not error and not self.is_current:
                self.save(state)  # stopped between two epochs; the state of a failed run is incomplete
        finally:
            self._generations.close()

    def remove(self) -> None:
        """Delete the checkpoints; the folder too, if it was made for them and is then empty."""
        self._generations.remove()

    @property
    def resume_command(self) -> str:
        """The command that resumes the run, quoted for a shell."""
        return f"gluon-nst resume {shlex.quote(str(self.folder))}"

    @property
    def is_empty(self) -> bool:
        """Whether the folder has no checkpoint."""
        return self._generations.is_empty

    @property
    def is_current(self) -> bool:
        """Whether the folder has the State as it is now."""
        return self._state is not None and self._last == _progress(self._state)

    # -- in -----------------------------------------------------------------------------------------------------------

    def load(self, run: Run, *, fresh: bool = False, replace: bool = False, source: str | Path | None = None) -> State:
        """The State of a run that is in the folder; a new one where there is none, or with `fresh`.

        What is of another run is refused with an InputError, which says how they differ, or, with `replace`, let go of.
        A `source` is another folder that the State is read from, to branch off from there: then there may be none here.
        """
        self._state = State()
        if fresh:
            return self._state  # what is there goes when the first checkpoint of this run is whole
        if source and not self.is_empty:
            raise InputError(
                f"{self.folder}: there is a run already; name another folder, or go on with it: {self.resume_command}"
            )
        try:
            found = (Generations(source, self._say) if source else self._generations).newest()
            if found:
                self._state = self._of(found, run)
                self._on_disk = None if source else (self._state.made, found["command"])
        except (Damaged, OtherFormat, Different) as error:
            if not replace:
                raise
            if isinstance(error, OtherFormat):
                self._say(f"{self.folder}: the checkpoint is of another version of gluon-nst; the run restarts")
        return self._state

    def _of(self, found: Any, run: Run) -> State:
        try:
            different = differences(found["state"]["made"], run.provenance)
        except (KeyError, TypeError, AttributeError):
            raise Different(f"{self.folder}: no State of a run is in there; begin anew with --fresh") from None
        if different:
            goes_on = "name another folder, or give the run's command with --fresh, to begin anew"
            if all(each.startswith("change") for each in different):
                goes_on = f"it was steered: {self.resume_command} goes on with it"
            raise Different(f"{self.folder}: a checkpoint of another run ({listed(different)}); {goes_on}")
        try:
            state: State = restored(found["state"], State)
        except InputError as error:  # of an earlier version
            raise Different(f"{self.folder}: {error}; restart the run with --fresh") from None
        self._last = _progress(state)
        machines = other_machine(state.made or {}, run.provenance)
        if machines:
            self._say(
                f"{self.folder}: begun on another machine ({'; '.join(machines)}); the picture may differ a little"
            )
        elif any(plan.needed > run.allowed_memory for plan in state.plans[len(state.images) :]):
            self._say(f"{self.folder}: begun with more memory; what is computed in other windows may differ a little")
        return state

    # -- out ----------------------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """The run begins, with the State that `load` gave: from now on it can be gone on with."""
        assert self._state is not None, "load comes before"
        if self._on_disk != (run.provenance, self._command):
            self._state.made = self._state.made or run.provenance
            self.save(self._state)
        self._written_at = time.monotonic()

    def state(self, state: State) -> None:
        every = max(EVERY, self._cost / _LARGEST_SHARE) if self._every is None else self._every
        if state.status != Status.RUNNING or time.monotonic() - self._written_at >= every:
            self.save(state)

    def save(self, state: State) -> bool:
        """Write the State now, and tell whether it is written. Where it can't be, that is said once, and the run goes
        on."""
        try:
            nd.waitall()  # what MXNet is still at is the run's own, and no cost of this
        except MXNetError:
            return False  # as the run will find out
        begun = time.monotonic()
        try:
            if state.optimiser and not is_finite(state.optimiser.X):
                return False  # the next loss won't be finite: what was written before is the last good State
            self._generations.write({"state": state, "command": self._command})
        except (NSTError, OSError, MemoryError) as error:
            self._fail(error)
            return False
        finally:
            self._written_at = time.monotonic()
        self._cost, self._last, self._on_disk = self._written_at - begun, _progress(state), (state.made, self._command)
        if self._failed:
            self._failed = False
            self._say(f"{self.folder}: the checkpoint is written again")
        return True

    def _fail(self, error: BaseException) -> None:
        if not self._failed:
            why = "there is no memory for it" if is_out_of_memory(error) else reason(error)
            self._say(f"no checkpoint: {why}; the run goes on, and it is tried again")
        self._failed = True

    def _take_back(self, state: State) -> None:
        """Have the last State whose loss is finite in the folder: the newest may be of the very composite whose loss is
        not."""
        in_stage = state.record and state.record[-1].stage == len(state.images) + 1
        if self._last == (len(state.record), True) and in_stage:
            self._generations.take_back()


def _progress(state: State) -> tuple[int, bool]:
    return len(state.record), state.optimiser is not None


def command_of(folder: str | Path) -> tuple[Any, Any]:
    """(command, provenance) of the run whose checkpoint is in a folder. Raises InputError where there is none."""
    generations = Generations(folder, Observer().note)
    found = generations.newest()
    if not isinstance(found, dict) or not found.get("command"):
        raise InputError(f"{generations.folder}: no checkpoint is there; name the folder that --checkpoint was given")
    return found["command"], found["state"]["made"]


def carry_out_kept(run: Run, observer: Observer | None, folder: str | Path, halt: Halt = never) -> Result:
    """`carry_out` with checkpoints in `folder`: resume from them if they are of this run, otherwise start over.

    If the loss diverges, the checkpoints are deleted, as it would diverge again; anything else in the folder stays.
    """
    observers = Observers.of(observer)
    with Checkpoint(folder, say=observers.note) as checkpoint:
        state = checkpoint.load(run, replace=True)
        try:
            return carry_out(run, Observers([observers, checkpoint]), state, halt)
        finally:
            if state.status == Status.DIVERGED:
                checkpoint.remove()
