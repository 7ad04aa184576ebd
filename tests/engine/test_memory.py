"""Memory plans: whole pictures, windows, and sizes that are refused."""

import dataclasses
import math
import re

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.engine.memory import (
    Inputs,
    allowed_memory,
    check_memory,
    needed,
    optimiser_bytes,
    plan,
    smallest_plan,
    spread_plan,
)
from gluon_nst.engine.padding import canvas
from gluon_nst.engine.windows import whole
from gluon_nst.network import layers
from gluon_nst.pictures.decoding import Picture
from gluon_nst.runs.run import prepare

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as draw
from PIL import Image

from commands import SHALLOW, made

STYLES = Inputs([((600, 800), None)])
"""One style picture, at the recipe's style size."""

CHAPTER = recipes.read("d2l-2019")


def at(size, name="d2l-2019", **options):
    """Return a recipe with one stage of a size."""
    changed = recipes.customise(name, sizes=[size], size_factor=1, precision="float32", **options)
    return recipes.follow_optimizer(recipes.fit(changed, size))


@pytest.fixture
def free(monkeypatch):
    """Set the bytes of memory that are free."""
    return lambda number: monkeypatch.setattr("gluon_nst.engine.memory.available_memory", lambda: number)


def options(job):
    """Return the options of `transfer` for the jobs of `job`, with one small size."""
    made = job(sizes=[(32, 48)], epochs=1)
    return {"recipe": made.recipe, "weights": made.weights}


# -- needed memory ----------------------------------------------------------------------------------------------------


def test_needed_memory_grows_with_the_size_and_the_layers():
    small, large = (needed(CHAPTER, (height, 450)) for height in (300, 600))
    assert small < large < 2 * small
    assert needed(recipes.customise(CHAPTER, optimizer="lbfgs"), (300, 450)) > small
    few = recipes.customise(CHAPTER, content_layers=["conv1_1"], style_layers=["conv1_1"])
    assert needed(few, (300, 450)) < small


def test_the_patches_of_the_pixels_and_the_filter_of_the_preconditioner_are_counted():
    size, layers_ = (1500, 2000), {"content_layers": ["conv4_2"], "style_layers": ["relu1_1"]}
    without = recipes.customise(CHAPTER, **layers_)
    with_pixels = recipes.customise(without, style_layers=["pixels", "relu1_1"])
    for needs in (lambda recipe: needed(recipe, size), lambda recipe: spread_plan(recipe, size, 4, math.inf).needed):
        assert needs(without) < needs(with_pixels) < 1.15 * needs(without)
    fine = recipes.read("fine")
    plainly = recipes.customise(fine, preconditioner="none")
    assert optimiser_bytes(fine) == optimiser_bytes(plainly) + 16
    by_adam = {"optimizer": "adam", "lr": 0.1}
    assert optimiser_bytes(recipes.customise(fine, **by_adam)) == optimiser_bytes(recipes.customise(plainly, **by_adam))


def test_the_larger_one_of_composite_and_style_determines_the_needed_memory():
    alone = needed(CHAPTER, (300, 450))
    assert needed(CHAPTER, (300, 450), style_pixels=100) == alone
    assert needed(CHAPTER, (300, 450), style_pixels=4e6) > 2 * alone


def test_outputs_per_pixel_are_those_of_the_layers(net):
    X, count = mx.nd.zeros((1, 3, 32, 48)), 0
    for index, layer in enumerate(net):
        X = layer(X)
        count += X.size
        assert layers.outputs_per_pixel(index) == count / (32 * 48)


# -- the plan ---------------------------------------------------------------------------------------------------------


def passes(parts):
    """Return the number of outputs of a plan's layers in an epoch: three passes, and a fourth for the features in
    several windows."""
    numbers = 0
    for part in parts:
        outputs = layers.outputs_per_pixel(part.layers[-1]) - layers.outputs_per_pixel(part.layers.start - 1)
        numbers += outputs * part.number * math.prod(part.shape) * part.stride**2 * (4 if part.number > 1 else 3)
    return numbers


