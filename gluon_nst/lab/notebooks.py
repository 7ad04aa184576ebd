"""The notebooks: made from scripts in percent format, and the student's copy of the exercises from the same source as
the answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gluon_nst.errors import InputError
from gluon_nst.machine.files import check_folder, check_writable, given, shipped, written_whole

NOTEBOOKS = {"chapter": "chapter", "exercises": "exercises", "answers": "exercises"}
"""The notebooks, and the source of each: scripts/notebook_SOURCE.py."""

_SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.MULTILINE | re.DOTALL)
_PLACE = r"\1...  # your answer here"


def source_of(name: str) -> Path:
    """The script that a notebook is made from, which can be run as it is."""
    return shipped(f"scripts/notebook_{NOTEBOOKS[name]}.py")


def notebook(name: str) -> str:
    """A notebook, one of NOTEBOOKS, as JSON (nbformat 4.5); the same each time.

    Cells of the exercises have nbgrader's metadata: answers are what it lets students write in, checks what it counts.
    Raises InputError where jupytext is not installed.
    """
    try:
        import jupytext
        import nbformat
    except ImportError:
        raise InputError(
            f"notebook {name}: takes the package jupytext; install gluon-nst[notebook], or: pip install jupytext"
        ) from None
    made = jupytext.read(source_of(name))
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    exercise = 0
    for number, cell in enumerate(made.cells, start=1):
        cell["id"] = f"{name}-{number}"
        tags = cell.metadata.pop("tags", [])
        exercise += "answer" in tags
        if tags:
            (kind,) = tags
            cell.metadata["nbgrader"] = _graded(kind, exercise)
        if name == "exercises":
            cell.source = _SOLUTION.sub(_PLACE, cell.source)
    return nbformat.writes(made, version=4) + "\n"


def _graded(kind: str, exercise: int) -> dict[str, Any]:
    """nbgrader's metadata of an `answer` or a `check`."""
    check = kind == "check"
    found = {"grade_id": f"{kind}-{exercise}", "schema_version": 3, "task": False}
    found.update({"grade": check, "locked": check, "solution": not check})
    return {**found, "points": 1} if check else found


def place_notebook(name: str, folder: str | Path) -> Path:
    """Write a notebook into a folder, which is made where there is none; gives its path.

    Raises InputError where another file has its name there: it may be somebody's work.
    """
    folder = given(folder)
    check_folder(folder)
    text, path = notebook(name), folder / f"{name}.ipynb"
    if path.is_file() and path.read_bytes() == text.encode():
        return path
    if path.exists():
        raise InputError(f"{path}: is there already, and somebody may have worked in it; choose another folder (--out)")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    with written_whole(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path
