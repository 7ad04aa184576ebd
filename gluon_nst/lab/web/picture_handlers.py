"""The way of a picture into the lab: the bytes of a file, counted as they come, and thrown away where they are too
many."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from tornado.web import HTTPError, stream_request_body

from gluon_nst.errors import InputError
from gluon_nst.lab.web.base_handler import NAME, Answer
from gluon_nst.lab.web.models import DISK_FULL, DiskFull, TooLarge, label
from gluon_nst.lab.web.store import ORIGINAL, SHOWN, new_id

_THROWN_AWAY = 2_000_000_000
"""Bytes of a file that is too large which are waited for."""
_PATIENCE = 300
"""Seconds that the bytes of a file may take to arrive."""


@stream_request_body
class Pictures(Answer):
    """The student's pictures, and the way of a new one into the lab: the bytes of its file, counted as they come."""

    _file: IO[bytes] | None = None
    _folder: Path | None = None
    _refusal: Exception | None = None
    _counted = False

    def get(self) -> None:
        """GET /pictures."""
        own, theirs = self.lab.own.values(), self.student().pictures.values()
        self.finish({"pictures": [{**vars(each), "own": each in own} for each in (*own, *theirs)]})

    def check_xsrf_cookie(self) -> None:
        """Refuse a request without its token once its body has arrived; earlier, the connection might be reset."""
        try:
            super().check_xsrf_cookie()
        except HTTPError as error:
            self._refusal = error

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST" or self._refusal:
            return
        try:
            self._student = self.student()
        except HTTPError as error:
            self._refusal = error
            return
        self._size, self._name = 0, new_id()
        self._folder = self.lab.store.of_picture(self._student.id, self._name)
        # What is refused is taken and thrown away: a browser that may not end its sentence does not hear the answer.
        self.request.connection.set_max_body_size(_THROWN_AWAY)  # type: ignore[union-attr]
        self.request.connection.set_body_timeout(_PATIENCE)  # type: ignore[union-attr]
        try:
            self.lab.room_for_a_picture(self._student)
            self._student.incoming += 1
            self._counted = True
            self._folder.mkdir(parents=True)
            self._file = open(self._folder / ORIGINAL, "wb")  # noqa: SIM115 (as long as the bytes come)
        except (InputError, OSError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._refusal = DiskFull(DISK_FULL) if isinstance(error, OSError) else error
        self._close()
        if self._folder:
            self.lab.store.remove(self._folder)

    def _close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None

    def data_received(self, chunk: bytes) -> None:
        """Some bytes of the file."""
        if self._file is None:
            return
        self._size += len(chunk)
        most = self.lab.limits.upload
        if self._size > most:
            self._refuse(TooLarge(f"the file has more than {most / 1e6:.0f} MB; scale the picture down first"))
            return
        try:
            self._file.write(chunk)
        except OSError as error:
            self._refuse(error)

    def on_finish(self) -> None:
        if self._counted:
            self._student.incoming -= 1
            self._counted = False

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.on_finish()
        if self._file and self._folder:
            self._close()
            self.lab.store.remove(self._folder)

    async def post(self) -> None:
        """POST /pictures: the file; its name in X-Name."""
        try:
            if self._file:
                self._file.flush()
        except OSError as error:
            self._refuse(error)
        self._close()
        if self._refusal:
            raise self._refusal
        name = label(unquote(self.request.headers.get("X-Name", "")), "picture")
        self.set_status(201)
        self.finish(vars(await self.lab.take_in(self._student, self._name, name)))


class PictureOf(Answer):
    """A picture of the student's."""

    def get(self, name: str) -> None:
        """GET /pictures/NAME: as the page shows it."""
        student = self.student()
        self.lab.picture(student, name)
        self.file(self.lab.store.of_picture(student.id, name) / SHOWN, "image/jpeg")

    def delete(self, name: str) -> None:
        """DELETE /pictures/NAME."""
        self.lab.drop_picture(self.student(), name)
        self.finish({})


class OriginalOf(Answer):
    """A picture as it came, to be kept: it makes the same composite elsewhere."""

    def get(self, name: str) -> None:
        """GET /pictures/NAME/original. As a download of no kind, so that no browser ever looks into it."""
        student = self.student()
        picture = self.lab.picture(student, name)
        quoted = quote(picture.label)
        path = self.lab.path_of(student.id, name)
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quoted}")
        self.file(path, "application/octet-stream")


ROUTES = [
    ("/pictures", Pictures),
    (f"/pictures/{NAME}", PictureOf),
    (f"/pictures/{NAME}/original", OriginalOf),
]
