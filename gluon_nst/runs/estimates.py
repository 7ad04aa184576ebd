"""Estimates of the memory and the duration of a run.

The memory follows from the run's plan, the duration from a few evaluations that are timed on this machine.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

import numpy as np
from mxnet import MXNetError, nd

from gluon_nst import weights as trunks
from gluon_nst.engine.memory import Plan, allowed_memory, needed
from gluon_nst.engine.objective import Objective
from gluon_nst.engine.windows import Part, cut, whole, work
from gluon_nst.errors import DoesNotFit, WeightsError
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine import nd_mode, release_memory
from gluon_nst.machine.durations import format_duration
from gluon_nst.network.layers import multiplications, shape_at
from gluon_nst.pictures.decoding import open_picture
from gluon_nst.recipes import Recipe, Stage
from gluon_nst.runs.job import Job
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.run import Run, prepare
from gluon_nst.runs.state import State
from gluon_nst.typing import NDArray
from gluon_nst.weights.pictures import own_pictures

LONG = 600
"""Seconds: a longer run is announced with its duration."""
MAX_UNANNOUNCED = 3
"""Seconds: if timing the machine takes longer, a first guess is announced before."""

ALWAYS_SHORT = 3e12
"""Multiplications in the forward pass that take less than LONG on any machine."""
_SMALL, _LARGE = (128, 128), ((384, 384), (256, 256), (192, 192))
"""Sizes, in pixels, that are timed: a small one, and the first of the large ones that fits into the allowed memory."""
_STYLE = 64, 64
"""Size of the noise whose statistics are the style targets of these evaluations."""


class Estimate(NamedTuple):
    """The estimated memory and duration of a run."""

    memory: float
    """Maximum bytes of the process, if it computes on the CPU."""
    seconds: float


def objective_on_noise(
    recipe: Recipe, net: Any, size: tuple[int, int], parts: Sequence[Part], device: Any
) -> Objective:
    """Return the Objective of a recipe for noise of a `size` (height, width).

    It takes as long as that of a run.
    """
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


class Timing(NamedTuple):
    """Seconds of the first evaluation, which allocates buffers, and of a later one."""

    first: float
    next: float


def time_objective(evaluate: Objective) -> Timing:
    """Time three evaluations of an objective."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        evaluate()
        nd.waitall()
        seconds.append(time.perf_counter() - start)
    return Timing(seconds[0], min(seconds[1:]))


class Speed:
    """The speed of a run's evaluations on this machine, measured on first use."""

    def __init__(self, run: Run) -> None:
        self._run, self._recipe, self._size = run, run.recipe, _large_size(run)

    @functools.cached_property
    def _net(self) -> Any:
        return self._run.net()

    def time(self, size: tuple[int, int], parts: Sequence[Part]) -> Timing:
        """Time evaluations for a picture of a `size` (height, width) in these parts."""
        return time_objective(objective_on_noise(self._recipe, self._net, size, parts, self._run.device))

    @functools.cached_property
    def _small(self) -> Timing:
        return self.time(_SMALL, whole(self._recipe.last_layer, _SMALL))

    @functools.cached_property
    def _large(self) -> Timing:
        return self.time(self._size, whole(self._recipe.last_layer, self._size))

    @functools.cached_property
    def _fixed(self) -> float:
        """Seconds of an evaluation that do not depend on the size."""
        small, large = (work(whole(self._recipe.last_layer, size)) for size in (_SMALL, self._size))
        return max(0.0, (self._small.next * large - self._large.next * small) / (large - small))

    @functools.cached_property
    def _whole(self) -> float:
        """Seconds for each unit of work, computed whole."""
        return (self._large.next - self._fixed) / work(whole(self._recipe.last_layer, self._size))

    @functools.cached_property
    def _in_windows(self) -> float:
        window = self._size[0] // 2 + 16
        parts = cut(self._recipe.last_layer, self._size, (window, window))
        return (self.time(self._size, parts).next - self._fixed) / work(parts)

    def evaluation(self, plan: Plan) -> float:
        """Return the seconds of an evaluation of a stage with that plan."""
        return self._fixed + (self._in_windows if plan.windowed else self._whole) * work(plan.parts)

    def seconds(self, run: Run, state: State) -> float:
        """Return the remaining seconds of a run by the same recipe.

        Its stages may differ.
        """
        seconds = 0.0
        for stage, epochs in _remaining(run, state):
            pictures = [run.canvas(stage).size, *(run.style_shape(style, stage) for style in run.styles)]
            # The features of the content picture and of the styles are computed once: forward, a third of an
            # evaluation.
            features = sum(self._whole * work(whole(run.recipe.last_layer, size)) / 3 for size in pictures)
            setup = self._large.first - self._large.next
            seconds += setup + features + epochs * self.evaluation(run.plan(stage))
        return seconds

    def seconds_per_multiplication(self) -> float:
        """Return the seconds per multiplication at the smallest timed size.

        The multiplications are those of the forward pass.
        """
        return self._small.next / (math.prod(_SMALL) * multiplications(self._recipe.last_layer))

    def seconds_at_most(self, run: Run, state: State) -> float:
        """Return an upper bound of the remaining seconds.

        It is derived from the smallest timed size, where a pixel takes the longest.
        """
        seconds = 0.0
        for stage, epochs in _remaining(run, state):
            pixels = math.prod(run.canvas(stage).size)
            seconds += self._small.first + epochs * self._small.next * max(1, 2 * pixels / math.prod(_SMALL))
        return seconds


