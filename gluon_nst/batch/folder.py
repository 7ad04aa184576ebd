"""The folder of a batch: pictures, losses and checkpoints.

It has a picture and its losses for each finished job, and a checkpoint for each unfinished one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Callable

from filelock import BaseFileLock

from gluon_nst.batch.entries import Entry
from gluon_nst.batch.payloads import Payload
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.machine.files import given, lock_folder, reading, written_whole
from gluon_nst.pictures.decoding import read_record
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.result import check_replaceable

PAGE, TABLE, THUMBNAILS = "report.html", "report.csv", "thumbnails"
"""The report, beside the pictures and their losses: a page, a table, and a folder with the page's thumbnails."""
COLUMNS = ("name", "status", "picture", "content", "style")
"""The first columns of the table."""


class Folder:
    """The output folder of a batch. `notify` is called with messages for the user.

    A context manager that locks the folder for this process.
    """

    def __init__(self, path: str | Path, notify: Callable[[str], object]) -> None:
        self.path, self._notify = given(path), notify
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> Folder:
        self._lock = lock_folder(self.path, ".lock", PAGE)
        try:
            self._check_report()
        except InputError:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock:
            self._lock.release()

    def _check_report(self) -> None:
        """Raise InputError if the report would replace a file that is not a report."""
        table, is_ours = self.path / TABLE, False
        if os.path.isfile(table):
            with reading(table, "a report"), open(table, "rb") as file:
                is_ours = file.readline().startswith(",".join(COLUMNS).encode())
        for path in (table, self.path / PAGE, self.path / THUMBNAILS):
            if os.path.lexists(path) and not is_ours:
                raise InputError(f"{path}: exists, and is not the report of a batch; move it, or name another folder")

    def picture(self, entry: Entry) -> Path:
        """Return the path of a job's picture."""
        return self.path / f"{entry.file_name}.png"

    def start(self, entry: Entry) -> Path:
        """Return the path of the picture that a frame starts from.

        The picture is kept until the frame is finished.
        """
        return self.path / f".{entry.file_name}.start.png"

    def is_made(self, payload: Payload) -> bool:
        """Return whether the picture and the losses of a job exist."""
        path = self.picture(payload.entry)
        try:
            job = read_record(path).get("job")
        except InputError:
            return False
        return isinstance(job, dict) and job.get("sha256") == payload.sha256 and path.with_suffix(".csv").is_file()

    def check(self, entry: Entry, inputs: set[str]) -> None:
        """Raise InputError if a job's picture can't be written at its path.

        That includes pictures that would replace an input or a file of the user. `inputs` are the real paths of all
        inputs.
        """
        path = self.picture(entry)
        if entry.file_name.lower() == "report":
            raise InputError(
                f"{entry.name}: this name is reserved for the report of the batch; give the job another name"
            )
        if os.path.realpath(path) in inputs:
            raise InputError(f"{path}: is one of the batch's inputs; give the job another name, or name another folder")
        if os.path.isdir(path):
            raise InputError(f"{path}: is a folder; give the job another name")
        check_replaceable(path)

    def place(self, payload: Payload, picture: bytes, losses: bytes) -> Path:
        """Write the files of a finished job, and delete its checkpoints.

        They are its picture and its losses. Raises NSTError.
        """
        path = self.picture(payload.entry)
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # otherwise an interrupt between the two writes would leave it next to new losses
            for file_path, content in ((path.with_suffix(".csv"), losses), (path, picture)):
                with written_whole(file_path) as file:
                    file.write(content)
        except OSError as error:
            raise NSTError(f"{path}: can't write it ({reason(error)})") from None
        self.clean(payload)
        return path

    def clean(self, payload: Payload) -> None:
        """Delete the checkpoints of a finished job, and the picture that it started from."""
        self._checkpoints(payload).remove(folder=True)
        with contextlib.suppress(OSError):
            self.start(payload.entry).unlink()

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoints(self, payload: Payload) -> Generations:
        return Generations(self.path / f".{payload.entry.file_name}.checkpoint", self._notify)

    def checkpoint(self, payload: Payload) -> bytes | None:
        """Return the newest valid checkpoint of a job, or None.

        Reports those that can't be read.
        """
        try:
            return self._checkpoints(payload).content()
        except InputError as error:
            self._notify(f"{payload.entry.name}: {str(error).partition('; ')[0]}; the job restarts")
            return None

    def keep(self, payload: Payload, checkpoint: bytes) -> None:
        """Save a checkpoint of a job. If that fails, reports it, and the job continues."""
        checkpoints = self._checkpoints(payload)
        try:
            checkpoints.folder.mkdir(exist_ok=True)
            checkpoints.keep(checkpoint)
        except (NSTError, OSError) as error:
            self._notify(f"{payload.entry.name}: no checkpoint was written: {reason(error)}; the job continues")
