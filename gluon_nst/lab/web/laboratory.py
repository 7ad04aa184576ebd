"""The laboratory: its students, their pictures and their runs, and what each may do. It knows nothing of the web."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from gluon_nst.errors import InputError, NSTError
from gluon_nst.lab.web.estimates import in_words
from gluon_nst.lab.web.limits import SMALLEST, STUDENTS, Limits
from gluon_nst.lab.web.models import (
    ACTIVE,
    DISK_FULL,
    GOES_ON,
    MAKING,
    WAITING,
    WORKING,
    DiskFull,
    Full,
    Missing,
    StoredPicture,
    Student,
    Ticket,
)
from gluon_nst.lab.web.processes import answer
from gluon_nst.lab.web.request_bodies import Asked
from gluon_nst.lab.web.scheduler import Workshop
from gluon_nst.lab.web.store import ORIGINAL, SHOWN, Store, new_id
from gluon_nst.machine.files import shipped

OWN = {"mountains": "mountains.jpg", "autumn-oaks": "autumn-oaks.jpg"}
"""The pictures that every student finds: the project's own."""


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """What can't be written in the block is told to a student, who can't do anything about the disk."""
    try:
        yield
    except (NSTError, OSError):
        raise DiskFull(DISK_FULL) from None


def _numbered(label: str) -> Iterator[str]:
    """A file's name, and the same with numbers: phones call all of them image.jpg."""
    stem, dot, ending = label.rpartition(".")
    yield label
    for number in itertools.count(2):
        yield f"{stem}-{number}{dot}{ending}" if dot else f"{label}-{number}"


