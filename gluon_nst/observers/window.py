"""A window that shows a run."""

from __future__ import annotations

import time
from typing import Any, Callable

from PIL import Image

from gluon_nst.losses.records import Epoch
from gluon_nst.runs import figures
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

_INTERVAL = 1


class Window(Observer):
    """An observer that shows the composite and its losses in a window.

    It ends when the window is closed. `say` reports that there is no display.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say, self._drawn_at = say, 0.0
        self._figure: Any = None
        self._panel: figures.Panel | None = None

    @property
    def opened(self) -> bool:
        """Whether there is a window."""
        return self._figure is not None

    def begin(self, run: Run) -> None:
        self._run = run
        try:  # without a display matplotlib falls back to drawing in memory, or raises an error
            from matplotlib import pyplot, rcsetup

            self._pyplot = pyplot
            if pyplot.get_backend().lower() in {backend.lower() for backend in rcsetup.interactive_bk}:
                self._figure = pyplot.figure("gluon-nst")
                self._figure.show()
        except Exception:  # each toolkit has its own error for a missing display
            self._figure = None
        if not self.opened:
            self._say("no display: --show has no effect")

    def state(self, state: State) -> None:
        if self.opened and time.monotonic() - self._drawn_at > _INTERVAL:
            self._draw(state.picture(self._run), state.record)
            self._drawn_at = time.monotonic()

    def _draw(self, picture: Image.Image, record: list[Epoch]) -> None:
        if not self._pyplot.fignum_exists(self._figure.number):  # closed by the user: the run continues
            return
        if self._panel is None:
            num_epochs = sum(stage.epochs for stage in self._run.recipe.stages)
            self._panel = figures.Panel(self._figure, (picture.height, picture.width), num_epochs)
        self._panel.scale(record)
        self._panel.draw(picture, record)
        self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()

    def end(self, result: Result) -> None:
        if self.opened:
            self._draw(result.image, list(result.losses))
            self._pyplot.show()
