"""The lab's server: its settings, its application, starting and closing."""

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
from gluon_nst.lab.web.authentication import Authenticator
from gluon_nst.lab.web.base_handler import SESSION_COOKIE, STUDENT_COOKIE, TEACHER_COOKIE, XSRF_COOKIE, BaseHandler
from gluon_nst.lab.web.connections import LimitedHTTPServer, max_connections
from gluon_nst.lab.web.events import ChangeNotifier
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.limits import Limits
from gluon_nst.lab.web.processes import call_in_subprocess
from gluon_nst.lab.web.store import Store
from gluon_nst.lab.web.texts import PAGE_FOLDER, load_texts, page_controls
from gluon_nst.machine import available_memory, physical_cores
from gluon_nst.machine.files import lock
from gluon_nst.machine.system import read_text

_MEMORY_PER_WORKER = 1.6e9
"""Bytes of memory of a run of 512 pixels; with less it is computed in windows."""
_MAX_BODY = 100_000
"""Maximum bytes of a request, other than an upload."""
_BODY_TIMEOUT = 30
"""Seconds that the body of such a request may take to arrive."""
_CLEANUP_INTERVAL = 600
"""Seconds between two removals of inactive students."""

_ROUTES = [*student_handlers.ROUTES, *picture_handlers.ROUTES, *teacher_handlers.ROUTES]

