"""The optimisers: each holds the composite that it moves and a state, and makes one step at a time.

All can be pickled between two steps, and go on as if nothing had been. To add one, add its class to CLASSES, and its name with
what is known of it to recipes.choices.OPTIMIZERS.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any, Callable, Mapping, Protocol

import numpy as np
from mxnet import nd

from gluon_nst import lbfgs
from gluon_nst.composite import get_inits
from gluon_nst.machine import nd_mode
from gluon_nst.pixels import resize_channels, shown_range, standardisation
from gluon_nst.recipes import Recipe
from gluon_nst.records import Losses

NDArray = Any


class Optimiser(Protocol):
    """What the loop asks of an optimiser; `evaluate` and `step` take turns."""

    X: NDArray
    """The composite, in the unit of the recipe's pixels, with its gradient attached: an Objective is bound to it."""
    scheduled: bool
    """Whether it makes use of a learning rate."""

    @property
    def reached(self) -> NDArray:
        """The composite that it has come to, in the same unit: an array that goes on to change."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to gain."""

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """The losses at the composite; their gradient is being computed when this returns."""

    def step(self, losses: Losses, lr: float) -> None:
        """Take the losses, and decide on the next composite by them and their gradient."""

    def turn(self) -> None:
        """The losses have other weights from the next evaluation on."""

    def hand_on(self) -> Any:
        """What the optimiser of the next size may begin with; it can be pickled."""


class Adam:
    """The chapter's Trainer, with the composite clipped at each step where the recipe says so.

    `X` is what the composite starts as, in the unit of the recipe's pixels. `before` is what Adam of another size handed on.
    """

    scheduled, settled = True, False

    def __init__(self, X: NDArray, recipe: Recipe, before: bytes | None = None) -> None:
        self._limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else None
        self._beta2 = recipe.beta2
        self._begin(X)
        if before and recipe.carry_moments:
            self._take_over(before)

    @property
    def reached(self) -> NDArray:
        """The composite itself."""
        return self.X

    def _begin(self, X: NDArray) -> None:
        self.X, _, self._trainer = get_inits(X, X.context, 1.0, (), self._beta2)
        self._bounds = [nd.array(limit, ctx=X.context) for limit in self._limits or ()]

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """The losses at the composite."""
        return objective()

    def step(self, losses: Losses, lr: float) -> None:
        """One step of the Trainer by the learning rate `lr`."""
        self._trainer.set_learning_rate(lr)
        self._trainer.step(1)
        if self._bounds:
            least, largest = self._bounds
            nd.broadcast_maximum(self.X, least, out=self.X)
            nd.broadcast_minimum(self.X, largest, out=self.X)

    def turn(self) -> None:
        """Nothing: the moments follow within some steps."""

    @nd_mode
    def hand_on(self) -> bytes:
        """The Trainer's state: Adam's moments, and its count of steps."""
        with tempfile.TemporaryDirectory() as folder:  # a Trainer writes its state to files only
            path = Path(folder, "trainer")
            self._trainer.save_states(str(path))
            return path.read_bytes()

    def _restore(self, states: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trainer")
            path.write_bytes(states)
            self._trainer.load_states(str(path))

    def _take_over(self, before: bytes) -> None:
        """The moments of another size, resized as in style-transfer-pytorch; the count of steps goes on."""
        moments, trainer = pickle.loads(before)
        shape = self.X.shape[2:]
        for index, (mean, square) in moments.items():
            square = resize_channels(square, shape, "antialiased").clip(0, float("inf"))
            moments[index] = (resize_channels(mean, shape, "bicubic"), square)
        self._restore(pickle.dumps((moments, trainer)))

    @nd_mode
    def __getstate__(self) -> dict[str, Any]:
        settings = {"limits": self._limits, "beta2": self._beta2}
        return {"X": self.X.asnumpy(), "device": self.X.context, "trainer": self.hand_on(), **settings}

    @nd_mode
    def __setstate__(self, state: dict[str, Any]) -> None:
        self._limits, self._beta2 = state["limits"], state["beta2"]
        self._begin(nd.array(state["X"], ctx=state["device"]))
        self._restore(state["trainer"])


_FIRST_STEP = 0.06
"""The root mean square of the changes in the first step of L-BFGS, in the network's standardised pixels."""


class LBFGS:
    """L-BFGS (`lbfgs.LBFGS`), bounded where the recipe clips at each step. An epoch is one evaluation."""

    scheduled = False

    def __init__(self, X: NDArray, recipe: Recipe, before: None = None) -> None:
        limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else None
        scale, _ = standardisation(recipe.pixel_unit)
        first_step = _FIRST_STEP / float(np.mean(scale))
        self._begin(lbfgs.LBFGS(X.asnumpy(), recipe.history_size, limits, first_step), X.context)

    def _begin(self, minimiser: lbfgs.LBFGS, device: Any) -> None:
        self._minimiser, self._device = minimiser, device
        self.X = self._array(minimiser.x)
        self.X.attach_grad()

    def _array(self, x: np.ndarray) -> NDArray:
        """The NDArray of an array of the minimiser's: on the CPU one memory for both, as large as the picture is."""
        return nd.from_numpy(x[:]) if self._device.device_type == "cpu" else nd.array(x, ctx=self._device)

    @property
    def reached(self) -> NDArray:
        """The composite of the lowest loss: the last one may be a try that was too long."""
        return self._array(self._minimiser.reached)

    @property
    def settled(self) -> bool:
        """Whether not even a short step straight downhill lowers the loss."""
        return self._minimiser.settled

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """The losses at the composite that the step before decided on."""
        nd.waitall()  # MXNet does not know that its array changes
        self._minimiser.move()
        if self._device.device_type != "cpu":
            self.X[:] = self._minimiser.x
        return objective()

    def step(self, losses: Losses, lr: float) -> None:
        """One step of the quasi-Newton method, or of its line search; `lr` says nothing to it."""
        nd.waitall()
        self._minimiser.step(losses.total, self.X.grad.asnumpy())

    def turn(self) -> None:
        """Begin anew from what is reached: what is remembered is another loss's curvature."""
        nd.waitall()
        self._minimiser.begin_anew()

    def hand_on(self) -> None:
        """Nothing: at another size the loss has another curvature."""

    @nd_mode
    def __getstate__(self) -> dict[str, Any]:
        return {"minimiser": self._minimiser, "device": self._device}

    @nd_mode
    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state["minimiser"], state["device"])


CLASSES: Mapping[str, Callable[[NDArray, Recipe, Any], Optimiser]] = {"adam": Adam, "lbfgs": LBFGS}
"""The classes by the names that a recipe's `optimizer` has for them."""
