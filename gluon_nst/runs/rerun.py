"""Reproduction of a picture from the record that it contains."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Iterable, NamedTuple

import pooch

from gluon_nst import recipes
from gluon_nst.errors import InputError
from gluon_nst.losses.records import Status
from gluon_nst.machine.files import given
from gluon_nst.pictures.decoding import read_record
from gluon_nst.recipes import INITS, SOURCES, settings
from gluon_nst.recipes.rules import integer
from gluon_nst.runs.inputs import inputs
from gluon_nst.runs.job import Job, Style
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.provenance import OF_THE_PICTURE, Provenance, differences, listed, other_machine
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State


class Reproduction(NamedTuple):
    """A run that reproduces a picture, with the picture's record and the input files."""

    record: Provenance
    run: Run
    inputs: list[Path]

    def carry_out(self, observer: Observer | None = None) -> Result:
        """Return the Result, whose last image is the picture, with the picture's record."""
        state, stage_number = State(), self.record["stage"]
        result = carry_out(self.run, observer, state, lambda: self._is_reached(state))
        picture_fields = {name: self.record[name] for name in OF_THE_PICTURE if name in self.record}
        if len(result.images) < stage_number:
            return result  # the run ended before that stage
        status = Status.COMPLETE if result.status == Status.INTERRUPTED else result.status
        return dataclasses.replace(result, status=status, provenance={**self.run.provenance, **picture_fields})

    def _is_reached(self, state: State) -> bool:
        """Whether a run is at the epoch of the picture, within a stage or at its end."""
        epochs = self.record.get("epochs")
        interrupted = self.record.get("interrupted")
        if interrupted and interrupted["stage"] == self.record["stage"]:
            epochs = interrupted["epochs"]
        if epochs is None:
            return len(state.images) >= self.record["stage"]
        return (state.stage, state.epoch) == (self.record["stage"], epochs)


def again(
    picture: str | Path, folders: Iterable[str | Path] = (), observer: Observer | None = None, **options: Any
) -> Reproduction:
    """Prepare the run that reproduces `picture` from its record.

    The inputs are searched by their hashes in the picture's folder and the `folders`. `options` are arguments of the
    Job that the record does not have, such as `device`, or that replace those in the record: `weights`. `observer` is
    notified of different versions and a different processor. Raises InputError for an incomplete record and missing
    inputs, and the errors of `prepare`.
    """
    record, observer = read_record(picture), Observers.of(observer)
    if "recipe" not in record:
        raise InputError(
            f"{picture}: not the picture of a run, but a sheet of several; name the picture of one of them"
        )
    for folder in map(given, folders):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name one with the picture's inputs")
    try:
        _check(record)
        job = _job(record, given(picture), folders, options)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(picture)) else f"{picture}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{picture}: its record is incomplete, so the picture can't be reproduced") from None
    run = prepare(job, observer)
    run_record = {name: value for name, value in record.items() if name not in OF_THE_PICTURE}
    different = differences(run_record, run.provenance)
    if different:
        raise InputError(f"{picture}: the run would make a different picture ({listed(different)})")
    machines = other_machine(record, run.provenance)
    if machines:
        observer.note(f"{picture}: made on another machine ({'; '.join(machines)}); this one may differ slightly")
    return Reproduction(record, run, inputs(job))


def _check(record: Provenance) -> None:
    """Raise InputError, KeyError or TypeError for a record with values of other types."""
    if record.get("plain"):
        raise InputError("made by chapter --plain; repeat that command")
    stages = record["recipe"]["stages"]
    integer(1, len(stages)).check(record["stage"], "stage")
    positions = [record.get("interrupted") or {}, {"stage": record["stage"], "epochs": record.get("epochs", 1)}]
    for each in positions:
        if each:
            stage = integer(1, len(stages)).check(each["stage"], "stage")
            integer(1, stages[stage - 1]["epochs"]).check(each["epochs"], "epochs")
    if set(record.get("file", {})) - {each.name for each in settings(Job) if each.words}:
        raise InputError("file: has settings other than those of a picture's file")
    if not all(isinstance(version, str) for version in dict(record.get("versions") or {}).values()):
        raise InputError("versions: not a version for each package")


def _job(record: Provenance, picture: Path, folders: Iterable[str | Path], options: dict[str, Any]) -> Job:
    if "before" in record:
        raise InputError(
            f"{picture}: made by several runs, one after the other; its record is not enough to reproduce it"
        )
    recipe = recipes.of_dict(record["recipe"], str(picture))
    styles = record.get("styles") or [{"sha256": record["style_sha256"], "weight": 1.0, "scale": None}]
    content_map, *style_maps = record.get("regions_sha256") or [None] * (1 + len(styles))
    hashes = {"the content picture": record["content_sha256"], "the mask": record.get("mask_sha256")}
    hashes.update({f"style picture {number}": each["sha256"] for number, each in enumerate(styles, start=1)})
    hashes.update({f"map of regions {number}": sha256 for number, sha256 in enumerate([content_map, *style_maps])})
    if recipe.init not in INITS:
        hashes["the picture that it starts from"] = record["init_sha256"]
    hashes = {name: sha256 for name, sha256 in hashes.items() if sha256}
    paths = _find_files(hashes, [picture.parent, *map(given, folders)])
    if recipe.init not in INITS:
        recipe = dataclasses.replace(recipe, init=str(paths[record["init_sha256"]]))
    weights = record["weights"]["source"]
    values = {
        "weights": weights if weights in SOURCES else "auto",
        "flatten": record.get("flattened", False),
    }
    values.update(seed=record["seed"], memory=record.get("memory"), **record.get("file", {}))
    return Job(
        paths[record["content_sha256"]],
        [
            Style(paths[style["sha256"]], style["weight"], style["scale"], paths.get(its_map))
            for style, its_map in zip(styles, style_maps)
        ],
        recipe,
        mask=paths.get(record.get("mask_sha256")),
        regions=paths.get(content_map),
        **{**values, **options},
    )


def _find_files(hashes: dict[str, str], folders: list[Path]) -> dict[str | None, Path]:
    """Return {SHA-256: path} of files in the folders.

    `hashes` maps descriptions to SHA-256.

    Raises InputError if one is missing.
    """
    missing, paths = set(hashes.values()), {}
    for folder in folders:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = folder / name
            if missing and os.path.isfile(path) and os.access(path, os.R_OK):
                sha256 = pooch.file_hash(str(path), alg="sha256")
                if sha256 in missing:
                    missing.remove(sha256)
                    paths[sha256] = path
    for what, sha256 in hashes.items():
        if sha256 in missing:
            searched = ", ".join(map(str, folders))
            raise InputError(
                f"{what} (SHA-256 {sha256[:12]}…) is not in {searched}, or has been changed since;"
                " name its folder with --inputs"
            )
    return paths
