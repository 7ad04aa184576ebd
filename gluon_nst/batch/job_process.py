"""A job on a worker: a process that ends with it, what that says on the way, and its picture."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from gluon_nst.batch.payloads import Payload
from gluon_nst.cluster import worker
from gluon_nst.errors import DoesNotFit, InputError, NSTError, one_line, warnings_to
from gluon_nst.losses.records import Status
from gluon_nst.machine import choose_device, choose_precision
from gluon_nst.pictures.decoding import pixels_allowed
from gluon_nst.recipes import Recipe
from gluon_nst.runs.checkpoint import Checkpoint, generations
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.processes import Link, Other, Reporter
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State

_EVERY = 45.0
"""Seconds between two checkpoints that are sent: with the way there, and an epoch, no more than a minute's work is
lost."""


_MOST_SENT = 1.9e9
"""Bytes of a checkpoint: what Dask packs has 2 GiB at the most."""


class Made(NamedTuple):
    """What comes of a job."""

    picture: bytes
    """A PNG."""
    losses: bytes
    """A CSV."""


def make(
    told: worker.TaskContext, attempt: int, payload: Payload, checkpoint: bytes | None, pixels: int | None
) -> None:
    """On a worker: carry out a job, from its `checkpoint` where there is one, and say what comes of it.

    What is said is (name, attempt, kind, value), of the kinds of `_make`; and `made` with a Made's two files, `halted`,
    `no room` or `failed` with a line. `pixels` is how many a picture may have.
    """
    from distributed import get_worker

    own, channel, name = get_worker(), worker.Channel(told), payload.name
    place = Path(tempfile.mkdtemp(dir=worker.folder(own)))
    try:
        trunk = dataclasses.replace(
            payload.trunk, path=worker.place(payload.trunk.sha256, str(payload.trunk.path), own)
        )
        job = dataclasses.replace(payload.job, device=told.device(payload.job.device), memory=_memory(payload.job, own))
        payload = payload._replace(trunk=trunk, job=job)
        with Other(_make, payload, place, checkpoint, pixels, threads=told.cores()) as other:
            for kind, value in iter(other.get, None):
                if kind == "result":
                    break
                channel.say(name, attempt, kind, value)
                if channel.is_stopped():
                    other.stop()
        kind, value = ("made", tuple(value)) if value else ("halted", "")
        channel.say(name, attempt, kind, value)
    except NSTError as error:
        kind = "no room" if isinstance(error, DoesNotFit) else "failed"
        channel.say(name, attempt, kind, one_line(payload.in_words(str(error), place)))
    finally:
        channel.close()
        shutil.rmtree(place, ignore_errors=True)


def _memory(job: Job, own: Any) -> float | None:
    limits = [limit for limit in (job.memory, worker.memory_of(own)) if limit is not None]
    return min(limits, default=None)


# -- in the job's own process -----------------------------------------------------------------------------------------


def _make(link: Link, payload: Payload, place: Path, checkpoint: bytes | None, pixels: int | None) -> Made | None:
    """The Made of a job, or None where it was asked to stop, and its checkpoint is sent.

    It says `note` with a line, `begun` and `epoch` with (stage, epochs done, total loss) and
    `checkpoint` with a checkpoint's bytes.
    """
    folder = place / "checkpoint"
    if checkpoint:
        folder.mkdir()
        (folder / generations.first()).write_bytes(checkpoint)
    reporter = _Progress(link)
    with pixels_allowed(pixels), warnings_to(reporter.note):
        job = payload.unpacked(place)
        run = prepare(_of_precision(job, folder), reporter, trunk=payload.trunk)
    kept, sender = Checkpoint(folder, _EVERY, reporter.note), _Sender(folder, link)
    with kept:
        state = kept.load(run, replace=True)
        result = carry_out(run, Observers([reporter, kept, sender]), state, link.is_asked)
    if result.status == Status.INTERRUPTED:
        sender.send()
        return None
    if not result.complete:
        raise NSTError(result.note)
    seconds = round(result.seconds, 2)
    told = {"name": payload.name, "sha256": payload.asked, "loss": result.loss, "seconds": seconds}
    # With the names of its files as they are where it was asked for.
    made = json.loads(payload.in_words(json.dumps(result.provenance), place))
    result = dataclasses.replace(result, provenance={**made, "job": told})
    picture, losses = place / "picture.png", place / "losses.csv"
    result.save(picture)
    result.save_losses(losses)
    return Made(picture.read_bytes(), losses.read_bytes())


def _of_precision(job: Job, folder: Path) -> Job:
    """The job in the precision that its checkpoint was begun in, on another kind of processor, as far as there is one
    here."""
    assert isinstance(job.recipe, Recipe)
    if job.recipe.precision == "auto":
        with contextlib.suppress(InputError, KeyError, TypeError):
            found = generations.Generations(folder, str).newest()
            begun = found["state"]["made"]["recipe"]["precision"]
            precision = choose_precision(begun, choose_device(job.device))
            return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, precision=precision))
    return job


class _Progress(Reporter):
    """Says how far the run has come."""

    def begin(self, run: Run) -> None:
        self._link.put("begun", (1, 0, None))

    def state(self, state: State) -> None:
        last = state.record[-1]
        self._link.put("epoch", (last.stage, last.epoch + 1, last.losses.total))


class _Sender(Observer):
    """Sends each checkpoint that is written."""

    def __init__(self, folder: Path, link: Link) -> None:
        self._folder, self._link = folder, link
        self._sent: Any = None

    def state(self, state: State) -> None:
        self.send()

    def send(self) -> None:
        """Send the newest, unless it was sent."""
        newest = max(self._folder.glob(generations.pattern()), default=None)
        if newest is None or newest == self._sent:
            return
        if newest.stat().st_size > _MOST_SENT:
            if self._sent is None:
                self._link.put(
                    "note", "its checkpoints are too large to be sent; where its worker is lost it begins anew"
                )
        else:
            self._link.put("checkpoint", newest.read_bytes())
        self._sent = newest
