"""One picture on many workers, and the optimiser on this machine.

The workers compute its windows and return sums and gradients. The windows are those of the stage's plan, whatever the
number of workers, and their results are added in a fixed order: the workers, and the loss of some, affect only the
time, not the result. Dask schedules each window on the worker that has its content picture, unless another worker is
idle.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any, Callable, Iterable, Iterator

import numpy as np
from mxnet import nd, sym

from gluon_nst.cluster import windows, worker
from gluon_nst.cluster.pool import Pool
from gluon_nst.cluster.windows import StagePayload, WorkerFailed
from gluon_nst.engine.graph import Computing, PartGraph, add_window, sliced
from gluon_nst.engine.memory import Plan, spread_plan
from gluon_nst.engine.windows import Part
from gluon_nst.errors import NSTError, reason
from gluon_nst.machine.trees import as_numpy
from gluon_nst.recipes import Stage
from gluon_nst.runs.run import Run
from gluon_nst.runs.targets import Targets
from gluon_nst.typing import NDArray, Symbol

SMALL = 640 * 640
"""Pixels up to which a stage is computed locally: sending its windows would take longer."""
_WAIT = 0.5
"""Seconds between two checks of the present workers."""
_PATIENCE, _PATIENCE_IF_FAILED = 600.0, 30.0
"""Seconds to wait for a worker if all are lost, and if all present ones have failed."""


class Spread:
    """The workers of a pool as remote evaluators of `loop.steps`.

    A context manager, whose exit ends their processes. `notify` is called with messages for the user.
    """

    def __init__(self, pool: Pool, notify: Callable[[str], object] = str) -> None:
        self._pool, self._notify = pool, notify
        self._processes: _Processes | None = None
        """The processes of the current stage."""

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._processes:
            self._processes.close()

    def plan(self, run: Run, stage: Stage) -> Plan | None:
        """Return the plan of a stage for the present workers.

        None if the stage is small, or there are no workers.
        """
        height, width = stage.shape
        workers = self._pool.workers()
        if height * width <= SMALL or not workers:
            return None
        limits = self._pool.run(worker.memory_limit, workers=workers).values()
        memories = [limit or np.inf for limit in limits if not isinstance(limit, Exception)]
        return spread_plan(run.recipe, stage.shape, len(workers), min(memories, default=0))

    def parts(self, run: Run, stage: Stage, plan: Plan, targets: Targets) -> list[Computing]:
        """Return the factory of the one part of a stage, which the workers compute."""
        (part,) = plan.parts
        device = run.device.device_type if run.device.device_type == "cpu" else "auto"
        payload = StagePayload(
            uuid.uuid4().hex,
            run.recipe,
            run.trunk,
            part,
            targets.content_X.shape,
            as_numpy(targets.styles_Y),
            as_numpy(targets.guides),
            device,
        )
        self.__exit__()
        processes = self._processes = _Processes(self._pool, payload, self._notify)
        return [lambda source, gradient: _Part(processes, payload, targets.content_X, source, gradient)]


class _Part:
    """A graph.Computed whose windows the workers compute."""

    onward = back = None

    def __init__(
        self, processes: _Processes, stage: StagePayload, content_X: NDArray, source: NDArray, gradient: NDArray
    ) -> None:
        self.part: Part = stage.part
        self.graph = PartGraph(source.context, self.part)
        self.input = self.graph.variable("X", self.graph.input(source, 1))
        self._source, self._gradient = source, gradient
        self._processes = processes
        self._evaluation = 0
        self._contents = [processes.pool.send(each) for each in self._in_windows(content_X)]
        self._Xs: list[Any] = []
        """The Dask Futures of the composite in the windows, each on the worker that has its content picture."""

    def _in_windows(self, array: NDArray) -> Iterator[np.ndarray]:
        for window in self.part.windows:
            rows, columns = (span.covered(1) for span in window)
            yield sliced(array, rows, columns).asnumpy()

    def bind(self, sums: list[Symbol], last: Symbol | None, parameters: dict[str, NDArray]) -> None:
        """Allocate the arrays in which the workers' `sums` are added up."""
        _, shapes, _ = sym.Group(sums).infer_shape()
        self.sums = [nd.zeros(shape, ctx=self._source.context) for shape in shapes]

    def forward(self) -> None:
        """Compute the sums of all windows on the workers, and add them up."""
        self._evaluation += 1
        windows_X = zip(self._in_windows(self._source), self._contents)
        self._Xs = [self._processes.pool.send(X, content) for X, content in windows_X]
        results = self._compute(range(len(self._Xs)), None)
        for place, total in enumerate(self.sums):
            total[:] = nd.array(sum(each[place] for each in results), ctx=total.context)

    def backward(self, of_sums: list[NDArray]) -> None:
        """Compute the gradients of all windows on the workers, and add them up."""
        # Last window first: its features are still in memory on its worker.
        sent = self._processes.pool.send([each.asnumpy() for each in of_sums])
        gradients = self._compute(reversed(range(len(self._Xs))), sent)
        self._gradient[:] = 0
        for window, (gradient,) in zip(self.part.windows, gradients):
            add_window(self._gradient, window, nd.array(gradient, ctx=self._gradient.context))

    def _compute(self, numbers: Iterable[int], of_sums: Any) -> list[list[np.ndarray]]:
        """Return the sums of each window, or its gradient, in the order of the windows.

        `numbers` is the order of computation.
        """
        return self._processes.compute(
            {number: (self._evaluation, self._Xs[number], self._contents[number], of_sums) for number in numbers}
        )


