"""The Python interface: keywords and options, types of pictures, and the representation of results."""

import inspect
import pickle

import gluon_nst as nst
from gluon_nst.cli.parser import build_parser
from gluon_nst.recipes import LONGEST_SIDE, recipe_settings, settings
from gluon_nst.runs.job import OF_TRANSFER, PER_STYLE

import numpy as np
import pytest
from matplotlib.figure import Figure
from mxnet import nd
from PIL import Image

from commands import failing
from painting import paint

ONLY_IN_PYTHON = {"callback", "observers", "state", "progress", "settings"}
"""Keywords of `transfer` that no option of `gluon-nst render` has."""
ONLY_OPTIONS = {
    "output": "Result.save",
    "overwrite": "Result.save",
    "losses": "Result.save_losses",
    "save_every": "observers.Snapshots",
    "animate": "observers.Film",
    "show": "observers.Window",
    "quiet": "transfer",
}
"""Options of `gluon-nst render` that are not keywords of `transfer`, and their equivalents in Python; `quiet` is
`progress=False`."""


def options():
    """Return the names of the parsed arguments of `gluon-nst render`."""
    arguments = build_parser().parse_args(["render", "a.png", "b.png", "--output", "c.png"])
    return set(vars(arguments)) - {"command", "resumed", "version"}


def keywords():
    """Return all keywords of `transfer`: its signature, and the settings that it passes on."""
    passed_on = {each.name for each in (*recipe_settings(), LONGEST_SIDE, *settings(nst.Job))}
    return set(inspect.signature(nst.transfer).parameters) | passed_on | {*PER_STYLE}


def public(path):
    value = nst
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_every_option_is_a_keyword_and_every_keyword_an_option():
    assert options() - keywords() == set(ONLY_OPTIONS)
    assert keywords() - options() == ONLY_IN_PYTHON
    assert all(public(path) for path in ONLY_OPTIONS.values())


def test_the_signature_of_transfer_agrees_with_the_schema():
    parameters = inspect.signature(nst.transfer).parameters
    known = {each.name: each for each in (*recipe_settings(), LONGEST_SIDE, *settings(nst.Job))}
    own = {"content", "style", "recipe", "device", "settings", *OF_TRANSFER, *PER_STYLE}
    for name in set(parameters) - own:
        default = parameters[name].default
        assert name in known
        assert default == (known[name].default if known[name] in settings(nst.Job) else None)
        assert parameters[name].annotation
    assert parameters["recipe"].default == nst.recipes.DEFAULT
    assert len(set(parameters) - {"content", "style"}) >= 24


def test_the_defaults_in_the_help_of_transfer_are_those_of_fine():
    fine = nst.recipes.read("fine")
    epochs = " and ".join(str(stage.epochs) for stage in fine.stages)
    values = f"longest_side {fine.stages[-1].size}, epochs {epochs}, content_weight {fine.content_weight:g}"
    assert f"{values} and style_weight {fine.style_weight:g}." in " ".join(nst.transfer.__doc__.split())


def test_a_job_takes_the_settings_of_transfer(content, style, weights_file):
    options = {"recipe": "d2l-2019", "longest_side": 96, "style_weights": [3, 1], "seed": 0, "memory": "1GB"}
    job = nst.Job(content, [style, style], weights=str(weights_file), **options)
    assert [each.weight for each in job.style] == [3, 1]
    assert job.recipe.stages[0].size == 96
    assert pickle.loads(pickle.dumps(job)) == job
    with pytest.warns(DeprecationWarning, match="Job takes these arguments itself"):
        assert nst.Job.customised(content, [style, style], weights=str(weights_file), **options) == job


@pytest.mark.parametrize(
    "options, error",
    [
        ({"style_weights": [1, 2, 3]}, "style_weights: 3 for 2 styles; give one each"),
        ({"style_scale": [0.5]}, None),
        ({"style_regions": ["map.png"]}, "style_regions: 1 for 2 styles; give one each"),
    ],
)
def test_style_settings_are_one_value_for_each_style_or_one_for_all(options, error):
    if error:
        with pytest.raises(nst.InputError, match=error):
            nst.Job("a.png", ["s.png", "t.png"], **options)
    else:
        assert [each.scale for each in nst.Job("a.png", ["s.png", "t.png"], **options).style] == [0.5, 0.5]


def test_a_misspelt_keyword_is_a_type_error_of_the_package():
    for error in (TypeError, nst.NSTError, nst.KeywordError):
        with pytest.raises(error, match="longest_sid: not a setting of a transfer; did you mean longest_side?"):
            nst.Job("a.png", "b.png", longest_sid=96)
    with pytest.raises(nst.KeywordError, match="progress: a keyword of transfer, not of a Job"):
        nst.Job("a.png", "b.png", progress=False)
    with pytest.raises(nst.KeywordError, match="progres: .* did you mean progress?"):
        nst.transfer("a.png", "b.png", progres=False)


