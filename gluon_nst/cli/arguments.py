"""Arguments of the command line: the parser's kind, and what reads their texts."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Callable, NoReturn

from gluon_nst.errors import InputError
from gluon_nst.files import given


class Parser(argparse.ArgumentParser):
    """A parser whose errors are the program's own; an option is never guessed from its beginning."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def path(text: str) -> Path:
    """Read a path."""
    try:
        return given(text)
    except InputError as error:  # of which argparse would tell the function's name
        raise argparse.ArgumentTypeError(str(error)) from None


def files(text: str) -> list[Path]:
    """Read FILE,…"""
    given_ones = text.split(",")
    if not all(given_ones):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE,…")
    return [path(name) for name in given_ones]


def whole_number(what: str, most: float = math.inf) -> Callable[[str], int]:
    """What reads a whole number from 1 to `most`; `what` says in words what that is."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return int(text)

    return parse


interval_of_epochs = whole_number("a number of epochs of at least 1")
count = whole_number("a number of at least 1")
port = whole_number("a port from 1 to 65535", 65535)


def names(text: str) -> list[str]:
    """Read NAME,…"""
    given_ones = text.split(",")
    if not all(given_ones):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME,… such as d2l-2019,udacity")
    return given_ones


def hours(text: str) -> float:
    """Read a number of hours."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return number
