"""Batches on real workers, some of which are killed; one picture on several workers."""

import contextlib
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import gluon_nst as nst
from gluon_nst.runs.checkpoint import container

import dask
import numpy as np
import psutil
import pytest
from PIL import Image

from commands import SHALLOW, command_line, ended, made
from painting import paint

LAYERS = ["--recipe", "d2l-2019", "--content-layers", "conv2_2", "--style-layers", "conv1_1,conv2_1"]

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path):
    """A folder with some pictures, the working directory of the commands."""
    for name, height, width, seed in (("a", 120, 90, 1), ("b", 90, 120, 2), ("s", 80, 80, 3), ("t", 70, 90, 4)):
        Image.fromarray(paint(height, width, seed)).save(tmp_path / f"{name}.png")
    return tmp_path


def start(folder, *arguments, **environment):
    """Start a command in a `folder`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command_line(*arguments), cwd=folder, env={**os.environ, **environment}, start_new_session=True, **options
    )


def finished(process):
    """Wait for a command; return its status, standard output and standard error."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(condition, seconds=120):
    """Wait until `condition()` is true."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        time.sleep(0.1)


def workers_of(process):
    """Return the worker processes of a command's local cluster."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children()
        return [each for each in children if "spawn_main" in " ".join(each.cmdline()) and "resource" not in str(each)]
    return []


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_batch_whose_worker_and_command_are_killed_runs_each_valid_job_once(
    pictures, weights_file, capfd, monkeypatch
):
    with open(pictures / "jobs.csv", "w", encoding="utf-8") as file:
        file.write("name,content,style,longest-side,epochs\n")
        for number in range(9):
            content = "gone" if number == 3 else "ab"[number % 2]
            epochs = "none" if number == 7 else 3
            file.write(f"job-{number},{content}.png,{'st'[number % 3 % 2]}.png,{48 + 6 * number},{epochs}\n")
    command = ["batch", "jobs.csv", "--out", "out", "--workers", "2", "--weights", weights_file, "--quiet"]
    command += ["--recipe", "d2l-2019", *SHALLOW]

    def done():
        return {path: os.stat(path).st_mtime_ns for path in (pictures / "out").glob("job-*.png")}

    first = start(pictures, *command)
    wait_for(done)
    victim = workers_of(first)[0]
    victim.kill()
    before = len(done())

    def is_replaced():
        return len([each for each in workers_of(first) if each.pid != victim.pid]) == 2

    wait_for(lambda: len(done()) >= before + 2 and is_replaced())
    others = workers_of(first)
    first.kill()
    wait_for(lambda: not any(each.is_running() for each in others))
    before = done()
    assert 3 <= len(before) < 7

    second, memory = start(pictures, *command), []
    while second.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory.append((len(done()), sum(each.memory_info().rss for each in workers_of(second))))
        time.sleep(0.1)
    status, out, err = finished(second)
    assert status == 1
    assert "7 of 9 pictures" in out
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: job-3: gone.png: no such file; check the path",
        "error: job-7: epochs: 'none' is not an integer of at least 1",
    ]
    after = done()
    assert len(after) == 7
    assert before.items() <= after.items()
    assert len(list((pictures / "out").glob("job-*.csv"))) == 7
    assert not list((pictures / "out").glob(".job*"))
    rows = rows_of(pictures / "out/report.csv")
    assert [row["status"] for row in rows].count("done") == 7
    assert sum(row["note"] == "kept from before" for row in rows) == len(before)
    # The memory of a worker does not grow with its jobs, which run in subprocesses.
    first_job = max(taken for count, taken in memory if count <= len(before) + 1)
    later = [taken for count, taken in memory if count > len(before) + 1]
    assert max(later, default=0) < 1.1 * first_job
    monkeypatch.chdir(pictures)
    assert ended(capfd, *command)[0] == 1
    assert done() == after


def test_an_interrupted_batch_resumes_to_the_same_picture(pictures, weights_file):
    (pictures / "jobs.csv").write_text("name,content,style\nstopped,a.png,s.png\nwhole,a.png,s.png\n")
    command = ["batch", "jobs.csv", "--out", "out", "--workers", "1", "--weights", weights_file, "--quiet"]
    command += [*LAYERS, "--longest-side", 100, "--epochs", 120]
    process = start(pictures, *command)
    kept = pictures / "out/.stopped.checkpoint"
    wait_for(lambda: kept.is_dir() and list(kept.glob("state-*")))
    os.killpg(process.pid, signal.SIGTERM)  # to the workers, too, as timeout and schedulers do
    status, out, err = finished(process)
    assert status == 130
    assert "0 of 2 are done and kept in out; the same command resumes" in err
    assert not list(kept.parent.glob("*.png"))
    assert "not done yet" in (pictures / "out/report.html").read_text()
    done = container.read(max(kept.glob("state-*")))["state"]["record"]
    assert 0 < len(done) < 120
    assert finished(start(pictures, *command))[0] == 0
    assert np.array_equal(pixels(pictures / "out/stopped.png"), pixels(pictures / "out/whole.png"))
    assert not kept.exists()


