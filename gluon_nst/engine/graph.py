"""MXNet graphs in the making: variables that stand for arrays, whole, or for the part of them that a window covers."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

from mxnet import nd, sym

from gluon_nst.engine.windows import Part, Rectangle
from gluon_nst.network.layers import smallest_side
from gluon_nst.typing import NDArray, Symbol


def sliced(X: Any, rows: slice, columns: slice) -> Any:
    """A part of `X`, 1 × c × h × w, or all of it: of an NDArray by MXNet's operator, which reads oneDNN's layouts
    too."""
    if not isinstance(X, nd.NDArray):
        return X[:, :, rows, columns]
    _, channels, height, width = X.shape
    if (rows, columns) == (slice(0, height), slice(0, width)):
        return X
    return nd.slice(X, begin=(0, 0, rows.start, columns.start), end=(1, channels, rows.stop, columns.stop))


class Graph:
    """A graph in the making: its variables stand for arrays, and some of them are to have gradients."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self._arrays: dict[str, NDArray] = {}
        self.gradients: dict[str, NDArray] = {}

    def variable(self, name: str, array: NDArray, gradient: NDArray | None = None) -> Symbol:
        """The variable that stands for an `array`, whose gradient goes to `gradient`."""
        self._arrays[name] = array
        if gradient is not None:
            self.gradients[name] = gradient
        return sym.var(name, shape=array.shape, dtype=array.dtype)

    def with_gradient(self, name: str, array: NDArray) -> Symbol:
        """The variable for what another graph puts out."""
        return self.variable(name, array, nd.zeros_like(array))

    def constant(self, name: str, array: Any) -> Symbol:
        """The variable for what never changes, as MXNet's own operators read it: in oneDNN's layout it would be
        converted in every epoch."""
        array = array.asnumpy() if isinstance(array, nd.NDArray) else array
        return self.variable(name, nd.array(array, ctx=self.context))

    def bind(self, outputs: Sequence[Symbol], others: dict[str, NDArray]) -> Any:
        """An executor that computes the `outputs`; `others` are arrays that symbols from elsewhere stand for."""
        graph = sym.Group(outputs)
        arrays = {**self._arrays, **{name: others[name] for name in graph.list_arguments() if name in others}}
        requests = {name: "write" if name in self.gradients else "null" for name in arrays}
        return graph.bind(self.context, arrays, args_grad=self.gradients, grad_req=requests)


class _Covered(NamedTuple):
    """What a graph reads of an array of positions: `buffer` holds the part of the `whole` that a window covers."""

    buffer: NDArray
    whole: Any
    stride: int


