"""The checks of the exercises whose answers are runs: what a run says of itself is looked at, and its picture."""

from __future__ import annotations

import functools
import math
from typing import Any, Mapping, Sequence

import numpy as np
from PIL import Image

from gluon_nst.errors import NSTError
from gluon_nst.images import open_picture
from gluon_nst.job import Job
from gluon_nst.lab.check import Answer, Check, kind
from gluon_nst.layers import NAMES
from gluon_nst.losses import tv_loss
from gluon_nst.machine import nd_mode
from gluon_nst.pictures import own_pictures
from gluon_nst.pixels import preprocess, to_picture
from gluon_nst.recipes import Recipe, fit, follow_optimizer, read
from gluon_nst.result import Result

SMALL: dict[str, Any] = {
    "recipe": "fast",
    "sizes": [(48, 72)],
    "epochs": 20,
    "tolerance": 0.0,
    "precision": "float32",
}
"""What the exercises' runs have in common: so small that each takes a second."""

CONTENT_CHOICES = ("conv1_1", "conv2_1", "conv4_4")
STYLE_CHOICES = ("conv1_1", "conv3_1", "conv5_1")


def _photograph(size: tuple[int, int]) -> np.ndarray:
    """The content picture at a size (height, width), as a run sees it, h × w × 3."""
    height, width = size
    content = open_picture(own_pictures()[0])
    return np.asarray(to_picture(preprocess(content.array, (width, height))), np.float64)


def _pixels(result: Result) -> np.ndarray:
    return np.asarray(result.image.convert("RGB"), np.float64)


def distance(result: Result) -> float:
    """The mean squared difference of the picture of a run and the photograph, as the run sees it."""
    picture = _pixels(result)
    height, width = picture.shape[:2]
    return float(((picture - _photograph((height, width))) ** 2).mean())


@nd_mode
def _noise(result: Result) -> float:
    """The total variation of a run's picture."""
    array = open_picture(result.image).array
    return float(tv_loss(preprocess(array, (result.image.width, result.image.height))).asscalar())


def _of_layers(check: Check, results: Answer, name: str, field: str, choices: Sequence[str]) -> dict[str, Result]:
    """The runs of the first exercise: one for each of some layers."""
    found = f" with {', '.join(map(str, results)) or 'nothing in it'}" if isinstance(results, Mapping) else ""
    holds = isinstance(results, Mapping) and set(results) == set(choices)
    check.require(holds, f"{name} has a Result for each of {', '.join(choices)}", f"It is {kind(results)}{found}")
    runs = {choice: check.run(results[choice], f"{name}[{choice!r}]") for choice in choices}
    for choice, run in runs.items():
        used = [NAMES[layer] for layer in getattr(run.recipe, field)]
        hint = f"Its {field} are {', '.join(used)}: pass {field}=[{choice!r}] to nst.transfer"
        check.require(used == [choice], f"{name}[{choice!r}] has that layer alone", hint)
        check.differs_only(run, f"{name}[{choice!r}]", _small(), [field, field.replace("layers", "weight")])
    check.expect(True, f"{name} has a run for each layer, with nothing else changed", "")
    return runs


@functools.lru_cache(maxsize=1)
def _small() -> Recipe:
    """The recipe that SMALL is, as a run on the chapter's pictures has it."""
    content, style = own_pictures()
    return follow_optimizer(fit(read(Job.customised(content, style, **SMALL).recipe), open_picture(content).size))


def exercise_1(by_content: Answer, by_style: Answer, nearest: Answer, farthest: Answer) -> None:
    """Layers: runs with one content layer each, and with one style layer each; and what was seen in them."""
    check = Check(1)
    contents = _of_layers(check, by_content, "by_content", "content_layers", CONTENT_CHOICES)
    styles = _of_layers(check, by_style, "by_style", "style_layers", STYLE_CHOICES)
    for name, answer, runs, choose in (
        ("nearest", nearest, contents, min),
        ("farthest", farthest, styles, max),
    ):
        check.require(answer in list(runs), f"{name} names one of the layers", f"It is {answer!r}")
        distances = {layer: distance(run) for layer, run in runs.items()}
        best = choose(distances.values())
        check.expect(
            math.isclose(distances[answer], best, rel_tol=0.02),
            f"{name} is what your pictures say",
            "It is another one: measure distance(result) of each",
        )
    check.passed()


def exercise_2(results: Answer) -> None:
    """Weights: a run as it is, one that keeps more of the content, and one with less noise."""
    check, names = Check(2), ("as it is", "more content", "less noise")
    holds = isinstance(results, Mapping) and set(results) == set(names)
    check.require(holds, f"results has a Result for {', '.join(map(repr, names))}", f"It is {kind(results)}")
    runs = {name: check.run(results[name], f"results[{name!r}]") for name in names}
    weights = ["content_weight", "style_weight", "tv_weight"]
    check.differs_only(runs["as it is"], "results['as it is']", _small(), ())
    for name in names[1:]:
        check.differs_only(runs[name], f"results[{name!r}]", _small(), weights)
    check.expect(True, "three runs that differ in their weights alone", "")
    base, content, noise = (runs[name] for name in names)
    check.expect(
        distance(content) < 0.85 * distance(base),
        "'more content' is nearer the photograph",
        "It is not, or hardly: a content weight ten times as large does more than one twice as large",
    )
    check.expect(
        _noise(noise) < 0.85 * _noise(base),
        "'less noise' has less total variation",
        "It has not, or hardly: which of the losses counts how much neighbours differ?",
    )
    for name, run in (("more content", content), ("less noise", noise)):
        first, last = run.losses[0].losses.style, min(epoch.losses.style for epoch in run.losses)
        check.expect(
            first > 0 and last < 0.85 * first,
            f"{name!r} is still in the painting's style",
            "The style loss hardly falls: the weight of the style counts for too little beside the others",
        )
    check.passed()


