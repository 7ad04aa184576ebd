"""The memory of a run, and plans of its stages in windows.

A plan keeps the run within the memory that it may use.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from typing import Any, NamedTuple, Sequence

from gluon_nst.engine.padding import canvas
from gluon_nst.engine.windows import CUT, Part, cut, of_window, part, smallest_window, whole, work
from gluon_nst.errors import DoesNotFit
from gluon_nst.machine import address_space_is_limited, available_memory
from gluon_nst.network.bfloat16 import widest
from gluon_nst.network.layers import LAYERS, PIXELS, multiplications, outputs_per_pixel, shape_at, smallest_side
from gluon_nst.recipes import OPTIMIZERS, Recipe, style_shape

# Maximum bytes of a process, fitted to the peaks of whole runs of 0.02 to 24 megapixels
# (scripts/dev/measure_estimates.py). The base: MXNet, the network's parameters and a picture; in addition oneDNN's code
# for bfloat16. Memory that MXNet and oneDNN keep of earlier stages: per stage, in total, and per pixel of the largest.
_BASE, _BASE_BY_PRECISION = 0.47e9, {"float32": 0.0, "bfloat16": 0.25e9}
_BYTES_PER_STAGE, _MAX_BYTES_OF_STAGES = 0.06e9, {"float32": 0.3e9, "bfloat16": 0.4e9}
_STAGE_BYTES_PER_PIXEL = {"float32": 900, "bfloat16": math.inf}
# Per output value of a layer: computed whole; in windows below the cut, and above it.
_BYTES_PER_OUTPUT = 10.2
_BYTES_PER_OUTPUT_BELOW = {"float32": 8.6, "bfloat16": 10.5}
_BYTES_PER_OUTPUT_ABOVE = {"float32": 5.3, "bfloat16": 3.4}
# Per pixel of the picture, in windows: the composite and its gradient (24), the features between the network's two
# parts and their gradient (64), and the pictures made from it.
_BYTES_PER_PIXEL = 120
# Per pixel whose features are computed without a gradient.
_BYTES_PER_STYLE_PIXEL = 1600
# Per pixel of a picture that remote workers compute: its windows and their part of the content's features.
_BYTES_PER_SPREAD_PIXEL = 80
# Per pixel, with a preconditioner of L-BFGS: the gains of the filter, and the transform of one channel.
_FILTER_BYTES_PER_PIXEL = 16
_MIN_STYLE_WINDOW, _MAX_STYLE_WINDOW = 512, 1536

_SIDES_BELOW = (736, 608, 512, 384, 256, 192, 128, 96, 64)
_SIDES_ABOVE = (None, 2944, 2048, 1440, 1024, 736, 512, 384)
"""Candidate sides of windows, below the cut and above it; None is the whole picture."""


class Plan(NamedTuple):
    """The plan of a stage: the network's parts with their windows.

    `needed` is the peak memory of the process in bytes.
    """

    parts: Sequence[Part]
    needed: float
    style_window: int
    """The longest side of windows that are computed without a gradient."""

    @property
    def windowed(self) -> bool:
        """Whether a part is computed in more than one window."""
        return any(each.number > 1 for each in self.parts)

    @property
    def in_one_part(self) -> bool:
        """Whether the windows are of the whole network, and thus independent."""
        return self.windowed and len(self.parts) == 1


class Inputs(NamedTuple):
    """The sizes of a run's inputs."""

    styles: Sequence[tuple[tuple[int, int], float | None]]
    """(height, width) of each style picture, and its scale, if it has its own."""
    picture_bytes: float = 0
    """Bytes of the decoded pictures, masks and region maps."""
    guide_bytes: float = 0
    """Bytes of the guides of the losses (`objective.Guides`), for each pixel of the composite."""


def optimiser_bytes(recipe: Recipe) -> float:
    """Return the optimiser's bytes for each pixel of the composite.

    The composite and its gradient are not included.
    """
    facts = OPTIMIZERS[recipe.optimizer]
    num_steps = min(recipe.history_size, max(stage.epochs for stage in recipe.stages) - 1)
    filter_bytes = _FILTER_BYTES_PER_PIXEL if recipe.optimizer == "lbfgs" and recipe.preconditioner != "none" else 0
    return facts.bytes_per_pixel + num_steps * facts.bytes_per_remembered_step + filter_bytes


def _by_precision(recipe: Recipe, values: dict[str, float]) -> float:
    """Return the value for the recipe's precision.

    For `auto` it is that of bfloat16, which is higher.
    """
    return values.get(recipe.precision, values["bfloat16"])


def _patches(recipe: Recipe) -> int:
    """Return the number of channels of the composite's patches.

    0 if `pixels` is not a style layer.
    """
    return shape_at(PIXELS, (1, 1))[1] if PIXELS in recipe.style_layers else 0


