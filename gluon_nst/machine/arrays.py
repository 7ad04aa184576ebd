"""MXNet's two array modes.

The package computes with classic NDArrays, but its callers may be in np mode.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Generator, TypeVar, cast

from gluon_nst.machine.trees import walk

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Generator = TypeVar("_Generator", bound=Callable[..., Generator[Any, None, Any]])
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _converted(values: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    """Convert each array of `kind` in `values`.

    Arrays in lists, tuples and dictionaries are converted, too.
    """
    return walk(values, lambda value: convert(value) if isinstance(value, kind) else value, node=None)


def _as_nd(values: Any) -> Any:
    """Replace the arrays of mxnet.np in `values` by NDArrays."""
    import mxnet as mx

    return _converted(values, mx.np.ndarray, lambda array: array.as_nd_ndarray())


def nd_mode(function: _Function) -> _Function:
    """Decorate a function to compute with classic NDArrays in any array mode.

    After `npx.set_np()`, which every notebook of d2l 1.0 calls, blocks for NDArrays fail. Therefore the function runs
    with np mode off; the caller's mxnet.np arrays are converted to NDArrays, and the result back to np arrays.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        import mxnet as mx

        if not (mx.util.is_np_array() or mx.util.is_np_shape()):
            return function(*args, **kwargs)
        to_np = mx.util.is_np_array()
        with mx.util.np_array(False), mx.util.np_shape(False):
            args, kwargs = _as_nd((args, kwargs))
            output = function(*args, **kwargs)
            if to_np:
                output = _converted(output, mx.nd.NDArray, lambda array: array.as_np_ndarray())
            return output

    return cast(_Function, run)


def nd_mode_steps(generator_function: _Generator) -> _Generator:
    """Decorate a generator function to use classic NDArrays in any array mode.

    The array mode is a global setting. Therefore np mode is off only from a `next` to its `yield`, and while the
    generator is closed; in between the caller's mode is restored. The arguments' mxnet.np arrays are converted to
    NDArrays; the yielded values are not converted.
    """

    @functools.wraps(generator_function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, None, Any]:
        import mxnet as mx

        if mx.util.is_np_array() or mx.util.is_np_shape():
            with mx.util.np_array(False), mx.util.np_shape(False):
                args, kwargs = _as_nd((args, kwargs))
        return _stepped(generator_function(*args, **kwargs))

    return cast(_Generator, run)


def _stepped(steps: Generator[_Item, None, _Result]) -> Generator[_Item, None, _Result]:
    """Yield the items of `steps` and return its result, with np mode off in steps."""
    from mxnet.util import np_array, np_shape  # here, because nothing can be imported when the interpreter exits

    def with_np_off(step: Callable[..., Any], *args: Any) -> Any:
        with np_array(False), np_shape(False):
            return step(*args)

    try:
        while True:
            yield with_np_off(next, steps)  # not in a variable, which would keep the item alive in the next step
    except StopIteration as end:
        return end.value
    finally:
        with_np_off(steps.close)
