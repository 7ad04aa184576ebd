"""Update the tables of settings in docs/recipes.md from the schema of a recipe."""

from pathlib import Path

from gluon_nst.recipes.reference import with_reference

page = Path(__file__).parents[2] / "docs/recipes.md"
page.write_text(with_reference(page.read_text(encoding="utf-8")), encoding="utf-8")
