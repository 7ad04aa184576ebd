"""The wheel in a fresh environment: all commands work without a clone of the repository."""

import subprocess
import sys
import zipfile
from pathlib import Path

import gluon_nst as nst
from gluon_nst.lab.notebooks import notebook
from gluon_nst.weights.pictures import own_pictures

import pytest
from PIL import Image

from commands import names

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("real_trunk")


def test_the_wheel_has_every_file_of_the_package_and_the_pictures_and_notebooks(wheel):
    package = [path.relative_to(ROOT) for path in (ROOT / "gluon_nst").rglob("*") if path.is_file()]
    expected = {str(path) for path in package if "__pycache__" not in path.parts}
    assert {"gluon_nst/py.typed", "gluon_nst/recipes/fine.toml", "gluon_nst/batch/report.html"} < expected
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
        data = f"gluon_nst-{nst.__version__}.data/data/share/gluon-nst/"
        for name in ("img/mountains.jpg", "img/autumn-oaks.jpg", "scripts/notebook_chapter.py", "setup.cfg", "LICENSE"):
            assert archive.read(data + name) == (ROOT / name).read_bytes()
    assert {name for name in found if name.startswith("gluon_nst/")} == expected
    assert {name.split("/")[0].partition("-")[0] for name in found} == {"gluon_nst"}


def test_the_demo_runs_from_the_wheel(installed, tmp_path):
    where = installed.run("-c", "import gluon_nst; print(gluon_nst.__file__)", folder=tmp_path).stdout.strip()
    assert where == str(installed.packages / "gluon_nst/__init__.py")
    done = installed.run("demo", "--longest-side", "64", "--quiet", program=installed.program, folder=tmp_path)
    picture, hint = done.stdout.splitlines()
    assert picture.startswith("neural-style/fine.png: ")
    assert hint == f"The chapter as the book has it: {installed.program} chapter"
    assert names(tmp_path / "neural-style") == ["fine.png"]
    with Image.open(tmp_path / "neural-style/fine.png") as image:
        assert max(image.size) == 64


def test_the_chapter_and_the_notebooks_come_from_the_wheel(installed, tmp_path):
    options = ["--sizes", "32x48,48x72", "--epochs", "2", "--quiet"]
    installed.run("chapter", *options, program=installed.program, folder=tmp_path)
    expected = ["losses.csv", "losses.png", "neural-style-1.png", "neural-style-2.png"]
    assert names(tmp_path / "neural-style") == expected
    for name in ("chapter", "exercises"):
        installed.run("notebook", name, program=installed.program, folder=tmp_path)
        assert (tmp_path / f"{name}.ipynb").read_text(encoding="utf-8") == notebook(name)


def test_mypy_strict_passes_a_program_that_runs_and_finds_a_users_mistakes(installed, tmp_path):
    program = Path(__file__).with_name("typed_program.py")
    installed.run(program, *own_pictures(), tmp_path)
    assert (tmp_path / "out.png").is_file()

    mistakes = {
        "nst.trasfer": 'has no attribute "trasfer"',
        "nst.Result.imag": 'has no attribute "imag"',
        'nst.steps("content.jpg")': 'Argument 1 to "steps" has incompatible type "str"',
        "nst.gram()": 'Missing positional argument "X"',
        "nst.observers.Baar()": 'has no attribute "Baar"',
    }
    (tmp_path / "mine.py").write_text("\n".join(["import gluon_nst as nst", *mistakes]) + "\n")
    options = ["--strict", "--config-file=", "--python-executable", installed.python]
    options += ["--cache-dir", tmp_path / "cache", program, "mine.py"]
    command = [sys.executable, "-m", "mypy", *map(str, options)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.splitlines()
    assert all(line.startswith("mine.py:") for line in found[:-1])
    assert found[-1] == "Found 5 errors in 1 file (checked 2 source files)"
    for line, message in enumerate(mistakes.values(), start=2):
        assert any(each.startswith(f"mine.py:{line}: error: ") and message in each for each in found)
