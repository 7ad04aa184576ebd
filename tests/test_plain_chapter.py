"""The book's section in plain code, gluon_nst/chapter.py, beside the engine."""

import ast
import csv
from pathlib import Path

from gluon_nst import chapter as book

import numpy as np
import pytest


def losses(folder):
    with open(folder / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in ("content", "style", "tv", "total", "lr")] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("edition, lr", [("2019", "0.01"), ("2023", "0.05")])
def test_the_engine_has_the_losses_of_the_books_own_loop_at_both_sizes(chapter, tmp_path, edition, lr):
    # Adam amplifies the rounding errors of both from epoch to epoch, the more the larger its steps are.
    epochs = ["--edition", edition, "--lr", lr, "--sizes", "32x48,64x96", "--epochs", "8,8"]
    plain = chapter("--plain", *epochs, out=tmp_path / "plain")
    engine = chapter(*epochs, out=tmp_path / "engine")
    assert plain[0] == engine[0] == 0
    of_plain, of_engine = losses(tmp_path / "plain"), losses(tmp_path / "engine")
    assert of_plain.shape == of_engine.shape == (16, 5)
    assert np.allclose(of_plain, of_engine, rtol=1e-4, atol=1e-6 * of_engine[:, 3].max())
    assert len(set(of_plain[:, 3])) == 16
    for number in (1, 2):
        assert (tmp_path / "plain" / f"neural-style-{number}.png").exists()


def test_the_books_own_code_imports_mxnet_alone():
    tree = ast.parse(Path(book.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"__future__", "functools", "time", "typing", "mxnet", "mxnet.gluon", "mxnet.ndarray"}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--optimizer", "lbfgs"], "--plain has no optimizer; leave it out, or leave --plain out"),
        (["--recipe", "fine"], "--plain has no trunk"),
        (["--init", "noise"], "--plain has no init"),
        (["--save-every", "1"], "--plain has no --save-every"),
        (["--checkpoint", "kept"], "--plain has no --checkpoint"),
    ],
)
def test_what_the_book_has_not_is_refused(chapter, tmp_path, options, message):
    status, out, err = chapter("--plain", *options)
    assert status == 2 and out == "" and err.count("\n") == 1 and message in err
    assert not (tmp_path / "out").exists()
