"""The reference of a recipe's settings in Markdown, made from the schema; docs/recipes.md holds it."""

from __future__ import annotations

import dataclasses
from typing import Any

from gluon_nst.recipes.schema import Recipe, Setting, Stage, settings

BEGIN, END = "<!-- settings, made by scripts/document_recipes.py -->", "<!-- end of settings -->"
"""The lines of a page between which it stands."""


def _default(setting: Setting) -> str:
    if setting.default is dataclasses.MISSING:
        return "to be given"
    return f"`{_toml(setting.default)}`" if setting.default != "" else ""


def _toml(value: Any) -> str:
    """A default as a .toml file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _row(setting: Setting) -> str:
    name = "size" if setting.name == "sizes" else setting.name
    flag = "" if setting.words else f"`--{setting.name.replace('_', '-')}`"
    allowed = setting.rule.allowed.replace("|", "\\|")
    return f"| `{name}` | {flag} | {setting.help} | {allowed} | {_default(setting)} |"


def reference() -> str:
    """The tables of a recipe's own settings, and of those of each stage."""
    lines: list[str] = []
    for title, kind in (("Of a recipe", Recipe), ("Of each of its `[[stages]]`", Stage)):
        lines += [f"### {title}", "", "| key | option | what it is | what may stand there | default |"]
        lines += ["| --- | --- | --- | --- | --- |", *map(_row, settings(kind)), ""]
    return "\n".join(lines)


def with_reference(page: str) -> str:
    """The text of a `page` with what stands between BEGIN and END made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"
