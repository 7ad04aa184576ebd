"""A file that holds a tree of plain values and arrays, and a checksum of all of it.

A line that says what it is; the tree as JSON in another one, in which `{"$array": [type, shape]}` stands for each
array; the arrays' bytes in that order; and the SHA-256 of what comes before it, in hexadecimal. No code is ever run of
it, as it would be of a pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import IO, Any, Iterator

import numpy as np
from mxnet import nd

from gluon_nst.errors import InputError
from gluon_nst.machine import nd_mode
from gluon_nst.machine.files import placed_whole, reading
from gluon_nst.version import __version__

_BEGINNING = b"gluon-nst checkpoint 1\n"
_ARRAY = "$array"
_TYPES = ("float32", "uint16", "uint8")
_DIGEST = hashlib.sha256().digest_size * 2
_PIECE = 2**24
"""Bytes that are read at a time."""


class Damaged(InputError):
    """A file that is no checkpoint any more."""


def _pieces(array: Any) -> Iterator[np.ndarray]:
    """An array in pieces that lie together in the memory: of MXNet's, which has to be copied, one channel after the
    other."""
    if isinstance(array, nd.NDArray):
        yield from (channel.asnumpy() for channel in array.reshape((-1, *array.shape[-2:])))
    else:
        yield np.ascontiguousarray(array)


def is_finite(array: Any) -> bool:
    """Whether all values of an array, NumPy's or MXNet's, are finite."""
    return all(np.isfinite(piece).all() for piece in _pieces(array))


def _without_arrays(tree: Any, arrays: list[Any]) -> Any:
    """The tree with what stands for each array in its place; the arrays go into the list."""
    if isinstance(tree, dict):
        return {name: _without_arrays(value, arrays) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_without_arrays(value, arrays) for value in tree]
    if isinstance(tree, (np.ndarray, nd.NDArray)):
        arrays.append(tree)
        return {_ARRAY: [np.dtype(tree.dtype).name, list(tree.shape)]}
    return tree


@nd_mode
def is_one(path: Path) -> bool:
    """Whether a file is a checkpoint of gluon-nst's by its beginning, which may be cut short."""
    try:
        with open(path, "rb") as file:
            return _BEGINNING.startswith(file.read(len(_BEGINNING)))
    except OSError:
        return False


def write(path: str | Path, tree: Any) -> None:
    """Write a tree to `path`: whole or not at all, and on the disk when this returns. Raises NSTError where it can't
    be."""
    arrays: list[Any] = []
    header = json.dumps({"gluon-nst": __version__, "tree": _without_arrays(tree, arrays)}, allow_nan=True)
    with placed_whole(path, sync=True) as temporary, open(temporary, "wb") as file:
        digest = hashlib.sha256()

        def put(piece: Any) -> None:
            file.write(piece)
            digest.update(piece)

        put(_BEGINNING)
        put(f"{header}\n".encode())
        for array in arrays:
            for piece in _pieces(array):
                put(piece.data.cast("B"))
        file.write(digest.hexdigest().encode())


def read(path: str | Path) -> Any:
    """The tree in the file at `path`, with NumPy's arrays. Raises InputError where it is damaged, or none."""
    with reading(path, "a checkpoint"), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size - _DIGEST
        if file.read(len(_BEGINNING)) != _BEGINNING:
            raise Damaged(f"{path}: no checkpoint of this version of gluon-nst")
        file.seek(0)
        if size < len(_BEGINNING) or not _is_whole(file, size):
            raise Damaged(f"{path}: the checkpoint is damaged: its checksum is another")
        file.seek(len(_BEGINNING))
        try:
            header = json.loads(file.readline())["tree"]
            return _with_arrays(header, file, size)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Damaged(f"{path}: not a checkpoint of gluon-nst's, though its checksum is right") from None


def _is_whole(file: IO[bytes], size: int) -> bool:
    """Whether the first `size` bytes of a file have the checksum that comes after them."""
    digest = hashlib.sha256()
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            return False
        digest.update(piece)
        size -= len(piece)
    return file.read() == digest.hexdigest().encode()


def _with_arrays(tree: Any, file: IO[bytes], end: int) -> Any:
    """The tree with its arrays, which the file holds up to its byte `end`, in their places."""
    if isinstance(tree, list):
        return [_with_arrays(value, file, end) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if _ARRAY not in tree:
        return {name: _with_arrays(value, file, end) for name, value in tree.items()}
    kind, shape = tree[_ARRAY]
    if kind not in _TYPES or math.prod(shape) * np.dtype(kind).itemsize > end - file.tell():
        raise ValueError(kind)
    array = np.empty(shape, kind)
    file.readinto(array.data.cast("B"))  # type: ignore[attr-defined]
    return array
