"""Handlers of a student's pictures and of uploads.

Uploads are streamed to disk, and discarded if too large.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from tornado.web import HTTPError, stream_request_body

from gluon_nst.errors import InputError
from gluon_nst.lab.web.base_handler import ID_PATTERN, BaseHandler
from gluon_nst.lab.web.models import DISK_FULL, DiskFull, TooLarge, safe_label
from gluon_nst.lab.web.store import ORIGINAL, PREVIEW, new_id

_MAX_DISCARDED = 2_000_000_000
"""Bytes of a refused upload that are received and discarded."""
_BODY_TIMEOUT = 300
"""Seconds that an upload may take."""


@stream_request_body
class PicturesHandler(BaseHandler):
    """The student's pictures, and uploads of new ones."""

    _file: IO[bytes] | None = None
    _folder: Path | None = None
    _error: Exception | None = None
    _is_counted = False

    def get(self) -> None:
        """GET /pictures."""
        bundled, uploaded = self.lab.bundled.values(), self.require_student().pictures.values()
        pictures = [{**vars(picture), "own": picture in bundled} for picture in (*bundled, *uploaded)]
        self.finish({"pictures": pictures})

    def check_xsrf_cookie(self) -> None:
        """Refuse a request without its token once its body has arrived.

        Earlier, the connection might be reset.
        """
        try:
            super().check_xsrf_cookie()
        except HTTPError as error:
            self._error = error

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST" or self._error:
            return
        try:
            self._student = self.require_student()
        except HTTPError as error:
            self._error = error
            return
        self._size, self._id = 0, new_id()
        self._folder = self.lab.store.picture_folder(self._student.id, self._id)
        # The body of a refused upload is received and discarded: a browser reads the response only after its upload.
        self.request.connection.set_max_body_size(_MAX_DISCARDED)  # type: ignore[union-attr]
        self.request.connection.set_body_timeout(_BODY_TIMEOUT)  # type: ignore[union-attr]
        try:
            self.lab.check_picture_limit(self._student)
            self._student.uploads += 1
            self._is_counted = True
            self._folder.mkdir(parents=True)
            self._file = open(self._folder / ORIGINAL, "wb")  # noqa: SIM115 (closed when the body has arrived)
        except (InputError, OSError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._error = DiskFull(DISK_FULL) if isinstance(error, OSError) else error
        self._close()
        if self._folder:
            self.lab.store.remove(self._folder)

    def _close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None

    def data_received(self, chunk: bytes) -> None:
        """Write a part of the file."""
        if self._file is None:
            return
        self._size += len(chunk)
        limit = self.lab.limits.upload
        if self._size > limit:
            self._refuse(TooLarge(f"the file is larger than {limit / 1e6:.0f} MB; scale the picture down first"))
            return
        try:
            self._file.write(chunk)
        except OSError as error:
            self._refuse(error)

    def on_finish(self) -> None:
        if self._is_counted:
            self._student.uploads -= 1
            self._is_counted = False

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
        if self._error:
            raise self._error
        label = safe_label(unquote(self.request.headers.get("X-Name", "")), "picture")
        self.set_status(201)
        self.finish(vars(await self.lab.add_picture(self._student, self._id, label)))


class PictureHandler(BaseHandler):
    """A picture of the student, or a bundled one."""

    def get(self, id: str) -> None:
        """GET /pictures/ID: its preview."""
        student = self.require_student()
        self.lab.picture(student, id)
        self.send_file(self.lab.store.picture_folder(student.id, id) / PREVIEW, "image/jpeg")

    def delete(self, id: str) -> None:
        """DELETE /pictures/ID."""
        self.lab.remove_picture(self.require_student(), id)
        self.finish({})


class OriginalHandler(BaseHandler):
    """The original file of a picture, to reproduce the composite elsewhere."""

    def get(self, id: str) -> None:
        """GET /pictures/ID/original.

        It is a download without a type, so that no browser interprets it.
        """
        student = self.require_student()
        picture = self.lab.picture(student, id)
        quoted = quote(picture.label)
        path = self.lab.original_path(student.id, id)
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quoted}")
        self.send_file(path, "application/octet-stream")


ROUTES = [
    ("/pictures", PicturesHandler),
    (f"/pictures/{ID_PATTERN}", PictureHandler),
    (f"/pictures/{ID_PATTERN}/original", OriginalHandler),
]