Notify = Callable[[str], Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a lab; each is an option of the command."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 7860
    base_url: str = "/"
    """The path of the lab, with a slash at both ends, as a proxy passes it on."""
    password: str | None = None
    workers: int | None = None
    """Maximum number of running runs; None for what cores and memory allow."""
    keep: float = 24.0
    """Hours without a request after which a student is removed."""
    preload: bool = False
    """Whether to fetch the weights when the lab starts, and report when the recipes are timed."""
    texts: Path | None = None
    weights: str = "auto"
    """The source of VGG-19's parameters."""
    limits: Limits = Limits()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def choose_workers(settings: Settings) -> tuple[int, int]:
    """Return (workers, threads of each).

    Two runs on a core each take two thirds of the time of one after the other.
    """
    cores = physical_cores()
    workers = settings.workers or max(1, int(min(cores, available_memory() / _MEMORY_PER_WORKER)))
    return workers, max(1, cores // workers)


async def serve(settings: Settings, notify: Notify, on_open: Notify = lambda url: None) -> int:
    """Run the lab until SIGINT or SIGTERM; return the number of runs to resume.

    They resume when it is opened again. `notify` receives lines for the user, and `on_open` the students' URL. Raises
    InputError if the lab can't be opened.
    """
    texts = load_texts(settings.texts)
    with contextlib.ExitStack() as stack:
        sockets = _bind(settings)  # first: if another program uses the port, no folder is created
        for each in sockets:
            stack.callback(each.close)
        store = Store(settings.folder)
        stack.callback(_lock_folder(settings.folder).release)
        workers, threads = choose_workers(settings)
        memory = available_memory() / workers
        lab = Laboratory(store, settings.limits, workers, threads, memory=memory, weights=settings.weights)
        password = settings.password or (None if settings.is_local else store.secret("token"))
        token = store.secret("teachers-token")
        interrupted = _signal_event()
        logging.getLogger("tornado").setLevel(logging.ERROR)  # malformed requests are not worth a line
        notifier = ChangeNotifier()
        lab.on_change = notifier.notify
        await lab.start()
        server = LimitedHTTPServer(
            _application(settings, lab, notifier, texts, password, token),
            limit=max_connections(),
            max_body_size=_MAX_BODY,
            body_timeout=_BODY_TIMEOUT,
        )
        server.add_sockets(sockets)
        tasks = [asyncio.ensure_future(each) for each in (notifier.run(), _remove_inactive(lab, settings.keep))]
        at_once = f"{workers} run{'s' * (workers > 1)} at once, {threads} thread{'s' * (threads > 1)} each"
        notify(f"the lab is open, {at_once}; Ctrl-C closes it, the same command resumes it")
        url = f"{server_url(settings)}{settings.base_url}"
        query = "" if settings.password or password is None else f"?token={password}"
        notify(f"students:  {url}{query}")
        notify(f"teacher:   {url}teacher?token={token}")
        on_open(f"{url}{query}")
        preparation = asyncio.ensure_future(_prepare(lab, settings.preload, notify))
        await interrupted.wait()
        notify("closing: saving the runs")
        server.stop()
        for task in (*tasks, preparation):
            task.cancel()
        resuming = await lab.close()
        await server.close_all_connections()
        return resuming


def _lock_folder(folder: Path) -> filelock.BaseFileLock:
    try:
        return lock(folder / "lock")
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another lab uses this folder; close it, or choose another folder with --output"
        ) from None


def _signal_event() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    return event


def _bind(settings: Settings) -> list[Any]:
    try:
        return bind_sockets(settings.port, settings.host)
    except OSError as error:
        raise InputError(
            f"{settings.host}:{settings.port}: can't listen ({error.strerror or error});"
            " choose another --port or --host"
        ) from None


async def _remove_inactive(lab: Laboratory, hours: float) -> None:
    while True:
        lab.remove_inactive(hours)
        await asyncio.sleep(_CLEANUP_INTERVAL)


async def _prepare(lab: Laboratory, preload: bool, notify: Notify) -> None:
    """Fetch the weights, if `preload`, and time the recipes."""
    if preload:
        reply = await call_in_subprocess("probe.fetch", timeout=3600) or {}
        notify(f"weights: {reply.get('weights', 'not available; see gluon-nst doctor')}")
    await lab.measure_speed()
    if preload:
        notify("ready: the speed of the recipes has been measured")


def _application(
    settings: Settings,
    lab: Laboratory,
    notifier: ChangeNotifier,
    texts: dict[str, str],
    password: str | None,
    token: str,
) -> Application:
    secret, base = lab.store.secret("secret"), settings.base_url
    # Changing the password invalidates all sessions.
    cookie_secret = hashlib.sha256(f"{secret}{password}".encode()).hexdigest()
    # All ports of a host share its cookies, so Jupyter and other labs need different names.
    lab_hash = hashlib.sha256(secret.encode()).hexdigest()[:8]
    names = (STUDENT_COOKIE, TEACHER_COOKIE, XSRF_COOKIE, SESSION_COOKIE)
    cookies = {name: f"gluon-nst-{lab_hash}-{name}" for name in names}
    routes: list[Any] = [(re.escape(base[:-1]) + path, handler) for path, handler in _ROUTES]
    if base != "/":
        routes.append((re.escape(base[:-1]), _SlashHandler, {"url": f"{base.split('/')[-2]}/"}))
    # Against DNS rebinding. A password prevents it, too: a page of another site does not have it.
    hosts = {settings.host, "localhost", "127.0.0.1", "::1"} if settings.is_local and password is None else None
    return Application(
        routes,
        lab=lab,
        notifier=notifier,
        authenticator=Authenticator(password, guessable=settings.password is not None),
        teacher_authenticator=Authenticator(token, guessable=False),
        texts=texts,
        controls=page_controls(settings.limits),
        hosts=hosts,
        base_url=base,
        cookies=cookies,
        cookie_secret=cookie_secret,
        xsrf_cookies=True,
        xsrf_cookie_name=cookies[XSRF_COOKIE],
        xsrf_cookie_kwargs={"path": base, "httponly": True, "samesite": "Lax"},
        template_path=str(PAGE_FOLDER),
        static_path=str(PAGE_FOLDER / "static"),
        static_url_prefix=f"{base}static/",
        static_handler_class=_StaticHandler,
        default_handler_class=_NotFoundHandler,
        log_function=lambda handler: None,
    )


class _StaticHandler(BaseHandler, StaticFileHandler):
    """The scripts and the style sheet of the page."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        try:
            return super().validate_absolute_path(root, absolute_path)
        except (ValueError, HTTPError):  # a path with a null character, or of a folder
            raise HTTPError(404) from None


class _SlashHandler(BaseHandler, RedirectHandler):
    """Redirects the lab's path without the slash at its end to the one with it."""


class _NotFoundHandler(BaseHandler):
    """Any other path."""

    def get(self) -> None:
        """GET: 404."""
        self.send_error(404)


def server_url(settings: Settings) -> str:
    """Return the URL of the server, which other machines can use unless it is local."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = next(iter(ipv4_addresses()), "127.0.0.1")
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def ipv4_addresses(root: str = "/") -> list[str]:
    """Return the IPv4 addresses of this machine, without the loopback interface's."""
    addresses = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", read_text(f"{root}/proc/net/fib_trie"))
    return [address for address in dict.fromkeys(addresses) if not address.startswith("127.")]
