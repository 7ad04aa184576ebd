"""The JSON bodies of requests, and the program equivalent to a run.

The schema of recipes validates them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from typing import Any, Mapping, Sequence, TypeVar

from gluon_nst.errors import InputError
from gluon_nst.lab.web.limits import Limits
from gluon_nst.recipes import INITS, Recipe, customise, fit, names, read, recipe_settings, setting
from gluon_nst.recipes.choices import PRESERVE_COLORS
from gluon_nst.recipes.rules import choice, integer, number
from gluon_nst.recipes.schema import check_fields
from gluon_nst.runs.job import Style

WEIGHTS = ("content_weight", "style_weight", "tv_weight")
"""The weights that can be changed during a run."""
MAX_STYLES = 4
RECIPES = ("fine", "fast", *(name for name in names() if name not in ("fine", "fast", "reconstruction")))
"""The package's recipes that use a content and a style picture, the best for a class first."""

_ID = re.compile("[0-9a-z-]{1,40}")
"""Ids of pictures, runs and students. A path does not match, so no request can name a file."""

BodyType = TypeVar("BodyType", bound="RequestBody")


def is_id(value: Any) -> bool:
    """Whether a value has the form of an id of a picture, a run or a student."""
    return isinstance(value, str) and bool(_ID.fullmatch(value))


@dataclasses.dataclass(frozen=True)
class RequestBody:
    """A body without fields; subclasses add fields with rules, like those of a recipe.

    Raises InputError for a value that breaks its rule.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def from_json(cls: type[BodyType], values: Any) -> BodyType:
        """Create the body from decoded JSON.

        Raises InputError unless it is an object with these fields.
        """
        required_by_name = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        description = f"the fields {', '.join(required_by_name)}" if required_by_name else "no fields"
        if not isinstance(values, dict):
            raise InputError(f"the request is not a JSON object with {description}")
        for name in values:
            if name not in required_by_name:
                raise InputError(f"{name}: not a field of this request, which has {description}")
        for name, required in required_by_name.items():
            if required and name not in values:
                raise InputError(f"{name}: missing in this request, which has {description}")
        return cls(**values)


def _optional_setting(name: str, *choices: str) -> Any:
    """Return an optional field like the recipe's field `name`.

    It has its rule and its help text. Its default, None, keeps the value of the recipe. `choices` replace a rule that
    also accepts a path, which a request must not contain.
    """
    recipe_field = next(each for each in recipe_settings() if each.name == name)
    rule = choice(*choices) if choices else recipe_field.rule
    return setting(
        dataclasses.replace(rule, convert=lambda value: None if value is None else rule.convert(value)),
        recipe_field.help,
        None,
    )


@dataclasses.dataclass(frozen=True)
class RunRequest(RequestBody):
    """A student's request for a run."""

    content: str
    """The id of a picture."""
    styles: tuple[tuple[str, float], ...]
    """Ids of pictures, each with its weight."""
    # fmt: off
    recipe: str = setting(choice(*RECIPES), "the recipe", "fine")
    side: int = setting(integer(32), "the longest side of the composite, in pixels", 256)
    seed: int = setting(integer(0), "random seed of the noise for init = noise", 0)
    epochs: int | None = _optional_setting("epochs")
    content_weight: float | None = _optional_setting("content_weight")
    style_weight: float | None = _optional_setting("style_weight")
    tv_weight: float | None = _optional_setting("tv_weight")
    init: str | None = _optional_setting("init", *INITS)
    preserve_colors: str | None = _optional_setting("preserve_colors", *PRESERVE_COLORS)
    # fmt: on

    def __post_init__(self) -> None:
        if not is_id(self.content):
            raise InputError("content: choose a picture on the page; a path is not accepted")
        styles = self.styles if isinstance(self.styles, (list, tuple)) else ()
        if not 1 <= len(styles) <= MAX_STYLES:
            raise InputError(f"styles: choose one to {MAX_STYLES} pictures")
        checked = []
        for style in styles:
            if not (isinstance(style, (list, tuple)) and len(style) == 2 and is_id(style[0])):
                raise InputError("styles: choose pictures on the page; a path is not accepted")
            checked.append((style[0], number(above=0, most=1e6).check(style[1], "style weight")))
        object.__setattr__(self, "styles", tuple(checked))
        super().__post_init__()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON values that `from_json` reads."""
        return {**vars(self), "styles": [list(style) for style in self.styles]}

    @property
    def picture_ids(self) -> list[str]:
        """The ids of the content picture and the style pictures."""
        return [self.content, *(style for style, _ in self.styles)]

    @property
    def sizes(self) -> list[int]:
        """The longest sides of the stages.

        They are the recipe's, scaled; for a ladder of sizes, the last one.
        """
        recipe = read(self.recipe)
        lengths = [max(stage.size) if isinstance(stage.size, tuple) else stage.size for stage in recipe.stages]
        if recipe.size_factor != 1 or not all(isinstance(length, int) for length in lengths):
            return [self.side]
        return [max(32, round(self.side * length / lengths[-1])) for length in lengths]  # type: ignore[operator]

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of the recipe that the request changes, except the sizes."""
        other_fields = ("content", "styles", "recipe", "side", "seed")
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name not in other_fields and value is not None}

    def customised_recipe(self) -> Recipe:
        """Return the recipe with the changes.

        Raises InputError for changes that contradict each other.
        """
        return customise(self.recipe, sizes=self.sizes, **self.changes)

    def fitted_recipe(self, size: tuple[int, int], limits: Limits) -> Recipe:
        """Return the recipe for a content picture of a `size` (height, width).

        Raises InputError beyond `limits`.
        """
        if self.side > limits.side:
            raise InputError(f"size: the lab allows {limits.side} pixels; choose a smaller one")
        recipe = fit(self.customised_recipe(), size)
        if sum(stage.epochs for stage in recipe.stages) > limits.epochs:
            raise InputError(f"epochs: the lab allows {limits.epochs} in all; choose fewer")
        return recipe

    def job_styles(self, paths: Mapping[str, Any]) -> list[Style]:
        """Return the styles of a Job; `paths` are those of the pictures by id."""
        return [Style(paths[id], weight=weight) for id, weight in self.styles]


