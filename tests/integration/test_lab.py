"""The lab with real parameters: right and wrong answers of the exercises, the notebooks, the kit without a network."""

import ast
import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

import gluon_nst as nst
from gluon_nst.lab import checks
from gluon_nst.lab.notebooks import notebook, source_of
from gluon_nst.runs.run import prepare

import nbclient
import nbformat
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from commands import assert_one_line, ended, namespace

pytestmark = pytest.mark.usefixtures("real_trunk")


def code_of(name):
    return [cell for cell in nbformat.reads(notebook(name), as_version=4).cells if cell.cell_type == "code"]


def is_check(cell):
    return cell.metadata.get("nbgrader", {}).get("grade", False)


class Cell(NamedTuple):
    """The outcome of a cell of the answers."""

    cell: Any
    value: Any
    printed: str
    seconds: float
    """CPU time in seconds, which does not depend on other programs."""


def value_of(source, names):
    """Execute a cell, and return the value of its last expression, which a notebook would show."""
    cell = ast.parse(source)
    last = cell.body.pop() if isinstance(cell.body[-1], ast.Expr) else None
    exec(compile(cell, "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


@pytest.fixture(scope="module")
def executed(real_trunk):
    """Run all cells of the answers, as in a notebook; return the variables and the outcomes of the cells."""
    names, cells = {}, []
    for cell in code_of("answers"):
        begun = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            value = value_of(cell.source, names)
        cells.append(Cell(cell, value, printed.getvalue(), time.process_time() - begun))
    plt.close("all")
    return names, cells


@pytest.fixture(scope="module")
def answers(executed):
    """Return the variables after all cells of the answers."""
    return executed[0]


# -- the exercises ----------------------------------------------------------------------------------------------------


def test_right_answers_pass_with_no_cell_over_thirty_seconds(executed):
    names, cells = executed
    assert names["speedup"] > 1.2  # so that the exercise shows the effect of L-BFGS
    assert max(cell.seconds for cell in cells) < 30
    checked = [cell for cell in cells if is_check(cell.cell)]
    assert len(checked) == 9
    for cell in checked:
        assert cell.value is None  # nbgrader would count a value as points
        assert " is right.\n" in cell.printed


def again(answers, content=None, style=None, **changed):
    """Return the result of a run with different settings."""
    own = answers["content"], answers["style"]
    return nst.transfer(content or own[0], style or own[1], **{**checks.SMALL, **changed})


def prepared(answers, content=None, style=None, **changed):
    """Return a result with the recipe and provenance of a run with different settings, and another run's picture."""
    own = answers["content"], answers["style"]
    run = prepare(nst.Job(content or own[0], style or own[1], **{**checks.SMALL, **changed}))
    return dataclasses.replace(answers["results"]["as it is"], recipe=run.recipe, provenance=run.provenance)


WRONG = {
    "1: a layer is missing": (
        lambda a: checks.exercise_1({"conv1_1": a["result"]}, a["by_style"], "conv1_1", a["farthest"]),
        "a Result for each of 'conv1_1', 'conv2_1', 'conv4_4'.*a dict with 'conv1_1'",
    ),
    "1: pictures": (
        lambda a: checks.exercise_1(
            {name: result.image for name, result in a["by_content"].items()}, a["by_style"], "conv4_4", "conv1_1"
        ),
        r"by_content\['conv1_1'\] is a Result.*It is an Image",
    ),
    "1: style layers in place of content layers": (
        lambda a: checks.exercise_1(
            dict(zip(checks.CONTENT_CHOICES, a["by_style"].values())), a["by_style"], "conv4_4", "conv1_1"
        ),
        r"content_layers are \['conv4_4'\]: pass \['conv1_1'\]",
    ),
    "1: a run of another size": (
        lambda a: checks.exercise_1(
            {
                **a["by_content"],
                "conv1_1": prepared(a, **{**checks.FROM_NOISE, "sizes": [(32, 48)]}, content_layers=["conv1_1"]),
            },
            a["by_style"],
            "conv1_1",
            "conv1_1",
        ),
        r"nothing else is changed in by_content\['conv1_1'\].*size is \(32, 48\) instead of \(48, 72\)",
    ),
    "1: the pictures swapped": (
        lambda a: checks.exercise_1(
            {
                **a["by_content"],
                "conv1_1": prepared(a, a["style"], a["content"], **checks.FROM_NOISE, content_layers=["conv1_1"]),
            },
            a["by_style"], "conv1_1", "conv1_1",
        ),
        r"by_content\['conv1_1'\] uses the chapter's two pictures",
    ),
    "1: guessed": (
        lambda a: checks.exercise_1(
            a["by_content"],
            a["by_style"],
            max(a["by_content"], key=lambda n: checks.distance(a["by_content"][n])),
            a["farthest"],
        ),
        "by_style has a run for each layer.*not yet: nearest agrees with your pictures",
    ),
    "1: the photograph in place of noise": (
        lambda a: checks.exercise_1(
            {name: prepared(a, content_layers=[name]) for name in checks.CONTENT_CHOICES},
            a["by_style"], "conv4_4", "conv1_1",
        ),
        r"nothing else is changed in by_content\['conv1_1'\].*instead of",
    ),
    "1: not said": (
        lambda a: checks.exercise_1(a["by_content"], a["by_style"], a["nearest"], None),
        "farthest names one of the layers.*It is None",
    ),
    "2: nothing adjusted": (
        lambda a: checks.exercise_2(dict.fromkeys(a["results"], a["results"]["as it is"])),
        "not yet: 'more content' is nearer the photograph.*its weight large enough",
    ),
    "2: nothing but content": (
        lambda a: checks.exercise_2({**a["results"], "more content": again(a, content_weight=200)}),
        "not yet: 'more content' is still in the painting's style",
    ),
    "2: no style left": (
        lambda a: checks.exercise_2({**a["results"], "more content": again(a, style_weight=0)}),
        "'more content' is still in the painting's style.*is too small compared",
    ),
    "2: less of the total variation loss": (
        lambda a: checks.exercise_2({**a["results"], "less noise": again(a, tv_weight=1)}),
        "not yet: 'less noise' has less total variation.*which loss measures",
    ),
    "2: the wrong way round": (
        lambda a: checks.exercise_2(
            {**a["results"], "more content": a["results"]["less noise"], "less noise": a["results"]["more content"]}
        ),
        "not yet: 'more content' is nearer the photograph",
    ),
    "2: more epochs as well": (
        lambda a: checks.exercise_2({**a["results"], "less noise": prepared(a, tv_weight=50, epochs=30)}),
        r"nothing else is changed in results\['less noise'\].*epochs is 30 instead of 20",
    ),
    "3: the chapter's pictures": (
        lambda a: checks.exercise_3(a["content"], a["style"], a["result"]),
        "my_content is not one of the chapter's",
    ),
    "3: the chapter's pictures in another size": (
        lambda a: checks.exercise_3(a["photograph"].resize((300, 200)), Image.open(a["style"]), a["result"]),
        "not yet: my_content is not one of the chapter's",
    ),
    "3: only the content is new": (
        lambda a: checks.exercise_3(a["my_content"], a["style"], a["my_result"]),
        "right:   my_content is not one of the chapter's\n.*not yet: my_style is not",
    ),
    "3: the wrong way round": (
        lambda a: checks.exercise_3(a["my_content"], a["my_style"], prepared(a, a["my_style"], a["my_content"])),
        "Content and style are swapped",
    ),
    "3: a run on others": (
        lambda a: checks.exercise_3(a["my_content"], a["my_style"], a["results"]["as it is"]),
        "It uses other pictures",
    ),
    "3: one epoch": (
        lambda a: checks.exercise_3(
            a["my_content"], a["my_style"], again(a, a["my_content"], a["my_style"], epochs=1)
        ),
        "the style was transferred.*more epochs",
    ),
    "3: a file that is not there": (
        lambda a: checks.exercise_3("nowhere.jpg", a["my_style"], a["my_result"]),
        "my_content is a picture.*nowhere.jpg: no such file",
    ),
    "8: twice the same optimiser": (
        lambda a: checks.exercise_8(a["lbfgs"], a["lbfgs"], a["epochs_to_reach"], a["speedup"]),
        "adam uses that optimiser.*It uses lbfgs: pass optimizer='adam'",
    ),
    "8: fewer epochs": (
        lambda a: checks.exercise_8(
            prepared(a, optimizer="adam"), a["result"], a["epochs_to_reach"], a["speedup"]
        ),
        "nothing else is changed in adam.*epochs is 20 instead of 60",
    ),
    "8: another learning rate": (
        lambda a: checks.exercise_8(
            prepared(a, optimizer="adam", epochs=60, lr=0.5), a["lbfgs"], a["epochs_to_reach"], a["speedup"]
        ),
        "nothing else is changed in adam.*lr is 0.5 instead of",
    ),
    "8: counted from 0": (
        lambda a: checks.exercise_8(
            a["adam"], a["lbfgs"], lambda losses, loss: a["epochs_to_reach"](losses, loss) - 1, a["speedup"]
        ),
        "It is 1: count the epochs, from 1",
    ),
    "8: the last that is above": (
        lambda a: checks.exercise_8(
            a["adam"], a["lbfgs"], lambda losses, loss: 1 + sum(each > loss for each in losses), a["speedup"]
        ),
        "It is 3: count the epochs",
    ),
    "8: the wrong way round": (
        lambda a: checks.exercise_8(a["adam"], a["lbfgs"], a["epochs_to_reach"], 1 / a["speedup"]),
        "not yet: speedup\n.*the epochs that Adam takes to its lowest loss",
    ),
    "9: the wrong way round": (
        lambda a: checks.exercise_9(Image.eval(a["mask"], lambda value: 255 - value), a["result"]),
        "its upper half is black.*100% of it is white",
    ),
    "9: from 0 to 1": (
        lambda a: checks.exercise_9(Image.eval(a["mask"], lambda value: value // 255), a["result"]),
        "its lower half is white.*which is 255",
    ),
    "9: not passed on": (
        lambda a: checks.exercise_9(a["mask"], a["results"]["as it is"]),
        "the run used a mask.*pass mask=mask",
    ),
    "9: as small as the run": (
        lambda a: checks.exercise_9(a["mask"].resize((72, 48)), a["result"]),
        "it has the size of the photograph",
    ),
    "9: another mask": (
        lambda a: checks.exercise_9(a["mask"], again(a, mask=Image.new("L", a["mask"].size, 255))),
        "it used this mask.*run it again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_gets_a_hint(answer, answers):
    check, message = WRONG[answer]
    with pytest.raises(AssertionError, match=f"(?s){message}") as raised:
        check(answers)
    assert str(raised.value).startswith(f"exercise {answer[0]}\n")
    assert "  not yet: " in str(raised.value)


# -- the notebooks ----------------------------------------------------------------------------------------------------


def shortened(text):
    """Return the chapter's source, or its notebook, with few epochs and smaller sizes."""
    for pattern, replacement, times in (
        (r'(epochs\\?"?(?:=|: ))\[\d+, \d+\]', r"\1[4, 2]", 3),
        (r"\(225, 150\)", "(90, 60)", 1),
        (r"\(450, 300\)", "(120, 80)", 1),
        (r"\(150, 225\), \(300, 450\)", "(60, 90), (80, 120)", 1),
        (r"sizes=300", "sizes=64", 1),
    ):
        text, found = re.subn(pattern, replacement, text)
        assert found == times, pattern
    return text


def test_the_chapter_runs_as_a_script_in_np_mode(user_environment, tmp_path):
    text = shortened(source_of("chapter").read_text(encoding="utf-8"))
    environment = {**user_environment, "MPLBACKEND": "Agg"}
    command, np_mode = [sys.executable, "-W", "ignore", "-"], "import gluon_nst\nfrom mxnet import npx\nnpx.set_np()\n"
    done = subprocess.run(command, input=np_mode + text, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "content loss of the trial picture: " in done.stdout
    assert not list(tmp_path.iterdir())


def images_of(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def test_the_chapter_runs_in_a_kernel_and_shows_its_pictures(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    made = nbformat.reads(shortened(notebook("chapter")), as_version=4)
    nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    trained = [cell for cell in made.cells if "observers.Live()" in cell.source]
    # A redrawn picture is one output; two of these cells have a second one at their end.
    assert [len(images_of(cell)) for cell in trained] == [2, 1, 2]
    assert sum(len(images_of(cell)) for cell in made.cells if cell.cell_type == "code") > 15


def test_without_answers_every_check_fails_in_a_kernel_and_no_other_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # the default in notebooks
    made = nbformat.reads(notebook("exercises"), as_version=4)
    client = nbclient.NotebookClient(made, timeout=30, allow_errors=True, resources={"metadata": {"path": tmp_path}})
    client.execute()
    failed = [cell for cell in made.cells for output in cell.get("outputs", ()) if output.output_type == "error"]
    assert failed == [cell for cell in made.cells if is_check(cell)]
    assert len(failed) == 9
    for cell in failed:
        (output,) = cell.outputs
        assert output.ename == "AssertionError"
        assert "not yet: " in output.evalue
        assert len(output.traceback) < 12


@pytest.fixture(scope="module")
def offline(user_environment):
    """Return a function that runs a command without a network, if possible in a namespace without a route."""
    way = namespace("n")
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")

    def run(*command, folder, **environment):
        environment = {**user_environment, **({} if way else dead), **environment}
        return subprocess.run(
            [*way, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
        )

    reach = "import urllib.request; urllib.request.urlopen('https://pypi.org/simple/', timeout=5)"
    assert run(sys.executable, "-c", reach, folder="/").returncode != 0
    return run


def test_a_kit_installs_and_runs_fine_and_the_notebook_without_a_network(installed, offline, tmp_path):
    kit, lab, home = tmp_path / "the kit", tmp_path / "the lab", tmp_path / "home"
    home.mkdir()
    installed.run("kit", kit, program=installed.program)  # without a clone of the repository
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    own = {"HOME": str(home), "GLUON_NST_CACHE": str(home / "cache"), "PYTHON": sys.executable}

    done = offline("bash", kit / "install", lab, folder="/", **own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready for the lab" in done.stdout
    assert "FAULT" not in done.stdout

    program = lab / ".venv" / "bin" / "gluon-nst"
    pictures = ["mountains.jpg", "autumn-oaks.jpg"]
    options = ["--output", "fine.png", "--longest-side", "96", "--epochs", "3", "--quiet"]
    painted = offline(program, "render", *pictures, *options, folder=lab, **own)
    assert painted.returncode == 0, painted.stderr
    with Image.open(lab / "fine.png") as picture:
        assert picture.size == (96, 64)
        assert json.loads(picture.text["gluon-nst"])["weights"]["source"]

    # The notebook up to its first picture; the whole notebook runs in test_the_chapter_runs_in_a_kernel.
    chapter = nbformat.read(lab / "chapter.ipynb", as_version=4)
    begun = next(number for number, cell in enumerate(chapter.cells, start=1) if "image_shape = " in cell.source)
    del chapter.cells[begun:]
    nbformat.write(chapter, lab / "begun.ipynb")
    # Without a route there may be no loopback address, which Jupyter uses by default for its kernel.
    run = ["-m", "nbconvert", "--to", "notebook", "--execute", "begun.ipynb", "--output", "done.ipynb"]
    run += ["--ExecutePreprocessor.timeout=300", "--KernelManager.transport=ipc"]  # seconds, if a cell hangs
    done = offline(lab / ".venv" / "bin" / "python", *run, folder=lab, **own)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(lab / "done.ipynb", as_version=4).cells
    assert any(images_of(cell) for cell in cells if cell.cell_type == "code")

    (lab / "exercises.ipynb").write_text("my work")
    # Again, on a machine where the doctor finds an error, and without measurements.
    again = offline("bash", kit / "install", lab, folder="/", **own, OMP_NUM_THREADS="abc")
    assert again.returncode == 1
    assert "installing" not in again.stdout
    assert "installed, but the machine is not ready: see the faults above" in again.stderr
    assert (lab / "exercises.ipynb").read_text() == "my work"

    (tmp_path / "other" / ".venv").mkdir(parents=True)
    theirs = offline("bash", kit / "install", tmp_path / "other", folder="/", **own)
    assert theirs.returncode == 1
    assert "/other/.venv exists, and is not of a kit; name another folder" in theirs.stderr
    assert os.listdir(tmp_path / "other") == [".venv"]
    assert not os.listdir(tmp_path / "other" / ".venv")
    wrong = offline("bash", kit / "install", tmp_path / "third", folder="/", **{**own, "PYTHON": "/bin/false"})
    assert wrong.returncode == 1
    assert "not found (tried: /bin/false)" in wrong.stderr

    wheel = next((kit / "wheels").glob("d2l-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    damaged = offline("sh", kit / "install", tmp_path / "third", folder="/", **own)
    assert damaged.returncode == 1
    assert "files of the kit are damaged" in damaged.stderr
    assert wheel.name in damaged.stderr
    assert not (tmp_path / "third").exists()
    for folder in (kit, lab):  # a gigabyte, of which pytest would keep three runs
        shutil.rmtree(folder)


def test_a_kit_is_not_made_in_an_existing_folder(tmp_path, capfd):
    (tmp_path / "mine").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = sorted(os.listdir(tmp_path))
    for folder in (tmp_path, tmp_path / "mine", tmp_path / "dangling"):
        status, _, errors = ended(capfd, "kit", folder)
        assert status == 2
        assert f"{folder}: exists" in errors
        assert sorted(os.listdir(tmp_path)) == before
        assert_one_line(errors)


def test_a_kit_without_a_package_index_is_an_error_and_leaves_nothing(tmp_path, capfd, monkeypatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    status, _, errors = ended(capfd, "kit", tmp_path / "below" / "kit")
    assert status == 1
    assert "error: kit: pip wheel failed (ERROR: " in errors
    assert "a kit needs a package index" in errors
    assert not (tmp_path / "below" / "kit").exists()