# -- pictures ---------------------------------------------------------------------------------------------------------


PIXELS = paint(60, 90, seed=1)


@pytest.mark.parametrize(
    "picture",
    [PIXELS, PIXELS.astype(np.float64) / 255, nd.array(PIXELS, dtype="uint8"), Image.fromarray(PIXELS)],
    ids=["uint8", "float", "MXNet", "PIL"],
)
def test_a_picture_may_be_an_array(picture):
    job = nst.Job(picture, [picture, nst.Style(picture)], mask=PIXELS[:, :, 0] > 128, regions=PIXELS[:, :, 0] * 0)
    for each in (job.content, *(style.picture for style in job.style)):
        assert np.array_equal(np.asarray(each), PIXELS)
    assert np.array_equal(np.asarray(job.mask) == 255, PIXELS[:, :, 0] > 128)


def test_alpha_and_class_numbers_are_kept():
    alpha = np.dstack([PIXELS, PIXELS[:, :, :1]])
    assert np.array_equal(np.asarray(nst.Job(alpha, PIXELS).content), alpha)
    classes = np.arange(60 * 90, dtype=np.uint16).reshape(60, 90)
    assert np.array_equal(np.asarray(nst.Job(PIXELS, PIXELS, regions=classes).regions), classes)


@pytest.mark.parametrize(
    "array, message",
    [
        (
            PIXELS.transpose(2, 0, 1),
            "content: an array of uint8 of shape 3 × 60 × 90 is not a picture; give height × width",
        ),
        (PIXELS.astype(np.float32), "has values from 0 to 255; give height × width × 3"),
        (PIXELS.astype(np.int64), "content: an array of int64 .* has an unsupported type"),
        (PIXELS / np.float32(0.0001) * np.nan, "values that are not finite"),
        (np.zeros(()), "of shape no dimension is not a picture"),
        (3, "content: int is neither a path nor a PIL image nor an array"),
    ],
)
def test_invalid_pictures_are_refused(array, message):
    with pytest.raises(nst.InputError, match=message):
        nst.Job(array, PIXELS)


# -- results ----------------------------------------------------------------------------------------------------------


def test_a_result_has_a_repr_a_table_and_a_plot(run):
    result = run()
    assert result.array.shape == (48, 64, 3)
    assert np.array_equal(result.array, np.asarray(result.image))
    assert np.array_equal(np.asarray(result), result.array)
    assert repr(result).startswith("<Result: complete, 48 × 64 pixels, total loss ")
    assert "\n" not in repr(result)
    table = result.losses.to_pandas()
    assert list(table.columns[:8]) == ["stage", "epoch", "content", "style", "tv", "total", "lr", "seconds"]
    assert len(table) == len(result.losses) == 7
    assert np.allclose(table["style"], table["style/conv1_1"] + table["style/conv2_1"])
    assert repr(result.losses).startswith("<History: 7 epochs, total loss ")
    axes = Figure().subplots()
    assert result.plot(ax=axes) is axes
    assert len(axes.lines) >= 4
    assert isinstance(result.plot(), Figure)


@pytest.mark.slow
def test_a_state_has_its_picture_and_losses_after_each_epoch(job):
    assert repr(nst.State().losses) == "<History: no epochs>"
    with pytest.raises(nst.NSTError, match="the run has no picture yet"):
        _ = nst.State().image
    shapes = []
    for state in nst.steps(job()):
        shapes.append(state.image.size)
        assert len(state.losses) == len(shapes)
    assert shapes == [(48, 32)] * 4 + [(64, 48)] * 3
    assert state.losses.to_pandas()["stage"].tolist() == [1] * 4 + [2] * 3
    read = pickle.loads(pickle.dumps(state))
    assert np.array_equal(np.asarray(read.image), np.asarray(state.image))
    for state in nst.steps(job()):
        with pytest.raises(nst.NSTError, match="no picture until it is resumed"):
            _ = pickle.loads(pickle.dumps(state)).image
        break


@pytest.mark.slow
def test_a_callback_is_called_after_each_epoch_and_its_errors_end_the_run(run):
    epochs = []
    run(callback=lambda state: epochs.append((state.stage, state.epoch)))
    assert epochs[:4] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert len(epochs) == 7

    def fail(state):
        raise OSError("my disk is full")

    with pytest.raises(OSError, match="my disk is full"):
        run(callback=fail)


