"""render and chapter with a checkpoint, and resume: stopped, killed, steered, on a full disk."""

import json
import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import gluon_nst as nst
from gluon_nst.cli.parser import build_parser
from gluon_nst.cli.resuming import original_arguments
from gluon_nst.runs import processes, result
from gluon_nst.runs.checkpoint import Checkpoint, container
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare

import kill_runs
import mxnet as mx
import pytest
from kill_runs import losses

from commands import SHALLOW, assert_one_line, command_line, ended, failing, happening, made, names, namespace
from conftest import SMALL


@pytest.fixture
def kept(render, tmp_path):
    """`render` with a checkpoint after each epoch in tmp_path/kept, and losses in tmp_path/losses.csv."""

    def run(*options, **changed):
        own = [
            "--checkpoint",
            tmp_path / "kept",
            "--checkpoint-every",
            "0",
            "--losses",
            tmp_path / "losses.csv",
            "--quiet",
        ]
        return render(*own, *options, **changed)

    return run


@pytest.fixture
def resume(tmp_path, capfd):
    def run(*options, folder=tmp_path / "kept"):
        return ended(capfd, "resume", folder, "--quiet", *options)

    return run


def asked_to_stop(after, number=signal.SIGINT, times=1):
    """In the block the process gets a signal while the losses after so many epochs are computed."""
    return happening(after, lambda: [signal.raise_signal(number) for _ in range(times)])


def resume_command(folder):
    return f"gluon-nst resume {shlex.quote(str(folder))}"


# -- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, after", [(signal.SIGINT, 0), (signal.SIGINT, 1), (signal.SIGTERM, 3), (signal.SIGHUP, 1)]
)
def test_a_signal_lets_the_epoch_finish_and_says_how_to_go_on(kept, render, resume, tmp_path, number, after):
    with asked_to_stop(after, number):
        status, out, err = kept()
    asked, interrupted, picture = err.strip().splitlines()
    stage, epoch = (1, after + 1) if after < 3 else (2, after - 2)
    assert status == 130
    assert out == ""
    assert "once more stops at once" in asked
    assert interrupted.startswith(f"interrupted: stage {stage}, {epoch} of ")
    assert interrupted.endswith(f"; {resume_command(tmp_path / 'kept')} resumes it")
    assert picture == f"{tmp_path / 'kept' / 'so-far.png'}: the picture so far"
    assert made(tmp_path / "kept" / "so-far.png")["interrupted"] == {"stage": stage, "epochs": epoch}
    assert not (tmp_path / "out.png").exists()
    assert not (tmp_path / "losses.csv").exists()
    status, out, err = resume()
    assert status == 0
    assert err == f"resuming at stage {stage}, epoch {epoch}\n"
    assert "out.png: 48 x 64" in out
    found = (tmp_path / "out.png").read_bytes(), losses(tmp_path / "losses.csv")
    assert render("--losses", tmp_path / "losses.csv", "--quiet")[0] == 0
    assert found == ((tmp_path / "out.png").read_bytes(), losses(tmp_path / "losses.csv"))


@pytest.mark.slow
def test_the_second_signal_stops_at_once_and_the_last_checkpoint_stays(kept, tmp_path, render):
    with asked_to_stop(1, times=2):
        status, out, err = kept()
    assert status == 130
    assert out == ""
    assert "Traceback" not in err
    last = f"interrupted: the last checkpoint stays as it is; {resume_command(tmp_path / 'kept')} resumes it"
    assert err.splitlines()[-1] == last
    assert not (tmp_path / "out.png").exists()
    assert kept()[2] == "resuming at stage 1, epoch 1\n"
    found = (tmp_path / "out.png").read_bytes()
    render("--quiet")
    assert (tmp_path / "out.png").read_bytes() == found


@pytest.mark.slow
def test_without_a_checkpoint_the_first_signal_stops_at_once(render, tmp_path):
    with asked_to_stop(1):
        status, _, err = render("--quiet")
    assert status == 130
    assert "interrupted: stage 1, 1 of 3 epochs" in err


