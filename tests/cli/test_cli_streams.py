"""The command as a process: its standard streams, what it loads, and Ctrl-C while it loads."""

import os
import shlex
import signal
import subprocess
import sys
import time

from gluon_nst import cli

import pytest

from commands import SHALLOW, command_line

TINY = ["--recipe", "d2l-2019", "--sizes", "16x24", "--epochs", "2", *SHALLOW]

# -- standard streams -------------------------------------------------------------------------------------------------


def run_for_nobody(*arguments):
    """Run a command whose standard output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as nobody:
        return subprocess.run(command_line(*arguments), stdout=nobody, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["recipes"], ["--help"], ["weights", "list"]])
def test_a_reader_that_goes_away_is_no_error(arguments):
    done = run_for_nobody(*arguments)
    assert done.stderr == b""
    assert done.returncode == 0


@pytest.mark.slow
def test_a_run_continues_when_the_reader_of_its_output_exits(content, style, converted, tmp_path):
    recipe = tmp_path / "my.toml"
    recipe.write_text('extends = "d2l-2019"\nreport_every = 1\n[[stages]]\nsize = [16, 24]\nepochs = 3\n')
    options = ["--content", content, "--style", style, "--weights", converted, "--recipe", recipe, "--quiet", *SHALLOW]
    done = run_for_nobody("chapter", *options, "--out", tmp_path / "out")
    assert done.stderr == b""
    assert done.returncode == 0
    assert (tmp_path / "out/neural-style-1.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["2>/dev/full", ">&- 2>&-"])
def test_a_run_does_not_end_for_want_of_a_place_for_its_progress(content, style, converted, tmp_path, stream):
    options = ["--output", tmp_path / "out.png", "--weights", converted, *TINY]
    line = f"{shlex.join(command_line('render', content, style, *options))} {stream}"
    assert subprocess.run(["bash", "-c", line], stdout=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "out.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("streams", [["stderr"], ["stdout", "stderr"]])
def test_main_runs_without_standard_streams(content, style, converted, tmp_path, monkeypatch, streams):
    for name in streams:
        monkeypatch.setattr(sys, name, None)  # what Python makes of a closed one
    options = ["--output", tmp_path / "out.png", "--weights", converted, *TINY]
    assert cli.main(list(map(str, ["render", content, style, *options]))) == 0
    assert (tmp_path / "out.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "closed, out, err",
    [(">&-", b"", b""), ("2>&-", b"d2l-2019", b""), ("> /dev/full", b"", b"error: the run failed")],
)
def test_a_standard_stream_that_can_not_be_written_is_no_traceback(closed, out, err):
    line = f"{shlex.join(command_line('recipes'))} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True)
    assert done.stdout.startswith(out)
    assert done.stderr.startswith(err)
    assert b"Traceback" not in done.stderr


# -- what is loaded ---------------------------------------------------------------------------------------------------

HEAVY = {"mxnet", "numpy", "PIL", "matplotlib", "scipy", "requests", "h5py"}


def telling_imports(*arguments):
    """The command in a process that writes the name of each module to standard error when it is loaded."""
    python, *rest = command_line(*arguments)
    return [python, "-X", "importtime", *rest]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["render", "--help"], ["--version"], ["recipes"], ["recipes", "fast"], ["render", "--what"], []],
)
def test_what_needs_no_mxnet_does_not_load_it(arguments):
    done = subprocess.run(telling_imports(*arguments), capture_output=True)
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "gluon_nst" in loaded
    assert not HEAVY & loaded


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.3])
def test_ctrl_c_while_mxnet_loads_is_no_traceback(tmp_path, seconds):
    told = tmp_path / "stderr"
    with told.open("wb") as stderr:  # not a pipe, which would be full before it is read
        run = subprocess.Popen(
            telling_imports("render", "a.png", "b.png", "--output", "never.png"),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    while b"mxnet." not in told.read_bytes():
        assert run.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    status = run.wait(timeout=60)
    # It may have ended with an error before the signal. Where Ctrl-C met an `exec`, Python ends by the signal
    # itself, which a shell tells as 130 too.
    assert b"Traceback" not in told.read_bytes()
    assert status in (130, -signal.SIGINT, 2)
