"""`batch`: many jobs from Python, with the options of `gluon-nst batch`."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import io
import os
import time
from pathlib import Path
from typing import Any

from PIL import Image

from gluon_nst.batch import entries
from gluon_nst.batch.entries import Entry
from gluon_nst.batch.overview import Outcome, Overview, OverviewBar
from gluon_nst.batch.report import write_report
from gluon_nst.batch.scheduler import Batch
from gluon_nst.cluster import Pool
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import given, reading
from gluon_nst.observers.progress import is_watched
from gluon_nst.pictures.decoding import open_picture
from gluon_nst.pictures.optical_flow import check_frames
from gluon_nst.runs.loop import Halt, never

_REPORT_EVERY = 60.0
"""Seconds between two reports of a running batch."""
_THUMBNAIL = 160, 160
"""Most pixels of a picture in a notebook, across and down."""
_MOST_SHOWN = 24
"""Number of pictures that a notebook shows."""


def collect(
    jobs: str | Path, styles: str | Path | None, output: Path, sequence: bool = False, **settings: Any
) -> list[Entry]:
    """Return the jobs of a batch.

    They are those in the file `jobs`, or each picture of the folder `jobs` in each of `styles`. Raises InputError for
    conflicting arguments, and for folders that can't be read.
    """
    for name, path in (("contents", jobs), ("styles", styles)):
        if not isinstance(path, (str, os.PathLike, type(None))):
            raise InputError(f"{name}: {type(path).__name__} is not a path; give a folder, a picture or a list of jobs")
    jobs = given(jobs)
    if jobs.suffix.lower() in entries.ENDINGS and not jobs.is_dir():
        for argument, name in ((styles, "STYLES_DIR"), (sequence, "--sequence")):
            if argument:
                raise InputError(f"{name}: not with {jobs}, which lists the jobs and their styles; leave it out")
        return entries.read(jobs, **settings)
    if not styles:
        raise InputError(f"{jobs}: neither a .toml nor a .csv; for pictures, give a style, or a folder of styles, too")
    styles = given(styles)
    for folder in (jobs, styles):
        with reading(folder, "a picture, or a folder of pictures"):
            pass  # raises InputError if it can't be read
        if folder.is_dir() and output.is_dir() and folder.samefile(output):
            raise InputError(
                f"--output {output}: a folder of inputs, which would include the results; choose another folder"
            )
    if sequence:
        check_frames()
        return entries.sequence(jobs, styles, **settings)
    return entries.pairs(jobs, styles, **settings)


def carry_out(jobs: Batch, pool: Pool, halt: Halt = never) -> None:
    """Run the jobs that are left, and write the report every minute."""
    last_report = time.monotonic()
    for _ in jobs.run(pool, halt):
        if time.monotonic() - last_report > _REPORT_EVERY:
            with contextlib.suppress(NSTError):  # the final report raises it
                write_report(jobs)
            last_report = time.monotonic()


@dataclasses.dataclass(frozen=True, repr=False)
class BatchResult:
    """The outcomes of a batch. A notebook shows its first pictures."""

    outcomes: dict[str, Outcome]
    """The outcome of each job by its name: the path of its picture, or the reason why there is none."""
    report: Path
    """The page that shows all pictures and settings."""

    @property
    def paths(self) -> dict[str, Path]:
        """The pictures' files by the names of their jobs."""
        return {name: each.path for name, each in self.outcomes.items() if each.path is not None}

    def __repr__(self) -> str:
        failed = [name for name, each in self.outcomes.items() if each.failed]
        failures = f"; failed: {', '.join(failed)}" if failed else ""
        return f"<BatchResult: {len(self.paths)} of {len(self.outcomes)} pictures, report in {self.report}{failures}>"

    def _repr_html_(self) -> str:
        cells = []
        for name, path in list(self.paths.items())[:_MOST_SHOWN]:
            picture, file = open_picture(path).flattened().image, io.BytesIO()
            picture.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
            picture.save(file, format="PNG")
            label, data = html.escape(name), base64.b64encode(file.getvalue()).decode()
            image = f'<img src="data:image/png;base64,{data}" alt="{label}">'
            cells.append(
                f'<figure style="display:inline-block;margin:4px">{image}<figcaption>{label}</figcaption></figure>'
            )
        return f"<p>{html.escape(repr(self))}</p>{''.join(cells)}"


def batch(
    contents: str | Path,
    styles: str | Path | None = None,
    *,
    output: str | Path,
    sequence: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> BatchResult:
    """Paint each picture of a folder in each style, in several processes.

    `contents` is a folder of pictures, a picture, or a .toml or .csv file that lists jobs, which have their own styles.
    `styles` is a folder of style pictures, or a picture. The results are written into the folder `output`. With
    `sequence`, the contents are the frames of a film. `workers` is the number of processes on this machine; `scheduler`
    is the address of a Dask cluster (`tcp://HOST:PORT`) whose workers run the jobs instead. `settings` are keywords of
    `transfer`, the same for all jobs. Jobs that are finished in `output` are not repeated, so the same call resumes an
    interrupted batch. A failed job does not stop the others: see the result's `outcomes`. Raises InputError for bad
    arguments.

    In a script, call it below `if __name__ == "__main__":`, because the processes import the script.
    """
    folder = given(output)
    jobs = collect(contents, styles, folder, sequence, **settings)
    watched = is_watched() if progress is None else progress
    with contextlib.ExitStack() as stack:
        overview = stack.enter_context(OverviewBar()) if watched else Overview()
        todo = stack.enter_context(Batch(jobs, folder, overview))
        try:
            if todo.left:
                pool = stack.enter_context(Pool(scheduler, workers, overview.note))
                carry_out(todo, pool)
        finally:
            report = write_report(todo)
    return BatchResult({entry.name: todo.outcomes[entry.name] for entry in todo.entries}, report)
