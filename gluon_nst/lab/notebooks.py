"""Build the notebooks from scripts in percent format.

Exercises and answers have the same source.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gluon_nst.errors import InputError
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import check_folder, check_writable, given, shipped, written_whole

NOTEBOOKS = {"chapter": "chapter", "exercises": "exercises", "answers": "exercises"}
"""{notebook: source}, for scripts/notebook_SOURCE.py."""

_SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = r"\1...  # your answer here"


def source_of(name: str) -> Path:
    """Return the path of a notebook's source, which also runs as a script."""
    return shipped(f"scripts/notebook_{NOTEBOOKS[name]}.py")


def notebook(name: str) -> str:
    """Return a notebook, one of NOTEBOOKS, as JSON (nbformat 4.5).

    Each call returns the same text. Cells of the exercises have nbgrader's metadata: `answer` cells are solutions,
    `check` cells are graded. Raises InputError if jupytext is not installed.
    """
    require(f"notebook {name}:", "jupytext")
    import jupytext
    import nbformat

    contents = jupytext.read(source_of(name))
    contents.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    exercise = 0
    for number, cell in enumerate(contents.cells, start=1):
        cell["id"] = f"{name}-{number}"
        tags = cell.metadata.pop("tags", [])
        exercise += "answer" in tags
        if tags:
            (kind,) = tags
            cell.metadata["nbgrader"] = _nbgrader_metadata(kind, exercise)
        if name == "exercises":
            cell.source = _SOLUTION.sub(_PLACEHOLDER, cell.source)
    return nbformat.writes(contents, version=4) + "\n"


def _nbgrader_metadata(kind: str, exercise: int) -> dict[str, Any]:
    """Return nbgrader's metadata of a cell of kind `answer` or `check`."""
    is_check = kind == "check"
    metadata = {"grade_id": f"{kind}-{exercise}", "schema_version": 3, "task": False}
    metadata.update({"grade": is_check, "locked": is_check, "solution": not is_check})
    return {**metadata, "points": 1} if is_check else metadata


def place_notebook(name: str, folder: str | Path) -> Path:
    """Write a notebook into a folder, which is created if missing; return its path.

    Raises InputError if a different file has that name: it may have been edited.
    """
    folder = given(folder)
    check_folder(folder)
    text, path = notebook(name), folder / f"{name}.ipynb"
    if path.is_file() and path.read_bytes() == text.encode():
        return path
    if path.exists():
        raise InputError(f"{path}: exists, and may contain somebody's work; choose another folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    with written_whole(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path
