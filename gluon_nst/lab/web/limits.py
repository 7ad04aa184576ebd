"""The limits of the lab; each field is an option `--max-…` of the command."""

from __future__ import annotations

import dataclasses
from typing import Any

from gluon_nst.recipes import setting
from gluon_nst.recipes.rules import amount, integer, number
from gluon_nst.recipes.schema import check_fields

MIN_SIDE = 128
"""The smallest longest side that the page offers, in pixels."""
MAX_STUDENTS = 300
"""Maximum number of students in a lab."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits for each student. Raises InputError for a value that breaks its rule."""

    # fmt: off
    jobs: int = setting(integer(1), "maximum number of queued or active runs per student", 2)
    runs: int = setting(integer(1), "maximum number of runs per student", 40)
    pictures: int = setting(integer(1), "maximum number of uploaded pictures per student", 20)
    upload: Any = setting(amount(), "maximum size of an uploaded file", "30MB")
    pixels: int = setting(integer(1), "maximum number of pixels of an uploaded picture", 50_000_000)
    side: int = setting(integer(MIN_SIDE), "maximum length of the longest side of a composite, in pixels", 512)
    epochs: int = setting(integer(1), "maximum number of epochs of a run, over all sizes", 2500)
    minutes: float = setting(number(above=0), "maximum computing time of a run, in minutes", 20.0)
    # fmt: on

    def __post_init__(self) -> None:
        check_fields(self)
