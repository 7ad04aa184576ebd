"""The command resume: goes on with what is in a checkpoint, as it was begun."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any, Iterator

from gluon_nst import recipes
from gluon_nst.cli.parser import WEIGHTS, build_parser
from gluon_nst.cli.session import Resumed
from gluon_nst.errors import InputError
from gluon_nst.runs.checkpoint import command_of

_KEPT = ("render", "chapter")
"""The commands that keep checkpoints."""


@contextlib.contextmanager
def as_begun(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The arguments of the command that a checkpoint is of, in the folder that it was given in; `arguments` are
    resume's."""
    folder = Path(os.path.abspath(arguments.folder))
    command, made = command_of(folder)  # what is damaged is told of when the run is read
    beside = {name: os.path.abspath(path) for name, path in _others(arguments).items()}
    try:
        argv, begun_in = list(map(str, command["argv"])), str(command["folder"])
        changes = tuple(recipes.Change(**each) for each in made["recipe"].get("changes", ()))
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder}: it does not say how the run was begun ({error}); give its command again") from None
    if argv[:1] not in [[name] for name in _KEPT]:
        raise InputError(f"{folder}: not of a command that can be gone on with; give that again")
    output = "--output" if argv[0] == "render" else "--out"
    kept = beside.get("checkpoint", str(folder))
    argv = _with(argv, "--checkpoint", kept)
    argv = _with(argv, output, beside["output"]) if "output" in beside else argv
    if kept != str(folder) and "output" not in beside:
        raise InputError("--checkpoint: a run that branches off takes a picture of its own; name it with --output")
    weights = {name: getattr(arguments, name) for name in WEIGHTS if getattr(arguments, name) is not None}
    before = os.getcwd()
    begun = build_parser().parse_args(argv)
    begun.argv, begun.quiet = argv, begun.quiet or arguments.quiet
    begun.resumed = Resumed(changes, weights, folder if kept != str(folder) else None)
    base = _base(begun_in, folder, build_parser().parse_args(command["argv"]))
    try:
        os.chdir(base)
        yield begun
    except InputError as error:
        if base == before == begun_in:
            raise
        now = "" if base == begun_in else f"; now they are looked for in {base}"
        moved = f"if its files were moved, give its command again with their new names and --checkpoint {folder}"
        raise InputError(
            f"{error} (the run was begun in {begun_in}, where its names count from{now}; {moved})"
        ) from None
    finally:
        os.chdir(before)


def _base(begun_in: str, folder: Path, command: argparse.Namespace) -> str:
    """The folder from which the names of a run's files count: where its content picture is found by its name.

    That is the folder that the `command` was given in, or where this was moved together with the checkpoint's `folder`,
    or the current one.
    """
    back = os.path.relpath(begun_in, os.path.join(begun_in, command.checkpoint))
    places = [each for each in (begun_in, os.path.normpath(folder / back), os.getcwd()) if os.access(each, os.X_OK)]
    there = (each for each in places if command.content is None or os.path.isfile(os.path.join(each, command.content)))
    return next(there, places[0])


def _with(argv: list[str], option: str, value: str) -> list[str]:
    """The arguments of a command with another value of an option: it comes first, as what follows a -- is no option."""
    end = argv.index("--") if "--" in argv else len(argv)
    kept = [each for each in argv[1:end] if not each.startswith(f"{option}=")]
    while option in kept:
        place = kept.index(option)
        del kept[place : place + 2]
    return [argv[0], option, value, *kept, *argv[end:]]


def _others(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of the paths that a branch is kept in, and written to, which were given."""
    paths = {"checkpoint": arguments.checkpoint, "output": arguments.output}
    return {name: path for name, path in paths.items() if path}