# -- a scheduler with remote workers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler, and a function that starts a worker, each with its own folder and cache."""
    folder, processes = tmp_path_factory.mktemp("cluster"), []
    file = folder / "scheduler.json"

    def run(name, *arguments):
        (folder / name).mkdir()
        environment = {**os.environ, "GLUON_NST_CACHE": str(folder / name / "cache")}
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], cwd=folder / name, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        processes.append(process)
        return process

    names = (f"worker-{number}" for number in itertools.count())
    address = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    run("scheduler", "scheduler", "--port", "0", *address)
    wait_for(lambda: file.exists() and file.stat().st_size)

    def worker(threads=1):
        return run(next(names), "worker", "--nthreads", str(threads), "--no-nanny", *address)

    try:
        yield json.loads(file.read_text())["address"], worker
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def first_worker(cluster):
    """The process of the first worker of the cluster."""
    return cluster[1]()


def test_remote_workers_need_only_the_package(cluster, first_worker, pictures, weights_file, capfd, monkeypatch):
    monkeypatch.chdir(pictures)
    command = ["batch", "a.png", "s.png", "--out", "out", "--scheduler", cluster[0]]
    options = ["--weights", weights_file, "--recipe", "d2l-2019", *SHALLOW, "--sizes", "48x36", "--epochs", "3"]
    status, out, err = ended(capfd, *command, *options)
    assert status == 0
    assert "1 of 1 pictures" in out
    record = made("out/a-s.png")
    assert record["job"]["name"] == "a-s"
    assert record["weights"]["sha256"] == nst.weights.find(str(weights_file)).sha256
    assert ended(capfd, "render", "a.png", "s.png", "--output", "alone.png", *options)[0] == 0
    difference = pixels("out/a-s.png").astype(int) - pixels("alone.png")
    assert np.abs(difference).max() <= 1  # rounding depends on the number of threads


def test_a_picture_on_two_workers_is_the_same_if_one_is_lost(
    cluster, first_worker, pictures, weights_file, capfd, monkeypatch
):
    address, worker = cluster
    monkeypatch.chdir(pictures)
    Image.fromarray(paint(642, 650, seed=5)).save("large.png")
    options = ["--weights", weights_file, "--recipe", "d2l-2019", "--sizes", "60x60,642x650", "--epochs", "1,2"]
    options += ["--content-layers", "conv1_2", "--style-layers", "conv1_1,conv1_2", "--quiet"]

    def render(name, *others):
        outputs = ["--output", f"{name}.png", "--losses", f"{name}.csv"]
        return ["render", "large.png", "s.png", *outputs, *options, *others]

    def totals(name):
        return [float(row["total"]) for row in rows_of(f"{name}.csv")]

    worker(threads=2)  # it still computes one window at a time
    assert ended(capfd, *render("undisturbed", "--scheduler", address))[0] == 0
    process = start(pictures, *render("disturbed", "--scheduler", address, "--save-every", "1"))
    wait_for((pictures / "disturbed-stage-2-epoch-1.png").exists)
    os.killpg(first_worker.pid, signal.SIGKILL)
    worker()
    status, _, err = finished(process)
    assert status == 0
    assert "is lost; the others compute its windows" in err
    assert np.array_equal(pixels("undisturbed.png"), pixels("disturbed.png"))
    assert totals("undisturbed") == totals("disturbed")
    assert ended(capfd, *render("alone"))[0] == 0
    assert totals("undisturbed") == pytest.approx(totals("alone"), rel=1e-5)


def test_an_unreachable_scheduler_is_reported_in_one_line(pictures, weights_file, capfd, monkeypatch):
    monkeypatch.chdir(pictures)
    command = ["batch", "a.png", "s.png", "--out", "out", "--scheduler", "tcp://127.0.0.1:9", "--weights", weights_file]
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        status, _, err = ended(capfd, *command)
    assert status == 1
    assert "error: tcp://127.0.0.1:9: no scheduler answers (" in err
    assert "Traceback" not in err
