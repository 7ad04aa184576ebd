"""Batches by real workers, some of which are killed; one picture on several of them."""

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

import numpy as np
import psutil
import pytest
from PIL import Image

from commands import command_line
from painting import paint

SHALLOW = ["--recipe", "d2l-2019", "--content-layers", "conv2_2", "--style-layers", "conv1_1,conv2_1"]


@pytest.fixture
def pictures(tmp_path):
    """A folder with some pictures, in which the commands are given."""
    for name, height, width, seed in (("a", 120, 90, 1), ("b", 90, 120, 2), ("s", 80, 80, 3), ("t", 70, 90, 4)):
        Image.fromarray(paint(height, width, seed)).save(tmp_path / f"{name}.png")
    return tmp_path


def start(folder, *arguments, **environment):
    """Start a command in a `folder`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command_line(*arguments), cwd=folder, env={**os.environ, **environment}, start_new_session=True, **options
    )


def ended(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(true, seconds=120):
    """Wait until `true()` is."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds
        time.sleep(0.1)


def workers_of(process):
    """The worker processes of a command's own cluster."""
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


def test_of_24_jobs_two_are_bad_and_22_are_done_once_though_a_worker_and_the_command_are_killed(pictures, weights_file):
    with open(pictures / "jobs.csv", "w", encoding="utf-8") as file:
        file.write("name,content,style,longest-side,epochs\n")
        for number in range(24):
            content = "gone" if number == 3 else "ab"[number % 2]
            epochs = "none" if number == 11 else 3
            file.write(f"job-{number},{content}.png,{'st'[number % 3 % 2]}.png,{48 + 3 * number},{epochs}\n")
    command = ["batch", "jobs.csv", "--out", "out", "--workers", "2", "--weights", weights_file, "--quiet", *SHALLOW]

    def done():
        return {path: os.stat(path).st_mtime_ns for path in (pictures / "out").glob("job-*.png")}

    first = start(pictures, *command)
    wait_for(lambda: len(done()) >= 2)
    victim = workers_of(first)[0]
    victim.kill()
    before = len(done())
    wait_for(lambda: len(done()) >= before + 4)
    others = workers_of(first)
    assert len(others) == 2
    assert victim.pid not in [each.pid for each in others]
    first.kill()
    wait_for(lambda: not any(each.is_running() for each in others))
    before = done()
    assert 6 <= len(before) < 22

    second, memory = start(pictures, *command), []
    while second.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory.append(sum(each.memory_info().rss for each in workers_of(second)))
        time.sleep(0.3)
    status, out, err = ended(second)
    assert status == 1
    assert "22 of 24 pictures" in out
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: job-3: gone.png: no such file; check the path",
        "error: job-11: epochs: 'none' is not an integer of at least 1",
    ]
    after = done()
    assert len(after) == 22
    assert before.items() <= after.items()
    assert len(list((pictures / "out").glob("job-*.csv"))) == 22
    assert not list((pictures / "out").glob(".job*"))
    rows = rows_of(pictures / "out/report.csv")
    assert [row["status"] for row in rows].count("done") == 22
    assert sum(row["note"] == "kept from before" for row in rows) == len(before)
    # Whatever the sizes, a worker holds nothing of them: it is other processes that compute.
    middle = len(memory) // 2
    assert max(memory[middle:]) < 1.1 * max(memory[middle // 2 : middle])
    status, out, _ = ended(start(pictures, *command))
    assert status == 1
    assert done() == after


def test_a_batch_that_is_stopped_goes_on_from_there_to_the_pictures_of_one_that_was_not(pictures, weights_file):
    options = ["--weights", weights_file, "--quiet", *SHALLOW, "--longest-side", 100, "--epochs", 240]
    command = ["batch", "a.png", "s.png", "--out", "out", "--workers", "1", *options]
    process = start(pictures, *command)
    kept = pictures / "out/.a-s.checkpoint"
    wait_for(lambda: kept.is_dir() and list(kept.glob("state-*")))
    os.killpg(process.pid, signal.SIGTERM)  # to the workers as well, as timeout and schedulers send it
    status, out, err = ended(process)
    assert status == 130
    assert "0 of 1 are done and kept in out; the same command goes on from there" in err
    assert not list(kept.parent.glob("*-s.png"))
    assert "not done yet" in (pictures / "out/report.html").read_text()
    done = container.read(max(kept.glob("state-*")))["state"]["record"]
    assert 0 < len(done) < 240
    assert ended(start(pictures, *command))[0] == 0
    cores = {"OMP_NUM_THREADS": str(nst.machine.physical_cores())}
    assert ended(start(pictures, "render", "a.png", "s.png", "--output", "whole.png", *options, **cores))[0] == 0
    assert np.array_equal(pixels(pictures / "out/a-s.png"), pixels(pictures / "whole.png"))
    assert not kept.exists()


# -- a cluster of others' ---------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path):
    """A scheduler, and what starts a worker of it, each in a folder and with a cache of its own."""
    file, processes = tmp_path / "scheduler.json", []

    def dask(*arguments, folder):
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, "GLUON_NST_CACHE": str(folder / "cache")}
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], cwd=folder, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        processes.append(process)
        return process

    names = itertools.count()
    address = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    dask("scheduler", "--port", "0", *address, folder=tmp_path / "scheduler")
    wait_for(lambda: file.exists() and file.stat().st_size)

    def worker(threads=1):
        return dask(
            "worker",
            "--nthreads",
            str(threads),
            "--no-nanny",
            *address[:-1],
            "--no-dashboard",
            folder=tmp_path / f"worker-{next(names)}",
        )

    try:
        yield json.loads(file.read_text())["address"], worker
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_picture_in_windows_on_two_workers_is_the_same_whoever_is_lost(cluster, pictures, weights_file):
    address, worker = cluster
    Image.fromarray(paint(680, 700, seed=5)).save(pictures / "large.png")
    options = ["--weights", weights_file, *SHALLOW, "--sizes", "60x60,680x700", "--epochs", "2,4", "--quiet"]

    def render(name, *others):
        return start(
            pictures,
            "render",
            "large.png",
            "s.png",
            "--output",
            f"{name}.png",
            "--losses",
            f"{name}.csv",
            *options,
            *others,
        )

    def totals(name):
        return [float(row["total"]) for row in rows_of(pictures / f"{name}.csv")]

    victim, _ = worker(), worker(threads=2)  # which computes one window at a time even so
    assert ended(render("calm", "--scheduler", address))[0] == 0
    process = render("shaken", "--scheduler", address, "--save-every", "1")
    wait_for((pictures / "shaken-stage-2-epoch-2.png").exists)
    os.killpg(victim.pid, signal.SIGKILL)
    worker()
    status, _, err = ended(process)
    assert status == 0
    assert "is lost; the others do what it was at" in err
    assert np.array_equal(pixels(pictures / "calm.png"), pixels(pictures / "shaken.png"))
    assert totals("calm") == totals("shaken")
    assert ended(render("alone"))[0] == 0
    assert totals("calm") == pytest.approx(totals("alone"), rel=1e-5)


def test_the_workers_of_a_cluster_need_nothing_but_the_package(cluster, pictures, weights_file):
    address, worker = cluster
    worker()
    command = ["batch", "a.png", "s.png", "--out", "out", "--scheduler", address, "--weights", weights_file, *SHALLOW]
    status, out, err = ended(start(pictures, *command, "--sizes", "48x36", "--epochs", "3"))
    assert status == 0
    assert "1 of 1 pictures" in out
    made = json.loads(Image.open(pictures / "out/a-s.png").text["gluon-nst"])
    assert made["job"]["name"] == "a-s"
    assert made["weights"]["sha256"] == nst.weights.find(str(weights_file)).sha256


def test_where_no_scheduler_answers_that_is_one_line(pictures, weights_file):
    command = ["batch", "a.png", "s.png", "--out", "out", "--scheduler", "tcp://127.0.0.1:9", "--weights", weights_file]
    status, _, err = ended(start(pictures, *command, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s"))
    assert status == 1
    assert "error: tcp://127.0.0.1:9: no scheduler answers there" in err
    assert "Traceback" not in err
