"""The lab's folder: the server's persistent state, in atomically replaced files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any, Iterator

from gluon_nst.errors import InputError
from gluon_nst.lab.web.models import FILM_IN_PROGRESS, LabRun, StoredPicture, Student
from gluon_nst.machine.files import written_whole

ORIGINAL, PREVIEW = "original", "shown.jpg"
"""Files of a picture: as uploaded, and as the page shows it."""
LATEST, CURVE, SNAPSHOTS, FILM = "latest.jpg", "curve.json", "moments", "film.webp"
"""Files of a run that the page shows; SNAPSHOTS is a folder."""
STATE, PICTURE, LOSSES, RECIPE, RECORD = "state.checkpoint", "picture.png", "losses.csv", "recipe.toml", "record.json"
"""The checkpoint of a run, and the files that its student can download."""

_BUNDLED = "own"
"""The folder of the pictures that are bundled with the package."""

_ID = re.compile("[0-9a-f]{32}")


def new_id() -> str:
    """Return a random id that cannot be guessed."""
    return secrets.token_hex(16)


_SECRET, _SECRET_PATTERN = "secret", re.compile("[0-9a-f]{24}")
"""The file that identifies the folder of a lab, and its content."""


class Store:
    """The files of a lab in a `folder`, which is created if missing.

    Raises InputError if it is not a lab's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._check_folder()
            folder.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)  # the pictures of a class are private
            self.secret(_SECRET)
            (folder / "students").mkdir(exist_ok=True)
            (folder / _BUNDLED).mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: can't create the lab's files ({error.strerror}); choose another folder with --output"
            ) from None

    def _check_folder(self) -> None:
        """Raise InputError unless the folder is a lab's, or empty.

        A lab removes files from it.
        """
        if not os.path.isdir(self.folder) or not any(self.folder.iterdir()):
            return
        path = self.folder / _SECRET
        if not (path.is_file() and _SECRET_PATTERN.fullmatch(path.read_bytes()[:40].decode("latin-1").strip())):
            raise InputError(f"{self.folder}: not a lab's folder, and not empty; choose another with --output")

    def secret(self, name: str) -> str:
        """Return a secret, created once and kept when the server restarts."""
        path = self.folder / name
        if not path.exists():
            with written_whole(path, "w") as file:
                file.write(secrets.token_hex(12))
            os.chmod(path, 0o600)
        return path.read_text().strip()

    # -- folders ------------------------------------------------------------------------------------------------------

    def student_folder(self, student: str) -> Path:
        """Return the folder of a student."""
        return self.folder / "students" / student

    def bundled_folder(self, picture: str) -> Path:
        """Return the folder of a bundled picture."""
        return self.folder / _BUNDLED / picture

    def picture_folder(self, student: str, picture: str) -> Path:
        """Return the folder of a picture: a bundled one, or the student's."""
        bundled = self.bundled_folder(picture)
        return bundled if bundled.is_dir() else self.student_folder(student) / "pictures" / picture

    def run_folder(self, run: LabRun) -> Path:
        """Return the folder of a run."""
        return self.student_folder(run.student) / "runs" / run.id

    # -- saving and loading -------------------------------------------------------------------------------------------

    def save_student(self, student: Student) -> None:
        """Write the student's file; pictures and runs have their own."""
        values = {"name": student.name, "seen": student.last_seen}
        self._write(self.student_folder(student.id) / "student.json", values)

    def save_picture(self, student: str, picture: StoredPicture) -> None:
        """Write the description of a picture, next to the picture itself."""
        self._write(self.picture_folder(student, picture.id) / "picture.json", dataclasses.asdict(picture))

    def save_run(self, run: LabRun) -> None:
        """Write the description of a run."""
        self._write(self.run_folder(run) / "ticket.json", dataclasses.asdict(run))

    def _write(self, path: Path, values: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, "w", encoding="utf-8") as file:
            json.dump(values, file)

    def load_students(self) -> Iterator[Student]:
        """Yield all students, with their pictures and runs.

        Incomplete or damaged ones are left out.
        """
        for folder in sorted((self.folder / "students").iterdir()):
            values = _read(folder / "student.json")
            if values is None:
                continue
            student = Student(folder.name, str(values.get("name", "")), float(values.get("seen", 0)))
            for path in sorted(folder.glob("pictures/*/picture.json")):
                picture = _load(StoredPicture, path)
                if picture:
                    student.pictures[picture.id] = picture
            loaded = (_load(LabRun, path) for path in folder.glob("runs/*/ticket.json"))
            runs: list[LabRun] = [run for run in loaded if run]
            for run in sorted(runs, key=lambda run: run.since):
                student.runs[run.id] = run
                if run.film == FILM_IN_PROGRESS:
                    run.film = ""
            yield student

    def remove_checkpoint(self, run: LabRun) -> None:
        """Remove the checkpoint of a run that has finished."""
        with contextlib.suppress(OSError):
            (self.run_folder(run) / STATE).unlink()

    def remove_incomplete(self) -> None:
        """Remove unfinished uploads of a killed server.

        Folders without a name of `new_id` are not the lab's.
        """
        students = [path for path in (self.folder / "students").iterdir() if _ID.fullmatch(path.name)]
        for student in students:
            for picture in student.glob("pictures/*"):
                if _ID.fullmatch(picture.name) and not (picture / "picture.json").exists():
                    self.remove(picture)
            if not any(path.is_file() for path in student.rglob("*")):
                self.remove(student)

    def remove(self, folder: Path) -> None:
        """Remove a folder with its content."""
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _load(kind: Any, path: Path) -> Any:
    """Create a dataclass from a JSON file; return None if that fails.

    Keys that only other versions have are ignored.
    """
    values = _read(path) or {}
    names = {field.name for field in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in values.items() if name in names})
    except TypeError:
        return None
