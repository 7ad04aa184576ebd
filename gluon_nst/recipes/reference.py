"""The reference of a recipe's settings in Markdown, for docs/recipes.md.

It is generated from the schema.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gluon_nst.recipes.schema import Change, Recipe, Setting, Stage, settings
from gluon_nst.recipes.written import toml_value

BEGIN, END = "<!-- settings, made by scripts/dev/document_recipes.py -->", "<!-- end of settings -->"
"""The lines before and after the reference in a page."""


def _default(setting: Setting) -> str:
    if setting.default is dataclasses.MISSING:
        return "required"
    return f"`{_default_text(setting.default)}`" if setting.default != "" else ""


def _default_text(value: Any) -> str:
    """Format a default like in a .toml file."""
    if value is None:
        return "unchanged"
    return f"{value:g}" if isinstance(value, float) else toml_value(value)


def _row(setting: Setting, optional: bool) -> str:
    name = "size" if setting.name == "sizes" else setting.name
    flag = f"`--{setting.name.replace('_', '-')}`" if optional and not setting.words else ""
    allowed = setting.rule.allowed.replace("|", "\\|")
    return f"| `{name}` | {flag} | {setting.help} | {allowed} | {_default(setting)} |"


def reference() -> str:
    """Return the tables of the settings of a recipe, of a stage and of a change."""
    lines: list[str] = []
    kinds = ("Recipe", Recipe), ("Stages: `[[stages]]`", Stage), ("Weight changes: `[[changes]]`", Change)
    for title, kind in kinds:
        lines += [f"### {title}", "", "| key | option | description | allowed values | default |"]
        lines += ["| --- | --- | --- | --- | --- |", *(_row(each, kind is not Change) for each in settings(kind)), ""]
    return "\n".join(lines)


def with_reference(page: str) -> str:
    """Return the text of a `page` with a new reference between BEGIN and END."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"
