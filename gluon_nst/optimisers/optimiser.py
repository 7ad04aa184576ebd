"""The protocol of optimisers, and their classes by name and by state.

An optimiser changes its state in place. Another optimiser created from that state continues with the same results.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Protocol, Union

from gluon_nst.losses.records import Losses
from gluon_nst.optimisers.adam import Adam, AdamState
from gluon_nst.optimisers.lbfgs import LBFGS, LBFGSState
from gluon_nst.recipes import Recipe
from gluon_nst.typing import NDArray

OptimiserState = Union[AdamState, LBFGSState]


class Optimiser(Protocol):
    """The protocol of an optimiser; the loop calls `evaluate` and `step` alternately."""

    X: NDArray
    """The composite, in the unit of the recipe's pixels, with a gradient attached; an Objective is bound to it."""
    state: Any
    """An OptimiserState."""
    scheduled: bool
    """Whether it uses a learning rate."""

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """Return the losses at the composite; MXNet may still compute their gradient."""

    def step(self, losses: Losses, lr: float) -> None:
        """Determine the next composite from the losses and their gradient."""

    def change_weights(self) -> None:
        """Adapt to different weights of the losses from the next evaluation on."""


CLASSES: Mapping[str, type[Adam] | type[LBFGS]] = {"adam": Adam, "lbfgs": LBFGS}
"""The classes by the values of a recipe's `optimizer`."""


def resumed(state: OptimiserState, recipe: Recipe, device: Any) -> Optimiser:
    """Return the optimiser that continues from a state."""
    if isinstance(state, AdamState):
        return Adam(state, recipe, device)
    if isinstance(state, LBFGSState):
        return LBFGS(state, recipe, device)
    raise TypeError(f"{type(state).__name__} is not the state of an optimiser")
