"""The lab's doors, its words, and where it says that it is."""

import asyncio
import contextlib
import dataclasses
import errno
import os
import re
import socket
import time

from gluon_nst.cli.lab import lab
from gluon_nst.cli.parser import build_parser
from gluon_nst.errors import InputError
from gluon_nst.lab.web import server
from gluon_nst.lab.web.authentication import Door, Slow
from gluon_nst.lab.web.base_handler import Answer
from gluon_nst.lab.web.connections import Connections
from gluon_nst.lab.web.events import News
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.limits import STUDENTS, Limits
from gluon_nst.lab.web.models import Full, StoredPicture, Student, Ticket
from gluon_nst.lab.web.request_bodies import Asked
from gluon_nst.lab.web.server import Settings, address, own_addresses, workers_of
from gluon_nst.lab.web.store import Store, new_id
from gluon_nst.lab.web.texts import ENGLISH, PAGE, controls, words

import pytest
from tornado.netutil import bind_sockets
from tornado.web import Application


class Clock:
    """A clock of a test's own, and waiting by it."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds


def tried(door, clock, tries, apart=0.1):
    """What comes of tries (password, address, session, known), so many seconds apart: whether it opens, or "slow"."""
    found = []
    for each in tries:
        try:
            found.append(asyncio.run(door.opens(*each)))
        except Slow as error:
            assert error.seconds >= 1
            found.append("slow")
        clock.time += apart
    return found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(clock):
    return Door("right", now=clock, sleep=clock.sleep)


def test_a_wrong_password_can_be_tried_a_few_times_and_then_ever_more_slowly(door, clock):
    guesser = [("wrong", "10.0.0.7", "a")]
    found = tried(door, clock, 100 * guesser)
    assert found.count(False) <= 9  # in ten seconds
    assert tried(door, clock, [("right", "10.0.0.7", "a")]) == ["slow"]  # not even looked at
    # A classmate behind the same router comes in, and so does one from elsewhere, and who was in before.
    others = [("right", "10.0.0.7", "b"), ("right", "10.0.0.8", "a"), ("right", "10.0.0.7", "a", True)]
    assert tried(door, clock, others) == [True, True, True]
    clock.time += 61
    assert tried(door, clock, [("right", "10.0.0.7", "a"), *guesser]) == [True, False]


def test_a_guesser_who_drops_the_cookie_is_slowed_and_others_still_come_in(door, clock):
    begun = clock.time
    assert set(tried(door, clock, 20 * [("wrong", "10.0.0.7", "")])) == {False, "slow"}  # none at all is one session
    found = tried(door, clock, [("wrong", "10.0.0.7", f"made up {number}") for number in range(500)], apart=0)
    assert found.count(False) <= 35 + (clock.time - begun) / 2
    before = clock.time
    assert tried(door, clock, [("right", "10.0.0.7", "a new page"), ("right", "10.0.0.8", "b")]) == [True, True]
    assert clock.time - before < 5


def test_who_has_the_page_for_some_seconds_comes_before_sessions_that_are_new_at_each_try():
    fast = 500  # times as fast as a clock

    async def sleep(seconds):
        await asyncio.sleep(seconds / fast)

    async def come():
        door = Door("right", now=lambda: time.monotonic() * fast, sleep=sleep)

        async def guess(number):
            for each in range(50):
                with contextlib.suppress(Slow):
                    await door.opens("wrong", "10.0.0.7", f"{number} {each}")

        guessers = [asyncio.ensure_future(guess(number)) for number in range(40)]
        await sleep(10)
        begun = time.monotonic()
        assert await door.opens("right", "10.0.0.7", "a classmate", age=8.0)
        took = (time.monotonic() - begun) * fast
        assert not await door.opens("wrong", "10.0.0.7", "another one", age=20.0)
        assert await door.opens("right", "10.0.0.7", "another one", age=50.0)  # has made a mistake
        for each in guessers:
            each.cancel()
        return took

    assert asyncio.run(come()) < 10


def test_one_session_tries_once_at_a_time():
    async def come():
        door = Door("right")
        for number in range(30):
            await door.opens("wrong", "10.0.0.7", f"{number}")
        await door.opens("wrong", "10.0.0.7", "a")
        first = asyncio.ensure_future(door.opens("wrong", "10.0.0.7", "b"))
        await asyncio.sleep(0)
        with pytest.raises(Slow):
            await door.opens("right", "10.0.0.7", "b")
        assert await door.opens("right", "10.0.0.7", "b", known=True)
        first.cancel()

    asyncio.run(come())


def test_wrong_tries_are_forgotten(door, clock):
    tried(door, clock, 6 * [("wrong", "10.0.0.7", "a")])
    clock.time += 901
    assert tried(door, clock, [(word, "10.0.0.7", "a") for word in ("wrong", "wröng")]) == [False, False]


def test_a_door_without_a_password_stands_open_and_what_cannot_be_guessed_is_never_slow(clock):
    assert tried(Door(None), clock, [("", "anywhere", "")]) == [True] and Door(None).stands_open
    assert tried(Door("right", guessable=False), clock, 99 * [("wrong", "a", "")]) == 99 * [False]


# -- words ------------------------------------------------------------------------------------------------------------


def test_every_text_that_the_page_says_is_there_and_every_text_is_said():
    known, texts = words(), "".join(path.read_text() for path in PAGE.rglob("*") if path.suffix in (".js", ".html"))

    said = set(re.findall(r'say\(\s*"(\w+)"', texts)) | set(re.findall(r'text\[[\'"](\w+)[\'"]\]', texts))
    assert said <= set(known)
    # Those whose names are put together, or that the server says itself.
    parts = ["status_", "init_", "preserve_colors_", "curve_", "download_", "pair_"]
    unsaid = [name for name in known if f'"{name}"' not in texts and f"'{name}'" not in texts]
    own = {"guest", "stopped_by_teacher", "join_wrong"}
    weights = {f"{weight}{end}" for weight in controls(Limits())["weights"] for end in ("", "_help")}
    assert [name for name in unsaid if not name.startswith(tuple(parts)) and name not in own | weights] == []


def test_every_choice_of_the_schema_has_its_words():
    made = controls(Limits())
    for name, choices in made["choices"].items():
        assert {f"{name}_{choice}" for choice in choices} <= set(words())


def test_a_translation_need_not_say_everything(tmp_path):
    file = tmp_path / "deutsch.toml"
    file.write_text('language = "de"\nstart = "Los"\n', encoding="utf-8")
    assert words(file)["start"] == "Los" and words(file)["pause"] == "Pause"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('begin = "Los"', "begin: the page has no such text; see"),
        ("start = 3", "start: not a text"),
        ("start", "not TOML"),
    ],
)
def test_a_file_of_texts_that_is_none_is_refused(tmp_path, text, told):
    file = tmp_path / "deutsch.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=told):
        words(file)
    with pytest.raises(InputError, match="no such file"):
        words(tmp_path / "none.toml")


def test_controls_are_made_of_the_schema():
    made = controls(Limits(side=256))
    assert made["sides"] == [128, 192, 256]
    assert made["recipes"]["d2l-2019"]["weights"] == {"content_weight": 1, "style_weight": 1000, "tv_weight": 10}
    assert made["choices"]["preserve_colors"] == ["no", "luminance", "histogram"]
    assert ENGLISH.is_file()


# -- where it is ------------------------------------------------------------------------------------------------------


def test_a_machine_knows_its_addresses(tmp_path):
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/fib_trie").write_text(
        "Main:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 192.168.1.20\n     /32 host LOCAL\n"
        "  |-- 192.168.1.255\n     /32 link BROADCAST\n"
    )
    assert own_addresses(str(tmp_path)) == ["192.168.1.20"]
    assert own_addresses(str(tmp_path / "none")) == []


@pytest.mark.parametrize(("text", "path"), [("/lab/", "/lab/"), ("lab", "/lab/"), ("a/b", "/a/b/"), ("/", "/")])
def test_a_base_url_has_a_slash_at_both_ends(text, path):
    assert build_parser().parse_args(["lab", "--base-url", text]).base_url == path


@pytest.mark.parametrize("text", ["/../", "lab/./b", "..", "/lab//b", "/a b/"])
def test_a_base_url_that_is_no_path_is_refused(text):
    with pytest.raises(InputError, match="is not a path such as /lab/"):
        build_parser().parse_args(["lab", "--base-url", text])


def test_as_many_work_at_once_as_are_asked_for(tmp_path):
    assert workers_of(Settings(tmp_path, workers=3))[0] == 3
    workers, threads = workers_of(Settings(tmp_path))
    assert workers >= 1 and threads >= 1
    assert (
        Settings(tmp_path).is_local
        and Settings(tmp_path, "::1").is_local
        and not Settings(tmp_path, "0.0.0.0").is_local
    )


@pytest.mark.parametrize(
    ("options", "windows", "terminal", "opens"),
    [
        ([], ":0", True, True),
        (["--no-browser"], ":0", True, False),
        (["--host", "0.0.0.0"], ":0", True, False),
        ([], "", True, False),
        ([], ":0", False, False),
    ],
)
def test_a_browser_is_opened_for_whoever_sits_here(monkeypatch, options, windows, terminal, opens):
    async def serve(settings, say, opened):
        opened(address(settings))
        return 0

    opened = []
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("DISPLAY", windows)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(KeyboardInterrupt, match="everything is kept when the same command opens the lab again"):
        lab(build_parser().parse_args(["lab", *options]))
    assert opened == (["http://127.0.0.1:7860"] if opens else [])


# -- connections ------------------------------------------------------------------------------------------------------


class Exhausted(socket.socket):
    """A socket that listens where no more files can be opened."""

    tries = 0

    def accept(self):
        self.tries += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_where_no_file_can_be_opened_the_server_waits_and_says_so_once(caplog):
    async def try_to_come():
        server = Connections(Application(), most=10)
        listening = Exhausted()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        server.add_sockets([listening])
        with socket.create_connection(listening.getsockname()):
            await asyncio.sleep(1.3)
        server.stop()
        return listening.tries

    assert asyncio.run(try_to_come()) == 2
    assert [record.getMessage() for record in caplog.records] == ["connections have to wait: Too many open files"]


def test_the_connection_gives_way_that_has_been_silent_for_longest():
    async def come():
        server = Connections(Application(), most=4)  # two from one address
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

    asyncio.run(come())


class Silent(Answer):
    """A stream of events that has nothing to say."""

    async def get(self):
        await self.stream(lambda: "")


def test_where_every_connection_is_a_stream_of_events_the_oldest_gives_way():
    async def come():
        server = Connections(Application([("/", Silent)], hosts=None, news=News()), most=4)  # two from one address
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        streams = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            streams.append((reader, writer))
            await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        await asyncio.wait_for(streams[0][0].read(), 5)  # which ends when it is closed
        assert not streams[1][0].at_eof()
        server.stop()
        await server.close_all_connections()

    asyncio.run(come())


def test_a_stream_that_has_nothing_to_say_sends_an_event_all_the_same(monkeypatch):
    async def listen():
        server = Connections(Application([("/", Silent)], hosts=None, news=News()), most=10)
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        told = await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        again = await asyncio.wait_for(reader.readuntil(b"here\n\n"), 5)
        server.stop()
        await server.close_all_connections()
        return told, again

    monkeypatch.setattr("gluon_nst.lab.web.base_handler.PULSE", 0.1)
    told, again = asyncio.run(listen())
    assert b"X-Accel-Buffering: no" in told
    assert (
        b"event: here\ndata: here\n\n" in told and b"event: here\ndata: here\n\n" in again
    )  # no browser passes on others


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_found_again_and_what_is_damaged_is_left_out(tmp_path):
    store = Store(tmp_path / "lab")
    student = Student("a1", "Anna", 5.0)
    picture = StoredPicture("b2", "x.png", 3, 4)
    tickets = [
        Ticket(name, "a1", {"side": 64}, {}, since, 9.0) for name, since in (("c3", 2.0), ("d4", 1.0), ("e5", 3.0))
    ]
    store.keep_student(student)
    store.keep_picture("a1", picture)
    for ticket in tickets:
        store.keep_ticket(ticket)
    (store.of_ticket(tickets[2]) / "ticket.json").write_text('{"id": "e5"')
    (store.of_student("zz") / "runs").mkdir(parents=True)
    (found,) = store.students()
    assert (found.name, found.pictures, list(found.tickets)) == ("Anna", {"b2": picture}, ["d4", "c3"])
    assert found.tickets["c3"] == tickets[0]


def test_secrets_stay_and_are_nobody_elses(tmp_path):
    store = Store(tmp_path / "lab")
    assert store.secret("token") == Store(tmp_path / "lab").secret("token") != store.secret("other")
    assert (tmp_path / "lab" / "token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "lab").stat().st_mode & 0o777 == 0o700


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    """A lab removes folders of students that it does not know."""
    own = tmp_path / "students" / "anna" / "thesis.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(InputError, match="not the folder of a lab, and not empty; name another with --dir"):
        Store(tmp_path)
    assert own.read_text() == "mine" and not (tmp_path / "own").exists()
    store = Store(tmp_path / "empty")
    store.keep_student(Student("a1", "Anna", 5.0))
    assert [student.name for student in Store(tmp_path / "empty").students()] == ["Anna"]


def test_a_folder_with_a_secret_of_something_else_is_refused(tmp_path):
    (tmp_path / "secret").write_text("password of the printer")
    with pytest.raises(InputError, match="not the folder of a lab, and not empty"):
        Store(tmp_path)
    (tmp_path / "secret").write_bytes(b"\xff" * 24)
    with pytest.raises(InputError, match="not the folder of a lab, and not empty"):
        Store(tmp_path)


def test_only_what_the_lab_has_made_is_removed(tmp_path):
    store = Store(tmp_path)
    student, half, own = new_id(), store.of_student(new_id()), tmp_path / "students" / "anna"
    store.keep_student(Student(student, "Ben", 5.0))
    files = [own / "thesis.txt", own / "pictures/holiday/beach.png", store.of_student(student) / "pictures/mine/a.png"]
    coming = [store.of_picture(student, new_id()) / "original", half / "pictures" / new_id() / "original"]
    for file in (*files, *coming):
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    store.tidy()
    assert all(file.exists() for file in files)
    assert not any(file.parent.exists() for file in coming) and not half.exists()


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't keep the lab there .*; name another with --dir"):
        Store(tmp_path / "file" / "lab")


# -- who is there -----------------------------------------------------------------------------------------------------


def laboratory(tmp_path, **limits):
    """A laboratory that nothing is asked of but its rules."""
    return Laboratory(Store(tmp_path / "lab"), Limits(**limits), 1, 1)


def test_where_the_lab_is_full_who_has_nothing_here_gives_way(tmp_path):
    async def come():
        lab = laboratory(tmp_path)
        first = lab.welcome("first")
        first.pictures["a"] = StoredPicture("a", "a", 20, 20)
        second = lab.welcome("second")
        lab.welcome("looking").listening = 1
        for number in range(STUDENTS):
            last = lab.welcome(f"{number}")
        return lab, first, second, last

    lab, first, second, last = asyncio.run(come())
    assert len(lab.students) == STUDENTS
    assert {first.id, last.id, "looking"} <= lab.students.keys() and second.id not in lab.students
    assert lab.welcome("second", "Ben").name == "Ben" and lab.welcome("first") is first
    for student in lab.students.values():
        student.pictures["a"] = StoredPicture("a", "a", 20, 20)
    with pytest.raises(Full, match="the lab is full; ask your teacher"):
        lab.welcome("new")


def test_a_class_that_starts_together_is_served_whatever_its_runs_take(tmp_path):
    asked = Asked.of({"content": "mountains", "styles": [["autumn-oaks", 1]], "recipe": "fine", "side": 128})

    async def start():
        lab = laboratory(tmp_path, minutes=0.2)
        await lab.workshop.end()  # so that nothing is really computed
        lab.own = {name: StoredPicture(name, name, 600, 900) for name in asked.pictures}
        first = lab.ask(lab.welcome("a"), asked)
        before = lab.workshop.forecasts()[first.id].left
        for _ in range(20):
            lab.workshop.expectation.learn(first.expected, 3 * first.expected, 3 * first.expected + 5)
        # Who waits follows what was learned, and somebody new may still ask for the smallest size.
        last = lab.ask(lab.welcome("b"), asked)
        forecasts = lab.workshop.forecasts()
        assert forecasts[first.id].left == forecasts[last.id].left == pytest.approx(3 * (before - 5) + 5)
        assert forecasts[last.id].starts == pytest.approx(forecasts[first.id].left)
        with pytest.raises(InputError, match="the lab allows 0.2 minutes; choose a smaller size"):
            lab.ask(lab.welcome("c"), dataclasses.replace(asked, side=512))

    asyncio.run(start())


def test_weights_that_are_changed_one_after_the_other_leave_something_to_minimise(tmp_path):
    asked = Asked.of({"content": "mountains", "styles": [["autumn-oaks", 1]]})

    async def steer():
        lab = laboratory(tmp_path)
        student = lab.welcome("a")
        ticket = student.tickets["run"] = Ticket("run", "a", asked.as_dict(), {}, 0.0, 9.0, status="paused", done=5)
        lab.steer(student, "run", {"content_weight": 0.0})
        lab.steer(student, "run", {"tv_weight": 0.0})
        ticket.weights.clear()  # its process has them
        with pytest.raises(InputError, match="no loss has a weight"):
            lab.steer(student, "run", {"style_weight": 0.0})
        assert ticket.weights == {}

    asyncio.run(steer())


def test_pictures_on_their_way_count_too(tmp_path):
    async def room(incoming):
        lab = laboratory(tmp_path, pictures=2)
        student = lab.welcome("a")
        student.pictures["a"], student.incoming = StoredPicture("a", "a", 20, 20), incoming
        lab.room_for_a_picture(student)

    asyncio.run(room(0))
    with pytest.raises(Full, match="you have 2 pictures, as many as are kept; remove one first"):
        asyncio.run(room(1))
