"""L-BFGS (Nocedal and Wright 2006, algorithm 7.4) for pictures: bounds on the pixels, and as good as one evaluation a
step.

SciPy's L-BFGS-B works in double precision and one thread, 40 ms an evaluation at 300 × 450, which is more than the
gradient takes on some processors; this takes 8, and no more evaluations.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np

from gluon_nst.optimisers.preconditioner import LowPass

Array = np.ndarray

_DECREASE = 1e-4
"""The share of the decrease that the gradient promises which a step must bring (Armijo's condition)."""
_MOST_SHORTENINGS = 5
_PIECE = 2**16
"""Values that are worked on at a time: they stay in the processor's cache, and so does what is made of them on the way.
"""


def _pieces(count: int) -> Iterator[slice]:
    return (slice(first, first + _PIECE) for first in range(0, count, _PIECE))


def _product(a: Array, b: Array) -> float:
    """The scalar product. Not by BLAS, whose threads would go on to wait, busily, where MXNet's have to work."""
    return sum(float(np.einsum("i,i->", a[piece], b[piece])) for piece in _pieces(a.size))


class _Narrow:
    """Values in bfloat16, the upper half of a float32: half the memory, and exact enough for the steps that are
    remembered."""

    def __init__(self, halves: Array) -> None:
        self.halves = halves
        """uint16."""

    def write(self, a: Array, b: Array) -> None:
        """Keep `a - b`, rounded to the nearest even."""
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
        """Where the values are, some at a time, and they themselves in float32."""
        for piece in _pieces(self.halves.size):
            yield piece, self.values(piece)

    def product(self, values: Array) -> float:
        """The scalar product with other values."""
        return sum(float(np.einsum("i,i->", own, values[piece])) for piece, own in self.pieces())

    def add_to(self, values: Array, factor: float) -> None:
        """Add `factor` times these to `values`."""
        for piece, own in self.pieces():
            own *= np.float32(factor)
            values[piece] += own


class _Remembered(NamedTuple):
    """A step difference s, its gradient difference y, 1 / sᵀy, and yᵀPy, where P is the preconditioner."""

    step: _Narrow
    change: _Narrow
    inverse: float
    square: float


def _scale(gradient: Array) -> float:
    """Return the power of two that brings the largest value of a gradient near 1; 1 if there is none.

    With it squares neither overflow nor underflow in single precision, and nothing is rounded otherwise.
    """
    largest = max(float(gradient.max(initial=0)), -float(gradient.min(initial=0)))  # np.abs would make a copy
    return 2.0 ** -min(max(math.frexp(largest)[1], -120), 120) if 0 < largest < math.inf else 1.0


_EVOLVES = ("from_x", "from_gradient", "direction", "from_loss", "scale", "slope", "length", "shortenings")
"""What evolves beside `x`, the remembered steps, and whether it has settled."""


class Minimiser:
    """Minimises by steps: evaluate the loss and its gradient at `x`, give them to `step`, let it `move` there; and
    again.

    - `x` is a float32 array of any shape, contiguous, which is changed in place.
    - `history_size` is how many steps are remembered.
    - `bounds`, where there are any, are the least and the largest value, arrays that broadcast to the shape of `x`. A
      pixel that is at its bound, and would have to pass it to lower the loss, is left out of the step (Kim, Sra and
      Dhillon 2010).
    - `first_step` is the root mean square of the first step's changes, when nothing is known of the loss but its
      gradient.
    - `preconditioner`, P, makes the initial inverse Hessian of each step a multiple of P instead of the identity. With
      a low-pass filter the steps are smoother, above all in a run of few steps. The multiple is sᵀy / yᵀPy
      (equation 7.20, for P).

    For each value of `x` it keeps 12 bytes, and 4 for each step that it remembers.
    """

    def __init__(
        self,
        x: Array,
        history_size: int,
        bounds: tuple[Array, Array] | None = None,
        first_step: float = 0.02,
        preconditioner: LowPass | None = None,
    ) -> None:
        self._history_size, self._bounds, self._first_step = history_size, bounds, first_step
        self._preconditioner = preconditioner
        self._pairs: list[_Remembered] = []
        # Where the step at work set out from, the gradient there, and where to.
        self._from_x, self._from_gradient, self._direction = (np.zeros_like(x) for _ in range(3))
        self._from_loss: float | None = None
        self._scale, self._slope, self._length, self._shortenings = 1.0, 0.0, 1.0, 0
        self.settled = False
        """Whether nothing is left to gain: not even a short step straight downhill lowers the loss."""
        self.x = x
        self._bound()

    @property
    def reached(self) -> Array:
        """The point of the lowest loss so far, but for what the noise of the losses hides: where the step at work set
        out from."""
        return self.x if self._from_loss is None else self._from_x

    def step(self, loss: float, gradient: Array) -> None:
        """Take the `loss` and the `gradient` at `x`, and decide where they are wanted next.

        The gradient is scaled in place. Raises FloatingPointError if it is not finite.
        """
        before = self._from_loss
        if before is None:
            self._scale = _scale(gradient)
        loss *= self._scale
        gradient *= np.float32(self._scale)
        if before is None:
            self._set_out(loss, gradient)
        elif loss > before + _DECREASE * self._length * self._slope:
            self._shorten(loss, before)
        else:
            self._remember(gradient)
            self._set_out(loss, gradient)

    def move(self) -> None:
        """Move `x` to where the last step decided that it goes."""
        if self._from_loss is not None:
            np.multiply(self._direction, np.float32(self._length), out=self.x)
            self.x += self._from_x
            self._bound()

    def begin_anew(self) -> None:
        """Go on from the point reached, and forget the rest: the loss is another one from now on."""
        self.x[...] = self.reached
        self._pairs, self._from_loss, self.settled = [], None, False

    def as_tree(self) -> dict[str, Any]:
        """All that evolves: numbers, and the arrays themselves."""
        pairs = [{**pair._asdict(), "step": pair.step.halves, "change": pair.change.halves} for pair in self._pairs]
        return {
            "x": self.x,
            "pairs": pairs,
            **{name: getattr(self, f"_{name}") for name in _EVOLVES},
            "settled": self.settled,
        }

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Go on from what `as_tree` of one with the same settings gave, at the same `x`."""
        for name in _EVOLVES:
            setattr(self, f"_{name}", tree[name])
        self.settled = tree["settled"]
        self._pairs = [
            _Remembered(**{**pair, "step": _Narrow(pair["step"]), "change": _Narrow(pair["change"])})
            for pair in tree["pairs"]
        ]

    def _shorten(self, loss: float, before: float) -> None:
        """Go back to the minimum of the parabola through what is known of the step; after some of them, begin anew."""
        self._shortenings += 1
        if self._shortenings > _MOST_SHORTENINGS:
            self.settled = not self._pairs
            self._pairs = []
            self.x[...] = self._from_x
            self._set_out(before, self._from_gradient)
            return
        minimum = -self._slope * self._length**2 / (2 * (loss - before - self._length * self._slope))
        self._length = min(max(minimum, 0.1 * self._length), 0.5 * self._length)

    def _set_out(self, loss: float, gradient: Array) -> None:
        """Set out from `x`."""
        self._from_x[...], self._from_gradient[...], self._from_loss = self.x, gradient, loss
        held = self._held()
        self._downhill(held)
        self._newton(held)
        flat, of_gradient = self._direction.reshape(-1), self._from_gradient.reshape(-1)
        self._slope = _product(flat, of_gradient)
        if self._slope >= 0:  # the remembered steps say nothing here
            self._pairs = []
            self._downhill(held)
            self._newton(held)
            self._slope = _product(flat, of_gradient)
        if not math.isfinite(self._slope):
            raise FloatingPointError("the gradient is not finite; lower the weights")
        self._length, self._shortenings = 1.0, 0
        if not self._pairs:
            size = float(np.sqrt(_product(flat, flat) / flat.size))
            self.settled = self.settled or size == 0
            self._length = self._first_step / (size or 1)

    def _downhill(self, held: Array | None) -> None:
        """Let the direction be straight downhill, but where a bound holds the pixel."""
        np.negative(self._from_gradient, out=self._direction)
        if held is not None:
            self._direction[held] = 0

    def _remember(self, gradient: Array) -> None:
        """Remember the step that was made, in the place of the oldest."""
        places = self._pairs.pop(0)[:2] if len(self._pairs) == self._history_size else None
        step, change = places or (_Narrow(np.empty(self.x.size, np.uint16)), _Narrow(np.empty(self.x.size, np.uint16)))
        step.write(self.x.reshape(-1), self._from_x.reshape(-1))
        change.write(gradient.reshape(-1), self._from_gradient.reshape(-1))
        curvature = sum(
            float(np.einsum("i,i->", of_step, of_change))
            for (_, of_step), (_, of_change) in zip(step.pieces(), change.pieces())
        )
        square = self._square(change)
        if curvature > 1e-10 * square:
            self._pairs.append(_Remembered(step, change, 1 / curvature, square))

    def _square(self, change: _Narrow) -> float:
        """Return yᵀPy of a gradient difference y, for the preconditioner P."""
        if self._preconditioner is None:
            return sum(float(np.einsum("i,i->", own, own)) for _, own in change.pieces())
        plane = math.prod(self.x.shape[-2:])
        return sum(
            self._preconditioner.product(change.values(slice(first, first + plane)))
            for first in range(0, self.x.size, plane)
        )

    def _newton(self, held: Array | None) -> None:
        """Make the direction that of the quasi-Newton step, by the two-loop recursion over the remembered steps.

        The pixels of the active set, `held`, are left out: the inverse Hessian is restricted to the others.
        """
        direction = self._direction.reshape(-1)
        projections: list[float] = []
        for step, change, inverse, _ in reversed(self._pairs):
            projections.append(inverse * step.product(direction))
            change.add_to(direction, -projections[-1])
        if self._preconditioner is not None:
            self._preconditioner.apply(self._direction)
        if self._pairs:
            last = self._pairs[-1]
            direction *= np.float32(1 / (last.inverse * last.square))
        for (step, change, inverse, _), projection in zip(self._pairs, reversed(projections)):
            step.add_to(direction, projection - inverse * change.product(direction))
        if held is not None:
            self._direction[held] = 0

    def _bound(self) -> None:
        if self._bounds is not None:
            np.clip(self.x, *self._bounds, out=self.x)

    def _held(self) -> Array | None:
        """Where a step downhill would leave the bounds."""
        if self._bounds is None:
            return None
        least, largest = self._bounds
        held = (self.x <= least) & (self._from_gradient > 0)
        held |= (self.x >= largest) & (self._from_gradient < 0)
        return held
