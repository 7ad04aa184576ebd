"""The lab's folder: everything that outlives the server, each thing in a file of its own that is written whole."""

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
from gluon_nst.lab.web.models import MAKING, StoredPicture, Student, Ticket
from gluon_nst.machine.files import written_whole

ORIGINAL, SHOWN = "original", "shown.jpg"
"""A picture as it came, and as the page shows it."""
LATEST, CURVE, MOMENTS, FILM = "latest.jpg", "curve.json", "moments", "film.webp"
"""What the page shows of a run."""
STATE, PICTURE, LOSSES, RECIPE, RECORD = "state.checkpoint", "picture.png", "losses.csv", "recipe.toml", "record.json"
"""What a run goes on from, and what its student can download."""


_ID = re.compile("[0-9a-f]{32}")


def new_id() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(16)


_SECRET, _OF_SECRET = "secret", re.compile("[0-9a-f]{24}")
"""The file by which the folder of a lab is known, and its content."""


class Store:
    """The files of a lab in a `folder`, which is made if missing. Raises InputError for a folder of something else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._check_own()
            folder.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)  # pictures of a class are nobody else's
            self.secret(_SECRET)
            (folder / "students").mkdir(exist_ok=True)
            (folder / "own").mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: can't keep the lab there ({error.strerror}); name another with --dir"
            ) from None

    def _check_own(self) -> None:
        """Raise InputError unless the folder is a lab's, or empty: a lab removes files from it."""
        if not os.path.isdir(self.folder) or not any(self.folder.iterdir()):
            return
        path = self.folder / _SECRET
        if not (path.is_file() and _OF_SECRET.fullmatch(path.read_bytes()[:40].decode("latin-1").strip())):
            raise InputError(f"{self.folder}: not the folder of a lab, and not empty; name another with --dir")

    def secret(self, name: str) -> str:
        """A secret that stays the same from one start of the server to the next."""
        path = self.folder / name
        if not path.exists():
            with written_whole(path, "w") as file:
                file.write(secrets.token_hex(12))
            os.chmod(path, 0o600)
        return path.read_text().strip()

    # -- where things are ---------------------------------------------------------------------------------------------

    def of_student(self, student: str) -> Path:
        """The folder of a student."""
        return self.folder / "students" / student

    def of_picture(self, student: str, picture: str) -> Path:
        """The folder of a picture: a student's, or the lab's own."""
        own = self.folder / "own" / picture
        return own if own.is_dir() else self.of_student(student) / "pictures" / picture

    def of_ticket(self, ticket: Ticket) -> Path:
        """The folder of a run."""
        return self.of_student(ticket.student) / "runs" / ticket.id

    # -- in and out ---------------------------------------------------------------------------------------------------

    def keep_student(self, student: Student) -> None:
        """Write who a student is."""
        self._write(self.of_student(student.id) / "student.json", {"name": student.name, "seen": student.seen})

    def keep_picture(self, student: str, picture: StoredPicture) -> None:
        """Write what a picture is; the file itself is there."""
        self._write(self.of_picture(student, picture.id) / "picture.json", dataclasses.asdict(picture))

    def keep_ticket(self, ticket: Ticket) -> None:
        """Write what a run is."""
        self._write(self.of_ticket(ticket) / "ticket.json", dataclasses.asdict(ticket))

    def _write(self, path: Path, values: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, "w", encoding="utf-8") as file:
            json.dump(values, file)

    def students(self) -> Iterator[Student]:
        """All that are here, with their pictures and their runs; what is half there, or damaged, is left out."""
        for folder in sorted((self.folder / "students").iterdir()):
            values = _read(folder / "student.json")
            if values is None:
                continue
            student = Student(folder.name, str(values.get("name", "")), float(values.get("seen", 0)))
            for path in sorted(folder.glob("pictures/*/picture.json")):
                picture = _made(StoredPicture, path)
                if picture:
                    student.pictures[picture.id] = picture
            tickets = [_made(Ticket, path) for path in folder.glob("runs/*/ticket.json")]
            for ticket in sorted(filter(None, tickets), key=lambda ticket: ticket.since):
                student.tickets[ticket.id] = ticket
                if ticket.film == MAKING:
                    ticket.film = ""
            yield student

    def forget_state(self, ticket: Ticket) -> None:
        """Remove what a run would go on from: it has come to its end, and that is written down."""
        with contextlib.suppress(OSError):
            (self.of_ticket(ticket) / STATE).unlink()

    def tidy(self) -> None:
        """Remove unfinished uploads of a killed server. Folders without a name of `new_id` are not the lab's."""
        students = [each for each in (self.folder / "students").iterdir() if _ID.fullmatch(each.name)]
        for student in students:
            for picture in student.glob("pictures/*"):
                if _ID.fullmatch(picture.name) and not (picture / "picture.json").exists():
                    self.remove(picture)
            if not any(each.is_file() for each in student.rglob("*")):
                self.remove(student)

    def remove(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _made(kind: Any, path: Path) -> Any:
    """What a file says of a thing; of a file from another version as much as this one knows, or None."""
    values = _read(path) or {}
    known = {field.name for field in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in values.items() if name in known})
    except TypeError:
        return None
