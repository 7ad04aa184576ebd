"""Run: a job whose inputs are here."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

import numpy as np
from mxnet import nd

from gluon_nst import weights as trunks
from gluon_nst.images import Picture, open_picture, postprocess, preprocess
from gluon_nst.job import Job, Source
from gluon_nst.machine import choose_device, choose_precision
from gluon_nst.memory import check_memory
from gluon_nst.observer import Observer
from gluon_nst.provenance import Provenance, key, provenance
from gluon_nst.recipes import Recipe, Stage, fit, follow_optimizer, read, style_shape

NDArray = Any


@dataclasses.dataclass(frozen=True)
class Run:
    """A job that can start: its pictures are decoded, its recipe is fitted to them, its trunk is here. It can be pickled."""

    recipe: Recipe
    """Every stage's size is known, and nothing is auto any more."""
    content: Picture
    style: Picture
    start: Picture | None
    """What the first stage starts from, or None for noise."""
    seed: int
    trunk: trunks.Trunk
    device: Any
    provenance: Provenance
    """What the picture will say of how it was made."""

    @property
    def key(self) -> str:
        """The key of what the run will make: that of two runs is the same where their recipes and their inputs are."""
        return key({**self.provenance, "stage": len(self.recipe.stages)})

    @property
    def sizes(self) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
        """(height, width) of each stage, and of the style picture in it: all the sizes that the network will see."""
        return tuple((stage.shape, self.style_shape(stage)) for stage in self.recipe.stages)

    def style_shape(self, stage: Stage) -> tuple[int, int]:
        """(height, width) of the style picture in a stage."""
        return style_shape(self.recipe, stage.shape, self.style.size)

    def check_memory(self) -> None:
        """Raise InputError where the run can't fit into the memory that this process can have."""
        check_memory(self.recipe, self.style.size, self.device)

    def start_of(self, stage: Stage, content_X: NDArray, before: NDArray | None) -> NDArray:
        """What `stage` starts from, 1 × 3 × h × w on the run's device.

        `content_X` is the content picture at its size, `before` the composite that the stage before ended with.
        """
        height, width = stage.shape
        if before is None and self.start is None:
            noise = np.random.default_rng(self.seed).standard_normal((1, 3, height, width), dtype=np.float32)
            X = nd.array(noise)
        elif before is None:
            assert self.start is not None
            X = preprocess(self.start.array, (width, height), self.recipe.resize)
        elif self.recipe.carry == "change":
            before_height, before_width = before.shape[2:]
            small = preprocess(self.content.array, (before_width, before_height), self.recipe.resize)
            change = before - small.as_in_context(before.context)
            X = content_X + nd.contrib.BilinearResize2D(change, height=height, width=width, align_corners=False)
        else:  # as in the chapter, the picture is resized, clipped to what can be shown
            X = preprocess(postprocess(before) * 255, (width, height), self.recipe.resize)
        return X.as_in_context(self.device)


def prepare(job: Job, observer: Observer | None = None, open: Callable[[Source], Picture] = open_picture) -> Run:
    """The Run of a job: all that can be wrong with its inputs is told here.

    `observer` hears of the weights, and of their download; `open` decodes the pictures. Raises InputError, and WeightsError
    where no parameters can be had.
    """
    observer = observer or Observer()
    recipe = read(job.recipe)
    content, style = open(job.content), open(job.style)
    own = {"content": content, "style": style, "noise": None}
    start = own[recipe.init] if recipe.init in own else open(recipe.init)
    device = choose_device(job.device)
    recipe = follow_optimizer(fit(recipe, content.size))
    recipe = dataclasses.replace(recipe, precision=choose_precision(recipe.precision, device))
    check_memory(recipe, style.size, device)
    trunk = trunks.find(job.weights, preferred=recipe.trunk, notify=observer.note, progress=observer.download)
    if recipe.activation_scale == "caffe" and not trunk.record["scales"]:
        observer.note(
            f"weights {trunk.source}: not of Caffe's scale, for which the recipe's weights of the losses were chosen"
        )
    hashes = {"content": content.sha256, "style": style.sha256, "init": start.sha256 if start else ""}
    found = {"source": trunk.source, "sha256": trunk.sha256}
    made = provenance(recipe, hashes, found, job.seed, device)
    return Run(recipe, content, style, start, job.seed, trunk, device, made)
