"""The file format of checkpoints: NumPy's .npz with JSON and a checksum.

It is a zip archive, which `numpy.load` reads. Its first member, gluon-nst.json, is the tree, in which
`{"$array": NAME}` stands for the array in the member NAME.npy, and `{"$type": "State", …}` for a State. The checksums
of a zip archive do not cover its headers; therefore the archive comment is the SHA-256 of all bytes before it, in
hexadecimal.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Iterator

import numpy as np
from mxnet import nd
from numpy.lib import format as npy
from PIL import Image

from gluon_nst.engine.memory import Plan
from gluon_nst.engine.windows import Part, Span
from gluon_nst.errors import InputError
from gluon_nst.losses.records import Epoch, Losses
from gluon_nst.machine import nd_mode
from gluon_nst.machine.files import placed_whole, reading
from gluon_nst.machine.trees import walk
from gluon_nst.optimisers.adam import AdamState, Moments
from gluon_nst.optimisers.lbfgs import BFloat16, LBFGSState, Pair
from gluon_nst.runs.state import State
from gluon_nst.version import __version__

FORMAT = 2
"""The version of the file format; a file of version 1 was not a zip archive."""
_FORMAT_1_SIGNATURE = b"gluon-nst checkpoint 1\n"
_TREE = "gluon-nst.json"
_SIGNATURES = {0: b"PK\3\4", 30: b"gluon-nst"}
"""The file's signature, by offset: the header of a zip archive's first member, and the name in it."""
_ARRAY, _TYPE = "$array", "$type"
_DTYPES = ("float32", "uint16", "uint8")
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (State, AdamState, Moments, LBFGSState, Pair, BFloat16, Epoch, Losses, Plan, Part, Span)
}
"""The dataclasses and NamedTuples that a tree may contain, beside plain values, arrays, images and ranges."""
_DIGEST_LENGTH = hashlib.sha256().digest_size * 2
_CHUNK_SIZE = 2**24
"""Bytes that are read at a time."""
_MALFORMED = (struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile)
"""Errors of the libraries for a malformed archive or array."""


class Damaged(InputError):
    """The file is damaged, or is not a checkpoint."""


class OtherFormat(InputError):
    """A checkpoint in the format of another version of gluon-nst."""


# -- arrays -----------------------------------------------------------------------------------------------------------


def _pieces(array: Any) -> Iterator[np.ndarray]:
    """Yield the contiguous pieces of an array.

    An NDArray is copied channel by channel.
    """
    if isinstance(array, nd.NDArray):
        yield from (channel.asnumpy() for channel in array.reshape((-1, *array.shape[-2:])))
    else:
        yield np.ascontiguousarray(array)


@nd_mode
def is_finite(array: Any) -> bool:
    """Whether all values of an array, NumPy's or MXNet's, are finite."""
    return all(np.isfinite(piece).all() for piece in _pieces(array))


def _write_array(file: IO[bytes], array: Any) -> None:
    """Write an array in NumPy's format, piece by piece.

    An NDArray is never copied as a whole.
    """
    descr = npy.dtype_to_descr(np.dtype(array.dtype))
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": tuple(array.shape)})
    for piece in _pieces(array):
        file.write(piece.data.cast("B"))


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read the array NAME.npy.

    Raises ValueError for one that is larger than its member, or of a different type.
    """
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file)
        if dtype.name not in _DTYPES or math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(name)
        file.seek(0)
        array: np.ndarray = npy.read_array(file, allow_pickle=False)
        return array


# -- the tree ---------------------------------------------------------------------------------------------------------


def _encoded(tree: Any, arrays: dict[str, Any]) -> Any:
    """Return a tree in JSON types, with a reference in place of each array.

    The arrays are added to `arrays` by name.
    """

    def leaf(value: Any) -> Any:
        if isinstance(value, (np.ndarray, nd.NDArray)):
            name = str(len(arrays))
            arrays[name] = value
            return {_ARRAY: name}
        if isinstance(value, Image.Image):
            return {_TYPE: "Image", "pixels": leaf(np.asarray(value))}
        if isinstance(value, range):
            return {_TYPE: "range", "start": value.start, "stop": value.stop}
        return value

    def node(kind: type, fields: dict[Any, Any]) -> Any:
        return fields if kind is dict else {_TYPE: kind.__name__, **fields}

    return walk(tree, leaf, node)


