"""Check: looks at an answer step by step, and says what is right of it and what is not."""

from __future__ import annotations

import math
from typing import Any, Sequence

import mxnet as mx
import numpy as np

from gluon_nst.recipes import Recipe
from gluon_nst.result import Result

Answer = Any
"""What a student has written: anything at all."""


class Check:
    """The steps of one check. It ends at the first one that is wrong, with a hint, and with what was right before."""

    def __init__(self, exercise: int) -> None:
        self._exercise = exercise
        self._right: list[str] = []

    def require(self, holds: bool, what: str, hint: str) -> None:
        """`what` an answer should be is so, or the check ends with the `hint`."""
        assert holds, "\n".join([f"exercise {self._exercise}", *self._right, f"  not yet: {what}", f"  {hint}"])

    def expect(self, holds: bool, what: str, hint: str) -> None:
        """The same, and it is worth telling where it is so."""
        self.require(holds, what, hint)
        self._right.append(f"  right:   {what}")

    def passed(self) -> None:
        """Print what is right. Nothing is returned: nbgrader would take it for a number of points."""
        print("\n".join([f"Exercise {self._exercise} is right.", *self._right]))

    def value(self, function: Answer, name: str, *arguments: Any) -> Any:
        """What a student's function gives."""
        self.require(callable(function), f"{name} is a function", f"It is {kind(function)}: write it in the cell above")
        try:
            value = function(*arguments)
        except Exception as error:
            self.require(False, f"{name} runs", f"It ended with {type(error).__name__}: {error}")
        self.require(value is not None, f"{name} gives something", "It gives None: is there a return?")
        return value

    def array(self, value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A value as a NumPy array of float64, of that shape."""
        words = "one number" if math.prod(shape) == 1 else " × ".join(map(str, shape))
        self.require(value is not None, f"{name} is {words}", "It is None: give it a value in the cell above")
        array = np.empty(0)
        try:
            array = np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value, dtype=np.float64)
        except (TypeError, ValueError):
            self.require(False, f"{name} is {words}", f"It is {kind(value)}")
        fits = array.shape == shape or (math.prod(shape) == 1 and array.size == 1)
        self.require(fits, f"{name} is {words}", f"Its shape is {array.shape}")
        return array.reshape(shape)

    def number(self, value: Any, name: str) -> float:
        """A value as a number."""
        return float(self.array(value, name, (1,))[0])

    def run(self, result: Answer, name: str) -> Result:
        """An answer that is a run which came to its end."""
        hint = f"It is {kind(result)}: run nst.transfer, and keep the Result that it gives"
        self.require(isinstance(result, Result), f"{name} is a Result", hint)
        hint = f"Its status is {result.status!r}: run it again, to the end"
        self.require(result.complete, f"{name} came to its end", hint)
        return result

    def differs_only(self, result: Result, name: str, other: Recipe, fields: Sequence[str]) -> None:
        """The run's recipe is the `other` but for some fields."""
        changed = [
            field
            for field in result.recipe.__dataclass_fields__
            if getattr(result.recipe, field) != getattr(other, field) and field not in fields
        ]
        hint = f"So is {', '.join(changed)}: pass **SMALL and, where the exercise says so, what it is about"
        self.require(not changed, f"nothing else is changed in {name}", hint)


def kind(value: Any) -> str:
    """What a value is, in words."""
    return "None" if value is None else f"a {type(value).__name__}"


def as_array(values: np.ndarray) -> Any:
    """An array of MXNet's, of the mode that the notebook is in."""
    return (mx.np.array if mx.util.is_np_array() else mx.nd.array)(values)
