"""What all answers of the lab's server have in common: who asks, what may be asked, the headers, and errors in one
sentence."""

from __future__ import annotations

import asyncio
import json
import time
import unicodedata
from pathlib import Path
from typing import Any, Callable

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from gluon_nst.errors import InputError, NSTError, one_line
from gluon_nst.lab.web.authentication import Door, Slow
from gluon_nst.lab.web.body import Made
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.models import DiskFull, Full, Missing, Student, TooLarge
from gluon_nst.lab.web.store import new_id

STUDENT, TEACHER, FORMS, VISIT = "student", "teacher", "forms", "visit"
"""The cookies: the student, the teacher, the token against forged requests, and a session before the password."""
PULSE = 10.0
"""Seconds after which a stream of events sends one that says nothing; the page reconnects after 25 without any."""

NAME = "([0-9a-z-]{1,40})"
"""What a picture or a run is called, in an address."""

# Nothing from elsewhere, and nothing that is written into the page itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SENTENCES = {
    400: "this address or form can't be read; go back to the lab's first page",
    401: "come in first: load the lab's page again",
    403: "this page is out of date, or not from here; load it again",
    404: "there is nothing here; go back to the lab's first page",
    405: "this can't be done here; load the page again",
}


class Answer(RequestHandler):
    """An answer to a request. What it has to do with is in the application's settings."""

    @property
    def lab(self) -> Laboratory:
        """The laboratory."""
        return self.settings["lab"]

    @property
    def door(self) -> Door:
        """Where students come in."""
        return self.settings["door"]

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Permissions-Policy", "camera=(self), microphone=(), geolocation=()")
        self.set_header("Cache-Control", "no-store")

    @property
    def first_page(self) -> str:
        """The lab's first page, relative to the address of the request, so that a proxy may have it anywhere."""
        base, path = self.settings["base_url"], self.request.path
        return ("../" * path[len(base) :].count("/") or "./") if path.startswith(base) else base

    def static_url(self, path: str, include_host: bool | None = None, **kwargs: Any) -> str:
        """The relative address of a file of the page."""
        return self.first_page + super().static_url(path, include_host, **kwargs)[len(self.settings["base_url"]) :]

    def head(self, *parts: str) -> Any:
        """HEAD: the headers that GET has."""
        return self.get(*parts)

    def prepare(self) -> Any:
        hosts = self.settings["hosts"]
        if (
            hosts is not None and self.request.host_name.strip("[]") not in hosts
        ):  # a page from elsewhere that got our address
            raise HTTPError(403)

    def student(self) -> Student:
        """The student who asks. Raises HTTPError for nobody."""
        found = self.student_or_none()
        if found is None:
            raise HTTPError(401)
        return found

    def student_or_none(self) -> Student | None:
        """The student who asks, or None."""
        cookie = self.shown(STUDENT)
        if cookie is None:
            return None
        student = self.lab.welcome(*cookie.split(":", 1))
        student.seen = time.time()
        return student

    def admit(self, name: str) -> str:
        """Let somebody new in; gives their name. Until the browser returns the cookie, nothing else is kept of them."""
        # Without control characters, and without those that change how others are shown, such as the order of writing.
        shown = (each for each in name if each.isspace() or unicodedata.category(each) not in ("Cc", "Cf"))
        name = " ".join("".join(shown).split())[:40]
        self.let_in(STUDENT, f"{new_id()}:{name}")
        return name

    def let_in(self, cookie: str, value: str) -> None:
        """Set a signed cookie that lets the browser in for a week."""
        name, path = self.settings["cookies"][cookie], self.settings["base_url"]
        self.set_signed_cookie(name, value, expires_days=7, path=path, httponly=True, samesite="Lax")

    def shown(self, cookie: str) -> str | None:
        """The value of a signed cookie of the request, or None."""
        value = self.get_signed_cookie(self.settings["cookies"][cookie], max_age_days=7)
        return value.decode() if value else None

    def visit(self) -> tuple[str, float]:
        """The browser's session before it is let in, and the seconds since it fetched the page; without one ("", 0)."""
        session, _, since = (self.shown(VISIT) or "").partition(":")
        return session, max(time.time() - float(since), 0.0) if since else 0.0

    def body(self, kind: type[Made]) -> Made:
        """The body of the request, which is of that kind. Raises InputError for any other."""
        try:
            values = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise InputError("the request is not JSON; load the page again") from None
        return kind.of(values)

    def show(self, page: str, /, **values: Any) -> None:
        """Answer with a page."""
        self.render(page, text=self.settings["words"], **values)

    def told(self, **values: Any) -> str:
        """JSON that stands in a page, for its scripts: `values`, the page's words, and its token against forged
        requests."""
        told = {**values, "texts": self.settings["words"], "xsrf": self.xsrf_token.decode()}
        return json.dumps(told).replace("<", "\\u003c")  # so that nothing in it can end the element

    def file(self, path: Path, kind: str, download: str = "") -> None:
        """Answer with a file of the lab's, of that kind, to be kept under the name `download` where there is one."""
        try:
            content = path.read_bytes()
        except OSError:
            raise Missing("this is not here; it may come yet") from None
        self.set_header("Content-Type", kind)
        if download:
            self.set_header("Content-Disposition", f'attachment; filename="{download}"')
        self.set_header("Cache-Control", "private, max-age=3600" if self.get_argument("v", "") else "no-store")
        self.finish(content)

    async def stream(self, news: Callable[[], str]) -> None:
        """Send events for as long as the browser listens: what `news` has, whenever something has changed."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep them until it has some kilobytes
        if self.request.method == "HEAD":
            return
        last = 0.0
        try:
            self.write("retry: 2000\n\n")
            while True:
                seen = self.settings["news"].number
                text = news()
                silent = time.monotonic() - last
                if text or silent >= PULSE:
                    # Not a comment: a page does not see those, and silence would look like a lost connection.
                    self.write(f"data: {text}\n\n" if text else "event: here\ndata: here\n\n")
                    await self.flush()
                    last, silent = time.monotonic(), 0.0
                await self.settings["news"].wait(seen, PULSE - silent)
        except (StreamClosedError, asyncio.CancelledError):
            return

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, (NSTError, HTTPError)):
            super().log_exception(kind, error, trace)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error, status = kwargs.get("exc_info", (None, None))[1], status_code
        sentence = _SENTENCES.get(status, "something went wrong here; tell your teacher")
        if isinstance(error, NSTError):
            sentence = one_line(error)
            status = 500 if not isinstance(error, InputError) else 400
            status = {Missing: 404, Full: 409, TooLarge: 413, Slow: 429, DiskFull: 507}.get(type(error), status)
            self.set_status(status)
            if isinstance(error, Slow):
                self.set_header("Retry-After", str(int(error.seconds) + 1))
        if "text/html" in self.request.headers.get("Accept", ""):
            self.show("error.html", sentence=sentence)
        else:
            self.finish({"error": sentence})
