"""The process of one run of the lab: it does what is in the run's folder, listens to the server, and hands its State
over through files.

Commands come as JSON lines on standard input, `{"do": "pause"}`, `stop` or `weights`; the end of input, when the server
is gone, is a pause. What happens goes out as JSON lines on standard output.
"""

from __future__ import annotations

import contextlib
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
from gluon_nst.errors import NSTError, one_line, reason
from gluon_nst.lab.web.models import DISK_FULL, GOES_ON, HALTS, LOST
from gluon_nst.lab.web.publisher import Publisher
from gluon_nst.lab.web.request_bodies import Asked
from gluon_nst.lab.web.store import LOSSES, PICTURE, RECIPE, RECORD, STATE
from gluon_nst.losses.records import FINISHED
from gluon_nst.machine.files import lock, written_whole
from gluon_nst.pictures.decoding import pixels_allowed
from gluon_nst.runs.checkpoint import container, trees
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import steps
from gluon_nst.runs.provenance import as_text
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.runs.steering import steer, with_changes

_SAVED_EVERY = 10.0
"""Seconds between two States on disk: as much is lost of a process that is killed."""
_PREDECESSOR = 60
"""Seconds to wait for the process of the same run that a killed server has left: it sees that, and ends."""


class Worker:
    """The run in a `folder`. `order` says what it is.

    It has `asked`; the `paths` and the `labels` of its pictures; weights that were `changed` while it did not work; the
    limits `pixels` and `minutes`; and what its `job` has beside.
    """

    def __init__(self, folder: Path, order: dict[str, Any], answers: TextIO) -> None:
        self._folder, self._order, self._answers = folder, order, answers
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._publisher = Publisher(folder)
        self._state, self._saved, self._told = State(), time.monotonic(), 0.0
        self._taken: dict[str, float] = {}

    def listen(self, commands: TextIO) -> None:
        """Take commands, in a thread of their own, until there are no more."""

        def read() -> None:
            for line in commands:
                with contextlib.suppress(ValueError):
                    self._commands.put(json.loads(line))
            self._commands.put({"do": "pause"})

        threading.Thread(target=read, daemon=True).start()

    def tell(self, kind: str, **values: Any) -> None:
        """Let the server know; it may be gone."""
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps({"is": kind, **values}), file=self._answers, flush=True)

    # -- the run ------------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Do the run, from where it is, until its end, or until it is told to stop."""
        try:
            run = self._prepared()
            self._publisher.begin(run)
            self.tell("begun", epochs=self._publisher.epochs, done=len(self._state.record), **self._turned(run))
            run, status = self._steps(run)
            self._publisher.publish(self._state)
            self._keep(run, status)
        except NSTError as error:
            self._end("failed", self._in_words(one_line(error)))
        except Exception as error:  # MXNet's own
            self._end("failed", self._in_words(reason(error)))

    def _prepared(self) -> Run:
        """The run as its student asked for it, or, where it has begun, as it was saved."""
        asked, paths = Asked.of(self._order["asked"]), self._order["paths"]
        recipe, weights = asked.customised(), self._order["changed"]
        saved = self._folder / STATE
        kept = container.read(saved) if saved.exists() else None
        if weights and not kept:
            recipe, weights = recipes.customise(recipe, **weights), {}
        with pixels_allowed(self._order["pixels"]):
            job = Job(paths[asked.content], asked.styles_of(paths), recipe, seed=asked.seed, **self._order["job"])
            run = prepare(job)
        if kept:
            run = with_changes(run, tuple(recipes.Change(**change) for change in kept["changes"]))
            self._state = trees.of_tree(kept["state"], run)
        if weights:
            run = steer(run, self._state, **weights)
        if self._order["changed"]:
            self._take(run, self._order["changed"])
        return run

    def _take(self, run: Run, weights: dict[str, float]) -> None:
        """Save a run that has other weights now: only then the server may forget them."""
        self._taken = weights if self._save_if_there_is_room(run) else {}

    def _turned(self, run: Run) -> dict[str, Any]:
        """What the server is told of the weights that a run has taken."""
        return {"weights": self._taken, "turns": len(run.recipe.changes)}

    def _steps(self, run: Run) -> tuple[Run, str]:
        """Take the steps that are left; gives the run, as it was steered, and how it ended: PAUSED, or a Result's
        status."""
        while True:
            steered = False
            for state in steps(run, self._state):
                self._follow(run, state)
                weights, halt = self._told_to()
                if weights and state.status == "running":
                    run, steered = steer(run, state, **weights), True
                    self._publisher.begin(run)
                    self._publisher.publish(state, moment=False)
                    self._take(run, weights)
                    self.tell("steered", **self._turned(run))
                if halt and state.status == "running":
                    return run, halt
                if steered:
                    break
                if state.seconds > self._order["minutes"] * 60 and state.status == "running":
                    state.note = (
                        f"it has computed for {self._order['minutes']:g} minutes, which is as long as the lab allows"
                    )
                    return run, "interrupted"
            if not steered:
                return run, self._state.status

    def _told_to(self) -> tuple[dict[str, float], str]:
        """What the commands that have come ask for together: other weights, and how to halt, if so."""
        weights: dict[str, float] = {}
        halt = ""
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return weights, halt
            if command.get("do") == "weights":
                weights.update(command["weights"])
            elif command.get("do") == "stop" or (command.get("do") == "pause" and not halt):
                halt = HALTS[command["do"]]

    def _follow(self, run: Run, state: State) -> None:
        self._publisher.state(state)
        now = time.monotonic()
        if now - self._told > 0.5 or state.status != "running":
            self._told = now
            self.tell(
                "epoch",
                done=len(state.record),
                seconds=round(state.seconds, 1),
                share=round(self._publisher.share(state), 4),
                shown=self._publisher.shown,
                note=self._publisher.missed,
            )
        if now - self._saved > _SAVED_EVERY:
            self._save_if_there_is_room(run)

    # -- what stays ---------------------------------------------------------------------------------------------------

    def save(self, run: Run) -> None:
        """Write what the run goes on from: its State, and how it was steered."""
        changes = run.recipe.as_dict().get("changes", [])
        container.write(self._folder / STATE, {"state": trees.as_tree(self._state), "changes": changes})
        self._saved = time.monotonic()
        self.tell("saved")

    def _save_if_there_is_room(self, run: Run) -> bool:
        """`save`, but on a full disk, where there will be another time; tells whether it is saved."""
        try:
            self.save(run)
        except (NSTError, OSError):
            self._saved = time.monotonic()
            return False
        return True

    def _keep(self, run: Run, status: str) -> None:
        """Write what stays of the run, and say how it ended. Where there is no room it can go on from where it was last
        saved."""
        note = self._state.note
        result = Result.of(run, self._state) if self._state.record else None
        saved = status not in GOES_ON or self._save_if_there_is_room(run)
        try:
            if result:
                self._keep_result(result)
        except (NSTError, OSError):
            saved, status = False, LOST if status in FINISHED else status
        self._end(status, note if saved else DISK_FULL)

    def _keep_result(self, result: Result) -> None:
        """Write the picture, its losses, its recipe and its record."""
        result.save(self._folder / PICTURE)
        result.save_losses(self._folder / LOSSES)
        _write(self._folder / RECIPE, recipes.as_toml(result.recipe))
        _write(self._folder / RECORD, as_text(result.provenance))

    def _end(self, status: str, note: str) -> None:
        done, seconds = len(self._state.record), round(self._state.seconds, 1)
        pictured = (self._folder / PICTURE).exists()
        shown = self._publisher.shown
        self.tell("ended", status=status, note=note, done=done, seconds=seconds, pictured=pictured, shown=shown)

    def _in_words(self, line: str) -> str:
        """The line of an error with the pictures' names in it, and nothing of where the lab keeps them."""
        for name, path in self._order["paths"].items():
            line = line.replace(path, self._order["labels"].get(name, name))
        return line.replace(f"{self._folder}/", "")


def _write(path: Path, text: str) -> None:
    with written_whole(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Do the run in the folder that the command names, as the first line of standard input orders it."""
    folder = Path(sys.argv[1])
    os.nice(10)  # whoever clicks is answered first
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anything prints is not to come between the answers
    worker = Worker(folder, json.loads(sys.stdin.readline()), answers)
    try:
        held = lock(folder / "lock", _PREDECESSOR)
        worker.listen(sys.stdin)
        worker.carry_out()
        held.release()
    except Timeout:
        worker.tell("ended", status="lost", note="another process is still at this run; go on a little later")
    os._exit(0)  # where MXNet has failed, what it does at the end of a process may crash
