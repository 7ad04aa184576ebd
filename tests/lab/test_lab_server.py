"""The lab's server, as students, teachers and others ask it: what is refused, who sees what, and what a kill leaves."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from urllib.parse import urljoin

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.machine.files import shipped
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare

import numpy as np
import pytest
import requests
from PIL import Image

from commands import namespace
from lab_server import LONG, SMALL, Lab, Student, free_port, png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(converted, tmp_path_factory):
    """A lab on this machine alone, for all tests that leave it open."""
    with Lab(
        tmp_path_factory.mktemp("lab"), "--weights", converted, "--workers", 1, "--max-jobs", 3, "--max-upload", "2MB"
    ) as lab:
        yield lab


@pytest.fixture
def own_lab(converted, tmp_path):
    """One for a test that kills it."""
    lab = Lab(tmp_path / "lab", "--weights", converted, "--workers", 1)
    with lab:
        yield lab


@pytest.fixture
def student(lab):
    """Somebody in the lab, who stops what they have begun."""
    student = Student(lab)
    yield student
    for name, run in student.runs().items():
        if run["status"] in ("waiting", "working"):
            student.post(f"runs/{name}", {"do": "stop"})


def refused(answer, status, sentence):
    """Check that an answer is a refusal in a sentence."""
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert sentence in told
    assert "\n" not in told
    assert "Traceback" not in told


# -- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_gives_a_picture_that_its_recipe_makes_again(student, lab, converted, tmp_path):
    picture = student.upload(png(80, 120, 5), "mine.png").json()
    assert (picture["label"], picture["height"], picture["width"]) == ("mine.png", 80, 120)
    run = student.wait(student.start(content=picture["id"], styles=[["autumn-oaks", 2], ["mountains", 1]]), "complete")
    assert (run["done"], run["epochs"], run["shown"], run["pictured"]) == (60, 60, 60, True)
    downloaded = {
        what: student.get(f"runs/{run['id']}/{what}?download=1") for what in ("picture", "recipe", "record", "losses")
    }
    assert downloaded["picture"].headers["Content-Disposition"] == 'attachment; filename="picture.png"'
    for what, answer in downloaded.items():
        (tmp_path / what).write_bytes(answer.content)
    (tmp_path / "mine.png").write_bytes(png(80, 120, 5))
    shown = student.get(f"runs/{run['id']}/program").json()["command"].split()
    environment, program, *words = shown
    names = {"mountains.jpg": "img/mountains.jpg", "autumn-oaks.jpg": "img/autumn-oaks.jpg"}
    words = [str(shipped(names[word])) if word in names else word for word in words]
    words = [*words, "--weights", str(converted), "--quiet"]
    command = [os.sys.executable, "-m", "gluon_nst", *words]
    threads = dict([environment.split("=")])
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, **threads}, timeout=120)
    assert (tmp_path / "picture.png").read_bytes() == downloaded["picture"].content
    recipe = recipes.read(_toml(tmp_path / "recipe")).as_dict()
    assert json.loads(downloaded["record"].text)["recipe"] == json.loads(json.dumps(recipe))
    assert len(downloaded["losses"].text.splitlines()) == 61


def _toml(path):
    path.rename(path.with_suffix(".toml"))
    return path.with_suffix(".toml")


def test_a_run_can_be_paused_steered_and_gone_on_with_and_is_made_again(student, lab, converted, tmp_path):
    name = student.start(epochs=90)
    student.wait(name, "working", until=lambda run: run["done"] > 20)
    assert student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 2e4}}).status_code == 200
    student.wait(name, "working", until=lambda run: run["steered"])
    student.post(f"runs/{name}", {"do": "pause"})
    run = student.wait(name, "paused")
    assert 20 < run["done"] < 180
    assert run["goes_on"]
    assert run["pictured"]
    student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": 0}})
    assert student.runs()[name]["weights"] == {"tv_weight": 0}
    student.post(f"runs/{name}", {"do": "go on"})
    run = student.wait(name, "complete")
    told = student.get(f"runs/{name}/curve").json()
    assert [change["weights"] for change in told["changes"]] == [{"style_weight": 2e4}, {"tv_weight": 0}]
    assert told["moments"][-1] <= 180
    assert len(told["moments"]) > 20
    assert told["losses"][-1][0] == 179
    assert student.get(f"runs/{name}/moments/{told['moments'][3]}").headers["Content-Type"] == "image/jpeg"
    (tmp_path / "recipe.toml").write_text(student.get(f"runs/{name}/recipe").text)
    (tmp_path / "picture.png").write_bytes(student.get(f"runs/{name}/picture").content)
    content, style = nst.pictures.own_pictures()
    again = carry_out(prepare(nst.Job(content, style, str(tmp_path / "recipe.toml"), weights=str(converted))))
    mine = np.asarray(Image.open(tmp_path / "picture.png")).astype(int)
    # With as many threads here as there it is the same to the last bit.
    same = (
        int(os.environ.get("OMP_NUM_THREADS", 0))
        == json.loads(Image.open(tmp_path / "picture.png").text["gluon-nst"])["threads"]
    )
    assert np.abs(np.asarray(again.image) - mine).max() <= (0 if same else 60)
    assert "--recipe recipe.toml" in student.get(f"runs/{name}/program").json()["command"]


def test_a_film_is_made_of_the_pictures_along_the_way(student):
    name = student.start()
    student.wait(name, "complete")
    assert student.post(f"runs/{name}/film", {}).status_code == 200
    assert student.runs()[name]["film"] == "made"
    film = student.get(f"runs/{name}/film?download=1")
    assert film.headers["Content-Type"] == "image/webp"
    assert film.content[8:12] == b"WEBP"


def test_weights_that_are_changed_before_a_run_begins_are_simply_its_weights(student):
    first, second = student.start(**LONG), student.start()
    student.post(f"runs/{second}", {"do": "weights", "weights": {"style_weight": 5.0}})
    run = student.runs()[second]
    assert run["status"] == "waiting"
    assert run["asked"]["style_weight"] == 5.0
    assert not run["steered"]
    student.post(f"runs/{first}", {"do": "stop"})
    assert student.wait(second, "complete")["steered"] is False
    assert "style_weight = 5.0" in student.get(f"runs/{second}/recipe").text


def test_a_run_may_not_take_longer_than_the_lab_allows(converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted, "--max-minutes", 0.12) as lab:
        student = Student(lab)
        expected = student.post("expected", SMALL).json()["sides"]
        refused(
            student.post("runs", {**LONG, "side": 512}),
            400,
            "here, and the lab allows 0.12 minutes; choose a smaller size",
        )
        assert not expected["512"]["allowed"]


def test_where_the_line_is_long_everybody_is_told_their_place(student, lab):
    first = student.start(**LONG)
    student.wait(first, "working")
    other = Student(lab)
    mine, theirs = student.start(), other.start()
    assert student.runs()[mine]["place"] == 2
    assert other.runs()[theirs]["place"] == 1
    assert other.runs()[theirs]["starts"] > 0
    other.post(f"runs/{theirs}", {"do": "stop"})
    assert student.runs()[mine]["place"] == 1


def test_a_page_that_is_loaded_again_and_again_hears_its_news(student):
    for _ in range(40):
        assert student.runs() == {}
    open_pages = [student.get("events", stream=True) for _ in range(9)]
    assert [page.status_code for page in open_pages] == [200] * 8 + [409]
    assert open_pages[-1].json()["error"] == "you have the lab open many times; close some of its pages"
    for page in open_pages:
        page.close()


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_no_picture_is_refused_with_a_sentence_and_the_lab_goes_on(student, lab):
    kept = originals(lab)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    refused(
        student.upload(svg, "a.svg"),
        400,
        "a.svg: not a picture of a kind that is taken here: PNG, JPEG, WebP, GIF or BMP",
    )
    refused(student.upload(b"", "a.png"), 400, "a.png: ")
    refused(student.upload(png()[:300], "half.png"), 400, "half.png: the picture is damaged")
    refused(student.upload(png(8, 8), "tiny.png"), 400, "tiny.png: 8 x 8 pixels are too few")
    refused(student.upload(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "a.eps"), 400, "not a picture")
    bomb = student.upload(_bomb(), "../../bomb.png")
    refused(bomb, 400, "bomb.png: more pixels than the limit of 50000000; scale it down first")
    assert len(student.get("pictures").json()["pictures"]) == 2  # the lab's own
    assert originals(lab) == kept
    assert student.upload(png()).status_code == 201


def originals(lab):
    """The files that have been taken in."""
    return set((lab.folder / "students").glob("*/pictures/*"))


def _bomb():
    """A picture of 400 megapixels in some hundred kilobytes."""
    file = io.BytesIO()
    Image.new("1", (20000, 20000)).save(file, "PNG")
    return file.getvalue()


def test_two_hundred_megabytes_are_refused_as_they_come(student, lab):
    before, kept = lab.memory, originals(lab)

    def forever():
        for _ in range(200):
            yield bytes(1_000_000)

    told = student.upload(bytes(3_000_000))
    refused(told, 413, "the file has more than 2 MB; scale the picture down first")
    refused(student.upload(forever()), 413, "the file has more than 2 MB")  # of no length that is told
    assert lab.memory < before + 20e6
    assert originals(lab) == kept
    assert student.upload(png()).status_code == 201


def test_a_path_in_place_of_a_name_is_refused(student):
    for name in ("../../../etc/passwd", "/etc/passwd", "..%2f..%2fsecret"):
        refused(student.post("runs", {**SMALL, "content": name}), 400, "content: choose a picture of the page")
        assert student.get(f"pictures/{name}").status_code in (400, 404)
        assert student.get(f"runs/{name}/picture").status_code == 404
    refused(student.post("runs", {**SMALL, "content": "nobodys"}), 404, "there is no such picture of yours")
    refused(student.post("runs", {**SMALL, "init": "/etc/passwd"}), 400, "init: '/etc/passwd' is not one of")
    name = student.start()
    for what in ("state.checkpoint", "ticket.json", "errors.txt", "../../secret", "moments/../state.checkpoint"):
        assert student.get(f"runs/{name}/{what}").status_code == 404, what


def test_what_is_no_request_is_refused(student):
    refused(student.post("runs", [1]), 400, "the request is not a JSON object with the fields content, styles")
    refused(student.session.post(f"{student.lab.url}/runs", data="{"), 400, "the request is not JSON")
    refused(student.post("runs", {**SMALL, "side": 2000}), 400, "size: the lab allows 512 pixels")
    refused(student.post("expected", 3), 400, "the request is not a JSON object with the fields content, styles")
    name = student.start(**LONG)
    refused(
        student.post(f"runs/{name}", {"do": "explode"}), 400, "do: 'explode' is not one of pause, stop, go on, weights"
    )
    refused(student.post(f"runs/{name}", {"do": "weights", "weights": {"lr": 3}}), 400, "is not any of content_weight")
    refused(
        student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": -3}}),
        400,
        "'tv_weight': -3} is not any of",
    )
    refused(student.post(f"runs/{name}", {"do": "go on"}), 400, "does not wait for you")
    refused(student.post(f"runs/{name}/film", {}), 400, "when the run has stopped")
    refused(student.post("nowhere", {}), 405, "load the page again")
    assert student.get("nowhere").status_code == 404


WRONG = [None, True, -1, 1.5, 10**300, float("inf"), "x", "\ud800", [], ["stop"], [["a"]], {}, {"a": [1]}]
"""Values of every type that JSON has."""


def test_no_body_of_a_wrong_type_is_an_error_of_the_server(student, lab):
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
        fields = [*right, "weights", "epochs", "style_weight", "init", "no such field"]
        bodies = [
            json.dumps(body) for body in (*WRONG, *({**right, name: value} for name in fields for value in WRONG))
        ]
        for body in (*bodies, json.dumps({"do": "weights", "weights": {"tv_weight": None}}), b"\xff", "[" * 5000):
            answer = session.post(f"{lab.url}/{path}", data=body)
            assert answer.status_code in (200, 201, 400, 404, 409), (path, body, answer.text)
    visitor = Student(lab)  # who may come in by this, as somebody else
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
    assert not any("Traceback" in line for line in lab.said)


def test_a_student_has_so_many_runs_at_once_and_no_more(student):
    names = [student.start(**LONG) for _ in range(3)]
    refused(student.post("runs", SMALL), 409, "3 runs of yours wait or are at work, as many as you may have at once")
    student.post(f"runs/{names[2]}", {"do": "stop"})
    assert student.post("runs", SMALL).status_code == 201


def test_a_form_without_its_token_is_refused(student, lab):
    stranger = requests.Session()
    stranger.cookies.update(student.session.cookies)  # as a page from elsewhere would have them sent
    for method, path in (
        ("POST", "runs"),
        ("POST", "pictures"),
        ("DELETE", "runs/a"),
        ("POST", "join"),
        ("POST", "teacher"),
    ):
        refused(stranger.request(method, f"{lab.url}/{path}", json=SMALL), 403, "this page is out of date")
    assert student.runs() == {}


def test_nobody_gets_anything_of_another(student, lab):
    picture, name = student.upload(png()).json()["id"], student.start()
    student.wait(name, "complete")
    other, run = Student(lab), name
    for path in ("latest.jpg", "picture", "record", "recipe", "losses", "curve", "moments/1", "program", "film"):
        refused(other.get(f"runs/{name}/{path}"), 404, "there is no such run of yours")
    refused(other.get(f"pictures/{picture}"), 404, "there is no such picture of yours")
    refused(other.post(f"runs/{name}", {"do": "pause"}), 404, "no such run of yours")
    refused(other.session.delete(f"{lab.url}/runs/{name}"), 404, "no such run of yours")
    refused(other.session.delete(f"{lab.url}/pictures/{picture}"), 404, "no such picture of yours")
    refused(other.post("runs", {**SMALL, "content": picture}), 404, "no such picture of yours")
    assert name not in other.runs()
    forged = requests.Session()
    (name,) = (cookie.name for cookie in student.session.cookies if cookie.name.endswith("-student"))
    forged.cookies.set(name, student.session.cookies[name][:-4] + "beef")
    refused(forged.get(f"{lab.url}/pictures"), 401, "come in first")
    refused(requests.get(f"{lab.url}/teacher/runs/{run}/latest.jpg"), 401, "come in first")
    refused(student.get("teacher/events"), 401, "come in first")


def test_a_page_from_elsewhere_that_has_our_address_gets_nothing(lab):
    refused(requests.get(f"{lab.url}/", headers={"Host": f"evil.example:{lab.port}"}), 403, "not from here")


def test_pages_are_guarded(student):
    headers = student.get("").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    cookies = {cookie.name: cookie for cookie in student.session.cookies}
    assert all(cookie.has_nonstandard_attr("HttpOnly") for cookie in cookies.values())


def test_what_is_no_file_of_the_page_is_answered_in_a_sentence(lab):
    for path, status in (("%00", 404), ("no.js", 404), ("", 404), ("..%2fenglish.toml", 403)):
        answer = requests.get(f"{lab.url}/static/{path}")
        refused(answer, status, "")
        assert "Server" not in answer.headers
    assert requests.get(f"{lab.url}/static/lab.js").headers["Cache-Control"] == "no-cache"
    assert not any("Traceback" in line for line in lab.said)


def test_what_cannot_be_read_is_told_in_a_sentence_of_the_labs(lab):
    for path in ("join?token=%ff", "teacher?token=%ff"):
        refused(requests.get(f"{lab.url}/{path}"), 400, "this address or form can't be read")


def test_a_head_is_answered_like_a_get(student):
    for path in ("", "pictures", "events", "static/lab.js"):
        asked, told = (
            student.session.request(method, f"{student.lab.url}/{path}", stream=True) for method in ("HEAD", "GET")
        )
        assert asked.status_code == told.status_code == 200
        assert asked.content == b""
        assert asked.headers["Content-Type"] == told.headers["Content-Type"]
        told.close()
    refused(student.session.get(f"{student.lab.url}/expected"), 405, "this can't be done here")
    assert student.session.head(f"{student.lab.url}/expected").status_code == 405


def test_a_name_with_markup_in_it_is_text(converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted, "--password", "pass") as lab:
        student = Student(lab, name="<script>alert(1)</script>", password="pass")
        page = student.get("").text
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
        turned = Student(lab, name=" \u202eAn\x9fna\u200b \x1b Å\n", password="pass")
        assert "<span>Anna Å</span>" in turned.get("").text


def test_pictures_and_runs_can_be_removed(student, lab):
    picture = student.upload(png()).json()["id"]
    name = student.start(content=picture)
    student.wait(name, "complete")
    refused(student.session.delete(f"{lab.url}/pictures/{picture}"), 400, "a run of yours has this picture")
    assert student.session.delete(f"{lab.url}/runs/{name}").status_code == 200
    assert student.session.delete(f"{lab.url}/pictures/{picture}").status_code == 200
    assert student.runs() == {}
    assert len(student.get("pictures").json()["pictures"]) == 2


# -- connections ------------------------------------------------------------------------------------------------------


def test_silent_connections_keep_nobody_out(converted, tmp_path):
    few = ["bash", "-c", 'ulimit -n 128 && exec "$@"', "bash"]
    with Lab(tmp_path / "lab", "--weights", converted, before=few) as lab, contextlib.ExitStack() as opened:
        listening = Student(lab)
        events = listening.get("events", stream=True)
        memory, said = lab.memory, list(lab.said)
        for _ in range(200):
            silent = opened.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=5))
        silent.send(b"POST /runs HTTP/1.1\r\nContent-Length: 9\r\n\r\n")  # and what never comes to its end
        begun = time.monotonic()
        assert Student(lab, timeout=5).get("pictures", timeout=5).status_code == 200
        assert time.monotonic() - begun < 1
        assert lab.memory < memory + 20e6
        # Who listens to news hears it still.
        listening.start()
        assert sum(line.startswith(b"data:") for line, _ in zip(events.iter_lines(), range(8))) >= 2
        assert [line for line in lab.said if line not in said and not line.startswith("ready")] == []


def test_visitors_without_a_cookie_take_nobodys_place(student, lab):
    with student.get("events", stream=True) as events:
        for _ in range(320):
            assert requests.get(f"{lab.url}/").status_code == 200
        name = student.start()
        told = (json.loads(line[6:]) for line in events.iter_lines() if line.startswith(b"data: {"))
        assert any(run["id"] == name for news in told for run in news["runs"])


# -- behind a proxy, and beside others --------------------------------------------------------------------------------


def test_two_labs_and_jupyter_on_one_host_share_no_cookie(student, lab, own_lab):
    other = Student(own_lab)
    names = [set(each.session.cookies.keys()) for each in (student, other)]
    assert len(names[0]) == 2
    assert not names[0] & names[1]
    assert "_xsrf" not in names[0] | names[1]
    student.session.cookies.update(other.session.cookies)  # a host has one set for all its ports
    picture = student.upload(png()).json()["id"]
    assert student.get(f"pictures/{picture}").status_code == 200


def test_a_lab_under_a_path_is_served_and_refers_to_nothing_outside_of_it(converted, tmp_path):
    options = ["--weights", converted, "--base-url", "/class/lab", "--password", "right"]
    with Lab(tmp_path / "lab", *options, path="/class/lab") as lab:
        assert lab.addresses[0] == f"{lab.url}/"
        come = requests.get(lab.url)
        assert come.url == f"{lab.url}/join"
        assert not any("Server" in each.headers for each in (come, *come.history))
        student = Student(lab, name="Anna", password="right")
        assert {cookie.path for cookie in student.session.cookies} == {"/class/lab/"}
        teacher = requests.get(lab.addresses[1])
        assert teacher.url == f"{lab.url}/teacher"
        assert teacher.status_code == 200
        wrong = student.get("runs/no/such/thing", headers={"Accept": "text/html"})
        for page in (student.get(""), student.get("join"), teacher, wrong):
            for address in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text):
                assert urljoin(page.url, address).startswith(f"{lab.url}/"), (page.url, address)
                assert not address.startswith("/")  # so it holds, too, where a proxy takes the path away
                assert student.session.get(urljoin(page.url, address)).status_code == 200, (page.url, address)
        assert student.post("expected", SMALL).status_code == 200
        outside = requests.get(f"http://127.0.0.1:{lab.port}/", headers={"Accept": "text/html"})
        assert outside.status_code == 404
        assert 'href="/class/lab/"' in outside.text


# -- the doors --------------------------------------------------------------------------------------------------------


def test_other_machines_need_a_password_which_is_made_where_none_is_given(converted, tmp_path):
    lab = Lab(tmp_path / "lab", "--weights", converted, "--host", "0.0.0.0")
    with lab:
        address = next(line for line in lab.said if line.startswith("students:")).split()[-1]
        token = address.partition("?token=")[2]
        assert len(token) >= 20
        assert requests.get(f"{lab.url}/events").status_code == 401
        come = requests.get(f"{lab.url}/?token={token}")
        assert come.url.endswith(f"/join?token={token}")
        assert f'value="{token}"' in come.text
        assert Student(lab, name="Anna", password=token).get("pictures").status_code == 200
    again = Lab(tmp_path / "lab", "--weights", converted, "--host", "0.0.0.0")
    with again:
        assert token in " ".join(again.said)  # the addresses that a class has noted stay


def test_a_wrong_password_a_hundred_times_is_slowed_down(converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted, "--password", "right") as lab:
        session = requests.Session()
        form = session.get(f"{lab.url}/join").text
        token = form.split('name="_xsrf" value="')[1].split('"')[0]
        statuses = []
        for _ in range(100):
            answer = session.post(f"{lab.url}/join", data={"_xsrf": token, "password": "wrong", "name": "x"})
            statuses.append(answer.status_code)
        assert statuses.count(429) > 85
        assert set(statuses) == {403, 429}
        # A classmate at the same address comes in.
        assert Student(lab, name="Anna", password="right").get("pictures").status_code == 200
        assert "too many wrong tries; wait" in answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        # Who knows the teacher's token comes in by the other door all the same.
        assert requests.get(lab.addresses[1]).status_code == 200


def test_the_teacher_sees_all_stops_a_run_and_shows_pictures(student, lab):
    name = student.start(**LONG)
    student.wait(name, "working", until=lambda run: run["shown"] > 0)
    teacher = requests.Session()
    page = teacher.get(lab.addresses[1])
    assert page.url == f"{lab.url}/teacher"  # the token does not stay in the address
    with teacher.get(f"{lab.url}/teacher/events", stream=True) as stream:
        told = next(json.loads(line[6:]) for line in stream.iter_lines() if line.startswith(b"data: "))
    runs = [run["id"] for each in told["students"] for run in each["runs"]]
    assert name in runs
    assert told["workers"] == 1
    assert told["memory"] > 0
    assert teacher.get(f"{lab.url}/teacher/runs/{name}/latest.jpg").headers["Content-Type"] == "image/jpeg"
    xsrf = json.loads(page.text.split('id="data">')[1].split("</script>")[0])["xsrf"]
    assert (
        teacher.post(f"{lab.url}/teacher/runs/{name}", json={"do": "stop"}, headers={"X-XSRFToken": xsrf}).status_code
        == 200
    )
    assert student.wait(name, "interrupted")["note"] == "stopped by your teacher"
    refused(requests.get(f"{lab.url}/teacher/events"), 401, "come in first")


# -- what a kill leaves -----------------------------------------------------------------------------------------------


def test_a_run_whose_process_is_killed_is_told_of_and_can_go_on_and_others_go_on(own_lab):
    student, other = Student(own_lab), Student(own_lab)
    name, theirs = student.start(**LONG), other.start()
    student.wait(name, "working", until=lambda run: run["done"] > 5)
    (pid,) = own_lab.workers().values()
    os.kill(pid, signal.SIGKILL)
    run = student.wait(name, "lost")
    assert (
        "the process of this run ended by signal 9 (SIGKILL); it can go on from where it was last saved" in run["note"]
    )
    other.wait(theirs, "complete")
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda run: run["done"] > 5)


def test_after_a_kill_of_the_server_the_line_and_the_pictures_are_there_and_runs_go_on(own_lab):
    student, other = Student(own_lab), Student(own_lab)
    done = student.start()
    student.wait(done, "complete")
    picture = student.get(f"runs/{done}/picture").content
    name = student.start(**LONG)
    before = student.wait(name, "working", until=lambda run: run["done"] > 100)
    waiting = other.start()
    own_lab.kill()
    own_lab.open()
    assert student.get(f"runs/{done}/picture").content == picture
    assert other.runs()[waiting]["status"] == "waiting"
    after = student.wait(name, "working", until=lambda run: run["done"] > 0)
    # The process that was left saw that its server had gone, and saved.
    assert after["done"] >= before["done"]
    student.post(f"runs/{name}", {"do": "stop"})
    other.wait(waiting, "complete")


def test_ctrl_c_saves_and_the_same_command_goes_on(own_lab):
    student = Student(own_lab)
    name = student.start(**LONG)
    before = student.wait(name, "working", until=lambda run: run["done"] > 50)
    assert own_lab.close(signal.SIGINT) == 130
    time.sleep(0.2)
    assert own_lab.said[-1] == "interrupted: 1 run goes on when the same command opens the lab again"
    assert own_lab.workers() == {}
    own_lab.open()
    after = student.wait(name, "working", until=lambda run: run["done"] > 0)
    assert after["done"] >= before["done"]


def test_a_run_that_was_paused_as_the_lab_closed_stays_paused(own_lab):
    student = Student(own_lab)
    name = student.start(**LONG)
    student.wait(name, "working", until=lambda run: run["done"] > 5)
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


def test_what_nobody_comes_for_is_removed(converted, tmp_path):
    folder = tmp_path / "lab"
    with Lab(folder, "--weights", converted) as lab:
        student = Student(lab)
        student.wait(student.start(), "complete")
        (kept,) = (folder / "students").iterdir()
    file = kept / "student.json"
    file.write_text(json.dumps({"name": "", "seen": time.time() - 7200}))
    with Lab(folder, "--weights", converted, "--keep", 3):
        assert kept.is_dir()
    file.write_text(json.dumps({"name": "", "seen": time.time() - 7200}))
    with Lab(folder, "--weights", converted, "--keep", 1):
        time.sleep(1)
        assert not kept.is_dir()


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a lab on a disk of four megabytes, and the command that runs it there."""
    way = namespace("m")
    if not way:
        pytest.skip("no namespace to mount a small disk in")
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder, [*way, "bash", "-c", f'mount -t tmpfs -o size=4m tmpfs {folder} && exec "$@"', "bash"]


