"""The base class of all request handlers.

It implements cookies, request bodies, headers, event streams and error messages.
"""

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
from gluon_nst.lab.web.authentication import Authenticator, TooManyAttempts
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.models import DiskFull, LimitReached, NotFound, Student, TooLarge
from gluon_nst.lab.web.request_bodies import BodyType
from gluon_nst.lab.web.store import new_id

STUDENT_COOKIE, TEACHER_COOKIE, XSRF_COOKIE, SESSION_COOKIE = "student", "teacher", "forms", "visit"
"""The cookies of a student, of the teacher, of the XSRF token, and of a session that is not signed in yet."""
HEARTBEAT = 10.0
"""Seconds after which an event stream sends an event without data; the page reconnects after 25 without any."""

ID_PATTERN = "([0-9a-z-]{1,40})"
"""The id of a picture or a run in a URL."""

# No content from other servers, and no inline scripts or styles.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_MESSAGES = {
    400: "invalid address or form; go back to the lab's first page",
    401: "not signed in; reload the lab's page",
    403: "this page has expired, or belongs to another site; reload it",
    404: "page not found; go back to the lab's first page",
    405: "this request is not supported here; reload the page",
}


class BaseHandler(RequestHandler):
    """A request handler of the lab.

    The application's settings have the laboratory, the authenticators and the texts.
    """

    @property
    def lab(self) -> Laboratory:
        """The laboratory."""
        return self.settings["lab"]

    @property
    def authenticator(self) -> Authenticator:
        """The authenticator of students."""
        return self.settings["authenticator"]

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Permissions-Policy", "camera=(self), microphone=(), geolocation=()")
        self.set_header("Cache-Control", "no-store")

    @property
    def home_url(self) -> str:
        """The URL of the lab's first page, relative to that of the request.

        A proxy can add a prefix to it.
        """
        base, path = self.settings["base_url"], self.request.path
        return ("../" * path[len(base) :].count("/") or "./") if path.startswith(base) else base

    def static_url(self, path: str, include_host: bool | None = None, **kwargs: Any) -> str:
        """Return the relative URL of a static file."""
        return self.home_url + super().static_url(path, include_host, **kwargs)[len(self.settings["base_url"]) :]

    def head(self, *parts: str) -> Any:
        """HEAD: send the headers of GET."""
        return self.get(*parts)

    def prepare(self) -> Any:
        hosts = self.settings["hosts"]
        if hosts is not None and self.request.host_name.strip("[]") not in hosts:  # DNS rebinding
            raise HTTPError(403)

    # -- cookies ------------------------------------------------------------------------------------------------------

    def require_student(self) -> Student:
        """Return the student who sent the request.

        Raises HTTPError if nobody is signed in.
        """
        student = self.find_student()
        if student is None:
            raise HTTPError(401)
        return student

    def find_student(self) -> Student | None:
        """Return the student who sent the request, or None if nobody is signed in."""
        cookie = self.cookie(STUDENT_COOKIE)
        if cookie is None:
            return None
        student = self.lab.get_or_add_student(*cookie.split(":", 1))
        student.last_seen = time.time()
        return student

    def sign_in(self, name: str) -> str:
        """Sign in a new student, and return their cleaned name.

        The first request with the cookie adds the student.
        """
        # Without control characters, and without those that change how others are shown, such as the order of writing.
        printable = (each for each in name if each.isspace() or unicodedata.category(each) not in ("Cc", "Cf"))
        name = " ".join("".join(printable).split())[:40]
        self.send_cookie(STUDENT_COOKIE, f"{new_id()}:{name}")
        return name

    def send_cookie(self, cookie: str, value: str) -> None:
        """Set a signed cookie that is valid for a week."""
        name, path = self.settings["cookies"][cookie], self.settings["base_url"]
        self.set_signed_cookie(name, value, expires_days=7, path=path, httponly=True, samesite="Lax")

    def cookie(self, cookie: str) -> str | None:
        """Return the value of a signed cookie of the request, or None."""
        value = self.get_signed_cookie(self.settings["cookies"][cookie], max_age_days=7)
        return value.decode() if value else None

    def session(self) -> tuple[str, float]:
        """Return the browser's session before signing in, and its age in seconds.

        Returns ("", 0) if there is none.
        """
        session, _, since = (self.cookie(SESSION_COOKIE) or "").partition(":")
        return session, max(time.time() - float(since), 0.0) if since else 0.0

    def body_text(self, name: str, strip: bool = True) -> str:
        """Return a field of a form that was sent, or an empty text."""
        return self.get_body_argument(name, "", strip=strip) or ""

    # -- requests and responses ---------------------------------------------------------------------------------------

    def parse_body(self, kind: type[BodyType]) -> BodyType:
        """Return the body of the request. Raises InputError if it is not of that kind."""
        try:
            values = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise InputError("the request is not JSON; reload the page") from None
        return kind.from_json(values)

    def send_page(self, template: str, /, **values: Any) -> None:
        """Send a page, rendered from a template with the texts and `values`."""
        self.render(template, text=self.settings["texts"], **values)

    def page_data(self, **values: Any) -> str:
        """Return the JSON for a page's scripts: `values`, texts, and the XSRF token."""
        data = {**values, "texts": self.settings["texts"], "xsrf": self.xsrf_token.decode()}
        return json.dumps(data).replace("<", "\\u003c")  # so that no text can close the script element

    def send_file(self, path: Path, content_type: str, download_name: str = "") -> None:
        """Send a file; with a `download_name` browsers save it under that name."""
        try:
            content = path.read_bytes()
        except OSError:
            raise NotFound("this file does not exist yet") from None
        self.set_header("Content-Type", content_type)
        if download_name:
            self.set_header("Content-Disposition", f'attachment; filename="{download_name}"')
        self.set_header("Cache-Control", "private, max-age=3600" if self.get_argument("v", "") else "no-store")
        self.finish(content)

    async def send_events(self, next_event: Callable[[], str]) -> None:
        """Send server-sent events until the browser closes the connection.

        After each change, `next_event` returns the data of an event, or "" for none.
        """
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would buffer some kilobytes
        if self.request.method == "HEAD":
            return
        notifier, last_time = self.settings["notifier"], 0.0
        try:
            self.write("retry: 2000\n\n")
            while True:
                version = notifier.version
                data = next_event()
                silent_seconds = time.monotonic() - last_time
                if data or silent_seconds >= HEARTBEAT:
                    # Not a comment: scripts do not see those, and would take the connection for lost.
                    self.write(f"data: {data}\n\n" if data else "event: here\ndata: here\n\n")
                    await self.flush()
                    last_time, silent_seconds = time.monotonic(), 0.0
                await notifier.wait(version, HEARTBEAT - silent_seconds)
        except (StreamClosedError, asyncio.CancelledError):
            return

    # -- errors -------------------------------------------------------------------------------------------------------

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, (NSTError, HTTPError)):
            super().log_exception(kind, error, trace)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error, status = kwargs.get("exc_info", (None, None))[1], status_code
        message = _MESSAGES.get(status, "internal error of the lab; tell your teacher")
        if isinstance(error, NSTError):
            message = one_line(error)
            status = 500 if not isinstance(error, InputError) else 400
            statuses = {NotFound: 404, LimitReached: 409, TooLarge: 413, TooManyAttempts: 429, DiskFull: 507}
            self.set_status(statuses.get(type(error), status))
            if isinstance(error, TooManyAttempts):
                self.set_header("Retry-After", str(int(error.seconds) + 1))
        if "text/html" in self.request.headers.get("Accept", ""):
            self.send_page("error.html", message=message)
        else:
            self.finish({"error": message})
