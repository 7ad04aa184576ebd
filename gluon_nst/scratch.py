"""Arrays that lie on the disk while a run needs them."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np

from gluon_nst.errors import NSTError, reason


class Scratch:
    """An array of float32 that lies on the disk, in a file without a name: it is gone when nobody needs it any more.

    Raises NSTError where there is no room for it. What is read of it is a copy, and takes no memory of the process afterwards.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        size = 4 * math.prod(shape)
        try:
            with tempfile.TemporaryFile() as file:
                # Now, and whole: a page that finds no room later would end the process.
                os.posix_fallocate(file.fileno(), 0, size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise NSTError(
                f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of features ({reason(error)});"
                " make some, or set TMPDIR to another folder"
            ) from None
        self._array = np.frombuffer(self._map, dtype=np.float32).reshape(shape)

    def write(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        """Write 1 × c × h × w into a part of it."""
        self._array[:, :, rows, columns] = values
        self._release()

    def __getitem__(self, place: Any) -> np.ndarray:
        values = np.array(self._array[place])
        self._release()
        return values

    def _release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)  # the file still has it
