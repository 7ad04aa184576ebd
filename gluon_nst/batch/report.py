"""The report of a batch: a page with thumbnails, and a CSV.

Both have the settings in which the jobs differ.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple
from urllib.parse import quote

from PIL import Image
from tornado.template import Template

from gluon_nst.batch.entries import Entry
from gluon_nst.batch.folder import COLUMNS, PAGE, TABLE, THUMBNAILS
from gluon_nst.batch.scheduler import Batch
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import placed_whole, written_whole
from gluon_nst.pictures.decoding import open_picture, read_record

_LONGEST_SIDE = 320
"""Pixels of a thumbnail's longest side."""
_TEMPLATE = Path(__file__).with_name("report.html")
"""The page as a Tornado template."""


class Row(NamedTuple):
    """A row of the report."""

    entry: Entry
    status: str
    """`done`, `failed` or `left`."""
    path: Path | None
    """The path of its picture."""
    loss: float | None
    """The total loss after its last epoch."""
    seconds: float | None
    note: str


def rows(batch: Batch) -> list[Row]:
    """Return the row of each job, in the order of the jobs."""
    result = []
    for entry in batch.entries:
        outcome = batch.outcomes.get(entry.name)
        job: Mapping[str, Any] = {}
        if outcome and outcome.path:
            with contextlib.suppress(InputError):
                job = read_record(outcome.path).get("job", {})
        status = "left" if outcome is None else "failed" if outcome.failed else "done"
        path, note = (outcome.path, outcome.note) if outcome else (None, "not done yet")
        result.append(Row(entry, status, path, job.get("loss"), job.get("seconds"), note))
    return result


def differing(batch: Batch) -> list[str]:
    """Return the settings in which the jobs differ, other than their pictures.

    They are named as on the command line.
    """
    names = dict.fromkeys(
        name for entry in batch.entries for name in entry.settings if name not in ("content", "style", "")
    )
    return [name for name in names if len({entry.settings.get(name) for entry in batch.entries}) > 1]


def write_report(batch: Batch) -> Path:
    """Write the report into the batch's folder, and return the page's path.

    Raises NSTError if it can't be written.
    """
    report_rows, settings = rows(batch), differing(batch)
    with written_whole(batch.folder.path / TABLE, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*COLUMNS, *settings, "loss", "seconds", "note"])
        for row in report_rows:
            values = [row.entry.settings.get(name, "") for name in ("content", "style", *settings)]
            picture = row.path.name if row.path else ""
            table.writerow([row.entry.name, row.status, picture, *values, row.loss, row.seconds, row.note])
    page = batch.folder.path / PAGE
    with written_whole(page) as file:
        file.write(_page(batch, report_rows, settings))
    return page


# -- the page ---------------------------------------------------------------------------------------------------------


def _page(batch: Batch, report_rows: list[Row], settings: list[str]) -> bytes:
    counts = {status: sum(row.status == status for row in report_rows) for status in ("done", "failed", "left")}
    common = {
        name: value
        for entry in batch.entries
        for name, value in entry.settings.items()
        if name not in ("content", "style", "", *settings)
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8"), name=_TEMPLATE.name).generate(
        title=", ".join(f"{count} {status}" for status, count in counts.items() if count),
        common=", ".join(f"{name} {value}" for name, value in common.items()),
        rows=report_rows,
        settings=settings,
        inputs=functools.partial(_inputs, batch),
        thumbnail_of=functools.partial(_thumbnail, batch),
        quote=quote,
    )


def _inputs(batch: Batch, entry: Entry, which: str) -> list[tuple[Path, str]]:
    """Return the paths and thumbnail names of a job's content or style pictures."""
    payload = batch.jobs.get(entry.name)
    if payload is None:
        return []
    job = payload.job
    assert isinstance(job.style, tuple)
    pictures = [job.content] if which == "content" else [style.picture for style in job.style]
    return [(payload.files[name], Path(name).stem[:16]) for name in map(str, pictures)]


def _thumbnail(batch: Batch, path: Path, name: str) -> str:
    """Make the thumbnail of a picture, unless it is up to date.

    Returns its path relative to the page, or "" if it can't be made.
    """
    folder = batch.folder.path / THUMBNAILS
    small = folder / f"{name}.jpg"
    with contextlib.suppress(NSTError, OSError, Image.DecompressionBombError):
        if not small.is_file() or os.path.getmtime(small) < os.path.getmtime(path):
            folder.mkdir(exist_ok=True)
            image = open_picture(path).flattened().image
            image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            with placed_whole(small) as temporary:
                image.save(temporary, quality=85)
        return f"{THUMBNAILS}/{small.name}"
    return ""
