"""Adam: the chapter's Trainer (section 14.12.7) of the composite."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from mxnet import nd

from gluon_nst.engine.composite import get_inits
from gluon_nst.losses.records import Losses
from gluon_nst.machine.trees import as_ndarray, on_device
from gluon_nst.pictures.pixels import resize_channels, shown_range
from gluon_nst.recipes import Recipe
from gluon_nst.typing import NDArray


@dataclasses.dataclass
class Moments:
    """The moving averages of the gradients and of their squares.

    They have the composite's shape. `steps` is the number of steps.
    """

    mean: NDArray
    square: NDArray
    steps: int


@dataclasses.dataclass
class AdamState:
    """The state of Adam.

    Its arrays are those of the Trainer, and change with each step.
    """

    X: NDArray
    """The composite, in the unit of the recipe's pixels."""
    moments: Moments

    settled = False

    @property
    def reached(self) -> NDArray:
        """The composite itself."""
        return as_ndarray(self.X)

    def carried_moments(self) -> Moments:
        """Return the moments, from which Adam may start at the next size."""
        return self.moments


class Adam:
    """The chapter's Trainer of the composite of a `state`.

    The composite is clipped at each step if the recipe requires it.
    """

    scheduled = True

    def __init__(self, state: AdamState, recipe: Recipe, device: Any) -> None:
        moments = on_device(state.moments, device)
        self.X, _, self._trainer = get_inits(on_device(state.X, device), device, 1.0, (), recipe.beta2)
        self.state = state
        state.X, state.moments = self.X, moments
        limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else ()
        self._bounds = [nd.array(limit, ctx=device) for limit in limits]
        # A Trainer only reads and writes its whole state as a pickle; therefore its arrays are set directly.
        (updater,) = self._trainer._updaters
        updater.states[0], updater.states_synced[0] = (moments.mean, moments.square), True
        self._trainer.optimizer.begin_num_update = self._trainer.optimizer.num_update = moments.steps

    @classmethod
    def start(cls, X: NDArray, recipe: Recipe, before: Moments | None = None) -> Adam:
        """Return the optimiser of a composite that starts as `X`.

        `before` are the moments of the previous size.
        """
        if before and recipe.carry_moments:
            moments = _resized(before, X)
        else:
            moments = Moments(nd.zeros_like(X), nd.zeros_like(X), 0)
        return cls(AdamState(X, moments), recipe, X.context)

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """Return the losses at the composite."""
        return objective()

    def step(self, losses: Losses, lr: float) -> None:
        """Take one step of the Trainer with the learning rate `lr`."""
        self._trainer.set_learning_rate(lr)
        self._trainer.step(1)
        self.state.moments.steps = self._trainer.optimizer.num_update
        if self._bounds:
            least, largest = self._bounds
            nd.broadcast_maximum(self.X, least, out=self.X)
            nd.broadcast_minimum(self.X, largest, out=self.X)

    def change_weights(self) -> None:
        """Do nothing: the moments adapt within some steps."""


def _resized(before: Moments, X: NDArray) -> Moments:
    """Resize the moments of another size as in style-transfer-pytorch.

    The number of steps is kept.
    """
    shape, (mean, square) = X.shape[2:], on_device((before.mean, before.square), X.context)
    square = resize_channels(square, shape, "antialiased").clip(0, float("inf"))
    return Moments(resize_channels(mean, shape, "bicubic"), square, before.steps)
