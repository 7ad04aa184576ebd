"""What a student asks for, checked by the schema of recipes; and the program that makes the same picture without the
page."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from typing import Any, Mapping, Sequence

from gluon_nst.errors import InputError
from gluon_nst.lab.web.body import Body
from gluon_nst.lab.web.limits import Limits
from gluon_nst.recipes import INITS, Recipe, customise, fit, names, read, recipe_settings, setting
from gluon_nst.recipes.choices import PRESERVE_COLORS
from gluon_nst.recipes.rules import choice, integer, number
from gluon_nst.runs.job import Style

WEIGHTS = ("content_weight", "style_weight", "tv_weight")
"""What can be changed while a run is at work."""
MOST_STYLES = 4
RECIPES = ("fine", "fast", *(name for name in names() if name not in ("fine", "fast", "reconstruction")))
"""Those of the package that make a picture of two, the best for a class first."""

_ID = re.compile("[0-9a-z-]{1,40}")
"""What names a picture or a run. Nothing else is ever looked for, so a path is no name of one."""


def is_id(text: Any) -> bool:
    """Whether a text can be the name of a picture, a run or a student."""
    return isinstance(text, str) and bool(_ID.fullmatch(text))


def _optional(name: str, *choices: str) -> Any:
    """A field that may stay as the recipe has it; its rule and its words are those of the recipe's.

    Where there are `choices` it is one of them: a path, which the recipe's own field may be, is none here.
    """
    known = next(each for each in recipe_settings() if each.name == name)
    rule = choice(*choices) if choices else known.rule
    return setting(
        dataclasses.replace(rule, convert=lambda value: None if value is None else rule.convert(value)),
        known.help,
        None,
    )


@dataclasses.dataclass(frozen=True)
class Asked(Body):
    """What a student asks for."""

    content: str
    """The name of a picture."""
    styles: tuple[tuple[str, float], ...]
    """Names of pictures, each with its weight."""
    # fmt: off
    recipe: str = setting(choice(*RECIPES), "what to compute", "fine")
    side: int = setting(integer(32), "the longest side of the composite, in pixels", 256)
    seed: int = setting(integer(0), "seed of the noise that a start from noise starts from", 0)
    epochs: int | None = _optional("epochs")
    content_weight: float | None = _optional("content_weight")
    style_weight: float | None = _optional("style_weight")
    tv_weight: float | None = _optional("tv_weight")
    init: str | None = _optional("init", *INITS)
    preserve_colors: str | None = _optional("preserve_colors", *PRESERVE_COLORS)
    # fmt: on

    def __post_init__(self) -> None:
        if not is_id(self.content):
            raise InputError("content: choose a picture of the page; nothing else can be named here")
        styles = self.styles if isinstance(self.styles, (list, tuple)) else ()
        if not 1 <= len(styles) <= MOST_STYLES:
            raise InputError(f"styles: choose one to {MOST_STYLES} pictures")
        checked = []
        for style in styles:
            if not (isinstance(style, (list, tuple)) and len(style) == 2 and is_id(style[0])):
                raise InputError("styles: choose pictures of the page; nothing else can be named here")
            checked.append((style[0], number(above=0, most=1e6).check(style[1], "style weight")))
        object.__setattr__(self, "styles", tuple(checked))
        super().__post_init__()

    def as_dict(self) -> dict[str, Any]:
        """What `of` makes it of."""
        return {**vars(self), "styles": [list(style) for style in self.styles]}

    @property
    def pictures(self) -> list[str]:
        """The names of all of its pictures."""
        return [self.content, *(style for style, _ in self.styles)]

    @property
    def sizes(self) -> list[int]:
        """The longest sides of its stages: the recipe's own, scaled; of a ladder, or of one size, the last alone."""
        recipe = read(self.recipe)
        lengths = [max(stage.size) if isinstance(stage.size, tuple) else stage.size for stage in recipe.stages]
        if recipe.size_factor != 1 or not all(isinstance(length, int) for length in lengths):
            return [self.side]
        return [max(32, round(self.side * length / lengths[-1])) for length in lengths]  # type: ignore[operator]

    @property
    def changes(self) -> dict[str, Any]:
        """What it changes of its recipe, but for the sizes."""
        unchangeable = ("content", "styles", "recipe", "side", "seed")
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name not in unchangeable and value is not None}

    def customised(self) -> Recipe:
        """Its recipe. Raises InputError for what does not go together."""
        return customise(self.recipe, sizes=self.sizes, **self.changes)

    def fitted(self, size: tuple[int, int], limits: Limits) -> Recipe:
        """Its recipe for a content picture of a `size` (height, width). Raises InputError for one beyond the
        `limits`."""
        if self.side > limits.side:
            raise InputError(f"size: the lab allows {limits.side} pixels; choose a smaller one")
        recipe = fit(self.customised(), size)
        if sum(stage.epochs for stage in recipe.stages) > limits.epochs:
            raise InputError(f"epochs: the lab allows {limits.epochs} in all; choose fewer")
        return recipe

    def styles_of(self, paths: Mapping[str, Any]) -> list[Style]:
        """Its styles; `paths` are those of the pictures by name."""
        return [Style(paths[name], weight=weight) for name, weight in self.styles]


def program(asked: Asked, labels: Mapping[str, str], threads: int, steered: bool) -> dict[str, str]:
    """The `command` and the `python` that make the same picture; `labels` are the pictures' names for people.

    The weights of a run that was `steered` are in its recipe, a file that the page gives.
    """
    content, *styles = (labels[name] for name in asked.pictures)
    weights = [weight for _, weight in asked.styles]
    alike = len(set(weights)) == 1
    options: list[Sequence[Any]] = [("--seed", asked.seed)] if asked.seed else []
    if not alike:
        options.append(("--style-weights", ",".join(f"{weight:g}" for weight in weights)))
    if steered:
        options.append(("--recipe", "recipe.toml"))
    else:
        options += [("--recipe", asked.recipe), ("--longest-side", ",".join(map(str, asked.sizes)))]
        options += [(f"--{name.replace('_', '-')}", value) for name, value in asked.changes.items()]
    words = ["gluon-nst", "render", content, *styles, "--output", "picture.png"]
    words += [str(word) for option in options for word in option]
    return {
        "command": f"OMP_NUM_THREADS={threads} {shlex.join(words)}",
        "python": _python(asked, [content, *styles], alike, threads, steered),
    }


def _python(asked: Asked, labels: Sequence[str], alike: bool, threads: int, steered: bool) -> str:
    content, *styles = map(json.dumps, labels)
    if alike:
        given = styles[0] if len(styles) == 1 else f"[{', '.join(styles)}]"
    else:
        each = zip(styles, (weight for _, weight in asked.styles))
        given = f"[{', '.join(f'nst.Style({style}, weight={weight:g})' for style, weight in each)}]"
    values: dict[str, Any] = {"recipe": "recipe.toml"} if steered else {"recipe": asked.recipe, "sizes": asked.sizes}
    values.update({"seed": asked.seed} if asked.seed else {}, **({} if steered else asked.changes))
    named = ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    return (
        "import os\n\n"
        f'os.environ["OMP_NUM_THREADS"] = "{threads}"  # as the lab computes: other sums, another picture\n\n'
        f"import gluon_nst as nst\n\nresult = nst.transfer({content}, {given}, {named})\n"
        'result.save("picture.png")\nresult.plot()\n'
    )
