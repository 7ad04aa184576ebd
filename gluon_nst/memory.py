"""The memory that a run takes, and whether it fits."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence, Tuple

from gluon_nst.canvas import canvas
from gluon_nst.errors import InputError
from gluon_nst.layers import LAYERS, outputs_per_pixel, smallest_side
from gluon_nst.machine import address_space_is_limited, available_memory
from gluon_nst.recipes import OPTIMIZERS, Recipe, style_shape

# Bytes that a process takes at most: with MXNet loaded, for every number that a layer puts out, and for every pixel of a style
# picture, whose features of a block may all be kept; what its optimiser takes is in recipes.choices. Learned from the peaks of
# whole runs at 300 × 450 to 900 × 1350, up to layers 7 and 28.
_BASE = 0.6e9
_BYTES_PER_OUTPUT = 10.2
_BYTES_PER_STYLE_PIXEL = 2000
# What covariances of 512 channels and their eigenvectors take.
_COVARIANCES = 0.3e9
# What MXNet and oneDNN keep of every size that they have computed, for each style layer and for each pixel (on a ladder of fine).
_KEPT_PER_LAYER, _KEPT_PER_PIXEL = 35e6, 1150


def estimate_memory(recipe: Recipe, size: tuple[int, int], style_size: tuple[int, int] = (0, 0)) -> float:
    """The peak memory, in bytes, of a process that trains by `recipe` at `size` (height, width) on the CPU.

    `style_size` matters where the style picture is much larger: it only goes forward, which takes less.
    """
    (height, width), (style_height, style_width) = size, style_size
    # The peak comes with the gradients of the first two blocks, where the numbers are: the layers above add little.
    numbers = outputs_per_pixel(min(recipe.last_layer, LAYERS["conv2_2"]))
    facts = OPTIMIZERS[recipe.optimizer]
    optimiser = facts.bytes_per_pixel + recipe.history_size * facts.bytes_per_remembered_step
    training = height * width * (numbers * _BYTES_PER_OUTPUT + optimiser)
    base = _BASE + (_COVARIANCES if recipe.style_statistic == "wasserstein" else 0)
    return base + max(training, style_height * style_width * _BYTES_PER_STYLE_PIXEL)


StyleSizes = Sequence[Tuple[Tuple[int, int], Optional[float]]]
"""(height, width) of each style picture, and its scale where it has one of its own."""


def _needed(recipe: Recipe, size: tuple[int, int], styles: StyleSizes) -> float:
    """Bytes that a stage of a `size` needs, with what is kept of the smaller ones before it."""
    shapes = [style_shape(recipe, size, picture_size, scale) for picture_size, scale in styles]
    before = (canvas(stage.shape, recipe.margin).size for stage in recipe.stages if 1.1 * min(stage.shape) < min(size))
    kept = sum(_KEPT_PER_LAYER * len(recipe.style_layers) + _KEPT_PER_PIXEL * math.prod(each) for each in before)
    return kept + estimate_memory(recipe, canvas(size, recipe.margin).size, max(shapes, key=math.prod))


def more_memory() -> str:
    """What to do for more of it, in words."""
    return "raise the limit of ulimit -v" if address_space_is_limited() else "end other programs"


def check_memory(recipe: Recipe, styles: StyleSizes, device: Any) -> None:
    """Raise InputError where a stage of `recipe` can't fit into the memory that is free; of a GPU's nothing is known.

    Of several that can't it tells of the last: those of a ladder nobody has asked for.
    """
    if device.device_type != "cpu":
        return
    free = available_memory()
    for height, width in (stage.shape for stage in reversed(recipe.stages)):
        needed = _needed(recipe, (height, width), styles)
        if needed > free:
            smaller = ((int(height * percent / 100), int(width * percent / 100)) for percent in range(99, 0, -1))
            large_enough = (size for size in smaller if min(size) >= smallest_side(recipe.last_layer))
            fitting = (size for size in large_enough if _needed(recipe, size, styles) <= free)
            such_as = next((f" such as {h}x{w}," for h, w in fitting), "")
            raise InputError(
                f"size {height}x{width}: needs about {needed / 1e9:.1f} GB of memory, and {max(free, 0) / 1e9:.1f} GB "
                f"are free; choose a smaller size,{such_as} or {more_memory()}"
            )
