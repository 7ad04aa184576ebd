"""Handlers of the page, of signing in, and of a student's runs."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from gluon_nst.errors import InputError
from gluon_nst.lab.web.base_handler import ID_PATTERN, SESSION_COOKIE, STUDENT_COOKIE, BaseHandler
from gluon_nst.lab.web.events import run_as_json
from gluon_nst.lab.web.models import HALT_COMMANDS, LimitReached, NotFound, Student
from gluon_nst.lab.web.request_bodies import WEIGHTS, RequestBody, RunRequest, equivalent_program
from gluon_nst.lab.web.store import (
    CURVE,
    FILM,
    LATEST,
    LOSSES,
    PICTURE,
    RECIPE,
    RECORD,
    SNAPSHOTS,
    new_id,
)
from gluon_nst.recipes import setting
from gluon_nst.recipes.rules import Rule, choice, number

RUN_FILES = {
    "latest.jpg": (LATEST, "image/jpeg", ""),
    "curve": (CURVE, "application/json", ""),
    "picture": (PICTURE, "image/png", "picture.png"),
    "record": (RECORD, "application/json", "record.json"),
    "recipe": (RECIPE, "application/toml", "recipe.toml"),
    "losses": (LOSSES, "text/csv", "losses.csv"),
    "film": (FILM, "image/webp", "film.webp"),
}
"""The files of a run, by the last part of their URL: name, content type, name of the download."""

_MAX_STREAMS = 8
"""Maximum number of event streams of a student, one for each open page."""


class HomeHandler(BaseHandler):
    """The page; redirects to the form for signing in if a password is required."""

    def get(self) -> None:
        """GET /."""
        student = self.find_student()
        if student is None and self.authenticator.requires_password:
            self.redirect(f"join?{self.request.query}" if self.request.query else "join")
            return
        name = student.name if student else self.sign_in("")
        self.send_page("lab.html", name=name, data=self.page_data(**self.settings["controls"]))


class JoinHandler(BaseHandler):
    """The form for signing in."""

    def get(self) -> None:
        """GET /join."""
        self._send_form(password=self.get_argument("token", "", strip=False))

    async def post(self) -> None:
        """POST /join: name, password."""
        name, password = self.body_text("name"), self.body_text("password", strip=False)
        (session, age), known = self.session(), self.cookie(STUDENT_COOKIE) is not None
        if not await self.authenticator.check(password, self.request.remote_ip or "", session, known, age):
            self.set_status(403)
            self._send_form(name, wrong=self.settings["texts"]["join_wrong"])
            return
        self.sign_in(name)
        self.redirect("./")

    def _send_form(self, name: str = "", password: str = "", wrong: str = "") -> None:
        if self.cookie(SESSION_COOKIE) is None:
            self.send_cookie(SESSION_COOKIE, f"{new_id()}:{time.time():.3f}")
        required = self.authenticator.requires_password
        self.send_page("join.html", name=name, password=password, wrong=wrong, password_required=required)


class EventsHandler(BaseHandler):
    """The event stream of a student's runs."""

    _streaming_to: Student | None = None

    async def get(self) -> None:
        """GET /events: a stream of the student's runs.

        An event is {"runs": new or changed ones, "gone": removed ids, "all": whether these are all}.
        """
        student = self.require_student()
        if student.open_streams >= _MAX_STREAMS:
            raise LimitReached("the lab is open in too many tabs; close some of them")
        sent: dict[str, dict[str, Any]] = {}
        first = True

        def next_event() -> str:
            nonlocal first
            student.last_seen = time.time()
            forecasts = self.lab.scheduler.forecasts()
            current = {id: run_as_json(run, forecasts) for id, run in student.runs.items()}
            changed = [values for id, values in current.items() if sent.get(id) != values]
            removed = [id for id in sent if id not in current]
            sent.clear()
            sent.update(current)
            event = {"runs": changed, "gone": removed, "all": first}
            data = json.dumps(event) if changed or removed or first else ""
            first = False
            return data

        student.open_streams += 1
        self._streaming_to = student
        try:
            await self.send_events(next_event)
        finally:
            self.on_connection_close()

    def on_connection_close(self) -> None:
        if self._streaming_to:  # at once, and not when the next event can't be sent
            self._streaming_to.open_streams -= 1
            self._streaming_to = None


# -- runs -------------------------------------------------------------------------------------------------------------


def _weights_rule() -> Rule:
    """Return the rule of weights by name, or None."""
    weight_rule = number()

    def convert(values: Any) -> dict[str, float] | None:
        if values is None:
            return None
        if not isinstance(values, dict) or not values or not set(values) <= set(WEIGHTS):
            raise ValueError
        return {name: weight_rule.check(value, name) for name, value in values.items()}

    return Rule(convert, f"any of {', '.join(WEIGHTS)}, each with {weight_rule.allowed}")


