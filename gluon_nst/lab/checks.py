"""Checks of the exercises: each passes, or raises AssertionError with a hint.

nbgrader and otter-grader count a cell without an error as a right answer.
"""

from gluon_nst.lab.function_checks import exercise_4, exercise_5, exercise_6, exercise_7
from gluon_nst.lab.run_checks import (
    CONTENT_CHOICES,
    FROM_NOISE,
    SMALL,
    STYLE_CHOICES,
    distance,
    exercise_1,
    exercise_2,
    exercise_3,
    exercise_8,
    exercise_9,
)

__all__ = [
    "CONTENT_CHOICES",
    "FROM_NOISE",
    "SMALL",
    "STYLE_CHOICES",
    "distance",
    "exercise_1",
    "exercise_2",
    "exercise_3",
    "exercise_4",
    "exercise_5",
    "exercise_6",
    "exercise_7",
    "exercise_8",
    "exercise_9",
]