@pytest.mark.parametrize("name", recipes.names())
def test_a_stage_is_computed_whole_if_the_memory_allows(name):
    recipe = at((600, 900), name)
    planned = plan(recipe, (600, 900), STYLES, math.inf)
    assert not planned.windowed
    assert planned.needed < 10e9
    assert planned.parts == whole(recipe.last_layer, canvas((600, 900), recipe.margin).size)
    assert plan(recipe, (600, 900), STYLES, planned.needed) == planned


@pytest.mark.parametrize("name", recipes.names())
def test_with_less_memory_a_stage_is_computed_in_windows_that_fit(name):
    recipe, size = at((1500, 2250), name), (1500, 2250)
    least, most = smallest_plan(recipe, size, STYLES).needed, plan(recipe, size, STYLES, math.inf).needed
    for share in (0, 0.5, 0.99):
        memory = least + share * (most - least)
        planned = plan(recipe, size, STYLES, memory)
        assert planned.windowed
        assert planned.needed <= memory
        assert planned.parts[0].layers.start == 0
        assert planned.parts[-1].layers.stop == recipe.last_layer + 1
        assert sum(len(part.layers) for part in planned.parts) == recipe.last_layer + 1


@pytest.mark.slow
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    size=draw.tuples(draw.integers(50, 3000), draw.integers(50, 3000)),
    memory=draw.floats(0.5e9, 20e9),
    more=draw.floats(1, 4),
    style_size=draw.sampled_from(["content", 0.5, 1.0, 3.0]),
)
def test_more_memory_never_gives_more_work(size, memory, more, style_size):
    recipe = at(size, style_size=style_size)
    less, planned = (plan(recipe, size, STYLES, each) for each in (memory, memory * more))
    if less is not None:
        assert less.needed <= memory
        assert planned.needed <= memory * more
        # With a cut after pool2, the layers above drop the end of a side beyond the grid: 1 or 2 % of a small picture.
        assert passes(planned.parts) <= 1.03 * passes(less.parts)


def test_a_large_style_picture_is_computed_in_windows():
    recipe = at((300, 450), style_size=5.0)
    in_whole, limited = (plan(recipe, (300, 450), STYLES, memory) for memory in (math.inf, 2e9))
    assert in_whole.style_window == 2250
    assert limited.style_window < 2250
    assert limited.needed <= 2e9 < in_whole.needed


@pytest.mark.parametrize("memory", [20e9, math.inf])
def test_in_bfloat16_no_window_is_too_wide_for_onednn(monkeypatch, memory):
    monkeypatch.setattr("gluon_nst.engine.memory.widest", lambda: 736)
    recipe = dataclasses.replace(at((600, 2000)), precision="bfloat16")
    planned = plan(recipe, (600, 2000), STYLES, memory)
    assert planned.windowed
    assert all(part.shape[1] <= 736 for part in planned.parts)
    assert not plan(recipe, (2000, 600), STYLES, memory).windowed


@pytest.mark.parametrize("style_size", ["content", 4.0])
@pytest.mark.parametrize("size", [(100, 150), (1000, 1500)])
def test_no_plan_needs_less_than_the_smallest_plan(size, style_size):
    recipe = at(size, style_size=style_size)
    least = smallest_plan(recipe, size, STYLES).needed
    assert plan(recipe, size, STYLES, least).needed == least
    assert plan(recipe, size, STYLES, least - 1) is None


def test_the_plan_counts_the_memory_kept_of_earlier_stages():
    ladder = recipes.fit(recipes.customise("fine", sizes=[1400]), (600, 900))
    alone = at(ladder.stages[-1].size, "fine")
    of_ladder, of_one = (plan(each, alone.stages[0].size, STYLES, math.inf).needed for each in (ladder, alone))
    assert of_ladder > of_one + 0.1e9


# -- refused sizes ----------------------------------------------------------------------------------------------------

CPU = mx.cpu()


def test_a_size_that_fits_in_windows_is_not_refused(free):
    free(2e9)
    assert plan(at((1000, 1500)), (1000, 1500), STYLES, 2e9).windowed
    check_memory(at((1000, 1500)), STYLES, CPU, None)


