"""The checks of the exercises: each says what is right of an answer and what is not.

They are plain assertions, so that a notebook, nbgrader and otter-grader all tell a wrong answer by its error.
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