def test_a_full_disk_is_told_no_run_is_lost_and_with_room_it_goes_on(converted, small_disk):
    folder, before = small_disk
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 800, 3), dtype=np.uint8)).save(noise, "PNG")
    assert 1.5e6 < len(noise.getvalue()) < 2e6
    with Lab(folder, "--weights", converted, "--workers", 1, before=before) as lab:
        student = Student(lab)
        inside = f"/proc/{lab.process.pid}/root{folder}"  # where its disk can be seen from here
        name = student.start(**LONG)
        student.wait(name, "working", until=lambda run: run["done"] > 30)
        student.post(f"runs/{name}", {"do": "pause"})
        assert student.wait(name, "paused")["note"] == ""
        picture = student.upload(noise.getvalue()).json()["id"]
        student.post(f"runs/{name}", {"do": "go on"})
        running = student.wait(name, "working", until=lambda run: run["done"] > 40)
        with open(f"{inside}/full", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        refused(student.upload(noise.getvalue()), 507, "there is no room on the lab's disk; tell your teacher")
        refused(student.post("runs", SMALL), 507, "there is no room on the lab's disk; tell your teacher")
        student.post(f"runs/{name}", {"do": "weights", "weights": {"style_weight": 2e3}})
        student.wait(name, "working", until=lambda run: run["steered"])
        student.post(f"runs/{name}", {"do": "pause"})
        run = student.wait(name, "paused")
        assert run["note"] == "there is no room on the lab's disk; tell your teacher"
        assert run["goes_on"]
        os.remove(f"{inside}/full")
        assert student.session.delete(f"{lab.url}/pictures/{picture}").status_code == 200
        assert student.post(f"runs/{name}", {"do": "go on"}).status_code == 200
        # From where it was last saved, with room.
        assert student.wait(name, "working", until=lambda run: run["done"] > 30)["note"] == ""
        student.post(f"runs/{name}", {"do": "pause"})
        assert student.wait(name, "paused")["note"] == ""
        assert running["done"] > 30


# -- many things at once ----------------------------------------------------------------------------------------------


def test_a_weight_that_is_changed_right_after_a_pause_is_not_lost(student):
    name = student.start(**LONG)
    student.wait(name, "working", until=lambda run: run["done"] > 5)
    for command in ({"do": "pause"}, {"do": "weights", "weights": {"style_weight": 7.0}}):
        assert student.post(f"runs/{name}", command).status_code == 200
    run = student.wait(name, "paused")
    time.sleep(0.5)
    changes = [change["weights"] for change in student.get(f"runs/{name}/curve").json()["changes"]]
    assert {"style_weight": 7.0} in [*changes, student.runs()[name]["weights"]]
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda now: now["done"] > run["done"] + 5)
    student.post(f"runs/{name}", {"do": "stop"})
    assert student.wait(name, "interrupted")["weights"] == {}
    assert {"style_weight": 7.0} in [
        change["weights"] for change in student.get(f"runs/{name}/curve").json()["changes"]
    ]


