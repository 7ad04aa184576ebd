"""Experiment: several trials, each a transfer, as a sheet of labelled pictures.

The picture and the losses of a trial are written into the experiment's folder when it finishes; trials that are
finished there are not repeated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, NamedTuple, Sequence, Union

from matplotlib.figure import Figure
from mxnet import MXNetError
from PIL import Image

from gluon_nst.errors import DoesNotFit, InputError, NSTError, reason
from gluon_nst.losses.records import Status
from gluon_nst.machine.durations import format_duration
from gluon_nst.machine.files import file_name, given
from gluon_nst.pictures.decoding import Picture, open_picture, read_made
from gluon_nst.recipes import INITS, Recipe, paths
from gluon_nst.runs.checkpoint import carry_out_kept
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.figures import Cell, sheet
from gluon_nst.runs.inputs import style_files
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import Halt, never
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.processes import carry_out_apart
from gluon_nst.runs.provenance import key
from gluon_nst.runs.result import Result, check_replaceable
from gluon_nst.runs.run import Run, prepare

Prepared = Dict[str, Union[Run, NSTError]]
"""The Run of each trial, or the error of its preparation, by the trial's name."""
Pathlike = Union[str, Path]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One cell of an experiment: its name, and the options of `transfer` that it sets."""

    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def path(self, folder: Pathlike, ending: str = ".png") -> Path:
        """Return its file in `folder`: the picture, or with the ending .csv the losses."""
        return given(folder) / f"{self.file_name}{ending}"

    @property
    def file_name(self) -> str:
        """The name of its files, without their ending."""
        return file_name(self.name)


class Outcome(NamedTuple):
    """The outcome of a trial: its picture, or the reason why there is none."""

    trial: Trial
    picture: Image.Image | None
    note: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Trials on two pictures, with common `options`, and their rows in a sheet.

    `options` are keywords of `transfer`.
    """

    title: str
    content: Path
    style: Path
    rows: tuple[tuple[Trial, ...], ...]
    options: dict[str, Any]
    column_titles: tuple[str, ...] = ()
    row_titles: tuple[str, ...] = ()
    note: str = ""
    """A sentence under the title of the sheet."""

    def __post_init__(self) -> None:
        names = [trial.file_name for trial in self.trials]
        if not names:
            raise InputError(f"{self.title}: nothing to run; give at least one recipe, value or layer")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name}: two cells have this name; give each value once")

    @functools.cached_property
    def _open(self) -> Callable[..., Picture]:
        """Open a picture, with a cache: it is decoded once for all trials and the sheet."""
        return functools.lru_cache(maxsize=None)(open_picture)

    @property
    def trials(self) -> list[Trial]:
        """All trials, row by row."""
        return [trial for row in self.rows for trial in row]

    def inputs(self, prepared: Prepared) -> set[str]:
        """Return the input files of its runs, including those that the prepared runs name."""
        options = [self.options, *(trial.options for trial in self.trials)]
        files = [option.get(name) for option in options for name in ("weights", "mask", "regions")]
        files += [run.recipe.init for run in prepared.values() if isinstance(run, Run) and run.recipe.init not in INITS]
        files += [path for option in options if "recipe" in option for path in paths(option["recipe"])]
        files += style_files(self.style)
        return {str(self.content), *(str(path) for path in files if isinstance(path, (str, Path)))}

    def paths(self, folder: Pathlike) -> list[Path]:
        """Return the files that the experiment writes into `folder`.

        Each trial has a picture and a file of losses.
        """
        return [trial.path(folder, ending) for trial in self.trials for ending in (".png", ".csv")]

    def prepare(self, observer: Observer | None = None) -> Prepared:
        """Return {trial: Run, or the error of missing memory or parameters}.

        Raises the error if no trial can run, and InputError for a bad input of any trial; recipes and values of all
        trials are checked first.
        """
        prepared: Prepared = {}
        pictures = str(self.content), str(self.style)
        jobs = [(trial.name, Job(*pictures, **{**self.options, **trial.options})) for trial in self.trials]
        for name, job in jobs:
            try:
                prepared[name] = prepare(job, observer, self._open)
            except NSTError as error:
                if isinstance(error, InputError) and not isinstance(error, DoesNotFit):
                    raise InputError(f"{name}: {error}" if len(jobs) > 1 else str(error)) from None
                prepared[name] = error
        errors = [error for error in prepared.values() if isinstance(error, NSTError)]
        if len(errors) == len(prepared):
            raise errors[0]
        return prepared

    def unfinished(self, folder: Pathlike, prepared: Prepared) -> dict[str, Recipe]:
        """Return the recipes of the unfinished runs in `folder`, by trial."""
        runs = ((trial, prepared[trial.name]) for trial in self.trials)
        return {
            trial.name: run.recipe for trial, run in runs if isinstance(run, Run) and not kept(trial.path(folder), run)
        }

    def run(
        self,
        folder: Pathlike,
        prepared: Prepared | None = None,
        observer: Observer | None = None,
        halt: Halt = never,
    ) -> Iterator[Outcome]:
        """Run the unfinished trials in `folder`, and yield an Outcome for each trial.

        `prepared` is the result of `prepare`; `observer` follows each run. If `halt` returns true after an epoch, the
        experiment stops, and a later call resumes it: each run has a checkpoint until it is complete.
        Raises InputError if a picture would replace a file that is not gluon-nst's.
        """
        observer, folder = Observers.of(observer), given(folder)
        prepared = prepared or self.prepare(observer)
        folder.mkdir(parents=True, exist_ok=True)
        for trial in self.trials:
            check_replaceable(trial.path(folder))
        runs = [(trial, run) for trial in self.trials for run in [prepared[trial.name]] if isinstance(run, Run)]
        note_if_long([run for trial, run in runs if not kept(trial.path(folder), run)], observer)
        sizes = {run.sizes for _, run in runs}
        # MXNet never frees the memory of a size that it has computed: with several sizes, each run is a subprocess.
        carry_out_run = carry_out_apart if len(sizes) > 1 else carry_out_kept

        def carry_out_trial(run: Run, checkpoint: Path) -> Result:
            return carry_out_run(run, observer, checkpoint, halt)

        for trial in self.trials:
            if halt():
                return
            yield _outcome(trial, prepared[trial.name], folder, carry_out_trial, observer)

    def sheet(self, outcomes: Iterable[Outcome]) -> Figure:
        """Draw the inputs and the outcomes as a labelled sheet, a matplotlib Figure."""
        outcomes_by_name = {outcome.trial.name: outcome for outcome in outcomes}
        style, *others = style_files(self.style)
        inputs = [
            Cell(self._open(str(self.content)).flattened().image, "content"),
            Cell(
                self._open(str(style)).flattened().image,
                f"style, 1 of {len(others) + 1}" if others else "style",
            ),
        ]
        if self.style == self.content:
            inputs = [inputs[0]._replace(title="original")]
        titles = self.column_titles or [trial.name for trial in self.rows[0]]
        rows: list[list[Cell | None]] = []
        for number, trials in enumerate(self.rows):
            row: list[Cell | None] = []
            for column, trial in enumerate(trials):
                _, picture, note, failed = outcomes_by_name[trial.name]
                title = titles[column] if number == 0 else ""
                side = self.row_titles[number] if self.row_titles and column == 0 else ""
                row.append(Cell(picture, title, f"failed: {note}" if failed else note, side))
            rows.append(row)
        if len(rows) == 1:
            rows = _wrapped([*inputs, *rows[0]])
        else:
            rows = [[input_cell, *row] for input_cell, row in zip([*inputs, *[None] * len(rows)], rows)]
        return sheet(rows, title=self.title, note=self.note)


