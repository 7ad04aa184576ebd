"""The server's connections: how many there may be, which are closed for new ones, and exhausted files."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import itertools
import logging
import resource
import socket
from typing import Any, Awaitable, Callable, Iterable

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream

_MOST = 2048
"""Connections that are open at most: six for each of 300 browsers, and 248 more."""
_IDLE = 30
"""Seconds that a connection may take to send the head of a request, and to acknowledge what is sent to it."""
_AT_ONCE = 128
"""Connections that are accepted before others have their turn."""
_PAUSE = 1.0
"""Seconds without accepting after the system has refused to open another file."""


def most_connections() -> int:
    """Raise the limit of open files as far as the system allows; gives how many connections that leaves room for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit above the kernel's own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(soft * 3 // 4, _MOST)


class Connections(HTTPServer):
    """A server with `most` connections, and half as many from one address, which may be a whole class's router.

    At the limit a new connection replaces the one that has been silent for longest, of those whose request has not
    arrived completely; a browser opens another one when it needs it. If there is none, it replaces the one whose
    request arrived first, of the address that has most: usually a stream of events, whose page reconnects.
    """

    def initialize(self, application: Any, *, most: int, **options: Any) -> None:  # type: ignore[override]
        super().initialize(application, idle_connection_timeout=_IDLE, **options)
        self._most = most
        self._open: dict[IOStream, str] = {}  # with their addresses
        self._by_address: collections.Counter[str] = collections.Counter()
        self._silent: dict[IOStream, None] = {}  # the one that has been silent for longest first
        self._answered: dict[IOStream, None] = {}  # those whose request has arrived, the oldest first
        self._listening: list[socket.socket] = []
        self._warned = False

    # -- accepting ---------------------------------------------------------------------------------------------------

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections at these sockets, until `stop`."""
        for each in sockets:
            self._listening.append(each)
            self._listen(each)

    def stop(self) -> None:
        """Accept no more."""
        for each in self._listening:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
        self._listening.clear()

    def _listen(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # The connection stays in the queue, so the loop would call this again at once, and again.
                asyncio.get_running_loop().remove_reader(listening)
                asyncio.get_running_loop().call_later(_PAUSE, self._listen, listening)
                if not self._warned:
                    logging.getLogger(__name__).warning("connections have to wait: %s", error.strerror)
                self._warned = True
                return
            # A machine that sleeps acknowledges nothing; its stream of events ends here, too.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _IDLE * 1000)
            self.handle_stream(IOStream(connection), address)

    # -- how many ----------------------------------------------------------------------------------------------------

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve a connection; at the limit another one is closed."""
        self._make_room(address[0])
        self._open[stream] = address[0]
        self._by_address[address[0]] += 1
        self._received(stream)
        super().handle_stream(stream, address)

    def _make_room(self, address: str) -> None:
        crowded = self._by_address[address] >= self._most // 2
        if not crowded and len(self._open) < self._most:
            return
        most = address if crowded else max(self._by_address, key=self._by_address.__getitem__)
        silent = (each for each in self._silent if not crowded or self._open[each] == address)
        answered = (each for each in self._answered if self._open[each] == most)
        for oldest in itertools.islice(itertools.chain(silent, answered), 1):
            self._forget(oldest)
            oldest.close()

    def _forget(self, stream: IOStream) -> None:
        self._silent.pop(stream, None)
        self._answered.pop(stream, None)
        address = self._open.pop(stream, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _received(self, stream: IOStream, complete: bool = False) -> None:
        if stream in self._open:
            self._silent.pop(stream, None)
            self._answered.pop(stream, None)
            (self._answered if complete else self._silent)[stream] = None

    def start_request(self, server_conn: Any, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Follow a request of a connection, from before its first byte."""
        received = functools.partial(self._received, server_conn.stream)
        received()
        return _Followed(super().start_request(server_conn, request_conn), received)

    def on_close(self, server_conn: Any) -> None:
        """A connection is closed."""
        super().on_close(server_conn)
        self._forget(server_conn.stream)


class _Followed(HTTPMessageDelegate):
    """A `request` that reports each part that arrives, and the last one as complete, to `received`."""

    def __init__(self, request: HTTPMessageDelegate, received: Callable[..., Any]) -> None:
        self._request, self._received = request, received

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._received()
        return self._request.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received()
        return self._request.data_received(chunk)

    def finish(self) -> None:
        self._received(complete=True)
        self._request.finish()

    def on_connection_close(self) -> None:
        self._request.on_connection_close()
