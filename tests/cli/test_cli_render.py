"""The command render: what it writes, what it refuses to read or to overwrite."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gluon_nst import machine, recipes
from gluon_nst.runs import result

import pytest
from PIL import Image

from commands import SHALLOW, command_line, ended, failing, made, names
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


@pytest.mark.slow
def test_the_losses_are_plotted_where_their_file_is_a_figure(render, tmp_path):
    assert render("--losses", tmp_path / "losses.svg", "--quiet")[0] == 0
    assert b"<svg" in (tmp_path / "losses.svg").read_bytes()


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_name_with_a_newline_is_reported_in_one_line(refuses, tmp_path):
    refuses("a\\nb.png: no such file", content=tmp_path / "a\nb.png")


def test_a_style_size_that_is_out_of_all_proportion_is_refused(refuses):
    refuses(
        "argument --style-size: 1e+300 is not content, or a number above 0, 100 at the most", "--style-size", "1e300"
    )


# -- without --output -------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(content, style, converted, capfd):
    """Run `gluon-nst render` without --output; gives what `render` gives."""

    def run(*options, style=(style,)):
        small = ["--weights", converted, "--recipe", "d2l-2019", "--sizes", "16x24", "--epochs", "2", *SHALLOW]
        return ended(capfd, "render", content, *style, *small, "--quiet", *options)

    return run


def test_without_an_output_the_picture_is_written_beside_the_photo(beside, tmp_path):
    status, out, err = beside()
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path}/content-style.png: 16 x 24 (height x width), total loss ")
    assert names(tmp_path) == ["content-style.png", "content.png", "style.png"]


@pytest.mark.slow
def test_the_same_command_replaces_its_picture_and_another_one_does_not(beside, tmp_path):
    first = tmp_path / "content-style.png"
    assert beside()[0] == 0
    pixels = first.read_bytes()
    assert beside("--dpi", "300")[0] == 0  # the same picture in another file
    assert first.read_bytes() != pixels
    status, out, err = beside("--style-weight", "5")
    assert status == 0
    assert out.startswith(f"{tmp_path}/content-style-2.png: ")
    assert err == f"{first}: something else, left as it was; --overwrite would replace it\n"
    assert made(first)["recipe"]["style_weight"] == 1000
    assert beside("--style-weight", "6")[1].startswith(f"{tmp_path}/content-style-3.png: ")
    assert beside("--style-weight", "5")[1].startswith(f"{tmp_path}/content-style-2.png: ")
    assert [name for name in names(tmp_path) if name.startswith("content-style")] == [
        "content-style-2.png", "content-style-3.png", "content-style.png",
    ]  # fmt: skip


def identity(path):
    """What changes if a file is replaced or written to."""
    status = os.lstat(path)
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["picture", "folder", "fifo", "dangling link", "text"])
def test_a_file_that_is_not_of_this_program_stays(beside, content, tmp_path, kind):
    taken = tmp_path / "content-style.png"
    if kind == "picture":
        shutil.copy(content, taken)
    elif kind == "folder":
        taken.mkdir()
    elif kind == "fifo":
        os.mkfifo(taken)
    elif kind == "dangling link":
        taken.symlink_to("nowhere")
    else:
        taken.write_text("mine")
    before = identity(taken)
    assert beside()[1].startswith(f"{tmp_path}/content-style-2.png: ")
    assert identity(taken) == before


@pytest.mark.slow
def test_overwrite_writes_to_the_plain_name_whatever_is_there(beside, content, tmp_path):
    taken = tmp_path / "content-style.png"
    shutil.copy(content, taken)
    assert beside("--overwrite")[1].startswith(f"{taken}: ")
    assert made(taken)["recipe"]["style_weight"] == 1000
    assert beside("--overwrite", "--style-weight", "5")[1].startswith(f"{taken}: ")
    assert made(taken)["recipe"]["style_weight"] == 5


@pytest.mark.slow
def test_several_styles_and_folders_are_in_the_name(beside, content, style, tmp_path):
    (tmp_path / "old masters").mkdir()
    shutil.copy(style, tmp_path / "old masters/one.png")
    assert beside(style=[style, tmp_path / "old masters"])[1].startswith(f"{tmp_path}/content-style-old masters.png: ")
    long = tmp_path / f"{'é' * 100}.png"
    shutil.copy(style, long)
    status, out, _ = beside(style=[long])
    assert status == 0
    (name,) = [name for name in names(tmp_path) if name.startswith("content-é")]
    assert len(name.encode()) < 130


@pytest.mark.slow
def test_an_interrupted_picture_replaces_none_and_is_replaced_when_the_same_run_is_done(beside, tmp_path):
    with failing(1):
        assert beside()[0] == 130
    assert "interrupted" in made(tmp_path / "content-style.png")
    with failing(1):
        status, _, err = beside()
    written = tmp_path / "content-style-interrupted.png"
    assert f"{tmp_path}/content-style.png: left as it was; the run that did not end is in {written}" in err
    assert beside()[1].startswith(f"{tmp_path}/content-style.png: ")
    assert "interrupted" not in made(tmp_path / "content-style.png")


@pytest.mark.slow
def test_two_runs_at_the_same_time_do_not_write_over_each_other(beside, tmp_path):
    original = result.Result.save

    def save(self, path, stage=None):
        original(self, path, stage)
        if self.provenance["recipe"]["style_weight"] == 5:  # another run ends between the check and the end of this one
            shutil.copy(tmp_path / "other.png", tmp_path / "content-style.png")

    assert beside("-o", tmp_path / "other.png")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result.Result, "save", save)
        assert beside("--style-weight", "5")[1].startswith(f"{tmp_path}/content-style-2.png: ")
    assert made(tmp_path / "content-style.png")["recipe"]["style_weight"] == 1000


@pytest.mark.slow
def test_parallel_runs_have_pictures_of_their_own(content, style, converted, tmp_path):
    small = ["--weights", converted, "--recipe", "d2l-2019", "--sizes", "16x24", "--epochs", "2", *SHALLOW, "--quiet"]
    weights = ["5", "6", "6"]
    commands = [command_line("render", content, style, *small, "--style-weight", weight) for weight in weights]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    written = [Path(run.communicate()[0].decode().partition(": ")[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert [made(path)["recipe"]["style_weight"] for path in written] == [5, 6, 6]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_save_every_needs_a_name(beside, tmp_path):
    before = names(tmp_path)
    status, _, err = beside("--save-every", "1")
    assert status == 2
    assert err == "error: --save-every: its pictures are named after the picture; name that with --output\n"
    assert names(tmp_path) == before


@pytest.mark.slow
def test_a_folder_that_can_not_be_written_to_is_one_line(content, style, converted, tmp_path):
    folder = tmp_path / "read only"
    folder.mkdir()
    shutil.copy(content, folder / "photo.png")
    folder.chmod(0o555)
    done = obeying_permissions([["render", folder / "photo.png", style, "--weights", converted]])
    assert done.stdout == "[2]\n"
    assert done.stderr == (
        f"error: {folder}/photo-style.png: can't write there (Permission denied); choose another folder with --output\n"
    )


@pytest.mark.slow
def test_a_run_without_an_output_is_resumed_to_the_same_path(beside, tmp_path, capfd):
    shutil.copy(tmp_path / "style.png", tmp_path / "content-style.png")
    kept = ["--checkpoint", tmp_path / "kept"]
    with failing(1):
        assert beside(*kept)[0] == 130
    status, out, _ = ended(capfd, "resume", tmp_path / "kept", "--quiet")
    assert status == 0
    assert out.startswith(f"{tmp_path}/content-style-2.png: ")
    assert beside(*kept)[1].startswith(f"{tmp_path}/content-style-2.png: ")
    assert names(tmp_path) == ["content-style-2.png", "content-style.png", "content.png", "kept", "style.png"]


@pytest.mark.slow
def test_a_branch_of_a_run_without_an_output_chooses_a_name_as_well(beside, tmp_path, capfd):
    with failing(1):
        assert beside("--checkpoint", tmp_path / "kept")[0] == 130
    branch = ["--checkpoint", tmp_path / "branch", "--style-weight", "5", "--quiet"]
    assert ended(capfd, "resume", tmp_path / "kept", *branch)[1].startswith(f"{tmp_path}/content-style.png: ")
    assert ended(capfd, "resume", tmp_path / "kept", "--quiet")[1].startswith(f"{tmp_path}/content-style-2.png: ")
