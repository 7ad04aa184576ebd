"""Students, their pictures and their runs, and the errors of requests for them."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

from gluon_nst.errors import InputError, NSTError
from gluon_nst.lab.web.request_bodies import RunRequest
from gluon_nst.losses.records import Status
from gluon_nst.machine.files import replace_symbols

WAITING, WORKING, PAUSED, LOST = "waiting", "working", "paused", "lost"
"""Statuses of a run: queued; running; paused by its student; its process was killed."""
ACTIVE = (WAITING, WORKING)

HALT_COMMANDS = {"pause": PAUSED, "stop": Status.INTERRUPTED}
"""The commands that halt a run, each with the status that follows."""
RESUMABLE = (*HALT_COMMANDS.values(), LOST)
"""Statuses of a run that can be resumed."""

FILM_IN_PROGRESS = "making"
"""`LabRun.film` while the film is being made."""

DISK_FULL = "the lab's disk is full; tell your teacher"


@dataclasses.dataclass
class StoredPicture:
    """A picture: a student's, or one that is bundled with the package."""

    id: str
    label: str
    """The name of its file, with harmless characters only."""
    height: int
    width: int


@dataclasses.dataclass
class LabRun:
    """A run that a student requested.

    Its fields are the keys of its file, which an older version may have written.
    """

    id: str
    student: str
    """The student's id."""
    asked: dict[str, Any]
    """The request, as `RunRequest.as_dict` gives it."""
    labels: dict[str, str]
    """The labels of its pictures, by picture id."""
    since: float
    """When it was queued last, in seconds since 1970."""
    expected: float
    """Estimated seconds of its epochs, uncorrected (see `DurationEstimator`)."""
    status: str = WAITING
    """One of the above, or the status of its State: `complete`, `settled`, `interrupted`, `diverged`, `out of memory`,
    `failed`."""
    note: str = ""
    epochs: int = 0
    """Number of its epochs; 0 until it is known."""
    done: int = 0
    """Number of finished epochs."""
    shown: int = 0
    """Number of finished epochs of the picture that the page shows."""
    share: float = 0.0
    """Finished share of its work, from 0 to 1; epochs count by their pixels."""
    seconds: float = 0.0
    """Seconds of computing so far."""
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    """Changed weights that its process has not confirmed yet."""
    steered_to: dict[str, float] = dataclasses.field(default_factory=dict)
    """The latest value of each weight that was changed after the start."""
    turns: int = 0
    """Number of weight changes after the start."""
    pictured: bool = False
    """Whether its picture can be downloaded."""
    film: str = ""
    """FILM_IN_PROGRESS, `made`, or the error; empty if none was requested."""

    @property
    def request(self) -> RunRequest:
        """The request."""
        return RunRequest.from_json(self.asked)

    @property
    def steered(self) -> bool:
        """Whether weights were changed after the start."""
        return self.turns > 0


@dataclasses.dataclass
class Student:
    """A student of the lab."""

    id: str
    name: str = ""
    last_seen: float = dataclasses.field(default_factory=time.time)
    """Time of the last request, in seconds since 1970."""
    pictures: dict[str, StoredPicture] = dataclasses.field(default_factory=dict)
    runs: dict[str, LabRun] = dataclasses.field(default_factory=dict)
    uploads: int = 0
    """Number of pictures that are being uploaded."""
    open_streams: int = 0
    """Number of open event streams, one for each open page."""

    @property
    def is_idle(self) -> bool:
        """Whether the student has no pictures, no runs and no open page."""
        return not (self.runs or self.pictures or self.uploads or self.open_streams)

    def run(self, id: str) -> LabRun:
        """Return the student's run with that id. Raises NotFound for any other."""
        if id not in self.runs:
            raise NotFound("you have no such run")
        return self.runs[id]


class NotFound(InputError):
    """The object does not exist, or belongs to another student."""


class DiskFull(NSTError):
    """The disk is full."""


class TooLarge(InputError):
    """An uploaded file exceeds the size limit."""


class LimitReached(InputError):
    """The lab has its maximum number of students, pictures, runs or open pages."""


def safe_label(file_name: str, default: str) -> str:
    """Return the last part of a file's name, without special characters.

    Characters with a meaning in a path, URL or HTML are replaced.

    >>> safe_label("../../etc/pass<b>wd.png", "picture")
    'pass_b_wd.png'
    """
    last = replace_symbols(re.split(r"[/\\]", file_name)[-1], "_.-")
    return re.sub(" +", "_", last).strip("._-")[-60:] or default
