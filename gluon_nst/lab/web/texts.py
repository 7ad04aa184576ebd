"""The texts of the page, and the data of its controls.

The controls are derived from the schema of recipes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gluon_nst import recipes
from gluon_nst.errors import InputError
from gluon_nst.lab.web.limits import MIN_SIDE, Limits
from gluon_nst.lab.web.request_bodies import MAX_STYLES, RECIPES, WEIGHTS, RunRequest
from gluon_nst.machine.files import reading
from gluon_nst.recipes.files import tomllib

PAGE_FOLDER = Path(__file__).parent / "page"
"""The folder of templates, texts, scripts and style sheets."""
ENGLISH = PAGE_FOLDER / "english.toml"

_SIDES = (MIN_SIDE, 192, 256, 320, 384, 512, 640, 768, 1024)


def load_texts(translation: Path | None = None) -> dict[str, str]:
    """Return the texts of the page by name, in English where a translation lacks one.

    `translation` is a file.

    Raises InputError for a file that is not TOML, or with names that the page does not have.
    """
    english = _read_texts(ENGLISH)
    if translation is None:
        return english
    translated = _read_texts(translation)
    for name in translated:
        if name not in english:
            raise InputError(f"{translation}: {name}: the page has no such text; see {ENGLISH}")
    return {**english, **translated}


def _read_texts(path: Path) -> dict[str, str]:
    try:
        with reading(path, "the texts of a page"):
            texts = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f'{path}: {name}: not a string; write {name} = "…"')
    return texts


def page_controls(limits: Limits) -> dict[str, Any]:
    """Return the data of the page's controls.

    They are the recipes with their weights and epochs, the sizes, choices and help texts.
    """
    settings = {setting.name: setting for setting in recipes.settings(RunRequest)}
    choices = {name: list(settings[name].rule.choices) for name in ("init", "preserve_colors")}
    recipe_data = {}
    for name in RECIPES:
        recipe = recipes.read(name)
        recipe_data[name] = {
            "title": recipe.title,
            "weights": {weight: getattr(recipe, weight) for weight in WEIGHTS},
            "epochs": [stage.epochs for stage in recipe.stages],
            **{field: getattr(recipe, field) for field in choices},
        }
    return {
        "recipes": recipe_data,
        "default": recipes.DEFAULT,
        "weights": list(WEIGHTS),
        "choices": choices,
        "help": {name: setting.help for name, setting in settings.items()},
        "sides": [side for side in _SIDES if side <= limits.side],
        "upload": limits.upload,
        "styles": MAX_STYLES,
    }
