"""Changes of recipes, and recipes with the sizes of given pictures."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

from gluon_nst.errors import InputError, check_keywords
from gluon_nst.network.layers import smallest_side
from gluon_nst.recipes.choices import OPTIMIZERS
from gluon_nst.recipes.effects import warn_without_effect
from gluon_nst.recipes.files import RecipeName, read
from gluon_nst.recipes.schema import LONGEST_SIDE, Recipe, Setting, Stage, recipe_settings


def customise(recipe: RecipeName, **changes: Any) -> Recipe:
    """Return a recipe with `changes` of its values; None keeps a value.

    `recipe` is a Recipe, a name or a path. The keywords are the fields of Recipe and of Stage. Those of Stage take one
    value for all stages, or a sequence with one for each. `sizes` is a list with the size of each stage, (height,
    width) or the longest side, or a single longest side. `longest_side` is one longest side, or a list with one for
    each stage. If the number of stages changes, their other values are those of the recipe's stages in turn, then of
    its last one. Raises InputError for a value that is not allowed, and for `sizes=(48, 64)`, which could be one size
    or two; TypeError for an unknown keyword.

    >>> [stage.epochs for stage in customise("d2l-2019", sizes=[(75, 112), (150, 225)], epochs=9).stages]
    [9, 9]
    """
    recipe = read(recipe)
    settings_by_name = {each.name: each for each in (*recipe_settings(), LONGEST_SIDE)}
    check_keywords(changes, settings_by_name, "not a setting of a recipe")
    values_by_name = {name: value for name, value in changes.items() if value is not None}
    stages, sizes = recipe.stages, []
    size_settings = [settings_by_name[name] for name in ("sizes", "longest_side") if name in values_by_name]
    if len(size_settings) > 1:
        raise InputError("sizes, longest_side: both set the sizes of the stages; leave one of them out")
    for size_setting in size_settings:
        sizes = _sizes(values_by_name.pop(size_setting.name), size_setting)
        if values_by_name.get("size_factor", recipe.size_factor) != 1 and len(sizes) == 1:  # a ladder's end
            stages = (*stages[:-1], *_resized(stages[-1:], sizes))
        else:
            stages = _resized(stages, sizes)
            values_by_name = {"size_factor": 1.0, **values_by_name}
        if not all(
            isinstance(stage.size, tuple) for stage in stages
        ):  # the longest sides, whatever the recipe's own rule
            values_by_name = {"side": "longest", "enlarge": True, **values_by_name}
    for name in [name for name in values_by_name if settings_by_name[name].staged]:
        values = _one_for_each(values_by_name.pop(name), len(stages), settings_by_name[name])
        stages = tuple(dataclasses.replace(stage, **{name: value}) for stage, value in zip(stages, values))
    customised = dataclasses.replace(recipe, stages=stages, **values_by_name)
    warn_without_effect((name for name, value in changes.items() if value is not None), settings_by_name, customised)
    if customised.size_factor != 1 and len(sizes) > 1:  # all but the last would be ignored
        raise InputError(
            f"size_factor: a ladder has one final size, and {len(sizes)} are given;"
            " give only the last one, or no factor"
        )
    return customised


def _sizes(value: Any, setting: Setting) -> list[Any]:
    """Return the size of each stage, checked by the rule of its `setting`."""
    if setting is not LONGEST_SIDE and isinstance(value, tuple) and len(value) == 2 and all(map(_is_integer, value)):
        first, second = map(int, value)
        raise InputError(
            f"{setting.name}: ({first}, {second}) is either one size or two; write [[{first}, {second}]] for height and"
            f" width, or longest_side = [{first}, {second}] for two stages"
        )
    sizes = list(value) if isinstance(value, (list, tuple)) else [value]
    if not sizes:
        raise InputError(f"{setting.name}: at least one is needed")
    return [setting.rule.check(size, setting.name) for size in sizes]


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral)


def _resized(stages: tuple[Stage, ...], sizes: list[Any]) -> tuple[Stage, ...]:
    templates = [stages[min(number, len(stages) - 1)] for number in range(len(sizes))]
    return tuple(dataclasses.replace(stage, size=size) for stage, size in zip(templates, sizes))


def _one_for_each(value: Any, count: int, setting: Setting) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) not in (1, count):
        raise InputError(f"{setting.name}: {len(values)} numbers for {count} sizes; give one each, or one for all")
    values = [setting.rule.check(value, setting.name) for value in values]
    return values * count if len(values) == 1 else values


def follow_optimizer(recipe: Recipe) -> Recipe:
    """Return the recipe with its optimizer's values for `auto`.

    `auto` is allowed in `clip_at` and `keep`.
    """
    facts = OPTIMIZERS[recipe.optimizer]
    return dataclasses.replace(
        recipe,
        clip_at=facts.clip_at if recipe.clip_at == "auto" else recipe.clip_at,
        keep=facts.keep if recipe.keep == "auto" else recipe.keep,
    )


def fit(recipe: Recipe, picture_size: tuple[int, int]) -> Recipe:
    """Return the recipe with the (height, width) of every stage for a content picture.

    >>> fit(customise("d2l-2019", sizes=[450]), (600, 900)).stages[0].size
    (300, 450)
    """
    stages = _ladder(recipe, picture_size) if recipe.size_factor != 1 else recipe.stages
    return dataclasses.replace(
        recipe,
        stages=tuple(dataclasses.replace(stage, size=_fitted(recipe, stage.size, picture_size)) for stage in stages),
        size_factor=1.0,
    )


def _fitted(recipe: Recipe, size: int | str | tuple[int, int], picture_size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a `size` of `recipe` for a picture."""
    shortest, longest = min(picture_size), max(picture_size)
    if isinstance(size, tuple):
        return size
    if isinstance(size, str):
        return picture_size
    height, width = picture_size
    length = size if recipe.enlarge else min(size, longest)
    if recipe.side == "shortest":  # as torchvision's Resize of one number, which rounds the other side down
        return height * length // shortest, width * length // shortest
    return max(1, round(height * length / longest)), max(1, round(width * length / longest))


