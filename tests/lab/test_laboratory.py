"""The limits of students, pictures and runs, and changes of weights."""

import asyncio
import dataclasses

from gluon_nst.errors import InputError
from gluon_nst.lab.web.laboratory import Laboratory
from gluon_nst.lab.web.limits import MAX_STUDENTS, Limits
from gluon_nst.lab.web.models import LabRun, LimitReached, StoredPicture
from gluon_nst.lab.web.request_bodies import RunRequest
from gluon_nst.lab.web.store import Store

import pytest


def laboratory(tmp_path, **limits):
    """A laboratory that is not started."""
    return Laboratory(Store(tmp_path / "lab"), Limits(**limits), 1, 1)


def test_a_new_student_replaces_an_idle_one_at_the_limit(tmp_path):
    async def add_students():
        lab = laboratory(tmp_path)
        first = lab.get_or_add_student("first")
        first.pictures["a"] = StoredPicture("a", "a", 20, 20)
        second = lab.get_or_add_student("second")
        lab.get_or_add_student("looking").open_streams = 1
        for number in range(MAX_STUDENTS):
            last = lab.get_or_add_student(f"{number}")
        return lab, first, second, last

    lab, first, second, last = asyncio.run(add_students())
    assert len(lab.students) == MAX_STUDENTS
    assert {first.id, last.id, "looking"} <= lab.students.keys()
    assert second.id not in lab.students
    assert lab.get_or_add_student("second", "Ben").name == "Ben"
    assert lab.get_or_add_student("first") is first
    for student in lab.students.values():
        student.pictures["a"] = StoredPicture("a", "a", 20, 20)
    with pytest.raises(LimitReached, match="the lab is full; ask your teacher"):
        lab.get_or_add_student("new")


def test_waiting_runs_use_the_latest_correction_and_the_smallest_size_is_always_allowed(tmp_path):
    values = {"content": "mountains", "styles": [["autumn-oaks", 1]], "recipe": "fine", "side": 128}
    request = RunRequest.from_json(values)

    async def start():
        lab = laboratory(tmp_path, minutes=0.2)
        await lab.scheduler.close()  # so that no run starts
        lab.bundled = {name: StoredPicture(name, name, 600, 900) for name in request.picture_ids}
        first = lab.submit(lab.get_or_add_student("a"), request)
        before = lab.scheduler.forecasts()[first.id].remaining
        for _ in range(20):
            lab.scheduler.estimator.add_run(first.expected, 3 * first.expected, 3 * first.expected + 5)
        # The correction applies to waiting runs, and a new student may still request the smallest size.
        last = lab.submit(lab.get_or_add_student("b"), request)
        forecasts = lab.scheduler.forecasts()
        assert forecasts[first.id].remaining == forecasts[last.id].remaining == pytest.approx(3 * (before - 5) + 5)
        assert forecasts[last.id].starts_in == pytest.approx(forecasts[first.id].remaining)
        with pytest.raises(InputError, match="the lab allows 0.2 minutes; choose a smaller size"):
            lab.submit(lab.get_or_add_student("c"), dataclasses.replace(request, side=512))

    asyncio.run(start())


def test_changed_weights_must_leave_a_loss_with_a_weight(tmp_path):
    request = RunRequest.from_json({"content": "mountains", "styles": [["autumn-oaks", 1]]})

    async def steer():
        lab = laboratory(tmp_path)
        student = lab.get_or_add_student("a")
        run = student.runs["run"] = LabRun("run", "a", request.as_dict(), {}, 0.0, 9.0, status="paused", done=5)
        lab.steer(student, "run", {"content_weight": 0.0})
        lab.steer(student, "run", {"tv_weight": 0.0})
        run.weights.clear()  # its process has confirmed them
        with pytest.raises(InputError, match="no loss has a weight"):
            lab.steer(student, "run", {"style_weight": 0.0})
        assert run.weights == {}

    asyncio.run(steer())


def test_uploads_in_progress_count_as_pictures(tmp_path):
    async def check(uploads):
        lab = laboratory(tmp_path, pictures=2)
        student = lab.get_or_add_student("a")
        student.pictures["a"], student.uploads = StoredPicture("a", "a", 20, 20), uploads
        lab.check_picture_limit(student)

    asyncio.run(check(0))
    with pytest.raises(LimitReached, match="you have 2 pictures, the maximum; remove one first"):
        asyncio.run(check(1))
