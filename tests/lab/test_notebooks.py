"""The notebooks: exercises and answers from one source, and the documentation page of the chapter."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from gluon_nst import recipes
from gluon_nst.lab import probe
from gluon_nst.lab.notebooks import NOTEBOOKS, notebook, source_of
from gluon_nst.machine.files import OWN_SIZE

import nbformat
import pytest
from document_chapter import text_of

from commands import assert_one_line, ended

ROOT = Path(__file__).parents[2]


def cells(name):
    return nbformat.reads(notebook(name), as_version=4).cells


def of_kind(name, kind):
    """Return the cells of a notebook that are an `answer` or a `check`, by their nbgrader id."""
    found = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in cells(name) if "nbgrader" in cell.metadata}
    return {grade_id: cell for grade_id, cell in found.items() if grade_id.startswith(kind)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_valid_and_deterministic(name):
    made = nbformat.reads(notebook(name), as_version=4)
    nbformat.validate(made)
    assert made.metadata["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in made.cells}) == len(made.cells) > 20
    assert notebook(name) == notebook(name)


def test_the_exercises_are_the_answers_without_solutions():
    students, teachers = cells("exercises"), cells("answers")
    assert "SOLUTION" not in notebook("exercises")
    for student, teacher in zip(students, teachers):
        if "### BEGIN SOLUTION" in teacher.source:
            assert "...  # your answer here" in student.source
            ast.parse(student.source)
            solutions = re.findall(r"(?s)### BEGIN SOLUTION\n(.*?)### END SOLUTION", teacher.source)
            for line in "".join(solutions).splitlines():
                assert not line.strip() or line.strip() not in student.source.splitlines(), line
        else:
            assert student.source == teacher.source
    assert len(students) == len(teachers)


def test_each_exercise_has_an_answer_cell_and_a_check_cell_for_nbgrader():
    for name in ("exercises", "answers"):
        answers, checks = of_kind(name, "answer"), of_kind(name, "check")
        assert list(answers) == [f"answer-{number}" for number in range(1, 10)]
        assert list(checks) == [f"check-{number}" for number in range(1, 10)]
        for number, (answer, check) in enumerate(zip(answers.values(), checks.values()), start=1):
            assert answer.metadata["nbgrader"]["solution"]
            assert not answer.metadata["nbgrader"]["locked"]
            assert check.metadata["nbgrader"]["locked"]
            assert check.metadata["nbgrader"]["points"] == 1
            assert re.fullmatch(rf"checks\.exercise_{number}\([a-z_, ]+\)", check.source)


def test_a_notebook_is_written_once_and_edited_ones_are_kept(tmp_path, capfd):
    out = tmp_path / "lab"
    for _ in range(2):  # an identical file is accepted
        status, printed, errors = ended(capfd, "notebook", "exercises", "--out", out)
        assert status == 0
        assert printed.splitlines()[0] == str(out / "exercises.ipynb")
        assert not errors
    assert json.loads((out / "exercises.ipynb").read_text())["nbformat"] == 4
    (out / "exercises.ipynb").write_text("my work")
    status, printed, errors = ended(capfd, "notebook", "exercises", "--out", out)
    assert status == 2
    assert not printed
    assert "exercises.ipynb: exists" in errors
    assert_one_line(errors)
    assert (out / "exercises.ipynb").read_text() == "my work"


def test_a_file_in_place_of_a_folder_is_refused(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        status, _, errors = ended(capfd, "notebook", "--out", out)
        assert status == 2
        assert_one_line(errors)


def test_without_jupytext_the_error_is_one_line(tmp_path):
    code = "import sys; sys.modules['jupytext'] = None; from gluon_nst.cli import main; sys.exit(main(['notebook']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs the package jupytext; install gluon-nst[notebook]" in done.stderr
    assert_one_line(done.stderr)


def test_the_documentation_page_has_the_cells_of_the_notebook():
    page = (ROOT / "docs" / "chapter.md").read_text(encoding="utf-8")
    place = 0
    for cell in cells("chapter"):
        found = page.find(text_of(cell), place)
        assert found >= 0, f"run python scripts/dev/document_chapter.py: the page lacks\n{cell.source}"
        place = found + len(text_of(cell))


def test_the_doctor_estimates_the_epochs_of_the_notebook():
    text = source_of("chapter").read_text(encoding="utf-8")
    epochs = [count for _, _, count in probe.NOTEBOOK]
    assert f'shorter = {{"lr": [0.05, 0.03], "epochs": {epochs[:2]}' in text
    assert f"epochs={epochs[2:4]}" in text
    assert f"sizes=[{probe.NOTEBOOK[0][1]}, {probe.NOTEBOOK[1][1]}]" in text
    assert 'recipe="fine", sizes=300' in text
    stages = recipes.fit(recipes.customise("fine", sizes=300, epochs=epochs[2:4]), OWN_SIZE).stages
    assert [("fine", stage.shape, stage.epochs) for stage in stages] == list(probe.NOTEBOOK[2:])