class _Processes:
    """The workers' processes for the windows of a stage."""

    def __init__(self, pool: Pool, stage: StagePayload, notify: Callable[[str], object]) -> None:
        self.pool, self._stage, self._notify = pool, stage, notify
        self._actors: dict[str, Any] = {}
        """The Dask Future of each worker's WindowProcess, by the worker's address."""
        self._failed: dict[str, str] = {}
        """The workers that have failed, with the reasons."""

    def close(self) -> None:
        """End the processes. If the scheduler is lost, they end by themselves."""
        with contextlib.suppress(NSTError):
            for actor in self._actors.values():
                self.pool.cancel(actor)
        self._actors.clear()

    def compute(self, tasks: dict[int, tuple[Any, ...]]) -> list[list[np.ndarray]]:
        """Return the results of `windows.compute`, in the order of the windows.

        `tasks` has the other arguments by the window's number, in the order of computation.
        """
        from distributed import KilledWorker

        results: dict[int, list[np.ndarray]] = {}
        while len(results) < len(tasks):
            ready = self._ready()
            futures = {
                self.pool.submit(windows.compute, self._stage.name, number, *tasks[number], workers=ready): number
                for number in tasks
                if number not in results
            }
            while futures and self._present().intersection(ready):
                for future in self.pool.done(list(futures), _WAIT):
                    number = futures.pop(future)
                    error = future.exception() if future.status == "error" else None
                    if isinstance(error, WorkerFailed):
                        self._lose(*error.args)
                    elif future.status == "finished":
                        result = self.pool.result(future)
                        if result is not None:
                            results[number] = result
                    elif error is not None and not isinstance(error, KilledWorker):
                        raise NSTError(reason(error))
            for future in futures:
                self.pool.cancel(future)
        return [results[number] for number in sorted(results)]

    def _ready(self) -> list[str]:
        """Start a process for the stage on new workers; return the workers with one.

        Waits for at least one of them.
        """
        began = time.monotonic()
        while True:
            new = self._present() - set(self._actors)
            for address in self.pool.upload(self._stage.trunk.path, self._stage.trunk.sha256, sorted(new)):
                self._actors[address] = self.pool.submit(
                    windows.WindowProcess,
                    self.pool.context,
                    self._stage,
                    key=windows.process_key(self._stage.name, address),
                    workers=[address],
                    actor=True,
                )
            starting = [actor for actor in self._actors.values() if not actor.done()]
            if self._actors and not starting:
                return list(self._actors)
            self.pool.done(starting, _WAIT)
            self._present()  # first, as the actor of a lost worker has an error, too
            for address, actor in list(self._actors.items()):
                if actor.status == "error":
                    self._lose(address, reason(actor.exception()))
            if not self._actors and time.monotonic() - began > (_PATIENCE_IF_FAILED if self._failed else _PATIENCE):
                why = "; ".join(dict.fromkeys(self._failed.values())) or "all are lost"
                raise NSTError(f"no worker can compute the windows ({why}); start workers, and run the command again")

    def _present(self) -> set[str]:
        """Report lost workers, and return the present ones that have not failed."""
        present = set(self.pool.workers())
        for address in set(self._actors) - present:
            self._lose(address)
        return present - set(self._failed)

    def _lose(self, address: str, why: str = "") -> None:
        """Report a lost worker, or, with the reason `why`, one that failed."""
        if why:
            self._failed[address] = why
        if self._actors.pop(address, None):
            what = f"failed ({why})" if why else "is lost"
            self._notify(f"worker {address} {what}; the others compute its windows")
