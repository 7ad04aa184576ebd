"""One run of a command: its observers, its checkpoint, and interruptions."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

from tqdm import tqdm

from gluon_nst import recipes
from gluon_nst.cli.outputs import OutputWriter, free_output_path, larger_option, report_path
from gluon_nst.cli.stopping import Stop
from gluon_nst.cluster import Pool, Spread
from gluon_nst.errors import InputError, NSTError
from gluon_nst.losses.records import FINISHED, Status
from gluon_nst.machine.durations import format_duration
from gluon_nst.machine.files import check_folder, free_path
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
"""The picture of an interrupted run, in the folder of its checkpoint."""


class Resumed(NamedTuple):
    """The settings of `gluon-nst resume`."""

    changes: tuple[Change, ...] = ()
    """Earlier weight changes."""
    weights: Mapping[str, float] = {}
    """Changed weights of the losses from here on."""
    source: Path | None = None
    """The folder of the State, if it is not the one of the checkpoint."""


class Session:
    """The observers of a run, including those of its options, and its checkpoint.

    The options are --save-every, --animate and --show. Snapshots are written next to `base`. The output files are
    checked when the session is created; `outputs` are their paths, and `recipe` is the job's, fitted to its content
    picture.
    """

    def __init__(self, arguments: argparse.Namespace, base: Path, job: Job, observers: Iterable[Observer] = ()) -> None:
        self._arguments = arguments
        self.bar = Bar(quiet=arguments.quiet)
        self._job_recipe = recipes.read(job.recipe)
        self.recipe = recipes.fit(self._job_recipe, open_picture(job.content).size)
        self.outputs: list[Path] = []
        self._observers: list[Observer] = [self.bar, *observers]
        self._film = None
        if arguments.save_every:
            self.outputs += snapshot_paths(base, arguments.save_every, self.recipe).values()
            self._observers.append(Snapshots(base, arguments.save_every))
        if arguments.animate:
            check_film(arguments.animate)
            self.outputs.append(arguments.animate)
            frames = functools.partial(tqdm, desc=str(arguments.animate), disable=arguments.quiet, leave=False)
            self._film = Film(arguments.animate, lambda images, total: frames(images, total=total))
            self._observers.append(self._film)
        if arguments.show:
            self._observers.append(Window(self.bar.note))
        self._observer = Observers(self._observers)
        _check_checkpoint(arguments)
        self.checkpoint_files = [arguments.checkpoint / SO_FAR] if arguments.checkpoint else []
        """The files for the user in the folder of the checkpoint."""

    def carry_out(self, job: Job, compute: Callable[[Run, Observer], Result] | None = None) -> Result | None:
        """Run a job; return its Result, even if it was interrupted or failed.

        A failed run has a Result if it has a picture. Return None if it was interrupted and is saved in its checkpoint,
        which is reported. `compute` runs it in place of the engine.
        """
        run = prepare(job, self.bar)
        if compute is not None:
            with self.bar:
                result: Result | None = compute(run, self._observer)
        else:
            result = self._run_with_checkpoint(run) if self._arguments.checkpoint else self._run(run)
        if result and result.note:
            self.bar.note(f"error: {result.note}")
        return result

    def _run(self, run: Run) -> Result:
        state = State()
        with self._cluster() as elsewhere, self.bar:
            if elsewhere is None:
                note_if_long([run], self.bar)
            try:
                return carry_out(run, self._observer, state, elsewhere=elsewhere)
            except KeyboardInterrupt:
                if not state.record:
                    raise
                return Result.of(run, state)

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[Spread | None]:
        """Connect to the cluster that --scheduler names, if it does."""
        if self._arguments.scheduler is None:
            yield None
            return
        with Pool(self._arguments.scheduler, notify=self.bar.note) as pool, Spread(pool, self.bar.note) as spread:
            yield spread

    # -- with a checkpoint --------------------------------------------------------------------------------------------

    def _run_with_checkpoint(self, run: Run) -> Result | None:
        arguments, resumed = self._arguments, self._arguments.resumed or Resumed()
        if resumed.changes:
            run = with_changes(run, resumed.changes)
        checkpoint = Checkpoint(
            arguments.checkpoint, arguments.checkpoint_every, self.bar.note, command=_command(arguments)
        )
        try:
            with self._cluster() as elsewhere, checkpoint, Stop() as stop:
                state = checkpoint.load(run, fresh=arguments.fresh, source=resumed.source)
                run = self._change_weights(run, state, resumed.weights)
                self._report_start(state)
                if elsewhere is None:
                    note_if_long([run], self.bar, state)
                self._observer = Observers([*self._observers, checkpoint])
                with self.bar, self._report_advice(checkpoint, state):
                    result = carry_out(run, self._observer, state, stop.is_requested, elsewhere)
            if result.status != Status.INTERRUPTED:
                return result
            self._report_interrupt(result, checkpoint)
        except KeyboardInterrupt:
            if checkpoint.is_empty:
                raise
            raise KeyboardInterrupt(f"the last checkpoint stays as it is; {_resume_hint(checkpoint)}") from None
        return None

    def _change_weights(self, run: Run, state: State, weights: Mapping[str, float]) -> Run:
        if not weights:
            return run
        if len(state.images) == len(run.recipe.stages):
            folder = self._arguments.checkpoint
            raise InputError(f"{folder}: the run is done, and there is nothing left to steer; leave the weights out")
        return steer(run, state, **weights)

    def _report_start(self, state: State) -> None:
        if not state.record:
            return
        if state.status in FINISHED:
            self.bar.note("the run is done; its files are written again")
            return
        self.bar.note(f"resuming at stage {state.record[-1].stage}, epoch {state.record[-1].epoch + 1}")
        if self._film:
            self.bar.note(f"{self._film.path}: the film begins here; of what was before there is none")

    @contextlib.contextmanager
    def _report_advice(self, checkpoint: Checkpoint, state: State) -> Iterator[None]:
        """After the block, report how to continue a run that failed or diverged."""
        try:
            yield
        finally:
            if state.status in (Status.FAILED, Status.OUT_OF_MEMORY):
                self.bar.note(f"the last checkpoint stays as it is; {_resume_hint(checkpoint)}")
            elif state.status == Status.DIVERGED:
                self.bar.note(
                    f"the last State whose loss was finite stays in {checkpoint.folder}; with --style-weight W, or"
                    f" another weight that is lower, {_resume_hint(checkpoint)}"
                )

    def _report_interrupt(self, result: Result, checkpoint: Checkpoint) -> None:
        """Report how to resume an interrupted run, and write its picture."""
        warning = "" if checkpoint.is_current else "it could not be written to the checkpoint, which is older; "
        path = checkpoint.folder / SO_FAR
        path = path if read_made(path) else free_path(path, complete=False)  # never over a picture of the user's
        self.bar.note(f"interrupted: {progress_text(result)}; {warning}{_resume_hint(checkpoint)}")
        try:
            result.save(path)
        except NSTError as error:
            self.bar.note(f"error: {error}")
        else:
            self.bar.note(f"{path}: the picture so far")

    # -- the result ---------------------------------------------------------------------------------------------------

    def free_output_path(self, path: Path, result: Result) -> Path:
        """Return the path for an output of `result` that the user named `path`."""
        return free_output_path(path, result, self.bar.note)

    def end(self, result: Result, written: Path | None, writer: OutputWriter) -> None:
        """Report the result, and finish the observers.

        `written` is the file of the picture, if it could be written.
        """
        height, width = result.image.height, result.image.width
        if written:
            larger = f"; larger: {larger_option(self._job_recipe, result.recipe)}" if result.complete else ""
            print(
                f"{written}: {height} x {width} (height x width), total loss {result.loss:.4g},"
                f" {format_duration(result.seconds)}{larger}"
            )
        if written and not result.complete:
            self.bar.note(f"{result.status}: {progress_text(result)}; {written} is {_picture_description(result)}")
        self._observer.end(result)
        folder = self._arguments.checkpoint
        writer.raise_errors(f"; the run is kept in {folder}: the same command writes its files" if folder else "")
        partial_picture = read_made(folder / SO_FAR) if folder and result.complete else None
        # Next to a finished run it would be taken for its picture.
        if partial_picture and "interrupted" in partial_picture[1]:
            with contextlib.suppress(OSError):
                (folder / SO_FAR).unlink()
        if self._film:
            if self._film.written is None:  # an observer has reported the error
                raise NSTError(f"{self._film.path}: there is no film")
            report_path(self._film.path, self._film.written, self.bar.note)
            print(f"{self._film.written}: the film of the run")


def _check_checkpoint(arguments: argparse.Namespace) -> None:
    if arguments.checkpoint:
        check_folder(arguments.checkpoint)
        return
    for name in ("checkpoint_every", "fresh"):
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')}: there is no checkpoint; name its folder with --checkpoint")


def _resume_hint(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.resume_command} resumes it"


def _command(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the command for `gluon-nst resume`, and its working directory.

    The option --fresh is left out.
    """
    return {"argv": [each for each in arguments.argv if each != "--fresh"], "folder": os.getcwd()}


def progress_text(result: Result) -> str:
    """Return the current epoch of an unfinished run, in words."""
    last = result.losses[-1]
    return f"stage {last.stage}, {last.epoch + 1} of {result.recipe.stages[last.stage - 1].epochs} epochs"


def _picture_description(result: Result) -> str:
    """Return which picture of an unfinished run was written, in words."""
    stage = len(result.images)
    return "what there was" if stage == result.losses[-1].stage else f"the picture of stage {stage}"
