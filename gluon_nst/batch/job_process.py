"""A job on a worker: its own process, its messages, and its files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

from gluon_nst.batch.payloads import Payload
from gluon_nst.cluster.worker import StopRequest, TaskContext, memory_limit
from gluon_nst.errors import InputError, NSTError, one_line, warnings_to
from gluon_nst.losses.records import Status
from gluon_nst.machine import choose_device, choose_precision
from gluon_nst.pictures.decoding import pixels_allowed
from gluon_nst.recipes import Recipe
from gluon_nst.runs.checkpoint import Checkpoint, generations
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.processes import Parent, Reporter, Subprocess
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State

_CHECKPOINT_EVERY = 45.0
"""Seconds between two checkpoints: with the transfer and one epoch, at most about a minute of work is lost."""
_MOST_SENT = 1.9e9
"""Maximal bytes of a checkpoint that is sent: Dask can serialise at most 2 GiB."""


class JobFiles(NamedTuple):
    """The files of a finished job."""

    picture: bytes
    """A PNG."""
    losses: bytes
    """A CSV."""


def run_job(context: TaskContext, payload: Payload, checkpoint: bytes | None, pixels: int | None) -> JobFiles | None:
    """Run a job on a worker, and return its files.

    The job resumes from its `checkpoint`, if there is one. Returns None if the job was stopped, or if Dask repeats the
    task because its first worker was lost: it resumes, in a new task, from the newest checkpoint. The trunk is uploaded
    already; `pixels` is the limit of a picture. Messages to the pool's Queue are (key, kind, value) with the task's
    Dask key; the kinds are those of `_run`, and `started` with the worker's address. A cancelled task sends none.
    Raises DoesNotFit if this worker has too little memory, and other NSTErrors.
    """
    from distributed import Event, Queue, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    messages, stop, repeated = Queue(context.name), StopRequest(context), Event(key)
    folder = Path(worker.local_directory) / str(key)
    try:
        if stop.is_set() or repeated.is_set():
            return None
        repeated.set()
        messages.put((key, "started", worker.address))
        folder.mkdir()
        device, memory = context.device(payload.job.device), _memory(payload.job, memory_limit(worker))
        job = dataclasses.replace(payload.job, device=device, memory=memory)
        trunk = dataclasses.replace(payload.trunk, path=context.file(payload.trunk.path, payload.trunk.sha256))
        payload = payload._replace(trunk=trunk, job=job)
        with Subprocess(_run, payload, folder, checkpoint, pixels, threads=context.cores()) as process:
            for kind, value in iter(process.get, None):
                if kind == "result":
                    break
                if not stop.is_cancelled():
                    messages.put((key, kind, value))
                if stop.is_set():
                    process.stop()
        return value
    except NSTError as error:
        raise type(error)(one_line(payload.with_original_paths(str(error), folder))) from None
    finally:
        with contextlib.suppress(Exception):  # classes of Dask's own: the scheduler is lost
            messages.close()
        shutil.rmtree(folder, ignore_errors=True)


def _memory(job: Job, limit: float | None) -> float | None:
    return min((each for each in (job.memory, limit) if each is not None), default=None)


# -- in the job's own process -----------------------------------------------------------------------------------------


def _run(
    parent: Parent, payload: Payload, place: Path, checkpoint: bytes | None, pixels: int | None
) -> JobFiles | None:
    """Return the files of a job, or None if a stop was requested.

    After a stop, the job's checkpoint is sent. The messages are `note` with a line, `epoch` with (stage, epochs done,
    total loss), and `checkpoint` with a checkpoint's bytes.
    """
    folder = place / "checkpoint"
    if checkpoint:
        folder.mkdir()
        (folder / generations.first()).write_bytes(checkpoint)
    reporter = _Progress(parent)
    with pixels_allowed(pixels), warnings_to(reporter.note):
        job = payload.unpacked(place)
        run = prepare(_of_precision(job, folder), reporter, trunk=payload.trunk)
    saved = Checkpoint(folder, _CHECKPOINT_EVERY, reporter.note)
    sender = _Sender(folder, parent, resumes=checkpoint is not None)
    with saved:
        state = saved.load(run, replace=True)
        result = carry_out(run, Observers([reporter, saved, sender]), state, parent.is_stop_requested)
    if result.status == Status.INTERRUPTED:
        sender.send()
        return None
    if not result.complete:
        raise NSTError(result.note)
    seconds = round(result.seconds, 2)
    record = {"name": payload.entry.name, "sha256": payload.sha256, "loss": result.loss, "seconds": seconds}
    # With the paths of the files on the machine of the command.
    made = json.loads(payload.with_original_paths(json.dumps(result.provenance), place))
    result = dataclasses.replace(result, provenance={**made, "job": record})
    picture, losses = place / "picture.png", place / "losses.csv"
    result.save(picture)
    result.save_losses(losses)
    return JobFiles(picture.read_bytes(), losses.read_bytes())


def _of_precision(job: Job, folder: Path) -> Job:
    """Return the job with the precision of its checkpoint.

    The job is unchanged if its precision is not automatic, or if this processor does not support that of the
    checkpoint.
    """
    assert isinstance(job.recipe, Recipe)
    if job.recipe.precision == "auto":
        with contextlib.suppress(InputError, KeyError, TypeError):
            found = generations.Generations(folder, str).newest()
            begun = found["state"]["made"]["recipe"]["precision"]
            precision = choose_precision(begun, choose_device(job.device))
            return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, precision=precision))
    return job


class _Progress(Reporter):
    """An observer that reports the progress of the run."""

    def begin(self, run: Run) -> None:
        self._parent.put("epoch", (1, 0, None))

    def state(self, state: State) -> None:
        last = state.record[-1]
        self._parent.put("epoch", (last.stage, last.epoch + 1, last.losses.total))


class _Sender(Observer):
    """An observer that sends each new checkpoint in a `folder`.

    The one that a run `resumes` from is not new.
    """

    def __init__(self, folder: Path, parent: Parent, resumes: bool) -> None:
        self._folder, self._parent, self._resumes = folder, parent, resumes
        self._sent: Path | None = None
        self._is_warned = False

    def _newest(self) -> Path | None:
        return max(self._folder.glob(generations.pattern()), default=None)

    def begin(self, run: Run) -> None:
        if self._resumes:
            self._sent = self._newest()  # Checkpoint.begin may have written it again

    def state(self, state: State) -> None:
        self.send()

    def send(self) -> None:
        """Send the newest checkpoint, unless it was sent."""
        newest = self._newest()
        if newest is None or newest == self._sent:
            return
        self._sent = newest
        if newest.stat().st_size <= _MOST_SENT:
            self._parent.put("checkpoint", newest.read_bytes())
        elif not self._is_warned:
            self._is_warned = True
            self._parent.put("note", "its checkpoints are too large to send; if its worker is lost, the job restarts")
