"""Builders of MXNet graphs of the whole input or of its windows."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

from mxnet import nd, sym

from gluon_nst.engine.windows import Part, Rectangle
from gluon_nst.network.layers import smallest_side
from gluon_nst.typing import NDArray, Symbol


def sliced(X: Any, rows: slice, columns: slice) -> Any:
    """Return these rows and columns of `X`, 1 × c × h × w.

    NDArrays are sliced by MXNet's operator, which also reads oneDNN's layouts.
    """
    if not isinstance(X, nd.NDArray):
        return X[:, :, rows, columns]
    _, channels, height, width = X.shape
    if (rows, columns) == (slice(0, height), slice(0, width)):
        return X
    return nd.slice(X, begin=(0, 0, rows.start, columns.start), end=(1, channels, rows.stop, columns.stop))


class Graph:
    """A builder of a graph with arrays as variables, some of which have gradients."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self._arrays: dict[str, NDArray] = {}
        self.gradients: dict[str, NDArray] = {}

    def variable(self, name: str, array: NDArray, gradient: NDArray | None = None) -> Symbol:
        """Return a variable for an `array`, whose gradient is written to `gradient`."""
        self._arrays[name] = array
        if gradient is not None:
            self.gradients[name] = gradient
        return sym.var(name, shape=array.shape, dtype=array.dtype)

    def with_gradient(self, name: str, array: NDArray) -> Symbol:
        """Return a variable with a gradient, for the output of another graph."""
        return self.variable(name, array, nd.zeros_like(array))

    def constant(self, name: str, array: Any) -> Symbol:
        """Return a variable for a constant, in MXNet's layout.

        A constant in oneDNN's layout would be converted in every epoch.
        """
        array = array.asnumpy() if isinstance(array, nd.NDArray) else array
        return self.variable(name, nd.array(array, ctx=self.context))

    def bind(self, outputs: Sequence[Symbol], others: dict[str, NDArray]) -> Any:
        """Return an executor that computes the `outputs`.

        `others` are the arrays of other symbols in them.
        """
        graph = sym.Group(outputs)
        arrays = {**self._arrays, **{name: others[name] for name in graph.list_arguments() if name in others}}
        requests = {name: "write" if name in self.gradients else "null" for name in arrays}
        return graph.bind(self.context, arrays, args_grad=self.gradients, grad_req=requests)


class _Covered(NamedTuple):
    """An input of a graph: `buffer` holds a window's part of the `whole`."""

    buffer: NDArray
    whole: Any
    stride: int


