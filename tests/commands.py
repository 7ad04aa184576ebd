"""Functions and fixtures for the tests of commands; conftest.py imports the fixtures."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

from gluon_nst import weights
from gluon_nst.cli import main
from gluon_nst.engine.objective import Objective
from gluon_nst.runs.checkpoint import carry_out_kept

import pytest
from PIL import Image

SHALLOW = ["--content-layers", "conv1_1", "--style-layers", "conv1_1"]
"""Options for a shallow, fast network."""


def namespace(kind):
    """Return the command that runs another one in a new namespace (-m: mounts, -n: network), or [] if that is not
    permitted."""
    ways = (["unshare", f"-{kind}"], ["unshare", f"-r{kind}"])
    return next((way for way in ways if subprocess.run([*way, "true"], capture_output=True).returncode == 0), [])


def ended(capfd, *arguments):
    """Run a command; return its exit status, standard output and standard error."""
    capfd.readouterr()
    status = main(list(map(str, arguments)))
    return (status, *capfd.readouterr())


@pytest.fixture(scope="session")
def converted(cache, weights_file):
    """Return the file of random weights, already converted into the cache."""
    weights.find(str(weights_file), notify=lambda line: None)
    return weights_file


@pytest.fixture
def render(content, style, converted, tmp_path, capfd):
    """Run `gluon-nst render` with the chapter's recipe on the small pictures; return the status, standard output and
    standard error."""

    def run(*options, content=content, style=style, output=tmp_path / "out.png", small=True):
        arguments = ["render", content, style, "--output", output, "--weights", converted, "--recipe", "d2l-2019"]
        if small:
            arguments += ["--sizes", "32x48,48x64", "--epochs", "3,2", *SHALLOW]
        return ended(capfd, *arguments, *options)

    return run


@pytest.fixture
def refuses(render, tmp_path):
    """Check that a run exits with status 2 and one line `error: …` that contains the message, and writes nothing."""

    def check(message, *options, **changed):
        before = names(tmp_path)
        status, out, err = render(*options, **changed)
        assert status == 2
        assert out == ""
        assert_one_line(err)
        assert message in err
        assert names(tmp_path) == before

    return check


@pytest.fixture
def chapter(content, style, converted, tmp_path, capfd):
    """Run `gluon-nst chapter` with small pictures into tmp_path/out; return the same as `render`."""

    def run(*options, own=("--content", content, "--style", style), out=tmp_path / "out", layers=SHALLOW):
        arguments = ["chapter", "--out", out, "--weights", converted, "--quiet", *own]
        arguments += ["--sizes", "32x48,48x64", "--epochs", "3,2", *layers]
        return ended(capfd, *arguments, *options)

    return run


@pytest.fixture
def experiment(content, style, converted, tmp_path, capfd):
    """Run one of the commands that make a sheet, into tmp_path/out; return the same as `render`. A sweep has one layer,
    unless `layers` are other options."""

    def run(name, *options, layers=SHALLOW):
        pictures = [content, style] if name != "reconstruct" else []
        arguments = [name, *pictures, "--out", tmp_path / "out", "--weights", converted]
        arguments += ["--sizes", "32x48", "--epochs", "3", "--quiet", *(layers if name == "sweep" else ())]
        return ended(capfd, *arguments, *options)

    return run


@pytest.fixture
def started(monkeypatch):
    """Collect the recipes of an experiment's runs when they start."""
    recipes = []

    def spy(run, *others):
        recipes.append(run.recipe)
        return carry_out_kept(run, *others)

    monkeypatch.setattr("gluon_nst.experiments.trials.carry_out_kept", spy)
    # Runs that would have a subprocess run in this process.
    monkeypatch.setattr("gluon_nst.experiments.trials.carry_out_apart", spy)
    return recipes


@contextlib.contextmanager
def happening(after, do):
    """In the block, call `do` once, after this number of epochs, before the losses of the next one are computed."""
    compute, done = Objective.__call__, itertools.count()

    def computed(self):
        if next(done) == after:
            do()
        return compute(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__call__", computed)
        yield


def failing(after, error=KeyboardInterrupt):
    """In the block, raise `error` after this number of epochs, like Ctrl-C during the next one."""

    def fail():
        raise error

    return happening(after, fail)


def command_line(*arguments):
    """Return the command line of the command, for `subprocess`."""
    return [sys.executable, "-m", "gluon_nst", *map(str, arguments)]


def made(path):
    """Return the record in a picture."""
    with Image.open(path) as picture:
        return json.loads(picture.text["gluon-nst"])


def names(folder):
    """Return the names of the files in a folder."""
    return sorted(path.name for path in Path(folder).iterdir()) if os.path.isdir(folder) else []


def assert_one_line(err):
    """Check that standard error is one line with an error."""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
