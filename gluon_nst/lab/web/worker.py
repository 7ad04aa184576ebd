"""The process of a run: computes it in its folder, and reports to the server.

The first line of standard input is the task, as JSON. Further lines are commands: `{"do": "pause"}`, `stop`, or
`weights` with the new `weights`. The end of the input, when the server has exited, means `pause`. Messages go to
standard output as JSON lines, each with its `event`: `started`, `progress`, `steered`, `saved`, `ended`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from filelock import Timeout

from gluon_nst import recipes
from gluon_nst.errors import InputError, NSTError, one_line, reason
from gluon_nst.lab.web.models import DISK_FULL, HALT_COMMANDS, LOST, RESUMABLE
from gluon_nst.lab.web.publisher import Publisher
from gluon_nst.lab.web.request_bodies import RunRequest
from gluon_nst.lab.web.store import LOSSES, PICTURE, RECIPE, RECORD, STATE
from gluon_nst.losses.records import FINISHED, Status
from gluon_nst.machine.files import lock, written_whole
from gluon_nst.pictures.decoding import pixels_allowed
from gluon_nst.runs.checkpoint import container
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import steps
from gluon_nst.runs.provenance import as_text
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.runs.steering import steer, with_changes

_CHECKPOINT_INTERVAL = 10.0
"""Seconds between two checkpoints, the most that a killed process loses."""
_PROGRESS_INTERVAL = 0.5
"""Minimum seconds between two messages `progress`."""
_LOCK_TIMEOUT = 60
"""Seconds to wait for another process of the same run, which a killed server has left: it notices that and exits."""


class Worker:
    """The run in a `folder`, as its `task` describes it.

    The task has the `request`; `paths` and `labels` of the pictures by id; `new_weights` that were changed while there
    was no process; the limits `max_pixels` and `max_minutes`; and `job_options`, further arguments of the Job.
    """

    def __init__(self, folder: Path, task: dict[str, Any], output: TextIO) -> None:
        self._folder, self._task, self._output = folder, task, output
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._publisher = Publisher(folder)
        self._state, self._saved_at, self._reported_at = State(), time.monotonic(), 0.0
        self._confirmed_weights: dict[str, float] = {}

    def listen(self, commands: TextIO) -> None:
        """Read commands in a thread until the end of the input."""

        def read() -> None:
            for line in commands:
                with contextlib.suppress(ValueError):
                    self._commands.put(json.loads(line))
            self._commands.put({"do": "pause"})

        threading.Thread(target=read, daemon=True).start()

    def send(self, event: str, **values: Any) -> None:
        """Send a message to the server, if it still runs."""
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps({"event": event, **values}), file=self._output, flush=True)

    # -- the run ------------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Start or resume the run, and compute until it finishes or a command halts it."""
        try:
            run = self._prepare()
            gc.freeze()  # exclude the imported modules: scanning them before each stage takes 0.3 s in total
            self._publisher.begin(run)
            epochs, done = self._publisher.epochs, len(self._state.record)
            self.send("started", epochs=epochs, done=done, **self._weights_status(run))
            run, status = self._compute(run)
            self._publisher.publish(self._state)
            self._save_result(run, status)
        except NSTError as error:
            self._send_ended(Status.FAILED, self._with_labels(one_line(error)))
        except Exception as error:  # of MXNet
            self._send_ended(Status.FAILED, self._with_labels(reason(error)))

    def _prepare(self) -> Run:
        """Prepare the run: from its checkpoint, or, if there is none, from the request."""
        request, paths = RunRequest.from_json(self._task["request"]), self._task["paths"]
        recipe, weights = request.customised_recipe(), self._task["new_weights"]
        path = self._folder / STATE
        try:
            checkpoint = container.read(path) if path.exists() else None
        except container.OtherFormat:
            raise InputError("saved by another version of gluon-nst, it can't be resumed; start a new run") from None
        if weights and not checkpoint:
            recipe, weights = recipes.customise(recipe, **weights), {}
        with pixels_allowed(self._task["max_pixels"]):
            content, styles, options = paths[request.content], request.job_styles(paths), self._task["job_options"]
            run = prepare(Job(content, styles, recipe, seed=request.seed, **options))
        if checkpoint:
            run = with_changes(run, tuple(recipes.Change(**change) for change in checkpoint["changes"]))
            self._state = container.restored(checkpoint["state"], State)
        if weights:
            run = steer(run, self._state, **weights)
        if self._task["new_weights"]:
            self._confirm_weights(run, self._task["new_weights"])
        return run

    def _confirm_weights(self, run: Run, weights: dict[str, float]) -> None:
        """Save a run with changed weights, and confirm them only then.

        The server forgets confirmed changes.
        """
        self._confirmed_weights = weights if self._try_save(run) else {}

    def _weights_status(self, run: Run) -> dict[str, Any]:
        """Return the values that confirm weights in a message."""
        return {"weights": self._confirmed_weights, "turns": len(run.recipe.changes)}

    def _compute(self, run: Run) -> tuple[Run, str]:
        """Compute the remaining epochs; return the run and its status.

        The run has its weight changes.
        """
        while True:
            steered = False
            for state in steps(run, self._state):
                self._report(run, state)
                weights, halt_status = self._read_commands()
                if weights and state.status == Status.RUNNING:
                    run, steered = steer(run, state, **weights), True
                    self._publisher.begin(run)
                    self._publisher.publish(state, snapshot=False)
                    self._confirm_weights(run, weights)
                    self.send("steered", **self._weights_status(run))
                if halt_status and state.status == Status.RUNNING:
                    return run, halt_status
                if steered:
                    break
                minutes = self._task["max_minutes"]
                if state.seconds > minutes * 60 and state.status == Status.RUNNING:
                    state.note = f"the run has reached the lab's limit of {minutes:g} minutes"
                    return run, Status.INTERRUPTED
            if not steered:
                return run, self._state.status

    def _read_commands(self) -> tuple[dict[str, float], str]:
        """Return the changed weights of new commands, and a halt command's status or ""."""
        weights: dict[str, float] = {}
        halt_status = ""
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return weights, halt_status
            if command.get("do") == "weights":
                weights.update(command["weights"])
            elif command.get("do") == "stop" or (command.get("do") == "pause" and not halt_status):
                halt_status = HALT_COMMANDS[command["do"]]

    def _report(self, run: Run, state: State) -> None:
        self._publisher.state(state)
        now = time.monotonic()
        if now - self._reported_at > _PROGRESS_INTERVAL or state.status != Status.RUNNING:
            self._reported_at = now
            self.send(
                "progress",
                done=len(state.record),
                seconds=round(state.seconds, 1),
                share=round(self._publisher.finished_share(state), 4),
                shown=self._publisher.shown,
                note=self._publisher.error,
            )
        if now - self._saved_at > _CHECKPOINT_INTERVAL:
            self._try_save(run)

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self, run: Run) -> None:
        """Write the checkpoint: the State and the weight changes."""
        changes = run.recipe.as_dict().get("changes", [])
        container.write(self._folder / STATE, {"state": self._state, "changes": changes})
        self._saved_at = time.monotonic()
        self.send("saved")

    def _try_save(self, run: Run) -> bool:
        """Write the checkpoint; return False if the disk is full, to try again later."""
        try:
            self.save(run)
        except (NSTError, OSError):
            self._saved_at = time.monotonic()
            return False
        return True

    def _save_result(self, run: Run, status: str) -> None:
        """Write the results, and send the final status.

        If the disk is full, the run can resume from its checkpoint.
        """
        note = self._state.note
        result = Result.of(run, self._state) if self._state.record else None
        saved = status not in RESUMABLE or self._try_save(run)
        try:
            if result:
                self._write_result(result)
        except (NSTError, OSError):
            saved, status = False, LOST if status in FINISHED else status
        self._send_ended(status, note if saved else DISK_FULL)

    def _write_result(self, result: Result) -> None:
        """Write the picture, its losses, its recipe and its record."""
        result.save(self._folder / PICTURE)
        result.save_losses(self._folder / LOSSES)
        _write(self._folder / RECIPE, recipes.as_toml(result.recipe))
        _write(self._folder / RECORD, as_text(result.provenance))

    def _send_ended(self, status: str, note: str) -> None:
        done, seconds = len(self._state.record), round(self._state.seconds, 1)
        pictured = (self._folder / PICTURE).exists()
        shown = self._publisher.shown
        self.send("ended", status=status, note=note, done=done, seconds=seconds, pictured=pictured, shown=shown)

    def _with_labels(self, line: str) -> str:
        """Return an error's line with the pictures' labels in place of the lab's paths."""
        for id, path in self._task["paths"].items():
            line = line.replace(path, self._task["labels"].get(id, id))
        return line.replace(f"{self._folder}/", "")


def _write(path: Path, text: str) -> None:
    with written_whole(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Execute the run in the folder on the command line.

    The task is the first line of standard input.
    """
    folder = Path(sys.argv[1])
    os.nice(10)  # the server's answers to clicks come first
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that prints do not mix with the messages
    worker = Worker(folder, json.loads(sys.stdin.readline()), output)
    try:
        run_lock = lock(folder / "lock", _LOCK_TIMEOUT)
        worker.listen(sys.stdin)
        worker.execute()
        run_lock.release()
    except Timeout:
        worker.send("ended", status=LOST, note="another process still computes this run; resume it later")
    os._exit(0)  # after a failure of MXNet, its cleanup at exit may crash