@dataclasses.dataclass(frozen=True)
class RunCommand(RequestBody):
    """A student's command to a run; the command `weights` has `weights`."""

    do: str = setting(choice(*HALT_COMMANDS, "go on", "weights"), "the command")
    weights: dict[str, float] | None = setting(_weights_rule(), "new weights of the losses", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.do == "weights") != (self.weights is not None):
            raise InputError("weights: missing, or not for this command")


class RunsHandler(BaseHandler):
    """New runs."""

    def post(self) -> None:
        """POST /runs: a RunRequest."""
        run = self.lab.submit(self.require_student(), self.parse_body(RunRequest))
        self.set_status(201)
        self.finish(run_as_json(run, self.lab.scheduler.forecasts()))


class EstimateHandler(BaseHandler):
    """Estimates of how long a run would take."""

    def post(self) -> None:
        """POST /expected: a RunRequest; returns the seconds, or an error, for each size."""
        student, body = self.require_student(), self.parse_body(RunRequest)
        estimates: dict[str, Any] = {}
        for side in self.settings["controls"]["sides"]:
            try:
                request = dataclasses.replace(body, side=side)
                seconds = self.lab.scheduler.estimator.corrected(self.lab.estimate(student, request))
                estimates[str(side)] = {"seconds": round(seconds), "allowed": self.lab.allows(request, seconds)}
            except InputError as error:
                estimates[str(side)] = {"error": str(error), "allowed": False}
        self.finish({"sides": estimates, "waiting": self.lab.scheduler.queue_length})


class RunHandler(BaseHandler):
    """A run of the student."""

    def delete(self, id: str) -> None:
        """DELETE /runs/ID."""
        self.lab.remove_run(self.require_student(), id)
        self.finish({})

    def post(self, id: str) -> None:
        """POST /runs/ID: a command to a run.

        It is {"do": "pause", "stop" or "go on"}, or {"do": "weights", "weights": {…}}.
        """
        student, command = self.require_student(), self.parse_body(RunCommand)
        if command.weights is not None:
            self.lab.steer(student, id, command.weights)
        elif command.do == "go on":
            self.lab.resume(student, id)
        else:
            self.lab.halt(student, id, command.do)
        self.finish({})


class RunFileHandler(BaseHandler):
    """A file of a run."""

    def get(self, id: str, name: str) -> None:
        """GET /runs/ID/NAME: one of RUN_FILES."""
        if name not in RUN_FILES:
            raise NotFound("a run has no such file")
        file, content_type, download_name = RUN_FILES[name]
        folder = self.lab.store.run_folder(self.require_student().run(id))
        self.send_file(folder / file, content_type, download_name if self.get_argument("download", "") else "")


class SnapshotHandler(BaseHandler):
    """A snapshot of a run."""

    def get(self, id: str, done: str) -> None:
        """GET /runs/ID/moments/EPOCHS."""
        folder = self.lab.store.run_folder(self.require_student().run(id))
        self.send_file(folder / SNAPSHOTS / f"{int(done)}.jpg", "image/jpeg")


class FilmHandler(RunFileHandler):
    """The film of a run."""

    def get(self, id: str) -> None:  # type: ignore[override]
        """GET /runs/ID/film."""
        super().get(id, "film")

    async def post(self, id: str) -> None:
        """POST /runs/ID/film: make the film."""
        self.parse_body(RequestBody)
        await self.lab.make_film(self.require_student(), id)
        self.finish({})


class ProgramHandler(BaseHandler):
    """The program that makes the same picture without the page."""

    def get(self, id: str) -> None:
        """GET /runs/ID/program: {"command", "python"}."""
        run = self.require_student().run(id)
        self.finish(equivalent_program(run.request, run.labels, self.lab.scheduler.threads, run.steered))


ROUTES: list[Any] = [
    ("/", HomeHandler),
    ("/join", JoinHandler),
    ("/events", EventsHandler),
    ("/expected", EstimateHandler),
    ("/runs", RunsHandler),
    (f"/runs/{ID_PATTERN}", RunHandler),
    (f"/runs/{ID_PATTERN}/film", FilmHandler),
    (f"/runs/{ID_PATTERN}/program", ProgramHandler),
    (f"/runs/{ID_PATTERN}/moments/([0-9]{{1,9}})", SnapshotHandler),
    (f"/runs/{ID_PATTERN}/([a-z.]+)", RunFileHandler),
]