def _wrapped(cells: Sequence[Cell | None], longest: int = 5) -> list[list[Cell | None]]:
    """Split a long row of cells into rows of about equal length."""
    rows = -(-len(cells) // longest)
    columns = -(-len(cells) // rows)
    return [list(cells[start : start + columns]) for start in range(0, len(cells), columns)]


def kept(path: Path, run: Run) -> Image.Image | None:
    """Return the picture at `path` if it is a complete result of this `run`, or None.

    Its losses must exist too.
    """
    existing = read_made(path)
    if not existing or "interrupted" in existing[1] or not path.with_suffix(".csv").is_file():
        return None
    picture, provenance = existing
    matches = key(provenance) == run.key and provenance.get("file") == run.provenance.get("file")
    return picture if matches else None


def _outcome(
    trial: Trial, run: Run | NSTError, folder: Path, carry_out_trial: Callable[[Run, Path], Result], observer: Observer
) -> Outcome:
    """Run a trial, unless its files exist; return its Outcome.

    An unfinished run leaves only its checkpoint.
    """
    if isinstance(run, NSTError):
        return Outcome(trial, None, str(run), failed=True)
    path = trial.path(folder)
    picture = kept(path, run)
    checkpoint = path.with_name(f".{trial.file_name}.checkpoint")
    if picture:
        Generations(checkpoint, observer.note).remove(folder=True)  # a killed call may have left it
        return Outcome(trial, picture, "kept from before")
    try:
        result = carry_out_trial(run, checkpoint)
        if result.status == Status.INTERRUPTED:
            return Outcome(trial, None, "not done yet")
        if not result.complete:
            return Outcome(trial, None, result.note, failed=True)
        losses = path.with_suffix(".csv")
        with contextlib.suppress(FileNotFoundError):
            losses.unlink()  # else an interrupt would leave old losses next to the new picture
        result.save(path)
        result.save_losses(losses)
        observer.end(result)
        Generations(checkpoint, observer.note).remove(folder=True)
    except (NSTError, MXNetError, MemoryError) as error:
        return Outcome(trial, None, reason(error), failed=True)
    return Outcome(trial, result.image, f"total loss {result.loss:.4g}, {format_duration(result.seconds)}")
