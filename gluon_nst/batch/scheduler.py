"""Batch: plans the jobs, submits them to Dask, and records the outcome of each."""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

from gluon_nst import weights
from gluon_nst.batch.entries import Entry
from gluon_nst.batch.folder import Folder
from gluon_nst.batch.job_process import run_job
from gluon_nst.batch.overview import Outcome, Overview
from gluon_nst.batch.payloads import Payload, pack
from gluon_nst.cluster.pool import Pool
from gluon_nst.errors import DoesNotFit, InputError, NSTError, reason
from gluon_nst.machine.durations import format_duration
from gluon_nst.pictures import optical_flow
from gluon_nst.pictures.decoding import pixels_limit, read_record
from gluon_nst.runs.loop import Halt, never

_WAIT = 0.2
"""Seconds between two reads of the tasks' messages."""
_PATIENCE = 10.0
"""Seconds without a worker before that is reported."""
_MOST_LOST = 3
"""Number of workers lost in a row, without a new checkpoint, after which a job fails."""


@dataclasses.dataclass
class _Task:
    """A job that is waiting, or has been submitted to Dask."""

    payload: Payload
    future: Any = None
    allowed: frozenset[str] = frozenset()
    """The workers that Dask may choose."""
    worker: str = ""
    """The worker on which it has started."""
    lost: int = 0
    """Number of workers lost since its last checkpoint."""
    refused: frozenset[str] = frozenset()
    """The workers with too little memory or disk space for it."""
    why: str = ""
    """The error of the last of them."""

    def waiting(self, **changes: Any) -> _Task:
        """Return the job as a waiting one, with other `changes`."""
        return dataclasses.replace(self, future=None, worker="", **changes)


