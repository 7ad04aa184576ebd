"""Students, their pictures and their runs, as the lab keeps them: what outlives the server is in these fields."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

from gluon_nst.errors import InputError, NSTError
from gluon_nst.lab.web.request_bodies import Asked
from gluon_nst.machine.files import lettered

WAITING, WORKING, PAUSED, LOST = "waiting", "working", "paused", "lost"
"""In the line; at work; stopped by its student, to go on; its process was ended from outside."""

MAKING = "making"
"""A film that is not there yet."""
HALTS = {"pause": PAUSED, "stop": "interrupted"}
"""The commands that halt a run, and the statuses that it has then."""
GOES_ON = (*HALTS.values(), LOST)
"""The statuses of a run that can go on."""
ACTIVE = (WAITING, WORKING)

DISK_FULL = "there is no room on the lab's disk; tell your teacher"


@dataclasses.dataclass
class StoredPicture:
    """A picture of a student's, or of the lab's own."""

    id: str
    label: str
    """What its file was called, in letters that are harmless anywhere."""
    height: int
    width: int


@dataclasses.dataclass
class Ticket:
    """A run that a student asked for."""

    id: str
    student: str
    asked: dict[str, Any]
    labels: dict[str, str]
    """What its pictures are called, by their names."""
    since: float
    """When it was asked for, or came into the line again, in seconds since 1970."""
    expected: float
    """Seconds that its epochs were estimated to take, uncorrected (see Expectation)."""
    status: str = WAITING
    """One of the above, or that of its State: `complete`, `settled`, `interrupted`, `diverged`, `out of memory`,
    `failed`."""
    note: str = ""
    epochs: int = 0
    """That it has in all, as far as that is known."""
    done: int = 0
    """That are done."""
    shown: int = 0
    """How many were when the picture was made that the page shows."""
    share: float = 0.0
    """How much of its work is done, from 0 to 1: an epoch of a larger size is more of it."""
    seconds: float = 0.0
    """That it has computed."""
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    """Weights that were changed, and that it does not have yet."""
    steered_to: dict[str, float] = dataclasses.field(default_factory=dict)
    """All weights that were changed on the way, as they were changed last."""
    turns: int = 0
    """How often weights were changed on the way."""
    pictured: bool = False
    """Whether its picture can be downloaded."""
    film: str = ""
    """MAKING or `made`, where its student asked for one, or why there is none."""

    @property
    def request(self) -> Asked:
        """What was asked for."""
        return Asked.of(self.asked)

    @property
    def steered(self) -> bool:
        """Whether weights were changed on the way."""
        return self.turns > 0


@dataclasses.dataclass
class Student:
    """Somebody in the lab."""

    id: str
    name: str = ""
    seen: float = dataclasses.field(default_factory=time.time)
    """When they were last here, in seconds since 1970."""
    pictures: dict[str, StoredPicture] = dataclasses.field(default_factory=dict)
    tickets: dict[str, Ticket] = dataclasses.field(default_factory=dict)
    incoming: int = 0
    """How many pictures are on their way in."""
    listening: int = 0
    """How many pages of theirs are told of news."""

    @property
    def is_idle(self) -> bool:
        """Whether they have nothing here, and no page open."""
        return not (self.tickets or self.pictures or self.incoming or self.listening)

    def ticket(self, name: str) -> Ticket:
        """Their run of that name. Raises Missing for any other."""
        if name not in self.tickets:
            raise Missing("there is no such run of yours")
        return self.tickets[name]


class Missing(InputError):
    """What is asked for is not there, or not the student's."""


class DiskFull(NSTError):
    """The disk is full."""


class TooLarge(InputError):
    """A file has more bytes than the lab allows."""


class Full(InputError):
    """A limit of the lab is reached."""


def label(name: str, default: str) -> str:
    """The name of an uploaded file as it is told to people: its last part, with nothing in it that means anything
    anywhere.

    >>> label("../../etc/pass<b>wd.png", "picture")
    'pass_b_wd.png'
    """
    last = lettered(re.split(r"[/\\]", name)[-1], "_.-")
    return re.sub(" +", "_", last).strip("._-")[-60:] or default