@pytest.mark.slow
def test_a_bar_is_shown_on_a_terminal_or_on_request(run, capfd, monkeypatch):
    run()
    run(progress=False)
    assert capfd.readouterr().err == ""
    run(progress=True)
    assert "epoch 3/3" in capfd.readouterr().err
    monkeypatch.setattr("gluon_nst.observers.progress.sys.stderr.isatty", lambda: True, raising=False)
    run()
    assert "epoch 3/3" in capfd.readouterr().err
    run(progress=False)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_run_with_a_checkpoint_resumes(run, tmp_path):
    whole = run()
    with failing(5), pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "kept", checkpoint_every=0)
    epochs = []
    continued = run(checkpoint=tmp_path / "kept", callback=lambda state: epochs.append(state.epoch))
    assert len(epochs) == 2
    assert np.array_equal(continued.array, whole.array)
    assert len(run(checkpoint=tmp_path / "kept", fresh=True).losses) == 7
    with pytest.raises(nst.InputError, match="fresh: is for a run with a checkpoint"):
        run(fresh=True)
    with pytest.raises(nst.InputError, match="state, checkpoint: both say where the run continues"):
        run(checkpoint=tmp_path / "kept", state=nst.State())


@pytest.mark.slow
def test_the_limit_of_pixels_can_be_raised(run, content, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(nst.InputError, match="more pixels than the limit of 2000"):
        run()
    assert run(max_pixels=10_000).complete


# -- several runs -----------------------------------------------------------------------------------------------------

ONE_LAYER = {"sizes": [(32, 48)], "epochs": 2, "content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}


@pytest.mark.slow
def test_a_sweep_and_a_comparison_return_sheets(content, weights_file, tmp_path):
    options = {**ONE_LAYER, "weights": str(weights_file)}
    swept = nst.sweep(PIXELS, content, {"style_weight": [1.0, 1e3]}, output=tmp_path / "sweep", **options)
    assert list(swept.images) == ["style-weight=1.0", "style-weight=1000.0"]
    assert swept.images["style-weight=1.0"].size == (48, 32)
    assert repr(swept) == "<SheetResult: 2 of 2 pictures: style-weight=1.0, style-weight=1000.0>"
    assert swept._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "sweep" / "style-weight=1.0.csv").is_file()
    swept.save(tmp_path / "sheet.pdf")
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")

    compared = nst.compare(content, Image.fromarray(PIXELS), ["d2l-2019", "d2l-2023"], **options)
    assert list(compared.images) == ["d2l-2019", "d2l-2023"]
    assert np.asarray(compared.images["d2l-2019"]).shape == (32, 48, 3)  # although its file was temporary


@pytest.mark.slow
def test_a_reconstruction_returns_a_sheet_and_a_failed_run_warns(content, weights_file):
    options = {"weights": str(weights_file), "sizes": [(32, 48)], "epochs": 2}
    found = nst.reconstruct("content", content, ["conv1_1", "conv2_1"], **options)
    assert list(found.images) == ["conv1_1", "conv2_1"]
    with failing(2, nst.NSTError("the disk is full")), pytest.warns(UserWarning, match="conv2_1: the disk is full"):
        found = nst.reconstruct("content", content, ["conv1_1", "conv2_1"], **options)
    assert list(found.images) == ["conv1_1"]


def test_a_sheet_refuses_invalid_pictures_and_keywords(content):
    with pytest.raises(nst.InputError, match="style: list is neither a path nor a PIL image nor an array"):
        nst.compare(content, [content])
    with pytest.raises(nst.KeywordError, match="epohcs: .* did you mean epochs?"):
        nst.sweep(content, content, {"style_weight": [1, 2]}, epohcs=3)


@pytest.mark.slow
def test_a_batch_returns_its_pictures_and_a_report(content, style, weights_file, tmp_path):
    (tmp_path / "contents").mkdir()
    for name in ("one", "two"):
        Image.open(content).save(tmp_path / "contents" / f"{name}.png")
    options = {**ONE_LAYER, "weights": str(weights_file), "recipe": "d2l-2019"}
    made = nst.batch(tmp_path / "contents", style, output=tmp_path / "painted", workers=1, **options)
    assert list(made.paths) == ["one-style", "two-style"]
    assert made.report.is_file()
    assert repr(made) == f"<BatchResult: 2 of 2 pictures, report in {made.report}>"
    assert made._repr_html_().count("<img") == 2
    again = nst.batch(tmp_path / "contents", style, output=tmp_path / "painted", **options)
    assert {each.note for each in again.outcomes.values()} == {"kept from before"}
    with pytest.raises(nst.InputError, match="neither a .toml nor a .csv; for pictures, give a style"):
        nst.batch(tmp_path / "contents", output=tmp_path / "painted")
