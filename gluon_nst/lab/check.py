"""Check: looks at an answer step by step, and says what is right of it and what is not."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Callable, NoReturn, Sequence

import mxnet as mx
import numpy as np

from gluon_nst.errors import one_line
from gluon_nst.recipes import Recipe, Stage
from gluon_nst.runs.result import Result

Answer = Any
"""What a student has written: anything at all."""


class Check:
    """The steps of one check. It ends at the first one that is wrong, with a hint, and with what was right before."""

    def __init__(self, exercise: int) -> None:
        self._exercise = exercise
        self._right: list[str] = []

    def require(self, holds: bool, what: str, hint: str) -> None:
        """`what` an answer should be is so, or the check ends with the `hint`."""
        if not holds:
            self.fail(what, hint)

    def fail(self, what: str, hint: str, cause: BaseException | None = None) -> NoReturn:
        """The check ends: `what` an answer should be is not so."""
        # Raised, not asserted: python -O lets any assert pass.
        raise AssertionError(self._told(what, hint)) from cause

    def _told(self, what: str, hint: str) -> str:
        return "\n".join([f"exercise {self._exercise}", *self._right, f"  not yet: {what}", f"  {hint}"])

    def expect(self, holds: bool, what: str, hint: str) -> None:
        """The same, and it is worth telling where it is so."""
        self.require(holds, what, hint)
        self.praise(what)

    def praise(self, what: str) -> None:
        """So much is right."""
        self._right.append(f"  right:   {what}")

    @property
    def right(self) -> str:
        """What is right of an answer that is."""
        return "\n".join([f"Exercise {self._exercise} is right.", *self._right])

    def value(self, function: Answer, name: str, *arguments: Any) -> Any:
        """What a student's function gives."""
        self.require(callable(function), f"{name} is a function", f"It is {kind(function)}: write it in the cell above")
        try:
            value = function(*arguments)
        except (Exception, SystemExit) as error:
            line = one_line(error)
            if any(hasattr(argument, "asnumpy") for argument in arguments):
                line += ". (It is given an array of MXNet's; X.asnumpy() is one of NumPy's)"
            self.fail(f"{name} runs", f"It ended with {type(error).__name__}: {line}", error)
        self.require(value is not None, f"{name} gives something", "It gives None: is there a return?")
        return value

    def array(self, value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A value as a NumPy array of float64, of that shape."""
        words = "one number" if math.prod(shape) == 1 else " × ".join(map(str, shape))
        self.require(value is not None, f"{name} is {words}", "It is None: give it a value in the cell above")
        try:
            found = np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)
        except (TypeError, ValueError):
            self.fail(f"{name} is {words}", f"It is {kind(value)}")
        self.require(found.dtype.kind in "iuf", f"{name} is {words}", f"It is {kind(value)}")
        fits = found.shape == shape or (math.prod(shape) == 1 and found.size == 1)
        self.require(fits, f"{name} is {words}", f"Its shape is {found.shape}")
        array = found.astype(np.float64).reshape(shape)
        self.require(
            bool(np.isfinite(array).all()), f"{name} is finite", "It has a NaN or an infinity: a division by 0?"
        )
        return array

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

    def is_of(self, result: Result, name: str, expected: Recipe, free: Sequence[str] = ()) -> None:
        """The recipe of a run is the `expected` one but for the `free` fields."""
        for field in dataclasses.fields(Recipe):
            found, wanted = getattr(result.recipe, field.name), getattr(expected, field.name)
            if found == wanted or field.name in free:
                continue
            what = f"{field.name} is {found!r} in place of {wanted!r}"
            if field.name == "stages" and len(found) == len(wanted) == 1:
                of_stage = (
                    (each.name, getattr(found[0], each.name), getattr(wanted[0], each.name))
                    for each in dataclasses.fields(Stage)
                )
                what = ", ".join(
                    f"{each} is {here!r} in place of {there!r}" for each, here, there in of_stage if here != there
                )
            self.fail(f"nothing else is changed in {name}", f"{what}: run it again as the exercise says")


def exercise(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of a Check and the answers the check of the exercise of that number, as a notebook calls it."""

    def checked(look: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(look)
        def check(*answers: Answer) -> None:
            steps = Check(number)
            try:
                look(steps, *answers)
            except AssertionError as wrong:
                # Raised from here: the frames below would show how the check comes to its result.
                raise AssertionError(str(wrong)) from wrong.__cause__
            print(steps.right)  # and nothing is returned, which nbgrader would take for a number of points

        return check

    return checked


def kind(value: Any) -> str:
    """What a value is, in words."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def as_array(values: np.ndarray) -> Any:
    """An array of MXNet's, of the mode that the notebook is in."""
    return (mx.np.array if mx.util.is_np_array() else mx.nd.array)(values)