def test_a_stop_counts_for_more_than_a_pause(student):
    name = student.start(**LONG)
    student.wait(name, "working", until=lambda run: run["done"] > 5)
    student.post(f"runs/{name}", {"do": "stop"})
    student.post(f"runs/{name}", {"do": "pause"})
    student.wait(name, "interrupted")


def test_commands_to_a_run_whose_process_has_just_been_started_reach_it(student):
    name = student.start(**LONG)
    student.post(f"runs/{name}", {"do": "weights", "weights": {"tv_weight": 3.0}})
    student.post(f"runs/{name}", {"do": "pause"})
    student.wait(name, "paused")
    assert student.runs()[name]["weights"] in ({}, {"tv_weight": 3.0})
    student.post(f"runs/{name}", {"do": "go on"})
    student.wait(name, "working", until=lambda run: run["done"] > 3 and run["steered"])


def test_nothing_of_a_run_can_be_removed_while_its_film_is_made(student):
    name = student.start()
    student.wait(name, "complete")
    making = threading.Thread(target=lambda: Student.post(student, f"runs/{name}/film", {}))
    making.start()
    while student.runs()[name]["film"] != "making":
        time.sleep(0.05)
    refused(student.session.delete(f"{student.lab.url}/runs/{name}"), 400, "its film is being made; wait a moment")
    making.join()
    assert student.session.delete(f"{student.lab.url}/runs/{name}").status_code == 200
    assert not list((student.lab.folder / "students").glob(f"*/runs/{name}"))


