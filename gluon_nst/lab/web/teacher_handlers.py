"""The teacher's view: who is here, who waits, what is at work; a run stopped; the class's latest pictures to show."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from tornado.web import HTTPError

from gluon_nst.lab.web.base_handler import NAME, TEACHER, Answer
from gluon_nst.lab.web.body import Body
from gluon_nst.lab.web.models import Missing, Student, Ticket
from gluon_nst.lab.web.student_handlers import FILES
from gluon_nst.lab.web.views import view
from gluon_nst.machine import available_memory
from gluon_nst.recipes import setting
from gluon_nst.recipes.rules import choice


class ForTeachers(Answer):
    """An answer to the teacher alone."""

    def is_teacher(self) -> bool:
        """Whether the teacher asks."""
        return self.shown(TEACHER) is not None

    def prepare(self) -> None:
        super().prepare()
        if not self.is_teacher():
            raise HTTPError(401)

    def found(self, name: str) -> tuple[Student, Ticket]:
        """The run of that name, whosever it is. Raises Missing where there is none."""
        for student in self.lab.students.values():
            if name in student.tickets:
                return student, student.tickets[name]
        raise Missing("there is no such run; it may have been removed")


class Teacher(ForTeachers):
    """The teacher's page; whoever has not shown the teacher's token is asked for it."""

    def prepare(self) -> None:
        Answer.prepare(self)

    async def get(self) -> None:
        """GET /teacher."""
        token = self.get_argument("token", "", strip=False)
        if token and await self._opens(token):
            self.let_in(TEACHER, "teacher")
            self.redirect("teacher")  # so that the token does not stand in the address, where a class can read it
        elif not self.is_teacher():
            self.show("teacher_in.html", wrong=self.settings["words"]["join_wrong"] if token else "")
        else:
            self.show("teacher.html", data=self.told())

    async def post(self) -> None:
        """POST /teacher: token."""
        if not await self._opens(self.get_body_argument("token", "", strip=False)):
            self.set_status(403)
            self.show("teacher_in.html", wrong=self.settings["words"]["join_wrong"])
            return
        self.let_in(TEACHER, "teacher")
        self.redirect("teacher")

    async def _opens(self, token: str) -> bool:
        return await self.settings["teachers_door"].opens(token, self.request.remote_ip or "", session="")


class TeachersEvents(ForTeachers):
    """All that goes on, as it changes."""

    async def get(self) -> None:
        """GET /teacher/events: a stream of {"students", "load", "memory", "workers", "waiting"}."""
        told = ""

        def news() -> str:
            nonlocal told
            text = json.dumps(self._overview())
            if text == told:
                return ""
            told = text
            return text

        await self.stream(news)

    def _overview(self) -> dict[str, Any]:
        lab = self.lab
        forecasts = lab.workshop.forecasts()
        students = [
            {
                "id": f"student-{number}",
                "name": student.name or f"{self.settings['words']['guest']} {number}",
                "pictures": len(student.pictures),
                "runs": [view(ticket, forecasts) for ticket in student.tickets.values()],
            }
            for number, student in enumerate(lab.students.values(), start=1)
            if student.name or student.tickets or student.pictures
        ]
        return {
            "students": students,
            "workers": lab.workshop.workers,
            "waiting": lab.workshop.waiting,
            "load": round(os.getloadavg()[0], 1),
            "memory": round(available_memory() / 1e9, 1),
        }


@dataclasses.dataclass(frozen=True)
class TeachersCommand(Body):
    """The teacher's command to a run."""

    do: str = setting(choice("stop"), "the command")


class TeachersRun(ForTeachers):
    """A run of anybody's."""

    def post(self, name: str) -> None:
        """POST /teacher/runs/NAME: {"do": "stop"}."""
        student, _ = self.found(name)
        self.lab.halt(student, name, self.body(TeachersCommand).do, self.settings["words"]["stopped_by_teacher"])
        self.finish({})


class TeachersPicture(ForTeachers):
    """The picture of a run of anybody's."""

    def get(self, name: str) -> None:
        """GET /teacher/runs/NAME/latest.jpg."""
        file, kind, _ = FILES["latest.jpg"]
        self.file(self.lab.store.of_ticket(self.found(name)[1]) / file, kind)


ROUTES: list[Any] = [
    ("/teacher", Teacher),
    ("/teacher/events", TeachersEvents),
    (f"/teacher/runs/{NAME}", TeachersRun),
    (f"/teacher/runs/{NAME}/latest.jpg", TeachersPicture),
]
