"""The windows of a picture on a worker: a process that computes them, one after the other, as long as the stage is at
work."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

import numpy as np
from mxnet import nd

from gluon_nst.cluster import worker
from gluon_nst.engine.graph import Piece
from gluon_nst.engine.objective import Guides, Objective
from gluon_nst.engine.windows import Part
from gluon_nst.errors import NSTError
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import choose_device, choose_precision, nd_mode
from gluon_nst.machine.trees import on_device
from gluon_nst.network.layers import shape_at
from gluon_nst.network.vgg import outputs, truncated_vgg19
from gluon_nst.recipes import Recipe
from gluon_nst.runs.processes import Link, Other
from gluon_nst.weights.cache import Trunk

_LOOKED_EVERY = 5.0
"""Seconds between two looks whether anybody still wants the windows."""
_PROCESSES = "gluon_nst_windows"
"""What a Dask worker has them under, by the runs that they are of: the stage's name, the process, and a lock."""


class StagePayload(NamedTuple):
    """What the windows of a stage have in common, as it is sent; arrays are NumPy's."""

    run: str
    """No other's."""
    name: str
    """No other stage's of the run."""
    recipe: Recipe
    trunk: Trunk
    """Whose file the worker holds."""
    part: Part
    shape: tuple[int, int, int, int]
    """That of the composite on its canvas, 1 × 3 × h × w."""
    styles_Y: Any
    """As an Objective takes it."""
    guides: Guides
    device: str


class WindowTask(NamedTuple):
    """One window to be computed, as it is sent."""

    number: int
    X: np.ndarray | None
    """The composite in it, 1 × 3 × h × w; None for a gradient of what the worker has computed last of it."""
    content_X: np.ndarray | None
    """The content picture in it, where the worker does not have that yet."""
    of_sums: list[np.ndarray] | None
    """The gradient of the sums, where that of the window is wanted, and not its sums."""


def compute(told: worker.TaskContext, run: str, stage: str, window: WindowTask) -> list[np.ndarray]:
    """On a worker: the sums of a window, or its gradient, by the process of a stage that was opened."""
    from distributed import get_worker

    found = getattr(get_worker(), _PROCESSES, {}).get(run)
    if found is None or found[0] != stage:
        raise NSTError("the process of the windows is gone")
    _, process, lock = found
    with lock:  # a worker of several threads has several windows at a time
        process.put(window)
        return process.get()[1]


def open_stage(told: worker.TaskContext, stage: StagePayload) -> None:
    """On a worker: have a process for the windows of a stage, in place of the one before."""
    from distributed import get_worker

    own = get_worker()
    close(stage.run, dask_worker=own)
    trunk = stage.trunk
    path = worker.place(trunk.sha256, str(trunk.path), own)
    stage = stage._replace(
        trunk=Trunk(trunk.source, path, trunk.sha256, trunk.record), device=told.device(stage.device)
    )
    process = Other(_serve, stage, threads=told.cores())
    setattr(own, _PROCESSES, {**getattr(own, _PROCESSES, {}), stage.run: (stage.name, process, threading.Lock())})
    channel = worker.Channel(told)

    def watch() -> None:
        while process in [each[1] for each in getattr(own, _PROCESSES, {}).values()]:
            time.sleep(_LOOKED_EVERY)
            if channel.is_stopped():
                close(stage.run, dask_worker=own)
        channel.close()

    threading.Thread(target=watch, daemon=True).start()
    process.get()  # it is ready


def close(run: str, dask_worker: Any = None) -> None:
    """End the process of a run's windows that a worker has, if it has one. Dask gives `dask_worker`."""
    processes = dict(getattr(dask_worker, _PROCESSES, {}))
    found = processes.pop(run, None)
    setattr(dask_worker, _PROCESSES, processes)
    if found:
        found[1].__exit__()


# -- in the process ---------------------------------------------------------------------------------------------------


def _serve(link: Link, stage: StagePayload) -> None:
    windows = Windows(stage)
    link.put("ready", None)
    while True:
        link.put("computed", windows.compute(link.get()))


class Windows:
    """Computes the windows of a stage: the Objective of the whole picture, of which only a piece is here at a time."""

    @nd_mode
    def __init__(self, stage: StagePayload) -> None:
        recipe, device = stage.recipe, choose_device(stage.device)
        choose_precision(recipe.precision, device)  # not every processor has each
        parameters = stage.trunk.parameters(recipe.last_layer, recipe.activation_scale)
        self._net = truncated_vgg19(parameters, recipe.last_layer, device, recipe.pooling, recipe.padding)
        self._layers, self._device = tuple(recipe.content_layers), device
        self._X = Piece(stage.shape, device)
        self._contents = [Piece(shape_at(layer, stage.shape[2:]), device) for layer in self._layers]
        styles_Y, guides = on_device((stage.styles_Y, stage.guides), device)
        statistic = style_statistic(recipe)
        objective = Objective(self._net, self._X, self._contents, styles_Y, recipe, statistic, guides, [stage.part])
        (self._computed,) = objective.parts
        self._windows = list(stage.part.windows)
        self._Xs: dict[int, Any] = {}
        self._features: dict[int, list[Any]] = {}
        self._last: int | None = None
        """The number of the window that was computed last, whose features are still here."""

    @nd_mode
    def compute(self, window: WindowTask) -> list[np.ndarray]:
        """The sums of a window, or its gradient alone in a list."""
        number = window.number
        if window.content_X is not None:
            self._features[number] = self._content(nd.array(window.content_X, ctx=self._device))
        if window.X is not None:
            self._Xs[number], self._last = nd.array(window.X, ctx=self._device), None
        self._X.here = self._Xs[number]
        for piece, features in zip(self._contents, self._features[number]):
            piece.here = features
        if window.of_sums is None:
            sums = self._computed.sums_of(self._windows[number])
            self._last = number
            return [each.asnumpy() for each in sums]
        if self._last != number:
            self._computed.sums_of(self._windows[number])
        self._last = None
        return [self._computed.gradient_of([nd.array(each, ctx=self._device) for each in window.of_sums]).asnumpy()]

    def _content(self, Y: Any) -> list[Any]:
        """The features of the content picture in a window: those of its core are the whole picture's."""
        found = dict(outputs(Y, self._net, self._layers))
        nd.waitall()
        return [found[layer] for layer in self._layers]