def _outputs(recipe: Recipe, one: Part) -> float:
    """Return the number of outputs of a part's layers for one window.

    Those of the first part include the patches of the pixels.
    """
    patch_outputs = 0 if one.layers.start else math.prod(one.shape) * _patches(recipe)
    return of_window(one, outputs_per_pixel) + patch_outputs


def needed(
    recipe: Recipe, size: tuple[int, int], parts: Sequence[Part] | None = None, style_pixels: float = 0
) -> float:
    """Return the peak memory, in bytes, of a process that trains on the CPU.

    It trains by `recipe` at `size` (height, width). `parts` are those of the network, by default the whole network.
    `style_pixels` is the number of pixels of the largest picture, or window of it, whose features are computed without
    a gradient.
    """
    pixels = math.prod(size)
    base = _BASE + _by_precision(recipe, _BASE_BY_PRECISION)
    if parts is None:
        # The peak is at the gradients of the first two blocks, which have the most outputs.
        outputs = outputs_per_pixel(min(recipe.last_layer, LAYERS["conv2_2"])) + _patches(recipe)
        training = pixels * outputs * _BYTES_PER_OUTPUT
    else:
        training = pixels * _BYTES_PER_PIXEL
        for each in parts:
            values = _BYTES_PER_OUTPUT_ABOVE if each.layers.start else _BYTES_PER_OUTPUT_BELOW
            training += _outputs(recipe, each) * _by_precision(recipe, values)
    return base + max(training + pixels * optimiser_bytes(recipe), style_pixels * _BYTES_PER_STYLE_PIXEL)