class Batch:
    """Jobs whose pictures and losses are written into a `folder`.

    `overview` is notified of their progress. A context manager; jobs whose pictures exist when it is entered are not
    repeated. `outcomes` has the outcome of each job that has ended, and `jobs` the payload of each job with valid
    inputs, both by name.
    """

    def __init__(self, entries: Sequence[Entry], folder: str | Path, overview: Overview | None = None) -> None:
        self.entries, self._overview = list(entries), overview or Overview()
        self.folder = Folder(folder, self._overview.note)
        self.outcomes: dict[str, Outcome] = {}
        self._trunks: dict[tuple[str, str], Any] = {}
        self.jobs: dict[str, Payload] = {}
        self._waiting: collections.deque[_Task] = collections.deque()
        self._running: dict[str, _Task] = {}
        self._stopping = False

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
        """The names of the jobs without an outcome."""
        return [entry.name for entry in self.entries if entry.name not in self.outcomes]

    def _record_outcome(self, entry: Entry, path: Path | None, note: str, failed: bool = False) -> Outcome:
        outcome = self.outcomes[entry.name] = Outcome(entry, path, note, failed)
        self._overview.outcome(outcome)
        return outcome

    def _plan(self) -> None:
        """Check the inputs of all jobs, and find those that are finished."""
        inputs: set[str] = set()
        for entry in self.entries:
            try:
                if entry.job is None:
                    raise InputError(entry.error)
                payload = self.jobs[entry.name] = pack(entry, self._trunk, self.jobs.get(entry.after or ""))
                inputs |= {os.path.realpath(path) for path in payload.files.values()}
            except NSTError as error:
                self._record_outcome(entry, None, str(error), failed=True)
        for payload in self.jobs.values():
            try:
                self.folder.check(payload.entry, inputs)
            except InputError as error:
                self._record_outcome(payload.entry, None, str(error), failed=True)
            else:
                if self.folder.is_made(payload):
                    self.folder.clean(payload)  # a killed batch may have left its checkpoints
                    self._record_outcome(payload.entry, self.folder.picture(payload.entry), "kept from before")
        self._overview.planned({name: self.jobs[name] for name in self.left})

    def _trunk(self, spec: str, preferred: str) -> Any:
        if (spec, preferred) not in self._trunks:
            notify, progress = self._overview.note, self._overview.download
            self._trunks[spec, preferred] = weights.find(spec, preferred=preferred, notify=notify, progress=progress)
        return self._trunks[spec, preferred]

    # -- the work -----------------------------------------------------------------------------------------------------

    def run(self, pool: Pool, halt: Halt = never) -> Iterator[Outcome]:
        """Run the jobs that are left on the workers of the pool.

        Yields the Outcome of each job when it ends. When `halt` returns True, the jobs stop after their current epochs.
        The next batch resumes them from there, as this one does if a worker is lost. Raises NSTError if the scheduler
        is lost.
        """
        self._waiting = collections.deque(_Task(self.jobs[name]) for name in self.left)
        self._stopping = False
        trunks = {task.payload.trunk.sha256: task.payload.trunk.path for task in self._waiting}
        reported = time.monotonic()
        while self._waiting or self._running:
            if not self._stopping and halt():
                self._stopping = True
                pool.stop()
            workers = pool.workers()
            for sha256, path in trunks.items():
                workers = pool.upload(path, sha256, workers)
            if workers:
                reported = time.monotonic()
            elif time.monotonic() - reported > _PATIENCE:
                reported = time.monotonic()
                self._overview.note("no worker is available; waiting for one")
            for name, task in list(self._running.items()):
                may_end = task.worker in workers if self._stopping else task.allowed.intersection(workers)
                if not may_end:
                    pool.cancel(task.future)
                    yield from self._requeue(self._running.pop(name))
            if not self._stopping:
                yield from self._submit(pool, workers)
            elif not self._running:
                return
            yield from self._read_messages(pool)

    def _submit(self, pool: Pool, workers: list[str]) -> Iterator[Outcome]:
        """Submit as many jobs as there are workers, so that no pictures are sent early.

        A job that some workers have refused may wait in Dask for one of the others, and does not count.
        """
        for task in list(self._waiting) if workers else []:
            payload, task.allowed = task.payload, frozenset(workers) - task.refused
            counted = sum(not each.refused for each in self._running.values())
            if not self._is_ready(payload.entry) or (counted >= len(workers) and not task.refused):
                continue
            self._waiting.remove(task)
            try:
                if not task.allowed:
                    raise NSTError(task.why)
                sent, checkpoint = payload.with_contents(self._start(payload)), self.folder.checkpoint(payload)
            except (NSTError, OSError) as error:  # the disk may be full
                yield self._record_outcome(payload.entry, None, reason(error), failed=True)
                continue
            arguments = pool.context, sent, checkpoint, pixels_limit()
            task.future = pool.submit(run_job, *arguments, workers=task.allowed, once=True)
            self._running[payload.entry.name] = task

    def _is_ready(self, entry: Entry) -> bool:
        return entry.after is None or entry.after in self.outcomes

    def _start(self, payload: Payload) -> Path | None:
        """Return the picture that a frame starts from, or None for the first frame.

        It is the result of the frame before it, warped by the optical flow.
        """
        before = payload.entry.after
        result = self.outcomes[before].path if before in self.jobs else None
        if before is None or result is None:
            return None
        job, earlier, path = payload.entry.job, self.jobs[before].entry.job, self.folder.start(payload.entry)
        assert job and earlier
        optical_flow.start(earlier.content, job.content, result, payload.recipe.stages[-1].shape).save(path)
        return path

    def _read_messages(self, pool: Pool) -> Iterator[Outcome]:
        """Read the tasks' messages, and then handle the results that have arrived."""
        done = pool.done([task.future for task in self._running.values()], _WAIT)  # before reading their last messages
        running = {task.future.key: task for task in self._running.values()}
        for key, kind, value in pool.messages():
            if key not in running:
                continue  # of a cancelled task, whose checkpoints may be outdated
            task = running[key]
            name = task.payload.entry.name
            if kind == "started":
                task.worker = value
            elif kind == "note":
                self._overview.note(f"{name}: {value}")
            elif kind == "epoch":
                self._overview.progress(name, *value)
            elif kind == "checkpoint":
                task.lost = 0
                self.folder.keep(task.payload, value)
        for name, task in list(self._running.items()):
            if task.future in done:
                yield from self._handle_result(pool, self._running.pop(name))

    def _handle_result(self, pool: Pool, task: _Task) -> Iterator[Outcome]:
        """Save the files of a finished task, requeue its job, or record its failure."""
        import distributed

        error = task.future.exception() if task.future.status == "error" else None
        made = pool.result(task.future) if task.future.status == "finished" else None
        if made:
            yield self._save_result(task.payload, *made)
        elif error is None or isinstance(error, distributed.KilledWorker):
            yield from self._requeue(task)
        elif isinstance(error, (DoesNotFit, OSError)) and task.worker:  # an OSError concerns the worker's disk
            self._waiting.append(task.waiting(refused=task.refused | {task.worker}, why=reason(error)))
        else:
            yield self._record_outcome(task.payload.entry, None, reason(error), failed=True)

    def _save_result(self, payload: Payload, picture: bytes, losses: bytes) -> Outcome:
        try:
            path = self.folder.place(payload, picture, losses)
        except NSTError as error:
            return self._record_outcome(payload.entry, None, str(error), failed=True)
        job = read_record(path)["job"]
        return self._record_outcome(
            payload.entry, path, f"total loss {job['loss']:.4g}, {format_duration(job['seconds'])}"
        )

    def _requeue(self, task: _Task) -> Iterator[Outcome]:
        """Requeue a job whose worker is lost, unless the batch is stopping.

        After _MOST_LOST lost workers the job fails.
        """
        if self._stopping:
            return
        entry, lost = (
            task.payload.entry,
            task.lost + 1,
        )  # counted even if the job had not started: it may have killed the worker
        if lost >= _MOST_LOST:
            why = f"{lost} workers were lost in a row while they ran it; check that they have enough memory"
            yield self._record_outcome(entry, None, why, failed=True)
            return
        worker = f"worker {task.worker}" if task.worker else "its worker"
        self._overview.note(f"{entry.name}: {worker} is lost; the job resumes elsewhere from its last checkpoint")
        self._waiting.appendleft(task.waiting(lost=lost))