def test_two_files_of_one_name_get_two(student):
    sent = ["image.jpg", "image.jpg", "mountains.jpg"]
    names = [student.upload(png(seed=seed), name).json()["label"] for seed, name in enumerate(sent)]
    assert names == ["image.jpg", "image-2.jpg", "mountains-2.jpg"]  # beside the lab's own


def test_a_picture_can_be_taken_home_as_it_came(student):
    name = student.upload(png(), "mine.png").json()["id"]
    answer = student.get(f"pictures/{name}/original")
    assert answer.content == png()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''mine.png"
    assert student.get("pictures/mountains/original").content == shipped("img/mountains.jpg").read_bytes()


# -- bad beginnings ---------------------------------------------------------------------------------------------------


def begun(*options):
    """What the command ends with that does not open a lab."""
    command = [os.sys.executable, "-m", "gluon_nst", "lab", *map(str, options)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stderr.strip()


def test_a_lab_that_cannot_be_opened_says_why_in_a_line(lab, tmp_path):
    status, line = begun("--dir", tmp_path / "a", "--port", lab.port)
    assert status == 2
    assert line.startswith(f"error: 127.0.0.1:{lab.port}: can't listen there (Address already in use)")
    assert not (tmp_path / "a").exists()
    status, line = begun("--dir", lab.folder, "--port", free_port())
    assert status == 2
    assert "another lab is open with this folder" in line
    for options, told in (
        (["--port", "x"], "'x' is not a port"),
        (["--max-jobs", "0"], "jobs: 0 is not an integer of at least 1"),
        (["--max-upload", "much"], "'much' is not an amount such as 30MB"),
        (["--keep", "-1"], "'-1' is not a number of hours above 0"),
        (["--workers", "0"], "'0' is not a number of at least 1"),
        (["--host", "nowhere.invalid", "--dir", tmp_path / "b"], "nowhere.invalid:7860: can't listen there"),
        (["--texts", tmp_path / "none.toml", "--dir", tmp_path / "b"], "none.toml: no such file"),
    ):
        status, line = begun(*options)
        assert line.startswith("error: ")
        assert told in line
        assert "\n" not in line
        assert status == 2
