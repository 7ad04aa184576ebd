"""The command batch: many jobs, on this machine or a cluster."""

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
from gluon_nst.cluster import Pool
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import reading
from gluon_nst.pictures.encoding import warn_of_quality
from gluon_nst.pictures.optical_flow import check_frames

_REPORT_EVERY = 60.0
"""Seconds between two reports of a running batch."""


def batch(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst batch."""
    job_list = _entries(arguments, options)
    interrupted = False
    with OverviewBar(arguments.quiet) as bar, Batch(job_list, arguments.out, bar) as jobs:
        try:
            if jobs.left:
                with Stop() as stop, Pool(arguments.scheduler, arguments.workers, bar.note) as pool:
                    last_report = time.monotonic()
                    for _ in jobs.run(pool, stop.is_requested):
                        if time.monotonic() - last_report > _REPORT_EVERY:
                            with contextlib.suppress(NSTError):  # the final report raises it
                                write_report(jobs)
                            last_report = time.monotonic()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            with writing(arguments.out):
                report = write_report(jobs)
    num_failed = sum(outcome.failed for outcome in jobs.outcomes.values())
    num_done = len(jobs.outcomes) - num_failed
    print(f"{report}: {num_done} of {len(jobs.entries)} pictures; each with its losses in {arguments.out}")
    if interrupted or jobs.left:
        print(
            f"interrupted: {num_done} of {len(jobs.entries)} are done and kept in {arguments.out};"
            " the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    return 1 if num_failed else 0


def _entries(arguments: argparse.Namespace, options: dict[str, Any]) -> list[Entry]:
    shared_options = dict(options) if arguments.device == "auto" else {**options, "device": arguments.device}
    if arguments.recipe:
        recipes.read(arguments.recipe)  # a bad recipe is an error of the command, not of each job
        shared_options["recipe"] = arguments.recipe
    warn_of_quality("picture.png", shared_options.get("quality"))
    if arguments.jobs.suffix.lower() in entries.ENDINGS and not arguments.jobs.is_dir():
        for argument, name in ((arguments.styles, "STYLES_DIR"), (arguments.sequence, "--sequence")):
            if argument:
                raise InputError(f"{name}: {arguments.jobs} lists the jobs, and their styles; leave it out")
        return entries.read(arguments.jobs, **shared_options)
    if not arguments.styles:
        raise InputError(
            f"{arguments.jobs}: neither a .toml nor a .csv; give the pictures' styles, a folder or a picture, as well"
        )
    for folder in (arguments.jobs, arguments.styles):
        with reading(folder, "a picture, or a folder of pictures"):
            pass  # raises InputError if it can't be read
        if folder.is_dir() and arguments.out.is_dir() and folder.samefile(arguments.out):
            raise InputError(
                f"--out {arguments.out}: the results would be taken for inputs the next time; name another folder"
            )
    if arguments.sequence:
        check_frames()
        return entries.sequence(arguments.jobs, arguments.styles, **shared_options)
    return entries.pairs(arguments.jobs, arguments.styles, **shared_options)
