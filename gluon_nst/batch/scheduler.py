"""A batch carried out: which of its jobs are left, who of the crew does which, and what becomes of each."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

from gluon_nst import weights
from gluon_nst.batch.entries import Entry
from gluon_nst.batch.folder import Folder
from gluon_nst.batch.job_process import make
from gluon_nst.batch.overview import Outcome, Overview
from gluon_nst.batch.payloads import Packed, pack
from gluon_nst.cluster.pool import Crew, Gone, Lost
from gluon_nst.errors import InputError, NSTError, reason
from gluon_nst.pictures import optical_flow
from gluon_nst.pictures.decoding import pixels_limit, read_record
from gluon_nst.runs.loop import Halt, never

_WAIT = 0.2
"""Seconds between two looks at what the workers have said."""
_PATIENCE = 10.0
"""Seconds without a worker before that is told."""
_LOSSES = 3
"""How many workers a job may lose, one after the other, without coming to another checkpoint."""


@dataclasses.dataclass
class _Task:
    """A job that waits, or is at a worker."""

    packed: Packed
    worker: str = ""
    future: Any = None
    attempt: int = 0
    """What tells what is said of it from what a worker says that was thought to be lost."""
    begun: bool = False
    lost: int = 0
    """How many workers it has lost since its last checkpoint."""
    refused: tuple[str, ...] = ()
    """The workers that have no room for it."""
    why: str = ""
    """What they say."""

    def again(self, **changes: Any) -> _Task:
        """The same, waiting."""
        return dataclasses.replace(self, worker="", future=None, begun=False, **changes)


class Batch:
    """Jobs whose pictures go into a `folder`, each with its losses beside it; `overview` hears of what happens.

    As it is opened what is there already is looked at: that is not done again. `outcomes` are those of the jobs that
    have ended, by name, and `jobs` all whose inputs are there.
    """

    def __init__(self, entries: Sequence[Entry], folder: str | Path, overview: Overview | None = None) -> None:
        self.entries, self._overview = list(entries), overview or Overview()
        self.folder = Folder(folder, self._overview.note)
        self.outcomes: dict[str, Outcome] = {}
        self._trunks: dict[tuple[str, str], Any] = {}
        self.jobs: dict[str, Packed] = {}
        self._waiting: collections.deque[_Task] = collections.deque()
        self._tasks: dict[str, _Task] = {}
        self._attempts = itertools.count(1)

    def __enter__(self) -> Batch:
        self.folder.__enter__()
        try:
            self._plan()
        except BaseException:
            self.folder.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.folder.__exit__()

    @property
    def left(self) -> list[str]:
        """The names of the jobs that nothing has become of yet."""
        return [entry.name for entry in self.entries if entry.name not in self.outcomes]

    def _end(self, entry: Entry, path: Path | None, note: str, failed: bool = False) -> Outcome:
        outcome = self.outcomes[entry.name] = Outcome(entry, path, note, failed)
        self._overview.outcome(outcome)
        return outcome

    def _plan(self) -> None:
        """Look at the inputs of all jobs, and at what is done."""
        inputs: set[str] = set()
        for entry in self.entries:
            try:
                if entry.job is None:
                    raise InputError(entry.error)
                packed = self.jobs[entry.name] = pack(entry, self._trunk, self.jobs.get(entry.after or ""))
                inputs |= {os.path.realpath(path) for path in packed.files.values()}
            except NSTError as error:
                self._end(entry, None, str(error), failed=True)
        for packed in self.jobs.values():
            try:
                self.folder.check(packed.entry, inputs)
            except InputError as error:
                self._end(packed.entry, None, str(error), failed=True)
            else:
                if self.folder.is_made(packed):
                    self.folder.clean(packed)  # in case the last batch was killed before it could
                    self._end(packed.entry, self.folder.picture(packed.entry), "kept from before")
        self._overview.planned({name: self.jobs[name] for name in self.left})

    def _trunk(self, spec: str, preferred: str) -> Any:
        if (spec, preferred) not in self._trunks:
            hear = self._overview
            found = weights.find(spec, preferred=preferred, notify=hear.note, progress=hear.download)
            self._trunks[spec, preferred] = found
        return self._trunks[spec, preferred]

    # -- the work -----------------------------------------------------------------------------------------------------

    def run(self, crew: Crew, halt: Halt = never) -> Iterator[Outcome]:
        """Have the crew carry out what is left; gives an Outcome for each job as it ends.

        Where `halt` says so the jobs are stopped when their epochs are done; they go on from there another time, as
        they do where a worker is lost. Raises NSTError where the scheduler is.
        """
        self._waiting = collections.deque(_Task(self.jobs[name]) for name in self.left)
        stopping, told = False, time.monotonic()
        while self._waiting or self._tasks:
            stopping = stopping or halt()
            if stopping:
                crew.ask_to_stop()
                for task in [task for task in self._tasks.values() if not task.begun]:
                    task.future.cancel()  # it may wait behind somebody else's
                    del self._tasks[task.packed.entry.name]
                if not self._tasks:
                    return
            workers = crew.workers()
            if workers:
                told = time.monotonic()
            elif time.monotonic() - told > _PATIENCE:
                told = time.monotonic()
                self._overview.note("no worker is there; waiting for one")
            if not stopping:
                yield from self._refuse(workers)
                yield from self._hand_out(crew, workers)
            yield from self._follow(crew, workers)
            time.sleep(_WAIT)

    def _refuse(self, workers: list[str]) -> Iterator[Outcome]:
        """Let go of what none of the workers has room for."""
        for task in [task for task in self._waiting if workers and set(workers) <= set(task.refused)]:
            self._waiting.remove(task)
            yield self._end(task.packed.entry, None, task.why, failed=True)

    def _hand_out(self, crew: Crew, workers: list[str]) -> Iterator[Outcome]:
        """Give each worker that has nothing to do a job, the first that is ready and that it may have room for."""
        busy = {task.worker for task in self._tasks.values()}
        for worker in workers:
            ready = (task for task in self._waiting if self._is_ready(task) and worker not in task.refused)
            task = None if worker in busy else next(ready, None)
            if task is None:
                continue
            self._waiting.remove(task)
            packed = task.packed
            try:
                payload = packed.payload(self._start(packed))
            except (NSTError, OSError) as error:  # the disk may be full
                yield self._end(packed.entry, None, reason(error), failed=True)
                continue
            try:
                crew.bring(worker, packed.trunk.sha256, str(packed.trunk.path))
                kept = self.folder.checkpoint(packed)
                task.attempt = next(self._attempts)
                task.future = crew.start(worker, make, task.attempt, payload, kept, pixels_limit())
                task.worker = worker
                self._tasks[packed.entry.name] = task
            except Lost:
                self._waiting.appendleft(task)
            except Gone:
                raise
            except (NSTError, OSError) as error:  # the worker's disk, perhaps
                self._waiting.append(task.again(refused=(*task.refused, worker), why=reason(error)))

    def _is_ready(self, task: _Task) -> bool:
        return task.packed.entry.after is None or task.packed.entry.after in self.outcomes

    def _start(self, packed: Packed) -> Path | None:
        """What a frame of a sequence starts from: the result before it, as things have moved since; None for the first
        one."""
        before = packed.entry.after
        result = self.outcomes[before].path if before in self.jobs else None
        if before is None or result is None:
            return None
        job, earlier, path = packed.entry.job, self.jobs[before].entry.job, self.folder.start(packed.entry)
        assert job and earlier
        optical_flow.start(earlier.content, job.content, result, packed.recipe.stages[-1].shape).save(path)
        return path

    def _follow(self, crew: Crew, workers: list[str]) -> Iterator[Outcome]:
        """Hear what the workers say, and see which of them are gone."""
        ended = [name for name, task in self._tasks.items() if task.future.done()]  # before what it said last is heard
        for name, attempt, kind, value in crew.heard():
            if name in self._tasks and attempt == self._tasks[name].attempt:
                self._tasks[name].begun = True
                yield from self._hear(name, kind, value)
        for name in ended:
            if name in self._tasks:  # there was no last word
                future = self._tasks[name].future
                error = future.exception() if future.status == "error" else NSTError("it came to nothing")
                yield self._end(self._tasks.pop(name).packed.entry, None, reason(error), failed=True)
        for name in [name for name, task in self._tasks.items() if task.worker not in workers]:
            yield from self._lose(self._tasks.pop(name))

    def _hear(self, name: str, kind: str, value: Any) -> Iterator[Outcome]:
        task = self._tasks[name]
        if kind in ("halted", "no room", "failed", "made"):
            del self._tasks[name]
        if kind == "note":
            self._overview.note(f"{name}: {value}")
        elif kind in ("begun", "epoch"):
            self._overview.progress(name, *value)
        elif kind == "checkpoint":
            task.lost = 0
            self.folder.keep(task.packed, value)
        elif kind == "halted":
            self._waiting.append(task.again())
        elif kind == "no room":
            self._waiting.append(task.again(refused=(*task.refused, task.worker), why=value))
        elif kind == "failed":
            yield self._end(task.packed.entry, None, value, failed=True)
        elif kind == "made":
            yield self._made(task.packed, *value)

    def _made(self, packed: Packed, picture: bytes, losses: bytes) -> Outcome:
        try:
            path = self.folder.place(packed, picture, losses)
        except NSTError as error:
            return self._end(packed.entry, None, str(error), failed=True)
        job = read_record(path)["job"]
        return self._end(packed.entry, path, f"total loss {job['loss']:.4g}, {job['seconds']:.0f} s")

    def _lose(self, task: _Task) -> Iterator[Outcome]:
        """A job's worker is gone: another goes on with it, unless the job is what brings them down."""
        entry, lost = task.packed.entry, task.lost + 1
        if lost >= _LOSSES:
            why = f"{lost} workers were lost over it, one after the other; have they memory enough?"
            yield self._end(entry, None, why, failed=True)
            return
        self._overview.note(f"{entry.name}: worker {task.worker} is lost; another goes on from its last checkpoint")
        self._waiting.appendleft(task.again(lost=lost))
