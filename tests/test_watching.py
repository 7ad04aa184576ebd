import dataclasses
import json
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

import gluon_nst as nst
from gluon_nst import recipe as recipes, watching

from painting import paint

RESULT = Image.new("RGB", (64, 48), (60, 60, 60))  # as after the four epochs of the second stage


@pytest.fixture
def recipe():
    return recipes.customise("d2l-2019", sizes=[(32, 48), (48, 64)], epochs=[7, 4])


def follow(recipe, *watchers):
    """Have the watchers see every epoch of a run, whose picture gets lighter."""
    for stage, (size, count) in enumerate(((s.size, s.epochs) for s in recipe.stages), start=1):
        for number in range(count):
            epoch = nst.Epoch(stage, number, 1, 2, 3, 6 / (number + 1), 0.01, 1.0, (1,), (2,))
            for watch in watchers:
                watch(epoch, lambda: Image.new("RGB", size[::-1], (20 * number,) * 3))


def test_snapshots_are_written_as_the_run_goes(recipe, tmp_path):
    follow(recipe, watching.Snapshots(tmp_path / "out.png", 3, recipe, {"seed": 4}))
    names = ["out-stage-1-epoch-3.png", "out-stage-1-epoch-6.png", "out-stage-2-epoch-3.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / names[2]) as picture:
        assert picture.size == (64, 48) and picture.getpixel((0, 0)) == (40, 40, 40)  # after three epochs
        assert json.loads(picture.text["gluon-nst"]) == {"seed": 4, "stage": 2, "epochs": 3}


def test_a_runs_snapshot_after_its_last_epoch_is_its_result(content, style, weights_file, tmp_path):
    recipe = recipes.customise("d2l-2019", sizes=[(32, 48)], epochs=4)
    snapshots = watching.Snapshots(tmp_path / "out.png", 2, recipe, {})
    result = nst.transfer(content, style, recipe=recipe, weights=str(weights_file), watch=snapshots)
    half = nst.transfer(content, style, recipe=recipe, epochs=2, weights=str(weights_file))
    for done, expected in ((4, result), (2, half)):
        with Image.open(tmp_path / f"out-stage-1-epoch-{done}.png") as picture:
            assert picture.tobytes() == expected.image.tobytes()


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_a_film_is_an_animation_that_ends_with_the_result(recipe, tmp_path, ending):
    film, counted = watching.Film(recipe), []
    follow(recipe, film)
    film.write(tmp_path / f"film{ending}", RESULT, lambda frames, total: (counted.append(total) or frame for frame in frames))
    assert counted == [11] * 11
    with Image.open(tmp_path / f"film{ending}") as written:
        assert written.n_frames == 11
        written.seek(10)
        middle = np.asarray(written.convert("RGB"))[200:220, 200:220]
        assert np.abs(middle.astype(int) - 60).max() < 12


def test_a_long_run_has_a_film_of_about_ninety_moments(tmp_path):
    recipe = recipes.customise("d2l-2019", sizes=[(16, 16)], epochs=1000)
    film = watching.Film(recipe)
    follow(recipe, film)
    film.write(tmp_path / "film.gif", RESULT)
    assert 80 < Image.open(tmp_path / "film.gif").n_frames <= 92


@pytest.mark.parametrize("done", [0, 1, 20])
def test_a_film_of_a_run_that_ended_early_ends_with_its_result(tmp_path, done):
    recipe = recipes.customise("d2l-2019", sizes=[(48, 64)], epochs=1000)
    film = watching.Film(recipe)
    if done:
        follow(dataclasses.replace(recipe, stages=(recipes.Stage((48, 64), done),)), film)
    film.write(tmp_path / "film.webp", RESULT)
    assert (tmp_path / "film.webp").exists() == (done > 0)
    if done > 1:
        with Image.open(tmp_path / "film.webp") as written:
            written.seek(written.n_frames - 1)
            assert np.abs(np.asarray(written.convert("RGB"))[200:220, 200:220].astype(int) - 60).max() < 12


def test_more_snapshots_than_anybody_wants_are_refused(tmp_path):
    recipe = recipes.customise("d2l-2019", epochs=10**9)
    with pytest.raises(nst.InputError, match="save every 1: would keep 2000000000 pictures; choose a larger number"):
        watching.snapshot_paths(tmp_path / "out.png", 1, recipe)


def test_a_film_can_be_mp4(recipe, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="MP4 takes imageio-ffmpeg: pip install -e .[film]")
    film = watching.Film(recipe)
    follow(recipe, film)
    film.write(tmp_path / "film.mp4", RESULT)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert frames == 11 + 24 and seconds == pytest.approx(35 / 12, abs=0.2)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    width, height = next(reader)["size"]
    last = np.frombuffer(list(reader)[-1], np.uint8).reshape(height, width, 3)
    assert np.abs(last[200:220, 200:220].astype(int) - 60).max() < 12
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_mp4_without_its_package_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(nst.InputError, match=r"film.mp4: MP4 takes .* install gluon-nst\[film\], or name a .gif or .webp"):
        watching.check_film(tmp_path / "film.mp4")
    watching.check_film(tmp_path / "film.gif")
    with pytest.raises(nst.InputError, match="the name must end with .gif or .webp or .mp4"):
        watching.check_film(tmp_path / "film.avi")


def test_without_a_screen_no_window_opens(recipe):
    window = watching.Window(recipe)
    follow(recipe, window)
    window.stay(Image.fromarray(paint(20, 30)))
    assert not window.opened and matplotlib.pyplot.get_fignums() == []
