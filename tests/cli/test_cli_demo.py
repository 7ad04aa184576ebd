"""gluon-nst demo: the picture by fine, and the offer of the chapter's run."""

import dataclasses
import sys

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.cli import pictures
from gluon_nst.weights.cache import sha256_of
from gluon_nst.weights.pictures import own_pictures

import pytest
from PIL import Image

from commands import assert_one_line, ended, made, names


@pytest.fixture
def demo(converted, tmp_path, capfd, monkeypatch):
    """Run `gluon-nst demo` at a small size for one epoch; `answer` is typed on a terminal, or there is none. Gives the
    status, standard output, standard error, and the arguments of the chapter's runs that it started."""
    started = []

    def fit(recipe, size):
        fitted = recipes.fit(recipe, size)
        return dataclasses.replace(fitted, stages=tuple(dataclasses.replace(each, epochs=1) for each in fitted.stages))

    def chapter(arguments, options):
        started.append((arguments, options))
        return 0

    monkeypatch.setattr("gluon_nst.runs.run.fit", fit)
    monkeypatch.setattr(pictures, "chapter", chapter)
    monkeypatch.chdir(tmp_path)

    def run(*options, answer=None):
        def ask(question):
            print(question, end="")
            if isinstance(answer, str):
                return answer
            raise answer

        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None, raising=False)
        arguments = ["demo", "--longest-side", 32, "--weights", converted, "--quiet", *options]
        return (*ended(capfd, *arguments), started)

    return run


@pytest.mark.slow
def test_the_demo_paints_the_projects_own_pictures_by_fine_and_names_the_chapters_run(demo, tmp_path):
    status, out, err, started = demo()
    assert (status, err, started) == (0, "", [])
    picture, hint = out.splitlines()
    assert picture.startswith("neural-style/fine.png: ")
    assert hint.startswith("The chapter as the book has it: ")
    assert hint.endswith("gluon-nst chapter")
    assert names(tmp_path / "neural-style") == ["fine.png"]
    record = made(tmp_path / "neural-style/fine.png")
    assert record["recipe"]["title"] == recipes.read("fine").title
    assert record["content_sha256"] == sha256_of(own_pictures()[0])
    with Image.open(tmp_path / "neural-style/fine.png") as image:
        assert max(image.size) == 32


@pytest.mark.slow
@pytest.mark.parametrize("answer, is_run", [("y", True), ("Yes", True), ("", False), ("n", False), (EOFError(), False)])
def test_on_a_terminal_the_demo_runs_the_chapter_if_the_user_agrees(demo, tmp_path, answer, is_run):
    status, out, _, started = demo("--out", tmp_path / "out", answer=answer)
    assert status == 0
    assert "[y/N]" in out
    assert ("gluon-nst chapter --out" in out) != is_run
    assert len(started) == is_run
    for arguments, options in started:
        assert (arguments.out, arguments.quiet, arguments.recipe) == (tmp_path / "out", True, None)
        assert list(options) == ["weights"]


@pytest.mark.slow
def test_ctrl_c_at_the_question_says_that_the_picture_is_written(demo, tmp_path):
    status, _, err, started = demo(answer=KeyboardInterrupt())
    assert (status, err, started) == (130, "interrupted: neural-style/fine.png is written\n", [])


@pytest.mark.slow
def test_a_demo_that_is_refused_leaves_no_folder(demo, tmp_path):
    for options in (["--device", "tpu"], ["--longest-side", "4"], ["--longest-side", "large"]):
        status, _, err, _ = demo(*options, answer="y")
        assert status == 2
        assert_one_line(err)
        assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    status, _, err, _ = demo("--out", tmp_path / "file")
    assert (status, err) == (2, f"error: {tmp_path}/file: not a folder; choose another\n")


def test_the_demo_without_the_projects_pictures_is_one_line(demo, tmp_path, monkeypatch):
    def shipped(path):
        raise nst.InputError(f"{path}: this file of the project is not installed; reinstall gluon-nst")

    monkeypatch.setattr("gluon_nst.weights.pictures.shipped", shipped)
    status, _, err, _ = demo()
    assert status == 2
    assert "reinstall gluon-nst" in err
    assert_one_line(err)
    assert names(tmp_path) == []
