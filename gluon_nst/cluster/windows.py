"""The windows of a picture on a worker.

A process computes them, one after the other, until the stage ends.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, NamedTuple

import numpy as np
from mxnet import nd

from gluon_nst.cluster.worker import TaskContext
from gluon_nst.engine.graph import Piece
from gluon_nst.engine.objective import Guides, Objective
from gluon_nst.engine.windows import Part
from gluon_nst.errors import NSTError, reason
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import choose_device, choose_precision, nd_mode
from gluon_nst.machine.trees import on_device
from gluon_nst.network.layers import shape_at
from gluon_nst.network.vgg import outputs, truncated_vgg19
from gluon_nst.recipes import Recipe
from gluon_nst.runs.processes import Parent, Subprocess
from gluon_nst.weights.cache import Trunk


class StagePayload(NamedTuple):
    """The inputs shared by all windows of a stage, as they are sent.

    Their arrays are NumPy's.
    """

    name: str
    """A unique name."""
    recipe: Recipe
    trunk: Trunk
    """The trunk, whose file is uploaded separately."""
    part: Part
    shape: tuple[int, int, int, int]
    """The shape of the padded composite, 1 × 3 × h × w."""
    styles_Y: Any
    """The statistics of the styles, in the form of the argument of Objective."""
    guides: Guides
    device: str


class WorkerFailed(NSTError):
    """The error of a worker that can't compute a window.

    Its arguments are the worker's address and the reason.
    """


class WindowProcess:
    """A process for the windows of a stage.

    A Dask actor: it ends when the client releases it or disconnects.
    """

    def __init__(self, context: TaskContext, stage: StagePayload) -> None:
        trunk = dataclasses.replace(stage.trunk, path=context.file(stage.trunk.path, stage.trunk.sha256))
        stage = stage._replace(trunk=trunk, device=context.device(stage.device))
        self._lock = threading.Lock()
        self._process = Subprocess(_serve, stage, threads=context.cores())
        self._process.get()  # wait until it is ready

    def compute(self, *window: Any) -> list[np.ndarray]:
        """Return what `Windows.compute` returns for these arguments."""
        with self._lock:  # a worker with several threads gets several windows at a time
            self._process.put(window)
            return self._process.get()[1]

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self._process.__exit__()


def process_key(stage: str, address: str) -> str:
    """Return the Dask key of the WindowProcess of a stage on the worker at an address."""
    return f"{stage}-{address}"


def compute(stage: str, *window: Any) -> list[np.ndarray]:
    """Return the result of `Windows.compute` for a window, on a worker.

    It is called in the worker's process for the stage.
    """
    from distributed import get_worker

    worker = get_worker()
    try:
        process: Any = worker.state.actors[process_key(stage, worker.address)]
        return process.compute(*window)
    except (NSTError, KeyError) as error:
        raise WorkerFailed(worker.address, reason(error)) from None


# -- in the process ---------------------------------------------------------------------------------------------------


def _serve(parent: Parent, stage: StagePayload) -> None:
    windows = Windows(stage)
    parent.put("ready", None)
    while True:
        parent.put("computed", windows.compute(*parent.get()))


class Windows:
    """The evaluation of the windows of a stage.

    It is the Objective of the whole picture, with one window in memory at a time.
    """

    @nd_mode
    def __init__(self, stage: StagePayload) -> None:
        recipe, device = stage.recipe, choose_device(stage.device)
        choose_precision(recipe.precision, device)  # raises an error if the processor does not support it
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
        self._features: dict[int, list[Any]] = {}
        """The features of the content picture in each window."""
        self._last: tuple[int, int] | None = None
        """The number and the evaluation of the window computed last, whose features are still in memory."""

    @nd_mode
    def compute(
        self, number: int, evaluation: int, X: np.ndarray, content_X: np.ndarray, of_sums: list[np.ndarray] | None
    ) -> list[np.ndarray]:
        """Return the sums of window `number`, or a list of the window's gradient.

        The gradient is returned if that of the sums is given. `X` and `content_X` are the composite and the content
        picture in the window, 1 × 3 × h × w; the content picture is the same each time. `evaluation` numbers the
        composites.
        """
        if number not in self._features:
            self._features[number] = self._content(nd.array(content_X, ctx=self._device))
        self._X.here = nd.array(X, ctx=self._device)
        for piece, features in zip(self._contents, self._features[number]):
            piece.here = features
        if of_sums is None:
            sums = self._computed.sums_of(self._windows[number])
            self._last = (number, evaluation)
            return [each.asnumpy() for each in sums]
        if self._last != (number, evaluation):
            self._computed.sums_of(self._windows[number])
        self._last = None
        return [self._computed.gradient_of([nd.array(each, ctx=self._device) for each in of_sums]).asnumpy()]

    def _content(self, Y: Any) -> list[Any]:
        """Return the features of the content picture in a window.

        In the window's core they equal those of the whole picture.
        """
        found = dict(outputs(Y, self._net, self._layers))
        nd.waitall()
        return [found[layer] for layer in self._layers]
