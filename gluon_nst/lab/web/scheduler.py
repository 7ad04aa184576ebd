"""The workshop: the line of runs, and the processes that carry them out, as many at once as there are workers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Callable, NamedTuple

from gluon_nst.errors import NSTError, reason
from gluon_nst.lab.web.estimates import Expectation
from gluon_nst.lab.web.fair_queue import Line
from gluon_nst.lab.web.models import HALTS, LOST, PAUSED, WAITING, WORKING, Ticket
from gluon_nst.lab.web.processes import WorkerProcess
from gluon_nst.lab.web.store import Store
from gluon_nst.losses.records import FINISHED

_PATIENCE = 60
"""Seconds that the runs at work may take to save what they have come to, when the lab ends."""
_ENOUGH = 0.1
"""The share of its work after which a run's own speed says more than an estimate."""


class Forecast(NamedTuple):
    """What is expected of a run that waits or is at work."""

    place: int
    """Its place in the line, from 1; 0 at work."""
    starts: float
    """Seconds until it is served."""
    left: float
    """Seconds that it takes from then on, or still takes."""


class Workshop:
    """Carries tickets out, in one event loop.

    - `order_of` gives what the process of a ticket is told (see worker.Worker).
    - `threads` are those of each process, of which there are `workers` at most.
    - `changed` is called when there is something new.
    """

    def __init__(
        self,
        store: Store,
        order_of: Callable[[Ticket], dict[str, Any]],
        workers: int,
        threads: int,
        changed: Callable[[], Any],
    ) -> None:
        self._store, self._order_of, self._changed = store, order_of, changed
        self.workers, self.threads = workers, threads
        self.expectation = Expectation()
        self._line = Line()
        self._waiting: dict[str, Ticket] = {}
        self._at_work: dict[str, WorkerProcess] = {}
        self._working: dict[str, Ticket] = {}
        self._served_at: dict[str, float] = {}  # when a run at work was served, on the monotonic clock
        self._halted: dict[str, str] = {}  # why somebody was told to halt
        self._early: dict[str, list[dict[str, Any]]] = {}  # commands for processes that are still being started
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open = True

    # -- the line -----------------------------------------------------------------------------------------------------

    def join(self, ticket: Ticket) -> None:
        """A ticket comes into the line."""
        self._waiting[ticket.id] = ticket
        self._line.join(ticket.id, ticket.student, self._left(ticket), ticket.since)
        self._serve()

    def leave(self, ticket: Ticket) -> None:
        """A ticket is no longer wanted."""
        if self._waiting.pop(ticket.id, None):
            self._line.leave(ticket.id)
            self._changed()

    @property
    def waiting(self) -> int:
        """How many tickets are in the line."""
        return len(self._line)

    def forecasts(self) -> dict[str, Forecast]:
        """What is expected of each run that waits or is at work, by its name."""
        left = {name: self._left(ticket) for name, ticket in (*self._waiting.items(), *self._working.items())}
        found = {name: Forecast(0, 0.0, left[name]) for name in self._working}
        expected = self._line.expected([left[name] for name in self._working], self.workers, left.__getitem__)
        return {**found, **{name: Forecast(*where, left[name]) for name, where in expected.items()}}

    def _left(self, ticket: Ticket) -> float:
        """Seconds that a run still takes: for the start of its process, and for its epochs."""
        now = time.monotonic()
        starting = max(self.expectation.start - (now - self._served_at.get(ticket.id, now)), 0.0)
        if ticket.share > _ENOUGH:
            return starting + ticket.seconds / ticket.share * (1 - ticket.share)
        return starting + ticket.expected * self.expectation.factor * (1 - ticket.share)

    def _serve(self) -> None:
        """Serve as many of the line as there are workers free."""
        while self._open and len(self._tasks) < self.workers:
            name = self._line.serve()
            if name is None:
                break
            ticket = self._working[name] = self._waiting.pop(name)
            self._served_at[name] = time.monotonic()
            task = asyncio.get_running_loop().create_task(self._carry_out(ticket))
            self._tasks.add(task)
            task.add_done_callback(self._served)
        self._changed()

    def _served(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._serve()

    # -- one run ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, ticket: Ticket) -> None:
        before = ticket.seconds
        self.put(ticket, WORKING)
        ended: dict[str, Any] = {}
        how, worker = "before it began", None
        try:
            worker = await WorkerProcess.start(self._store.of_ticket(ticket), self._order_of(ticket), self.threads)
            self._at_work[ticket.id] = worker
            for command in self._early.pop(ticket.id, []):
                worker.tell(**command)
            if not self._open:  # the lab has closed meanwhile
                worker.let_go()
            async for said in worker.said():
                self._hear(ticket, said)
                ended = said if said["is"] == "ended" else ended
            how = await worker.end()
        except OSError as error:
            ended = {"status": LOST, "note": f"its process did not start ({error.strerror}); go on a little later"}
        except Exception as error:  # whatever it is, the line goes on
            ended = {"status": "failed", "note": f"its process did not start: {reason(error)}"}
        finally:
            if worker:
                worker.kill()  # where it has not ended, nobody listens any more
            self._at_work.pop(ticket.id, None)
            self._early.pop(ticket.id, None)
            del self._working[ticket.id]
            took = time.monotonic() - self._served_at.pop(ticket.id)
            halted = self._halted.pop(ticket.id, None)
        self._line.ended(ticket.id, took)
        if not ended:
            self.put(ticket, LOST, f"the process of this run ended {how}; it can go on from where it was last saved")
        elif self._open or ended["status"] != PAUSED or halted is not None:
            self.put(ticket, ended["status"], ended["note"] or halted or "")
        else:  # nobody has paused it: it goes on when the lab does
            self.put(ticket, WORKING, ticket.note)
        if ended.get("status") in FINISHED:
            self._store.forget_state(ticket)
        if before == 0 and ticket.share > _ENOUGH:  # also of a run that was stopped, or has settled early
            self.expectation.learn(ticket.expected * ticket.share, ticket.seconds, took)

    def _hear(self, ticket: Ticket, said: dict[str, Any]) -> None:
        """What a process says of its run."""
        for name in ("epochs", "done", "share", "seconds", "shown", "turns", "pictured"):
            if name in said:
                setattr(ticket, name, said[name])
        taken = said.get("weights", {})
        ticket.weights = {name: weight for name, weight in ticket.weights.items() if taken.get(name) != weight}
        ticket.note = said.get("note", ticket.note)
        if said["is"] in ("begun", "steered", "saved"):  # as much as the run goes on from is known of it then
            self.put(ticket, ticket.status, ticket.note)
        self._changed()

    def put(self, ticket: Ticket, status: str, note: str = "") -> None:
        """A ticket has another status, here and on disk; where the disk is full, here."""
        ticket.status, ticket.note = status, note
        with contextlib.suppress(NSTError, OSError):
            self._store.keep_ticket(ticket)
        self._changed()

    # -- what is done to it -------------------------------------------------------------------------------------------

    def works_at(self, ticket: Ticket) -> bool:
        """Whether a ticket is being carried out."""
        return ticket.id in self._working

    def halt(self, ticket: Ticket, how: str, note: str = "") -> None:
        """A ticket is to `pause`, or to `stop`, as soon as its epoch is done."""
        if ticket.status == WAITING and ticket.id in self._waiting:
            self.leave(ticket)
            self.put(ticket, HALTS[how], note)
        else:
            self._halted[ticket.id] = note
            self.tell(ticket, do=how)

    def tell(self, ticket: Ticket, **command: Any) -> None:
        """Send a command to the process of a ticket, where it has one."""
        if ticket.id in self._at_work:
            self._at_work[ticket.id].tell(**command)
        elif ticket.id in self._working:
            self._early.setdefault(ticket.id, []).append(command)

    async def end(self) -> None:
        """Let every run save what it has come to."""
        self._open = False
        for worker in self._at_work.values():
            worker.let_go()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
        for worker in self._at_work.values():
            worker.kill()
