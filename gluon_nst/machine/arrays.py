"""MXNet's two array modes: the package computes with classic NDArrays, and its callers may be in np mode."""

from __future__ import annotations

import functools
from typing import Any, Callable, Generator, TypeVar, cast

from gluon_nst.machine.trees import walk

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Generator = TypeVar("_Generator", bound=Callable[..., Generator[Any, None, Any]])
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _converted(values: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    """`values` with each array of `kind` converted, also those in lists, tuples and dictionaries."""
    return walk(values, lambda value: convert(value) if isinstance(value, kind) else value, node=None)


def _as_nd(values: Any) -> Any:
    """`values` with NDArrays for the arrays of mxnet.np."""
    import mxnet as mx

    return _converted(values, mx.np.ndarray, lambda array: array.as_nd_ndarray())


def nd_mode(function: _Function) -> _Function:
    """Run `function` with MXNet's classic NDArray, whatever array mode the caller is in.

    After `npx.set_np()`, which every notebook of d2l 1.0 calls, blocks written for NDArray break. So the function
    runs with np mode off, gets NDArrays for the caller's mxnet.np arrays, and gives such a caller np arrays back.
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
    """Run each step of a generator with MXNet's classic NDArray, whatever array mode the caller is in.

    A generator stands still between its steps, and the mode that it had set would be its caller's. So np mode is off
    from a `next` to the `yield` that answers it, and while the generator is closed; in between the caller has its own.
    The function gets NDArrays for the mxnet.np arrays of a caller in np mode; what it yields is given as it is.
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
    """The items and the result of `steps`, each of which is taken with np mode off."""
    from mxnet.util import np_array, np_shape  # for the end too: a process that ends imports nothing any more

    def with_np_off(step: Callable[..., Any], *args: Any) -> Any:
        with np_array(False), np_shape(False):
            return step(*args)

    try:
        while True:
            yield with_np_off(next, steps)  # under no name, which would keep the item through the next step
    except StopIteration as end:
        return end.value
    finally:
        with_np_off(steps.close)
