"""Spread: one picture on many workers. They compute its windows; the statistics and the gradients come back, and the
optimiser is here.

The windows are those of the stage's plan, whoever is there, and what they give is added up in their order: who computes
what, and how often a worker is lost, changes only the time.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any, Callable

import numpy as np
from mxnet import nd, sym

from gluon_nst.cluster import windows, worker
from gluon_nst.cluster.pool import Crew, Lost
from gluon_nst.cluster.windows import WindowTask
from gluon_nst.engine.graph import Computing, PartGraph, add_window, sliced
from gluon_nst.engine.memory import Plan, spread_plan
from gluon_nst.engine.windows import Part
from gluon_nst.errors import NSTError
from gluon_nst.machine.trees import as_numpy
from gluon_nst.recipes import Stage
from gluon_nst.runs.run import Run
from gluon_nst.runs.targets import Targets
from gluon_nst.typing import NDArray, Symbol

SMALL = 640 * 640
"""Pixels of a stage that is computed here: what goes to and fro would take longer."""
_WAIT = 0.5
"""Seconds between two looks who is there."""
_PATIENCE, _OF_UNFIT = 600.0, 30.0
"""Seconds to wait for a worker where there is none any more, and where those that there are can't do it."""


class Spread:
    """The workers of a crew, as `loop.steps` takes them; their processes end with it. `say` is given a line for
    people."""

    def __init__(self, crew: Crew, say: Callable[[str], object] = str) -> None:
        self._crew, self._say, self._run = crew, say, uuid.uuid4().hex

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, *_: Any) -> None:
        for each in self._crew.workers():
            with contextlib.suppress(Lost, NSTError):
                self._crew.call(each, windows.close, self._run)

    def plan(self, run: Run, stage: Stage) -> Plan | None:
        """How a stage is computed by the workers that are there now; None where it is small, or there are none."""
        height, width = stage.shape
        workers = self._crew.workers()
        if height * width <= SMALL or not workers:
            return None
        memories = []
        for each in workers:
            with contextlib.suppress(Lost):
                memories.append(self._crew.call(each, worker.memory_of) or np.inf)
        return spread_plan(run.recipe, stage.shape, len(workers), min(memories, default=0))

    def parts(self, run: Run, stage: Stage, plan: Plan, targets: Targets) -> list[Computing]:
        """What computes the one part of a stage."""
        (part,) = plan.parts
        device = run.device.device_type if run.device.device_type == "cpu" else "auto"
        sent = windows.StagePayload(
            self._run,
            uuid.uuid4().hex,
            run.recipe,
            run.trunk,
            part,
            targets.content_X.shape,
            as_numpy(targets.styles_Y),
            as_numpy(targets.guides),
            device,
        )
        return [lambda source, gradient: _Part(self._crew, sent, targets.content_X, source, gradient, self._say)]


class _Part:
    """What a graph.Computed is, of windows that the workers compute."""

    onward = back = None

    def __init__(
        self,
        crew: Crew,
        stage: windows.StagePayload,
        content_X: NDArray,
        source: NDArray,
        gradient: NDArray,
        say: Callable[[str], object],
    ) -> None:
        self.part: Part = stage.part
        self.graph = PartGraph(source.context, self.part)
        self.input = self.graph.variable("X", self.graph.input(source, 1))
        self._source, self._gradient = source, gradient
        self._workers = _Workers(crew, stage, content_X, say)

    def bind(self, sums: list[Symbol], last: Symbol | None, parameters: dict[str, NDArray]) -> None:
        """What the `sums` are is for the workers; here they are added up."""
        _, shapes, _ = sym.Group(sums).infer_shape()
        self.sums = [nd.zeros(shape, ctx=self._source.context) for shape in shapes]

    def forward(self) -> None:
        """Have the sums of all windows computed, and add them up."""
        found = self._workers.sums(self._source)
        for place, total in enumerate(self.sums):
            total[:] = nd.array(sum(each[place] for each in found), ctx=total.context)

    def backward(self, of_sums: list[NDArray]) -> None:
        """Have the gradients of all windows computed, and add them up."""
        gradients = self._workers.gradients(self._source, [each.asnumpy() for each in of_sums])
        self._gradient[:] = 0
        for window, (gradient,) in zip(self.part.windows, gradients):
            add_window(self._gradient, window, nd.array(gradient, ctx=self._gradient.context))


