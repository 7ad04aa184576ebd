"""What Adam and L-BFGS have in common: the protocol Optimiser, and the classes by name and by state.

An optimiser works on its state, which is changed in place and from which another one continues as this one would have.
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
    """What the loop asks of an optimiser; `evaluate` and `step` take turns."""

    X: NDArray
    """The composite, in the unit of the recipe's pixels, with its gradient attached: an Objective is bound to it."""
    state: Any
    """An OptimiserState."""
    scheduled: bool
    """Whether it uses a learning rate."""

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """Return the losses at the composite; their gradient is being computed when this returns."""

    def step(self, losses: Losses, lr: float) -> None:
        """Take the losses, and decide on the next composite by them and their gradient."""

    def change_weights(self) -> None:
        """Adapt to a weight change: the losses have other weights from the next evaluation on."""


CLASSES: Mapping[str, type[Adam] | type[LBFGS]] = {"adam": Adam, "lbfgs": LBFGS}
"""The classes by the names that a recipe's `optimizer` has for them."""


def resumed(state: OptimiserState, recipe: Recipe, device: Any) -> Optimiser:
    """Return the optimiser that continues from a state."""
    if isinstance(state, AdamState):
        return Adam(state, recipe, device)
    if isinstance(state, LBFGSState):
        return LBFGS(state, recipe, device)
    raise TypeError(f"{type(state).__name__} is the state of no optimiser")
