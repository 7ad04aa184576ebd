"""The command that does many jobs: batch."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any

from gluon_nst import recipes
from gluon_nst.batch import Batch, Entry, OverviewBar, entries, write_report
from gluon_nst.cli.outputs import writing
from gluon_nst.cli.stopping import Stop
from gluon_nst.cluster import Crew
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import reading
from gluon_nst.pictures.encoding import warn_of_quality
from gluon_nst.pictures.optical_flow import check_frames

_REPORT_EVERY = 60.0
"""Seconds between two reports of a batch that goes on."""


def batch(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst batch."""
    listed = _entries(arguments, options)
    stopped = False
    with OverviewBar(arguments.quiet) as bar, Batch(listed, arguments.out, bar) as jobs:
        try:
            if jobs.left:
                with Stop() as stop, Crew(arguments.scheduler, arguments.workers, bar.note) as crew:
                    written = time.monotonic()
                    for _ in jobs.run(crew, stop.is_asked):
                        if time.monotonic() - written > _REPORT_EVERY:
                            with contextlib.suppress(NSTError):  # as the last one will say
                                write_report(jobs)
                            written = time.monotonic()
        except KeyboardInterrupt:
            stopped = True
        finally:
            with writing(arguments.out):
                page = write_report(jobs)
    failed = sum(outcome.failed for outcome in jobs.outcomes.values())
    done = len(jobs.outcomes) - failed
    print(f"{page}: {done} of {len(jobs.entries)} pictures; each with its losses in {arguments.out}")
    if stopped or jobs.left:
        print(
            f"interrupted: {done} of {len(jobs.entries)} are done and kept in {arguments.out};"
            " the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    return 1 if failed else 0


def _entries(arguments: argparse.Namespace, options: dict[str, Any]) -> list[Entry]:
    shared = dict(options) if arguments.device == "auto" else {**options, "device": arguments.device}
    if arguments.recipe:
        recipes.read(arguments.recipe)  # what no job can do with is told of at once
        shared["recipe"] = arguments.recipe
    warn_of_quality("picture.png", shared.get("quality"))
    if arguments.jobs.suffix.lower() in entries.ENDINGS and not arguments.jobs.is_dir():
        for given, name in ((arguments.styles, "STYLES_DIR"), (arguments.sequence, "--sequence")):
            if given:
                raise InputError(f"{name}: {arguments.jobs} lists the jobs, and their styles; leave it out")
        return entries.read(arguments.jobs, **shared)
    if not arguments.styles:
        raise InputError(
            f"{arguments.jobs}: neither a .toml nor a .csv; give the pictures' styles, a folder or a picture, as well"
        )
    for folder in (arguments.jobs, arguments.styles):
        with reading(folder, "a picture, or a folder of pictures"):
            pass  # what is not there is no input of any job
        if folder.is_dir() and arguments.out.is_dir() and folder.samefile(arguments.out):
            raise InputError(
                f"--out {arguments.out}: the results would be taken for inputs the next time; name another folder"
            )
    if arguments.sequence:
        check_frames()
        return entries.sequence(arguments.jobs, arguments.styles, **shared)
    return entries.pairs(arguments.jobs, arguments.styles, **shared)
