"""The scheduler: starts a process for each run of the fair queue.

There is at most one process for each worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Callable, NamedTuple

from gluon_nst.errors import NSTError, reason
from gluon_nst.lab.web.estimates import DurationEstimator
from gluon_nst.lab.web.fair_queue import FairQueue
from gluon_nst.lab.web.models import HALT_COMMANDS, LOST, PAUSED, WAITING, WORKING, LabRun
from gluon_nst.lab.web.processes import WorkerProcess
from gluon_nst.lab.web.store import Store
from gluon_nst.losses.records import FINISHED, Status

_SHUTDOWN_TIMEOUT = 60
"""Seconds that processes may take to save their runs when the lab closes."""
_MEASURABLE_SHARE = 0.1
"""Finished share after which a run's own speed is a better estimate of the rest."""
_REPORTED = ("epochs", "done", "share", "seconds", "shown", "turns", "pictured")
"""Fields of `LabRun` that the messages of its process update."""


class Forecast(NamedTuple):
    """The forecast of an active run."""

    position: int
    """Position in the queue, from 1; 0 for a run with a process."""
    starts_in: float
    """Seconds until its process is started."""
    remaining: float
    """Seconds from then on, or from now on for a run with a process."""


class Scheduler:
    """Executes runs in one event loop.

    - `task_of` returns the task that the process of a run gets (see `worker.Worker`).
    - `workers` is the maximum number of processes, `threads` the number of threads of each.
    - `on_change` is called after every change.
    """

    def __init__(
        self,
        store: Store,
        task_of: Callable[[LabRun], dict[str, Any]],
        workers: int,
        threads: int,
        on_change: Callable[[], Any],
    ) -> None:
        self._store, self._task_of, self._on_change = store, task_of, on_change
        self.workers, self.threads = workers, threads
        self.estimator = DurationEstimator()
        self._queue = FairQueue()
        self._waiting: dict[str, LabRun] = {}
        self._running: dict[str, LabRun] = {}
        self._processes: dict[str, WorkerProcess] = {}
        self._start_times: dict[str, float] = {}  # of running runs, on the monotonic clock
        self._halt_notes: dict[str, str] = {}  # of runs with a halt command, by run
        self._unsent: dict[str, list[dict[str, Any]]] = {}  # commands for processes that are being started
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open = True

    # -- the queue ----------------------------------------------------------------------------------------------------

    def enqueue(self, run: LabRun) -> None:
        """Add a run to the queue."""
        self._waiting[run.id] = run
        self._queue.add(run.id, run.student, self._remaining(run), run.since)
        self._start_next()

    def dequeue(self, run: LabRun) -> None:
        """Remove a run from the queue, if it is there."""
        if self._waiting.pop(run.id, None):
            self._queue.remove(run.id)
            self._on_change()

    @property
    def queue_length(self) -> int:
        """The number of waiting runs."""
        return len(self._queue)

    def forecasts(self) -> dict[str, Forecast]:
        """Return the forecast of each active run, by id."""
        remaining = {id: self._remaining(run) for id, run in (*self._waiting.items(), *self._running.items())}
        running = {id: Forecast(0, 0.0, remaining[id]) for id in self._running}
        queued = self._queue.forecast([remaining[id] for id in self._running], self.workers, remaining.__getitem__)
        return {**running, **{id: Forecast(*forecast, remaining[id]) for id, forecast in queued.items()}}

    def _remaining(self, run: LabRun) -> float:
        """Return the remaining seconds of a run, including the startup of its process."""
        now = time.monotonic()
        startup = max(self.estimator.startup - (now - self._start_times.get(run.id, now)), 0.0)
        if run.share > _MEASURABLE_SHARE:
            return startup + run.seconds / run.share * (1 - run.share)
        return startup + run.expected * self.estimator.correction * (1 - run.share)

    def _start_next(self) -> None:
        """Start as many waiting runs as there are free workers."""
        while self._open and len(self._tasks) < self.workers:
            id = self._queue.pop()
            if id is None:
                break
            run = self._running[id] = self._waiting.pop(id)
            self._start_times[id] = time.monotonic()
            task = asyncio.get_running_loop().create_task(self._execute(run))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        self._on_change()

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._start_next()

    # -- one run ------------------------------------------------------------------------------------------------------

    async def _execute(self, run: LabRun) -> None:
        seconds_before = run.seconds
        self.set_status(run, WORKING)
        end_message: dict[str, Any] = {}
        exit_status, process = "before it started", None
        try:
            process = await WorkerProcess.start(self._store.run_folder(run), self._task_of(run), self.threads)
            self._processes[run.id] = process
            for command in self._unsent.pop(run.id, []):
                process.send(**command)
            if not self._open:  # the lab was closed meanwhile
                process.request_shutdown()
            async for message in process.messages():
                self._handle(run, message)
                end_message = message if message["event"] == "ended" else end_message
            exit_status = await process.wait()
        except OSError as error:
            note = f"the process did not start ({error.strerror}); resume the run later"
            end_message = {"status": LOST, "note": note}
        except Exception as error:  # the other runs must not be affected
            end_message = {"status": Status.FAILED, "note": f"the process did not start: {reason(error)}"}
        finally:
            if process:
                process.kill()  # if it still runs, its messages are no longer read
            self._processes.pop(run.id, None)
            self._unsent.pop(run.id, None)
            del self._running[run.id]
            total_seconds = time.monotonic() - self._start_times.pop(run.id)
            halt_note = self._halt_notes.pop(run.id, None)
        self._queue.finish(run.id, total_seconds)
        if not end_message:
            note = f"the process of this run ended {exit_status}; the run can be resumed from its last checkpoint"
            self.set_status(run, LOST, note)
        elif self._open or end_message["status"] != PAUSED or halt_note is not None:
            self.set_status(run, end_message["status"], end_message["note"] or halt_note or "")
        else:  # paused by the shutdown, not by its student: it resumes when the lab is opened again
            self.set_status(run, WORKING, run.note)
        if end_message.get("status") in FINISHED:
            self._store.remove_checkpoint(run)
        if seconds_before == 0 and run.share > _MEASURABLE_SHARE:  # also of a run that was stopped, or converged early
            self.estimator.add_run(run.expected * run.share, run.seconds, total_seconds)

    def _handle(self, run: LabRun, message: dict[str, Any]) -> None:
        """Update a run by a message of its process."""
        for name in _REPORTED:
            if name in message:
                setattr(run, name, message[name])
        confirmed = message.get("weights", {})
        run.weights = {name: weight for name, weight in run.weights.items() if confirmed.get(name) != weight}
        run.note = message.get("note", run.note)
        if message["event"] in ("started", "steered", "saved"):  # the checkpoint has changed
            self.set_status(run, run.status, run.note)
        self._on_change()

    def set_status(self, run: LabRun, status: str, note: str = "") -> None:
        """Set the status of a run, in memory and, unless the disk is full, on disk."""
        run.status, run.note = status, note
        with contextlib.suppress(NSTError, OSError):
            self._store.save_run(run)
        self._on_change()

    # -- commands -----------------------------------------------------------------------------------------------------

    def is_running(self, run: LabRun) -> bool:
        """Whether a run has a process, or one is being started."""
        return run.id in self._running

    def halt(self, run: LabRun, command: str, note: str = "") -> None:
        """`pause` or `stop` a run after the current epoch."""
        if run.status == WAITING and run.id in self._waiting:
            self.dequeue(run)
            self.set_status(run, HALT_COMMANDS[command], note)
        else:
            self._halt_notes[run.id] = note
            self.send(run, do=command)

    def send(self, run: LabRun, **command: Any) -> None:
        """Send a command to the process of a run, if it has one."""
        if run.id in self._processes:
            self._processes[run.id].send(**command)
        elif run.id in self._running:
            self._unsent.setdefault(run.id, []).append(command)

    async def close(self) -> None:
        """Let all processes save their runs and exit."""
        self._open = False
        for process in self._processes.values():
            process.request_shutdown()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_SHUTDOWN_TIMEOUT)
        for process in self._processes.values():
            process.kill()
