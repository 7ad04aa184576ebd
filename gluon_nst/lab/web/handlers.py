"""What the server answers to students."""

from __future__ import annotations

import contextlib
import json
from typing import IO, Any
from urllib.parse import unquote

from tornado.web import HTTPError, stream_request_body

from gluon_nst.errors import InputError
from gluon_nst.lab.web.asked import Asked, program
from gluon_nst.lab.web.base import Answer
from gluon_nst.lab.web.store import (
    CURVE,
    FILM,
    LATEST,
    LOSSES,
    MOMENTS,
    ORIGINAL,
    PICTURE,
    RECIPE,
    RECORD,
    SHOWN,
    new_id,
)
from gluon_nst.lab.web.tickets import Missing, Ticket, label
from gluon_nst.lab.web.views import view

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


class Home(Answer):
    """The page; whoever is not in yet is asked to come in."""

    def get(self) -> None:
        """GET /."""
        student = self.student_or_none()
        if student is None and not self.door.stands_open:
            self.redirect(f"join?{self.request.query}" if self.request.query else "join")
            return
        student = student or self.admit("")
        data = {**self.settings["controls"], "texts": self.settings["words"], "xsrf": self.xsrf_token.decode()}
        self.show("lab.html", student=student, data=json.dumps(data).replace("<", "\\u003c"))


class Join(Answer):
    """The way in."""

    def get(self) -> None:
        """GET /join."""
        self.show(
            "join.html", name="", password=self.get_argument("token", ""), wrong="", asked=not self.door.stands_open
        )

    def post(self) -> None:
        """POST /join: name, password."""
        name, password = self.get_body_argument("name", ""), self.get_body_argument("password", "")
        if not self.door.opens(password, self.request.remote_ip or ""):
            self.set_status(403)
            wrong = self.settings["words"]["join_wrong"]
            self.show("join.html", name=name, password="", wrong=wrong, asked=True)
            return
        self.admit(name)
        self.redirect("./")


class Events(Answer):
    """The runs of the student who asks, as they change."""

    async def get(self) -> None:
        """GET /events: a stream of {"runs": those that are another, "gone": names}."""
        student = self.student()
        told: dict[str, str] = {}

        def news() -> str:
            expected = self.lab.workshop.expected()
            now = {name: json.dumps(view(ticket, expected)) for name, ticket in student.tickets.items()}
            fresh = [json.loads(text) for name, text in now.items() if told.get(name) != text]
            gone = [name for name in told if name not in now]
            told.clear()
            told.update(now)
            return json.dumps({"runs": fresh, "gone": gone}) if fresh or gone else ""

        await self.stream(news)


_THROWN_AWAY = 2_000_000_000
"""Bytes of a file that is too large which are waited for."""

# -- pictures ---------------------------------------------------------------------------------------------------------


@stream_request_body
class Pictures(Answer):
    """The student's pictures, and the way of a new one into the lab: the bytes of its file, counted as they come."""

    _file: IO[bytes] | None = None
    _refusal: Exception | None = None

    def get(self) -> None:
        """GET /pictures."""
        student = self.student()
        self.finish({"pictures": [vars(each) for each in (*self.lab.own.values(), *student.pictures.values())]})

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST":
            return
        self._student, self._size, self._name = self.student(), 0, new_id()
        self._folder = self.lab.store.of_picture(self._student.id, self._name)
        # What is refused is taken and thrown away: a browser that may not end its sentence does not hear the answer.
        self.request.connection.set_max_body_size(_THROWN_AWAY)  # type: ignore[union-attr]
        try:
            self.lab.room_for_a_picture(self._student)
            self._folder.mkdir(parents=True)
            self._file = open(self._folder / ORIGINAL, "wb")  # noqa: SIM115 (as long as the bytes come)
        except (InputError, OSError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, OSError):
            reason = f"there is no room for it on the lab's disk ({error.strerror}); tell your teacher"
            error = HTTPError(507, reason)
        self._refusal = error
        self._close()
        self.lab.store.remove(self._folder)

    def _close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None

    def data_received(self, chunk: bytes) -> None:
        """Some bytes of the file."""
        self._size += len(chunk)
        most = self.lab.limits.upload
        if self._file is None:
            return
        if self._size > most:
            self._refuse(HTTPError(413, f"the file has more than {most / 1e6:.0f} MB; scale the picture down first"))
            return
        try:
            self._file.write(chunk)
        except OSError as error:
            self._refuse(error)

    def on_connection_close(self) -> None:
        if self._file:
            self._close()
            self.lab.store.remove(self._folder)

    async def post(self) -> None:
        """POST /pictures: the file; its name in X-Name."""
        try:
            if self._file:
                self._file.flush()
        except OSError as error:
            self._refuse(error)
        self._close()
        if self._refusal:
            raise self._refusal
        name = label(unquote(self.request.headers.get("X-Name", "")), "picture")
        self.set_status(201)
        self.finish(vars(await self.lab.take_in(self._student, self._name, name)))


