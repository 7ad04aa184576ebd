"""Overview: the observer of a batch, and a progress bar over all its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple

from tqdm.auto import tqdm

from gluon_nst.batch.entries import Entry
from gluon_nst.batch.payloads import Payload
from gluon_nst.errors import one_line
from gluon_nst.observers import Bar
from gluon_nst.observers.progress import interval, units
from gluon_nst.runs.observer import Download, Observer

_NAMED = 4
"""Number of running jobs that the bar names."""


class Outcome(NamedTuple):
    """The outcome of a job: the path of its picture, or the reason why there is none."""

    entry: Entry
    path: Path | None
    note: str = ""
    failed: bool = False


class Overview(Observer):
    """Observer of a batch that ignores all notifications.

    Subclasses override the methods that they need.
    """

    def planned(self, jobs: Mapping[str, Payload]) -> None:
        """Called with the jobs to do, by name."""

    def progress(self, name: str, stage: int, epochs: int, loss: float | None) -> None:
        """Called when a job has done this number of epochs of a stage, counted from 1."""

    def outcome(self, outcome: Outcome) -> None:
        """Called when a job ends, or was finished earlier."""


class OverviewBar(Overview):
    """One bar over all jobs, with the time left and the progress of running jobs.

    With `quiet` it prints only messages. Its unit is a multiplication, like that of the Bar of one run, so that the
    estimate of the time left holds across sizes and recipes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, self._lines = quiet, Bar(quiet=quiet)
        self._jobs: dict[str, Payload] = {}
        self._done: dict[str, float] = {}
        self._ended = 0
        self._bar: tqdm | None = None

    def note(self, line: str) -> None:
        self._lines.note(line)

    def download(self, description: str, size: int | None) -> Download | None:
        return self._lines.download(description, size)

    def planned(self, jobs: Mapping[str, Payload]) -> None:
        self._jobs = dict(jobs)

    def progress(self, name: str, stage: int, epochs: int, loss: float | None) -> None:
        recipe = self._jobs[name].recipe
        per_epoch = units(recipe, stage) - units(recipe, stage - 1)
        self._done[name] = units(recipe, stage - 1) + per_epoch * epochs / recipe.stages[stage - 1].epochs
        self._show()

    def outcome(self, outcome: Outcome) -> None:
        name = outcome.entry.name
        if outcome.failed:
            self.note(f"error: {one_line(f'{name}: {outcome.note}')}")
        elif not self._quiet or name in self._jobs:  # a job finished earlier is not new
            tqdm.write(f"{name}: {outcome.note}")
        if name in self._jobs:
            self._ended += 1
            self._done[name] = units(self._jobs[name].recipe)  # even if it converged early or failed
            self._show()

    def _show(self) -> None:
        done, total = sum(self._done.values()), sum(units(job.recipe) for job in self._jobs.values())
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                disable=self._quiet,
                mininterval=interval(),
                smoothing=0.02,  # jobs differ in speed: the estimate averages over many of them
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        totals = {name: units(self._jobs[name].recipe) for name in self._done}
        running = [
            f"{name} {self._done[name] / whole:.0%}" for name, whole in totals.items() if self._done[name] < whole
        ]
        others = f", and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
        self._bar.set_description_str(f"{self._ended} of {len(self._jobs)} done", refresh=False)
        self._bar.set_postfix_str(f"{', '.join(running[:_NAMED])}{others}", refresh=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> OverviewBar:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
