"""Estimates: the memory and the time that a run will take, from its plan and a few evaluations that are timed on this
machine."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
from mxnet import MXNetError, nd

from gluon_nst.engine.memory import Plan, allowed_memory, needed
from gluon_nst.engine.objective import Objective
from gluon_nst.engine.windows import Part, cut, whole, work
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import nd_mode, release_memory
from gluon_nst.network.layers import multiplications, shape_at
from gluon_nst.recipes import Recipe, Stage
from gluon_nst.runs.job import Job
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.typing import NDArray

LONG = 600
"""Seconds: a run that takes longer says so before it begins."""
PATIENCE = 3
"""Seconds: where it takes longer to time the machine, there is a first guess before."""

NEVER_LONG = 3e12
"""Multiplications, forward: so few are done in that time on any machine."""
_SMALL, _LARGE = (128, 128), ((384, 384), (256, 256), (192, 192))
"""Sizes, in pixels, that are timed: a small one, and the first of the large ones that fits into the memory that the run
may take."""
_STYLE = 64, 64
"""That of the noise whose statistics are what these evaluations come near."""


class Estimate(NamedTuple):
    """What a run will take."""

    memory: float
    """Bytes of the process at most, where it computes on the CPU."""
    seconds: float


def objective_on_noise(
    recipe: Recipe, net: Any, size: tuple[int, int], parts: Sequence[Part], device: Any
) -> Objective:
    """The Objective of a recipe for noise of a `size` (height, width): as fast, and as large, as that of a run."""
    random = np.random.default_rng(0)

    def noise(shape: tuple[int, ...]) -> NDArray:
        return nd.array(random.standard_normal(shape, dtype=np.float32), ctx=device)

    X = noise((1, 3, *size))
    X.attach_grad()
    contents = [nd.zeros(shape_at(layer, size), ctx=device) for layer in recipe.content_layers]
    statistic = style_statistic(recipe)
    styles = [statistic.of(noise(shape_at(layer, _STYLE))) for layer in recipe.style_layers]
    return Objective(net, X, contents, styles, recipe, statistic, parts=parts)


def _large_size(run: Run) -> tuple[int, int]:
    allowed = allowed_memory(run.memory, run.device)
    return next((size for size in _LARGE if needed(run.recipe, size) <= allowed), _LARGE[-1])


class Timed(NamedTuple):
    """Seconds of an evaluation: of the first one, which makes what the others use, and of the next."""

    first: float
    next: float


def timed(evaluate: Objective) -> Timed:
    """Three evaluations of an objective, timed."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        evaluate()
        nd.waitall()
        seconds.append(time.perf_counter() - begun)
    return Timed(seconds[0], min(seconds[1:]))


class Speed:
    """How fast the evaluations of a run are on this machine; each is timed when it is asked for."""

    def __init__(self, run: Run) -> None:
        self._run, self._recipe, self._size = run, run.recipe, _large_size(run)

    @functools.cached_property
    def _net(self) -> Any:
        return self._run.net()

    def time(self, size: tuple[int, int], parts: Sequence[Part]) -> Timed:
        """The seconds of evaluations for a picture of a `size` (height, width) in these parts."""
        return timed(objective_on_noise(self._recipe, self._net, size, parts, self._run.device))

    @functools.cached_property
    def _small(self) -> Timed:
        return self.time(_SMALL, whole(self._recipe.last_layer, _SMALL))

    @functools.cached_property
    def _large(self) -> Timed:
        return self.time(self._size, whole(self._recipe.last_layer, self._size))

    @functools.cached_property
    def _fixed(self) -> float:
        """What an evaluation takes at any size."""
        small, large = (work(whole(self._recipe.last_layer, size)) for size in (_SMALL, self._size))
        return max(0.0, (self._small.next * large - self._large.next * small) / (large - small))

    @functools.cached_property
    def _whole(self) -> float:
        """Seconds for each unit of work."""
        return (self._large.next - self._fixed) / work(whole(self._recipe.last_layer, self._size))

    @functools.cached_property
    def _in_windows(self) -> float:
        window = self._size[0] // 2 + 16
        parts = cut(self._recipe.last_layer, self._size, (window, window))
        return (self.time(self._size, parts).next - self._fixed) / work(parts)

    def evaluation(self, plan: Plan) -> float:
        """Seconds of an evaluation of a stage that is computed by a plan."""
        return self._fixed + (self._in_windows if plan.windowed else self._whole) * work(plan.parts)

    def seconds(self, run: Run, state: State) -> float:
        """Those of what is left to do of a run by the same recipe, but for its stages."""
        seconds = 0.0
        for stage, epochs in _left(run, state):
            pictures = [run.canvas(stage).size, *(run.style_shape(style, stage) for style in run.styles)]
            # The features of the content picture and of the styles are computed once: forward, a third of an
            # evaluation.
            features = sum(self._whole * work(whole(run.recipe.last_layer, size)) / 3 for size in pictures)
            making = self._large.first - self._large.next
            seconds += making + features + epochs * self.evaluation(run.plan(stage))
        return seconds

    def seconds_per_multiplication(self) -> float:
        """Seconds of an evaluation at the smallest timed size, divided by its multiplications in the forward pass."""
        return self._small.next / (math.prod(_SMALL) * multiplications(self._recipe.last_layer))

    def seconds_at_most(self, run: Run, state: State) -> float:
        """More than they will be, by the smallest size that is timed, where a pixel costs the most."""
        seconds = 0.0
        for stage, epochs in _left(run, state):
            pixels = math.prod(run.canvas(stage).size)
            seconds += self._small.first + epochs * self._small.next * max(1, 2 * pixels / math.prod(_SMALL))
        return seconds


