"""Experiments: the chapter's exercises and the paper's figures, as sheets of labelled pictures.

An experiment is a number of trials, each a `transfer` of its own. A trial's picture and losses are written into the
experiment's folder as soon as it is done, and what is there already is not run again.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

import mxnet as mx
from PIL import Image

from gluon_nst import apart, recipe as recipes
from gluon_nst.errors import InputError, Interrupted, NSTError, reason
from gluon_nst.figures import Cell, sheet
from gluon_nst.files import given
from gluon_nst.images import open_picture, read_provenance
from gluon_nst.job import Run, prepare
from gluon_nst.layers import NAMES
from gluon_nst.weights import print_nothing

# Gatys et al. 2016, figure 1.
CONTENT_LAYERS = ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

_NOT_THE_PICTURE = ("title", "source", "report_every")
"""What of a recipe makes no other picture."""

_LONGEST_NAME = 100

_VARIABLE = (*inspect.signature(recipes.customise).parameters, "seed", "weights")
"""The options of `transfer` that make another picture."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One cell of an experiment: its name, and the options of `transfer` that it sets."""

    name: str
    options: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def path(self, folder, ending=".png"):
        """Its file in `folder`: the picture, or with the ending .csv the losses."""
        return given(folder) / f"{self.file_name}{ending}"

    @property
    def file_name(self):
        """The name of its files, without their ending."""
        name = re.sub(r"[^\w.+=,-]", "_", self.name)
        if len(name) > _LONGEST_NAME:  # systems allow 255 bytes
            name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(self.name.encode(errors='replace')).hexdigest()[:8]}"
        return name


