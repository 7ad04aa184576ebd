"""What the server answers to students."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from gluon_nst.errors import InputError
from gluon_nst.lab.web.base_handler import NAME, STUDENT, VISIT, Answer
from gluon_nst.lab.web.body import Body
from gluon_nst.lab.web.models import HALTS, Full, Missing, Student, Ticket
from gluon_nst.lab.web.request_bodies import WEIGHTS, Asked, program
from gluon_nst.lab.web.store import (
    CURVE,
    FILM,
    LATEST,
    LOSSES,
    MOMENTS,
    PICTURE,
    RECIPE,
    RECORD,
    new_id,
)
from gluon_nst.lab.web.views import view
from gluon_nst.recipes import setting
from gluon_nst.recipes.rules import Rule, choice, number

FILES = {
    "latest.jpg": (LATEST, "image/jpeg", ""),
    "curve": (CURVE, "application/json", ""),
    "picture": (PICTURE, "image/png", "picture.png"),
    "record": (RECORD, "application/json", "record.json"),
    "recipe": (RECIPE, "application/toml", "recipe.toml"),
    "losses": (LOSSES, "text/csv", "losses.csv"),
    "film": (FILM, "image/webp", "film.webp"),
}
"""What of a run can be had: the last part of its address, its file, its kind, and the name under which it is kept."""


_STREAMS = 8
"""How many pages of one student are told of news at once."""


class Home(Answer):
    """The page; whoever is not in yet is asked to come in."""

    def get(self) -> None:
        """GET /."""
        student = self.student_or_none()
        if student is None and not self.door.stands_open:
            self.redirect(f"join?{self.request.query}" if self.request.query else "join")
            return
        name = student.name if student else self.admit("")
        self.show("lab.html", name=name, data=self.told(**self.settings["controls"]))


class Join(Answer):
    """The way in."""

    def get(self) -> None:
        """GET /join."""
        self._show(password=self.get_argument("token", "", strip=False))

    async def post(self) -> None:
        """POST /join: name, password."""
        name, password = self.get_body_argument("name", ""), self.get_body_argument("password", "", strip=False)
        (session, age), known = self.visit(), self.shown(STUDENT) is not None
        if not await self.door.opens(password, self.request.remote_ip or "", session, known, age):
            self.set_status(403)
            self._show(name, wrong=self.settings["words"]["join_wrong"])
            return
        self.admit(name)
        self.redirect("./")

    def _show(self, name: str = "", password: str = "", wrong: str = "") -> None:
        if self.shown(VISIT) is None:
            self.let_in(VISIT, f"{new_id()}:{time.time():.3f}")
        self.show("join.html", name=name, password=password, wrong=wrong, asked=not self.door.stands_open)


class Events(Answer):
    """The runs of the student who asks, as they change."""

    _listener: Student | None = None

    async def get(self) -> None:
        """GET /events: a stream of {"runs": those that are another, "gone": names, "all": whether that is all there
        is}."""
        student = self.student()
        if student.listening >= _STREAMS:
            raise Full("you have the lab open many times; close some of its pages")
        told: dict[str, dict[str, Any]] = {}
        first = True

        def news() -> str:
            nonlocal first
            student.seen = time.time()
            forecasts = self.lab.workshop.forecasts()
            now = {name: view(ticket, forecasts) for name, ticket in student.tickets.items()}
            fresh = [each for name, each in now.items() if told.get(name) != each]
            gone = [name for name in told if name not in now]
            told.clear()
            told.update(now)
            text = json.dumps({"runs": fresh, "gone": gone, "all": first}) if fresh or gone or first else ""
            first = False
            return text

        student.listening += 1
        self._listener = student
        try:
            await self.stream(news)
        finally:
            self.on_connection_close()

    def on_connection_close(self) -> None:
        if self._listener:  # at once, and not when the next news can't be sent
            self._listener.listening -= 1
            self._listener = None


# -- runs -------------------------------------------------------------------------------------------------------------


def _weights() -> Rule:
    """Weights of losses by their names; None for none."""
    each = number()

    def convert(values: Any) -> dict[str, float] | None:
        if values is None:
            return None
        if not isinstance(values, dict) or not values or not set(values) <= set(WEIGHTS):
            raise ValueError
        return {name: each.check(value, name) for name, value in values.items()}

    return Rule(convert, f"any of {', '.join(WEIGHTS)}, each with {each.allowed}")


@dataclasses.dataclass(frozen=True)
class StudentsCommand(Body):
    """A student's command to a run; `weights` go with the command of that name."""

    do: str = setting(choice(*HALTS, "go on", "weights"), "the command")
    weights: dict[str, float] | None = setting(_weights(), "other weights of the losses", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.do == "weights") != (self.weights is not None):
            raise InputError("weights: missing, or not for this command")


