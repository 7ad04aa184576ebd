"""The command resume: runs the command of a checkpoint again, from its State."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any, Iterator, Sequence

from gluon_nst import recipes
from gluon_nst.cli.arguments import OUTPUT
from gluon_nst.cli.parser import WEIGHTS, build_parser
from gluon_nst.cli.session import Resumed
from gluon_nst.errors import InputError
from gluon_nst.runs.checkpoint import command_of

_COMMANDS = ("render", "chapter")
"""The commands with checkpoints."""


@contextlib.contextmanager
def original_arguments(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Return the arguments of a checkpoint's command, and change to its directory.

    `arguments` are those of `resume`.
    """
    folder = Path(os.path.abspath(arguments.folder))
    command, provenance = command_of(folder)  # damage is reported when the run is loaded
    new_paths = {name: os.path.abspath(path) for name, path in _new_paths(arguments).items()}
    try:
        argv, original_directory = list(map(str, command["argv"])), str(command["folder"])
        changes = tuple(recipes.Change(**each) for each in provenance["recipe"].get("changes", ()))
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder}: it has no command of its run ({error}); give its command again") from None
    if argv[:1] not in [[name] for name in _COMMANDS]:
        raise InputError(f"{folder}: its command cannot be resumed; give it again")
    checkpoint = new_paths.get("checkpoint", str(folder))
    argv = _replace_option(argv, ["--checkpoint"], checkpoint)
    argv = _replace_option(argv, OUTPUT, new_paths["output"]) if "output" in new_paths else argv
    weights = {name: getattr(arguments, name) for name in WEIGHTS if getattr(arguments, name) is not None}
    current_directory = os.getcwd()
    original = build_parser().parse_args(argv)
    is_named = original.command != "render" or original.output is not None or original.overwrite
    if checkpoint != str(folder) and "output" not in new_paths and is_named:
        raise InputError("--checkpoint: a run that branches off takes a picture of its own; name it with --output")
    original.argv, original.quiet = argv, original.quiet or arguments.quiet
    original.resumed = Resumed(changes, weights, folder if checkpoint != str(folder) else None)
    directory = _working_directory(original_directory, folder, build_parser().parse_args(command["argv"]))
    try:
        os.chdir(directory)
        yield original
    except InputError as error:
        if directory == current_directory == original_directory:
            raise
        where = "" if directory == original_directory else f"; now they are looked for in {directory}"
        hint = f"if its files were moved, give its command again with their new names and --checkpoint {folder}"
        raise InputError(
            f"{error} (the run was begun in {original_directory}, where its names count from{where}; {hint})"
        ) from None
    finally:
        os.chdir(current_directory)


def _working_directory(original_directory: str, folder: Path, command: argparse.Namespace) -> str:
    """Return the first candidate directory in which the content picture exists.

    A run's paths are relative to it. Candidates are the original working directory, its place after a move together
    with the checkpoint's `folder`, and the current one.
    """
    relative = os.path.relpath(original_directory, os.path.join(original_directory, command.checkpoint))
    directories = (original_directory, os.path.normpath(folder / relative), os.getcwd())
    candidates = [directory for directory in directories if os.access(directory, os.X_OK)]
    for directory in candidates:
        if command.content is None or os.path.isfile(os.path.join(directory, command.content)):
            return directory
    return candidates[0]


def _replace_option(argv: list[str], names: Sequence[str], value: str) -> list[str]:
    """Return the arguments with a different value of an option.

    The option may be spelled with any of the `names`. It comes first: after a -- there are no options.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    short = tuple(name for name in names if not name.startswith("--"))
    others, rest = [], iter(argv[1:end])
    for each in rest:
        if each in names:
            next(rest, None)  # its value
        elif each.partition("=")[0] not in names and not (short and each.startswith(short)):  # -oFILE
            others.append(each)
    name = next(name for name in names if name.startswith("--"))
    return [argv[0], name, value, *others, *argv[end:]]


def _new_paths(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the paths of a branch's checkpoint and output."""
    paths = {"checkpoint": arguments.checkpoint, "output": arguments.output}
    return {name: path for name, path in paths.items() if path}