class Outcome(NamedTuple):
    """What became of a trial: its picture, or the reason why there is none."""

    trial: Trial
    picture: Optional[Image.Image]
    note: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Trials on two pictures, all of them with the same `options` of `transfer` otherwise; how they stand in a sheet."""

    title: str
    content: Path
    style: Path
    rows: Tuple[Tuple[Trial, ...], ...]
    options: Dict[str, Any]
    column_titles: Tuple[str, ...] = ()
    row_titles: Tuple[str, ...] = ()

    def __post_init__(self):
        names = [trial.file_name for trial in self.trials]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name}: two cells of this name; give each value once")

    @property
    def trials(self):
        return [trial for row in self.rows for trial in row]

    def paths(self, folder):
        """The files that the experiment writes into `folder`: a picture and its losses for each trial."""
        return [trial.path(folder, ending) for trial in self.trials for ending in (".png", ".csv")]

    def prepare(self, *, notify=print_nothing, progress=None):
        """{trial: Run, or the error that it can't be}. Raises the error where no trial can be run."""
        prepared = {}
        for trial in self.trials:
            try:
                options = {**self.options, **trial.options}
                run = prepare(str(self.content), str(self.style), notify=notify, progress=progress, **options)
            except NSTError as error:
                prepared[trial.name] = error
                continue
            first = next((other for other in prepared.values() if isinstance(other, Run)), run)
            # One copy for all.
            start = {"content": first.content, "style": first.style}.get(run.recipe.init, run.start_picture)
            prepared[trial.name] = dataclasses.replace(run, content=first.content, style=first.style, start_picture=start)
        errors = [error for error in prepared.values() if isinstance(error, NSTError)]
        if len(errors) == len(prepared):
            raise errors[0]
        return prepared

    def run(self, folder, prepared=None, *, begin=None, report=None, done=None):
        """Run the trials that aren't finished in `folder` yet; gives an Outcome for each of the experiment's.

        `prepared` is what `prepare` gave. `begin(name)` is called before a trial is run, `report` after each of its
        epochs, `done(outcome)` when a trial has an outcome. Raises Interrupted, with the outcomes so far, on Ctrl-C.
        """
        prepared, folder, outcomes = prepared or self.prepare(), given(folder), {}
        folder.mkdir(parents=True, exist_ok=True)
        runs = [run for run in prepared.values() if isinstance(run, Run)]
        # Every size that MXNet has seen takes memory for good: where there are several, each run has a process of its own.
        start = apart.start if len({run.sizes for run in runs}) > 1 else Run.start
        try:
            for trial in self.trials:
                outcomes[trial.name] = self._outcome(trial, prepared[trial.name], folder, start, begin, report)
                if done:
                    done(outcomes[trial.name])
        except KeyboardInterrupt:
            left = [Outcome(trial, None, "not run yet") for trial in self.trials if trial.name not in outcomes]
            raise Interrupted([*outcomes.values(), *left]) from None
        return list(outcomes.values())

    def _outcome(self, trial, run, folder, start, begin, report):
        """What becomes of a trial. A cell is whole or not there: of a run that did not end nothing is kept."""
        if isinstance(run, NSTError):
            return Outcome(trial, None, str(run), failed=True)
        path = trial.path(folder)
        if finished(path, run):
            return Outcome(trial, open_picture(path), "kept from before")
        if begin:
            begin(trial.name)
        try:
            result = start(run, report)
            with contextlib.suppress(FileNotFoundError):
                path.with_suffix(".csv").unlink()  # else, stopped here, they would stand beside a picture that is not theirs
            result.save(path)
            result.save_losses(path.with_suffix(".csv"))
        except (NSTError, mx.MXNetError, MemoryError) as error:
            return Outcome(trial, None, reason(error), failed=True)
        return Outcome(trial, result.image, f"total loss {result.loss:.4g}, {result.seconds:.0f} s")

    def sheet(self, outcomes):
        """The outcomes as a labelled contact sheet, with the two pictures before them: a matplotlib Figure."""
        outcomes = {outcome.trial.name: outcome for outcome in outcomes}
        inputs = [Cell(open_picture(self.content), "content"), Cell(open_picture(self.style), "style")]
        if self.style == self.content:
            inputs = [inputs[0]._replace(title="original")]
        titles = self.column_titles or [trial.name for trial in self.rows[0]]
        rows = []
        for number, trials in enumerate(self.rows):
            row = []
            for column, trial in enumerate(trials):
                _, picture, note, failed = outcomes[trial.name]
                title = titles[column] if number == 0 else ""
                side = self.row_titles[number] if self.row_titles and column == 0 else ""
                row.append(Cell(picture, title, f"failed: {note}" if failed else note, side))
            rows.append(row)
        if len(rows) == 1:
            rows = _wrapped([*inputs, *rows[0]])
        else:
            rows = [[before, *row] for before, row in zip([*inputs, *[None] * len(rows)], rows)]
        return sheet(rows, title=self.title)


def _wrapped(cells, longest=5):
    """A row of cells as several of about equal length, where it is too long for a page."""
    rows = -(-len(cells) // longest)
    columns = -(-len(cells) // rows)
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]


def finished(path, run):
    """Whether the file at `path`, and the losses beside it, are what `run` would make."""
    provenance = read_provenance(path)
    if not provenance or "interrupted" in provenance or not path.with_suffix(".csv").is_file():
        return False
    return _identity(provenance) == _identity(json.loads(json.dumps({**run.provenance, "stage": len(run.recipe.stages)})))


def _identity(provenance):
    """The part of a provenance that is the same for two runs that make the same picture."""
    recipe = {name: value for name, value in provenance.get("recipe", {}).items() if name not in _NOT_THE_PICTURE}
    return {**provenance, "recipe": recipe, "versions": None, "instructions": None}


def sweep(content, style, vary, **options):
    """The Experiment that varies one thing, or two, of a run.

    `vary` maps one or two options of `transfer` to lists of values, or to dictionaries of them whose keys are the labels.
    The first is drawn across, the second down. `options` are those that stay.
    """
    if len(vary) not in (1, 2):
        raise InputError(f"vary: {len(vary)} things; one or two can be varied at once")
    vary = {name: v if isinstance(v, dict) else {str(value): value for value in v} for name, v in vary.items()}
    for name, values in vary.items():
        if name not in _VARIABLE:
            raise InputError(f"vary: {name}: not one of {', '.join(_VARIABLE)}")
        if not values:
            raise InputError(f"vary: {name}: at least one value is needed")
        if name in options:
            raise InputError(f"{name}: both varied and given; leave one of them out")
    axes = [[(name, label, value) for label, value in values.items()] for name, values in vary.items()]
    across, down = axes[0], axes[1] if len(axes) == 2 else [None]

    def trial(*settings):
        settings = [setting for setting in settings if setting]
        name = ",".join(f"{name.replace('_', '-')}={label}" for name, label, _ in settings)
        return Trial(name, {name: value for name, _, value in settings})

    def titles(axis):
        return tuple(f"{name.replace('_', ' ')} {label}" for name, label, _ in axis)

    rows = tuple(tuple(trial(column, row) for column in across) for row in down)
    labels = (titles(across), titles(down)) if len(axes) == 2 else ((), ())
    return Experiment(_title(content, style), given(content), given(style), rows, options, *labels)


def compare(content, style, recipe_names=recipes.PUBLISHED, **options):
    """The Experiment that runs several recipes, by name or path, on the same two pictures."""
    rows = (tuple(Trial(str(name), {"recipe": name}) for name in recipe_names),)
    return Experiment(_title(content, style), given(content), given(style), rows, options)


def _title(content, style):
    return f"{given(content).name} in the style of {given(style).name}"


def reconstruct(kind, picture, layers=None, *, recipe="reconstruction", seed=0, weights="auto", device="auto", **changes):
    """The Experiment that finds, from noise, what a picture's `content` or `style` is in several layers.

    Content: from the features of each of `layers` alone. Style: from the Gram matrices of the first one, of the first
    two, and so on (Gatys et al. 2016, figure 1, whose layers are the default). The other keywords are `transfer`'s.
    """
    recipe = recipes.customise(recipe, **changes)
    default = {"content": CONTENT_LAYERS, "style": STYLE_LAYERS}[kind]
    layers = list(default if layers is None else layers)
    other = {"content": "style", "style": "content"}[kind]
    # Nothing is computed for the kind of loss that is left out.
    recipe = dataclasses.replace(recipe, **{f"{other}_weight": 0.0, f"{other}_layers": (), f"{other}_layer_weights": ()})
    trials = []
    for count in range(1, len(layers) + 1):
        chosen = layers[count - 1 : count] if kind == "content" else layers[:count]
        customised = recipes.customise(recipe, **{f"{kind}_layers": chosen})
        chosen = [NAMES[index] for index in getattr(customised, f"{kind}_layers")]
        trials.append(Trial(chosen[0] if len(chosen) == 1 else f"{chosen[0]} to {chosen[-1]}", {"recipe": customised}))
    title = f"{given(picture).name}: {kind} reconstructed from noise"
    options = {"seed": seed, "weights": weights, "device": device}
    return Experiment(title, given(picture), given(picture), (tuple(trials),), options)
