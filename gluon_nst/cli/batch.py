"""The command batch: many jobs, on this machine or a cluster."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from gluon_nst import recipes
from gluon_nst.batch import Batch, Entry, OverviewBar, write_report
from gluon_nst.batch.run import carry_out, collect
from gluon_nst.cli.outputs import writing
from gluon_nst.cli.stopping import Stop
from gluon_nst.cluster import Pool
from gluon_nst.pictures.encoding import warn_of_quality


def batch(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst batch."""
    job_list = _entries(arguments, options)
    interrupted = False
    with OverviewBar(arguments.quiet) as bar, Batch(job_list, arguments.out, bar) as jobs:
        try:
            if jobs.left:
                with Stop() as stop, Pool(arguments.scheduler, arguments.workers, bar.note) as pool:
                    carry_out(jobs, pool, stop.is_requested)
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
            " the same command resumes",
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
    return collect(arguments.jobs, arguments.styles, arguments.out, arguments.sequence, **shared_options)
