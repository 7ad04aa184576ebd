"""The argument parser, and functions that parse single arguments."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from pathlib import Path
from typing import Any, Callable, NoReturn, Sequence

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.machine.files import given


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError, and does not accept abbreviated options.

    An unknown option is reported before a missing argument, which may be the same one, misspelt; the help that the
    error names is that of the command.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self._arguments: list[str] = []

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
        suggestion = did_you_mean(option, (name for name in self._option_string_actions if name.startswith("--")))
        self.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(value, map(str, action.choices or ()))
            raise


def _is_option(text: str) -> bool:
    return text.startswith("-") and text.lstrip("-")[:1].isalpha()


def path(text: str) -> Path:
    """Parse a path."""
    try:
        return given(text)
    except InputError as error:  # argparse would print the function's name
        raise argparse.ArgumentTypeError(str(error)) from None


def files(text: str) -> list[Path]:
    """Parse FILE,…"""
    paths = text.split(",")
    if not all(paths):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE,…")
    return [path(name) for name in paths]


def whole_number(description: str, maximum: float = math.inf) -> Callable[[str], int]:
    """Return a parser of an integer from 1 to `maximum`; `description` is its name in the error."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
        return int(text)

    return parse


interval_of_epochs = whole_number("a number of epochs of at least 1")
count = whole_number("a number of at least 1")
port = whole_number("a port from 1 to 65535", 65535)


def names(text: str) -> list[str]:
    """Parse NAME,…"""
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
