"""The command render: what it writes, what it refuses to read or to overwrite."""

import json
import os
import re
import shutil
import subprocess
import sys

from gluon_nst import machine, recipes

import pytest
from PIL import Image

from commands import SHALLOW, command_line, made, names
from painting import BAD_PICTURES


def test_render_writes_the_picture_and_the_losses(render, tmp_path):
    status, out, err = render("--losses", tmp_path / "losses.csv")
    assert status == 0
    closing = r"/out\.png: 48 x 64 \(height x width\), total loss (\S+), \d\.\d s; larger: --sizes 64x96,96x128\n"
    loss = re.search(closing, out).group(1)
    last = (tmp_path / "losses.csv").read_text().splitlines()[-1].split(",")
    assert loss == f"{float(last[5]):.4g}"
    assert Image.open(tmp_path / "out.png").size == (64, 48)
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 1 + 5
    assert "48x64 epoch 2/2" in err
    assert "100%" in err


def test_quiet_shows_no_progress(render):
    status, _, err = render("--quiet")
    assert status == 0
    assert err == ""


@pytest.mark.slow
def test_render_twice_gives_the_same_bytes(render, tmp_path):
    render("--init", "noise", "--seed", "4", output=tmp_path / "1.png")
    render("--init", "noise", "--seed", "4", output=tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.mark.slow
def test_the_longest_side_keeps_the_contents_shape(render, tmp_path):
    status, out, _ = render("--longest-side", "48", "--epochs", "2", small=False)
    assert status == 0
    assert out.endswith("; larger: --longest-side 96\n")
    assert Image.open(tmp_path / "out.png").size == (48, 32)  # of a content picture of 60 x 90


def test_a_run_whose_tolerance_ends_it_is_done(render, tmp_path):
    options = [
        "--sizes",
        "16x24",
        "--epochs",
        "100",
        "--tolerance",
        "0.9",
        *SHALLOW,
        "--losses",
        tmp_path / "losses.csv",
    ]
    assert render(*options, "--quiet")[::2] == (0, "")
    assert "interrupted" not in made(tmp_path / "out.png")
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 1 + 11  # it is measured over ten epochs


@pytest.mark.slow
@pytest.mark.skipif(
    "avx512bw" not in machine.processor_flags(), reason="no AVX-512, without which MXNet has no bfloat16"
)
@pytest.mark.parametrize("instructions", ["AVX512_CORE", "AVX512_CORE_BF16"])
def test_bfloat16_runs_with_fewer_instructions(content, style, converted, tmp_path, instructions):
    # oneDNN has other kernels, and other layouts, for each; a mistake in one of them ends the process.
    options = ["--weights", converted, "--sizes", "32x48", "--epochs", "2", "--precision", "bfloat16", "--quiet"]
    command = command_line("render", content, style, "--output", tmp_path / "out.png", *options)
    done = subprocess.run(command, env={**os.environ, "DNNL_MAX_CPU_ISA": instructions}, capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""
    assert (tmp_path / "out.png").exists()


# -- what it reads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["content", "style"])
@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_refused(refuses, tmp_path, which, kind):
    make, message = BAD_PICTURES[kind]
    if (which, kind) == ("style", "folder"):  # which may stand for the pictures in it
        message = "no pictures in this folder; name one that has some, or a picture"
    bad = tmp_path / "bad.png"
    make(bad)
    refuses(f"error: {bad}: {message}", **{which: bad})


@pytest.mark.slow
def test_files_and_folders_without_permission_are_refused_before_the_run(content, style, tmp_path):
    closed = tmp_path / "closed.png"
    shutil.copy(content, closed)
    closed.chmod(0)
    folders = [tmp_path / "read only", tmp_path / "closed"]
    for folder, mode in zip(folders, (0o555, 0o000)):
        folder.mkdir(mode=mode)
    renders = [(closed, tmp_path / "out.png"), *((style, folder / "out.png") for folder in folders)]
    done = obeying_permissions([["render", content, style, "--output", output] for style, output in renders])
    assert done.stdout == "[2, 2, 2]\n"
    refused = "can't write there (Permission denied); choose another folder"
    assert done.stderr.splitlines() == [
        f"error: {closed}: no permission to read it; check its mode and owner",
        *(f"error: {folder / 'out.png'}: {refused}" for folder in folders),
    ]
    assert not (tmp_path / "out.png").exists()
    assert [os.listdir(folder) for folder in folders] == [[], []]


def obeying_permissions(commands):
    """Run commands in a process in which even root has to obey file modes, which prints their statuses; skips where
    that is not available."""
    program = (
        "import json, sys; from gluon_nst.cli import main; print([main(each) for each in json.loads(sys.argv[1])])"
    )
    command = [sys.executable, "-c", program, json.dumps(commands, default=str)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and setpriv (util-linux) is not here to take that away")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True)


# -- what it writes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        ("out.gif", "must end with .png or .jpg or .jpeg"),
        ("nowhere/out.png", "there is no folder"),
        (".", "must end with .png"),
        ("content.png", "is one of the run's inputs"),
        ("fifo.png", "not a regular file"),
        ("dangling.png", "not a regular file"),
        ("n" * 250 + ".png", "can't write there (File name too long)"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused(refuses, tmp_path, name, message):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    refuses(message, output=tmp_path / name)


def test_an_output_must_not_be_another_file_of_the_run(refuses, tmp_path, weights_file):
    recipe = tmp_path / "my.toml"
    recipe.write_text(recipes.text("d2l-2019"))
    refuses("or another output", "--losses", tmp_path / "out.png")
    refuses("is one of the run's inputs", "--recipe", recipe, "--losses", recipe)
    refuses("is one of the run's inputs", "--losses", weights_file)


def test_an_output_must_not_be_the_start_that_a_recipe_names(refuses, content, tmp_path):
    start = tmp_path / "start.png"
    shutil.copy(str(content), str(start))
    (tmp_path / "my.toml").write_text(f'extends = "d2l-2019"\ninit = "{start}"\n')
    refuses("is one of the run's inputs", "--recipe", tmp_path / "my.toml", output=start)


def test_a_full_disk_is_one_line_that_names_the_file(render, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    status, _, err = render("--quiet")
    output = tmp_path / "out.png"
    assert status == 1
    assert err.startswith(f"error: {output}: can't write it (No space left on device); free")
    assert names(tmp_path) == ["content.png", "style.png"]


def test_a_picture_says_what_made_it(render, tmp_path):
    render("--quiet")
    said = made(tmp_path / "out.png")
    assert said["sizes"] == [[32, 48], [48, 64]]
    assert said["stage"] == 2
    assert "interrupted" not in said


def test_a_recipe_that_is_extended_is_no_output(refuses, tmp_path):
    (tmp_path / "base.toml").write_text('extends = "d2l-2019"\n')
    (tmp_path / "my.toml").write_text('extends = "base.toml"\n')
    refuses("is one of the run's inputs", "--recipe", tmp_path / "my.toml", "--losses", tmp_path / "base.toml")


def test_a_name_with_a_newline_is_told_in_one_line(refuses, tmp_path):
    refuses("a\\nb.png: no such file", content=tmp_path / "a\nb.png")


def test_a_style_size_that_is_out_of_all_proportion_is_refused(refuses):
    refuses(
        "argument --style-size: 1e+300 is not content, or a number above 0, 100 at the most", "--style-size", "1e300"
    )
