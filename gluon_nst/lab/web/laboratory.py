"""The laboratory: students, pictures, runs and their limits, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from gluon_nst.errors import InputError, NSTError
from gluon_nst.lab.web.limits import MAX_STUDENTS, MIN_SIDE, Limits
from gluon_nst.lab.web.models import (
    ACTIVE,
    DISK_FULL,
    FILM_IN_PROGRESS,
    RESUMABLE,
    WAITING,
    WORKING,
    DiskFull,
    LabRun,
    LimitReached,
    NotFound,
    StoredPicture,
    Student,
)
from gluon_nst.lab.web.processes import call_in_subprocess
from gluon_nst.lab.web.request_bodies import RunRequest
from gluon_nst.lab.web.scheduler import Scheduler
from gluon_nst.lab.web.store import ORIGINAL, PREVIEW, Store, new_id
from gluon_nst.machine.durations import format_duration
from gluon_nst.machine.files import shipped

BUNDLED = {"mountains": "mountains.jpg", "autumn-oaks": "autumn-oaks.jpg"}
"""The files of the pictures that every student has, by id."""


@contextlib.contextmanager
def _report_full_disk() -> Iterator[None]:
    """Replace errors of writing by DiskFull, whose message is for students."""
    try:
        yield
    except (NSTError, OSError):
        raise DiskFull(DISK_FULL) from None


def _numbered(label: str) -> Iterator[str]:
    """Yield a file's name, then numbered names.

    Phones call all pictures image.jpg.
    """
    stem, dot, ending = label.rpartition(".")
    yield label
    for number in itertools.count(2):
        yield f"{stem}-{number}{dot}{ending}" if dot else f"{label}-{number}"


class Laboratory:
    """The state of the lab, in one event loop.

    `on_change` is called after every change.
    """

    def __init__(self, store: Store, limits: Limits, workers: int, threads: int, **job_options: Any) -> None:
        """Create the laboratory.

        `job_options` are arguments of every run's Job: `memory`, in bytes, and `weights`.
        """
        self.store, self.limits, self._job_options = store, limits, job_options
        self.students: dict[str, Student] = {}
        self.bundled: dict[str, StoredPicture] = {}
        self.on_change: Callable[[], Any] = lambda: None
        self.scheduler = Scheduler(store, self._task_of, workers, threads, lambda: self.on_change())
        self._checking_pictures = asyncio.Semaphore(max(2, workers))
        self._making_films = asyncio.Semaphore(1)

    # -- starting and closing -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the folder, and queue the active runs of the last session."""
        for id, file in BUNDLED.items():
            folder = self.store.bundled_folder(id)
            folder.mkdir(exist_ok=True)
            self.bundled[id] = await self._check_picture(id, file, shipped(f"img/{file}"), folder / PREVIEW)
        self.store.remove_incomplete()
        for student in self.store.load_students():
            self.students[student.id] = student
        active = [run for run in self.runs() if run.status in ACTIVE]
        # Those that were running come first.
        for run in sorted(active, key=lambda run: (run.status != WORKING, run.since)):
            run.status = WAITING
            self.scheduler.enqueue(run)

    async def measure_speed(self) -> None:
        """Time each recipe for the estimates; it takes about ten seconds."""
        rates = await call_in_subprocess("probe.rates", threads=self.scheduler.threads)
        self.scheduler.estimator.set_rates(rates or {})
        for run in self.runs():
            if run.status in ACTIVE:
                with contextlib.suppress(InputError):
                    run.expected = self.estimate(self.students[run.student], run.request)
        self.on_change()

    async def close(self) -> int:
        """Let all processes save their runs; return the number of runs to resume.

        They resume when the lab is opened again.
        """
        await self.scheduler.close()
        for student in self.students.values():
            if student.runs or student.pictures:
                with contextlib.suppress(NSTError):
                    self.store.save_student(student)
        return sum(run.status in ACTIVE for run in self.runs())

    def runs(self) -> list[LabRun]:
        """Return the runs of all students."""
        return [run for student in self.students.values() for run in student.runs.values()]

    # -- students -----------------------------------------------------------------------------------------------------

    def get_or_add_student(self, id: str, name: str = "") -> Student:
        """Return the student with that id, who is added if new.

        At the limit a new student replaces an idle one, without pictures, runs and an open page: the one with the
        oldest request, who loses nothing and can sign in again. Raises LimitReached if nobody is idle.
        """
        if id not in self.students:
            if len(self.students) >= MAX_STUDENTS:
                idle = [student for student in self.students.values() if student.is_idle]
                if not idle:
                    raise LimitReached("the lab is full; ask your teacher")
                del self.students[min(idle, key=lambda student: student.last_seen).id]
            self.students[id] = Student(id, name)
        return self.students[id]

    def remove_inactive(self, hours: float) -> None:
        """Remove students without requests for that many hours.

        Idle students are removed after one hour. A student with an active run or an open page is kept.
        """
        for student in list(self.students.values()):
            is_busy = any(run.status in ACTIVE or run.film == FILM_IN_PROGRESS for run in student.runs.values())
            is_busy = is_busy or bool(student.uploads or student.open_streams)
            max_hours = min(hours, 1) if student.is_idle else hours
            if not is_busy and time.time() - student.last_seen > max_hours * 3600:
                self.store.remove(self.store.student_folder(student.id))
                del self.students[student.id]

    # -- pictures -----------------------------------------------------------------------------------------------------

    def picture(self, student: Student, id: str) -> StoredPicture:
        """Return a bundled picture, or one of the student. Raises NotFound for any other."""
        picture = self.bundled.get(id) or student.pictures.get(id)
        if picture is None:
            raise NotFound("you have no such picture; choose one on the page")
        return picture

    def check_picture_limit(self, student: Student) -> None:
        """Raise LimitReached if the student has the maximum number of pictures.

        Uploads in progress count.
        """
        if len(student.pictures) + student.uploads >= self.limits.pictures:
            raise LimitReached(f"you have {self.limits.pictures} pictures, the maximum; remove one first")

    async def add_picture(self, student: Student, id: str, label: str) -> StoredPicture:
        """Check an uploaded file in the folder of its picture, and add it.

        Raises InputError, and removes the file, if it is not a picture.
        """
        folder = self.store.picture_folder(student.id, id)
        try:
            picture = await self._check_picture(id, label, folder / ORIGINAL, folder / PREVIEW)
            used = [each.label for each in (*self.bundled.values(), *student.pictures.values())]
            picture.label = next(label for label in _numbered(picture.label) if label not in used)
            with _report_full_disk():
                self.store.save_student(student)
                self.store.save_picture(student.id, picture)
        except BaseException:
            self.store.remove(folder)
            raise
        student.pictures[id] = picture
        return picture

    async def _check_picture(self, id: str, label: str, path: Path, preview: Path) -> StoredPicture:
        async with self._checking_pictures:
            arguments = str(path), str(preview), str(self.limits.pixels)
            reply = await call_in_subprocess("web.picture_check.main", *arguments, timeout=60) or {}
        if "height" not in reply:
            if reply.get("disk_full"):
                raise DiskFull(DISK_FULL)
            raise InputError(f"{label}: {reply.get('error', 'it could not be decoded; convert it to PNG or JPEG')}")
        return StoredPicture(id, label, reply["height"], reply["width"])

    def remove_picture(self, student: Student, id: str) -> None:
        """Remove a student's picture. Raises InputError if a run uses it."""
        if id not in student.pictures:
            raise NotFound("you have no such picture")
        if any(id in run.request.picture_ids for run in student.runs.values()):
            raise InputError("one of your runs uses this picture; remove that run first")
        del student.pictures[id]
        self.store.remove(self.store.picture_folder(student.id, id))

    def original_path(self, student: str, id: str) -> Path:
        """Return the path of a picture's original file."""
        if id in BUNDLED:
            return shipped(f"img/{BUNDLED[id]}")
        return self.store.picture_folder(student, id) / ORIGINAL

    # -- runs ---------------------------------------------------------------------------------------------------------

    def estimate(self, student: Student, request: RunRequest) -> float:
        """Return the uncorrected seconds of a run's epochs.

        Raises InputError beyond the limits.
        """
        content, *_ = [self.picture(student, id) for id in request.picture_ids]
        recipe = request.fitted_recipe((content.height, content.width), self.limits)
        return self.scheduler.estimator.estimate(request.recipe, recipe)

    def allows(self, request: RunRequest, seconds: float) -> bool:
        """Return whether the lab allows a run of an estimated duration.

        The smallest size is always allowed.
        """
        return request.side <= MIN_SIDE or seconds <= self.limits.minutes * 60

    def submit(self, student: Student, request: RunRequest) -> LabRun:
        """Queue a new run.

        Raises InputError for an invalid request, LimitReached at a limit of the student.
        """
        uncorrected = self.estimate(student, request)
        seconds = self.scheduler.estimator.corrected(uncorrected)
        if not self.allows(request, seconds):
            raise InputError(
                f"this run would take about {format_duration(seconds, about=True)}; the lab allows"
                f" {self.limits.minutes:g} minutes; choose a smaller size"
            )
        self._check_active_limit(student)
        if len(student.runs) >= self.limits.runs:
            raise LimitReached(f"you have {self.limits.runs} runs, the maximum; remove one first")
        labels = {id: self.picture(student, id).label for id in request.picture_ids}
        run = LabRun(new_id(), student.id, request.as_dict(), labels, time.time(), uncorrected)
        with _report_full_disk():  # a run that can't be saved is not started
            self.store.save_student(student)
            self.store.save_run(run)
        student.runs[run.id] = run
        self.scheduler.enqueue(run)
        return run

    def _check_active_limit(self, student: Student) -> None:
        if sum(run.status in ACTIVE for run in student.runs.values()) >= self.limits.jobs:
            raise LimitReached(
                f"you have {self.limits.jobs} waiting or running runs, the maximum; pause or stop one first"
            )

    def _task_of(self, run: LabRun) -> dict[str, Any]:
        """Return the task of a run's process (see `worker.Worker`)."""
        return {
            "request": run.asked,
            "paths": {id: str(self.original_path(run.student, id)) for id in run.request.picture_ids},
            "labels": run.labels,
            "new_weights": dict(run.weights),
            "max_pixels": self.limits.pixels,
            "max_minutes": self.limits.minutes,
            "job_options": self._job_options,
        }

    def resume(self, student: Student, id: str) -> None:
        """Queue a halted run again."""
        run = student.run(id)
        if run.status not in RESUMABLE:
            raise InputError("this run can't be resumed: it is not paused or stopped")
        if run.seconds >= self.limits.minutes * 60:
            raise InputError(f"this run has reached the lab's limit of {self.limits.minutes:g} minutes")
        self._check_no_film_in_progress(run)
        self._check_active_limit(student)
        run.since, run.film = time.time(), ""
        self.scheduler.set_status(run, WAITING)
        self.scheduler.enqueue(run)

    def halt(self, student: Student, id: str, command: str, note: str = "") -> None:
        """`pause` or `stop` a run after the current epoch."""
        run = student.run(id)
        if run.status not in ACTIVE:
            raise InputError("this run has already stopped")
        self.scheduler.halt(run, command, note)

    def steer(self, student: Student, id: str, weights: dict[str, float]) -> None:
        """Change weights of a run's losses from its next epoch on."""
        run = student.run(id)
        if run.status not in (*ACTIVE, *RESUMABLE):
            raise InputError("this run has finished; start a new one with these weights")
        request = RunRequest.from_json({**run.asked, **run.steered_to, **weights})
        request.customised_recipe()  # raises InputError for weights that contradict each other
        if run.done or self.scheduler.is_running(run):
            run.steered_to.update(weights)
            run.weights.update(weights)  # until its process confirms them
            self.scheduler.send(run, do="weights", weights=weights)
        else:
            run.asked = request.as_dict()
        self.scheduler.set_status(run, run.status, run.note)

    def remove_run(self, student: Student, id: str) -> None:
        """Remove a run. Raises InputError while it has a process."""
        run = student.run(id)
        if self.scheduler.is_running(run):
            raise InputError("this run is running; stop it first")
        self._check_no_film_in_progress(run)
        self.scheduler.dequeue(run)
        del student.runs[id]
        self.store.remove(self.store.run_folder(run))
        self.on_change()

    def _check_no_film_in_progress(self, run: LabRun) -> None:
        if run.film == FILM_IN_PROGRESS:
            raise InputError("its film is being made; wait a moment")

    async def make_film(self, student: Student, id: str) -> None:
        """Make the film of a halted or finished run, which takes some seconds."""
        run = student.run(id)
        if run.status in ACTIVE or not run.pictured:
            raise InputError("a film can be made once the run has stopped")
        if run.film == FILM_IN_PROGRESS:
            return
        run.film = FILM_IN_PROGRESS
        self.on_change()
        reply: dict[str, str] = {}
        try:
            async with self._making_films:
                reply = await call_in_subprocess("web.film.main", str(self.store.run_folder(run)), timeout=300) or {}
        except OSError:  # no process could be started
            pass
        finally:
            run.film = reply.get("film", "the film could not be made; try again later")
        self.scheduler.set_status(run, run.status, run.note)
