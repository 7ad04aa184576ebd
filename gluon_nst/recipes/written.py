"""The text of a recipe as TOML; `files.read` reads the same recipe back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gluon_nst.recipes.schema import Change, Recipe, Stage


def toml_value(value: Any) -> str:
    """Format a value as TOML.

    >>> toml_value({"conv1_1": 1.0}), toml_value((300, 450)), toml_value(False)
    ('{conv1_1 = 1.0}', '[300, 450]', 'false')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def as_toml(recipe: Recipe) -> str:
    """Format all fields of a recipe as TOML."""
    values = recipe.as_dict()
    tables = {name: values.pop(name, []) for name in ("stages", "changes")}
    lines = [_line(field.name, values) for field in dataclasses.fields(Recipe) if field.name in values]
    for (name, rows), kind in zip(tables.items(), (Stage, Change)):
        for row in rows:
            lines += [
                "",
                f"[[{name}]]",
                *(_line(field.name, row) for field in dataclasses.fields(kind) if field.name in row),
            ]
    return "\n".join([*lines, ""])


def _line(name: str, values: dict[str, Any]) -> str:
    return f"{name} = {toml_value(values[name])}"
