"""L-BFGS (Nocedal and Wright 2006, algorithm 7.4) for pictures: bounds on the pixels, and as good as one evaluation a step.

SciPy's L-BFGS-B works in double precision and one thread, 40 ms an evaluation at 300 × 450, which is more than the gradient
takes on some processors; this takes 8, and no more evaluations.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

_DECREASE = 1e-4
"""The share of the decrease that the gradient promises which a step must bring (Armijo's condition)."""
_MOST_SHORTENINGS = 5


def _product(a: Array, b: Array) -> float:
    """The scalar product. Not by BLAS, whose threads would go on to wait, busily, where MXNet's have to work."""
    return float(np.einsum("i,i->", a.ravel(), b.ravel()))


class LBFGS:
    """Minimises by steps: evaluate the loss and its gradient at `x`, give them to `step`, which moves `x`; and again.

    - `x` is a float32 array of any shape.
    - `history_size` is how many steps are remembered.
    - `bounds`, where there are any, are the least and the largest value, arrays that broadcast to the shape of `x`. A pixel
      that is at its bound, and would have to pass it to lower the loss, is left out of the step (Kim, Sra and Dhillon 2010).
    - `first_step` is the root mean square of the first step's changes, when nothing is known of the loss but its gradient.
    """

    def __init__(
        self,
        x: Array,
        history_size: int,
        bounds: tuple[Array, Array] | None = None,
        first_step: float = 0.02,
    ) -> None:
        self._history_size, self._bounds, self._first_step = history_size, bounds, first_step
        self._pairs: list[tuple[Array, Array, float]] = []
        self._from: tuple[Array, float, Array, float] | None = None
        self._shortenings, self._length = 0, 1.0
        self._direction: Array = np.zeros(1, np.float32)
        self.settled = False
        """Whether nothing is left to gain: not even a short step straight downhill lowers the loss."""
        self.x = self._bounded(np.array(x, dtype=np.float32))

    def step(self, loss: float, gradient: Array) -> None:
        """Take the `loss` and the `gradient` at `x`, and move `x` to where they are wanted next."""
        if self._from is not None:
            x, before, gradient_before, slope = self._from
            if loss > before + _DECREASE * self._length * slope:
                self._shorten(loss, *self._from)
                return
            self._remember(self.x - x, gradient - gradient_before)
        self._go_on(self.x, loss, gradient)

    def _shorten(self, loss: float, x: Array, before: float, gradient: Array, slope: float) -> None:
        """Go back to the minimum of the parabola through what is known of the step; after some of them, begin anew."""
        self._shortenings += 1
        if self._shortenings > _MOST_SHORTENINGS:
            self.settled = not self._pairs
            self._pairs = []
            self._go_on(x, before, gradient)
            return
        minimum = -slope * self._length**2 / (2 * (loss - before - self._length * slope))
        self._length = min(max(minimum, 0.1 * self._length), 0.5 * self._length)
        self.x = self._bounded(x + np.float32(self._length) * self._direction)

    def _go_on(self, x: Array, loss: float, gradient: Array) -> None:
        """Set out from `x`, the lowest so far but for what the noise of the losses hides."""
        free = self._free(x, gradient)
        direction = self._newton(gradient * free) * free
        slope = _product(direction, gradient)
        if slope >= 0:  # the remembered steps say nothing here
            self._pairs, direction = [], -gradient * free
            slope = _product(direction, gradient)
        self._length = 1.0
        if not self._pairs:
            size = float(np.sqrt(np.mean(direction**2)))
            self.settled = self.settled or size == 0
            self._length = self._first_step / (size or 1)
        self._from, self._direction, self._shortenings = (x, loss, gradient, slope), direction, 0
        self.x = self._bounded(x + np.float32(self._length) * direction)

    def _remember(self, step: Array, change: Array) -> None:
        curvature = _product(step, change)
        if curvature > 1e-10 * _product(change, change):
            self._pairs.append((step.ravel(), change.ravel(), 1 / curvature))
            del self._pairs[: -self._history_size]

    def _newton(self, gradient: Array) -> Array:
        """The direction of the quasi-Newton step, by the two-loop recursion over the remembered steps."""
        direction, scratch = -gradient.ravel(), np.empty(gradient.size, np.float32)
        projections: list[float] = []
        for step, change, inverse in reversed(self._pairs):
            projections.append(inverse * _product(step, direction))
            direction -= np.multiply(change, projections[-1], out=scratch)
        if self._pairs:
            _, change, inverse = self._pairs[-1]
            direction *= np.float32(1 / (inverse * _product(change, change)))
        for (step, change, inverse), projection in zip(self._pairs, reversed(projections)):
            direction += np.multiply(step, projection - inverse * _product(change, direction), out=scratch)
        return direction.reshape(gradient.shape)

    def _bounded(self, x: Array) -> Array:
        return x if self._bounds is None else np.clip(x, *self._bounds)

    def _free(self, x: Array, gradient: Array) -> Array | np.float32:
        """Where a step downhill stays within the bounds: an array of 1 and 0, or 1."""
        if self._bounds is None:
            return np.float32(1)
        least, largest = self._bounds
        return (~(((x <= least) & (gradient > 0)) | ((x >= largest) & (gradient < 0)))).astype(np.float32)
