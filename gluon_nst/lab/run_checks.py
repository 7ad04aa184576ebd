"""Checks of the exercises whose answers are runs, by record and picture."""

from __future__ import annotations

import functools
import math
from typing import Any, Iterable, Mapping

import numpy as np
from PIL import Image

from gluon_nst.errors import NSTError
from gluon_nst.lab.check import Answer, Check, describe_type, exercise
from gluon_nst.losses.chapter import tv_loss
from gluon_nst.machine import choose_device, nd_mode
from gluon_nst.network.layers import NAMES
from gluon_nst.pictures.decoding import Picture, open_picture
from gluon_nst.pictures.pixels import preprocess, to_picture
from gluon_nst.recipes import Recipe, read
from gluon_nst.runs.job import Job
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import fitted
from gluon_nst.weights.pictures import own_pictures

SMALL: dict[str, Any] = {
    "recipe": "fast",
    "sizes": [(48, 72)],
    "epochs": 20,
    "tolerance": 0.0,
    "precision": "float32",
}
"""Settings of the exercises' runs; each takes about a second."""

FROM_NOISE: dict[str, Any] = {**SMALL, "init": "noise", "epochs": 40, "style_weight": 0.0, "tv_weight": 0.0}
"""Settings of runs from noise with only the content loss, which show what a layer preserves of the photograph."""

CONTENT_CHOICES = ("conv1_1", "conv2_1", "conv4_4")
STYLE_CHOICES = {"conv1_1": 1e4, "conv3_1": 3e3, "conv5_1": 3e5}
"""Layers, each with a style weight that makes its weighted loss about 20 at the start."""


def _photograph(size: tuple[int, int]) -> np.ndarray:
    """Return the content picture as a run of a size uses it, h × w × 3.

    The size is (height, width).
    """
    height, width = size
    return np.asarray(to_picture(preprocess(_bundled_pictures()[0].array, (width, height))), np.float64)


def _pixels(result: Result) -> np.ndarray:
    return np.asarray(result.image.convert("RGB"), np.float64)


def distance(result: Result) -> float:
    """Return the mean squared difference of a run's picture and the photograph."""
    picture = _pixels(result)
    height, width = picture.shape[:2]
    return float(((picture - _photograph((height, width))) ** 2).mean())


@nd_mode
def _total_variation(result: Result) -> float:
    """Return the total variation of a run's picture."""
    array = open_picture(result.image).array
    return float(tv_loss(preprocess(array, (result.image.width, result.image.height))).asscalar())


@functools.lru_cache(maxsize=1)
def _bundled_pictures() -> tuple[Picture, Picture]:
    content, style = own_pictures()
    return open_picture(content), open_picture(style)


def _recipe(**settings: Any) -> Recipe:
    """Return the recipe of a run with these settings on the chapter's pictures."""
    job = Job(*own_pictures(), **settings)
    return fitted(read(job.recipe), _bundled_pictures()[0].size, choose_device())


def _runs_by_key(check: Check, results: Answer, name: str, keys: Iterable[str]) -> dict[str, Result]:
    """Return a dictionary of runs on the chapter's pictures with these keys.

    Ends the check if the value is not one.
    """
    content = f" with {', '.join(map(repr, results)) or 'nothing in it'}" if isinstance(results, Mapping) else ""
    holds = isinstance(results, Mapping) and set(results) == set(keys)
    hint = f"It is {describe_type(results)}{content}"
    check.require(holds, f"{name} has a Result for each of {', '.join(map(repr, keys))}", hint)
    return {key: _chapter_run(check, results[key], f"{name}[{key!r}]") for key in keys}


def _chapter_run(check: Check, result: Answer, name: str) -> Result:
    """Return a complete run on the chapter's pictures.

    Ends the check if the value is not one.
    """
    run = check.complete_run(result, name)
    hashes = run.provenance.get("content_sha256"), run.provenance.get("style_sha256")
    expected = tuple(picture.sha256 for picture in _bundled_pictures())
    hint = "It uses other pictures: run nst.transfer(content, style, …)"
    check.require(hashes == expected, f"{name} uses the chapter's two pictures", hint)
    return run


