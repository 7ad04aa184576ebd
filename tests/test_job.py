import csv
import hashlib
import io
import json

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import gluon_nst as nst
from gluon_nst import job, training

from painting import paint


@pytest.fixture
def run(content, style, weights_file):
    """Run `transfer` on the small pictures, with the random trunk, in two small stages unless told otherwise."""

    def transfer(*pictures, **options):
        options = {"sizes": [(32, 48), (48, 64)], "epochs": [4, 3], "weights": str(weights_file), **options}
        return nst.transfer(*(pictures or (content, style)), **options)

    return transfer


@pytest.fixture
def trained(monkeypatch):
    """What every stage started from, and what it came to: two lists that fill as `transfer` runs."""
    starts, ends = [], []
    train = job.train

    def spy(X, *arguments, **options):
        starts.append(X.copy())
        ends.append(train(X, *arguments, **options))
        return ends[-1]

    monkeypatch.setattr(job, "train", spy)
    return starts, ends


def test_the_result_has_a_picture_of_every_stage_and_a_record_of_every_epoch(run):
    result = run()
    assert [picture.size for picture in result.images] == [(48, 32), (64, 48)] and result.image is result.images[1]
    assert [(row.stage, row.epoch) for row in result.losses] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)]
    assert result.complete and result.seconds > 0


def test_the_same_inputs_and_seed_give_the_same_picture(run):
    first, second, other = (run(init="noise", seed=seed).image.tobytes() for seed in (5, 5, 6))
    assert first == second != other


def test_the_second_stage_starts_from_the_clipped_resized_first_result(run, trained):
    starts, ends = trained
    run(lr=1.0)
    shown = nst.postprocess(ends[0]) * 255
    assert nst.postprocess(ends[0]).asnumpy().max() == 1  # something was there to clip
    assert np.array_equal(starts[1].asnumpy(), nst.preprocess(shown, (64, 48)).asnumpy())


@pytest.mark.parametrize("init", ["content", "style"])
def test_a_run_starts_from_the_picture_it_is_told(run, content, style, init):
    picture = {"content": content, "style": style}[init]
    result = run(init=init, sizes=[(32, 48)], epochs=1, lr=1e-6)
    start = nst.preprocess(nst.read_image(picture), (48, 32))
    assert np.abs(np.asarray(result.image, float) - nst.postprocess(start).asnumpy() * 255).max() < 1


def test_a_run_starts_from_a_file(run, tmp_path):
    Image.fromarray(paint(32, 48, seed=9)).save(tmp_path / "start.png")
    result = run(init=str(tmp_path / "start.png"), sizes=[(32, 48)], epochs=1, lr=1e-6)
    assert np.abs(np.asarray(result.image, float) - paint(32, 48, seed=9)).max() < 1


def test_weights_of_the_losses_and_layers_are_the_recipes(run):
    recipe = nst.Recipe((nst.Stage((32, 48), 2),), content_layers=(7,), style_layers=(0, 2), style_weight=0.0, tv_weight=0.0)
    result = run(recipe=recipe, sizes=None, epochs=None)
    assert [row.style for row in result.losses] == [0, 0] == [row.tv for row in result.losses]
    assert result.losses[1].total == result.losses[1].content


def test_pictures_can_be_pil_images(run, content, style):
    opened = run(Image.open(content), Image.open(style), epochs=2)
    assert opened.image.tobytes() == run(epochs=2).image.tobytes()


def test_the_png_says_how_it_was_made(run, tmp_path, content, style, weights_file):
    result = run(seed=3)
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        made = json.loads(saved.text["gluon-nst"])
        assert saved.tobytes() == result.image.tobytes()
    assert made["content_sha256"] == hashlib.sha256(content.read_bytes()).hexdigest()
    assert made["style_sha256"] == hashlib.sha256(style.read_bytes()).hexdigest()
    assert made["recipe"]["style_layers"] == [0, 5, 10, 19, 28] and made["recipe"]["stages"][1]["epochs"] == 3
    assert made["seed"] == 3 and made["sizes"] == [[32, 48], [48, 64]] and made["stage"] == 2
    assert len(made["weights"]["sha256"]) == 64 and made["weights"]["source"].startswith("file-")
    assert made["versions"]["gluon-nst"] == nst.__version__ and made["versions"]["mxnet"] == "1.9.1"


