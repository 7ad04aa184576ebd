"""The limits of the lab: each field, with its rule and help, is an option `--max-…` of the command."""

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
    jobs: int = setting(integer(1), "how many runs of a student wait, or are at work, at once", 2)
    runs: int = setting(integer(1), "how many runs of a student are kept", 40)
    pictures: int = setting(integer(1), "how many uploaded pictures of a student are kept", 20)
    upload: Any = setting(amount(), "how large an uploaded file may be", "30MB")
    pixels: int = setting(integer(1), "how many pixels a picture may have", 50_000_000)
    side: int = setting(integer(MIN_SIDE), "the longest side of a composite, in pixels", 512)
    epochs: int = setting(integer(1), "how many epochs a run may have, at all of its sizes together", 2500)
    minutes: float = setting(number(above=0), "how long a run may compute", 20.0)
    # fmt: on

    def __post_init__(self) -> None:
        check_fields(self)