def restored(tree: Any, kind: type) -> Any:
    """Return a tree of `read` with its dataclasses, NamedTuples, images and ranges.

    Raises InputError if it is not of type `kind`, or contains a type or a field that this version does not have.
    """

    def node(kind: type, fields: dict[Any, Any]) -> Any:
        name = fields.pop(_TYPE, None)
        if name is None:
            return fields
        if name == "Image":
            return Image.fromarray(fields["pixels"])
        if name == "range":
            return range(fields["start"], fields["stop"])
        if fields.keys() != _KINDS[name].__annotations__.keys():
            raise ValueError(f"other fields of {name}")
        return _KINDS[name](**fields)

    try:
        value = walk(tree, lambda value: value, node)
        if not isinstance(value, kind):
            raise ValueError(f"it has no {kind.__name__}")
        return value
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the checkpoint is of another version of gluon-nst ({error})") from None


# -- the file ---------------------------------------------------------------------------------------------------------


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a checkpoint of any format, complete or truncated."""
    try:
        with open(path, "rb") as file:
            start = file.read(100)
    except OSError:
        return False
    return _FORMAT_1_SIGNATURE.startswith(start[: len(_FORMAT_1_SIGNATURE)]) or all(
        mark.startswith(start[place : place + len(mark)]) for place, mark in _SIGNATURES.items()
    )


@nd_mode
def write(path: str | Path, tree: Any) -> None:
    """Write a tree to `path` atomically, and flush it to the disk.

    Raises NSTError if it can't be written.
    """
    arrays: dict[str, Any] = {}
    header = {"format": FORMAT, "gluon-nst": __version__, "tree": _encoded(tree, arrays)}
    with placed_whole(path, sync=True) as temporary, open(temporary, "w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = bytes(_DIGEST_LENGTH)
            archive.writestr(zipfile.ZipInfo(_TREE), json.dumps(header, allow_nan=True))
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    _write_array(member, array)
        digest = _digest(file)
        file.seek(-_DIGEST_LENGTH, 2)
        file.write(digest)


def read(path: str | Path) -> Any:
    """Return the tree in the file at `path`: JSON values and NumPy arrays.

    `restored` creates its types. Raises Damaged if the file is damaged or not a checkpoint, and OtherFormat if this
    version cannot read its format.
    """
    with reading(path, "a checkpoint"), open(path, "rb") as file:
        start = file.read(100)
        if start.startswith(_FORMAT_1_SIGNATURE):
            raise _other_format(path)
        if any(not mark.startswith(start[place : place + len(mark)]) for place, mark in _SIGNATURES.items()):
            raise Damaged(f"{path}: not a checkpoint of gluon-nst")
        if _digest(file) != file.read():
            raise Damaged(f"{path}: the checkpoint is damaged: its SHA-256 does not match")
        try:
            with zipfile.ZipFile(file) as archive:
                _check_size(archive, os.fstat(file.fileno()).st_size)
                header = json.loads(archive.read(_TREE))
                if header["format"] == FORMAT:
                    return _with_arrays(header["tree"], archive)
        except (ValueError, KeyError, TypeError, EOFError, RuntimeError, *_MALFORMED):
            raise Damaged(f"{path}: not a checkpoint of gluon-nst, although its SHA-256 matches") from None
        raise _other_format(path)


def _other_format(path: str | Path) -> OtherFormat:
    return OtherFormat(
        f"{path}: a checkpoint of another version of gluon-nst, in a format that this one does not read;"
        " resume its run with that version, or give the run's command again with --fresh"
    )


def _digest(file: IO[bytes]) -> bytes:
    """Return the SHA-256 of a file without its last 64 bytes.

    The file's position is then at those bytes.
    """
    digest, left = hashlib.sha256(), max(file.seek(0, 2) - _DIGEST_LENGTH, 0)
    file.seek(0)
    while left:
        piece = file.read(min(left, _CHUNK_SIZE))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest().encode()


def _check_size(archive: zipfile.ZipFile, size: int) -> None:
    """Limit what is read from an archive.

    Raises ValueError for members that are compressed, or together larger than the file.
    """
    members = archive.infolist()
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or sum(member.file_size for member in members) > size:
        raise ValueError("its members are larger than the file")


def _with_arrays(tree: Any, archive: zipfile.ZipFile) -> Any:
    """Return the tree with its arrays, each used once.

    Raises KeyError for an array that is missing or used twice.
    """
    unread = set(archive.namelist())

    def node(kind: type, fields: dict[Any, Any]) -> Any:
        if _ARRAY not in fields:
            return fields
        unread.remove(f"{fields[_ARRAY]}.npy")
        return _read_array(archive, fields[_ARRAY])

    return walk(tree, lambda value: value, node)
