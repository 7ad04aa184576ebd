"""Options of the command line, made from the schema: what may be said of a run, and what `--vary` varies."""

from __future__ import annotations

import argparse
import re
from typing import Any, Callable, Iterable, NamedTuple

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.recipes import LONGEST_SIDE, Setting, recipe_settings, settings
from gluon_nst.recipes.rules import Rule, integer
from gluon_nst.runs.job import Job, Style


class Option(NamedTuple):
    """A setting as it is given on the command line: `--name`."""

    name: str
    destination: str
    """What `transfer` calls it."""
    parse: Callable[[str], Any]
    several: bool
    """Whether its text may have commas."""
    arguments: dict[str, Any]
    """Those of argparse's add_argument."""
    group: str


def reader(rule: Rule, parse: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """What reads the text of an argument by a rule: as the rule does, or by `parse`, to a list of values.

    It raises argparse's error, in the words of the rule, for a text that can't be read and for a value that is not
    allowed.
    """

    def read(text: str) -> Any:
        try:
            value = (parse or rule.parse)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(rule.complaint(text, rule.written)) from None
        try:
            for each in value if parse else [value]:
                rule.check(each, "")
        except InputError as error:  # of which argparse would show the function's name
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return read


def parser_of(setting: Setting) -> Callable[[str], Any]:
    """What reads the text of an option, and checks it; it raises argparse's error."""
    return reader(setting.rule, setting.parse if setting.staged else None)


def _option(setting: Setting, group: str) -> Option:
    arguments: dict[str, Any] = {"help": setting.help}
    parse = parser_of(setting)
    if setting.rule.is_flag:
        arguments.update(action="store_true", default=None)
    elif setting.rule.choices:
        arguments["choices"] = setting.rule.choices
    else:
        arguments["type"] = parse
        arguments["metavar"] = (f"{setting.rule.metavar},..." if setting.staged else setting.rule.metavar) or None
    several = setting.staged or setting.rule.several
    return Option(setting.name.replace("_", "-"), setting.name, parse, several, arguments, group)


def style_settings() -> dict[str, Setting]:
    """What may be said of each of several styles, by the end of its option's name: `--style-weights`,
    `--style-scale`."""
    names = {"weight": "weights"}
    return {names.get(each.name, each.name): each._replace(staged=True) for each in settings(Style)}


_COMMA = r"(?<![0-9.][eE])\+"
"""A + that stands for a comma, and is no exponent's."""

STAGES = "the stages, coarse to fine (one value for each size, or one for all)"
RECIPE = "the recipe (what is not given is as --recipe has it)"
RUN = "the run"
FILE = "the picture's file, where its format has that"


def options() -> list[Option]:
    """All that `transfer` takes beside two pictures, the recipe and the device."""
    of_recipe = [_option(setting, STAGES if setting.staged else RECIPE) for setting in recipe_settings()]
    of_job = [_option(setting, FILE if setting.words else RUN) for setting in settings(Job)]
    sizes, *others = of_recipe
    sizes.arguments["help"] = "height and width of each stage in pixels: 150x225,300x450"
    return [sizes, _option(LONGEST_SIDE, STAGES), *others, *of_job]


def add_options(parser: argparse.ArgumentParser, without: Iterable[str] = ()) -> None:
    """Give a parser the options of every command that runs anything, but for those `without` which a command is."""
    titles = [STAGES, RECIPE, RUN, FILE]
    groups = {title: parser.add_argument_group(title) for title in titles}
    sizes = groups[STAGES].add_mutually_exclusive_group()
    if "recipe" not in without:
        help = "what to compute (see gluon-nst recipes)"
        groups[RECIPE].add_argument("--recipe", metavar="NAME|FILE.toml", help=help)
    for option in options():
        if option.name not in without:
            group = sizes if option.destination in ("sizes", "longest_side") else groups[option.group]
            group.add_argument(f"--{option.name}", dest=option.destination, **option.arguments)
    device_help = "default: the first GPU, else the CPU"
    groups[RUN].add_argument("--device", metavar="auto|cpu|gpu|gpu:N", default="auto", help=device_help)
    most_help = "the most that a picture may have; default: Pillow's limit against files that unpack to fill the memory"
    most = _option(Setting("max_pixels", integer(1), most_help, None, staged=False, words=False), RUN)
    groups[RUN].add_argument("--max-pixels", **most.arguments)
    groups[RUN].add_argument("--quiet", action="store_true", help="no progress bar")


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of the options that were given, as `transfer` takes them."""
    values = {option.destination: getattr(arguments, option.destination, None) for option in options()}
    return {name: value for name, value in values.items() if value is not None}


def variable() -> dict[str, Option]:
    """What `--vary` varies, by name."""
    recipe = Option("recipe", "recipe", str, False, {}, RECIPE)
    return {option.name: option for option in [recipe, *options()] if option.name != "regions" and option.group != FILE}


def varied(text: str) -> tuple[str, dict[str, Any]]:
    """(option, {label: value}) of NAME=VALUE,…; a + inside a value stands for the comma of an option with several."""
    name, _, labels = text.partition("=")
    known = variable()
    plural = known.get(f"{name}s")
    name = f"{name}s" if plural and plural.several else name
    if name not in known or not labels:
        suggestion = did_you_mean(name, known) if name not in known else ""
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE,… where NAME is one of {', '.join(known)}{suggestion}"
        )
    option, values = known[name], {}
    for label in labels.split(","):
        if label in values:
            raise argparse.ArgumentTypeError(f"{text!r} has {label} twice")
        try:
            values[label] = option.parse(re.sub(_COMMA, ",", label) if option.several else label)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{name}={label}: {error}") from None
    return option.destination, values
