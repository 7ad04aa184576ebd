"""The argument parser, and functions that parse single arguments."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn, Sequence

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.machine.files import given


class _Formatter(argparse.HelpFormatter):
    """The layout of the help: `-o, --output FILE` with its placeholder once."""

    def __init__(self, prog: str, indent_increment: int = 2, max_help_position: int = 30) -> None:
        super().__init__(prog, indent_increment, max_help_position)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        placeholder = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {placeholder}"


class _HelpAll(argparse.Action):
    """Prints the help with all options, and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser: Any, *ignored: Any) -> None:
        parser.print_help_all()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError, with a short and a full help.

    It does not accept abbreviated options.

    - The short help has the everyday options in one list, the full help (`--help-all`) all options in their groups;
      both end with the `examples`, command lines.
    - An unknown option is reported before a missing argument, which may be the same one, misspelt; the help that the
      error names is that of the command.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Formatter, **kwargs, "allow_abbrev": False, "add_help": False})
        self._arguments: list[str] = []
        self.examples = examples
        self._rare: list[argparse.Action] = []
        self._positionals.title, self._optionals.title = "arguments", "options"
        self.add_argument("-h", "--help", action="help", help="show this help")
        self._help_all = self.add_argument("--help-all", action=_HelpAll, help=argparse.SUPPRESS)

    # -- the help -----------------------------------------------------------------------------------------------------

    def only_in_help_all(self, *actions: argparse.Action) -> None:
        """Leave options out of the short help."""
        self._help_all.help = "show all options, in groups"
        self._rare += actions

    def is_everyday(self, option: argparse.Action) -> bool:
        """Whether an option is in the short help."""
        return option not in self._rare

    def format_help(self) -> str:
        """Return the help: the short one where there are two."""
        return self._format(short=bool(self._rare))

    def format_help_all(self) -> str:
        """Return the help with all options, in groups."""
        return self._format(short=False)

    def print_help_all(self) -> None:
        """Print the help with all options."""
        self._print_message(self.format_help_all(), sys.stdout)

    def groups(self) -> Iterator[tuple[str, str | None, list[argparse.Action]]]:
        """Yield the title, the description and the arguments of each group that has some."""
        for group in self._action_groups:
            actions = [each for each in group._group_actions if each.help is not argparse.SUPPRESS]
            if actions:
                yield group.title or "", group.description, actions

    def _format(self, short: bool) -> str:
        formatter = _Formatter(f"{self.prog} [options]")
        needed = [each for each in self._actions if each.required or not each.option_strings]
        formatter.add_usage(None, needed, [])
        formatter.add_text(self.description)
        groups = list(self.groups())
        if short:
            options = [each for _, _, actions in groups for each in actions if each.option_strings]
            options = [each for each in options if self.is_everyday(each)]
            options.sort(key=lambda each: isinstance(each, (argparse._HelpAction, _HelpAll)))
            groups = [("arguments", None, self._positionals._group_actions), ("options", None, options)]
        for title, description, actions in groups:
            formatter.start_section(title)
            formatter.add_text(description)
            formatter.add_arguments(actions)
            formatter.end_section()
        text = formatter.format_help()
        if self.examples:
            text += "\n".join(["", "examples:", *(f"  {each}" for each in self.examples), ""])
        return text + f"\n{self.prog} --help-all shows all options, in groups.\n" if short else text

    # -- errors -------------------------------------------------------------------------------------------------------

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse the command line like argparse; raise InputError for unknown arguments."""
        self._arguments = list(sys.argv[1:] if args is None else args)
        parsed, unknown = super().parse_known_args(self._arguments, namespace)
        if unknown:
            self._refuse(unknown)
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            options = itertools.takewhile(lambda each: each != "--", self._arguments)
            known = self._option_string_actions
            unknown = [each for each in options if _is_option(each) and each.partition("=")[0] not in known]
            if unknown:
                self._refuse(unknown)
        raise InputError(f"{message}{' See' if message.endswith('?') else '; see'} {self.prog} --help")

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        option = next((each for each in unknown if each.startswith("-")), "").partition("=")[0]
        names = (name for action in self._actions for name in action.option_strings if name.startswith("--"))
        self.error(f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(option, names)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(value, map(str, action.choices or ()))
            raise


OUTPUT = ("-o", "--output", "--out", "--dir")
"""The spellings of a command's output option. The help shows the first two; the others stay, for scripts."""


def add_output(parser: Parser, help: str, dest: str = "output", metavar: str = "DIR", **options: Any) -> None:
    """Add the output option of a command, in all its spellings."""
    shown, aliases = OUTPUT[:2], OUTPUT[2:]
    action = parser.add_argument(*shown, type=path, dest=dest, metavar=metavar, help=help, **options)
    parser._option_string_actions.update(dict.fromkeys(aliases, action))


def _is_option(text: str) -> bool:
    return text.startswith("-") and text.lstrip("-")[:1].isalpha()


def path(text: str) -> Path:
    """Parse a path."""
    try:
        return given(text)
    except InputError as error:  # argparse would print the function's name
        raise argparse.ArgumentTypeError(str(error)) from None


def files(text: str) -> list[Path]:
    """Parse FILE,… to a list of paths."""
    paths = text.split(",")
    if not all(paths):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE,…")
    return [path(name) for name in paths]


def whole_number(description: str, maximum: float = math.inf) -> Callable[[str], int]:
    """Return a parser of an integer from 1 to `maximum`.

    `description` is its name in the error.
    """

    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
        return int(text)

    return parse


interval_of_epochs = whole_number("a number of epochs of at least 1")
count = whole_number("a number of at least 1")
port = whole_number("a port from 1 to 65535", 65535)


def names(text: str) -> list[str]:
    """Parse NAME,… to a list of names."""
    items = text.split(",")
    if not all(items):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME,… such as d2l-2019,udacity")
    return items


def base_url(text: str) -> str:
    """Parse the path of a URL; return it with a slash at both ends."""
    if not re.fullmatch(r"/|/?([\w.~-]+/)*[\w.~-]+/?", text, re.ASCII) or {".", ".."} & set(text.split("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path such as /lab/")
    return f"/{text.strip('/')}/".replace("//", "/")


def hours(text: str) -> float:
    """Parse a number of hours."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return number
