"""Experiments: the chapter's exercises and the paper's figures, as sheets of labelled pictures.

An experiment is a number of trials, each a transfer of its own. A trial's picture and losses are written into the
experiment's folder as soon as it is done, and what is there already is not run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, NamedTuple, Sequence, Union

from matplotlib.figure import Figure
from mxnet import MXNetError
from PIL import Image

from gluon_nst.apart import carry_out_apart
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.figures import Cell, sheet
from gluon_nst.files import given
from gluon_nst.images import Picture, open_picture, read_made
from gluon_nst.job import Job
from gluon_nst.layers import NAMES
from gluon_nst.loop import carry_out
from gluon_nst.observer import Observer, Observers
from gluon_nst.provenance import key
from gluon_nst.recipes import PUBLISHED, RecipeName, customise, recipe_settings, settings
from gluon_nst.result import Result
from gluon_nst.run import Run, prepare

FIGURE_1 = {
    "content": ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2"),
    "style": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
}
"""The layers of Gatys et al. 2016, figure 1, that a picture's content and style are reconstructed from."""

VARIABLE = ("recipe", *(each.name for each in (*recipe_settings(), *settings(Job))))
"""What can be varied: the options of `transfer` that make another picture."""

_LONGEST_NAME = 100

Prepared = Dict[str, Union[Run, NSTError]]
"""By the names of the trials."""
Pathlike = Union[str, Path]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One cell of an experiment: its name, and the options of `transfer` that it sets."""

    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def path(self, folder: Pathlike, ending: str = ".png") -> Path:
        """Its file in `folder`: the picture, or with the ending .csv the losses."""
        return given(folder) / f"{self.file_name}{ending}"

    @property
    def file_name(self) -> str:
        """The name of its files, without their ending."""
        name = re.sub(r"[^\w.+=,-]", "_", self.name)
        if len(name) > _LONGEST_NAME:  # systems allow 255 bytes
            name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(self.name.encode(errors='replace')).hexdigest()[:8]}"
        return name


class Outcome(NamedTuple):
    """What became of a trial: its picture, or the reason why there is none."""

    trial: Trial
    picture: Image.Image | None
    note: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Trials on two pictures, all of them with the same `options` of `transfer` otherwise; how they stand in a sheet."""

    title: str
    content: Path
    style: Path
    rows: tuple[tuple[Trial, ...], ...]
    options: dict[str, Any]
    column_titles: tuple[str, ...] = ()
    row_titles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [trial.file_name for trial in self.trials]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name}: two cells of this name; give each value once")

    @functools.cached_property
    def _open(self) -> Callable[..., Picture]:
        """`open_picture`, which decodes and holds each picture once for all of the trials and the sheet."""
        return functools.lru_cache(maxsize=None)(open_picture)

    @property
    def trials(self) -> list[Trial]:
        """All of them, row by row."""
        return [trial for row in self.rows for trial in row]

    def paths(self, folder: Pathlike) -> list[Path]:
        """The files that the experiment writes into `folder`: a picture and its losses for each trial."""
        return [trial.path(folder, ending) for trial in self.trials for ending in (".png", ".csv")]

    def prepare(self, observer: Observer | None = None) -> Prepared:
        """{trial: Run, or the error that it can't be}. Raises the error where no trial can be run."""
        prepared: Prepared = {}
        for trial in self.trials:
            try:
                job = Job.customised(str(self.content), str(self.style), **{**self.options, **trial.options})
                prepared[trial.name] = prepare(job, observer, self._open)
            except NSTError as error:
                prepared[trial.name] = error
        errors = [error for error in prepared.values() if isinstance(error, NSTError)]
        if len(errors) == len(prepared):
            raise errors[0]
        return prepared

    def run(
        self, folder: Pathlike, prepared: Prepared | None = None, observers: Iterable[Observer] = ()
    ) -> Iterator[Outcome]:
        """Run the trials that aren't finished in `folder` yet; gives an Outcome for each of the experiment's, as it is there.

        `prepared` is what `prepare` gave; `observers` follow each run.
        """
        observers, folder = list(observers), given(folder)
        prepared = prepared or self.prepare(Observers(observers))
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {run.sizes for run in prepared.values() if isinstance(run, Run)}
        # Every size that MXNet has seen takes memory for good: where there are several, each run has a process of its own.
        take = carry_out_apart if len(sizes) > 1 else carry_out
        for trial in self.trials:
            yield _outcome(trial, prepared[trial.name], folder, lambda run: take(run, observers))

    def sheet(self, outcomes: Iterable[Outcome]) -> Figure:
        """The outcomes as a labelled contact sheet, with the two pictures before them: a matplotlib Figure."""
        named = {outcome.trial.name: outcome for outcome in outcomes}
        inputs = [
            Cell(self._open(str(self.content)).image, "content"),
            Cell(self._open(str(self.style)).image, "style"),
        ]
        if self.style == self.content:
            inputs = [inputs[0]._replace(title="original")]
        titles = self.column_titles or [trial.name for trial in self.rows[0]]
        rows: list[list[Cell | None]] = []
        for number, trials in enumerate(self.rows):
            row: list[Cell | None] = []
            for column, trial in enumerate(trials):
                _, picture, note, failed = named[trial.name]
                title = titles[column] if number == 0 else ""
                side = self.row_titles[number] if self.row_titles and column == 0 else ""
                row.append(Cell(picture, title, f"failed: {note}" if failed else note, side))
            rows.append(row)
        if len(rows) == 1:
            rows = _wrapped([*inputs, *rows[0]])
        else:
            rows = [[before, *row] for before, row in zip([*inputs, *[None] * len(rows)], rows)]
        return sheet(rows, title=self.title)


