"""The commands that draw a sheet of many runs: sweep, compare and reconstruct."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gluon_nst import experiments, recipes
from gluon_nst.cli.outputs import check_distinct, check_writable_with, writing
from gluon_nst.cli.stopping import Stop
from gluon_nst.errors import InputError, NSTError, one_line
from gluon_nst.experiments import Experiment, Outcome, Prepared, Trial
from gluon_nst.machine.files import check_ending, free_path
from gluon_nst.observers import Bar
from gluon_nst.pictures.decoding import read_made
from gluon_nst.pictures.encoding import warn_of_quality
from gluon_nst.runs import figures
from gluon_nst.runs.provenance import as_text
from gluon_nst.runs.result import check_replaceable


def sweep(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst sweep."""
    vary: dict[str, Any] = {}
    for name, values in arguments.vary:
        if name in vary:
            raise InputError(f"--vary {name.replace('_', '-')}: given twice; put all its values into one")
        vary[name] = values
    experiment = experiments.sweep(arguments.content, arguments.style, vary, **_with_recipe(arguments, options))
    note = f"the recipe is {recipes.CHAPTER}; --recipe {recipes.DEFAULT} is the default of render"
    note = "" if arguments.recipe or "recipe" in vary else note
    return _carry_out(arguments, experiment, f"sweep-{arguments.content.stem}-{arguments.style.stem}", note)


def compare(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst compare."""
    options = {**options, "device": arguments.device}
    names = arguments.recipes
    if names == ["all"]:
        names = [name for name in recipes.names() if name != recipes.RECONSTRUCTION]
    experiment = experiments.compare(arguments.content, arguments.style, names, **options)
    return _carry_out(arguments, experiment, f"compare-{arguments.content.stem}-{arguments.style.stem}")


def reconstruct(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst reconstruct."""
    options = _with_recipe(arguments, options)
    experiment = experiments.reconstruct(arguments.kind, arguments.content, arguments.layers, **options)
    return _carry_out(arguments, experiment, f"reconstruct-{arguments.kind}-{arguments.content.stem}")


def _with_recipe(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    recipe = {"recipe": arguments.recipe} if arguments.recipe else {}
    return {**options, **recipe, "device": arguments.device}


def _carry_out(arguments: argparse.Namespace, experiment: Experiment, folder_name: str, note: str = "") -> int:
    """Run the unfinished trials, and draw the sheet; return the exit status."""
    folder = arguments.out or Path(folder_name)
    figure = arguments.figure or folder / "sheet.png"
    check_ending(figure, figures.ENDINGS)
    outputs = [*experiment.paths(folder), figure]
    warn_of_quality(outputs[0], experiment.options.get("quality"))
    check_writable_with(folder, outputs)
    if not arguments.figure:
        check_replaceable(figure, with_losses=False)
    prepared = experiment.prepare(Bar(quiet=arguments.quiet))
    check_distinct(outputs, *experiment.inputs(prepared))
    if note and not arguments.quiet:
        print(note, file=sys.stderr)
    outcomes, interrupted = _outcomes(experiment, prepared, folder, arguments.quiet)
    num_complete = sum(outcome.picture is not None for outcome in outcomes)
    if num_complete:
        with writing(folder):
            figure = _draw(experiment, outcomes, figure, num_complete)
        if experiment.note and num_complete > 1:
            print(experiment.note)
        print(f"{figure}: {num_complete} of {len(outcomes)} pictures; each with its losses in {folder}")
    if interrupted:
        progress = f"{num_complete} of {len(outcomes)} are done and kept in {folder}"
        print(f"interrupted: {progress}; the same command resumes", file=sys.stderr)
        return 130
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _outcomes(experiment: Experiment, prepared: Prepared, folder: Path, quiet: bool) -> tuple[list[Outcome], bool]:
    """Return the Outcome of each trial, and whether the experiment was interrupted."""
    for trial in experiment.trials:
        run = prepared[trial.name]
        if isinstance(run, NSTError):
            _print_error(trial, str(run))
    to_run = experiment.unfinished(folder, prepared)
    outcomes: list[Outcome] = []
    with Bar(to_run, quiet) as bar, Stop() as stop:
        try:
            for outcome in experiment.run(folder, prepared, bar, stop.is_requested):
                outcomes.append(outcome)
                if not outcome.failed:
                    tqdm.write(f"{outcome.trial.name}: {outcome.note}")
                elif outcome.trial.name in to_run:  # others were reported before
                    _print_error(outcome.trial, outcome.note)
            stopped = stop.is_requested() and any(
                outcome.picture is None and not outcome.failed for outcome in outcomes
            )
            stopped = stopped or len(outcomes) < len(experiment.trials)
        except KeyboardInterrupt:
            stopped = True
    remaining = experiment.trials[len(outcomes) :]
    return [*outcomes, *(Outcome(trial, None, "not run yet") for trial in remaining)], stopped


def _print_error(trial: Trial, error: str) -> None:
    tqdm.write(f"error: {one_line(f'{trial.name}: {error}')}", file=sys.stderr)


def _draw(experiment: Experiment, outcomes: list[Outcome], figure: Path, num_complete: int) -> Path:
    """Write the sheet, and return its path.

    An incomplete one replaces only a sheet with at most as many pictures.
    """
    if num_complete < len(outcomes):
        existing = read_made(figure)
        num_before = existing[1].get("pictures", len(outcomes)) if existing else len(outcomes)
        figure = free_path(figure, complete=num_complete >= num_before)
    figures.save(experiment.sheet(outcomes), figure, as_text({"pictures": num_complete}))
    return figure
