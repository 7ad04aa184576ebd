"""Interrupted experiments, and runs in subprocesses."""

import signal
import subprocess
import time

import gluon_nst as nst
from gluon_nst import experiments
from gluon_nst.runs import processes
from gluon_nst.runs.run import prepare

import pytest

from commands import SHALLOW, command_line, failing, happening, names

ONE_LAYER = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}


# -- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupt_keeps_finished_trials_and_reports_how_to_resume(experiment, started, tmp_path):
    with failing(3 + 1):  # in the second run
        status, _, err = experiment("sweep", "--vary", "lr=0.1,0.2,0.3")
    folder = tmp_path / "out"
    assert status == 130
    assert err == f"interrupted: 1 of 3 are done and kept in {folder}; the same command resumes\n"
    assert names(folder) == [".lr=0.2.checkpoint", "lr=0.1.csv", "lr=0.1.png", "sheet.png"]
    status, out, err = experiment("sweep", "--vary", "lr=0.1,0.2,0.3")
    assert status == 0
    assert err == ""
    assert "3 of 3 pictures" in out
    assert names(folder) == sorted(["sheet.png", *(f"lr=0.{lr}.{kind}" for lr in "123" for kind in ("csv", "png"))])
    assert [recipe.stages[0].lr for recipe in started] == [0.1, 0.2, 0.2, 0.3]


@pytest.mark.slow
def test_an_interrupt_in_the_first_run_leaves_no_sheet(experiment, tmp_path):
    with failing(1):
        status, out, err = experiment("sweep", "--vary", "lr=0.1,0.2")
    folder = tmp_path / "out"
    assert (status, out) == (130, "")
    assert names(folder) == [".lr=0.1.checkpoint"]
    assert err == f"interrupted: 0 of 2 are done and kept in {folder}; the same command resumes\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("compare", ["--recipes", "d2l-2019,d2l-2023"], ["d2l-2019", ".d2l-2023"]),
        ("reconstruct", ["content", "--layers", "conv1_1,conv1_2"], ["conv1_1", ".conv1_2"]),
    ],
)
def test_the_other_commands_can_be_interrupted_too(content, experiment, tmp_path, name, options, expected):
    if name == "reconstruct":
        options = [*options[:1], content, *options[1:]]
    with happening(3 + 1, lambda: signal.raise_signal(signal.SIGINT)):
        status, _, err = experiment(name, *options)
    folder = tmp_path / "out"
    assert status == 130
    assert f"interrupted: 1 of 2 are done and kept in {folder}; the same command resumes" in err
    done, unfinished = expected
    assert names(folder) == [f"{unfinished}.checkpoint", f"{done}.csv", f"{done}.png", "sheet.png"]


@pytest.mark.slow
def test_a_process_interrupted_with_ctrl_c_keeps_finished_trials(content, style, converted, tmp_path):
    given = [content, style, "--vary", "epochs=2,100000", "--sizes", "16x24", *SHALLOW]
    run = subprocess.Popen(
        command_line("sweep", *given, "--out", "out", "--weights", converted),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    while not list(
        (tmp_path / "out").glob(".*100000.checkpoint/state-*")
    ):  # the first trial is finished, the second has started
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted: 1 of 2 are done and kept in out; the same command resumes" in err
    checkpoint, *whole = names(tmp_path / "out")
    assert checkpoint.endswith(".checkpoint")
    assert whole == ["epochs=2.csv", "epochs=2.png", "sheet.png"]


def test_an_interrupt_during_drawing_of_the_sheet_keeps_the_trials(experiment, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_nst.runs.figures.save", stop)
    status, _, err = experiment("sweep", "--vary", "lr=0.1")
    assert (status, err) == (130, f"interrupted: what is in {tmp_path / 'out'} is whole, the rest is not written\n")
    assert names(tmp_path / "out") == ["lr=0.1.csv", "lr=0.1.png"]


# -- processes --------------------------------------------------------------------------------------------------------


class Follower(nst.Observer):
    """Records (stage, epoch) of each epoch, and calls `do`."""

    def __init__(self, do=lambda: None):
        self.seen, self._do = [], do

    def state(self, state):
        self.seen.append(state.record[-1][:2])
        self._do()


@pytest.mark.slow
def test_runs_of_several_sizes_use_subprocesses_with_the_same_results(
    content, style, converted, tmp_path, started_processes
):
    options = {"epochs": 3, "weights": str(converted), **ONE_LAYER}
    experiment = experiments.sweep(content, style, {"sizes": {"32": [(32, 48)], "48": [(48, 64)]}}, **options)
    follower = Follower()
    outcomes = list(experiment.run(tmp_path / "out", observer=follower))
    assert len(started_processes) == 2
    assert follower.seen == [(1, 0), (1, 1), (1, 2)] * 2
    for trial, outcome in zip(experiment.trials, outcomes):
        here = nst.transfer(content, style, **{"recipe": "d2l-2019", **options, **trial.options})
        assert not outcome.failed
        assert outcome.picture.tobytes() == here.image.tobytes()


@pytest.mark.slow
def test_runs_of_one_size_use_this_process(experiment, started_processes):
    assert experiment("sweep", "--vary", "lr=0.1,0.2")[0] == 0
    assert started_processes == []


@pytest.fixture
def started_processes(monkeypatch):
    """The subprocesses that are started for runs."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return started


@pytest.fixture
def endless(content, style, converted):
    """A run that does not finish during a test."""
    options = {"recipe": "d2l-2019", "sizes": [(16, 24)], "epochs": 10**6, "weights": str(converted), **ONE_LAYER}
    return prepare(nst.Job(content, style, **options))


@pytest.mark.slow
def test_a_killed_subprocess_is_an_error(endless, started_processes):
    with pytest.raises(nst.NSTError, match="the process of this run was killed by signal 9; was there enough memory"):
        processes.carry_out_apart(endless, Follower(lambda: started_processes[0].kill()))


@pytest.mark.slow
def test_an_interrupted_run_ends_its_subprocess(endless, started_processes):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.carry_out_apart(endless, Follower(stop))
    assert started_processes[0].poll() == -signal.SIGKILL


@pytest.mark.slow
def test_an_error_in_a_subprocess_is_one_line(experiment, started_processes):
    status, _, err = experiment("sweep", "--vary", "style-size=0.5,1", "--lr", "1e30")
    assert status == 1
    assert len(started_processes) == 2
    assert err.count("error: style-size") == 2
    assert "stage 1, epoch 1: the loss is" in err


@pytest.mark.slow
def test_a_diverged_run_in_a_subprocess_returns_its_finished_stages(content, style, converted):
    sizes = [(16, 24), (16, 24)]
    options = {"recipe": "d2l-2019", "sizes": sizes, "epochs": 2, "lr": [0.01, 1e30], "weights": str(converted)}
    job = nst.Job(content, style, **options, **ONE_LAYER)
    result = processes.carry_out_apart(prepare(job))
    assert result.status == "diverged"
    assert len(result.images) == 1
    assert len(result.losses) == 3
    assert result.note.startswith("stage 2, epoch 1: the loss is")
