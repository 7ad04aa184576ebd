"""Settings without effect: what each setting requires of a recipe.

The module also checks that at least one loss has a weight.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, NamedTuple

from gluon_nst.errors import InputError, warn


class Needs(NamedTuple):
    """The requirement of a setting.

    A recipe that does not meet it ignores the setting.
    """

    words: str
    holds: Callable[[Any], bool]
    """Whether a Recipe meets the requirement."""


ADAM = Needs("optimizer adam", lambda recipe: recipe.optimizer == "adam")
LBFGS = Needs("optimizer lbfgs", lambda recipe: recipe.optimizer == "lbfgs")
PRECONDITIONED = Needs("preconditioner low-pass", lambda recipe: recipe.preconditioner == "low-pass")
GRAM = Needs("style_statistic gram", lambda recipe: recipe.style_statistic == "gram")
GRAMS = Needs("a style_statistic of Gram matrices", lambda recipe: recipe.style_statistic in ("gram", "gram-mean-std"))
MOMENTS = Needs("style_statistic gram-mean-std", lambda recipe: recipe.style_statistic == "gram-mean-std")
AVERAGE = Needs("keep average", lambda recipe: recipe.keep == "average")
TV = Needs("a tv_weight above 0", lambda recipe: _counts(recipe, "tv_weight"))
CONTENT = Needs("a content_weight above 0", lambda recipe: _counts(recipe, "content_weight"))
SEVERAL_STAGES = Needs("several stages", lambda recipe: len(recipe.stages) > 1 or recipe.size_factor > 1)
CARRIED = Needs(
    "several stages and carry picture", lambda recipe: SEVERAL_STAGES.holds(recipe) and recipe.carry == "picture"
)
LADDER = Needs("a size_factor above 1", lambda recipe: recipe.size_factor > 1)
PICTURE = Needs("an init from a picture", lambda recipe: recipe.init != "noise")
REFERENCE = Needs(
    "a content_weight above 0, or init content", lambda recipe: CONTENT.holds(recipe) or recipe.init == "content"
)
NOISE = Needs("init noise, or a noise above 0", lambda recipe: recipe.init == "noise" or recipe.noise > 0)


def _counts(recipe: Any, weight: str) -> bool:
    """Return whether a loss has a weight, at first or after one of the changes."""
    return any([getattr(recipe, weight), *(change.weights.get(weight) for change in recipe.changes)])


def warn_without_effect(given: Iterable[str], known: Mapping[str, Any], recipe: Any) -> None:
    """Warn of each setting of the caller that a recipe ignores.

    `known` are all settings by name.
    """
    for name in given:
        needs = known[name].needs if name in known else None
        if needs and not needs.holds(recipe):
            warn(f"{name} has no effect without {needs.words}", stacklevel=3)  # the caller's line that makes the job


def check_weights(recipe: Any) -> None:
    """Raise InputError if no loss has a weight, at first or after a change.

    Otherwise nothing would be minimised.
    """
    layers = {"content_weight": recipe.content_layers.values(), "style_weight": recipe.style_layers.values()}
    names = [name for name in ("content_weight", "style_weight", "tv_weight") if any(layers.get(name, [1]))]
    weights, since = {name: getattr(recipe, name) for name in names}, ""
    for change in (None, *recipe.changes):
        if change:
            weights.update((name, weight) for name, weight in change.weights.items() if name in names)
            since = f" after epoch {change.epoch} of stage {change.stage}"
        if not any(weights.values()):
            raise InputError(
                f"content_weight, style_weight, tv_weight: no loss has a weight{since}; give one of them more than 0"
            )
