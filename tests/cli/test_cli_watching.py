"""Runs that are watched: snapshots, a film, a window."""

import json

import gluon_nst as nst

import pytest
from PIL import Image

from commands import made, names


@pytest.mark.slow
def test_a_run_can_be_watched(render, tmp_path):
    status, out, err = render("--save-every", 2, "--animate", tmp_path / "film.gif", "--show", "--quiet")
    assert status == 0
    assert err == "no display: --show has no effect\n"
    assert f"{tmp_path / 'film.gif'}: the film of the run" in out
    written = ["film.gif", "out-stage-1-epoch-2.png", "out-stage-2-epoch-2.png", "out.png"]
    assert names(tmp_path) == sorted(["content.png", "style.png", *written])
    with Image.open(tmp_path / "out.png") as result, Image.open(tmp_path / "out-stage-2-epoch-2.png") as last:
        assert result.tobytes() == last.tobytes()
        assert json.loads(last.text["gluon-nst"])["recipe"] == made(tmp_path / "out.png")["recipe"]
    assert Image.open(tmp_path / "film.gif").n_frames == 5


@pytest.mark.slow
def test_chapter_keeps_its_snapshots_in_its_folder(chapter, tmp_path):
    assert chapter("--sizes", "16x24", "--epochs", "6", "--save-every", "3")[0] == 0
    snapshots = ["neural-style-stage-1-epoch-3.png", "neural-style-stage-1-epoch-6.png"]
    assert names(tmp_path / "out") == ["losses.csv", "losses.png", "neural-style-1.png", *snapshots]


@pytest.mark.slow
def test_chapter_makes_the_folder_of_its_film(chapter, tmp_path):
    assert chapter("--sizes", "16x24", "--epochs", "2", "--animate", tmp_path / "out/film.gif")[0] == 0
    assert (tmp_path / "out/film.gif").is_file()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--save-every", "0"], "'0' is not a number of epochs of at least 1"),
        (["--save-every", "often"], "'often' is not a number of epochs"),
        (["--animate", "film.avi"], "film.avi: the name must end with .gif or .webp or .mp4"),
        (["--animate", "nowhere/film.gif"], "there is no folder"),
    ],
)
def test_a_bad_way_to_watch_is_refused(refuses, options, message):
    refuses(message, *options)


def test_a_snapshot_must_not_overwrite_an_input(refuses, content, tmp_path):
    taken = tmp_path / "out-stage-1-epoch-2.png"
    content.rename(taken)
    refuses("is one of the run's inputs", "--save-every", "2", content=taken)


@pytest.mark.slow
def test_a_snapshot_or_a_film_in_whose_place_is_a_folder_is_refused(refuses, tmp_path):
    (tmp_path / "out-stage-1-epoch-2.png").mkdir()
    (tmp_path / "film.gif").mkdir()
    refuses("out-stage-1-epoch-2.png: a folder", "--save-every", "2")
    refuses("film.gif: a folder", "--animate", tmp_path / "film.gif")


@pytest.mark.slow
def test_a_snapshot_that_can_not_be_written_does_not_end_the_run(render, tmp_path, monkeypatch):
    def full(*_, **__):
        raise nst.NSTError("out-stage-1-epoch-1.png: can't write it (No space left on device)")

    monkeypatch.setattr("gluon_nst.observers.snapshots.write_image", full)
    status, out, err = render("--save-every", "1", "--quiet")
    assert status == 0
    assert "out.png: 48 x 64" in out
    assert (tmp_path / "out.png").exists()
    assert err == "out-stage-1-epoch-1.png: can't write it (No space left on device); the run continues without it\n"


@pytest.mark.slow
def test_a_film_that_can_not_be_written_is_an_error_and_the_picture_is_kept(render, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gluon_nst.runs.figures.film", full)
    status, out, err = render("--animate", tmp_path / "film.gif", "--quiet")
    assert status == 1
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert "None" not in out
    assert err.splitlines()[-1] == f"error: {tmp_path / 'film.gif'}: there is no film"
    assert (tmp_path / "out.png").exists()
