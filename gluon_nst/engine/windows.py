"""Windows: parts of a picture that are computed one after the other.

Plain arithmetic, without MXNet. A feature depends only on the pixels in its receptive field. Therefore the features in
a window's core are those of the whole picture if the core is surrounded by a halo as wide as the receptive field's
reach, or by the picture's border. Each position is in the core of exactly one window: sums over the cores equal sums
over the picture, up to rounding.

Halos are computed twice, and deep layers reach far: 70 pixels for conv5_1. Therefore the network is cut after its
second pooling: the layers below, whose features are large, reach only 6 pixels; the features of the layers above are so
small that their windows can be large, or a single window is enough.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Callable, Iterator, NamedTuple, Sequence

from gluon_nst.network.layers import LAYERS, NAMES, multiplications, outputs_per_pixel, smallest_side

CUT = LAYERS["pool2"]
"""The last layer of the first part of the network, if it is computed in two parts."""


class Span(NamedTuple):
    """The range of a window along one side, and its core, both on the grid.

    No other window contains the core.
    """

    begin: int
    end: int
    core_begin: int
    core_end: int

    def core(self, stride: int) -> slice:
        """Return the core as a slice of the window's positions of a layer.

        `stride` is that of the layer.
        """
        return slice((self.core_begin - self.begin) // stride, (self.core_end - self.begin) // stride)

    def covered(self, stride: int) -> slice:
        """Return the window as a slice of the picture's positions of a layer.

        `stride` is that of the layer.
        """
        return slice(self.begin // stride, self.end // stride)

    def core_covered(self, stride: int) -> slice:
        """Return the core as a slice of the picture's positions of a layer.

        `stride` is that of the layer.
        """
        return slice(self.core_begin // stride, self.core_end // stride)


class Rectangle(NamedTuple):
    """A window of a picture, or of a feature map: its rows and its columns."""

    rows: Span
    columns: Span


class Part(NamedTuple):
    """Consecutive layers of the network, and the windows of their input.

    All windows have the same shape.
    """

    layers: range
    rows: Sequence[Span]
    columns: Sequence[Span]

    @property
    def windows(self) -> Iterator[Rectangle]:
        """The windows, row by row."""
        return (Rectangle(*spans) for spans in itertools.product(self.rows, self.columns))

    @property
    def number(self) -> int:
        """The number of windows."""
        return len(self.rows) * len(self.columns)

    @property
    def stride(self) -> int:
        """The number of pixels that a position of its input covers in each direction."""
        return stride_before(self.layers)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a window."""
        return self.rows[0].end, self.columns[0].end


def stride_before(layers: range) -> int:
    """Return the pixels per position of the input of `layers`, in each direction."""
    return smallest_side(layers.start - 1)


@functools.lru_cache(maxsize=None)
def halo_of(layers: range) -> tuple[int, int]:
    """Return the halo of `layers`, and the grid of their windows.

    The halo is the reach of their features around a position of the input.

    >>> halo_of(range(29)), halo_of(range(10))
    ((80, 16), (8, 4))
    """
    reach, stride = 0, 1
    for layer in layers:
        if NAMES[layer].startswith("conv"):
            reach += stride
        elif NAMES[layer].startswith("pool"):
            stride *= 2
    return -(-reach // stride) * stride, stride


def smallest_window(layers: range) -> int:
    """Return the smallest side of a window of `layers` that has a core at any place."""
    halo, grid = halo_of(layers)
    return 2 * halo + 2 * grid


def spans(side: int, max_side: int, layers: range) -> list[Span]:
    """Return windows of equal length along a `side` of the input of `layers`.

    The length is at most `max_side` if possible.

    >>> spans(100, 68, range(10))
    [Span(begin=0, end=60, core_begin=0, core_end=48), Span(begin=40, end=100, core_begin=48, core_end=100)]
    """
    if side <= max_side:
        return [Span(0, side, 0, side)]
    halo, grid = halo_of(layers)
    number = max(2, (side - 2 * halo) // max(max_side - 2 * halo, 1))
    while True:
        step = (side - 2 * halo) // (number * grid) * grid
        length = side - (number - 1) * step
        if step <= 0:  # windows can't be that small
            return spans(side, max_side + grid, layers)
        if length <= max_side:
            break
        number += 1
    cores = [0, *(begin * step + halo for begin in range(1, number)), side]
    return [Span(place * step, place * step + length, cores[place], cores[place + 1]) for place in range(number)]


def part(layers: range, size: tuple[int, int], max_size: tuple[int, int]) -> Part:
    """Return the part of `layers` in windows of at most `max_size`.

    `size` is the (height, width) of the first layer's input.
    """
    rows, columns = (spans(side, limit, layers) for side, limit in zip(size, max_size))
    return Part(layers, rows, columns)


def whole(last: int, size: tuple[int, int]) -> list[Part]:
    """Return the network up to layer `last` as one part in one window.

    `size` is the (height, width) of the picture.
    """
    return [part(range(last + 1), size, size)]


def cut(last: int, size: tuple[int, int], below: tuple[int, int], above: tuple[int, int] | None = None) -> list[Part]:
    """Return the network up to layer `last` in windows.

    They are at most `below` in size; if the network is cut, because `last` is above CUT, those above the cut are at
    most `above`, or without `above` one window. Sizes are (height, width) in pixels of the picture.
    """
    if last <= CUT:
        return [part(range(last + 1), size, below)]
    stride = smallest_side(CUT)
    height, width = (side // stride for side in size)
    most = (height, width) if above is None else (above[0] // stride, above[1] // stride)
    return [part(range(CUT + 1), size, below), part(range(CUT + 1, last + 1), (height, width), most)]


_MULTIPLICATIONS_PER_OUTPUT = 600
"""Number of multiplications that take as long as writing one value."""


def of_window(part: Part, per_pixel: Callable[[int], float]) -> float:
    """Return a sum over the layers of a part for one window.

    `per_pixel` returns the sum up to a layer.
    """
    return math.prod(part.shape) * part.stride**2 * (per_pixel(part.layers[-1]) - per_pixel(part.layers.start - 1))


def work(parts: Sequence[Part]) -> float:
    """Return the duration of an evaluation in arbitrary units.

    It is estimated from the outputs of the layers and their multiplications. In several windows the forward pass is
    computed twice.
    """
    return sum(
        part.number
        * (of_window(part, outputs_per_pixel) + of_window(part, multiplications) / _MULTIPLICATIONS_PER_OUTPUT)
        * (4 / 3 if part.number > 1 else 1)
        for part in parts
    )
