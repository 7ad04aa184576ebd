import dataclasses
import io
import json
from types import SimpleNamespace

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.observers import Bar, Film, Lines, Live, Snapshots, Window, check_film, snapshot_paths
from gluon_nst.pictures.encoding import Encoding
from gluon_nst.runs import processes
from gluon_nst.runs.observer import Observers
from gluon_nst.runs.run import prepare

import matplotlib.pyplot
import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from training_inputs import make_inputs

RESULT = Image.new("RGB", (64, 48), (60, 60, 60))  # the picture after the four epochs of the second stage


@pytest.fixture
def recipe():
    return recipes.customise("d2l-2019", sizes=[(32, 48), (48, 64)], epochs=[7, 4])


def follow(recipe, *observers, provenance=None, count=None):
    """Call the observers for the first `count` epochs of a run, whose picture gets lighter; return the record."""
    run, record = SimpleNamespace(recipe=recipe, provenance=provenance or {}, encoding=Encoding()), []
    for observer in observers:
        observer.begin(run)
    for stage, (size, epochs) in enumerate(((s.size, s.epochs) for s in recipe.stages), start=1):
        for number in range(epochs):
            losses = nst.Losses({"content/conv4_4": 1, "style/conv1_1": 2, "tv": 3}, 6 / (number + 1))
            record.append(nst.Epoch(stage, number, losses, 0.01, 1.0))
            state = nst.State([Image.new("RGB", size[::-1], (20 * number % 256,) * 3)], record)
            for observer in observers:
                observer.state(state)
            if len(record) == count:
                return record
    return record


def result(recipe, record, status="complete"):
    return nst.Result((RESULT,), tuple(record), recipe, 1.0, status, "", {})


def test_snapshots_are_written_during_the_run(recipe, tmp_path):
    follow(recipe, Snapshots(tmp_path / "out.png", 3), provenance={"seed": 4})
    names = ["out-stage-1-epoch-3.png", "out-stage-1-epoch-6.png", "out-stage-2-epoch-3.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / names[2]) as picture:
        assert picture.size == (64, 48)
        assert picture.getpixel((0, 0)) == (40, 40, 40)
        assert json.loads(picture.text["gluon-nst"]) == {"seed": 4, "stage": 2, "epochs": 3, "loss": 2.0}


@pytest.mark.slow
def test_the_snapshot_after_the_last_epoch_is_the_result(content, style, weights_file, tmp_path):
    recipe = recipes.customise("d2l-2019", sizes=[(32, 48)], epochs=4)
    observers = [Snapshots(tmp_path / "out.png", 2)]
    whole = nst.transfer(content, style, recipe=recipe, weights=str(weights_file), observers=observers)
    half = nst.transfer(content, style, recipe=recipe, epochs=2, weights=str(weights_file))
    for done, expected in ((4, whole), (2, half)):
        with Image.open(tmp_path / f"out-stage-1-epoch-{done}.png") as picture:
            assert picture.tobytes() == expected.image.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_a_film_is_an_animation_that_ends_with_the_result(recipe, tmp_path, ending):
    counted = []
    film = Film(tmp_path / f"film{ending}", lambda frames, total: (counted.append(total) or frame for frame in frames))
    film.end(result(recipe, follow(recipe, film)))
    assert film.written == film.path
    assert counted == [11] * 11
    with Image.open(tmp_path / f"film{ending}") as written:
        assert written.n_frames == 11
        written.seek(10)
        middle = np.asarray(written.convert("RGB"))[200:220, 200:220]
        assert np.abs(middle.astype(int) - 60).max() < 12


def test_the_film_of_a_long_run_has_about_ninety_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("gluon_nst.runs.figures.film", lambda snapshots, record: (picture for _, picture in snapshots))
    recipe = recipes.customise("d2l-2019", sizes=[(16, 16)], epochs=1000)
    film = Film(tmp_path / "film.gif")
    film.end(result(recipe, follow(recipe, film)))
    assert 80 < Image.open(tmp_path / "film.gif").n_frames <= 92


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 20])
def test_a_film_of_a_run_that_ended_early_ends_with_its_result(tmp_path, done):
    recipe = recipes.customise("d2l-2019", sizes=[(48, 64)], epochs=1000)
    film = Film(tmp_path / "film.webp")
    film.end(result(recipe, follow(recipe, film, count=done), "interrupted"))
    with Image.open(tmp_path / "film.webp") as written:
        if done > 1:
            written.seek(written.n_frames - 1)
            assert np.abs(np.asarray(written.convert("RGB"))[200:220, 200:220].astype(int) - 60).max() < 12


def test_too_many_snapshots_are_refused(tmp_path):
    recipe = recipes.customise("d2l-2019", epochs=10**9)
    with pytest.raises(nst.InputError, match="save every 1: would write 2000000000 pictures; choose a larger number"):
        snapshot_paths(tmp_path / "out.png", 1, recipe)


@pytest.mark.slow
def test_a_film_can_be_mp4(recipe, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="MP4 takes imageio-ffmpeg: pip install -e .[film]")
    film = Film(tmp_path / "film.mp4")
    film.end(result(recipe, follow(recipe, film)))
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert frames == 11 + 24
    assert seconds == pytest.approx(35 / 12, abs=0.2)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    width, height = next(reader)["size"]
    last = np.frombuffer(list(reader)[-1], np.uint8).reshape(height, width, 3)
    assert np.abs(last[200:220, 200:220].astype(int) - 60).max() < 12
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_mp4_without_its_package_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        nst.InputError, match=r"film.mp4: MP4 needs .* install gluon-nst\[film\], or name a .gif or .webp"
    ):
        check_film(tmp_path / "film.mp4")
    check_film(tmp_path / "film.gif")
    with pytest.raises(nst.InputError, match="the name must end with .gif or .webp or .mp4"):
        check_film(tmp_path / "film.avi")