def test_the_losses_are_saved_one_row_an_epoch(run, tmp_path):
    result = run()
    result.save_losses(tmp_path / "losses.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "losses.csv").read_text())))
    assert list(rows[0]) == ["stage", "epoch", "content", "style", "tv", "total", "lr", "seconds"]
    assert [tuple(map(float, row.values())) for row in rows] == [tuple(map(float, row[:8])) for row in result.losses]


def test_the_plot_is_of_the_run(run, tmp_path):
    result = run()
    curves = [line.get_ydata() for line in result.plot().axes[0].get_lines() if len(line.get_ydata()) == 7]
    assert list(curves[0]) == [row.total for row in result.losses]
    result.save_plot(tmp_path / "losses.pdf")
    assert (tmp_path / "losses.pdf").read_bytes().startswith(b"%PDF")


def test_a_recipe_for_caffes_scale_says_so_where_the_trunk_is_of_another(run):
    lines = []
    run(recipe="tensorflow", epochs=1, notify=lines.append)
    assert any("not of Caffe's scale, for which the recipe's weights of the losses were chosen" in line for line in lines)


def test_an_interrupt_keeps_what_was_done(run):
    def stop(epoch):
        if (epoch.stage, epoch.epoch) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(nst.Interrupted) as stopped:
        run(report=stop)
    result = stopped.value.result
    assert len(result.images) == 2 and len(result.losses) == 6 and not result.complete
    assert result.provenance["interrupted"] == {"stage": 2, "epochs": 2}
    assert result.image.tobytes() == run(epochs=[4, 2]).image.tobytes()


def interrupted_at(monkeypatch, name, call):
    """Have the function `name` of the module job raise KeyboardInterrupt when it is called for the `call`-th time."""
    calls = []
    function = getattr(job, name)

    def stop(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(job, name, stop)


@pytest.mark.parametrize("name, call", [("to_picture", 1), ("get_contents", 2), ("get_styles", 2)])
def test_an_interrupt_between_two_stages_keeps_the_first(run, monkeypatch, name, call):
    with monkeypatch.context() as patch, pytest.raises(nst.Interrupted) as stopped:
        interrupted_at(patch, name, call)
        run()
    result = stopped.value.result
    assert len(result.images) == 1 and result.provenance["interrupted"] == {"stage": 1, "epochs": 4}
    assert result.image.tobytes() == run(sizes=[(32, 48)], epochs=4).image.tobytes()


def test_an_interrupt_in_the_first_epoch_of_a_stage_keeps_the_stages_before(run, monkeypatch):
    objective = training.Objective
    calls = []

    def stop(self, *arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return call(self, *arguments)

    call = objective.__call__
    monkeypatch.setattr(objective, "__call__", stop)
    with pytest.raises(nst.Interrupted) as stopped:
        run()
    assert len(stopped.value.result.images) == 1 and stopped.value.result.provenance["interrupted"]["stage"] == 1


def test_an_interrupt_before_the_first_epoch_has_no_result(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Objective, "__call__", stop)
    with pytest.raises(nst.Interrupted) as stopped:
        run()
    assert stopped.value.result is None


def test_a_pil_image_is_read_as_a_file_is(run, tmp_path, content):
    picture = Image.new("RGBA", (40, 40), (10, 20, 30, 0))
    white = run(picture, content, sizes=[(32, 48)], epochs=1, lr=1e-6).image
    assert np.asarray(white).min() > 250
    with pytest.raises(nst.InputError, match="1 x 1 pixels are too few"):
        run(Image.new("RGB", (1, 1)), content)


def test_a_stage_that_was_not_run_can_not_be_saved(run, tmp_path):
    result = run(epochs=1)
    for stage in (0, 3):
        with pytest.raises(nst.InputError, match=f"stage {stage}: there are pictures of the stages 1 to 2"):
            result.save(tmp_path / "out.png", stage=stage)


def test_bad_input_is_told_before_the_weights_are_looked_for(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.find", lambda *a, **k: pytest.fail("the weights were looked for"))
    for options in ({"seed": -1}, {"seed": 1.5}, {"device": "tpu"}, {"init": "nowhere.png"}, {"sizes": [(8, 8)]}):
        with pytest.raises(nst.InputError):
            run(**options)
    with pytest.raises(nst.InputError, match="nowhere.jpg: no such file"):
        run("nowhere.jpg", "nowhere.jpg")
    with pytest.raises(TypeError, match="stile_weight"):
        run(stile_weight=3)


def test_a_transfer_is_the_same_in_np_mode(run, np_mode):
    assert mx.util.is_np_array()
    picture = run(epochs=2).image.tobytes()
    mx.npx.reset_np()
    assert picture == run(epochs=2).image.tobytes()


def test_a_stage_can_carry_over_the_change_from_the_content_picture(run, trained, content):
    starts, ends = trained
    run(recipe=nst.Recipe((nst.Stage((32, 48), 3), nst.Stage((64, 96), 1)), carry="change"), sizes=None, epochs=None)
    small, large = (nst.preprocess(nst.read_image(content), shape) for shape in ((48, 32), (96, 64)))
    change, carried = ends[0] - small, starts[1] - large
    assert np.abs(change.asnumpy()).mean() > 1e-3
    halved = carried.asnumpy().reshape(1, 3, 32, 2, 48, 2).mean(axis=(3, 5))  # bilinear, it smooths a little
    assert np.corrcoef(halved.ravel(), change.asnumpy().ravel())[0, 1] > 0.9


def test_the_recipe_of_a_result_has_the_precision_that_was_computed(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.runtime.processor_flags", lambda: {"avx2"})
    result = run(recipe="fast", epochs=2)
    assert result.recipe.precision == "float32" == result.provenance["recipe"]["precision"]


def test_the_loss_of_a_result_is_its_pictures(run):
    assert run().loss == run().losses[-1].total
    result = run(optimizer="lbfgs", epochs=8)
    assert result.loss == min(row.total for row in result.losses if row.stage == 2)


def test_a_run_that_its_tolerance_ends_is_complete(run):
    result = run(epochs=40, tolerance=0.5)
    assert result.complete and len(result.losses) < 80 and len(result.images) == 2


def test_a_run_that_does_not_fit_into_the_memory_says_so_before_it_starts(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.find", lambda *a, **k: pytest.fail("the weights were looked for"))
    monkeypatch.setattr(job, "available_memory", lambda: 2e9)
    with pytest.raises(nst.InputError, match=r"size 1000x1500: needs about \d\.\d GB of memory, and 2\.0 GB are free; choose a smaller"):
        run(sizes=[(32, 48), (1000, 1500)])
