"""The words of the page, in one file, and what it knows of the recipes: its controls are made from their schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gluon_nst import recipes
from gluon_nst.errors import InputError
from gluon_nst.lab.web.limits import SMALLEST, Limits
from gluon_nst.lab.web.request_bodies import MOST_STYLES, RECIPES, WEIGHTS, Asked
from gluon_nst.machine.files import reading
from gluon_nst.recipes.files import tomllib

PAGE = Path(__file__).parent / "page"
"""Where the page's own files are."""
ENGLISH = PAGE / "english.toml"

_SIDES = (SMALLEST, 192, 256, 320, 384, 512, 640, 768, 1024)


def words(translation: Path | None = None) -> dict[str, str]:
    """The texts of the page by their names; those that a `translation` has are its own.

    Raises InputError for a file that is none, or has texts that the page does not.
    """
    known = _texts(ENGLISH)
    if translation is None:
        return known
    given = _texts(translation)
    for name in given:
        if name not in known:
            raise InputError(f"{translation}: {name}: the page has no such text; see {ENGLISH}")
    return {**known, **given}


def _texts(path: Path) -> dict[str, str]:
    try:
        with reading(path, "the texts of a page"):
            texts = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f'{path}: {name}: not a text; write {name} = "…"')
    return texts


def controls(limits: Limits) -> dict[str, Any]:
    """What the page makes its controls of: recipes with their weights and epochs, sizes, choices, words of help."""
    settings = {setting.name: setting for setting in recipes.settings(Asked)}
    chosen = {name: list(settings[name].rule.choices) for name in ("init", "preserve_colors")}
    known = {}
    for name in RECIPES:
        recipe = recipes.read(name)
        known[name] = {
            "title": recipe.title,
            "weights": {weight: getattr(recipe, weight) for weight in WEIGHTS},
            "epochs": [stage.epochs for stage in recipe.stages],
            **{field: getattr(recipe, field) for field in chosen},
        }
    return {
        "recipes": known,
        "default": recipes.DEFAULT,
        "weights": list(WEIGHTS),
        "choices": chosen,
        "help": {name: setting.help for name, setting in settings.items()},
        "sides": [side for side in _SIDES if side <= limits.side],
        "upload": limits.upload,
        "styles": MOST_STYLES,
    }
