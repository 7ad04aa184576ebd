"""The memory that a run takes, and how its pictures are cut into windows such that it takes no more than it may."""

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

# Bytes that a process takes at most, learned from the peaks of whole runs of 0.02 to 24 megapixels
# (scripts/dev/measure_estimates.py). With MXNet loaded, the network's parameters and a picture; and with the code that
# oneDNN makes for bfloat16. What is kept of each size that was computed before, of all of them at most, and for each
# pixel of the largest.
_BASE, _BASE_OF = 0.47e9, {"float32": 0.0, "bfloat16": 0.25e9}
_KEPT_OF_A_STAGE, _KEPT_OF_STAGES = 0.06e9, {"float32": 0.3e9, "bfloat16": 0.4e9}
_KEPT_PER_PIXEL = {"float32": 900, "bfloat16": math.inf}
# For every number that a layer puts out, where the network is computed whole; and in windows, below the cut and above
# it.
_BYTES_PER_OUTPUT = 10.2
_BYTES_PER_OUTPUT_BELOW = {"float32": 8.6, "bfloat16": 10.5}
_BYTES_PER_OUTPUT_ABOVE = {"float32": 5.3, "bfloat16": 3.4}
# For every pixel of the picture, in windows: the composite and its gradient (24), the features between the network's
# two parts and theirs (64), and the pictures that are made of it.
_BYTES_PER_PIXEL = 120
# For every pixel whose features are computed without a gradient.
_BYTES_PER_STYLE_PIXEL = 1600
# For every pixel of a picture that is computed elsewhere: its windows and what they have of the content's features.
_KEPT_OF_WINDOWS = 80
# For every pixel, where L-BFGS is preconditioned: the gains of the filter, and the transform of one channel.
_BYTES_OF_FILTER = 16
_LEAST_STYLE_WINDOW, _MOST_STYLE_WINDOW = 512, 1536

_BELOW = (736, 608, 512, 384, 256, 192, 128, 96, 64)
_ABOVE = (None, 2944, 2048, 1440, 1024, 736, 512, 384)
"""Sides of windows that are tried, below the cut and above it; None is the whole picture."""


class Plan(NamedTuple):
    """How a stage is computed: the parts of the network in their windows, and the bytes that the process will need at
    most."""

    parts: Sequence[Part]
    needed: float
    style_window: int
    """The longest side of the windows in which pictures that need no gradient are computed."""

    @property
    def windowed(self) -> bool:
        """Whether anything is computed in more than one window."""
        return any(each.number > 1 for each in self.parts)

    @property
    def in_one_part(self) -> bool:
        """Whether it is computed in windows of the whole network, of which none needs what another has come to."""
        return self.windowed and len(self.parts) == 1


class Inputs(NamedTuple):
    """What is known of the pictures of a run."""

    styles: Sequence[tuple[tuple[int, int], float | None]]
    """(height, width) of each style picture, and its scale where it has one of its own."""
    held: float = 0
    """Bytes of the decoded pictures, masks and maps of regions."""
    guides: float = 0
    """Bytes, for each pixel of the composite, of what says where the losses count."""


def optimiser_bytes(recipe: Recipe) -> float:
    """What the optimiser keeps for each pixel of the composite, beside the composite and its gradient."""
    facts = OPTIMIZERS[recipe.optimizer]
    remembered = min(recipe.history_size, max(stage.epochs for stage in recipe.stages) - 1)
    of_filter = _BYTES_OF_FILTER if recipe.optimizer == "lbfgs" and recipe.preconditioner != "none" else 0
    return facts.bytes_per_pixel + remembered * facts.bytes_per_remembered_step + of_filter


def _of(recipe: Recipe, numbers: dict[str, float]) -> float:
    """That of `numbers` by precision which is the recipe's; where it has not chosen yet, that of bfloat16, which takes
    more."""
    return numbers.get(recipe.precision, numbers["bfloat16"])


def _patches(recipe: Recipe) -> int:
    """Return the number of channels of the patches of the composite: 0 where pixels is no style layer."""
    return shape_at(PIXELS, (1, 1))[1] if PIXELS in recipe.style_layers else 0


def _outputs(recipe: Recipe, own: Part) -> float:
    """Return how many numbers the layers of a part, and the patches below the first one, put out for one window."""
    below = 0 if own.layers.start else math.prod(own.shape) * _patches(recipe)
    return of_window(own, outputs_per_pixel) + below


