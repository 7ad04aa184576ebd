"""Rules of values.

A rule validates a value, describes what is allowed, and parses an argument of the command line.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from typing import Any, Callable

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.network.layers import LAYERS, PIXELS


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for one value.

    - `convert` returns the value in its type, or raises ValueError, TypeError, KeyError or OverflowError.
    - `allowed` describes the allowed values: "a number above 0".
    - `parse` parses an argument of the command line, or raises ValueError; its value is not checked yet.
    - `metavar` is the placeholder of the value in the help.
    - `choices` are all allowed values, if there is a list of them.
    - `several`: the argument is a list with commas.
    - `is_flag`: the option has no argument, and means true.
    - `written` describes a valid argument, if that differs from `allowed`.
    - `names` are the words that a value may contain: an error suggests the one closest to a misspelt word.
    """

    convert: Callable[[Any], Any]
    allowed: str
    parse: Callable[[str], Any] = str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    several: bool = False
    written: str = ""
    is_flag: bool = False
    names: tuple[str, ...] = ()

    def check(self, value: Any, where: str) -> Any:
        """Return the value in its type, or raise InputError if it is not allowed.

        `where` is the value's name in the message.

        >>> number(above=0).check(2, "lr")
        2.0
        >>> number(above=0).check(-1, "lr")
        Traceback (most recent call last):
        gluon_nst.errors.InputError: lr: -1 is not a number above 0
        """
        try:
            return self.convert(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise InputError(f"{where}: {self.complaint(value)}" if where else self.complaint(value)) from None

    def complaint(self, value: Any, allowed: str = "") -> str:
        """Return the error for a `value` that is not allowed.

        It names the value, what is `allowed`, and a suggestion.
        """
        text = repr(value) if len(repr(value)) <= 100 else f"{repr(value)[:99]}…"
        candidates = value if isinstance(value, (list, tuple, dict)) else [value]
        unknown = next((word for word in candidates if isinstance(word, str) and word not in self.names), "")
        return f"{text} is not {allowed or self.allowed}{did_you_mean(unknown, self.names)}"


def integer(low: int, maximum: float = math.inf) -> Rule:
    """Return the rule of an integer from `low` to `maximum`."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= maximum:
            raise ValueError
        return int(value)  # also NumPy's integers

    allowed = f"an integer of at least {low}"
    return Rule(convert, allowed if maximum == math.inf else f"{allowed}, {maximum} at the most", int, "N")


def one_of(*allowed: int) -> Rule:
    """Return the rule of one of several integers."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or value not in allowed:
            raise ValueError
        return int(value)

    return Rule(convert, " or ".join(map(str, allowed)), int, "|".join(map(str, allowed)))


def number(low: float = 0, above: float | None = None, most: float = math.inf, optional: bool = False) -> Rule:
    """Return the rule of a finite number in a range.

    The number is at least `low`, or `above` another one, and at most `most`. None is allowed if it is `optional`.
    """

    def convert(value: Any) -> float | None:
        if optional and value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError
        converted = float(value)
        if not math.isfinite(converted) or not (converted >= low if above is None else converted > above):
            raise ValueError
        if converted > most:
            raise ValueError
        return converted

    allowed = f"a number of at least {low}" if above is None else f"a number above {above}"
    return Rule(convert, allowed if most == math.inf else f"{allowed}, {most} at the most", float, "NUMBER")


def choice(*choices: str) -> Rule:
    """Return the rule of one of several words."""

    def convert(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return value

    return Rule(convert, f"one of {', '.join(choices)}", choices=choices, names=choices)


_UNITS = {
    "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "B": 1,
    "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip


def amount() -> Rule:
    """Return the rule of a number of bytes, or of a text with a unit."""

    def convert(value: Any) -> float:
        return number(above=0).convert(parse(value) if isinstance(value, str) else value)

    def parse(text: str) -> float:
        unit = next((unit for unit in _UNITS if text.upper().endswith(unit)), "")
        if not unit:
            raise ValueError
        return float(text[: -len(unit)]) * _UNITS[unit]

    allowed = "a number of bytes above 0, or an amount such as 30MB"
    return Rule(convert, allowed, parse, "30MB", written="an amount such as 30MB or 1GB")


def memory() -> Rule:
    """Return the rule of an amount of memory; None, or `auto`, is the free memory."""
    bytes_rule = amount()

    def convert(value: Any) -> float | None:
        return None if value is None or is_auto(value) else bytes_rule.convert(value)

    def is_auto(value: Any) -> bool:
        return isinstance(value, str) and value.lower() == "auto"

    def parse(text: str) -> float | str:
        return "auto" if is_auto(text) else bytes_rule.parse(text)

    allowed, written = (
        "a number of bytes above 0, an amount such as 4GB, or auto",
        "an amount such as 4GB or 500MB, or auto",
    )
    return Rule(convert, allowed, parse, "4GB|auto", written=written)


def boolean() -> Rule:
    """Return the rule of a Boolean."""

    def convert(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def parse(text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"

    return Rule(convert, "true or false", parse, "true|false")


def flag() -> Rule:
    """Return the rule of a Boolean whose option on the command line has no argument."""
    return dataclasses.replace(boolean(), is_flag=True)


def path(what: str) -> Rule:
    """Return the rule of the path of `what`, or None.

    In Python the object itself is allowed, too.
    """

    def convert(value: Any) -> Any:
        if isinstance(value, str) and not value:
            raise ValueError
        if value is None or isinstance(value, (str, os.PathLike)) or hasattr(value, "convert"):
            return value
        raise TypeError

    return Rule(convert, f"{what}'s path", metavar="FILE")


def line(empty: bool = False) -> Rule:
    """Return the rule of a text of one line."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or not value.isprintable() or not (value or empty):
            raise ValueError
        return value

    return Rule(convert, "a text of one line")


def named_or_path(*named: str, what: str = "a file") -> Rule:
    """Return the rule of one of several words, or a path."""
    check = line().convert
    words = f"one of {', '.join(named)}, or {what}'s path"
    return Rule(lambda value: check(os.fspath(value)), words, metavar="|".join((*named, "FILE")))


def layers(*, pixels: bool = False) -> Rule:
    """Return the rule of layers of VGG-19 and their weights.

    The result is {index: weight}, in the network's order. The layers are given as names or indices, with a weight of 1
    each, or as a mapping from them to weights; on a command line as `conv1_1,conv2_1:0.5`. With `pixels`, layers.PIXELS
    is allowed, too.

    >>> layers().check(["relu4_2", 25], "content_layers")
    {22: 1.0, 25: 1.0}
    >>> layers().check(layers().parse("conv2_1:0.5,conv1_1"), "style_layers")
    {0: 1.0, 5: 0.5}
    """
    check_index, check_weight = integer(0).convert, number(0).convert

    def index(name: Any) -> int:
        name = int(name) if isinstance(name, str) and name.isdecimal() else name
        if pixels and name in ("pixels", PIXELS):
            return PIXELS
        return check_index(LAYERS[name] if isinstance(name, str) else name)

    def convert(value: Any) -> dict[int, float]:
        if isinstance(value, str):
            raise ValueError
        if not isinstance(value, dict) and PIXELS in value:  # the caller may mean the last layer, as in a Python list
            raise ValueError
        weighted = value if isinstance(value, dict) else dict.fromkeys(value, 1.0)
        indices = {index(name): check_weight(weight) for name, weight in weighted.items()}
        if len(indices) < len(value) or any(index >= len(LAYERS) for index in indices):
            raise ValueError
        return dict(sorted(indices.items()))

    def parse(text: str) -> Any:
        pairs = [layer.partition(":") for layer in text.split(",")]
        if not any(colon for _, colon, _ in pairs):
            return [name for name, _, _ in pairs]
        if len({name for name, _, _ in pairs}) < len(pairs):
            raise ValueError
        return {name: float(weight) if colon else 1.0 for name, colon, weight in pairs}

    examples = "conv4_2, relu4_2, pixels" if pixels else "conv4_2, relu4_2"
    allowed = (
        f"different layers of VGG-19, by name ({examples}) or index (0 to {len(LAYERS) - 1}), "
        "or a table of their weights"
    )
    written = f"{allowed.rpartition(', or a table')[0]}, with a weight of at least 0 each or none: conv1_1:0.5,conv2_1"
    names = (*LAYERS, "pixels") if pixels else tuple(LAYERS)
    return Rule(convert, allowed, parse, "LAYER[:WEIGHT],...", several=True, written=written, names=names)


OWN, LADDER = "own", "ladder"
"""Sizes by name: that of the content picture, and those of a recipe's ladder."""


def size() -> Rule:
    """Return the rule of a size.

    A size is (height, width) in pixels, the length of one side, or OWN or LADDER.
    """
    check = integer(1).convert

    def convert(value: Any) -> int | str | tuple[int, int]:
        if isinstance(value, numbers.Integral):
            return check(value)
        if isinstance(value, str) and value in (OWN, LADDER):
            return value
        height, width = value
        return check(height), check(width)

    def parse(text: str) -> tuple[int, ...]:
        height, width = map(int, text.lower().replace("×", "x").split("x"))
        return height, width

    allowed = "two positive integers, [height, width], or one, the longest or shortest side, or own, or ladder"
    return Rule(convert, allowed, parse, "HxW", written="HEIGHTxWIDTH,… such as 150x225,300x450")


def side() -> Rule:
    """Return the rule of the longest side in pixels, or `own`.

    `own` is the longest side of the content picture.
    """
    check = integer(1)
    return Rule(
        lambda value: value if value == OWN else check.convert(value),
        "a positive integer, or own",
        lambda text: text if text == OWN else int(text),
        "N|own",
    )


def style_size() -> Rule:
    """Return the rule of a style size.

    A style size is `content`, or a multiple of the composite's longest side.
    """
    check, most = number(above=0).convert, 100

    def convert(value: Any) -> str | float:
        if isinstance(value, str) and value == "content":
            return value
        if check(value) > most:
            raise ValueError
        return check(value)

    return Rule(
        convert,
        f"content, or a number above 0, {most} at the most",
        lambda text: text if text == "content" else float(text),
        "content|SCALE",
    )