@pytest.mark.parametrize("size", [(5000, 7500), (9000, 2000)])
@pytest.mark.parametrize("name, memory", [("d2l-2019", 2e9), ("fine", 2e9), ("stp", 3e9)])
def test_a_size_that_does_not_fit_is_refused_and_the_error_names_one_that_fits(free, name, memory, size):
    free(memory)
    recipe = at(size, name)
    with pytest.raises(nst.InputError) as refused:
        check_memory(recipe, STYLES, CPU, None)
    match = re.fullmatch(
        r"size {}x{}: needs at least (\d+\.\d) GB of memory, in windows, and {:.1f} GB are free; choose a smaller size,"
        r" such as (\d+)x(\d+), or end other programs".format(*size, memory / 1e9),
        str(refused.value),
    )
    assert match
    assert float(match[1]) > memory / 1e9
    fitting = int(match[2]), int(match[3])
    assert fitting[0] / fitting[1] == pytest.approx(size[0] / size[1], rel=0.01)
    assert plan(at(fitting, name), fitting, STYLES, memory).needed <= memory
    larger = tuple(round(side * 1.05) for side in fitting)  # windows grow in steps
    assert plan(at(larger, name), larger, STYLES, memory) is None
    check_memory(at(fitting, name), STYLES, CPU, None)


def test_style_pictures_that_do_not_fit_are_refused_with_the_needed_memory(free):
    free(0.8e9)
    with pytest.raises(nst.InputError) as refused:
        check_memory(at((300, 450), style_size=5.0), STYLES, CPU, None)
    least, there = re.search(r"needs at least (\S+) GB .* and (\S+) GB are free", str(refused.value)).groups()
    assert float(least) > float(there)


def test_the_error_names_no_size_if_none_fits(free):
    free(0.3e9)
    with pytest.raises(nst.InputError, match="no size fits, so end other programs$") as refused:
        check_memory(at((300, 450)), STYLES, CPU, None)
    assert "such as" not in str(refused.value)


def test_of_several_sizes_that_do_not_fit_the_last_is_reported(free):
    free(2e9)
    recipe = recipes.customise("d2l-2019", sizes=[(6000, 9000), (5000, 7500), (32, 48)])
    with pytest.raises(nst.InputError, match="^size 5000x7500: "):
        check_memory(recipe, STYLES, CPU, None)


def test_the_allowed_memory_is_at_most_the_free_memory(free):
    free(3e9)
    assert [allowed_memory(memory, CPU) for memory in (None, 2e9, 4e9)] == [3e9, 2e9, 3e9]
    assert [allowed_memory(memory, mx.gpu()) for memory in (None, 2e9, 4e9)] == [math.inf, 2e9, 4e9]


@pytest.mark.parametrize(
    "memory, message", [(1.5e9, "1.5 GB are allowed; .* or allow 7.4 GB$"), (8e9, "2.0 GB are free; .* or end other")]
)
def test_the_error_suggests_a_higher_limit_or_ending_other_programs(free, memory, message):
    free(2e9)
    with pytest.raises(nst.InputError, match=message):
        check_memory(at((5000, 7500)), STYLES, CPU, memory)


@pytest.mark.parametrize("name, size", [("fine", (300, 450)), ("d2l-2019", (1000, 1500)), ("fine", (2000, 3000))])
def test_the_memory_named_in_the_error_is_enough(free, name, size):
    free(20e9)
    recipe = at(size, name)
    with pytest.raises(nst.InputError) as refused:
        check_memory(recipe, STYLES, CPU, 0.4e9)
    enough = float(re.search(r"needs at least (\d+\.\d) GB", str(refused.value))[1]) * 1e9
    check_memory(recipe, STYLES, CPU, enough)


@pytest.mark.slow
def test_pictures_masks_and_regions_are_counted(job, content, tmp_path):
    large = Image.new("RGB", (6000, 4000))
    large.save(tmp_path / "large.png")
    plain, with_large = (
        prepare(nst.Job(picture, picture, **options(job))) for picture in (content, tmp_path / "large.png")
    )
    mask = Image.new("L", (6000, 4000), 255)
    masked = prepare(nst.Job(tmp_path / "large.png", tmp_path / "large.png", mask=mask, **options(job)))
    needs = [run.plan(run.recipe.stages[0]).needed for run in (plain, with_large, masked)]
    assert needs[1] - needs[0] >= 4 * 24e6
    assert needs[2] - needs[1] >= 4 * 24e6