def _wrapped(cells: Sequence[Cell | None], longest: int = 5) -> list[list[Cell | None]]:
    """A row of cells as several of about equal length, where it is too long for a page."""
    rows = -(-len(cells) // longest)
    columns = -(-len(cells) // rows)
    return [list(cells[start : start + columns]) for start in range(0, len(cells), columns)]


def kept(path: Path, run: Run) -> Image.Image | None:
    """The picture at `path` where it, and the losses beside it, are what `run` would make, or None."""
    made = read_made(path)
    if not made or "interrupted" in made[1] or not path.with_suffix(".csv").is_file():
        return None
    picture, provenance = made
    return picture if key(provenance) == run.key else None


def _outcome(trial: Trial, run: Run | NSTError, folder: Path, take: Callable[[Run], Result]) -> Outcome:
    """What becomes of a trial. A cell is whole or not there: of a run that did not end nothing is kept."""
    if isinstance(run, NSTError):
        return Outcome(trial, None, str(run), failed=True)
    path = trial.path(folder)
    picture = kept(path, run)
    if picture:
        return Outcome(trial, picture, "kept from before")
    try:
        result = take(run)
        if not result.complete:
            return Outcome(trial, None, result.note, failed=True)
        with contextlib.suppress(FileNotFoundError):
            path.with_suffix(
                ".csv"
            ).unlink()  # else, stopped here, they would stand beside a picture that is not theirs
        result.save(path)
        result.save_losses(path.with_suffix(".csv"))
    except (NSTError, MXNetError, MemoryError) as error:
        return Outcome(trial, None, reason(error), failed=True)
    return Outcome(trial, result.image, f"total loss {result.loss:.4g}, {result.seconds:.0f} s")


def sweep(content: Pathlike, style: Pathlike, vary: Mapping[str, Any], **options: Any) -> Experiment:
    """The Experiment that varies one thing, or two, of a run.

    `vary` maps one or two options of `transfer` to lists of values, or to dictionaries of them whose keys are the labels.
    The first is drawn across, the second down. `options` are those that stay.
    """
    if len(vary) not in (1, 2):
        raise InputError(f"vary: {len(vary)} things; one or two can be varied at once")
    labelled = {name: v if isinstance(v, dict) else {str(value): value for value in v} for name, v in vary.items()}
    for name, values in labelled.items():
        if name not in VARIABLE:
            raise InputError(f"vary: {name}: not one of {', '.join(VARIABLE)}")
        if not values:
            raise InputError(f"vary: {name}: at least one value is needed")
        if name in options:
            raise InputError(f"{name}: both varied and given; leave one of them out")
    axes = [[(name, label, value) for label, value in values.items()] for name, values in labelled.items()]
    if len(axes) == 1:
        rows: tuple[tuple[Trial, ...], ...] = (tuple(_trial(setting) for setting in axes[0]),)
        return Experiment(_title(content, style), given(content), given(style), rows, options)
    across, down = axes
    rows = tuple(tuple(_trial(column, row) for column in across) for row in down)
    titles = [tuple(f"{name.replace('_', ' ')} {label}" for name, label, _ in axis) for axis in axes]
    return Experiment(_title(content, style), given(content), given(style), rows, options, *titles)


def _trial(*settings: tuple[str, str, Any]) -> Trial:
    """The Trial of one setting or two: (option, label, value) each."""
    name = ",".join(f"{name.replace('_', '-')}={label}" for name, label, _ in settings)
    return Trial(name, {name: value for name, _, value in settings})


def compare(
    content: Pathlike, style: Pathlike, recipe_names: Sequence[RecipeName] = PUBLISHED, **options: Any
) -> Experiment:
    """The Experiment that runs several recipes, by name or path, on the same two pictures."""
    rows = (tuple(Trial(str(name), {"recipe": name}) for name in recipe_names),)
    return Experiment(_title(content, style), given(content), given(style), rows, options)


def _title(content: Pathlike, style: Pathlike) -> str:
    return f"{given(content).name} in the style of {given(style).name}"


def reconstruct(
    kind: str,
    picture: Pathlike,
    layers: Sequence[str | int] | None = None,
    *,
    recipe: RecipeName = "reconstruction",
    **options: Any,
) -> Experiment:
    """The Experiment that finds, from noise, what a picture's `content` or `style` is in several layers.

    Content: from the features of each of `layers` alone. Style: from the Gram matrices of the first one, of the first
    two, and so on (Gatys et al. 2016, figure 1, whose layers are the default). The other keywords are `transfer`'s.
    """
    of_job = {field.name for field in dataclasses.fields(Job)}
    own = {name: options.pop(name) for name in list(options) if name in of_job}
    layers = list(FIGURE_1[kind] if layers is None else layers)
    other = {"content": "style", "style": "content"}[kind]
    # Nothing is computed for the kind of loss that is left out.
    recipe = customise(recipe, **{**options, f"{other}_weight": 0.0, f"{other}_layers": {}})
    trials = []
    for count in range(1, len(layers) + 1):
        customised = customise(
            recipe, **{f"{kind}_layers": layers[count - 1 : count] if kind == "content" else layers[:count]}
        )
        chosen = [NAMES[index] for index in getattr(customised, f"{kind}_layers")]
        trials.append(Trial(chosen[0] if len(chosen) == 1 else f"{chosen[0]} to {chosen[-1]}", {"recipe": customised}))
    title = f"{given(picture).name}: {kind} reconstructed from noise"
    return Experiment(title, given(picture), given(picture), (tuple(trials),), own)
