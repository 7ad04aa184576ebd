"""The book's section in plain code, gluon_nst/chapter.py, compared with the engine."""

import ast
import csv
import functools
from pathlib import Path

from gluon_nst import chapter as book

import numpy as np
import pytest
from mxnet import gluon
from PIL import Image

from commands import ended


def losses(folder):
    with open(folder / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in ("content", "style", "tv", "total", "lr")] for row in rows])


@pytest.fixture
def chapter(chapter):
    """Run the command of the same name with the book's layers."""
    return functools.partial(chapter, layers=())


@pytest.mark.slow
@pytest.mark.parametrize("edition, lr", [("2019", "0.01"), ("2023", "0.02")])
def test_the_engine_has_the_losses_of_the_books_own_loop_at_both_sizes(chapter, tmp_path, edition, lr):
    # Adam amplifies the rounding errors of both from epoch to epoch, more with larger steps.
    epochs = ["--edition", edition, "--lr", lr, "--lr-decay-epoch", "3", "--sizes", "32x48,64x96", "--epochs", "8,8"]
    plain = chapter("--plain", *epochs, out=tmp_path / "plain")
    engine = chapter(*epochs, out=tmp_path / "engine")
    assert plain[0] == engine[0] == 0
    of_plain, of_engine = losses(tmp_path / "plain"), losses(tmp_path / "engine")
    assert of_plain.shape == of_engine.shape == (16, 5)
    assert np.allclose(of_plain, of_engine, rtol=1e-4, atol=1e-6 * of_engine[:, 3].max())
    assert len(set(of_plain[:, 3])) == 16
    assert len(set(of_plain[:, 4])) == 3
    for number in (1, 2):
        pictures = (tmp_path / folder / f"neural-style-{number}.png" for folder in ("plain", "engine"))
        first, second = (np.asarray(Image.open(path)).astype(int) for path in pictures)
        assert np.abs(first - second).max() <= 2


def test_the_books_own_code_imports_only_mxnet():
    tree = ast.parse(Path(book.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"__future__", "functools", "time", "typing", "mxnet", "mxnet.gluon", "mxnet.ndarray"}


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["--optimizer", "lbfgs"],
            "--plain runs the book's own loop, whose optimizer is adam, not lbfgs; leave one of the two out",
        ),
        (["--recipe", "fine"], "which has the recipes d2l-2019 and d2l-2023, not fine (its trunk differs)"),
        (["--init", "noise"], "whose init is content, not noise"),
        (["--bits", "16"], "--plain has no --bits"),
        (["--precision", "auto"], "whose precision is float32, not auto"),
        (["--save-every", "1"], "--plain has no --save-every"),
        (["--checkpoint", "kept"], "--plain has no --checkpoint"),
    ],
)
def test_options_that_the_book_does_not_have_are_refused(chapter, tmp_path, options, message):
    status, out, err = chapter("--plain", *options)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_transparent_picture_is_refused_unless_it_is_flattened(chapter, content, style, tmp_path):
    clear = Image.open(content).convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    own = ("--content", tmp_path / "clear.png", "--style", style)
    status, _, err = chapter("--plain", own=own)
    assert status == 2
    assert "--plain: the content picture is transparent; use --flatten" in err
    assert chapter("--plain", "--flatten", own=own)[0] == 0


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(chapter, tmp_path):
    status, out, err = chapter("--plain", "--lr", "1e30")
    assert status == 1
    assert "the loss is nan; lower the learning rate or the weights" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_composite_and_its_losses(chapter, tmp_path, monkeypatch):
    step, steps = gluon.Trainer.step, []

    def interrupted(self, *arguments):
        steps.append(1)
        if len(steps) == 5:  # the second epoch of the second size
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(gluon.Trainer, "step", interrupted)
    assert chapter("--plain")[0] == 130
    assert len(list((tmp_path / "out").glob("*.png"))) == 3  # both composites and the plot
    assert len(losses(tmp_path / "out")) == 4


@pytest.mark.slow
def test_rerun_refuses_a_picture_of_the_plain_loop(chapter, tmp_path, capfd):
    assert chapter("--plain")[0] == 0
    status, _, err = ended(capfd, "rerun", tmp_path / "out/neural-style-2.png", "--output", tmp_path / "again.png")
    assert status == 2
    assert "made by chapter --plain; repeat that command" in err
