"""Recipes in .toml files: those of the package, and a user's.

The package has one file for each published program.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Union

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.machine.files import given, is_url, reading
from gluon_nst.recipes.rules import line
from gluon_nst.recipes.schema import NO_CHANGES, NO_STAGES, Change, Recipe, Stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
"""The folder of the package's recipes."""

DEFAULT = "fine"
"""The default recipe of a run."""
CHAPTER = "d2l-2019"
"""The recipe of the book's first edition: of its exercises, and of the fields that a recipe file does not have."""
RECONSTRUCTION = "reconstruction"
"""The default recipe of `reconstruct`."""
PUBLISHED = ("d2l-2019", "udacity", "poster", "tensorflow", "gatys-2016")
"""The recipes of the four documents and of the paper."""
COMPARED = (*PUBLISHED, DEFAULT)
"""The default of `compare`."""

RENAMED = {
    "activations": "activation_scale",
    "bounds": "clip_at",
    "corrections": "history_size",
    "pixels": "pixel_unit",
    "rescaled": "activation_scale",
}
"""Old names of fields, which users' files may have."""

RecipeName = Union[Recipe, str, Path]
"""A recipe, the name of one of the package's, or the path of a .toml file."""


def names() -> list[str]:
    """Return the names of the package's recipes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _path(recipe: str | Path) -> Path:
    if str(recipe) in names():
        return FOLDER / f"{recipe}.toml"
    if str(recipe).endswith(".toml") or is_url(recipe):
        return given(recipe)
    raise InputError(
        f"recipe {recipe}: not one of {', '.join(names())}, nor the path of a .toml file{did_you_mean(recipe, names())}"
    )


def text(recipe: str | Path) -> str:
    """Return the TOML text of a recipe, by name or path."""
    return _text(_path(recipe), "a recipe")


def _text(path: Path, what: str) -> str:
    try:
        with reading(path, what):
            return path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8; save {what} as one") from None


def table_of(path: Path, what: str) -> dict[str, Any]:
    """Return the table of a TOML file, described by `what`.

    Raises InputError if it can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(_text(path, what))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also an integer with too many digits
        raise InputError(f"{path}: not TOML: {error}") from None


def read(recipe: RecipeName) -> Recipe:
    """Return the Recipe of that name, or in that .toml file.

    A Recipe is returned unchanged.

    >>> read("udacity").stages[0].epochs
    2000
    """
    if isinstance(recipe, Recipe):
        return recipe
    path = _path(recipe)
    try:
        return Recipe(**{"stages": (), **_values(path)})
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def paths(recipe: RecipeName) -> list[Path]:
    """Return the files that `read` reads for a recipe.

    They are its own and those that it extends.
    """
    return [] if isinstance(recipe, Recipe) else [path for path, _ in _chain(_path(recipe))]


def _chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the path and table of a file, of the one that it extends, and so on."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if path.resolve() in [other.resolve() for other, _ in chain]:
            raise InputError(f"{path}: extends: the recipe extends itself")
        table = table_of(path, "a recipe")
        chain.append((path, table))
        if "extends" not in table:
            return chain
        path = _extended(path, table.pop("extends"))


def _values(path: Path) -> dict[str, Any]:
    """Return the values of Recipe's fields from a file and those that it extends."""
    values: dict[str, Any] = {}
    for file, table in reversed(_chain(path)):
        values.pop("good_for", None)  # a changed recipe may be good for something else
        values.update(_values_of(file, table))
    return values


def of_dict(values: dict[str, Any], where: str) -> Recipe:
    """Return the Recipe with these values of `as_dict`.

    `where` is their origin in an InputError.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: there is no recipe")
    return Recipe(**_values_of(Path(where), dict(values)))


def _values_of(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return the values of Recipe's fields in the `table` of one file."""
    tables = {key: _tables(path, key, table) for key in _TABLES if key in table}
    return {**_checked(Recipe, table, f"{path}"), **tables}


_TABLES = {"stages": (Stage, NO_STAGES, 1), "changes": (Change, NO_CHANGES, 0)}
"""Keys of arrays of tables: the class of each table, the error if there are none, and their minimum number."""


def _tables(path: Path, key: str, table: dict[str, Any]) -> tuple[Any, ...]:
    """Remove the tables `[[key]]` from a file's `table`, and return their objects."""
    kind, complaint, min_count = _TABLES[key]
    tables = table.pop(key)
    if not isinstance(tables, list) or len(tables) < min_count or not all(isinstance(each, dict) for each in tables):
        raise InputError(f"{path}: {complaint}")
    name = kind.__name__.lower()
    where = [f"{path}: {name} {number}" for number in range(1, len(tables) + 1)]
    return tuple(kind(**_checked(kind, each, at)) for each, at in zip(tables, where))


def _extended(path: Path, recipe: Any) -> Path:
    """Return the path of the `recipe` that the file at `path` extends.

    It is one of the package's, or relative to that file.
    """
    rule = dataclasses.replace(line(), allowed="a recipe's name or the path of a .toml file")
    recipe = rule.check(recipe, f"{path}: extends")
    if recipe in names():
        return _path(recipe)
    if not recipe.endswith(".toml"):
        raise InputError(
            f"{path}: extends: {recipe!r} is not one of {', '.join(names())},"
            f" nor a .toml file{did_you_mean(recipe, names())}"
        )
    return path.parent / given(recipe)


def _checked(kind: type, table: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the checked values of a TOML `table` for the fields of `kind`.

    `kind` is Recipe, Stage or Change.
    """
    fields = {field.name: field for field in dataclasses.fields(kind) if "rule" in field.metadata}
    for name in table:
        if name in RENAMED:
            raise InputError(f"{where}: {name}: was renamed to {RENAMED[name]}; write {RENAMED[name]} = …")
        if name not in fields:
            allowed = ["extends", *_TABLES, *fields] if kind is Recipe else list(fields)
            raise InputError(
                f"{where}: {name}: unknown key; allowed are {', '.join(allowed)}{did_you_mean(name, allowed)}"
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in table:
            raise InputError(f"{where}: {name}: missing")
    return {name: fields[name].metadata["rule"].check(value, f"{where}: {name}") for name, value in table.items()}