def test_without_a_display_no_window_opens(recipe):
    matplotlib.pyplot.close("all")  # those of other tests
    said = []
    window = Window(said.append)
    window.end(result(recipe, follow(recipe, window)))
    assert not window.opened
    assert matplotlib.pyplot.get_fignums() == []
    assert said == ["no display: --show has no effect"]


@pytest.mark.slow
def test_an_interrupted_film_does_not_replace_a_finished_one(recipe, tmp_path):
    (tmp_path / "film.gif").write_bytes(b"finished")
    film = Film(tmp_path / "film.gif")
    film.end(result(recipe, follow(recipe, film), "interrupted"))
    assert (tmp_path / "film.gif").read_bytes() == b"finished"
    assert film.written == tmp_path / "film-interrupted.gif"
    assert film.written.exists()


def test_the_lines_have_the_format_of_the_chapter(recipe):
    said = []
    lines = Lines(said.append)
    recipe = dataclasses.replace(recipe, report_every=3)
    follow(recipe, lines)
    assert said[0] == "epoch   3, content loss 1.00, style loss 2.00, TV loss 3.00, 1.00 sec"
    assert len(said) == 3


class Failing(nst.Observer):
    def state(self, state):
        raise nst.NSTError("out.png: can't write it")


def test_a_failing_observer_is_removed_and_the_others_continue(recipe):
    said, seen = [], []

    class Listening(nst.Observer):
        def note(self, line):
            said.append(line)

        def state(self, state):
            seen.append(len(state.record))

    follow(recipe, Observers([Failing(), Listening()]))
    assert said == ["out.png: can't write it; the run continues without it"]
    assert len(seen) == 11


@pytest.mark.slow
def test_an_observer_of_a_run_in_a_subprocess_gets_the_stages_but_no_pictures(job, tmp_path):
    seen, said = [], []

    class Listening(nst.Observer):
        def note(self, line):
            said.append(line)

        def state(self, state):
            seen.append((state.stage, state.epoch))

    observer = Observers([Listening(), Snapshots(tmp_path / "out.png", 1)])
    result = processes.carry_out_apart(prepare(job(epochs=2)), observer)
    assert result.status == "complete"
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert said == ["this process has no picture of the run; the run continues without it"]


def test_an_observer_that_fails_at_the_end_does_not_lose_the_result(job):
    ended, said = [], []

    class FailingAtTheEnd(nst.Observer):
        def end(self, result):
            raise nst.NSTError("film.gif: can't write it")

    class Listening(nst.Observer):
        def note(self, line):
            said.append(line)

        def end(self, result):
            ended.append(result)

    result = nst.transfer(**{**vars(job(epochs=1)), "observers": [FailingAtTheEnd(), Listening()]})
    assert ended == [result]
    assert said[-1] == "film.gif: can't write it"


@pytest.mark.slow
def test_observers_can_be_reused_for_several_runs(job, tmp_path, capfd):
    observers = [Bar(), Film(tmp_path / "film.gif")]
    for name, size in (("1", (32, 48)), ("2", (48, 64))):
        nst.transfer(**{**vars(job()), "recipe": "poster", "sizes": [size], "epochs": 2, "observers": observers}).save(
            tmp_path / f"{name}.png"
        )
        with Image.open(tmp_path / "film.gif") as film:
            assert film.n_frames == 2
    assert capfd.readouterr().err.count("epoch 2/2") >= 2


# -- a notebook -------------------------------------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch):
    """Simulate a notebook; return the outputs, each a list of the pictures displayed in it."""
    import IPython
    from IPython import display

    outputs = []

    def show(picture, display_id):
        assert display_id is True
        outputs.append([picture])
        return SimpleNamespace(update=outputs[-1].append)

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(display, "display", show)
    return outputs


@pytest.fixture
def developed(monkeypatch):
    """Let the states of `follow` return their last image as the picture."""
    monkeypatch.setattr(nst.State, "picture", lambda state, run: state.images[-1])


@pytest.mark.slow
def test_live_updates_one_output(recipe, notebook, developed):
    follow(recipe, Live(seconds=0))
    (drawn,) = notebook
    assert len(drawn) == 11
    first, last = (Image.open(io.BytesIO(picture.data)) for picture in (drawn[0], drawn[-1]))
    assert first.size == last.size
    assert drawn[0].data != drawn[-1].data


def test_live_limits_the_rate_of_redraws_and_draws_the_last_epoch(recipe, notebook, developed):
    live = Live(seconds=1000)
    record = follow(recipe, live)
    (drawn,) = notebook
    assert len(drawn) == 1  # the first epoch
    for _ in range(2):
        live.end(result(recipe, record))
        assert len(drawn) == 2


@pytest.mark.slow
def test_live_draws_the_last_epoch_of_a_converged_run(net, notebook):
    live = Live(seconds=1000)
    converging = recipes.customise("d2l-2019", tolerance=0.9, epochs=40)
    nst.train(*make_inputs(net), net, mx.cpu(), 0.01, 40, 100, recipe=converging, observer=live)
    assert [len(drawn) for drawn in notebook] == [2]


def test_without_a_notebook_nothing_is_drawn(recipe, capfd):
    live = Live(seconds=0)
    live.end(result(recipe, follow(recipe, live)))
    assert capfd.readouterr() == ("", "")
