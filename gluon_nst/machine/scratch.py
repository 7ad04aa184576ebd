"""Temporary arrays on disk."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Iterator

import numpy as np

from gluon_nst.errors import NSTError, reason

_MAX_MAPPED = 64_000_000
"""Maximum bytes of the file that are mapped at a time: a limit on the address space (`ulimit -v`) counts them."""


class Scratch:
    """Feature maps of float32, 1 × c × h × w, in an unnamed temporary file.

    The file is deleted when it is closed. Raises NSTError if the disk is full. Reading returns a copy.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        size = 4 * math.prod(shape)
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            # Allocated now, because a full disk would kill the process when a mapped page is written.
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"  # gettempdir would fail once more
            raise NSTError(
                f"{folder}: no space for {size / 1e9:.1f} GB of features ({reason(error)});"
                " free some space, or set TMPDIR to another folder"
            ) from None

    def write(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        """Write values (1 × c × h × w) at these rows and columns."""
        for channels, mapped in self._mapped():
            mapped[:, rows, columns] = values[0, channels]

    def __getitem__(self, place: tuple[slice, slice, slice, slice]) -> np.ndarray:
        """Read `[:, :, rows, columns]`."""
        _, _, rows, columns = place
        return np.concatenate([np.array(mapped[:, rows, columns]) for _, mapped in self._mapped()])[None]

    def _mapped(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the mapped array, a few channels at a time."""
        _, channels, height, width = self.shape
        channels_at_once = max(1, _MAX_MAPPED // (4 * height * width))
        for first in range(0, channels, channels_at_once):
            last = min(first + channels_at_once, channels)
            shape, offset = (last - first, height, width), 4 * first * height * width
            yield slice(first, last), np.memmap(self._file, np.float32, "r+", offset, shape)
