"""The lab's server: its doors, its addresses, its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import re
import signal
from pathlib import Path
from typing import Any, Callable

import filelock
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RedirectHandler, StaticFileHandler

from gluon_nst.errors import InputError
from gluon_nst.lab.web import picture_handlers, student_handlers, teacher_handlers
from gluon_nst.lab.web.authentication import Door
from gluon_nst.lab.web.base_handler import FORMS, STUDENT, TEACHER, VISIT, Answer
from gluon_nst.lab.web.connections import Connections, most_connections
from gluon_nst.lab.web.events import News
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.limits import Limits
from gluon_nst.lab.web.processes import answer
from gluon_nst.lab.web.store import Store
from gluon_nst.lab.web.texts import PAGE, controls, words
from gluon_nst.machine import available_memory, physical_cores
from gluon_nst.machine.files import lock
from gluon_nst.machine.system import read_text

_OF_A_WORKER = 1.6e9
"""Bytes of memory that a run of 512 pixels wants, or it is computed in windows."""
_BODY = 100_000
"""Bytes that a request may have which is no picture."""
_PATIENCE = 30
"""Seconds that the body of such a request may take to arrive."""
_SWEEP = 600
"""Seconds between two looks for what is old."""

_ROUTES = [*student_handlers.ROUTES, *picture_handlers.ROUTES, *teacher_handlers.ROUTES]

Say = Callable[[str], Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a lab is opened; each is an option of the command line."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 7860
    base_url: str = "/"
    """The path under which the lab is, with a slash at both ends: what a proxy passes on."""
    password: str | None = None
    workers: int | None = None
    """How many runs are at work at once; None for what the machine bears."""
    keep: float = 24.0
    """Hours after which is removed what belongs to nobody who still comes."""
    preload: bool = False
    """Whether to do first what takes time: fetch the parameters, time the recipes."""
    texts: Path | None = None
    weights: str = "auto"
    """Where VGG-19's parameters come from."""
    limits: Limits = Limits()

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can come."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def workers_of(settings: Settings) -> tuple[int, int]:
    """(workers, threads of each). Two runs on a core each are done a third sooner than one after the other on both."""
    cores = physical_cores()
    workers = settings.workers or max(1, int(min(cores, available_memory() / _OF_A_WORKER)))
    return workers, max(1, cores // workers)


async def serve(settings: Settings, say: Say, opened: Say = lambda address: None) -> int:
    """Open the lab, and keep it open until SIGINT or SIGTERM; gives how many runs will go on when it is opened again.

    `say` gets lines for whoever opened it, and `opened` the students' address. Raises InputError where it can't be
    opened.
    """
    text = words(settings.texts)
    with contextlib.ExitStack() as opened_here:
        sockets = _sockets(settings)  # first: where another program has the port, no folder is made
        for each in sockets:
            opened_here.callback(each.close)
        store = Store(settings.folder)
        opened_here.callback(_held(settings.folder).release)
        workers, threads = workers_of(settings)
        memory = available_memory() / workers
        lab = Laboratory(store, settings.limits, workers, threads, memory=memory, weights=settings.weights)
        password = settings.password or (None if settings.is_local else store.secret("token"))
        token = store.secret("teachers-token")
        ended = _on_signals()
        logging.getLogger("tornado").setLevel(logging.ERROR)  # what somebody sends that is no request is no news
        news = News()
        lab.changed = news.tell
        await lab.begin()
        server = Connections(
            _application(settings, lab, news, text, password, token),
            most=most_connections(),
            max_body_size=_BODY,
            body_timeout=_PATIENCE,
        )
        server.add_sockets(sockets)
        tasks = [asyncio.ensure_future(each) for each in (news.pulse(), _swept(lab, settings.keep))]
        at_once = f"{workers} run{'s' * (workers > 1)} at once, {threads} thread{'s' * (threads > 1)} each"
        say(f"the lab is open, {at_once}; Ctrl-C closes it, and the same command goes on")
        base = f"{address(settings)}{settings.base_url}"
        given = "" if settings.password or password is None else f"?token={password}"
        say(f"students:  {base}{given}")
        say(f"teacher:   {base}teacher?token={token}")
        opened(f"{base}{given}")
        measuring = asyncio.ensure_future(_prepared(lab, settings.preload, say))
        await ended.wait()
        say("closing: every run saves what it has come to")
        server.stop()
        for task in (*tasks, measuring):
            task.cancel()
        left = await lab.end()
        await server.close_all_connections()
        return left


def _held(folder: Path) -> filelock.BaseFileLock:
    try:
        return lock(folder / "lock")
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another lab is open with this folder; close it, or name another with --dir"
        ) from None


