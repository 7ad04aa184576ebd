"""A run in a notebook: one output, redrawn as the composite and its losses evolve."""

from __future__ import annotations

import io
import time
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gluon_nst.losses.records import Epoch
from gluon_nst.runs import figures
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State


class Live(Observer):
    """An observer that shows the composite and its losses in a notebook.

    `seconds` is the minimum time between two redraws; the last epoch is always drawn. Outside a notebook nothing is
    shown.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds

    def begin(self, run: Run) -> None:
        from IPython import get_ipython  # here: the import is slow, and the command line does not need it

        self._run, self._drawn_at, self._epochs_drawn = run, 0.0, 0
        self._num_epochs = sum(stage.epochs for stage in run.recipe.stages)
        self._in_notebook = hasattr(get_ipython(), "kernel")
        self._figure: Any = None
        self._output: Any = None

    def state(self, state: State) -> None:
        # Not by the number of epochs: the loss may converge earlier.
        last = len(state.images) == len(self._run.recipe.stages)
        if self._in_notebook and (last or time.monotonic() - self._drawn_at > self._seconds):
            self._draw(state.picture(self._run), state.record)

    def end(self, result: Result) -> None:
        if self._in_notebook and len(result.losses) > self._epochs_drawn:
            self._draw(result.image, list(result.losses))

    def _draw(self, picture: Image.Image, record: list[Epoch]) -> None:
        from IPython import display

        if self._figure is None:
            self._figure = Figure(dpi=80)
            FigureCanvasAgg(self._figure)
            self._panel = figures.Panel(self._figure, (picture.height, picture.width), self._num_epochs)
        self._panel.scale(record)
        self._panel.draw(picture, record)
        file = io.BytesIO()
        self._figure.savefig(file, format="png")
        drawing = display.Image(data=file.getvalue(), alt="the composite beside its losses")
        if self._output is None:
            self._output = display.display(drawing, display_id=True)
        else:
            self._output.update(drawing)
        self._drawn_at, self._epochs_drawn = time.monotonic(), len(record)
