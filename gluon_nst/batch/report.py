"""The report of a batch: a page of thumbnails with what differed, and the same as a CSV."""

from __future__ import annotations

import contextlib
import csv
import html
import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from PIL import Image

from gluon_nst.batch.entries import Entry
from gluon_nst.batch.folder import COLUMNS, PAGE, TABLE, THUMBNAILS
from gluon_nst.batch.scheduler import Batch
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import placed_whole, written_whole
from gluon_nst.pictures.decoding import open_picture, read_record

_LONGEST_SIDE = 320
"""Of a thumbnail, in pixels."""


class Row(NamedTuple):
    """What the report says of a job."""

    entry: Entry
    status: str
    """`done`, `failed` or `left`."""
    path: Path | None
    """Its picture."""
    loss: float | None
    """The total loss that it came to."""
    seconds: float | None
    note: str


def rows(batch: Batch) -> list[Row]:
    """What there is to say of each job, in their order."""
    found = []
    for entry in batch.entries:
        outcome = batch.outcomes.get(entry.name)
        job: Mapping[str, Any] = {}
        if outcome and outcome.path:
            with contextlib.suppress(InputError):
                job = read_record(outcome.path).get("job", {})
        status = "left" if outcome is None else "failed" if outcome.failed else "done"
        path, note = (outcome.path, outcome.note) if outcome else (None, "not done yet")
        found.append(Row(entry, status, path, job.get("loss"), job.get("seconds"), note))
    return found


def differing(batch: Batch) -> list[str]:
    """The settings, by their names on the command line, in which the jobs differ; their pictures stand apart."""
    names = dict.fromkeys(
        name for entry in batch.entries for name in entry.said if name not in ("content", "style", "")
    )
    return [name for name in names if len({entry.said.get(name) for entry in batch.entries}) > 1]


def write_report(batch: Batch) -> Path:
    """Write the report into the batch's folder, and give the page's path. Raises NSTError where it can't be written."""
    found, settings = rows(batch), differing(batch)
    with written_whole(batch.folder.path / TABLE, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*COLUMNS, *settings, "loss", "seconds", "note"])
        for row in found:
            said = [row.entry.said.get(name, "") for name in ("content", "style", *settings)]
            picture = row.path.name if row.path else ""
            table.writerow([row.entry.name, row.status, picture, *said, row.loss, row.seconds, row.note])
    page = batch.folder.path / PAGE
    with written_whole(page, "w", encoding="utf-8") as file:
        file.write(_page(batch, found, settings))
    return page


# -- the page ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .5rem .8rem; text-align: left; vertical-align: top; \
border-top: 1px solid #ccc }
img { display: block; max-width: 20rem; max-height: 20rem } \
.input img { max-width: 8rem; max-height: 8rem; margin-bottom: .3rem }
.failed { background: #fdecea } small { color: #555; overflow-wrap: anywhere } .failed small { color: #444 }
"""


def _page(batch: Batch, found: list[Row], settings: list[str]) -> str:
    counts = {status: sum(row.status == status for row in found) for status in ("done", "failed", "left")}
    title = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    alike = _alike(batch, settings)
    heads = ["result", "content", "style", *settings, "total loss", "seconds"]
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>{len(found)} jobs: {title}</h1>",
        f"<p>All with {html.escape(alike)}.</p>" if alike else "",
        "<table><thead><tr>",
        *(f'<th scope="col">{html.escape(head)}</th>' for head in heads),
        "</tr></thead><tbody>",
        *(_line(batch, row, settings) for row in found),
        "</tbody></table></main></body></html>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _alike(batch: Batch, settings: list[str]) -> str:
    said: dict[str, str] = {}
    for entry in batch.entries:
        said.update(
            {name: value for name, value in entry.said.items() if name not in ("content", "style", "", *settings)}
        )
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _line(batch: Batch, row: Row, settings: list[str]) -> str:
    name, note = html.escape(row.entry.name), html.escape(row.note)
    shown = f"<b>{name}</b><br><small>{note}</small>"
    if row.path:
        thumbnail = _thumbnail(batch, row.path, row.entry.file_name)
        shown = f'<a href="{_address(row.path.name)}">{_image(thumbnail, f"the result {row.entry.name}")}</a>{shown}'
    numbers = ["" if row.loss is None else f"{row.loss:.4g}", "" if row.seconds is None else f"{row.seconds:.0f}"]
    cells = [f"<td>{shown}</td>", *(_input(batch, row.entry, which) for which in ("content", "style"))]
    cells += [f"<td>{html.escape(row.entry.said.get(setting, ''))}</td>" for setting in settings]
    cells += [f"<td>{number}</td>" for number in numbers]
    return f'<tr class="{row.status}">{"".join(cells)}</tr>'


def _input(batch: Batch, entry: Entry, which: str) -> str:
    """The cell of a job's content, or of its styles."""
    images = []
    job = batch.jobs.get(entry.name)
    if job:
        sources = (
            [job.job.content]
            if which == "content"
            # a Job makes a Style of each
            else [style.picture for style in job.job.style]  # type: ignore[union-attr]
        )
        for source in map(str, sources):
            images.append(_image(_thumbnail(batch, job.files[source], Path(source).stem[:16]), job.files[source].name))
    said = html.escape(entry.said.get(which, ""))
    return f'<td class="input">{"".join(images)}<small>{said}</small></td>'


def _image(thumbnail: str, alternative: str) -> str:
    return f'<img loading="lazy" src="{_address(thumbnail)}" alt="{html.escape(alternative)}">' if thumbnail else ""


def _address(name: str) -> str:
    from urllib.parse import quote

    return html.escape(quote(name))


def _thumbnail(batch: Batch, path: Path, name: str) -> str:
    """The thumbnail of a picture, from the page; made where there is none that is newer than the picture. Nothing where
    it can't be."""
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