@pytest.mark.slow
def test_the_same_command_resumes_and_does_not_repeat_a_finished_run(kept, tmp_path, monkeypatch):
    with asked_to_stop(2):
        kept()
    assert kept()[2] == "resuming at stage 1, epoch 3\n"
    found = (tmp_path / "out.png").read_bytes()
    (tmp_path / "out.png").unlink()
    with failing(0):  # nothing is computed
        status, out, err = kept()
    assert status == 0
    assert "the run is done; its files are written again" in err
    assert (tmp_path / "out.png").read_bytes() == found


@pytest.mark.slow
def test_fresh_restarts_the_run_and_resume_still_works(kept, resume, tmp_path):
    with asked_to_stop(2):
        kept()
    with asked_to_stop(0):
        assert "stage 1, 1 of 3" in kept("--fresh")[2]
    assert resume()[2] == "resuming at stage 1, epoch 1\n"


@pytest.mark.slow
def test_chapter_resumes(chapter, resume, tmp_path):
    own = ["--checkpoint", tmp_path / "kept", "--save-every", "2"]
    with asked_to_stop(3):
        assert chapter(*own)[0] == 130
    assert names(tmp_path / "out") == ["neural-style-stage-1-epoch-2.png"]
    assert resume()[0] == 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert chapter(*own[2:], out=tmp_path / "again")[0] == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.png")}
    assert len(found) == 5
    assert found.keys() == again.keys()
    assert all(found[name] == again[name] for name in found if name != "losses.png")
    assert losses(tmp_path / "out" / "losses.csv") == losses(tmp_path / "again" / "losses.csv")


