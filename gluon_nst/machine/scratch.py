"""Arrays that lie on the disk while a run needs them."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Iterator

import numpy as np

from gluon_nst.errors import NSTError, reason

_MOST_MAPPED = 64_000_000
"""Bytes of the file that are mapped at a time, or one channel: a limit on the address space (`ulimit -v`) counts what
is."""


class Scratch:
    """Feature maps of float32, 1 × c × h × w, on the disk, in a file without a name: it is gone when nobody needs it
    any more.

    Raises NSTError where there is no room for it. What is read of it is a copy, and takes no memory of the process
    afterwards.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        size = 4 * math.prod(shape)
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            # Now, and whole: a page that finds no room later would end the process.
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"  # gettempdir would fail once more
            raise NSTError(
                f"{folder}: no room for {size / 1e9:.1f} GB of features ({reason(error)});"
                " make some, or set TMPDIR to another folder"
            ) from None

    def write(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        """Write 1 × c × h × w into a part of it."""
        for channels, mapped in self._mapped():
            mapped[:, rows, columns] = values[0, channels]

    def __getitem__(self, place: tuple[slice, slice, slice, slice]) -> np.ndarray:
        """A part of it: `[:, :, rows, columns]`."""
        _, _, rows, columns = place
        return np.concatenate([np.array(mapped[:, rows, columns]) for _, mapped in self._mapped()])[None]

    def _mapped(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Some channels after the others."""
        _, channels, height, width = self.shape
        several = max(1, _MOST_MAPPED // (4 * height * width))
        for first in range(0, channels, several):
            last = min(first + several, channels)
            shape, offset = (last - first, height, width), 4 * first * height * width
            yield slice(first, last), np.memmap(self._file, np.float32, "r+", offset, shape)
