"""The command completion: prints a script for completion in a shell.

It completes commands, options, values and files.
"""

from __future__ import annotations

import argparse
from typing import Any, Iterator

from gluon_nst import recipes
from gluon_nst.cli.arguments import files, path
from gluon_nst.errors import InputError

_PATHS = (path, files)
"""Parsers of paths, in which files are completed."""
_BASH_FUNCTION = "_gluon_nst_recipes"
"""The function of the script for bash that completes recipes: their names, and .toml files."""
_RECIPES = ("recipe", "recipes")
"""Arguments in which the names of recipes are completed."""


def completion(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """gluon-nst completion: `parser` is that of the whole command line."""
    import shtab

    if arguments.shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"completion {arguments.shell}: takes a newer shtab than {shtab.__version__}; upgrade it")
    for action in _actions(parser):
        completed = _completed(action)
        if completed:
            action.complete = completed  # type: ignore[attr-defined]
    preamble = _bash_function() if arguments.shell == "bash" else ""
    print(shtab.complete(parser, arguments.shell, preamble=preamble))
    return 0


def _bash_function() -> str:
    names = "\n".join(recipes.names())  # shtab splits by line breaks, in some versions by spaces as well
    return f"{_BASH_FUNCTION}() {{\n  compgen -W '{names}' -- $1\n  compgen -f -X '!*.toml' -- $1\n}}"


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _completed(action: argparse.Action) -> Any:
    """Return what shtab completes in an argument.

    None means its choices, if it has any.
    """
    if action.dest in _RECIPES:
        names = " ".join(recipes.names())
        return {"bash": _BASH_FUNCTION, "zsh": f"({names})", "tcsh": f"({names})", "fish": names}
    if action.metavar == "DIR":
        return "directory"
    return "file" if action.type in _PATHS or "FILE" in str(action.metavar) else None
