import csv
import dataclasses
import hashlib
import io
import json
import pickle

import gluon_nst as nst
from gluon_nst.runs.run import prepare

import pytest
from PIL import Image


@pytest.mark.slow
def test_the_picture_contains_its_record(run, tmp_path, content, style):
    run(init="noise", seed=3).save(tmp_path / "out.png")
    made = json.loads(Image.open(tmp_path / "out.png").text["gluon-nst"])
    assert made["content_sha256"] == hashlib.sha256(content.read_bytes()).hexdigest()
    assert made["style_sha256"] == hashlib.sha256(style.read_bytes()).hexdigest()
    assert made["recipe"]["style_layers"] == {"conv1_1": 1, "conv2_1": 1}
    assert made["recipe"]["stages"][1]["epochs"] == 3
    assert made["seed"] == 3
    assert made["sizes"] == [[32, 48], [48, 64]]
    assert made["stage"] == 2
    assert len(made["weights"]["sha256"]) == 64
    assert made["weights"]["source"].startswith("file-")
    assert made["versions"]["gluon-nst"] == nst.__version__
    assert made["versions"]["mxnet"] == "1.9.1"
    assert "init_sha256" not in made
    assert "status" not in made


def test_runs_of_the_same_picture_have_the_same_key(job, content):
    first = prepare(job()).key
    assert prepare(job(recipe=dataclasses.replace(nst.recipes.read("d2l-2019"), title="Another"))).key == first
    changed = {"seed": 1, "lr": 0.02, "init": "style", "style_layers": {"conv1_1": 2}}
    assert first not in {prepare(job(**{name: value})).key for name, value in changed.items()}
    Image.new("RGB", (40, 40), "red").save(content)
    assert prepare(job()).key != first


def test_the_losses_are_saved_with_one_row_per_epoch(run, tmp_path):
    result = run()
    result.save_losses(tmp_path / "losses.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "losses.csv").read_text())))
    assert list(rows[0]) == ["stage", "epoch", "content", "style", "tv", "total", "lr", "seconds"]
    for row, (stage, epoch, losses, lr, seconds) in zip(rows, result.losses):
        expected = [stage, epoch, losses.content, losses.style, losses.tv, losses.total, lr, seconds]
        assert list(map(float, row.values())) == expected
    assert len(rows) == 7


@pytest.mark.slow
def test_the_plot_shows_the_run(run, tmp_path):
    result = run()
    curves = [line.get_ydata() for line in result.plot().axes[0].get_lines() if len(line.get_ydata()) == 7]
    assert list(curves[0]) == [row.losses.total for row in result.losses]
    result.save_plot(tmp_path / "losses.pdf")
    assert (tmp_path / "losses.pdf").read_bytes().startswith(b"%PDF")


def test_an_unfinished_stage_can_not_be_saved(run, tmp_path):
    result = run(epochs=1)
    for stage in (0, 3):
        with pytest.raises(nst.InputError, match=f"stage {stage}: there are pictures of the stages 1 to 2"):
            result.save(tmp_path / "out.png", stage=stage)


@pytest.mark.slow
def test_the_loss_of_a_result_is_that_of_its_picture(run):
    result = run()
    assert result.loss == result.losses[-1].losses.total
    result = run(optimizer="lbfgs", epochs=8)
    assert result.loss == min(row.losses.total for row in result.losses if row.stage == 2)


def test_a_notebook_shows_the_picture_of_a_result(run):
    from IPython.core.formatters import DisplayFormatter

    result = run(epochs=1)
    formats, _ = DisplayFormatter().format(result)
    shown = Image.open(io.BytesIO(formats["image/png"]))
    assert shown.tobytes() == result.image.tobytes()


def test_a_status_is_its_text(run):
    status = run(epochs=1).status
    assert status == "complete"
    assert {"complete": 0}[status] == 0
    assert status in ("complete", "settled")
    assert (str(status), repr(status), f"{status:>9}") == ("complete", "'complete'", " complete")
    assert json.dumps(status) == '"complete"'
    assert pickle.loads(pickle.dumps(status)) is status
