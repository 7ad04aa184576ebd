"""The limit of connections, and event streams."""

import asyncio
import errno
import os
import socket

from gluon_nst.lab.web.base_handler import BaseHandler
from gluon_nst.lab.web.connections import LimitedHTTPServer
from gluon_nst.lab.web.events import ChangeNotifier

import pytest
from tornado.netutil import bind_sockets
from tornado.web import Application


class Exhausted(socket.socket):
    """A listening socket of a process that can open no more files."""

    attempts = 0

    def accept(self):
        self.attempts += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.slow
def test_the_server_waits_and_warns_once_when_no_file_can_be_opened(caplog):
    async def try_to_connect():
        server = LimitedHTTPServer(Application(), limit=10)
        listening = Exhausted()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        server.add_sockets([listening])
        with socket.create_connection(listening.getsockname()):
            await asyncio.sleep(1.3)
        server.stop()
        return listening.attempts

    assert asyncio.run(try_to_connect()) == 2
    assert [record.getMessage() for record in caplog.records] == ["connections have to wait: Too many open files"]


def test_a_new_connection_replaces_the_one_that_has_been_silent_for_longest():
    async def connect():
        server = LimitedHTTPServer(Application(), limit=4)  # two from one address
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        address = listening.getsockname()
        first = await asyncio.open_connection(*address)
        second = await asyncio.open_connection(*address)
        await asyncio.sleep(0.05)
        first[1].write(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await first[0].readline() == b"HTTP/1.1 404 Not Found\r\n"
        third = await asyncio.open_connection(*address)
        assert await asyncio.wait_for(second[0].read(), 5) == b""
        third[1].write(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await third[0].readline() == b"HTTP/1.1 404 Not Found\r\n"
        server.stop()
        await server.close_all_connections()

    asyncio.run(connect())


class Silent(BaseHandler):
    """An event stream without data."""

    async def get(self):
        await self.send_events(lambda: "")


def test_a_new_event_stream_replaces_the_oldest_at_the_limit():
    async def connect():
        application = Application([("/", Silent)], hosts=None, notifier=ChangeNotifier())
        server = LimitedHTTPServer(application, limit=4)  # two from one address
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        streams = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            streams.append((reader, writer))
            await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        await asyncio.wait_for(streams[0][0].read(), 5)  # ends when the server closes it
        assert not streams[1][0].at_eof()
        server.stop()
        await server.close_all_connections()

    asyncio.run(connect())


def test_an_event_stream_without_data_sends_heartbeats(monkeypatch):
    async def listen():
        server = LimitedHTTPServer(Application([("/", Silent)], hosts=None, notifier=ChangeNotifier()), limit=10)
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        second = await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        server.stop()
        await server.close_all_connections()
        return first, second

    monkeypatch.setattr("gluon_nst.lab.web.base_handler.HEARTBEAT", 0.1)
    first, second = asyncio.run(listen())
    assert b"X-Accel-Buffering: no" in first
    assert b"event: here\ndata: here\n\n" in first
    assert b"event: here\ndata: here\n\n" in second