def _other_bytes(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> float:
    """Return the bytes that a run needs besides the training at a `size`.

    They are those of earlier stages, of the pictures and of the guides.
    """
    earlier_pixels = [math.prod(stage.shape) for stage in recipe.stages if 1.1 * min(stage.shape) < min(size)]
    stage_bytes = min(len(earlier_pixels) * _BYTES_PER_STAGE, _by_precision(recipe, _MAX_BYTES_OF_STAGES))
    if earlier_pixels:
        stage_bytes = min(stage_bytes, max(earlier_pixels) * _by_precision(recipe, _STAGE_BYTES_PER_PIXEL))
    return stage_bytes + inputs.picture_bytes + inputs.guide_bytes * math.prod(size)


def _style_shapes(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> list[tuple[int, int]]:
    return [style_shape(recipe, size, picture_size, scale) for picture_size, scale in inputs.styles]


def _columns(recipe: Recipe) -> int:
    """Return the maximum width of a part, in positions."""
    return widest() if recipe.precision == "bfloat16" else sys.maxsize


def plan(recipe: Recipe, size: tuple[int, int], inputs: Inputs, memory: float) -> Plan | None:
    """Return the plan of a stage in `memory` bytes; None if there is none.

    `size` is (height, width). The stage is computed whole if that fits, otherwise in the windows that fit and take the
    least time.
    """
    shapes = _style_shapes(recipe, size, inputs)
    largest, canvas_size = max(map(math.prod, shapes), default=0), canvas(size, recipe.margin).size
    other_bytes, columns = _other_bytes(recipe, size, inputs), _columns(recipe)
    whole_bytes = other_bytes + needed(recipe, canvas_size, None, largest)
    if whole_bytes <= memory and canvas_size[1] <= columns:
        return Plan(whole(recipe.last_layer, canvas_size), whole_bytes, max(map(max, [*shapes, canvas_size])))
    remaining = memory - other_bytes - needed(recipe, canvas_size, [], 0)
    style_pixels = min(max(remaining / _BYTES_PER_STYLE_PIXEL, _MIN_STYLE_WINDOW**2), _MAX_STYLE_WINDOW**2)
    side = math.isqrt(int(style_pixels))
    candidates = []
    for parts in _cuts(recipe.last_layer, canvas_size, columns):
        window_bytes = other_bytes + needed(recipe, canvas_size, parts, min(side * side, largest))
        if window_bytes <= memory:
            candidates.append((work(parts), window_bytes, parts))
    if not candidates:
        return None
    _, window_bytes, parts = min(candidates, key=lambda each: each[:2])
    return Plan(parts, window_bytes, side)


def smallest_plan(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> Plan:
    """Return the plan that needs the least memory."""
    canvas_size = canvas(size, recipe.margin).size
    style_pixels = min(_MIN_STYLE_WINDOW**2, max(map(math.prod, _style_shapes(recipe, size, inputs)), default=0))
    other_bytes = _other_bytes(recipe, size, inputs)
    window_plans = (
        Plan(parts, other_bytes + needed(recipe, canvas_size, parts, style_pixels), _MIN_STYLE_WINDOW)
        for parts in _cuts(recipe.last_layer, canvas_size, _columns(recipe))
    )
    whole_plan = plan(recipe, size, inputs, math.inf)  # needs less for a small picture
    return min((each for each in (whole_plan, *window_plans) if each), key=lambda each: each.needed)


_SIDES_SPREAD = range(2944, 255, -64)
"""Candidate sides of windows for several machines."""


def spread_plan(recipe: Recipe, size: tuple[int, int], machines: int, memory: float) -> Plan | None:
    """Return the plan of a stage for `machines` with `memory` bytes each.

    `size` is (height, width). The plan has one part, because the data between two parts would be several times the
    picture. Its windows are those that fit and take the least time. None if one window is enough.
    """
    canvas_size, layers, columns = canvas(size, recipe.margin).size, range(recipe.last_layer + 1), _columns(recipe)
    bytes_per_output = _by_precision(recipe, _BYTES_PER_OUTPUT_BELOW)
    base = _BASE + _by_precision(recipe, _BASE_BY_PRECISION)
    candidates = []
    for side in _SIDES_SPREAD:
        if side < smallest_window(layers):
            continue
        one_part = part(layers, canvas_size, (side, min(side, columns)))
        window_bytes = base + _outputs(recipe, one_part) * bytes_per_output
        other_bytes = math.prod(canvas_size) * _BYTES_PER_SPREAD_PIXEL / machines
        if one_part.number > 1 and window_bytes + other_bytes <= memory:
            rounds = math.ceil(one_part.number / machines)
            candidates.append(
                (
                    rounds * of_window(one_part, multiplications),
                    -side,
                    Plan([one_part], window_bytes + other_bytes, min(side, _MAX_STYLE_WINDOW)),
                )
            )
    return min(candidates, key=lambda each: each[:2])[2] if candidates else None


@functools.lru_cache(maxsize=64)
def _cuts(last: int, size: tuple[int, int], columns: int) -> list[list[Part]]:
    """Return the ways to cut the network up to layer `last` into windows.

    A window is at most `columns` positions wide.
    """
    cuts, stride = [], smallest_side(CUT)
    for below, above in itertools.product(_SIDES_BELOW, _SIDES_ABOVE if last > CUT else _SIDES_ABOVE[:1]):
        if below >= smallest_window(range(min(CUT, last) + 1)):
            above = max(size) if above is None else above
            cuts.append(cut(last, size, (below, min(below, columns)), (above, min(above, stride * columns))))
    return cuts


def _scaled(size: tuple[int, int], thousandths: int) -> tuple[int, int]:
    height, width = size
    return height * thousandths // 1000, width * thousandths // 1000


def more_memory() -> str:
    """Return the advice for more memory."""
    return "raise the limit of ulimit -v" if address_space_is_limited() else "end other programs"


def allowed_memory(memory: float | None, device: Any) -> float:
    """Return the bytes that a run may use.

    They are those of `--memory`, but at most those that are free. On a GPU the free memory is not a limit.
    """
    free = available_memory() if device.device_type == "cpu" else math.inf
    return free if memory is None else min(memory, free)


def check_memory(recipe: Recipe, inputs: Inputs, device: Any, memory: float | None) -> None:
    """Raise DoesNotFit if a stage needs more memory than allowed, even in windows.

    Reports the largest stage that does not fit: the user asked for that size, not for the intermediate ones.
    """
    allowed = allowed_memory(memory, device)
    for size in (stage.shape for stage in reversed(recipe.stages)):
        if plan(recipe, size, inputs, allowed):
            continue
        smallest = smallest_plan(recipe, size, inputs)
        low, high = 0, 1000  # thousandths of the size: the largest that fits, and the smallest that does not
        while high - low > 1:
            middle = (low + high) // 2
            smaller = _scaled(size, middle)
            fits = min(smaller) < smallest_side(recipe.last_layer) or plan(recipe, smaller, inputs, allowed)
            low, high = (middle, high) if fits else (low, middle)
        fitting, (height, width) = _scaled(size, low), size
        is_limited = memory is not None and allowed >= memory  # by --memory, not by the machine
        required = math.ceil(smallest.needed / 1e8) / 10
        available = f"{math.floor(max(allowed, 0) / 1e8) / 10:.1f} GB {'are allowed' if is_limited else 'are free'}"
        more = f"allow {required:.1f} GB" if is_limited else more_memory()
        advice = "no size fits, so {2}"
        if min(fitting) >= smallest_side(recipe.last_layer):
            advice = "choose a smaller size, such as {0}x{1}, or {2}"
        raise DoesNotFit(
            f"size {height}x{width}: needs at least {required:.1f} GB of memory"
            f"{', in windows' if smallest.windowed else ''}, and {available}; {advice.format(*fitting, more)}"
        )
