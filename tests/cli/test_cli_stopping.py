"""Runs that are stopped, that diverge or whose memory runs out: what is kept of them, and where."""

import os
import signal
import subprocess
import time

from gluon_nst import observers
from gluon_nst.runs import loop

import mxnet as mx
import pytest
from PIL import Image

from commands import SHALLOW, command_line, failing, made, names

STAGES = ["--sizes", "16x24,16x24,24x32", "--epochs", "2"]  # instead of render's own two
HOT = [*STAGES, "--lr", "0.01,0.01,1e30"]  # the third stage diverges in its second epoch
OUT_OF_MEMORY = mx.MXNetError("Failed to allocate CPU Memory")


def rows(path):
    """(stage, epoch) of each row of a file of losses."""
    return [tuple(map(int, row.split(",")[:2])) for row in path.read_text().splitlines()[1:]]


# -- a signal ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_by_a_signal_keeps_the_picture_so_far(render, tmp_path, monkeypatch, number):
    show = observers.Bar.state

    def send(self, state):
        show(self, state)
        if len(state.record) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(observers.Bar, "state", send)
    losses, output = tmp_path / "losses.csv", tmp_path / "out.png"
    status, out, err = render("--losses", losses, "--quiet")
    assert status == 130
    assert "out.png: 32 x 48" in out
    assert err == f"interrupted: stage 1, 2 of 3 epochs; {output} is what there was\n"
    assert made(output)["interrupted"] == {"stage": 1, "epochs": 2}
    assert rows(losses) == [(1, 0), (1, 1)]
    assert names(tmp_path) == ["content.png", "losses.csv", "out.png", "style.png"]


