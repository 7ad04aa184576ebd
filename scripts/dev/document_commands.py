"""Makes docs/commands.md, the reference of all commands and options from the parser of the command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Iterator

from gluon_nst.cli.arguments import Parser
from gluon_nst.cli.parser import build_parser

PAGE = Path(__file__).parents[2] / "docs/commands.md"

_BEGINNING = """# Commands

All commands of `gluon-nst` and all their options. `--help-all` prints the same text for a command; the short help,
`--help`, lists only the options in **bold**. In every command, `-o`, `--output`, `--out` and `--dir`
are synonyms. `gluon-nst completion` prints a shell script that enables completion of commands, options and files.

(Generated from the parser by scripts/dev/document_commands.py.)
"""


def reference() -> str:
    """Return the text of the page."""
    parser = build_parser()
    commands = list(_commands(parser))
    lines = [_BEGINNING, "| command | what it does |", "| --- | --- |"]
    for name, command in commands:
        if " " not in name:
            lines.append(f"| [`{name}`](#{name}) | {_cell(command.description or '')} |")
    lines += ["| `--version` | Show the versions of gluon-nst and MXNet. |", ""]
    for name, command in commands:
        lines += _section(name, command)
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, Parser]]:
    """Yield the name and the parser of each command, and of the actions of a command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help for each in action._choices_actions}
            for name, command in action.choices.items():
                command.description = command.description or _sentence(helps[name] or "")
                yield f"{prefix}{name}", command
                yield from _commands(command, f"{prefix}{name} ")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _section(name: str, command: Parser) -> Iterator[str]:
    usage = " ".join(command.format_help().split("\n\n")[0].split()).replace("usage: ", "", 1)
    usage = re.sub(r"\[(\w+) \[\1 \.\.\.\]\]", r"[\1 ...]", usage)  # as Python 3.8 writes it
    yield from [f"{'###' if ' ' in name else '##'} {name}", "", command.description or "", "", f"`{usage}`", ""]
    if command.examples:
        yield from [f"For example {' or '.join(f'`{each}`' for each in command.examples)}.", ""]
    for title, _, actions in command.groups():
        rows = [each for each in actions if not isinstance(each, (argparse._HelpAction, argparse._SubParsersAction))]
        rows = [each for each in rows if "--help-all" not in each.option_strings]
        if rows:
            yield from [f"| {title} | description |", "| --- | --- |", *(_row(command, each) for each in rows), ""]


def _row(command: Parser, action: argparse.Action) -> str:
    formatter = command._get_formatter()
    invocation = f"`{_cell(formatter._format_action_invocation(action))}`"
    if action.option_strings and command.is_everyday(action):
        invocation = f"**{invocation}**"
    return f"| {invocation} | {_cell(formatter._expand_help(action))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