@nd_mode
def estimate(job: Job | Run) -> Estimate:
    """Estimate the memory and duration of a job on this machine.

    The memory is that of its plan. The duration, if the loss does not converge before the last epoch, is extrapolated
    from a few timed evaluations of its objective. It takes some seconds. Raises the errors of `prepare`.
    """
    run = job if isinstance(job, Run) else prepare(job)
    try:
        return Estimate(_memory(run), Speed(run).seconds(run, State()))
    finally:
        release_memory()


def _memory(run: Run) -> float:
    return max(run.plan(stage).needed for stage in run.recipe.stages)


@nd_mode
def seconds_of_recipes(names: Iterable[str]) -> Iterator[tuple[str, float | None]]:
    """Yield (name, estimated seconds) of each recipe on the project's own pictures.

    Recipes of the same speed are timed once. One that does not fit into this machine's memory has None. The parameters
    are those in the cache. Raises WeightsError if there are none.
    """
    trunk = trunks.cached()
    if trunk is None:
        raise WeightsError("no parameters of VGG-19 in the cache")
    content, style = own_pictures()
    open = functools.lru_cache(maxsize=None)(open_picture)
    speeds: dict[Any, Speed] = {}
    try:
        for name in names:
            try:
                run = prepare(Job(content, style, name), open=open, trunk=trunk)
            except DoesNotFit:
                yield name, None
            else:
                yield name, speeds.setdefault(_speed_key(run), Speed(run)).seconds(run, State())
    finally:
        del speeds
        release_memory()


@nd_mode
def note_if_long(runs: Sequence[Run], observer: Observer, state: State | None = None) -> None:
    """Notify an observer of the duration of `runs` if it exceeds ten minutes.

    `state` is the one from which a single run resumes. Without memory for the timing there is no note: the run itself
    will raise the error.
    """
    state = state or State()
    if sum(_multiplications(run, state) for run in runs) <= ALWAYS_SHORT:
        return
    speeds: dict[Any, Speed] = {}
    for run in runs:
        speeds.setdefault(_speed_key(run), Speed(run))
    with contextlib.suppress(MemoryError, MXNetError):
        start = time.perf_counter()
        first_guess = (
            sum(_multiplications(run, state) for run in runs) * speeds[_speed_key(runs[0])].seconds_per_multiplication()
        )
        larger = math.prod(_LARGE[0]) / math.prod(_SMALL)
        if first_guess > LONG and (time.perf_counter() - start) * larger * len(speeds) > MAX_UNANNOUNCED:
            observer.note(f"about {format_duration(first_guess, about=True)} (first guess); measuring the speed…")
        seconds = sum(speeds[_speed_key(run)].seconds_at_most(run, state) for run in runs)
        if seconds > LONG:
            seconds = sum(speeds[_speed_key(run)].seconds(run, state) for run in runs)
        if seconds > LONG:
            on_cpu = [_memory(run) for run in runs if run.device.device_type == "cpu"]
            memory = f", and up to {max(on_cpu) / 1e9:.1f} GB of memory" if on_cpu else ""
            observer.note(f"this will take about {format_duration(seconds, about=True)}{memory}")
    del speeds
    release_memory()


def _remaining(run: Run, state: State) -> Iterator[tuple[Stage, int]]:
    """Yield (stage, number of remaining epochs) of the remaining stages of a run."""
    done = len(state.images)
    for number, stage in enumerate(run.recipe.stages[done:]):
        yield stage, max(stage.epochs - (state.epoch if number == 0 and state.optimiser else 0), 0)


def _speed_key(run: Run) -> Any:
    """Return the properties of a run, except sizes, that determine its speed."""
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
    pixels = sum(epochs * math.prod(stage.shape) for stage, epochs in _remaining(run, state))
    return pixels * multiplications(run.recipe.last_layer)