class PartGraph(Graph):
    """The graph of a part of the network, for one of its windows after the other; with one window it stands for whole
    arrays.

    A `stride` is how many pixels of the picture a position covers in each direction.
    """

    def __init__(self, context: Any, part: Part) -> None:
        super().__init__(context)
        self._part = part
        self._covered: list[_Covered] = []
        self._cores: dict[int, tuple[Symbol, NDArray]] = {}
        self._corners: NDArray | None = None

    @property
    def windowed(self) -> bool:
        """Whether there are several windows."""
        return self._part.number > 1

    def _buffer(self, channels: int, stride: int) -> NDArray:
        height, width = (side // (stride // self._part.stride) for side in self._part.shape)
        return nd.zeros((1, channels, height, width), ctx=self.context)

    def covered(self, name: str, whole: Any, stride: int) -> Symbol:
        """The variable for an array of the picture's positions, 1 × c × h × w, of which a window's part is read."""
        if not self.windowed:
            return self.constant(name, whole if isinstance(whole, nd.NDArray) else whole[:, :, :, :])
        return self.variable(name, self.input(whole, stride))

    def input(self, whole: Any, stride: int) -> NDArray:
        """The array that a window's part of `whole` is read into."""
        buffer = self._buffer(whole.shape[1], stride)
        self._covered.append(_Covered(buffer, whole, stride // self._part.stride))
        return buffer

    def core(self, stride: int) -> Symbol | None:
        """The variable that is 1 in a window's core, and 0 around it; None where the one window is all core."""
        if not self.windowed:
            return None
        if stride not in self._cores:
            array = self._buffer(1, stride)
            self._cores[stride] = self.variable(f"core/{stride}", array), array
        return self._cores[stride][0]

    def weights(self, name: str, whole: NDArray, stride: int) -> Symbol:
        """The variable for weights of positions, 1 × 1 × h × w; there are none around a window's core."""
        weights, core = self.covered(name, whole, stride), self.core(stride)
        return weights if core is None else weights * core

    def corners(self) -> Symbol | None:
        """The variable for weights of pixels' corners, as `reductions.TotalVariation` takes them: at its lower
        right each is a pixel's own."""
        if not self.windowed:
            return None
        height, width = self._part.shape
        self._corners = nd.zeros((1, 1, height + 1, width + 1), ctx=self.context)
        return self.variable("corners", self._corners)

    def load(self, window: Rectangle) -> None:
        """Let the variables stand for what is in a `window`."""
        for buffer, whole, stride in self._covered:
            buffer[:] = sliced(whole, *(span.covered(stride) for span in window))
        for stride, (_, array) in self._cores.items():
            array[:] = 0
            rows, columns = (span.core(stride // self._part.stride) for span in window)
            array[:, :, rows, columns] = 1
        if self._corners is not None:
            rows, columns = (span.core(1) for span in window)
            self._corners[:] = 0
            # The corners along the picture's own upper and left edge are those pixels' too.
            top, left = (own.start + (1 if own.start else 0) for own in (rows, columns))
            self._corners[:, :, top : rows.stop + 1, left : columns.stop + 1] = 1


class Computed:
    """A part of the network in the making and at work: sums over its windows' cores, what goes on from it, and the way
    back.

    - `source` is what goes in, whole, and `gradient` where its gradient is added up.
    - `onward`, where the network goes on from here, is where the last layer's output goes, and `back` its gradient.
    """

    def __init__(self, part: Part, source: NDArray, gradient: NDArray) -> None:
        self.part, self.graph = part, PartGraph(source.context, part)
        self._whole_gradient = gradient
        self.onward: NDArray | None = None
        self.back: NDArray | None = None
        if self.graph.windowed:
            source = self.graph.input(source, part.stride)
            gradient = nd.zeros_like(source)
        self._gradient = gradient
        self.input = self.graph.variable("X", source, gradient)

    def bind(self, sums: list[Symbol], last: Symbol | None, parameters: dict[str, NDArray]) -> None:
        """Make the executor of the `sums`, and of the `last` layer's output where the network goes on from there."""
        self._executor = self.graph.bind([*sums, *([] if last is None else [last])], parameters)
        if last is not None:
            *_, output = self._executor.outputs
            height, width = (side // self._shrinks for side in self._whole_gradient.shape[2:])
            self.onward = nd.zeros((1, output.shape[1], height, width), ctx=output.context)
            self.back, self._head = nd.zeros_like(self.onward), nd.zeros_like(output)
        outputs = self._executor.outputs[: len(sums)]
        self.sums = [nd.zeros_like(output) for output in outputs] if self.graph.windowed else outputs

    @property
    def _shrinks(self) -> int:
        """How many positions of what goes in the last layer makes one of, in each direction."""
        return smallest_side(self.part.layers[-1]) // self.part.stride

    def _cores(self, window: Rectangle) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a window's core is among the last layer's positions: in the window, and in the whole."""
        stride, (rows, columns) = self._shrinks, window
        return (rows.core(stride), columns.core(stride)), (rows.core_covered(stride), columns.core_covered(stride))

    def sums_of(self, window: Rectangle) -> list[NDArray]:
        """Compute a window: its sums, and what goes on from there."""
        self.graph.load(window)
        return self._executor.forward(is_train=True)

    def gradient_of(self, heads: Sequence[NDArray]) -> NDArray:
        """Of the window that was computed last, the gradient of what goes in; `heads` are those of what came out."""
        self._executor.backward(list(heads))
        return self._gradient

    def forward(self) -> None:
        """Compute the sums, and what goes on from here."""
        windowed = self.graph.windowed
        for number, window in enumerate(self.part.windows):
            outputs = self.sums_of(window)
            if windowed:
                for total, output in zip(self.sums, outputs):
                    total[:] = output if number == 0 else total + output
            if self.onward is not None:
                own, core = self._cores(window)
                self.onward[(..., *core)] = sliced(outputs[-1], *own)

    def backward(self, of_sums: list[NDArray]) -> None:
        """Take the sums' gradients, and that in `back`, to the whole of what goes in.

        Of several windows the features are computed once more: those of all of them would have to be kept.
        """
        if self.graph.windowed:
            self._whole_gradient[:] = 0
        for window in self.part.windows:
            heads = list(of_sums)
            if self.graph.windowed:
                self.sums_of(window)
            if self.onward is not None:
                own, core = self._cores(window)
                self._head[:] = 0
                self._head[(..., *own)] = sliced(self.back, *core)
                heads.append(self._head)
            gradient = self.gradient_of(heads)
            if self.graph.windowed:
                add_window(self._whole_gradient, window, gradient)


Computing = Callable[[NDArray, NDArray], Any]
"""What makes of what goes in, and of its gradient, what does as a Computed, where that is not here."""


def add_window(whole: NDArray, window: Rectangle, gradient: NDArray) -> None:
    """Add what a window's gradient is to that of the whole."""
    covered = [span.covered(1) for span in window]
    whole[(..., *covered)] = sliced(whole, *covered) + gradient


class Piece:
    """Stands for an array, 1 × c × h × w, of which only the piece in one window is `here` at a time; the whole is
    elsewhere."""

    grad = None

    def __init__(self, shape: tuple[int, ...], context: Any) -> None:
        self.shape, self.context = shape, context
        self.here: NDArray | None = None

    def __getitem__(self, place: tuple[slice, ...]) -> NDArray | None:
        return self.here
