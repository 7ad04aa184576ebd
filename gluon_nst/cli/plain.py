"""gluon-nst chapter --plain: the book's own loop, followed and recorded as other runs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gluon_nst import chapter
from gluon_nst.losses.records import Epoch, Losses
from gluon_nst.network.layers import NAMES
from gluon_nst.observers import Bar, Lines
from gluon_nst.pictures.decoding import read_image
from gluon_nst.runs.job import Job
from gluon_nst.runs.observer import Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import prepare
from gluon_nst.runs.state import State


def carry_out(job: Job, content: Path, style: Path, bar: Bar) -> Result:
    """Return the Result of a job with a recipe of the book's, computed by `chapter.neural_style`.

    `content` and `style` are the job's pictures.

    If it is interrupted, the result has the stages that are complete; raises KeyboardInterrupt if there is none.
    """
    run, state, observer = prepare(job, bar), State(), Observers([bar, Lines()])
    recipe = run.recipe
    state.go_on(run.provenance, len(recipe.stages))

    def report(stage: int, progress: chapter.EpochRecord) -> None:
        terms = {f"content/{NAMES[layer]}": loss for layer, loss in zip(recipe.content_layers, progress.contents)}
        terms.update({f"style/{NAMES[layer]}": loss for layer, loss in zip(recipe.style_layers, progress.styles)})
        losses = Losses({**terms, "tv": progress.tv}, progress.total)
        state.record.append(Epoch(stage, progress.epoch, losses, progress.lr, progress.seconds))
        state.seconds += progress.seconds
        observer.state(state)

    observer.begin(run)
    pictures = read_image(content), read_image(style)
    with bar:
        try:
            for output in chapter.neural_style(*pictures, run.net(), run.device, recipe, report):
                state.images.append(Image.fromarray(np.rint(output.asnumpy() * 255).astype(np.uint8)))
        except KeyboardInterrupt:
            if not state.images:
                raise
        else:
            state.status = "complete"
    return Result.of(run, state)