def _layer_runs(check: Check, results: Answer, name: str, settings: Mapping[str, dict[str, Any]]) -> dict[str, Result]:
    """Return the runs of exercise 1, one for each layer, with its settings.

    Ends the check if settings differ.
    """
    runs = _runs_by_key(check, results, name, settings)
    for layer, run in runs.items():
        expected = _recipe(**settings[layer])
        for field in ("content_layers", "style_layers"):
            used, wanted = ([NAMES[index] for index in getattr(recipe, field)] for recipe in (run.recipe, expected))
            hint = f"Its {field} are {used}: pass {wanted}"
            check.require(used == wanted, f"{name}[{layer!r}] uses only that layer", hint)
        check.has_recipe(run, f"{name}[{layer!r}]", expected)
    check.passed(f"{name} has a run for each layer, with nothing else changed")
    return runs


@exercise(1)
def exercise_1(check: Check, by_content: Answer, by_style: Answer, nearest: Answer, farthest: Answer) -> None:
    """Check exercise 1: runs with one content layer or one style layer each.

    Also checks the comparison of their pictures.
    """
    content_settings = {layer: {**FROM_NOISE, "content_layers": [layer]} for layer in CONTENT_CHOICES}
    style_settings = {
        layer: {**SMALL, "style_layers": [layer], "style_weight": weight} for layer, weight in STYLE_CHOICES.items()
    }
    contents = _layer_runs(check, by_content, "by_content", content_settings)
    styles = _layer_runs(check, by_style, "by_style", style_settings)
    for name, answer, runs, choose in (
        ("nearest", nearest, contents, min),
        ("farthest", farthest, styles, max),
    ):
        check.require(
            isinstance(answer, str) and answer in runs, f"{name} names one of the layers", f"It is {answer!r}"
        )
        distances = {layer: distance(run) for layer, run in runs.items()}
        best = choose(distances.values())
        check.expect(
            math.isclose(distances[answer], best, rel_tol=0.02),
            f"{name} agrees with your pictures",
            "It is a different layer: compute distance(result) for each",
        )


@exercise(2)
def exercise_2(check: Check, results: Answer) -> None:
    """Check exercise 2: a default run, one with more content, one with less noise."""
    names = ("as it is", "more content", "less noise")
    runs = _runs_by_key(check, results, "results", names)
    for name, run in runs.items():
        free = () if name == names[0] else ("content_weight", "style_weight", "tv_weight")
        check.has_recipe(run, f"results[{name!r}]", _recipe(**SMALL), free)
    check.passed("three runs that differ only in their weights")
    base, content, noise = runs.values()
    check.expect(
        distance(content) < 0.85 * distance(base),
        "'more content' is nearer the photograph",
        "It is not, or hardly: which loss keeps the composite close to the photograph, and is its weight large enough?",
    )
    check.expect(
        _total_variation(noise) < 0.85 * _total_variation(base),
        "'less noise' has less total variation",
        "It does not, or hardly: which loss measures differences of neighbours, and is its weight large enough?",
    )
    for name, run in (("more content", content), ("less noise", noise)):
        first, final = run.losses[0].losses.style, _final_style_loss(run)
        check.expect(
            0 < final < 0.8 * first,
            f"{name!r} is still in the painting's style",
            "The style loss hardly falls: the style weight is too small compared with the other weights",
        )


def _final_style_loss(run: Result) -> float:
    """Return the style loss of a run's composite with the lowest total loss."""
    return min((epoch.losses.total, epoch.losses.style) for epoch in run.losses)[1]


def _thumbnail(picture: Picture) -> np.ndarray:
    """Return a 16 × 16 copy of a picture, which hardly depends on its size or format."""
    return np.asarray(picture.image.resize((16, 16), Image.Resampling.BOX), np.float64)


@exercise(3)
def exercise_3(check: Check, my_content: Answer, my_style: Answer, my_result: Answer) -> None:
    """Exercise 3: two pictures of the student, and a run on them."""
    hashes = {}
    for name, picture in (("my_content", my_content), ("my_style", my_style)):
        check.require(picture is not None, f"{name} is set", "It is None: use the path of a file, or a PIL image")
        try:
            opened = open_picture(picture)
        except (NSTError, TypeError, AttributeError, ValueError) as error:
            check.fail(f"{name} is a picture", str(error))
        hashes[name] = opened.sha256
        difference = min(np.abs(_thumbnail(opened) - _thumbnail(each)).mean() for each in _bundled_pictures())
        check.expect(difference > 8, f"{name} is not one of the chapter's", "Use a different picture")
    check.expect(
        len(set(hashes.values())) == 2, "the two pictures differ", "They are the same picture: use a second one"
    )
    run = check.complete_run(my_result, "my_result")
    run_hashes = run.provenance["content_sha256"], run.provenance["style_sha256"]
    check.expect(
        run_hashes == (hashes["my_content"], hashes["my_style"]),
        "my_result uses these two pictures",
        "Content and style are swapped"
        if run_hashes == (hashes["my_style"], hashes["my_content"])
        else "It uses other pictures: run nst.transfer(my_content, my_style, …) again",
    )
    first, last = run.losses[0].losses.style, run.losses[-1].losses.style
    check.expect(
        last < 0.7 * first,
        "the style was transferred",
        f"The style loss went from {first:.3g} to {last:.3g}: use more epochs, or a higher style weight",
    )