def needed(
    recipe: Recipe, size: tuple[int, int], parts: Sequence[Part] | None = None, style_pixels: float = 0
) -> float:
    """The peak memory, in bytes, of a process that trains by `recipe` at `size` (height, width) on the CPU.

    `parts` are those of the network, by default the whole of it. `style_pixels` are those of the largest picture, or of
    a window of it, whose features are computed without a gradient.
    """
    pixels = math.prod(size)
    base = _BASE + _of(recipe, _BASE_OF)
    if parts is None:
        # The peak comes with the gradients of the first two blocks, where the numbers are: the layers above add little.
        outputs = outputs_per_pixel(min(recipe.last_layer, LAYERS["conv2_2"])) + _patches(recipe)
        training = pixels * outputs * _BYTES_PER_OUTPUT
    else:
        training = pixels * _BYTES_PER_PIXEL
        for each in parts:
            bytes_per_output = _of(recipe, _BYTES_PER_OUTPUT_ABOVE if each.layers.start else _BYTES_PER_OUTPUT_BELOW)
            training += _outputs(recipe, each) * bytes_per_output
    return base + max(training + pixels * optimiser_bytes(recipe), style_pixels * _BYTES_PER_STYLE_PIXEL)


def _kept(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> float:
    """What there is beside the training at a `size`: what is kept of the stages before it, the pictures, the guides."""
    before = [math.prod(stage.shape) for stage in recipe.stages if 1.1 * min(stage.shape) < min(size)]
    of_stages = min(len(before) * _KEPT_OF_A_STAGE, _of(recipe, _KEPT_OF_STAGES))
    if before:
        of_stages = min(of_stages, max(before) * _of(recipe, _KEPT_PER_PIXEL))
    return of_stages + inputs.held + inputs.guides * math.prod(size)


def _style_shapes(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> list[tuple[int, int]]:
    return [style_shape(recipe, size, picture_size, scale) for picture_size, scale in inputs.styles]


def _columns(recipe: Recipe) -> int:
    """How many positions a part may be wide."""
    return widest() if recipe.precision == "bfloat16" else sys.maxsize


def plan(recipe: Recipe, size: tuple[int, int], inputs: Inputs, memory: float) -> Plan | None:
    """How a stage of a `size` (height, width) is computed in so many bytes of `memory`; None where they are too few.

    Whole, where that fits; else in the windows that take the least time of those that fit.
    """
    shapes = _style_shapes(recipe, size, inputs)
    largest, of_canvas = max(map(math.prod, shapes), default=0), canvas(size, recipe.margin).size
    kept, columns = _kept(recipe, size, inputs), _columns(recipe)
    in_whole = kept + needed(recipe, of_canvas, None, largest)
    if in_whole <= memory and of_canvas[1] <= columns:
        return Plan(whole(recipe.last_layer, of_canvas), in_whole, max(map(max, [*shapes, of_canvas])))
    room = memory - kept - needed(recipe, of_canvas, [], 0)
    style_pixels = min(max(room / _BYTES_PER_STYLE_PIXEL, _LEAST_STYLE_WINDOW**2), _MOST_STYLE_WINDOW**2)
    side = math.isqrt(int(style_pixels))
    found = []
    for parts in _cuts(recipe.last_layer, of_canvas, columns):
        in_windows = kept + needed(recipe, of_canvas, parts, min(side * side, largest))
        if in_windows <= memory:
            found.append((work(parts), in_windows, parts))
    if not found:
        return None
    _, in_windows, parts = min(found, key=lambda each: each[:2])
    return Plan(parts, in_windows, side)


def smallest_plan(recipe: Recipe, size: tuple[int, int], inputs: Inputs) -> Plan:
    """The one that takes the least memory, whatever there is."""
    of_canvas = canvas(size, recipe.margin).size
    style_pixels = min(_LEAST_STYLE_WINDOW**2, max(map(math.prod, _style_shapes(recipe, size, inputs)), default=0))
    kept = _kept(recipe, size, inputs)
    in_windows = (
        Plan(parts, kept + needed(recipe, of_canvas, parts, style_pixels), _LEAST_STYLE_WINDOW)
        for parts in _cuts(recipe.last_layer, of_canvas, _columns(recipe))
    )
    in_whole = plan(recipe, size, inputs, math.inf)  # a small picture needs less so
    return min((each for each in (in_whole, *in_windows) if each), key=lambda each: each.needed)


_SPREAD = range(2944, 255, -64)
"""Sides of windows that are tried for several machines."""


def spread_plan(recipe: Recipe, size: tuple[int, int], machines: int, memory: float) -> Plan | None:
    """How a stage of a `size` (height, width) is computed by so many machines, each with so many bytes of `memory`.

    In one part: what would go to and fro between two is several times the picture. Of the windows that fit, those that
    take the machines the least time; none where one window is enough.
    """
    of_canvas, layers, columns = canvas(size, recipe.margin).size, range(recipe.last_layer + 1), _columns(recipe)
    bytes_per_output = _of(recipe, _BYTES_PER_OUTPUT_BELOW)
    found = []
    for side in _SPREAD:
        if side < smallest_window(layers):
            continue
        one = part(layers, of_canvas, (side, min(side, columns)))
        in_window = _BASE + _of(recipe, _BASE_OF) + _outputs(recipe, one) * bytes_per_output
        kept = math.prod(of_canvas) * _KEPT_OF_WINDOWS / machines
        if one.number > 1 and in_window + kept <= memory:
            rounds = math.ceil(one.number / machines)
            found.append(
                (
                    rounds * of_window(one, multiplications),
                    -side,
                    Plan([one], in_window + kept, min(side, _MOST_STYLE_WINDOW)),
                )
            )
    return min(found, key=lambda each: each[:2])[2] if found else None


@functools.lru_cache(maxsize=64)
def _cuts(last: int, size: tuple[int, int], columns: int) -> list[list[Part]]:
    """The ways to cut the network up to layer `last` into windows for a picture of a `size`, no part wider than so many
    `columns`."""
    cuts, stride = [], smallest_side(CUT)
    for below, above in itertools.product(_BELOW, _ABOVE if last > CUT else _ABOVE[:1]):
        if below >= smallest_window(range(min(CUT, last) + 1)):
            above = max(size) if above is None else above
            cuts.append(cut(last, size, (below, min(below, columns)), (above, min(above, stride * columns))))
    return cuts


def _scaled(size: tuple[int, int], thousandths: int) -> tuple[int, int]:
    height, width = size
    return height * thousandths // 1000, width * thousandths // 1000


def more_memory() -> str:
    """What to do for more of it, in words."""
    return "raise the limit of ulimit -v" if address_space_is_limited() else "end other programs"


def allowed_memory(memory: float | None, device: Any) -> float:
    """The bytes that a run may take: those that it is given, by `--memory`, and no more than are free; of a GPU's
    nothing is known."""
    free = available_memory() if device.device_type == "cpu" else math.inf
    return free if memory is None else min(memory, free)


def check_memory(recipe: Recipe, inputs: Inputs, device: Any, memory: float | None) -> None:
    """Raise DoesNotFit if a stage of `recipe` needs more memory than the run may take, even in windows.

    Of several that can't it tells of the last: those of a ladder nobody has asked for.
    """
    allowed = allowed_memory(memory, device)
    for size in (stage.shape for stage in reversed(recipe.stages)):
        if plan(recipe, size, inputs, allowed):
            continue
        smallest = smallest_plan(recipe, size, inputs)
        low, high = 0, 1000  # thousandths of the size: the largest that fits, and the least that does not
        while high - low > 1:
            middle = (low + high) // 2
            smaller = _scaled(size, middle)
            fits = min(smaller) < smallest_side(recipe.last_layer) or plan(recipe, smaller, inputs, allowed)
            low, high = (middle, high) if fits else (low, middle)
        fitting, (height, width) = _scaled(size, low), size
        limited = memory is not None and allowed >= memory  # by what it was given, not by what there is
        least = math.ceil(smallest.needed / 1e8) / 10
        there = f"{math.floor(max(allowed, 0) / 1e8) / 10:.1f} GB {'may be taken' if limited else 'are free'}"
        more = f"give it {least:.1f} GB" if limited else more_memory()
        advice = "no size fits, so {2}"
        if min(fitting) >= smallest_side(recipe.last_layer):
            advice = "choose a smaller size, such as {0}x{1}, or {2}"
        raise DoesNotFit(
            f"size {height}x{width}: needs at least {least:.1f} GB of memory"
            f"{', in windows' if smallest.windowed else ''}, and {there}; {advice.format(*fitting, more)}"
        )
