"""Options of the command line, derived from the schema of recipes.

They are those of a run, and those that `--vary` varies.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from typing import Any, Callable, Iterable, NamedTuple

from gluon_nst.cli.arguments import Parser
from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.network.layers import NAMES
from gluon_nst.recipes import LONGEST_SIDE, Recipe, Setting, read, recipe_settings, settings
from gluon_nst.recipes.rules import LADDER, Rule, integer
from gluon_nst.runs.job import Job, Style


class Option(NamedTuple):
    """A setting as an option of the command line, `--name`."""

    name: str
    destination: str
    """The keyword of `transfer`."""
    parse: Callable[[str], Any]
    several: bool
    """Whether its value may contain commas."""
    arguments: dict[str, Any]
    """Arguments of argparse's add_argument."""
    group: str
    setting: Setting | None = None


def rule_parser(rule: Rule, parse: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """Return a parser of an argument by a rule.

    `parse` replaces that of the rule, and returns a list of values. It raises argparse's error, with the rule's
    description, for a text that can't be parsed and a value that is not allowed.
    """

    def read(text: str) -> Any:
        try:
            value = (parse or rule.parse)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(rule.complaint(text, rule.written)) from None
        try:
            for each in value if parse else [value]:
                rule.check(each, "")
        except InputError as error:  # argparse would print the function's name
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return read


def setting_parser(setting: Setting) -> Callable[[str], Any]:
    """Return a parser of an option that checks its value; it raises argparse's error."""
    return rule_parser(setting.rule, setting.parse if setting.staged else None)


def _option(setting: Setting, group: str) -> Option:
    arguments: dict[str, Any] = {"help": setting.help}
    parse = setting_parser(setting)
    if setting.rule.is_flag:
        arguments.update(action="store_true", default=None)
    elif setting.rule.choices:
        arguments["choices"] = setting.rule.choices
    else:
        arguments["type"] = parse
        arguments["metavar"] = (f"{setting.rule.metavar},..." if setting.staged else setting.rule.metavar) or None
    several = setting.staged or setting.rule.several
    return Option(setting.name.replace("_", "-"), setting.name, parse, several, arguments, group, setting)


def style_settings() -> dict[str, Setting]:
    """Return the settings of each of several styles, by their options' last word.

    The options are `--style-weights` and `--style-scale`.
    """
    names = {"weight": "weights"}
    return {names.get(each.name, each.name): each._replace(staged=True) for each in settings(Style)}


_COMMA_SUBSTITUTE = r"(?<![0-9.][eE])\+"
"""A + in place of a comma; not the sign of an exponent."""

STAGES = "stages, from coarse to fine (one value per stage, or one for all stages)"
RECIPE = "settings of the recipe (they override those of --recipe)"
RUN = "the run"
FILE = "output file (if the format supports it)"


def options() -> list[Option]:
    """Return the options of `transfer`, without pictures, recipe and device."""
    recipe_options = [_option(setting, STAGES if setting.staged else RECIPE) for setting in recipe_settings()]
    job_options = [_option(setting, FILE if setting.words else RUN) for setting in settings(Job)]
    sizes, *others = recipe_options
    sizes.arguments["help"] = "height and width of each stage in pixels: 150x225,300x450"
    return [sizes, _option(LONGEST_SIDE, STAGES), *others, *job_options]


def add_options(parser: Parser, recipe: str | None, without: Iterable[str] = ()) -> None:
    """Add the options of a command that runs jobs, except those in `without`.

    `--help` shows the everyday ones. `recipe` is the command's default, whose values the help gives as defaults; None
    if it has several.
    """
    if "recipe" not in without:
        help = with_default("recipe: the name of a built-in recipe (see gluon-nst recipes), or a TOML file", recipe)
        parser.add_argument("--recipe", metavar="NAME|FILE.toml", help=help)
    defaults = read(recipe) if recipe else None
    titles = [STAGES, RECIPE, RUN, FILE]
    groups = {title: parser.add_argument_group(title) for title in titles}
    sizes = groups[STAGES].add_mutually_exclusive_group()
    for option in options():
        if option.name not in without:
            group = sizes if option.destination in ("sizes", "longest_side") else groups[option.group]
            assert option.setting is not None
            help = with_default(option.arguments["help"], default_text(option.setting, defaults))
            action = group.add_argument(
                f"--{option.name}", dest=option.destination, **{**option.arguments, "help": help}
            )
            if not option.setting.everyday:
                parser.only_in_help_all(action)
    add_device(groups[RUN])
    pixels_help = "maximum number of pixels of an input picture (default: Pillow's decompression bomb limit)"
    max_pixels = _option(Setting("max_pixels", integer(1), pixels_help, None, staged=False, words=False), RUN)
    parser.only_in_help_all(groups[RUN].add_argument("--max-pixels", **max_pixels.arguments))
    groups[RUN].add_argument("--quiet", action="store_true", help="no progress bar")


def add_device(parser: Any) -> None:
    """Add the option --device to a parser or a group of options."""
    help = "where to compute (default: auto, the first GPU, else the CPU)"
    parser.add_argument("--device", metavar="auto|cpu|gpu|gpu:N", default="auto", help=help)


def with_default(help: str, default: str | None) -> str:
    """Return the help of an option with its default, if it has one."""
    return f"{help} (default: {default})" if default else help


def default_text(setting: Setting, recipe: Recipe | None) -> str:
    """Return the default of a setting as it is typed, or "".

    The text is empty if there is no default, or none that has an effect. Without a `recipe` its settings have no
    defaults.

    >>> default_text(LONGEST_SIDE, read("fine"))
    '512'
    """
    if setting.rule.is_flag or (recipe and setting.needs and not setting.needs.holds(recipe)):
        return ""
    if setting.name in {field.name for field in dataclasses.fields(Job)}:
        return "auto" if setting.name == "memory" else _as_typed(setting.default)
    if recipe is None:
        return ""
    if not setting.staged:
        return _as_typed(getattr(recipe, setting.name))
    if setting.name in ("sizes", "longest_side"):
        kind = tuple if setting.name == "sizes" else int
        sizes = [stage.size for stage in recipe.stages if stage.size != LADDER]
        values = sizes if all(isinstance(size, kind) for size in sizes) else []
    else:
        values = [getattr(stage, setting.name) for stage in recipe.stages]
    return ",".join(map(_as_typed, values if len(set(values)) > 1 else values[:1]))


def _as_typed(value: Any) -> str:
    """Return a value as it is typed as an argument; "" for None."""
    if isinstance(value, dict):  # layers
        return ",".join(NAMES[layer] + (f":{weight:g}" if weight != 1 else "") for layer, weight in value.items())
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that the user gave, as keywords of `transfer`."""
    values = {option.destination: getattr(arguments, option.destination, None) for option in options()}
    return {name: value for name, value in values.items() if value is not None}


def variable_options() -> dict[str, Option]:
    """Return the options that `--vary` can vary, by name."""
    recipe = Option("recipe", "recipe", str, False, {}, RECIPE)
    return {option.name: option for option in [recipe, *options()] if option.name != "regions" and option.group != FILE}


def parse_variation(text: str) -> tuple[str, dict[str, Any]]:
    """Parse NAME=VALUE,… to (option, {label: value}).

    A + inside a value stands for a comma of the option.
    """
    name, _, labels = text.partition("=")
    options_by_name = variable_options()
    plural = options_by_name.get(f"{name}s")
    name = f"{name}s" if plural and plural.several else name
    if name not in options_by_name or not labels:
        suggestion = did_you_mean(name, options_by_name) if name not in options_by_name else ""
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE,… where NAME is one of {', '.join(options_by_name)}{suggestion}"
        )
    option, values = options_by_name[name], {}
    for label in labels.split(","):
        if label in values:
            raise argparse.ArgumentTypeError(f"{text!r} has {label} twice")
        try:
            values[label] = option.parse(re.sub(_COMMA_SUBSTITUTE, ",", label) if option.several else label)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{name}={label}: {error}") from None
    return option.destination, values