@exercise(8)
def exercise_8(check: Check, adam: Answer, lbfgs: Answer, epochs_to_reach: Answer, speedup: Answer) -> None:
    """Check exercise 8: runs by L-BFGS and Adam, and the ratio of their epochs."""
    runs = {"adam": _chapter_run(check, adam, "adam"), "lbfgs": _chapter_run(check, lbfgs, "lbfgs")}
    for name, run in runs.items():
        hint = f"It uses {run.recipe.optimizer}: pass optimizer={name!r} to nst.transfer"
        check.expect(run.recipe.optimizer == name, f"{name} uses that optimiser", hint)
        check.has_recipe(run, name, _recipe(**{**SMALL, "epochs": 60}, optimizer=name))
    check.passed("60 epochs each, with nothing else changed")
    for losses, loss, expected in (
        ([9.0, 4.0, 5.0, 2.0], 4.5, 2),
        ([9.0, 4.0, 5.0, 2.0], 2.0, 4),
        ([3.0, 1.0], 3.0, 1),
    ):
        name = "epochs_to_reach"
        epochs = check.number(check.call(epochs_to_reach, name, losses, loss), name)
        check.expect(
            epochs == expected,
            f"{name}({losses}, {loss}) is {expected}",
            f"It is {epochs:g}: count the epochs, from 1, until a loss is at or below {loss} for the first time",
        )
    totals = {name: [epoch.losses.total for epoch in run.losses] for name, run in runs.items()}
    target = min(totals["adam"])
    epochs_needed = {
        name: next((i for i, loss in enumerate(losses, 1) if loss <= target), math.inf)
        for name, losses in totals.items()
    }
    ratio = check.number(speedup, "speedup")
    check.expect(
        math.isclose(ratio, epochs_needed["adam"] / epochs_needed["lbfgs"], rel_tol=1e-3),
        "speedup",
        f"It is {ratio:.3g}, which does not match your runs: divide the epochs that Adam takes to its lowest loss by "
        "those that L-BFGS takes to the same loss",
    )


@exercise(9)
def exercise_9(check: Check, mask: Answer, result: Answer) -> None:
    """Check exercise 9: a mask that keeps the upper half, and a run with it."""
    hint = f"It is {describe_type(mask)}: Image.new returns one; mask.paste changes it in place, and returns None"
    check.expect(isinstance(mask, Image.Image), "mask is a PIL image", hint)
    size = _bundled_pictures()[0].image.size
    check.expect(
        mask.size == size,
        "it has the size of the photograph",
        f"Its (width, height) is {mask.size}, that of the photograph is {size}",
    )
    shares = np.asarray(mask.convert("L"), np.float64) / 255
    upper, lower = shares[: len(shares) // 2], shares[len(shares) // 2 :]
    check.expect(
        upper.mean() < 0.02,
        "its upper half is black",
        f"{upper.mean():.0%} of it is white; black areas keep the photograph",
    )
    check.expect(
        lower.mean() > 0.98, "its lower half is white", f"{lower.mean():.0%} of it is white, which is 255 in mode L"
    )
    run = _chapter_run(check, result, "result")
    check.expect("mask_sha256" in run.provenance, "the run used a mask", "It used none: pass mask=mask to nst.transfer")
    check.expect(
        run.provenance["mask_sha256"] == open_picture(mask).sha256,
        "it used this mask",
        "It used a different one: run it again",
    )
    picture = _pixels(run)
    height, width = picture.shape[:2]
    difference = np.abs(picture - _photograph((height, width))).mean(axis=(1, 2))
    above, below = difference[: height // 2 - 2].mean(), difference[height // 2 + 2 :].mean()
    check.expect(above < 2, "the upper half is unchanged", f"Its pixels differ by {above:.1f} of 255")
    check.expect(below > 4, "the lower half is painted", f"Its pixels differ by {below:.1f} of 255: use more epochs")