def ignore_ctrl_c():
    """As nohup, cron and a shell's background jobs start their commands."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "start, stops, ignored",
    [(None, signal.SIGINT, ()), (ignore_ctrl_c, signal.SIGTERM, (signal.SIGINT, signal.SIGHUP))],
    ids=["in a terminal", "in the background"],
)
def test_a_process_that_is_stopped_keeps_the_picture_so_far(content, style, converted, tmp_path, start, stops, ignored):
    losses = tmp_path / "losses.csv"
    options = ["--weights", converted, "--losses", losses, "--recipe", "d2l-2019", *SHALLOW]
    options += ["--sizes", "16x24", "--epochs", "100000"]
    run = subprocess.Popen(
        command_line("render", content, style, "--output", tmp_path / "out.png", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=start,
    )
    begun = b""
    while b"epoch" not in begun:  # the bar has begun, so the first epoch is done
        begun += run.stderr.read(1)
    for number in ignored:
        run.send_signal(number)
    if ignored:
        time.sleep(0.3)
    assert run.poll() is None
    run.send_signal(stops)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"interrupted: stage 1," in err
    assert b"Traceback" not in err
    assert len(rows(losses)) == made(tmp_path / "out.png")["interrupted"]["epochs"] > 0
    assert names(tmp_path) == ["content.png", "losses.csv", "out.png", "style.png"]


def test_an_interrupt_before_the_first_epoch_writes_nothing(render, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_nst.weights.find", stop)
    status, _, err = render("--quiet")
    assert (status, err) == (130, "interrupted: nothing was written\n")
    assert not (tmp_path / "out.png").exists()


def test_an_interrupt_within_the_first_epoch_writes_nothing(render, tmp_path):
    with failing(0):
        status, _, err = render("--quiet")
    assert (status, err) == (130, "interrupted: nothing was written\n")
    assert not (tmp_path / "out.png").exists()


# -- between two stages -----------------------------------------------------------------------------------------------


def first_stage_kept(render, tmp_path, status, word):
    """Check that a run of 3 + 2 epochs whose second stage could not begin ends with its first stage."""
    got, out, err = render("--losses", tmp_path / "losses.csv", "--quiet")
    assert got == status
    assert "out.png: 32 x 48" in out
    assert word in err
    assert Image.open(tmp_path / "out.png").size == (48, 32)
    assert made(tmp_path / "out.png")["interrupted"] == {"stage": 1, "epochs": 3}
    assert rows(tmp_path / "losses.csv") == [(1, 0), (1, 1), (1, 2)]


ENDS = pytest.mark.parametrize(
    "error, status, word", [(KeyboardInterrupt, 130, "interrupted: "), (OUT_OF_MEMORY, 1, "out of memory: ")]
)


@pytest.mark.slow
@ENDS
def test_a_run_that_ends_while_a_stage_is_prepared_keeps_the_stage_before(
    render, tmp_path, monkeypatch, error, status, word
):
    take, calls = loop.targets_of, []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return take(*arguments)

    monkeypatch.setattr("gluon_nst.runs.loop.targets_of", fail)
    first_stage_kept(render, tmp_path, status, word)


@ENDS
def test_a_run_that_ends_before_the_first_epoch_of_a_stage_keeps_the_stage_before(
    render, tmp_path, error, status, word
):
    with failing(3, error):
        first_stage_kept(render, tmp_path, status, word)


# -- the memory runs out ----------------------------------------------------------------------------------------------


def test_a_run_whose_memory_runs_out_keeps_what_it_has(render, tmp_path):
    with failing(4, OUT_OF_MEMORY):
        status, out, err = render("--quiet")
    assert status == 1
    assert "out.png: 48 x 64" in out
    assert err.splitlines() == [
        "error: size 48x64: the memory ran out; choose a smaller size, or end other programs",
        f"out of memory: stage 2, 1 of 2 epochs; {tmp_path / 'out.png'} is what there was",
    ]
    said = made(tmp_path / "out.png")
    assert said["interrupted"] == {"stage": 2, "epochs": 1}
    assert said["status"] == "out of memory"


def test_memory_that_runs_out_at_once_is_one_line(render, tmp_path, monkeypatch):
    def run_out(*_, **__):
        raise MemoryError

    monkeypatch.setattr("gluon_nst.runs.loop.targets_of", run_out)
    status, out, err = render("--quiet")
    assert (status, out) == (1, "")
    assert not (tmp_path / "out.png").exists()
    assert err == "error: size 32x48: the memory ran out; choose a smaller size, or end other programs\n"


# -- the loss is not finite any more ----------------------------------------------------------------------------------


def test_a_run_that_diverges_in_its_first_stage_is_status_1_and_writes_nothing(render, tmp_path):
    status, _, err = render("--lr", "1e30", "--quiet")
    assert status == 1
    assert err.startswith("error: stage 1, epoch 1: the loss is")
    assert err.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_third_stage_that_diverges_leaves_the_picture_of_the_second(render, tmp_path):
    losses, output = tmp_path / "losses.csv", tmp_path / "out.png"
    status, out, err = render(*HOT, "--losses", losses, "--quiet")
    assert status == 1
    assert out.startswith(f"{output}: 16 x 24 (height x width), total loss ")
    reason, end = err.splitlines()
    assert reason.startswith("error: stage 3, epoch 1: the loss is nan; lower the learning rate")
    assert end == f"diverged: stage 3, 1 of 2 epochs; {output} is the picture of stage 2"
    assert rows(losses) == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    said = made(output)
    assert said["status"] == "diverged"
    assert said["stage"] == 2
    assert said["interrupted"] == {"stage": 3, "epochs": 1}


@pytest.mark.slow
def test_the_picture_that_a_diverging_stage_leaves_is_the_same_as_without_that_stage(render, tmp_path):
    render(*HOT, "--quiet")
    render("--sizes", "16x24,16x24", "--epochs", "2", "--lr", "0.01", "--quiet", output=tmp_path / "two.png")
    with Image.open(tmp_path / "out.png") as left, Image.open(tmp_path / "two.png") as whole:
        assert left.tobytes() == whole.tobytes()


@pytest.mark.slow
def test_a_chapter_whose_third_stage_diverges_keeps_the_pictures_of_the_first_two(chapter, tmp_path):
    status, out, err = chapter(*HOT)
    folder = tmp_path / "out"
    assert status == 1
    assert names(folder) == ["losses.csv", "losses.png", "neural-style-1.png", "neural-style-2.png"]
    assert f"{folder}/neural-style-2.png: 16 x 24 (height x width), total loss " in out
    reason, end = err.splitlines()
    assert reason.startswith("error: stage 3, epoch 1: the loss is nan")
    assert end == f"diverged: stage 3, 1 of 2 epochs; {folder}/neural-style-2.png is the picture of stage 2"
    assert [made(folder / f"neural-style-{number}.png")["stage"] for number in (1, 2)] == [1, 2]


@pytest.mark.slow
def test_a_run_that_diverges_has_its_film_and_its_snapshots(render, tmp_path):
    film = tmp_path / "film.gif"
    status, out, _ = render(*HOT, "--save-every", "1", "--animate", film, "--quiet")
    assert status == 1
    assert f"{film}: the film of the run" in out
    whole = [f"out-stage-{stage}-epoch-{epoch}.png" for stage in (1, 2) for epoch in (1, 2)]
    assert set(whole) < set(names(tmp_path))
    assert "out-stage-3-epoch-2.png" not in names(tmp_path)


# -- what was there before --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stopped_run_leaves_a_finished_picture_where_it_is(render, tmp_path):
    output, losses, film = tmp_path / "out.png", tmp_path / "losses.csv", tmp_path / "film.gif"
    options = ["--losses", losses, "--animate", film, "--quiet", "--sizes", "16x24", "--epochs", "3"]
    assert render(*options)[0] == 0
    finished = {path: path.read_bytes() for path in (output, losses, film)}
    for word in ("interrupted", "interrupted-2"):
        with failing(2):
            status, out, err = render(*options)
        assert status == 130
        assert {path: path.read_bytes() for path in finished} == finished
        assert f"{output}: left as it was; the run that did not end is in {tmp_path}/out-{word}.png" in err
        assert made(tmp_path / f"out-{word}.png")["interrupted"] == {"stage": 1, "epochs": 2}
        assert rows(tmp_path / f"losses-{word}.csv") == [(1, 0), (1, 1)]
        assert (tmp_path / f"film-{word}.gif").exists()


@pytest.mark.slow
def test_a_diverged_run_leaves_a_finished_picture_where_it_is(render, tmp_path):
    assert render("--quiet")[0] == 0
    finished = (tmp_path / "out.png").read_bytes()
    status, out, err = render(*HOT, "--quiet")
    assert status == 1
    assert (tmp_path / "out.png").read_bytes() == finished
    assert f"{tmp_path}/out-interrupted.png: 16 x 24" in out
    assert made(tmp_path / "out-interrupted.png")["stage"] == 2


@pytest.mark.slow
def test_a_stopped_chapter_leaves_a_finished_one_where_it_is(chapter, tmp_path):
    options, folder = ["--sizes", "16x24,24x32", "--epochs", "2"], tmp_path / "out"
    assert chapter(*options)[0] == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with failing(3):
        assert chapter(*options)[0] == 130
    assert {path: path.read_bytes() for path in before} == before
    pictures = [f"neural-style-{number}-interrupted.png" for number in (1, 2)]
    beside = {"losses-interrupted.csv", "losses-interrupted.png", *pictures}
    assert set(names(folder)) == {path.name for path in before} | beside


def test_an_interrupt_while_the_film_is_made_keeps_the_picture(render, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_nst.runs.figures.film", stop)
    status, _, err = render("--animate", tmp_path / "film.gif", "--quiet")
    assert (status, err) == (130, f"interrupted: what is in {tmp_path} is whole, the rest is not written\n")
    assert names(tmp_path) == ["content.png", "out.png", "style.png"]


class InterruptedAsItGoes:
    """An object that Ctrl-C meets as it is let go."""

    def __del__(self):
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_an_interrupt_that_python_drops_comes_again(render, tmp_path, monkeypatch, handler):
    show, dropped = observers.Bar.state, []
    before = signal.signal(signal.SIGINT, handler)

    def drop(self, state):
        show(self, state)
        if not dropped:
            dropped.append(InterruptedAsItGoes())
            dropped[0] = None
        time.sleep(0.02)

    monkeypatch.setattr(observers.Bar, "state", drop)
    try:
        status, _, err = render("--sizes", "32x48", "--epochs", "300", "--quiet")
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    assert err.startswith("interrupted: stage 1, ")
    assert "Traceback" not in err
    assert (tmp_path / "out.png").exists()
