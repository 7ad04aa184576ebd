"""An HTTP server with a limited number of connections.

It closes old ones for new ones.
"""

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

_MAX_CONNECTIONS = 2048
"""Six for each of 300 browsers, and 248 more."""
_IDLE_TIMEOUT = 30
"""Seconds that a connection may take to send the head of a request, and to acknowledge data."""
_MAX_ACCEPTED = 128
"""Connections that are accepted before the event loop runs other tasks."""
_PAUSE = 1.0
"""Seconds without accepting after the system has refused to open another file."""


def max_connections() -> int:
    """Raise the limit of open files, and return the number of connections it allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit above the kernel's own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft * 3 // 4, _MAX_CONNECTIONS)


class LimitedHTTPServer(HTTPServer):
    """A server with at most `limit` connections, half as many from one address.

    An address may be a class's router. At the limit a new connection replaces the one that has been silent for longest,
    of those whose request has not arrived completely; a browser opens another one when it needs it. If there is none,
    it replaces the one whose request arrived first, of the address with the most connections: usually an event stream,
    whose page reconnects.
    """

    def initialize(self, application: Any, *, limit: int, **options: Any) -> None:  # type: ignore[override]
        super().initialize(application, idle_connection_timeout=_IDLE_TIMEOUT, **options)
        self._limit = limit
        self._open: dict[IOStream, str] = {}  # the address of each connection
        self._by_address: collections.Counter[str] = collections.Counter()
        self._silent: dict[IOStream, None] = {}  # longest silent first
        self._answered: dict[IOStream, None] = {}  # connections with a complete request, the oldest first
        self._listeners: list[socket.socket] = []
        self._warned = False

    # -- accepting ---------------------------------------------------------------------------------------------------

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections at these sockets until `stop`."""
        for listener in sockets:
            self._listeners.append(listener)
            self._listen(listener)

    def stop(self) -> None:
        """Stop accepting connections."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _listen(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_MAX_ACCEPTED):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # The connection stays in the system's queue, so the loop would call this again at once, and again.
                asyncio.get_running_loop().remove_reader(listener)
                asyncio.get_running_loop().call_later(_PAUSE, self._listen, listener)
                if not self._warned:
                    logging.getLogger(__name__).warning("connections have to wait: %s", error.strerror)
                self._warned = True
                return
            # A sleeping machine acknowledges nothing; its event stream ends here, too.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _IDLE_TIMEOUT * 1000)
            self.handle_stream(IOStream(connection), address)

    # -- limit -------------------------------------------------------------------------------------------------------

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve a connection; at the limit, close another one first."""
        self._close_oldest(address[0])
        self._open[stream] = address[0]
        self._by_address[address[0]] += 1
        self._mark_received(stream)
        super().handle_stream(stream, address)

    def _close_oldest(self, address: str) -> None:
        crowded = self._by_address[address] >= self._limit // 2
        if not crowded and len(self._open) < self._limit:
            return
        busiest = address if crowded else max(self._by_address, key=self._by_address.__getitem__)
        silent = (each for each in self._silent if not crowded or self._open[each] == address)
        answered = (each for each in self._answered if self._open[each] == busiest)
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

    def _mark_received(self, stream: IOStream, complete: bool = False) -> None:
        if stream in self._open:
            self._silent.pop(stream, None)
            self._answered.pop(stream, None)
            (self._answered if complete else self._silent)[stream] = None

    def start_request(self, server_conn: Any, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Return a delegate that records the arrival of a request's parts."""
        received = functools.partial(self._mark_received, server_conn.stream)
        received()
        return _ReportingDelegate(super().start_request(server_conn, request_conn), received)

    def on_close(self, server_conn: Any) -> None:
        """Remove a closed connection."""
        super().on_close(server_conn)
        self._forget(server_conn.stream)


class _ReportingDelegate(HTTPMessageDelegate):
    """A wrapper of a request's delegate that calls `received` for each part.

    `complete` is true for the last part.
    """

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