def exercise_3(my_content: Answer, my_style: Answer, my_result: Answer) -> None:
    """Other pictures: two of the student's own, and a run on them."""
    check = Check(3)
    books = {open_picture(path).sha256 for path in own_pictures()}
    hashes = {}
    for name, picture in (("my_content", my_content), ("my_style", my_style)):
        check.require(picture is not None, f"{name} is given", "It is None: name a file, or paint a PIL image")
        try:
            hashes[name] = open_picture(picture).sha256
        except (NSTError, TypeError, AttributeError) as error:
            check.require(False, f"{name} is a picture", str(error))
        check.expect(hashes[name] not in books, f"{name} is not one of the chapter's", "Take another picture")
    check.expect(len(set(hashes.values())) == 2, "they are two pictures", "They are the same one: take a second")
    run = check.run(my_result, "my_result")
    said = run.provenance["content_sha256"], run.provenance["style_sha256"]
    check.expect(
        said == (hashes["my_content"], hashes["my_style"]),
        "my_result is of these two",
        "It is of the same two the other way round"
        if said == (hashes["my_style"], hashes["my_content"])
        else "It was made of others: run nst.transfer(my_content, my_style, …) again",
    )
    first, last = run.losses[0].losses.style, run.losses[-1].losses.style
    check.expect(
        last < 0.7 * first,
        "the style of the one came to the other",
        f"The style loss went from {first:.3g} to {last:.3g}: more epochs, or more weight on the style",
    )
    check.passed()


def exercise_8(adam: Answer, lbfgs: Answer, epochs_to_reach: Answer, speedup: Answer) -> None:
    """L-BFGS against Adam: two runs, how many epochs it takes to a loss, and how many times fewer the one takes."""
    check = Check(8)
    runs = {"adam": check.run(adam, "adam"), "lbfgs": check.run(lbfgs, "lbfgs")}
    allowed = ["optimizer", "stages", "clip_at", "keep"]
    for name, run in runs.items():
        hint = f"It is by {run.recipe.optimizer}: pass optimizer={name!r} to nst.transfer"
        check.expect(run.recipe.optimizer == name, f"{name} is a run by that optimiser", hint)
        check.differs_only(run, name, _small(), allowed)
    sizes = {run.recipe.stages[0].shape for run in runs.values()}
    counts = {len(run.losses) for run in runs.values()}
    hint = f"Their epochs are {sorted(counts)}: give both epochs=60, and the same size"
    check.expect(len(sizes) == 1 and counts == {60}, "60 epochs each, at one size", hint)
    for losses, loss, expected in (
        ([9.0, 4.0, 5.0, 2.0], 4.5, 2),
        ([9.0, 4.0, 5.0, 2.0], 2.0, 4),
        ([3.0, 1.0], 3.0, 1),
    ):
        name = "epochs_to_reach"
        found = check.number(check.value(epochs_to_reach, name, losses, loss), name)
        check.expect(
            found == expected,
            f"of the losses {losses} it takes {expected} to come to {loss} or below",
            f"It gives {found:g}: the number of epochs, counted from 1, until a loss is for the first time no higher",
        )
    totals = {name: [epoch.losses.total for epoch in run.losses] for name, run in runs.items()}
    target = min(totals["adam"])
    needed = {name: next(i for i, loss in enumerate(of, 1) if loss <= target) for name, of in totals.items()}
    found = check.number(speedup, "speedup")
    check.expect(
        math.isclose(found, needed["adam"] / needed["lbfgs"], rel_tol=1e-3),
        "speedup",
        f"It is {found:.3g}, and your runs say otherwise: the epochs that Adam takes to its lowest loss, divided by "
        "those that L-BFGS takes to that same loss",
    )
    check.passed()


def exercise_9(mask: Answer, result: Answer) -> None:
    """A region: a mask that leaves the upper half of the photograph as it is, and the run that it is for."""
    check = Check(9)
    check.expect(isinstance(mask, Image.Image), "mask is a PIL image", f"It is {kind(mask)}: Image.new('L', size, 0)")
    size = open_picture(own_pictures()[0]).image.size
    check.expect(
        mask.size == size,
        "it is as large as the photograph",
        f"It is {mask.size}, the photograph (width, height) = {size}",
    )
    shares = np.asarray(mask.convert("L"), np.float64) / 255
    upper, lower = shares[: len(shares) // 2], shares[len(shares) // 2 :]
    check.expect(
        upper.mean() < 0.02,
        "its upper half is black",
        f"{upper.mean():.0%} of it is white; black is what stays as it is",
    )
    check.expect(
        lower.mean() > 0.98, "its lower half is white", f"{lower.mean():.0%} of it is white, which is 255 in mode L"
    )
    run = check.run(result, "result")
    check.expect("mask_sha256" in run.provenance, "the run had a mask", "It had none: pass mask=mask to nst.transfer")
    check.expect(
        run.provenance["mask_sha256"] == open_picture(mask).sha256, "it was this mask", "It was another: run it again"
    )
    picture = _pixels(run)
    height, width = picture.shape[:2]
    difference = np.abs(picture - _photograph((height, width))).mean(axis=(1, 2))
    above, below = difference[: height // 2 - 2].mean(), difference[height // 2 + 2 :].mean()
    check.expect(above < 2, "the upper half is as it was", f"Its pixels differ by {above:.1f} of 255")
    check.expect(below > 4, "the lower half is painted", f"Its pixels differ by {below:.1f} of 255: more epochs")
    check.passed()
