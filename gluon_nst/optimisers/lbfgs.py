"""L-BFGS for pictures (Nocedal and Wright 2006, algorithm 7.4).

It has box constraints, and needs little more than one evaluation per step. `LBFGS` is the optimiser of a run,
`Minimiser` its method, in NumPy. SciPy's L-BFGS-B uses double precision and one thread: 40 ms per evaluation at 300 ×
450, more than the gradient takes on some processors. This one takes 8 ms, and no more evaluations.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
from mxnet import nd

from gluon_nst.losses.records import Losses
from gluon_nst.machine.trees import as_ndarray, on_device
from gluon_nst.optimisers.preconditioner import LowPass
from gluon_nst.pictures.pixels import shown_range, standardisation
from gluon_nst.recipes import Recipe
from gluon_nst.typing import NDArray

Array = np.ndarray

_DECREASE = 1e-4
"""Minimum decrease of a step, as a share of the one that the gradient predicts (Armijo's condition)."""
_MOST_SHORTENINGS = 5
_PIECE = 2**16
"""Values that are processed at a time, so that they and intermediate results stay in the processor's cache."""


def _pieces(count: int) -> Iterator[slice]:
    return (slice(first, first + _PIECE) for first in range(0, count, _PIECE))


def _product(a: Array, b: Array) -> float:
    """Return the scalar product, without BLAS.

    BLAS's threads would keep spinning while those of MXNet compute.
    """
    return sum(float(np.einsum("i,i->", a[piece], b[piece])) for piece in _pieces(a.size))


@dataclasses.dataclass
class BFloat16:
    """Values in bfloat16, the upper half of float32.

    They take half the memory, and are precise enough for stored steps.
    """

    halves: Array
    """uint16."""

    def write(self, a: Array, b: Array) -> None:
        """Store `a - b`, rounded to nearest even."""
        for piece in _pieces(a.size):
            bits = (a[piece] - b[piece]).view(np.uint32)
            bits += 0x7FFF + ((bits >> 16) & 1)
            self.halves[piece] = bits >> 16

    def values(self, place: slice) -> Array:
        """Return the values at `place` in float32."""
        bits = self.halves[place].astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield (slice, values in float32), some values at a time."""
        for piece in _pieces(self.halves.size):
            yield piece, self.values(piece)

    def product(self, values: Array) -> float:
        """Return the scalar product with other values."""
        return sum(float(np.einsum("i,i->", own, values[piece])) for piece, own in self.pieces())

    def add_to(self, values: Array, factor: float) -> None:
        """Add `factor` times these to `values`."""
        for piece, own in self.pieces():
            own *= np.float32(factor)
            values[piece] += own


class Pair(NamedTuple):
    """A step difference s and its gradient difference y, with two products.

    These are 1 / sᵀy and yᵀPy, where P is the preconditioner.
    """

    step: BFloat16
    change: BFloat16
    inverse: float
    square: float


@dataclasses.dataclass
class LBFGSState:
    """The state of L-BFGS. Its arrays change with each step."""

    X: Array
    """The point of the next evaluation of the loss and its gradient; float32."""
    from_X: Array
    """The start of the current step, the gradient there, and the direction of the step."""
    from_gradient: Array
    direction: Array
    from_loss: float | None = None
    """The loss at the start of the current step; None before the first evaluation. It and the gradient are scaled."""
    scale: float = 1.0
    slope: float = 0.0
    """The product of the direction and the gradient."""
    length: float = 1.0
    """The step length: X is `from_X` plus this multiple of the direction."""
    shortenings: int = 0
    """The number of times that the current step was shortened."""
    pairs: list[Pair] = dataclasses.field(default_factory=list)
    """The stored steps, the oldest first."""
    settled: bool = False
    """Whether it has converged: not even a short step along the negative gradient lowers the loss."""

    @classmethod
    def start(cls, X: Array) -> LBFGSState:
        """Return the state before the first evaluation, which is at `X`.

        `X` is an array that will change in place.
        """
        return cls(X, np.zeros_like(X), np.zeros_like(X), np.zeros_like(X))

    @property
    def lowest(self) -> Array:
        """The point of the lowest loss so far, up to noise of the losses.

        It is the start of the current step.
        """
        return self.X if self.from_loss is None else self.from_X

    @property
    def reached(self) -> NDArray:
        """`lowest` as an NDArray on the CPU that shares its memory.

        `X` may be after a step that was too long.
        """
        return as_ndarray(self.lowest)

    def carried_moments(self) -> None:
        """Return nothing for the next size, at which the loss has a different curvature."""


def _scale(gradient: Array) -> float:
    """Return the power of two that scales a gradient's largest value to about 1.

    It is 1 if that value is 0 or not finite. Squares then neither overflow nor underflow in single precision, and the
    results are otherwise the same.
    """
    largest = max(float(gradient.max(initial=0)), -float(gradient.min(initial=0)))  # np.abs would make a copy
    return 2.0 ** -min(max(math.frexp(largest)[1], -120), 120) if 0 < largest < math.inf else 1.0


class Minimiser:
    """A minimiser of a loss by L-BFGS.

    Repeatedly evaluate the loss and its gradient at `state.X`, pass them to `step`, and call `move`.

    - `state` is changed in place. Its `X` has any shape, and is contiguous.
    - `history_size` is the number of stored steps.
    - `bounds`, if any, are the smallest and largest values, arrays that broadcast to the shape of `X`. A pixel in the
      active set, which is at its bound and would have to pass it to lower the loss, is left out of the step (Kim, Sra
      and Dhillon 2010).
    - `first_step` is the root mean square of the first step's changes, when only the gradient is known.
    - `preconditioner`, P, makes the initial inverse Hessian of each step a multiple of P instead of the identity. With
      a low-pass filter the steps are smoother, especially in a run of few steps. The multiple is sᵀy / yᵀPy
      (equation 7.20, for P).

    Memory: 12 bytes for each value of `X`, and 4 more for each stored step.
    """

    def __init__(
        self,
        state: LBFGSState,
        history_size: int,
        bounds: tuple[Array, Array] | None = None,
        first_step: float = 0.02,
        preconditioner: LowPass | None = None,
    ) -> None:
        self._history_size, self._bounds, self._first_step = history_size, bounds, first_step
        self._preconditioner = preconditioner
        self.state = state
        del state.pairs[: max(len(state.pairs) - history_size, 0)]  # if the state was started with another recipe
        self._clip()

    def step(self, loss: float, gradient: Array) -> None:
        """Take the `loss` and the `gradient` at `X`, and determine the next point.

        The gradient is scaled in place. Raises FloatingPointError if it is not finite.
        """
        state, before = self.state, self.state.from_loss
        if before is None:
            state.scale = _scale(gradient)
        loss *= state.scale
        gradient *= np.float32(state.scale)
        if before is None:
            self._start_step(loss, gradient)
        elif loss > before + _DECREASE * state.length * state.slope:
            self._shorten(loss, before)
        else:
            self._store(gradient)
            self._start_step(loss, gradient)

    def move(self) -> None:
        """Move `X` to the point that the last `step` determined."""
        state = self.state
        if state.from_loss is not None:
            np.multiply(state.direction, np.float32(state.length), out=state.X)
            state.X += state.from_X
            self._clip()

    def restart(self) -> None:
        """Restart from the lowest point without stored steps.

        It is called when the loss has changed.
        """
        state = self.state
        state.X[...] = state.lowest
        state.pairs, state.from_loss, state.settled = [], None, False

    def _shorten(self, loss: float, before: float) -> None:
        """Shorten the step to the minimum of the parabola through the known values.

        They are two losses and the slope. After _MOST_SHORTENINGS, restart from the start of the step without stored
        steps.
        """
        state = self.state
        state.shortenings += 1
        if state.shortenings > _MOST_SHORTENINGS:
            state.settled = not state.pairs
            state.pairs = []
            state.X[...] = state.from_X
            self._start_step(before, state.from_gradient)
            return
        minimum = -state.slope * state.length**2 / (2 * (loss - before - state.length * state.slope))
        state.length = min(max(minimum, 0.1 * state.length), 0.5 * state.length)

    def _start_step(self, loss: float, gradient: Array) -> None:
        """Start a new step from `X`."""
        state = self.state
        state.from_X[...], state.from_gradient[...], state.from_loss = state.X, gradient, loss
        active = self._active_set()
        self._set_negative_gradient(active)
        self._set_newton(active)
        flat, of_gradient = state.direction.reshape(-1), state.from_gradient.reshape(-1)
        state.slope = _product(flat, of_gradient)
        if state.slope >= 0:  # not a descent direction: the stored steps are not valid here
            state.pairs = []
            self._set_negative_gradient(active)
            self._set_newton(active)
            state.slope = _product(flat, of_gradient)
        if not math.isfinite(state.slope):
            raise FloatingPointError("the gradient is not finite; lower the weights")
        state.length, state.shortenings = 1.0, 0
        if not state.pairs:
            size = float(np.sqrt(_product(flat, flat) / flat.size))
            state.settled = state.settled or size == 0
            state.length = self._first_step / (size or 1)

    def _set_negative_gradient(self, active: Array | None) -> None:
        """Set the direction to the negative gradient, and to 0 in the active set."""
        state = self.state
        np.negative(state.from_gradient, out=state.direction)
        if active is not None:
            state.direction[active] = 0

    def _store(self, gradient: Array) -> None:
        """Store the current step, in the memory of the oldest one if the history is full."""
        state = self.state
        places = state.pairs.pop(0)[:2] if len(state.pairs) == self._history_size else None
        step, change = places or (BFloat16(np.empty(state.X.size, np.uint16)) for _ in range(2))
        step.write(state.X.reshape(-1), state.from_X.reshape(-1))
        change.write(gradient.reshape(-1), state.from_gradient.reshape(-1))
        curvature = sum(
            float(np.einsum("i,i->", of_step, of_change))
            for (_, of_step), (_, of_change) in zip(step.pieces(), change.pieces())
        )
        square = self._square(change)
        if curvature > 1e-10 * square:
            state.pairs.append(Pair(step, change, 1 / curvature, square))

    def _square(self, change: BFloat16) -> float:
        """Return yᵀPy of a gradient difference y, for the preconditioner P."""
        if self._preconditioner is None:
            return sum(float(np.einsum("i,i->", own, own)) for _, own in change.pieces())
        X = self.state.X
        plane = math.prod(X.shape[-2:])
        return sum(
            self._preconditioner.product(change.values(slice(first, first + plane)))
            for first in range(0, X.size, plane)
        )

    def _set_newton(self, active: Array | None) -> None:
        """Set the direction to the quasi-Newton step.

        Computed by the two-loop recursion over the stored steps. The inverse Hessian is restricted to the pixels
        outside the active set, `active`.
        """
        state = self.state
        direction = state.direction.reshape(-1)
        projections: list[float] = []
        for step, change, inverse, _ in reversed(state.pairs):
            projections.append(inverse * step.product(direction))
            change.add_to(direction, -projections[-1])
        if self._preconditioner is not None:
            self._preconditioner.apply(state.direction)
        if state.pairs:
            last = state.pairs[-1]
            direction *= np.float32(1 / (last.inverse * last.square))
        for (step, change, inverse, _), projection in zip(state.pairs, reversed(projections)):
            step.add_to(direction, projection - inverse * change.product(direction))
        if active is not None:
            state.direction[active] = 0

    def _clip(self) -> None:
        if self._bounds is not None:
            np.clip(self.state.X, *self._bounds, out=self.state.X)

    def _active_set(self) -> Array | None:
        """Return the active set, or None without bounds.

        It contains the pixels at a bound that a step along the negative gradient would pass.
        """
        if self._bounds is None:
            return None
        least, largest = self._bounds
        x, gradient = self.state.X, self.state.from_gradient
        active = (x <= least) & (gradient > 0)
        active |= (x >= largest) & (gradient < 0)
        return active


_FIRST_STEP = 0.06
"""The root mean square of the first step's changes, in standardised pixels."""


class LBFGS:
    """L-BFGS on the composite of a `state`.

    It has box constraints if the recipe clips at each step. An epoch is one evaluation.
    """

    scheduled = False

    def __init__(self, state: LBFGSState, recipe: Recipe, device: Any) -> None:
        limits = shown_range(recipe.pixel_unit) if recipe.clip_at == "step" else None
        scale, _ = standardisation(recipe.pixel_unit)
        first_step = _FIRST_STEP / float(np.mean(scale))
        low_pass = recipe.preconditioner == "low-pass"
        preconditioner = LowPass(state.X.shape, recipe.preconditioner_power) if low_pass else None
        self.state, self._is_on_cpu = state, device.device_type == "cpu"
        self._minimiser = Minimiser(state, recipe.history_size, limits, first_step, preconditioner)
        self.X = as_ndarray(state.X) if self._is_on_cpu else on_device(state.X, device)
        self.X.attach_grad()

    @classmethod
    def start(cls, X: NDArray, recipe: Recipe, before: Any = None) -> LBFGS:
        """Return the optimiser of a composite that starts as `X`.

        `before`, of another size, is not used.
        """
        return cls(LBFGSState.start(X.asnumpy()), recipe, X.context)

    def evaluate(self, objective: Callable[[], Losses]) -> Losses:
        """Return the losses at the composite that the previous step determined."""
        nd.waitall()  # MXNet does not track changes of the shared memory
        self._minimiser.move()
        if not self._is_on_cpu:
            self.X[:] = self.state.X
        return objective()

    def step(self, losses: Losses, lr: float) -> None:
        """Take one step of the quasi-Newton method, or of its line search.

        `lr` is not used.
        """
        nd.waitall()
        self._minimiser.step(losses.total, self.X.grad.asnumpy())

    def change_weights(self) -> None:
        """Restart from the lowest point with the new weights.

        The stored steps have the curvature of a different loss.
        """
        nd.waitall()
        self._minimiser.restart()