class _Workers:
    """Who computes which window. Each keeps to the worker that has its content, unless another has nothing to do."""

    def __init__(
        self, crew: Crew, stage: windows.StagePayload, content_X: NDArray, say: Callable[[str], object]
    ) -> None:
        self._crew, self._stage, self._content_X, self._say = crew, stage, content_X, say
        self._windows = list(stage.part.windows)
        self._opened: set[str] = set()
        self._unfit: dict[str, str] = {}
        """Workers that can't, and why."""
        self._contents: dict[str, set[int]] = {}
        """The windows whose content each worker has."""
        self._at: dict[int, str] = {}
        """The worker that has computed each window last."""

    def sums(self, X: NDArray) -> list[list[np.ndarray]]:
        """Those of each window, in their order."""
        self._at = {number: at for number, at in self._at.items() if number in self._contents.get(at, ())}
        return self._each(X, None)

    def gradients(self, X: NDArray, of_sums: list[np.ndarray]) -> list[list[np.ndarray]]:
        """That of each window, in their order."""
        return self._each(X, of_sums)

    def _each(self, X: NDArray, of_sums: list[np.ndarray] | None) -> list[list[np.ndarray]]:
        found: dict[int, list[np.ndarray]] = {}
        tasks: dict[Any, tuple[int, str]] = {}
        alone, looked, workers = time.monotonic(), 0.0, []  # type: float, float, list[str]
        while len(found) < len(self._windows):
            if time.monotonic() - looked > _WAIT:
                looked, workers = time.monotonic(), self._ready()
                for future in [future for future, (_, at) in tasks.items() if at not in workers]:
                    self._lose(tasks.pop(future)[1])
                alone = looked if workers else alone
                if looked - alone > (_OF_UNFIT if self._unfit else _PATIENCE):
                    why = "; ".join(dict.fromkeys(self._unfit.values())) or "all are gone"
                    raise NSTError(
                        f"there is no worker for the windows ({why}); start some, and give the command again"
                    )
            left = set(range(len(self._windows))) - set(found) - {number for number, _ in tasks.values()}
            for each in workers:
                while left and sum(at == each for _, at in tasks.values()) < self._depth(len(workers)):
                    number = self._next(each, left, workers, of_sums is not None)
                    if number is None:
                        break
                    left.discard(number)
                    tasks[self._start(each, number, X, of_sums)] = number, each
            for future in self._crew.done(list(tasks), _WAIT):
                number, at = tasks.pop(future)
                try:
                    found[number] = future.result()
                except Exception as error:  # the process's own, or Dask's where the worker is gone
                    self._fail(at, error)
        return [found[number] for number in range(len(self._windows))]

    def _depth(self, workers: int) -> int:
        """How many windows a worker has at a time: with two the next one is on its way while one is computed."""
        return 2 if len(self._windows) > 2 * workers else 1

    def _next(self, at: str, left: set[int], workers: list[str], gradient: bool) -> int | None:
        """The window that a worker computes next: its own, or one that nobody has, or another's."""
        own = [number for number in sorted(left, reverse=gradient) if self._at.get(number) == at]
        if own:  # of the gradients the one first whose features are still there
            return own[0]
        free = [number for number in sorted(left) if self._at.get(number) not in workers]
        if free:
            return free[0]
        return None if gradient else self._from_another(left)

    def _from_another(self, left: set[int]) -> int | None:
        """One of the windows of whoever has the most left, if that is more than one."""
        of_each: dict[str, list[int]] = {}
        for number in sorted(left):
            of_each.setdefault(self._at[number], []).append(number)
        most = max(of_each.values(), key=len)
        return most[-1] if len(most) > 1 else None

    def _start(self, at: str, number: int, X: NDArray, of_sums: list[np.ndarray] | None) -> Any:
        rows, columns = (span.covered(1) for span in self._windows[number])
        has_content = number in self._contents[at]
        has_X = of_sums is not None and self._at.get(number) == at
        window = WindowTask(
            number,
            None if has_X else sliced(X, rows, columns).asnumpy(),
            None if has_content else sliced(self._content_X, rows, columns).asnumpy(),
            of_sums,
        )
        self._contents[at].add(number)
        self._at[number] = at
        return self._crew.start(at, windows.compute, self._stage.run, self._stage.name, window)

    # -- who is there -------------------------------------------------------------------------------------------------

    def _ready(self) -> list[str]:
        """The workers that are there, and have a process for the stage."""
        there = [each for each in self._crew.workers() if each not in self._unfit]
        new = [each for each in there if each not in self._opened]
        opening = {}
        for each in new:
            with contextlib.suppress(Lost):
                self._crew.bring(each, self._stage.trunk.sha256, str(self._stage.trunk.path))
                opening[self._crew.start(each, windows.open_stage, self._stage)] = each
        while opening:
            for future in self._crew.done(list(opening), _WAIT):
                each = opening.pop(future)
                try:
                    future.result()
                    self._opened.add(each)
                    self._contents[each] = set()
                except Exception as error:
                    self._fail(each, error)
            present = self._crew.workers()
            opening = {future: each for future, each in opening.items() if each in present}
        for each in self._opened - set(there):
            self._lose(each)
        return [each for each in there if each in self._opened]

    def _lose(self, at: str, why: str = "is lost") -> None:
        if at in self._opened:
            self._say(f"worker {at} {why}; the others do what it was at")
        self._opened.discard(at)
        self._contents[at] = set()
        self._at = {number: each for number, each in self._at.items() if each != at}

    def _fail(self, at: str, error: BaseException) -> None:
        """A task of a worker has failed: by itself, and then it would again, or because the worker is gone."""
        if isinstance(error, NSTError):
            self._unfit[at] = str(error)
            self._opened.add(at)
        self._lose(at, f"can't do it ({error})")
