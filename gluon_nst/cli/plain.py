"""The option --plain of `gluon-nst chapter`: the book's own loop.

It has the progress bar, records and result of other runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any

import numpy as np
from mxnet import MXNetError, nd

from gluon_nst import chapter, recipes
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.losses.records import Epoch, Losses, Status
from gluon_nst.machine import is_out_of_memory
from gluon_nst.network.layers import NAMES
from gluon_nst.pictures.decoding import Picture
from gluon_nst.pictures.pixels import to_picture
from gluon_nst.runs.job import Job
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

_SUPPORTED_FIELDS = (
    *("title", "source", "good_for", "report_every", "stages", "side", "enlarge"),
    *("content_weight", "style_weight", "tv_weight"),
)
"""Fields of a recipe that the book's own loop supports; the others must have the values of d2l-2019."""


def check_options(arguments: argparse.Namespace, job: Job) -> None:
    """Raise InputError for options that the book's own loop does not implement."""
    recipe, book = (recipes.follow_optimizer(recipes.read(each)) for each in (job.recipe, "d2l-2019"))
    for name in (field.name for field in dataclasses.fields(recipe) if field.name not in _SUPPORTED_FIELDS):
        value, book_value = getattr(recipe, name), getattr(book, name)
        if value != book_value:
            if arguments.recipe:
                raise InputError(
                    f"--plain runs the book's own loop, which has the recipes d2l-2019 and d2l-2023, not"
                    f" {arguments.recipe} (its {name.replace('_', '-')} differs); leave --plain out"
                )
            raise InputError(
                f"--plain runs the book's own loop, whose {name.replace('_', '-')} is {book_value}, not {value};"
                " leave one of the two out"
            )
    for name in ("checkpoint", "save_every", "animate", "show"):
        if getattr(arguments, name):
            raise InputError(f"--plain has no --{name.replace('_', '-')}; leave one of them out")
    for name, book_value in (("mask", None), ("bits", 8)):
        if getattr(job, name) != book_value:
            raise InputError(f"--plain has no --{name}; leave one of them out")


def carry_out(run: Run, observer: Observer) -> Result:
    """Return the Result of a run computed by `chapter.neural_style`.

    The recipe is one of the book's. A run that is interrupted has the composite as it is then. Raises InputError for
    pictures or sizes that the book's own code does not handle, and NSTError if the loss diverged in the first stage.
    """
    _check(run)
    run = dataclasses.replace(run, provenance={**run.provenance, "plain": True})
    plain = _Plain(run, observer)
    try:
        plain.carry_out()
    except KeyboardInterrupt:
        if not plain.state.record:
            raise
        plain.add_unfinished_image()
    except (MemoryError, MXNetError) as error:
        if not plain.state.images:
            raise
        plain.state.status = Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.FAILED
        plain.state.note = f"stage {len(plain.state.images) + 1}: the run failed: {reason(error)}"
    return Result.of(run, plain.state)


class _Plain:
    """A run by the book's own code, and its State."""

    def __init__(self, run: Run, observer: Observer) -> None:
        self._run, self._observer = run, observer
        self._X: Any = None
        self.state = State()
        self.state.go_on(run.provenance, len(run.recipe.stages))

    def carry_out(self) -> None:
        """Run all stages; raises NSTError if the loss of the first one diverges."""
        run = self._run
        self._observer.begin(run)
        content, style = (nd.array(np.asarray(each.image), dtype="uint8") for each in (run.content, _style(run)))
        try:
            for _ in chapter.neural_style(content, style, run.net(), run.device, run.recipe, self._report):
                self._add_image()
            self.state.status = Status.COMPLETE
        except FloatingPointError as error:
            if not self.state.images:
                raise NSTError(str(error)) from None
            self.state.diverge(str(error))

    def _report(self, stage: int, epoch: chapter.EpochRecord, X: chapter.NDArray) -> None:
        recipe, self._X = self._run.recipe, X
        if not math.isfinite(epoch.total):
            raise FloatingPointError(
                f"stage {stage}, epoch {epoch.epoch}: the loss is {epoch.total}; lower the learning rate or the weights"
            )
        terms = {f"content/{NAMES[layer]}": loss for layer, loss in zip(recipe.content_layers, epoch.contents)}
        terms.update({f"style/{NAMES[layer]}": loss for layer, loss in zip(recipe.style_layers, epoch.styles)})
        losses = Losses({**terms, "tv": epoch.tv}, epoch.total)
        self.state.record.append(Epoch(stage, epoch.epoch, losses, epoch.lr, epoch.seconds))
        self.state.seconds += epoch.seconds
        self._observer.state(self.state)

    def add_unfinished_image(self) -> None:
        """Add the composite of a stage that was interrupted after one of its epochs."""
        if self.state.record[-1].stage > len(self.state.images):
            self._add_image()

    def _add_image(self) -> None:
        self.state.images.append(to_picture(self._X))


def _style(run: Run) -> Picture:
    return run.styles[0].picture


def _check(run: Run) -> None:
    """Raise InputError for inputs that the book's own code does not handle."""
    if len(run.styles) > 1:
        raise InputError("--plain takes one style picture; leave the others, or --plain, out")
    for kind, picture in (("content", run.content), ("style", _style(run))):
        if picture.visible is not None:
            raise InputError(f"--plain: the {kind} picture is transparent; use --flatten, or leave --plain out")
    for stage in run.recipe.stages:
        if run.plan(stage).windowed:
            height, width = stage.shape
            raise InputError(f"size {height}x{width}: too large for --plain, which has no windows; leave --plain out")