class Runs(Answer):
    """A new run."""

    def post(self) -> None:
        """POST /runs: what is asked for, as JSON."""
        ticket = self.lab.ask(self.student(), self.body(Asked))
        self.set_status(201)
        self.finish(view(ticket, self.lab.workshop.forecasts()))


class Expected(Answer):
    """How long a run would take."""

    def post(self) -> None:
        """POST /expected: what would be asked for; gives the seconds at each size, or why it can't be."""
        student, given = self.student(), self.body(Asked)
        found: dict[str, Any] = {}
        for side in self.settings["controls"]["sides"]:
            try:
                asked = dataclasses.replace(given, side=side)
                seconds = self.lab.workshop.expectation.corrected(self.lab.expect(student, asked))
                found[str(side)] = {"seconds": round(seconds), "allowed": self.lab.allows(asked, seconds)}
            except InputError as error:
                found[str(side)] = {"error": str(error), "allowed": False}
        self.finish({"sides": found, "waiting": self.lab.workshop.waiting})


class RunOf(Answer):
    """A run of the student's."""

    def delete(self, name: str) -> None:
        """DELETE /runs/NAME."""
        self.lab.drop(self.student(), name)
        self.finish({})

    def post(self, name: str) -> None:
        """POST /runs/NAME: {"do": "pause", "stop" or "go on"}, or {"do": "weights", "weights": {…}}."""
        student, command = self.student(), self.body(StudentsCommand)
        if command.weights is not None:
            self.lab.steer(student, name, command.weights)
        elif command.do == "go on":
            self.lab.go_on(student, name)
        else:
            self.lab.halt(student, name, command.do)
        self.finish({})


class FileOf(Answer):
    """What there is of a run."""

    def ticket(self, name: str) -> Ticket:
        """The run of that name of whoever asks."""
        return self.student().ticket(name)

    def get(self, name: str, what: str) -> None:
        """GET /runs/NAME/WHAT: one of FILES."""
        if what not in FILES:
            raise Missing("there is no such file of a run")
        file, kind, download = FILES[what]
        shown = download if self.get_argument("download", "") else ""
        self.file(self.lab.store.of_ticket(self.ticket(name)) / file, kind, shown)


class MomentOf(FileOf):
    """A picture along the way of a run."""

    def get(self, name: str, done: str) -> None:  # type: ignore[override]
        """GET /runs/NAME/moments/EPOCHS."""
        self.file(self.lab.store.of_ticket(self.ticket(name)) / MOMENTS / f"{int(done)}.jpg", "image/jpeg")


class FilmOf(FileOf):
    """The film of a run."""

    def get(self, name: str) -> None:  # type: ignore[override]
        """GET /runs/NAME/film."""
        super().get(name, "film")

    async def post(self, name: str) -> None:
        """POST /runs/NAME/film: have it made."""
        self.body(Body)
        await self.lab.film(self.student(), name)
        self.finish({})


class ProgramOf(Answer):
    """The program that makes the same picture."""

    def get(self, name: str) -> None:
        """GET /runs/NAME/program: {"command", "python"}."""
        ticket = self.student().ticket(name)
        self.finish(program(ticket.request, ticket.labels, self.lab.workshop.threads, ticket.steered))


ROUTES: list[Any] = [
    ("/", Home),
    ("/join", Join),
    ("/events", Events),
    ("/expected", Expected),
    ("/runs", Runs),
    (f"/runs/{NAME}", RunOf),
    (f"/runs/{NAME}/film", FilmOf),
    (f"/runs/{NAME}/program", ProgramOf),
    (f"/runs/{NAME}/moments/([0-9]{{1,9}})", MomentOf),
    (f"/runs/{NAME}/([a-z.]+)", FileOf),
]