class PartGraph(Graph):
    """A builder of the graph of a part of the network, computed window by window.

    With one window its variables are whole arrays. A `stride` is the number of pixels of the picture that a position
    covers in each direction.
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
        """Return a variable for the window's part of an array of positions, 1 × c × h × w."""
        if not self.windowed:
            return self.constant(name, whole if isinstance(whole, nd.NDArray) else whole[:, :, :, :])
        return self.variable(name, self.input(whole, stride))

    def input(self, whole: Any, stride: int) -> NDArray:
        """Return the buffer for a window's part of `whole`."""
        buffer = self._buffer(whole.shape[1], stride)
        self._covered.append(_Covered(buffer, whole, stride // self._part.stride))
        return buffer

    def core(self, stride: int) -> Symbol | None:
        """Return a variable that is 1 in a window's core, and 0 around it.

        None for a single window.
        """
        if not self.windowed:
            return None
        if stride not in self._cores:
            array = self._buffer(1, stride)
            self._cores[stride] = self.variable(f"core/{stride}", array), array
        return self._cores[stride][0]

    def weights(self, name: str, whole: NDArray, stride: int) -> Symbol:
        """Return a variable for weights of positions, 1 × 1 × h × w.

        They are 0 around a window's core.
        """
        weights, core = self.covered(name, whole, stride), self.core(stride)
        return weights if core is None else weights * core

    def corners(self) -> Symbol | None:
        """Return a variable for weights of pixels' corners; None for a single window.

        The corner of a pixel is its lower right one (see `reductions.TotalVariation`).
        """
        if not self.windowed:
            return None
        height, width = self._part.shape
        self._corners = nd.zeros((1, 1, height + 1, width + 1), ctx=self.context)
        return self.variable("corners", self._corners)

    def load(self, window: Rectangle) -> None:
        """Load the data of a `window` into the buffers."""
        for buffer, whole, stride in self._covered:
            buffer[:] = sliced(whole, *(span.covered(stride) for span in window))
        for stride, (_, array) in self._cores.items():
            array[:] = 0
            rows, columns = (span.core(stride // self._part.stride) for span in window)
            array[:, :, rows, columns] = 1
        if self._corners is not None:
            rows, columns = (span.core(1) for span in window)
            self._corners[:] = 0
            # The corners at the picture's upper and left edge belong to the first pixels, too.
            top, left = (core.start + (1 if core.start else 0) for core in (rows, columns))
            self._corners[:, :, top : rows.stop + 1, left : columns.stop + 1] = 1


class Computed:
    """The evaluation of a part of the network in its windows.

    It computes the sums over the windows' cores, the output for the next part, and the gradient of the input.

    - `source` is the whole input, and `gradient` accumulates its gradient.
    - `onward` is the output of the last layer, if there is a next part, and `back` its gradient.
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
        """Create the executor of the `sums` and, for a next part, the `last` output."""
        self._executor = self.graph.bind([*sums, *([] if last is None else [last])], parameters)
        if last is not None:
            *_, output = self._executor.outputs
            height, width = (side // self._reduction for side in self._whole_gradient.shape[2:])
            self.onward = nd.zeros((1, output.shape[1], height, width), ctx=output.context)
            self.back, self._head = nd.zeros_like(self.onward), nd.zeros_like(output)
        outputs = self._executor.outputs[: len(sums)]
        self.sums = [nd.zeros_like(output) for output in outputs] if self.graph.windowed else outputs

    @property
    def _reduction(self) -> int:
        """Number of input positions per position of the last layer, in each direction."""
        return smallest_side(self.part.layers[-1]) // self.part.stride

    def _cores(self, window: Rectangle) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return a window's core as slices of the last layer's output.

        The first pair is of the window's output, the second of the whole picture's.
        """
        stride, (rows, columns) = self._reduction, window
        return (rows.core(stride), columns.core(stride)), (rows.core_covered(stride), columns.core_covered(stride))

    def sums_of(self, window: Rectangle) -> list[NDArray]:
        """Compute a window; return its sums and its output."""
        self.graph.load(window)
        return self._executor.forward(is_train=True)

    def gradient_of(self, heads: Sequence[NDArray]) -> NDArray:
        """Return the gradient of the input of the latest window.

        `heads` are the gradients of its outputs.
        """
        self._executor.backward(list(heads))
        return self._gradient

    def forward(self) -> None:
        """Compute the sums, and the output for the next part."""
        windowed = self.graph.windowed
        for number, window in enumerate(self.part.windows):
            outputs = self.sums_of(window)
            if windowed:
                for total, output in zip(self.sums, outputs):
                    total[:] = output if number == 0 else total + output
            if self.onward is not None:
                window_core, core = self._cores(window)
                self.onward[(..., *core)] = sliced(outputs[-1], *window_core)

    def backward(self, sum_gradients: list[NDArray]) -> None:
        """Compute the gradient of the whole input.

        It needs the gradients of the sums, and that of the output in `back`. With several windows the features are
        computed again, because those of all windows would not fit into memory.
        """
        if self.graph.windowed:
            self._whole_gradient[:] = 0
        for window in self.part.windows:
            heads = list(sum_gradients)
            if self.graph.windowed:
                self.sums_of(window)
            if self.onward is not None:
                window_core, core = self._cores(window)
                self._head[:] = 0
                self._head[(..., *window_core)] = sliced(self.back, *core)
                heads.append(self._head)
            gradient = self.gradient_of(heads)
            if self.graph.windowed:
                add_window(self._whole_gradient, window, gradient)


Computing = Callable[[NDArray, NDArray], Any]
"""Factory that takes the input and its gradient buffer and returns a `Computed` evaluated by remote workers."""


def add_window(whole: NDArray, window: Rectangle, gradient: NDArray) -> None:
    """Add a window's gradient to that of the whole input."""
    covered = [span.covered(1) for span in window]
    whole[(..., *covered)] = sliced(whole, *covered) + gradient


class Piece:
    """A placeholder of an array, 1 × c × h × w, with one window of it in `here`."""

    grad = None

    def __init__(self, shape: tuple[int, ...], context: Any) -> None:
        self.shape, self.context = shape, context
        self.here: NDArray | None = None

    def __getitem__(self, place: tuple[slice, ...]) -> NDArray | None:
        return self.here
