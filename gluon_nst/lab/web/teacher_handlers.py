"""Handlers of the teacher's page: students, runs, load, and stopping a run."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from tornado.web import HTTPError

from gluon_nst.lab.web.base_handler import ID_PATTERN, TEACHER_COOKIE, BaseHandler
from gluon_nst.lab.web.events import run_as_json
from gluon_nst.lab.web.models import LabRun, NotFound, Student
from gluon_nst.lab.web.request_bodies import RequestBody
from gluon_nst.lab.web.student_handlers import RUN_FILES
from gluon_nst.machine import available_memory
from gluon_nst.recipes import setting
from gluon_nst.recipes.rules import choice


class TeacherBaseHandler(BaseHandler):
    """A handler that answers the teacher only."""

    def is_teacher(self) -> bool:
        """Whether the teacher sent the request."""
        return self.cookie(TEACHER_COOKIE) is not None

    def prepare(self) -> None:
        super().prepare()
        if not self.is_teacher():
            raise HTTPError(401)

    def find_run(self, id: str) -> tuple[Student, LabRun]:
        """Return any student's run by id. Raises NotFound if there is none."""
        for student in self.lab.students.values():
            if id in student.runs:
                return student, student.runs[id]
        raise NotFound("no such run; it may have been removed")


class TeacherPageHandler(TeacherBaseHandler):
    """The teacher's page, or a form for the teacher's token."""

    def prepare(self) -> None:
        BaseHandler.prepare(self)

    async def get(self) -> None:
        """GET /teacher."""
        token = self.get_argument("token", "", strip=False)
        if token and await self._check(token):
            self.send_cookie(TEACHER_COOKIE, "teacher")
            self.redirect("teacher")  # so that the token is not in the browser's address bar, where a class can read it
        elif not self.is_teacher():
            self.send_page("teacher_in.html", wrong=self.settings["texts"]["join_wrong"] if token else "")
        else:
            self.send_page("teacher.html", data=self.page_data())

    async def post(self) -> None:
        """POST /teacher: token."""
        if not await self._check(self.body_text("token", strip=False)):
            self.set_status(403)
            self.send_page("teacher_in.html", wrong=self.settings["texts"]["join_wrong"])
            return
        self.send_cookie(TEACHER_COOKIE, "teacher")
        self.redirect("teacher")

    async def _check(self, token: str) -> bool:
        return await self.settings["teacher_authenticator"].check(token, self.request.remote_ip or "", session="")


class TeacherEventsHandler(TeacherBaseHandler):
    """The event stream of all students and their runs."""

    async def get(self) -> None:
        """GET /teacher/events: a stream of the state of the class.

        An event is {"students", "load", "memory", "workers", "waiting"}.
        """
        sent = ""

        def next_event() -> str:
            nonlocal sent
            data = json.dumps(self._overview())
            if data == sent:
                return ""
            sent = data
            return data

        await self.send_events(next_event)

    def _overview(self) -> dict[str, Any]:
        lab = self.lab
        forecasts = lab.scheduler.forecasts()
        students = [
            {
                "id": f"student-{number}",
                "name": student.name or f"{self.settings['texts']['guest']} {number}",
                "pictures": len(student.pictures),
                "runs": [run_as_json(run, forecasts) for run in student.runs.values()],
            }
            for number, student in enumerate(lab.students.values(), start=1)
            if student.name or student.runs or student.pictures
        ]
        return {
            "students": students,
            "workers": lab.scheduler.workers,
            "waiting": lab.scheduler.queue_length,
            "load": round(os.getloadavg()[0], 1),
            "memory": round(available_memory() / 1e9, 1),
        }


@dataclasses.dataclass(frozen=True)
class TeacherCommand(RequestBody):
    """The teacher's command to a run."""

    do: str = setting(choice("stop"), "the command")


class TeacherRunHandler(TeacherBaseHandler):
    """Any student's run."""

    def post(self, id: str) -> None:
        """POST /teacher/runs/ID: {"do": "stop"}."""
        student, _ = self.find_run(id)
        command = self.parse_body(TeacherCommand).do
        self.lab.halt(student, id, command, self.settings["texts"]["stopped_by_teacher"])
        self.finish({})


class TeacherPictureHandler(TeacherBaseHandler):
    """The latest picture of any student's run."""

    def get(self, id: str) -> None:
        """GET /teacher/runs/ID/latest.jpg."""
        file, content_type, _ = RUN_FILES["latest.jpg"]
        self.send_file(self.lab.store.run_folder(self.find_run(id)[1]) / file, content_type)


ROUTES: list[Any] = [
    ("/teacher", TeacherPageHandler),
    ("/teacher/events", TeacherEventsHandler),
    (f"/teacher/runs/{ID_PATTERN}", TeacherRunHandler),
    (f"/teacher/runs/{ID_PATTERN}/latest.jpg", TeacherPictureHandler),
]