class PictureOf(Answer):
    """A picture of the student's."""

    def get(self, name: str) -> None:
        """GET /pictures/NAME: as the page shows it."""
        student = self.student()
        self.lab.picture(student, name)
        self.file(self.lab.store.of_picture(student.id, name) / SHOWN, "image/jpeg")

    def delete(self, name: str) -> None:
        """DELETE /pictures/NAME."""
        self.lab.drop_picture(self.student(), name)
        self.finish({})


# -- runs -------------------------------------------------------------------------------------------------------------


class Runs(Answer):
    """A new run."""

    def post(self) -> None:
        """POST /runs: what is asked for, as JSON."""
        ticket = self.lab.ask(self.student(), Asked.of(self.asked_json()))
        self.set_status(201)
        self.finish(view(ticket, self.lab.workshop.expected()))


class Expected(Answer):
    """How long a run would take."""

    def post(self) -> None:
        """POST /expected: what would be asked for; gives the seconds at each size, or why it can't be."""
        student, values = self.student(), self.asked_json()
        if not isinstance(values, dict):
            raise InputError("a run is asked for with content and styles")
        found: dict[str, Any] = {}
        for side in self.settings["controls"]["sides"]:
            try:
                seconds = self.lab.expect(student, Asked.of({**values, "side": side}))
                found[str(side)] = {"seconds": round(seconds), "allowed": seconds <= self.lab.limits.minutes * 60}
            except InputError as error:
                found[str(side)] = {"error": str(error), "allowed": False}
        self.finish({"sides": found, "waiting": len(self.lab.workshop.expected())})


class RunOf(Answer):
    """A run of the student's."""

    def delete(self, name: str) -> None:
        """DELETE /runs/NAME."""
        self.lab.drop(self.student(), name)
        self.finish({})

    def post(self, name: str) -> None:
        """POST /runs/NAME: {"do": "pause", "stop" or "go on"}, or {"do": "weights", "weights": {…}}."""
        student, values = self.student(), self.asked_json()
        command = values.get("do") if isinstance(values, dict) else None
        if command in ("pause", "stop"):
            self.lab.halt(student, name, command)
        elif command == "go on":
            self.lab.go_on(student, name)
        elif command == "weights":
            self.lab.steer(student, name, values.get("weights"))
        else:
            raise InputError("do: one of pause, stop, go on, weights")
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
        await self.lab.film(self.student(), name)
        self.finish({})


class ProgramOf(Answer):
    """The program that makes the same picture."""

    def get(self, name: str) -> None:
        """GET /runs/NAME/program: {"command", "python"}."""
        ticket = self.student().ticket(name)
        self.finish(program(ticket.request, ticket.labels, self.lab.workshop.threads, ticket.steered))


_NAME = "([0-9a-z-]{1,40})"
ROUTES: list[Any] = [
    ("/", Home),
    ("/join", Join),
    ("/events", Events),
    ("/pictures", Pictures),
    (f"/pictures/{_NAME}", PictureOf),
    ("/expected", Expected),
    ("/runs", Runs),
    (f"/runs/{_NAME}", RunOf),
    (f"/runs/{_NAME}/film", FilmOf),
    (f"/runs/{_NAME}/program", ProgramOf),
    (f"/runs/{_NAME}/moments/([0-9]{{1,9}})", MomentOf),
    (f"/runs/{_NAME}/([a-z.]+)", FileOf),
]
