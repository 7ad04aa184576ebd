"""Checkpoint: saves the State of a run in a folder, and restores it."""

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
"""Seconds between two checkpoints, unless writing one takes more than _LARGEST_SHARE of that."""
_LARGEST_SHARE = 1 / 50


class Different(InputError):
    """The folder has the checkpoint of a different run."""


class Checkpoint(Observer):
    """Writes the State of a run into a `folder` at intervals, and reads it back.

    - `every` is the interval in seconds; by default a minute, or longer if writing takes long.
    - `say` is called with a line for the user.
    - `command` are the arguments of the run as JSON values, for `gluon-nst resume`.

    It is a context manager, which locks the folder.

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
        """The provenance and the command in the folder's newest checkpoint."""
        self._last: tuple[int, bool] | None = None
        """The progress (`_progress`) of the newest checkpoint."""

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
        """Delete the checkpoints.

        The folder is deleted too if it was created for them and is then empty.
        """
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
        """Whether the newest checkpoint has the current State."""
        return self._state is not None and self._last == _progress(self._state)

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self, run: Run, *, fresh: bool = False, replace: bool = False, source: str | Path | None = None) -> State:
        """Return the State of `run` in the folder, or a new State.

        It is new if there is no checkpoint, or with `fresh`. Raises InputError for the checkpoint of a different run,
        with the differences; with `replace`, that checkpoint is ignored and later overwritten. To branch off from a
        run, `source` is its folder; the State is read from there, and this folder must be empty.
        """
        self._state = State()
        if fresh:
            return self._state  # older checkpoints are deleted when the first one of this run is written
        if source and not self.is_empty:
            raise InputError(
                f"{self.folder}: has a run already; name another folder, or resume that run: {self.resume_command}"
            )
        try:
            tree = (Generations(source, self._say) if source else self._generations).newest()
            if tree:
                self._state = self._state_in(tree, run)
                self._on_disk = None if source else (self._state.made, tree["command"])
        except (Damaged, OtherFormat, Different) as error:
            if not replace:
                raise
            if isinstance(error, OtherFormat):
                self._say(f"{self.folder}: the checkpoint is of another version of gluon-nst; the run restarts")
        return self._state

    def _state_in(self, tree: Any, run: Run) -> State:
        """Return the State in the `tree` of a checkpoint.

        Raises Different if it is not the State of `run`.
        """
        try:
            different = differences(tree["state"]["made"], run.provenance)
        except (KeyError, TypeError, AttributeError):
            raise Different(f"{self.folder}: the checkpoint has no State of a run; restart with --fresh") from None
        if different:
            advice = "name another folder, or restart with --fresh"
            if all(each.startswith("change") for each in different):
                advice = f"that run was steered; resume it with {self.resume_command}"
            raise Different(f"{self.folder}: a checkpoint of another run ({listed(different)}); {advice}")
        try:
            state: State = restored(tree["state"], State)
        except InputError as error:  # of an earlier version
            raise Different(f"{self.folder}: {error}; restart the run with --fresh") from None
        self._last = _progress(state)
        machines = other_machine(state.made or {}, run.provenance)
        if machines:
            self._say(
                f"{self.folder}: started on another machine ({'; '.join(machines)}); the picture may differ slightly"
            )
        elif any(plan.needed > run.allowed_memory for plan in state.plans[len(state.images) :]):
            self._say(f"{self.folder}: started with more memory; smaller windows may change the picture slightly")
        return state

    # -- writing ------------------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """Write the first checkpoint of the run, which has the State that `load` returned."""
        assert self._state is not None, "call load first"
        if self._on_disk != (run.provenance, self._command):
            self._state.made = self._state.made or run.provenance
            self.save(self._state)
        self._written_at = time.monotonic()

    def state(self, state: State) -> None:
        every = max(EVERY, self._cost / _LARGEST_SHARE) if self._every is None else self._every
        if state.status != Status.RUNNING or time.monotonic() - self._written_at >= every:
            self.save(state)

    def save(self, state: State) -> bool:
        """Write the State now; return whether it was written.

        If that fails, warn once, and the run continues.
        """
        try:
            nd.waitall()  # so that the run's pending operations do not count as time of writing
        except MXNetError:
            return False  # the run will raise the error
        begun = time.monotonic()
        try:
            if state.optimiser and not is_finite(state.optimiser.X):
                return False  # the next loss won't be finite: the previous checkpoint has the last good State
            self._generations.write({"state": state, "command": self._command})
        except (NSTError, OSError, MemoryError) as error:
            self._fail(error)
            return False
        finally:
            self._written_at = time.monotonic()
        self._cost, self._last, self._on_disk = self._written_at - begun, _progress(state), (state.made, self._command)
        if self._failed:
            self._failed = False
            self._say(f"{self.folder}: checkpoints are written again")
        return True

    def _fail(self, error: BaseException) -> None:
        if not self._failed:
            why = "not enough memory" if is_out_of_memory(error) else reason(error)
            self._say(f"no checkpoint: {why}; the run continues and will try again")
        self._failed = True

    def _take_back(self, state: State) -> None:
        """Delete the newest checkpoint if it has the composite whose loss is not finite."""
        in_stage = state.record and state.record[-1].stage == len(state.images) + 1
        if self._last == (len(state.record), True) and in_stage:
            self._generations.take_back()


def _progress(state: State) -> tuple[int, bool]:
    """Return the number of finished epochs, and whether a stage is in progress."""
    return len(state.record), state.optimiser is not None


def command_of(folder: str | Path) -> tuple[Any, Any]:
    """Return the (command, provenance) of the run in a folder.

    Raises InputError if there is no checkpoint.
    """
    generations = Generations(folder, Observer().note)
    tree = generations.newest()
    if not isinstance(tree, dict) or not tree.get("command"):
        raise InputError(f"{generations.folder}: no checkpoint in this folder; name the folder given to --checkpoint")
    return tree["command"], tree["state"]["made"]


def carry_out_kept(run: Run, observer: Observer | None, folder: str | Path, halt: Halt = never) -> Result:
    """Call `carry_out` with checkpoints in `folder`; return the Result.

    The run resumes from them if they are its own, otherwise it starts over. If the loss diverges, the checkpoints are
    deleted, as it would diverge again; anything else in the folder stays.
    """
    observers = Observers.of(observer)
    with Checkpoint(folder, say=observers.note) as checkpoint:
        state = checkpoint.load(run, replace=True)
        try:
            return carry_out(run, Observers([observers, checkpoint]), state, halt)
        finally:
            if state.status == Status.DIVERGED:
                checkpoint.remove()