class Laboratory:
    """All that happens, in one event loop. `changed` is called whenever something is another."""

    def __init__(self, store: Store, limits: Limits, workers: int, threads: int, **of_jobs: Any) -> None:
        """`of_jobs` are what the Job of every run has: `memory`, in bytes, and `weights`."""
        self.store, self.limits, self._of_jobs = store, limits, of_jobs
        self.students: dict[str, Student] = {}
        self.own: dict[str, StoredPicture] = {}
        self.changed: Callable[[], Any] = lambda: None
        self.workshop = Workshop(store, self._order_of, workers, threads, lambda: self.changed())
        self._looking = asyncio.Semaphore(max(2, workers))
        self._filming = asyncio.Semaphore(1)

    # -- its beginning and its end ------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Find what is in the folder: who waits or was at work comes into the line again."""
        for name, file in OWN.items():
            folder = self.store.folder / "own" / name
            folder.mkdir(exist_ok=True)
            self.own[name] = await self._look(name, file, shipped(f"img/{file}"), folder / SHOWN)
        self.store.tidy()
        for student in self.store.students():
            self.students[student.id] = student
        again = [ticket for ticket in self.tickets() if ticket.status in ACTIVE]
        # Who was at work had had their turn.
        for ticket in sorted(again, key=lambda ticket: (ticket.status != WORKING, ticket.since)):
            ticket.status = WAITING
            self.workshop.join(ticket)

    async def measure(self) -> None:
        """Time what the expectations are made of; it takes some ten seconds."""
        self.workshop.expectation.measured(await answer("probe.rates", threads=self.workshop.threads) or {})
        for ticket in self.tickets():
            if ticket.status in ACTIVE:
                with contextlib.suppress(InputError):
                    ticket.expected = self.expect(self.students[ticket.student], ticket.request)
        self.changed()

    async def end(self) -> int:
        """Let every run save what it has come to; gives how many there are that will go on."""
        await self.workshop.end()
        for student in self.students.values():
            if student.tickets or student.pictures:
                with contextlib.suppress(NSTError):
                    self.store.keep_student(student)
        return sum(ticket.status in ACTIVE for ticket in self.tickets())

    def tickets(self) -> list[Ticket]:
        """Everybody's runs."""
        return [ticket for student in self.students.values() for ticket in student.tickets.values()]

    # -- students -----------------------------------------------------------------------------------------------------

    def welcome(self, id: str, name: str = "") -> Student:
        """The student of that id, who may be new.

        At the limit a new student replaces one without pictures, runs and an open page: the one who was last seen
        longest ago, who loses nothing by it, and can come in again. Raises Full if there is none.
        """
        if id not in self.students:
            if len(self.students) >= STUDENTS:
                idle = [each for each in self.students.values() if each.is_idle]
                if not idle:
                    raise Full("the lab is full; ask your teacher")
                del self.students[min(idle, key=lambda each: each.seen).id]
            self.students[id] = Student(id, name)
        return self.students[id]

    def sweep(self, hours: float) -> None:
        """Forget who has not been here for so many hours, and has nothing to wait for; who has nothing here after
        one."""
        for student in list(self.students.values()):
            waits = any(ticket.status in ACTIVE or ticket.film == MAKING for ticket in student.tickets.values())
            hours_of = min(hours, 1) if student.is_idle else hours
            if not (waits or student.incoming or student.listening) and time.time() - student.seen > hours_of * 3600:
                self.store.remove(self.store.of_student(student.id))
                del self.students[student.id]

    # -- pictures -----------------------------------------------------------------------------------------------------

    def picture(self, student: Student, name: str) -> StoredPicture:
        """The picture of that name: the lab's own, or the student's. Raises Missing for any other."""
        found = self.own.get(name) or student.pictures.get(name)
        if found is None:
            raise Missing("there is no such picture of yours; choose one of the page")
        return found

    def room_for_a_picture(self, student: Student) -> None:
        """Raise Full where a student has as many as are kept, with those that are coming in."""
        if len(student.pictures) + student.incoming >= self.limits.pictures:
            raise Full(f"you have {self.limits.pictures} pictures, as many as are kept; remove one first")

    async def take_in(self, student: Student, name: str, label: str) -> StoredPicture:
        """Look at a picture whose file has come into its folder. Raises InputError, with the file gone, for what is
        none."""
        folder = self.store.of_picture(student.id, name)
        try:
            picture = await self._look(name, label, folder / ORIGINAL, folder / SHOWN)
            taken = [each.label for each in (*self.own.values(), *student.pictures.values())]
            picture.label = next(name for name in _numbered(picture.label) if name not in taken)
            with _on_disk():
                self.store.keep_student(student)
                self.store.keep_picture(student.id, picture)
        except BaseException:
            self.store.remove(folder)
            raise
        student.pictures[name] = picture
        return picture

    async def _look(self, name: str, label: str, path: Path, shown: Path) -> StoredPicture:
        async with self._looking:
            found = (
                await answer("web.picture_check.main", str(path), str(shown), str(self.limits.pixels), seconds=60) or {}
            )
        if "height" not in found:
            line = found.get("error", "it could not be decoded; convert it to PNG or JPEG")
            if found.get("full"):
                raise DiskFull(DISK_FULL)
            raise InputError(f"{label}: {line}")
        return StoredPicture(name, label, found["height"], found["width"])

    def drop_picture(self, student: Student, name: str) -> None:
        """Remove a student's picture. Raises InputError for one that a run has."""
        if name not in student.pictures:
            raise Missing("there is no such picture of yours")
        if any(name in ticket.request.pictures for ticket in student.tickets.values()):
            raise InputError("a run of yours has this picture; remove that first")
        del student.pictures[name]
        self.store.remove(self.store.of_picture(student.id, name))

    # -- runs ---------------------------------------------------------------------------------------------------------

    def expect(self, student: Student, asked: Asked) -> float:
        """Seconds that the epochs of a run take, uncorrected. Raises InputError beyond the limits."""
        content, *_ = [self.picture(student, name) for name in asked.pictures]
        recipe = asked.fitted((content.height, content.width), self.limits)
        return self.workshop.expectation.seconds(asked.recipe, recipe)

    def allows(self, asked: Asked, seconds: float) -> bool:
        """Whether the lab allows a run of an estimated duration; the smallest size is always allowed."""
        return asked.side <= SMALLEST or seconds <= self.limits.minutes * 60

    def ask(self, student: Student, asked: Asked) -> Ticket:
        """A student asks for a run, which comes into the line. Raises InputError for what can't be, Full beyond a
        limit."""
        expected = self.expect(student, asked)
        seconds = self.workshop.expectation.corrected(expected)
        if not self.allows(asked, seconds):
            takes = in_words(seconds)
            raise InputError(
                f"this would take about {takes} here, and the lab allows {self.limits.minutes:g} minutes;"
                " choose a smaller size"
            )
        self._room_for_a_run(student)
        if len(student.tickets) >= self.limits.runs:
            raise Full(f"you have {self.limits.runs} runs, as many as are kept; remove one first")
        labels = {name: self.picture(student, name).label for name in asked.pictures}
        ticket = Ticket(new_id(), student.id, asked.as_dict(), labels, time.time(), expected)
        with _on_disk():  # what can't be kept is not begun
            self.store.keep_student(student)
            self.store.keep_ticket(ticket)
        student.tickets[ticket.id] = ticket
        self.workshop.join(ticket)
        return ticket

    def _room_for_a_run(self, student: Student) -> None:
        if sum(ticket.status in ACTIVE for ticket in student.tickets.values()) >= self.limits.jobs:
            raise Full(
                f"{self.limits.jobs} runs of yours wait or are at work, as many as you may have at once;"
                " pause or stop one first"
            )

    def _order_of(self, ticket: Ticket) -> dict[str, Any]:
        """What the process of a run is told."""
        paths = {name: str(self.path_of(ticket.student, name)) for name in ticket.request.pictures}
        limits = {"pixels": self.limits.pixels, "minutes": self.limits.minutes}
        told = {"asked": ticket.asked, "paths": paths, "labels": ticket.labels, "changed": dict(ticket.weights)}
        return {**told, **limits, "job": self._of_jobs}

    def path_of(self, student: str, name: str) -> Path:
        """The file of a picture as it came."""
        return shipped(f"img/{OWN[name]}") if name in OWN else self.store.of_picture(student, name) / ORIGINAL

    def go_on(self, student: Student, name: str) -> None:
        """A run that was stopped comes into the line again."""
        ticket = student.ticket(name)
        if ticket.status not in GOES_ON:
            raise InputError("this run does not wait for you to go on")
        if ticket.seconds >= self.limits.minutes * 60:
            raise InputError(f"this run has computed for {self.limits.minutes:g} minutes, as long as the lab allows")
        self._not_filmed(ticket)
        self._room_for_a_run(student)
        ticket.since, ticket.film = time.time(), ""
        self.workshop.put(ticket, WAITING)
        self.workshop.join(ticket)

    def halt(self, student: Student, name: str, how: str, note: str = "") -> None:
        """A run is to `pause`, or to `stop`, as soon as its epoch is done."""
        ticket = student.ticket(name)
        if ticket.status not in ACTIVE:
            raise InputError("this run has stopped already")
        self.workshop.halt(ticket, how, note)

    def steer(self, student: Student, name: str, weights: dict[str, float]) -> None:
        """The losses of a run are to have other weights from its next epoch on."""
        ticket = student.ticket(name)
        if ticket.status not in (*ACTIVE, *GOES_ON):
            raise InputError("this run has ended; start another one with these weights")
        asked = Asked.of({**ticket.asked, **ticket.steered_to, **weights})
        asked.customised()  # which checks what goes together
        if ticket.done or self.workshop.works_at(ticket):
            ticket.steered_to.update(weights)
            ticket.weights.update(weights)  # until its process says that it has them
            self.workshop.tell(ticket, do="weights", weights=weights)
        else:
            ticket.asked = asked.as_dict()
        self.workshop.put(ticket, ticket.status, ticket.note)

    def drop(self, student: Student, name: str) -> None:
        """Remove a run that is not at work."""
        ticket = student.ticket(name)
        if self.workshop.works_at(ticket):
            raise InputError("this run is at work; stop it first")
        self._not_filmed(ticket)
        self.workshop.leave(ticket)
        del student.tickets[name]
        self.store.remove(self.store.of_ticket(ticket))
        self.changed()

    def _not_filmed(self, ticket: Ticket) -> None:
        if ticket.film == MAKING:
            raise InputError("its film is being made; wait a moment")

    async def film(self, student: Student, name: str) -> None:
        """Make the film of a run, which takes some seconds."""
        ticket = student.ticket(name)
        if ticket.status in ACTIVE or not ticket.pictured:
            raise InputError("the film can be made when the run has stopped")
        if ticket.film == MAKING:
            return
        ticket.film = MAKING
        self.changed()
        made: dict[str, str] = {}
        try:
            async with self._filming:
                made = await answer("web.film.main", str(self.store.of_ticket(ticket)), seconds=300) or {}
        except OSError:  # no process could be started
            pass
        finally:
            ticket.film = made.get("film", "the film could not be made; try again a little later")
        self.workshop.put(ticket, ticket.status, ticket.note)