@pytest.mark.slow
def test_a_run_resumes_from_a_different_folder_and_after_its_own_is_moved(
    content, style, converted, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ["--recipe", "d2l-2019", "--weights", converted, "--sizes", "32x48", "--epochs", "3", *SHALLOW, "--quiet"]
    with asked_to_stop(0):
        ended(capfd, "render", content.name, style.name, "--output", "out.png", "--checkpoint", "kept", *options)
    (tmp_path / "kept").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, out, err = ended(capfd, "resume", "../moved", "--quiet")
    assert (status, err) == (0, "resuming at stage 1, epoch 1\n")
    assert (tmp_path / "out.png").exists()
    assert Path.cwd() == tmp_path / "elsewhere"
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
@pytest.mark.parametrize("old", ["gone", "empty"])
@pytest.mark.parametrize("kept", ["kept", "deep/kept", "/elsewhere"])
def test_a_run_resumes_after_its_whole_folder_is_moved(
    content, style, converted, tmp_path, capfd, monkeypatch, kept, old
):
    begun_in, moved = tmp_path / "before", tmp_path / "moved"
    begun_in.mkdir()
    for each in (content, style):
        each.rename(begun_in / each.name)
    monkeypatch.chdir(begun_in)
    kept = tmp_path / "elsewhere" if kept == "/elsewhere" else Path(kept)
    options = ["--recipe", "d2l-2019", "--weights", converted, "--sizes", "32x48", "--epochs", "3", *SHALLOW, "--quiet"]
    with asked_to_stop(0):
        ended(capfd, "render", content.name, style.name, "--output", "out.png", "--checkpoint", kept, *options)
    begun_in.rename(moved)
    if old == "empty":
        begun_in.mkdir()
    monkeypatch.chdir(moved if kept.is_absolute() else tmp_path)
    status, out, err = ended(capfd, "resume", moved / kept, "--quiet")
    assert (status, err) == (0, "resuming at stage 1, epoch 1\n")
    assert (moved / "out.png").exists()


@pytest.mark.slow
def test_a_run_whose_pictures_were_moved_says_which_is_missing_and_what_to_do(
    content, style, converted, tmp_path, capfd, monkeypatch
):
    (tmp_path / "before").mkdir()
    monkeypatch.chdir(tmp_path / "before")
    given = ["--output", "../out.png", "--checkpoint", "../kept", "--recipe", "d2l-2019", "--weights", converted]
    given += ["--sizes", "32x48", "--epochs", "3", *SHALLOW, "--quiet"]
    with asked_to_stop(0):
        ended(capfd, "render", content, style, *given)
    (tmp_path / "before").rmdir()
    content.rename(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    status, _, err = ended(capfd, "resume", "kept", "--quiet")
    assert status == 2
    assert err.startswith(f"error: {content}: no such file; check the path (the run was begun in ")
    advice = (
        f"if its files were moved, give its command again with their new names and --checkpoint {tmp_path / 'kept'})"
    )
    assert advice in err
    assert_one_line(err)
    monkeypatch.chdir(tmp_path / "kept")
    status, _, err = ended(capfd, "render", "../other.png", style, *given)
    assert (status, err) == (0, "resuming at stage 1, epoch 1\n")


# -- killed -----------------------------------------------------------------------------------------------------------


KILLED_IN_A_WRITE = """
import itertools, os, signal, sys
from gluon_nst.cli import main

fsync, calls = os.fsync, itertools.count()

def killing(descriptor):
    if next(calls) == 20:  # each checkpoint is synced twice: its file before it has its name, and the folder
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = killing
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_killed_during_a_write_resumes_to_the_same_bytes(content, style, converted, render, resume, tmp_path):
    output, kept = tmp_path / "out.png", tmp_path / "kept"
    same = ["--optimizer", "lbfgs", "--epochs", "3,20", "--losses", tmp_path / "losses.csv", "--quiet"]
    own = ["--output", output, "--weights", converted, "--recipe", "d2l-2019", "--sizes", "32x48,48x64", *SHALLOW]
    command = ["render", content, style, *own, *same, "--checkpoint", kept, "--checkpoint-every", "0"]
    run = subprocess.run([sys.executable, "-c", KILLED_IN_A_WRITE, *map(str, command)])
    assert run.returncode == -signal.SIGKILL
    assert any(kept.glob(".state-*"))
    assert not output.exists()
    status, _, err = resume()
    assert status == 0
    assert err.startswith("resuming at stage 2, epoch ")
    assert not any(kept.glob(".state-*"))
    found = output.read_bytes(), losses(tmp_path / "losses.csv")
    assert render(*same)[0] == 0
    assert found == (output.read_bytes(), losses(tmp_path / "losses.csv"))


@pytest.mark.slow
def test_a_run_in_windows_that_is_killed_resumes_to_the_same_bytes(tmp_path, converted):
    kind = kill_runs.Kind("lbfgs", "three sizes", "in windows")
    chance = random.Random(14)  # which kills it once, at 62 % of its time
    expected, seconds = kill_runs.run_undisturbed(kind, tmp_path / "never", str(converted))
    found, kills, _ = kill_runs.run_with_kills(kind, tmp_path / "killed", str(converted), seconds, chance)
    assert found == expected
    assert kills >= 1


# -- steered ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_weights_of_a_run_are_changed_when_it_resumes_and_its_picture_records_that(kept, resume, tmp_path, capfd):
    with asked_to_stop(1):
        kept()
    with asked_to_stop(1):
        assert resume("--style-weight", "5e3")[0] == 130
    status, _, err = resume("--tv-weight", "0")
    assert status == 0
    assert err == "resuming at stage 2, epoch 1\n"
    changes = [{"stage": 1, "epoch": 2, "style_weight": 5000.0}, {"stage": 2, "epoch": 1, "tv_weight": 0.0}]
    assert made(tmp_path / "out.png")["recipe"]["changes"] == changes
    again = tmp_path / "again.png"
    weights = made(tmp_path / "out.png")["weights"]
    status, _, err = ended(
        capfd, "rerun", tmp_path / "out.png", "--output", again, "--quiet", "--weights", _file(weights, tmp_path)
    )
    assert (status, err) == (0, "")
    assert again.read_bytes() == (tmp_path / "out.png").read_bytes()


def _file(weights, tmp_path):
    """The file of random weights, which is in the cache alone under that name."""
    return next(tmp_path.parent.glob("weights*/random.params"))


@pytest.mark.slow
def test_a_branch_leaves_the_run_as_it_is(kept, resume, render, tmp_path):
    with asked_to_stop(1):
        kept()
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").glob("state-*")}
    status, out, _ = resume(
        "--style-weight", "5e3", "--checkpoint", tmp_path / "branch", "--output", tmp_path / "branch.png"
    )
    assert status == 0
    assert "branch.png" in out
    assert not (tmp_path / "out.png").exists()
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").glob("state-*")} == before
    assert resume()[0] == 0
    assert "changes" not in made(tmp_path / "out.png")["recipe"]
    assert (tmp_path / "out.png").read_bytes() != (tmp_path / "branch.png").read_bytes()
    status, _, err = kept("--style-weight", "5e3")
    assert status == 2
    assert "style_weight: 1000.0 there, 5000.0 here" in err


@pytest.mark.slow
def test_a_branch_takes_a_folder_and_a_picture_of_its_own(kept, resume, render, tmp_path):
    with asked_to_stop(1):
        kept()
    status, _, err = resume("--style-weight", "5e3", "--checkpoint", tmp_path / "branch")
    assert status == 2
    assert "takes a picture of its own; name it with --output" in err
    branch = ["--style-weight", "5e3", "--checkpoint", tmp_path / "branch", "--output", tmp_path / "branch.png"]
    with asked_to_stop(0):
        assert resume(*branch)[0] == 130
    status, _, err = resume(*branch)
    goes_on = f"{resume_command(tmp_path / 'branch')}"
    assert status == 2
    assert f"has a run already; name another folder, or resume that run: {goes_on}" in err
    assert resume(folder=tmp_path / "branch")[0] == 0
    assert (tmp_path / "branch.png").exists()


@pytest.mark.slow
def test_a_run_that_is_done_can_not_be_steered(kept, resume, tmp_path):
    kept()
    before = (tmp_path / "out.png").read_bytes()
    status, _, err = resume("--style-weight", "5e3")
    assert status == 2
    assert "the run is done, and there is nothing left to steer" in err
    assert (tmp_path / "out.png").read_bytes() == before


@pytest.mark.slow
def test_the_command_of_a_run_that_was_steered_says_how_to_go_on(kept, resume, tmp_path):
    with asked_to_stop(1):
        kept()
    with asked_to_stop(0):
        resume("--style-weight", "5e3")
    status, _, err = kept()
    assert status == 2
    assert f"that run was steered; resume it with {resume_command(tmp_path / 'kept')}" in err


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_can_not_be_is_refused_in_one_line(refuses, resume, tmp_path, capfd):
    refuses("--fresh: there is no checkpoint; name its folder with --checkpoint", "--fresh")
    refuses("--checkpoint-every: there is no checkpoint", "--checkpoint-every", "5")
    refuses(
        "--checkpoint-every: -1.0 is not a number of at least 0",
        "--checkpoint",
        tmp_path / "kept",
        "--checkpoint-every",
        "-1",
    )
    refuses("content.png: not a folder; choose another", "--checkpoint", tmp_path / "content.png")
    refuses("can't write there", "--checkpoint", "/proc/kept")
    status, _, err = resume()
    assert status == 2
    assert "no checkpoint in this folder; name the folder given to --checkpoint" in err
    assert_one_line(err)


@pytest.mark.slow
def test_the_picture_so_far_takes_the_place_of_no_picture_of_the_users(kept, content, tmp_path):
    (tmp_path / "kept").mkdir()
    own = tmp_path / "kept" / "so-far.png"
    own.write_bytes(content.read_bytes())
    with asked_to_stop(1, signal.SIGTERM):
        _, _, err = kept()
    assert own.read_bytes() == content.read_bytes()
    assert err.strip().endswith(f"{tmp_path / 'kept' / 'so-far-interrupted.png'}: the picture so far")


@pytest.mark.slow
def test_the_picture_so_far_takes_the_place_of_no_input_and_goes_when_the_run_is_done(kept, refuses, content, tmp_path):
    (tmp_path / "kept").mkdir()
    own = tmp_path / "kept" / "so-far.png"
    own.write_bytes(content.read_bytes())
    status, _, err = kept(content=own)
    assert status == 2
    assert "so-far.png: is one of the run's inputs" in err
    assert own.read_bytes() == content.read_bytes()
    own.unlink()
    with asked_to_stop(1):
        kept()
    assert own.exists()
    assert kept()[0] == 0
    assert not own.exists()


@pytest.mark.slow
def test_names_that_begin_with_a_dash_go_on(style, converted, tmp_path, capfd, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    content.rename("-a.png")
    options = [
        "--recipe",
        "d2l-2019",
        "--weights",
        str(converted),
        "--sizes",
        "32x48",
        "--epochs",
        "3",
        *SHALLOW,
        "--quiet",
    ]
    with asked_to_stop(0):
        assert (
            ended(capfd, "render", "--output=-o.png", "--checkpoint=-kept", *options, "--", "-a.png", style.name)[0]
            == 130
        )
    assert ended(capfd, "resume", "--quiet", "--", "-kept")[0] == 0
    assert Path("-o.png").exists()


@pytest.mark.slow
def test_a_missing_file_is_reported_with_the_folder_of_its_relative_path(
    kept, content, style, converted, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ["--recipe", "d2l-2019", "--weights", converted, "--sizes", "32x48", "--epochs", "3", *SHALLOW, "--quiet"]
    with asked_to_stop(0):
        ended(capfd, "render", content.name, style.name, "--output", "out.png", "--checkpoint", "kept", *options)
    content.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, _, err = ended(capfd, "resume", "../kept", "--quiet")
    assert status == 2
    assert f"content.png: no such file; check the path (the run was begun in {tmp_path}, " in err
    assert_one_line(err)


@pytest.mark.slow
def test_two_processes_can_not_have_one_folder(kept, tmp_path, render):
    with asked_to_stop(1):
        kept()
    with Checkpoint(tmp_path / "kept"):
        status, out, err = kept()
        assert (status, out) == (2, "")
        assert "another process is using this folder" in err
        assert_one_line(err)
    assert kept()[0] == 0


def test_a_checkpoint_that_names_no_command_is_refused(job, tmp_path, resume):
    run = prepare(job())
    with Checkpoint(tmp_path / "kept", command={"argv": ["info"], "folder": "."}) as checkpoint:
        checkpoint.load(run)
        checkpoint.begin(run)
    status, _, err = resume()
    assert status == 2
    assert "its command cannot be resumed; give it again" in err


@pytest.mark.parametrize(
    "spelling",
    [["-o", "old.png"], ["-oold.png"], ["-o=old.png"], ["--out", "old.png"], ["--out=old.png"], ["--dir=old.png"]],
    ids=" ".join,
)
def test_an_output_for_a_branch_replaces_the_output_in_any_spelling(job, content, style, tmp_path, spelling):
    argv = ["render", *spelling, "--quiet", "--checkpoint", "kept", "--", str(content), str(style)]
    with Checkpoint(tmp_path / "kept", command={"argv": argv, "folder": str(tmp_path)}) as checkpoint:
        run = prepare(job())
        checkpoint.load(run)
        checkpoint.begin(run)
    branch = ["-o", str(tmp_path / "new.png"), "--checkpoint", str(tmp_path / "branch")]
    with original_arguments(build_parser().parse_args(["resume", str(tmp_path / "kept"), *branch])) as arguments:
        assert arguments.output == tmp_path / "new.png"
        assert (arguments.quiet, arguments.style) == (True, [style])
        assert not any("old.png" in each for each in arguments.argv)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_leaves_the_last_good_state_and_advice(kept, resume, tmp_path):
    status, _, err = kept("--lr", "0.01,1e30", "--epochs", "3,3")
    assert status == 1
    assert "error: stage 2, epoch " in err
    assert "the loss is" in err
    advice = f"with --style-weight W, or another weight that is lower, {resume_command(tmp_path / 'kept')} resumes it"
    assert f"the last State whose loss was finite stays in {tmp_path / 'kept'}; {advice}" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [MemoryError(), mx.MXNetError("CPU memory allocation failed"), mx.MXNetError("it broke")]
)
def test_a_run_that_fails_keeps_its_checkpoint_and_resumes(kept, resume, render, tmp_path, error):
    with failing(2, error):
        status, _, err = kept()
    assert status == 1
    assert err.count("error: ") == 1
    assert f"the last checkpoint stays as it is; {resume_command(tmp_path / 'kept')} resumes it" in err
    assert resume()[:3:2] == (0, "resuming at stage 1, epoch 2\n")
    found = (tmp_path / "out.png").read_bytes()
    render("--quiet")
    assert (tmp_path / "out.png").read_bytes() == found


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not namespace("m"), reason="no file system can be mounted here")
def test_a_full_disk_is_reported_once_and_the_run_continues(content, style, converted, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    run = command_line(
        "render", content, style, "--output", tmp_path / "out.png", "--recipe", "d2l-2019", "--weights", converted,
        "--sizes", "32x48", "--epochs", "4", *SHALLOW, "--quiet", "--checkpoint", folder / "kept",
        "--checkpoint-every", "0",
    )  # fmt: skip
    script = 'mount -t tmpfs -o size=24k none "$0" && "$@"; status=$?; ls "$0"/kept; exit $status'
    ended = subprocess.run([*namespace("m"), "sh", "-c", script, folder, *run], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "no checkpoint: " in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "state-00000001.checkpoint" in ended.stdout
    assert (tmp_path / "out.png").exists()


@pytest.mark.slow
@pytest.mark.skipif(not namespace("m"), reason="no file system can be mounted here")
def test_a_folder_that_can_only_be_read_is_refused(content, style, converted, tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    run = command_line(
        "render", content, style, "--output", tmp_path / "out.png", "--weights", converted, "--checkpoint", folder
    )
    script = 'mount -t tmpfs -o ro none "$0" && "$@"'
    ended = subprocess.run([*namespace("m"), "sh", "-c", script, folder, *run], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "can't write there (Read-only file system)" in ended.stderr
    assert_one_line(ended.stderr)


@pytest.mark.slow
def test_a_picture_that_finds_no_room_is_kept_elsewhere_and_the_rest_is_written(kept, tmp_path, monkeypatch):
    write = result.write_image

    def full(picture, path, *others, **options):
        if Path(path).parent == tmp_path:
            raise nst.NSTError(
                f"{path}: can't write it (No space left on device); free some space or choose another place"
            )
        write(picture, path, *others, **options)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("gluon_nst.runs.result.write_image", full)
    status, out, err = kept()
    (found,) = (tmp_path / "temporary").glob("gluon-nst-*/out.png")
    assert status == 1
    assert str(found) in out
    assert "out.png: can't write it (No space left on device)" in err
    assert f"the run is kept in {tmp_path / 'kept'}: the same command writes its files" in err
    assert len(losses(tmp_path / "losses.csv")) == 6
    monkeypatch.setattr("gluon_nst.runs.result.write_image", write)
    assert kept()[0] == 0
    assert (tmp_path / "out.png").read_bytes() == found.read_bytes()


# -- experiments ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_experiment_resumes_inside_a_cell(experiment, tmp_path):
    options = ["--vary", "lr=0.01,0.02"]
    with asked_to_stop(3 + 1):  # in the second cell's second epoch
        status, _, err = experiment("sweep", *options)
    assert status == 130
    assert "1 of 2 are done" in err
    assert "the same command resumes" in err
    (newest, _) = sorted((tmp_path / "out" / ".lr=0.02.checkpoint").glob("state-*"), reverse=True)
    assert len(container.read(newest)["state"]["record"]) == 2
    with asked_to_stop(1):  # one epoch is left: there is no second
        assert experiment("sweep", *options)[0] == 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("lr=*.png")}
    (tmp_path / "out").rename(tmp_path / "before")
    assert experiment("sweep", *options)[0] == 0
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("lr=*.png")}
    assert len(found) == 2
    assert not list((tmp_path / "before").glob(".*"))
    assert losses(tmp_path / "before" / "lr=0.02.csv") == losses(tmp_path / "out" / "lr=0.02.csv")


@pytest.mark.slow
def test_a_run_in_a_subprocess_is_stopped_when_its_epoch_is_done_and_can_be_resumed(job, tmp_path):
    run, seen = prepare(job(sizes=[(32, 48)], epochs=60)), []

    class Follower(nst.Observer):
        def state(self, state):
            seen.append(state.record[-1].epoch)

    stopped = processes.carry_out_apart(run, Follower(), tmp_path / "kept", lambda: len(seen) >= 5)
    assert stopped.status == "interrupted"
    assert 5 <= len(stopped.losses) < 60
    seen.clear()
    result = processes.carry_out_apart(run, Follower(), tmp_path / "kept")
    assert result.complete
    assert seen == list(range(len(stopped.losses), 60))
    assert result.image.tobytes() == carry_out(run).image.tobytes()


@pytest.mark.slow
def test_what_is_said_of_a_run_can_be_shown(kept, tmp_path, capfd):
    kept()
    status, out, err = ended(capfd, "show", "--json", tmp_path / "out.png")
    assert (status, err) == (0, "")
    assert json.loads(out) == made(tmp_path / "out.png")
    assert json.loads(out)["sizes"] == [[32, 48], [48, 64]]
    assert SMALL["sizes"] == [(32, 48), (48, 64)]
