"""What follows a batch: the protocol, and one view of all its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple

from tqdm import tqdm

from gluon_nst.batch.entries import Entry
from gluon_nst.batch.payloads import Payload
from gluon_nst.errors import one_line
from gluon_nst.observers import Bar
from gluon_nst.observers.progress import interval, units
from gluon_nst.runs.observer import Download, Observer

_NAMED = 4
"""How many of the jobs at work are named in the view."""


class Outcome(NamedTuple):
    """What became of a job: its picture's path, or the reason why there is none."""

    entry: Entry
    path: Path | None
    note: str = ""
    failed: bool = False


class Overview(Observer):
    """Hears of a batch, and does nothing about it: subclasses do."""

    def planned(self, jobs: Mapping[str, Payload]) -> None:
        """These are left to do."""

    def progress(self, name: str, stage: int, epochs: int, loss: float | None) -> None:
        """A job has done so many epochs of a stage, from 1."""

    def outcome(self, outcome: Outcome) -> None:
        """A job has ended, or was done before."""


class OverviewBar(Overview):
    """One bar over all jobs, with an estimate, and how far each is that is at work; `quiet`, there are only the lines.

    Its unit is a multiplication, as the Bar's of one run, so that the estimate holds across sizes and recipes.
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
        elif not self._quiet or name in self._jobs:  # of what was there before nothing is new
            tqdm.write(f"{name}: {outcome.note}")
        if name in self._jobs:
            self._ended += 1
            self._done[name] = units(self._jobs[name].recipe)  # settled early, or failed, it leaves nothing to do
            self._show()

    def _show(self) -> None:
        done, every = sum(self._done.values()), sum(units(job.recipe) for job in self._jobs.values())
        if self._bar is None:
            self._bar = tqdm(
                total=every,
                disable=self._quiet,
                mininterval=interval(),
                smoothing=0.02,  # jobs are of many speeds: the estimate is over many of them
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        whole = {name: units(self._jobs[name].recipe) for name in self._done}
        at_work = [
            f"{name} {self._done[name] / all_of_it:.0%}"
            for name, all_of_it in whole.items()
            if self._done[name] < all_of_it
        ]
        others = f", and {len(at_work) - _NAMED} more" if len(at_work) > _NAMED else ""
        self._bar.set_description_str(f"{self._ended} of {len(self._jobs)} done", refresh=False)
        self._bar.set_postfix_str(f"{', '.join(at_work[:_NAMED])}{others}", refresh=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> OverviewBar:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