@nd_mode
def estimate(job: Job | Run) -> Estimate:
    """What a job will take on this machine, of memory and of time, if its loss does not settle before its epochs are
    done.

    The memory is what its plan counts on; the time is that of a few evaluations of its objective, which are timed, at
    its sizes. It takes some seconds. Raises the errors of `prepare`.
    """
    run = job if isinstance(job, Run) else prepare(job)
    try:
        return Estimate(_memory(run), Speed(run).seconds(run, State()))
    finally:
        release_memory()


def _memory(run: Run) -> float:
    return max(run.plan(stage).needed for stage in run.recipe.stages)


@nd_mode
def tell_if_long(runs: Sequence[Run], observer: Observer, state: State | None = None) -> None:
    """Let an observer know how long the `runs`, one after the other, will take, if that is more than ten minutes.

    `state` is what the one run goes on from. Where there is no memory to time anything nothing is told: the run itself
    will say so.
    """
    state = state or State()
    if sum(_multiplications(run, state) for run in runs) <= NEVER_LONG:
        return
    speeds: dict[Any, Speed] = {}
    for run in runs:
        speeds.setdefault(_alike(run), Speed(run))
    with contextlib.suppress(MemoryError, MXNetError):
        begun = time.perf_counter()
        guess = sum(_multiplications(run, state) for run in runs) * speeds[_alike(runs[0])].seconds_per_multiplication()
        larger = math.prod(_LARGE[0]) / math.prod(_SMALL)
        if guess > LONG and (time.perf_counter() - begun) * larger * len(speeds) > PATIENCE:
            observer.note(f"about {in_words(guess)}, by a first guess; it is being measured")
        seconds = sum(speeds[_alike(run)].seconds_at_most(run, state) for run in runs)
        if seconds > LONG:
            seconds = sum(speeds[_alike(run)].seconds(run, state) for run in runs)
        if seconds > LONG:
            on_cpu = [_memory(run) for run in runs if run.device.device_type == "cpu"]
            memory = f", and up to {max(on_cpu) / 1e9:.1f} GB of memory" if on_cpu else ""
            observer.note(f"this will take about {in_words(seconds)}{memory}")
    del speeds
    release_memory()


def _left(run: Run, state: State) -> Iterator[tuple[Stage, int]]:
    """The stages that are left of a run, and the epochs of each."""
    done = len(state.images)
    for number, stage in enumerate(run.recipe.stages[done:]):
        yield stage, max(stage.epochs - (state.epoch if number == 0 and state.optimiser else 0), 0)


def _alike(run: Run) -> Any:
    """What the speed of a run's evaluations depends on, beside their size."""
    recipe, large = run.recipe, _large_size(run)
    layers = tuple(recipe.content_layers), tuple(recipe.style_layers)
    return (
        large,
        layers,
        recipe.precision,
        recipe.pooling,
        recipe.padding,
        recipe.style_statistic,
        recipe.activation_scale,
    )


def _multiplications(run: Run, state: State) -> float:
    pixels = sum(epochs * math.prod(stage.shape) for stage, epochs in _left(run, state))
    return pixels * multiplications(run.recipe.last_layer)


def in_words(seconds: float) -> str:
    """A time in words.

    >>> in_words(754), in_words(9000)
    ('13 minutes', '2.5 hours')
    """
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