def _on_signals() -> asyncio.Event:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    return ended


def _sockets(settings: Settings) -> list[Any]:
    try:
        return bind_sockets(settings.port, settings.host)
    except OSError as error:
        raise InputError(
            f"{settings.host}:{settings.port}: can't listen there ({error.strerror or error});"
            " choose another --port or --host"
        ) from None


async def _swept(lab: Laboratory, hours: float) -> None:
    while True:
        lab.sweep(hours)
        await asyncio.sleep(_SWEEP)


async def _prepared(lab: Laboratory, preload: bool, say: Say) -> None:
    """Have what takes time done before the class comes."""
    if preload:
        fetched = await answer("probe.fetch", seconds=3600) or {}
        say(f"weights: {fetched.get('weights', 'could not be had; see gluon-nst doctor')}")
    await lab.measure()
    if preload:
        say("ready: the recipes are timed on this machine")


def _application(
    settings: Settings, lab: Laboratory, news: News, text: dict[str, str], password: str | None, token: str
) -> Application:
    own, base = lab.store.secret("secret"), settings.base_url
    # With another password nobody is in any more.
    secret = hashlib.sha256(f"{own}{password}".encode()).hexdigest()
    # A host has one set of cookies for all its ports: Jupyter's are there, and those of other labs.
    this = hashlib.sha256(own.encode()).hexdigest()[:8]
    cookies = {name: f"gluon-nst-{this}-{name}" for name in (STUDENT, TEACHER, FORMS, VISIT)}
    routes: list[Any] = [(re.escape(base[:-1]) + path, handler) for path, handler in _ROUTES]
    if base != "/":
        routes.append((re.escape(base[:-1]), _Slash, {"url": f"{base.split('/')[-2]}/"}))
    # A page from elsewhere that has our address by its own name can do nothing where it does not know the password.
    hosts = {settings.host, "localhost", "127.0.0.1", "::1"} if settings.is_local and password is None else None
    return Application(
        routes,
        lab=lab,
        news=news,
        door=Door(password, guessable=settings.password is not None),
        teachers_door=Door(token, guessable=False),
        words=text,
        controls=controls(settings.limits),
        hosts=hosts,
        base_url=base,
        cookies=cookies,
        cookie_secret=secret,
        xsrf_cookies=True,
        xsrf_cookie_name=cookies[FORMS],
        xsrf_cookie_kwargs={"path": base, "httponly": True, "samesite": "Lax"},
        template_path=str(PAGE),
        static_path=str(PAGE / "static"),
        static_url_prefix=f"{base}static/",
        static_handler_class=_Static,
        default_handler_class=_Nothing,
        log_function=lambda handler: None,
    )


class _Static(Answer, StaticFileHandler):
    """The page's own scripts and its style sheet."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        try:
            return super().validate_absolute_path(root, absolute_path)
        except (ValueError, HTTPError):  # a path with a null character, or of a folder
            raise HTTPError(404) from None


class _Slash(Answer, RedirectHandler):
    """The lab's path without the slash at its end."""


class _Nothing(Answer):
    """An address that leads nowhere."""

    def get(self) -> None:
        """GET of anything else."""
        self.send_error(404)


def address(settings: Settings) -> str:
    """Where the lab is, for other machines where they can come."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = next(iter(own_addresses()), "127.0.0.1")
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def own_addresses(root: str = "/") -> list[str]:
    """The IPv4 addresses of this machine, but for the loopback's."""
    found = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", read_text(f"{root}/proc/net/fib_trie"))
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]
