"""The optimisers: each holds the composite that it moves and a state, and makes one step at a time.

All can be pickled between two steps, and go on as if nothing had been. To add one, add its class to CLASSES, and its
name with what is known of it to recipes.choices.OPTIMIZERS.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Protocol, Sequence

import numpy as np
from mxnet import nd

from gluon_nst.engine.composite import get_inits
from gluon_nst.losses.records import Losses
from gluon_nst.machine import nd_mode
from gluon_nst.optimisers import lbfgs
from gluon_nst.optimisers.preconditioner import LowPass
from gluon_nst.pictures.pixels import resize_channels, shown_range, standardisation
from gluon_nst.recipes import Recipe
from gluon_nst.typing import NDArray


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

    def hand_on(self) -> Moments | None:
        """What the optimiser of the next size may begin with."""

    def as_tree(self) -> dict[str, Any]:
        """All that evolves, in plain values and arrays, from which the class's `of_tree` makes it again."""


class Moments(NamedTuple):
    """Adam's: the running mean of the gradients and that of their squares, as large as the composite, and its count of
    steps."""

    mean: NDArray
    square: NDArray
    steps: int


def moments_on(device: Any, tree: Sequence[Any]) -> Moments:
    """The Moments whose arrays are NumPy's in a `tree`."""
    mean, square, steps = tree
    return Moments(nd.array(mean, ctx=device), nd.array(square, ctx=device), steps)


class Adam:
    """The chapter's Trainer, with the composite clipped at each step where the recipe says so.

    `X` is what the composite starts as, in the unit of the recipe's pixels. `before` is what Adam of another size
    handed on.
    """

    scheduled, settled = True, False

    def __init__(self, X: NDArray, recipe: Recipe, before: Moments | None = None) -> None:
        self._begin(X, recipe, self._resized(before, X) if before and recipe.carry_moments else None)

    @property
    def reached(self) -> NDArray:
        """The composite itself."""
        return self.X

    def _begin(self, X: NDArray, recipe: Recipe, moments: Moments | None) -> None:
        self._recipe = recipe
        self.X, _, self._trainer = get_inits(X, X.context, 1.0, (), recipe.beta2)
        limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else ()
        self._bounds = [nd.array(limit, ctx=X.context) for limit in limits]
        # A Trainer has its state written to files, and read from them, pickled whole: here it is used where it is.
        (self._updater,) = self._trainer._updaters
        if moments:
            self._updater.states[0] = tuple(array.as_in_context(X.context) for array in moments[:2])
            self._updater.states_synced[0] = True
            self._trainer.optimizer.begin_num_update = self._trainer.optimizer.num_update = moments.steps

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

    def hand_on(self) -> Moments | None:
        """The moments; there are none before the first step."""
        moments = self._updater.states.get(0)
        return moments and Moments(moments[0], moments[1], self._trainer.optimizer.num_update)

    @staticmethod
    def _resized(before: Moments, X: NDArray) -> Moments:
        """The moments of another size, resized as in style-transfer-pytorch; the count of steps goes on."""
        shape = X.shape[2:]
        square = resize_channels(before.square, shape, "antialiased").clip(0, float("inf"))
        return Moments(resize_channels(before.mean, shape, "bicubic"), square, before.steps)

    def as_tree(self) -> dict[str, Any]:
        """All that evolves, in plain values and arrays."""
        return {"X": self.X, "moments": self.hand_on()}

    @classmethod
    @nd_mode
    def of_tree(cls, tree: Mapping[str, Any], recipe: Recipe, device: Any) -> Adam:
        """`as_tree` undone: goes on as if nothing had been."""
        adam, moments = cls.__new__(cls), tree["moments"]
        restored = moments_on(device, moments) if moments else None
        adam._begin(nd.array(tree["X"], ctx=device), recipe, restored)
        return adam

    def __reduce__(self) -> Any:
        return _restored, (type(self), plain(self.as_tree()), self._recipe, self.X.context)


@nd_mode
def plain(tree: Any) -> Any:
    """A tree of values with NumPy's arrays in the place of MXNet's."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [plain(value) for value in tree]
    return tree.asnumpy() if isinstance(tree, nd.NDArray) else tree


def _restored(kind: Any, tree: Mapping[str, Any], recipe: Recipe, device: Any) -> Optimiser:
    return kind.of_tree(tree, recipe, device)


_FIRST_STEP = 0.06
"""The root mean square of the changes in the first step of L-BFGS, in the network's standardised pixels."""


class LBFGS:
    """L-BFGS (`lbfgs.Minimiser`), bounded where the recipe clips at each step. An epoch is one evaluation."""

    scheduled = False

    def __init__(self, X: NDArray, recipe: Recipe, before: None = None) -> None:
        self._begin(X.asnumpy(), recipe, X.context)

    def _begin(self, x: np.ndarray, recipe: Recipe, device: Any) -> None:
        limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else None
        scale, _ = standardisation(recipe.pixel_unit)
        first_step = _FIRST_STEP / float(np.mean(scale))
        self._recipe, self._device = recipe, device
        low_pass = recipe.preconditioner == "low-pass"
        preconditioner = LowPass(x.shape, recipe.preconditioner_power) if low_pass else None
        self._minimiser = lbfgs.Minimiser(x, recipe.history_size, limits, first_step, preconditioner)
        self.X = self._array(self._minimiser.x)
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

    def as_tree(self) -> dict[str, Any]:
        """All that evolves, in plain values and arrays."""
        return self._minimiser.as_tree()

    @classmethod
    @nd_mode
    def of_tree(cls, tree: Mapping[str, Any], recipe: Recipe, device: Any) -> LBFGS:
        """`as_tree` undone: goes on as if nothing had been."""
        optimiser = cls.__new__(cls)
        optimiser._begin(tree["x"], recipe, device)
        optimiser._minimiser.restore(tree)
        return optimiser

    def __reduce__(self) -> Any:
        return _restored, (type(self), self.as_tree(), self._recipe, self._device)


CLASSES: Mapping[str, type[Adam] | type[LBFGS]] = {"adam": Adam, "lbfgs": LBFGS}
"""The classes by the names that a recipe's `optimizer` has for them."""