def equivalent_program(request: RunRequest, labels: Mapping[str, str], threads: int, steered: bool) -> dict[str, str]:
    """Return the `command` and the `python` program that make the same picture.

    `labels` are the files' names by id. The weights of a `steered` run are in its recipe, which the page offers as a
    file.
    """
    content, *styles = (labels[id] for id in request.picture_ids)
    weights = [weight for _, weight in request.styles]
    equal_weights = len(set(weights)) == 1
    options: list[Sequence[Any]] = [("--seed", request.seed)] if request.seed else []
    if not equal_weights:
        options.append(("--style-weights", ",".join(f"{weight:g}" for weight in weights)))
    if steered:
        options.append(("--recipe", "recipe.toml"))
    else:
        options += [("--recipe", request.recipe), ("--longest-side", ",".join(map(str, request.sizes)))]
        options += [(f"--{name.replace('_', '-')}", value) for name, value in request.changes.items()]
    words = ["gluon-nst", "render", content, *styles, "--output", "picture.png"]
    words += [str(word) for option in options for word in option]
    return {
        "command": f"OMP_NUM_THREADS={threads} {shlex.join(words)}",
        "python": _python_program(request, [content, *styles], equal_weights, threads, steered),
    }


def _python_program(
    request: RunRequest, labels: Sequence[str], equal_weights: bool, threads: int, steered: bool
) -> str:
    content, *styles = map(json.dumps, labels)
    if equal_weights:
        style_argument = styles[0] if len(styles) == 1 else f"[{', '.join(styles)}]"
    else:
        weighted = zip(styles, (weight for _, weight in request.styles))
        style_argument = f"[{', '.join(f'nst.Style({style}, weight={weight:g})' for style, weight in weighted)}]"
    values: dict[str, Any] = {"recipe": "recipe.toml" if steered else request.recipe}
    values.update({} if steered else {"sizes": request.sizes})
    values.update({"seed": request.seed} if request.seed else {}, **({} if steered else request.changes))
    keywords = ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    return (
        "import os\n\n"
        f'os.environ["OMP_NUM_THREADS"] = "{threads}"  # as in the lab: the number of threads affects rounding\n\n'
        f"import gluon_nst as nst\n\nresult = nst.transfer({content}, {style_argument}, {keywords})\n"
        'result.save("picture.png")\nresult.plot()\n'
    )