def _ladder(recipe: Recipe, picture_size: tuple[int, int]) -> list[Stage]:
    """Return the stages of a recipe's ladder.

    The sizes increase up to that of the recipe's last stage; other values are those of its stages in turn. Sizes that
    are too small for the network are left out.
    """
    end = _fitted(recipe, recipe.stages[-1].size, picture_size)
    length, min_side = max(end) if recipe.side == "longest" else min(end), smallest_side(recipe.last_layer)
    sizes = [end]
    while True:
        longest = round(length / recipe.size_factor ** len(sizes))
        height, width = (max(1, round(side * longest / length)) for side in end)
        if longest < recipe.smallest_size or min(height, width) < max(2, min_side):  # a total variation takes two
            break
        sizes.insert(0, (height, width))
    templates = (recipe.stages[min(number, len(recipe.stages) - 1)] for number in range(len(sizes)))
    return [dataclasses.replace(template, size=size) for template, size in zip(templates, sizes)]


def style_shape(
    recipe: Recipe, composite: tuple[int, int], picture_size: tuple[int, int], scale: float | None = None
) -> tuple[int, int]:
    """Return the (height, width) of a style picture for a `composite`.

    `composite` and `picture_size` are the (height, width) of the composite and of the style picture's file. `scale` is
    the picture's own style size, or None. A picture whose short side is less than the network needs is enlarged.
    """
    style_size = recipe.style_size if scale is None else scale
    if not isinstance(style_size, float):
        return composite
    factor = style_size * max(composite) / max(picture_size)
    min_side = smallest_side(recipe.last_layer)
    factor = max(factor if recipe.enlarge_style else min(factor, 1.0), min_side / min(picture_size))
    height, width = picture_size
    return max(min_side, round(height * factor)), max(min_side, round(width * factor))