def test_pictures_resized_by_pillow_need_no_array(job, monkeypatch, tmp_path):
    monkeypatch.setattr(Picture, "array", property(lambda self: pytest.fail("an array of the whole picture")))
    run = prepare(job(sizes=[(32, 48)], epochs=1, resize="lanczos"))
    for _ in nst.steps(run):
        pass


# -- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "memory, bytes", [(None, None), ("auto", None), (4e9, 4e9), (800_000_000, 8e8), ("4GB", 4e9), ("Auto", None)]
)
def test_a_job_takes_an_amount_of_memory(content, style, memory, bytes):
    assert nst.Job(content, style, memory=memory).memory == bytes


@pytest.mark.parametrize("memory", [0, -1, math.inf, math.nan, True, "4", "0GB", "much", [1]])
def test_a_job_refuses_other_amounts(content, style, memory):
    with pytest.raises(
        nst.InputError, match="^memory: .* is not a number of bytes above 0, an amount such as 4GB, or auto$"
    ):
        nst.Job(content, style, memory=memory)


def test_a_run_has_the_memory_of_its_job(job):
    size = (128, 160)
    runs = [prepare(job(sizes=[size], epochs=1, memory=memory)) for memory in (None, 0.51e9)]
    assert [run.memory for run in runs] == [None, 0.51e9]
    assert [run.plan(run.recipe.stages[0]).windowed for run in runs] == [False, True]
    assert runs[0].key == runs[1].key
    with pytest.raises(
        nst.InputError,
        match=r"size 128x160: needs at least 0\.6 GB of memory, in windows, and 0\.4 GB are allowed;"
        r" no size fits, so allow 0\.6 GB$",
    ):
        prepare(job(sizes=[size], epochs=1, memory=0.4e9))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, bytes",
    [
        ("4GB", 4e9), ("1.5gb", 1.5e9), ("800MB", 8e8), ("2GiB", 2**31), ("0.1TB", 1e11), ("700000KB", 7e8),
        ("4G", 4e9), ("5000000000B", 5e9),
    ],
)  # fmt: skip
def test_the_command_takes_an_amount_of_memory(render, monkeypatch, text, bytes):
    taken = []
    monkeypatch.setattr("gluon_nst.runs.run.check_memory", lambda *given: taken.append(given[-1]))
    assert render("--memory", text, *SHALLOW)[0] == 0
    assert taken == [bytes]


@pytest.mark.slow
def test_the_command_computes_in_windows_and_records_the_memory(render, tmp_path):
    layers = ["--content-layers", "conv3_1", "--style-layers", "conv1_1,conv3_1", "--precision", "float32"]
    records, pictures = [], []
    for options in ([], ["--memory", "0.85GB"], ["--memory", "8GB"]):
        assert render("--sizes", "320x448", "--epochs", "2", *layers, *options, small=False)[0] == 0
        records.append(made(tmp_path / "out.png"))
        pictures.append(np.asarray(Image.open(tmp_path / "out.png"), int))
    assert records[1].pop("memory") == 0.85e9  # not recorded without windows
    losses = [record.pop("loss") for record in records]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)  # windows round the sums differently
    assert records[0] == records[1] == records[2]
    assert np.array_equal(pictures[0], pictures[2])
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.parametrize("text", ["4", "GB", "much", "", "4XB", "four GB"])
def test_the_command_refuses_a_text_that_is_not_an_amount(refuses, text):
    refuses(f"argument --memory: {text!r} is not an amount such as 4GB or 500MB, or auto", "--memory", text)


@pytest.mark.parametrize("text", ["0GB", "-4GB", "infGB", "nanMB"])
def test_the_command_refuses_an_impossible_amount(refuses, text):
    refuses("is not a number of bytes above 0, an amount such as 4GB, or auto", f"--memory={text}")


def test_the_command_refuses_a_size_that_can_not_fit_in_one_line(refuses):
    refuses(
        "GB are allowed; choose a smaller size, such as", "--memory", "2GB", "--sizes", "9000x9000", "--epochs", "1"
    )
