"""Check: the steps of the check of an exercise.

They list what is right, or end with a hint.
"""

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
"""A student's answer, of any type."""


class Check:
    """One check of an exercise.

    The first failed step raises AssertionError with a hint and the list of the passed steps.
    """

    def __init__(self, exercise: int) -> None:
        self._exercise = exercise
        self._passed: list[str] = []

    def require(self, holds: bool, what: str, hint: str) -> None:
        """End the check with the `hint` unless the requirement `what` holds."""
        if not holds:
            self.fail(what, hint)

    def fail(self, what: str, hint: str, cause: BaseException | None = None) -> NoReturn:
        """End the check with the `hint`: the requirement `what` does not hold."""
        # Not an assert statement, which python -O removes.
        raise AssertionError(self._failure(what, hint)) from cause

    def _failure(self, what: str, hint: str) -> str:
        return "\n".join([f"exercise {self._exercise}", *self._passed, f"  not yet: {what}", f"  {hint}"])

    def expect(self, holds: bool, what: str, hint: str) -> None:
        """Like `require`, and list the requirement as right if it holds."""
        self.require(holds, what, hint)
        self.passed(what)

    def passed(self, what: str) -> None:
        """List a requirement as right."""
        self._passed.append(f"  right:   {what}")

    @property
    def summary(self) -> str:
        """The text for a right answer."""
        return "\n".join([f"Exercise {self._exercise} is right.", *self._passed])

    def call(self, function: Answer, name: str, *arguments: Any) -> Any:
        """Call a student's function, and return its value."""
        hint = f"It is {describe_type(function)}: define it in the cell above"
        self.require(callable(function), f"{name} is a function", hint)
        try:
            value = function(*arguments)
        except (Exception, SystemExit) as error:
            line = one_line(error)
            if any(hasattr(argument, "asnumpy") for argument in arguments):
                line += ". (Its argument is an MXNet array; X.asnumpy() converts it to NumPy)"
            self.fail(f"{name} runs", f"It raised {type(error).__name__}: {line}", error)
        self.require(value is not None, f"{name} returns a value", "It returns None: is a return statement missing?")
        return value

    def array(self, value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a value as a NumPy array of float64.

        Ends the check if it is not an array of that shape.
        """
        words = "one number" if math.prod(shape) == 1 else " × ".join(map(str, shape))
        self.require(value is not None, f"{name} is {words}", "It is None: assign a value in the cell above")
        try:
            array = np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)
        except (TypeError, ValueError):
            self.fail(f"{name} is {words}", f"It is {describe_type(value)}")
        self.require(array.dtype.kind in "iuf", f"{name} is {words}", f"It is {describe_type(value)}")
        fits = array.shape == shape or (math.prod(shape) == 1 and array.size == 1)
        self.require(fits, f"{name} is {words}", f"Its shape is {array.shape}")
        array = array.astype(np.float64).reshape(shape)
        self.require(
            bool(np.isfinite(array).all()),
            f"{name} is finite",
            "It contains NaN or infinity: is there a division by 0?",
        )
        return array

    def number(self, value: Any, name: str) -> float:
        """Return a value as a number. Ends the check if it is not one."""
        return float(self.array(value, name, (1,))[0])

    def complete_run(self, result: Answer, name: str) -> Result:
        """Return an answer that is the Result of a complete run.

        Ends the check if it is not.
        """
        hint = f"It is {describe_type(result)}: assign the Result that nst.transfer returns"
        self.require(isinstance(result, Result), f"{name} is a Result", hint)
        hint = f"Its status is {result.status!r}: run it again until it is complete"
        self.require(result.complete, f"{name} is complete", hint)
        return result

    def has_recipe(self, result: Result, name: str, expected: Recipe, free: Sequence[str] = ()) -> None:
        """End the check unless a run has the `expected` recipe, except for `free` fields."""
        for field in dataclasses.fields(Recipe):
            actual, wanted = getattr(result.recipe, field.name), getattr(expected, field.name)
            if actual == wanted or field.name in free:
                continue
            what = f"{field.name} is {actual!r} instead of {wanted!r}"
            if field.name == "stages" and len(actual) == len(wanted) == 1:
                values = (
                    (each.name, getattr(actual[0], each.name), getattr(wanted[0], each.name))
                    for each in dataclasses.fields(Stage)
                )
                what = ", ".join(
                    f"{name} is {value!r} instead of {other!r}" for name, value, other in values if value != other
                )
            self.fail(f"nothing else is changed in {name}", f"{what}: run it again with the settings of the exercise")


def exercise(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate the steps of a check, so that notebooks call it with the answers only."""

    def decorate(steps: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(steps)
        def check_answers(*answers: Answer) -> None:
            check = Check(number)
            try:
                steps(check, *answers)
            except AssertionError as wrong:
                # Raised again without the frames below, which would show the solution.
                raise AssertionError(str(wrong)) from wrong.__cause__
            print(check.summary)  # returns None: nbgrader would take a value for points

        return check_answers

    return decorate


def describe_type(value: Any) -> str:
    """Return the type of a value in words, such as "an int"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def mxnet_array(values: np.ndarray) -> Any:
    """Return an MXNet array of the notebook's array mode."""
    return (mx.np.array if mx.util.is_np_array() else mx.nd.array)(values)
