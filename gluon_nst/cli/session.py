"""One run of a command: what follows it, where it is kept, how it is stopped and gone on with."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shlex
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

from tqdm import tqdm

from gluon_nst import recipes
from gluon_nst.cli.outputs import Attempts, place, tell_place
from gluon_nst.cli.stopping import Stop
from gluon_nst.cluster import Crew, Spread
from gluon_nst.errors import InputError, NSTError
from gluon_nst.losses.records import FINISHED
from gluon_nst.machine.files import check_folder, place_of
from gluon_nst.observers import Bar, Film, Snapshots, Window, check_film, snapshot_paths
from gluon_nst.pictures.decoding import open_picture, read_made
from gluon_nst.recipes import Change
from gluon_nst.runs.checkpoint import Checkpoint
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.runs.steering import steer, with_changes

SO_FAR = "so-far.png"
"""The picture of a run that was stopped, beside its checkpoint."""


class Resumed(NamedTuple):
    """How a run goes on that `gluon-nst resume` was asked for."""

    changes: tuple[Change, ...] = ()
    """Those that it was steered by before."""
    weights: Mapping[str, float] = {}
    """Those of the losses that are others from here on."""
    source: Path | None = None
    """The folder that its State is in, where that is not the one that it is kept in."""


class Session:
    """What follows a run: the bar, `others`, and what --save-every, --animate and --show ask for, beside `base`; and
    its checkpoint.

    Their files are checked as it is made, before anything is begun; `outputs` are these, and `recipe` is the job's,
    fitted to its content picture.
    """

    def __init__(self, arguments: argparse.Namespace, base: Path, job: Job, others: Iterable[Observer] = ()) -> None:
        self._arguments = arguments
        self.bar = Bar(quiet=arguments.quiet)
        self.recipe = recipes.fit(recipes.read(job.recipe), open_picture(job.content).size)
        self.outputs: list[Path] = []
        self._observers: list[Observer] = [self.bar, *others]
        self._film = None
        if arguments.save_every:
            self.outputs += snapshot_paths(base, arguments.save_every, self.recipe).values()
            self._observers.append(Snapshots(base, arguments.save_every))
        if arguments.animate:
            check_film(arguments.animate)
            self.outputs.append(arguments.animate)
            frames = functools.partial(tqdm, desc=str(arguments.animate), disable=arguments.quiet, leave=False)
            self._film = Film(arguments.animate, lambda made, total: frames(made, total=total))
            self._observers.append(self._film)
        if arguments.show:
            self._observers.append(Window(self.bar.note))
        self._observer = Observers(self._observers)
        _check_checkpoint(arguments)
        self.kept = [arguments.checkpoint / SO_FAR] if arguments.checkpoint else []
        """What is written into the checkpoint's folder for people."""

    def carry_out(self, job: Job, other: Callable[[Run, Observer], Result] | None = None) -> Result | None:
        """The Result of a job; where it was stopped, or could not go on, of as much of it as there is a picture of.

        None where it was stopped and is kept in its checkpoint: that is told then. `other` carries out the run in place
        of the engine, while the observer follows.
        """
        run = prepare(job, self.bar)
        if other is not None:
            with self.bar:
                result: Result | None = other(run, self._observer)
        else:
            result = self._kept(run) if self._arguments.checkpoint else self._carried_out(run)
        if result and result.note:
            self.bar.note(f"error: {result.note}")
        return result

    def _carried_out(self, run: Run) -> Result:
        state = State()
        with self._elsewhere() as elsewhere, self.bar:
            if elsewhere is None:
                note_if_long([run], self.bar)
            try:
                return carry_out(run, self._observer, state, elsewhere=elsewhere)
            except KeyboardInterrupt:
                if not state.record:
                    raise
                return Result.of(run, state)

    @contextlib.contextmanager
    def _elsewhere(self) -> Iterator[Spread | None]:
        """The workers of a cluster, where --scheduler names one."""
        if self._arguments.scheduler is None:
            yield None
            return
        with Crew(self._arguments.scheduler, say=self.bar.note) as crew, Spread(crew, self.bar.note) as spread:
            yield spread

    # -- with a checkpoint --------------------------------------------------------------------------------------------

    def _kept(self, run: Run) -> Result | None:
        arguments, resumed = self._arguments, self._arguments.resumed or Resumed()
        if resumed.changes:
            run = with_changes(run, resumed.changes)
        checkpoint = Checkpoint(
            arguments.checkpoint, arguments.checkpoint_every, self.bar.note, command=_command(arguments)
        )
        try:
            with self._elsewhere() as elsewhere, checkpoint, Stop() as stop:
                state = checkpoint.load(run, fresh=arguments.fresh, source=resumed.source)
                run = self._steered(run, state, resumed.weights)
                self._tell_where(state)
                if elsewhere is None:
                    note_if_long([run], self.bar, state)
                self._observer = Observers([*self._observers, checkpoint])
                with self.bar, self._advising(checkpoint, state):
                    result = carry_out(run, self._observer, state, stop.is_asked, elsewhere)
            if result.status != "interrupted":
                return result
            self._tell_halted(result, checkpoint)
        except KeyboardInterrupt:
            if checkpoint.is_empty:
                raise
            raise KeyboardInterrupt(f"the last checkpoint stays as it is; {_goes_on(checkpoint)}") from None
        return None

    def _steered(self, run: Run, state: State, weights: Mapping[str, float]) -> Run:
        if not weights:
            return run
        if len(state.images) == len(run.recipe.stages):
            kept = self._arguments.checkpoint
            raise InputError(f"{kept}: the run is done, and there is nothing left to steer; leave the weights out")
        return steer(run, state, **weights)

    def _tell_where(self, state: State) -> None:
        if not state.record:
            return
        if state.status in FINISHED:
            self.bar.note("the run is done; its files are written anew")
            return
        self.bar.note(f"going on from stage {state.record[-1].stage}, epoch {state.record[-1].epoch + 1}")
        if self._film:
            self.bar.note(f"{self._film.path}: the film begins here; of what was before there is none")

    @contextlib.contextmanager
    def _advising(self, checkpoint: Checkpoint, state: State) -> Iterator[None]:
        """Say, where the run ends in the block before its end, what is left to do."""
        try:
            yield
        finally:
            if state.status in ("failed", "out of memory"):
                self.bar.note(f"the last checkpoint stays as it is; {_goes_on(checkpoint)}")
            elif state.status == "diverged":
                self.bar.note(
                    f"the last State whose loss was finite stays in {checkpoint.folder}; with --style-weight W, or"
                    f" another weight that is lower, {_goes_on(checkpoint)}"
                )

    def _tell_halted(self, result: Result, checkpoint: Checkpoint) -> None:
        """Say how to go on with a run that was stopped, and write its picture."""
        kept = "" if checkpoint.is_current else "it could not be written to the checkpoint, which is older; "
        path = checkpoint.folder / SO_FAR
        path = path if read_made(path) else place_of(path, complete=False)  # never over a picture of the user's
        self.bar.note(f"interrupted: {reached(result)}; {kept}{_goes_on(checkpoint)}")
        try:
            result.save(path)
        except NSTError as error:
            self.bar.note(f"error: {error}")
        else:
            self.bar.note(f"{path}: the picture so far")

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def place(self, path: Path, result: Result) -> Path:
        """Where to write of `result` what was to be written to `path`."""
        return place(path, result, self.bar.note)

    def end(self, result: Result, written: Path | None, attempts: Attempts) -> None:
        """The result is kept, its picture in `written`, as far as it could be: say so, and let the observers end."""
        height, width = result.image.height, result.image.width
        if written:
            print(f"{written}: {height} x {width}, total loss {result.loss:.2f}, {result.seconds:.0f} s")
        if written and not result.complete:
            self.bar.note(f"{result.status}: {reached(result)}; {written} is {_what_it_is(result)}")
        self._observer.end(result)
        kept = self._arguments.checkpoint
        attempts.end(f"; the run is kept in {kept}: the same command writes its files" if kept else "")
        made = read_made(kept / SO_FAR) if kept and result.complete else None
        if made and "interrupted" in made[1]:  # which beside a run that is done would be taken for its picture
            with contextlib.suppress(OSError):
                (kept / SO_FAR).unlink()
        if self._film:
            if self._film.written is None:  # the observers have said why
                raise NSTError(f"{self._film.path}: there is no film")
            tell_place(self._film.path, self._film.written, self.bar.note)
            print(f"{self._film.written}: the film of the run")


def _check_checkpoint(arguments: argparse.Namespace) -> None:
    if arguments.checkpoint:
        check_folder(arguments.checkpoint)
        return
    for name in ("checkpoint_every", "fresh"):
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')}: there is no checkpoint; name its folder with --checkpoint")


def _goes_on(checkpoint: Checkpoint) -> str:
    return f"gluon-nst resume {shlex.quote(str(checkpoint.folder))} goes on from there"


def _command(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `gluon-nst resume` goes on by: the command, without what it was to forget, and the folder that it was given
    in."""
    return {"argv": [each for each in arguments.argv if each != "--fresh"], "folder": os.getcwd()}


def reached(result: Result) -> str:
    """How far a run has come that did not come to its end."""
    last = result.losses[-1]
    return f"stage {last.stage}, {last.epoch + 1} of {result.recipe.stages[last.stage - 1].epochs} epochs"


def _what_it_is(result: Result) -> str:
    """What picture it has left."""
    stage = len(result.images)
    return "what there was" if stage == result.losses[-1].stage else f"the picture of stage {stage}"
