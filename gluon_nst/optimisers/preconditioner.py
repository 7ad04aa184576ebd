"""Filters on the cosine transform of pictures.

They are the preconditioner of L-BFGS, and enlargement without aliasing. The cosine transform (type 2) is that of a
picture mirrored at its edges. Frequencies are in cycles per pixel, at most 0.5 along an axis. Each function transforms
one channel at a time, to save memory.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn, idctn

from gluon_nst.machine import threads

Array = np.ndarray

FLOOR = 0.03
"""Frequency below which LowPass is flat: the smaller sizes of a run determine larger shapes."""
TAPER = 0.35, 0.5
"""Frequencies between which `enlarged` fades out; higher ones in a composite are mostly artefacts of the network."""


def _frequencies(height: int, width: int) -> Array:
    """Return the frequency of each coefficient of a cosine transform, h × w."""
    rows, columns = (np.arange(side, dtype=np.float32) / (2 * side) for side in (height, width))
    return np.hypot(rows[:, None], columns)


def _transformed(plane: Array) -> Array:
    return dctn(plane, norm="ortho", workers=threads())


def _back(spectrum: Array) -> Array:
    return idctn(spectrum, norm="ortho", overwrite_x=True, workers=threads())


class LowPass:
    """The filter f^-power for pictures of a `shape` 1 × 3 × h × w.

    f is the frequency. The filter is symmetric and positive definite, with a mean gain of 1. Memory: 12 bytes per pixel
    of the picture.
    """

    def __init__(self, shape: tuple[int, ...], power: float) -> None:
        *_, height, width = shape
        self._gain = np.maximum(_frequencies(height, width), np.float32(FLOOR))
        self._gain **= np.float32(-power)
        self._gain /= self._gain.mean(dtype=np.float64)

    def apply(self, values: Array) -> None:
        """Filter `values`, float32 of the picture's shape, in place."""
        for plane in values.reshape(-1, *self._gain.shape):
            spectrum = _transformed(plane)
            spectrum *= self._gain
            plane[...] = _back(spectrum)

    def product(self, plane: Array) -> float:
        """Return vᵀPv for one channel v of a picture, where P is the filter."""
        spectrum = _transformed(plane.reshape(self._gain.shape))
        rows = np.einsum("ij,ij,ij->i", spectrum, spectrum, self._gain)
        return float(rows.sum(dtype=np.float64))


def enlarged(X: Array, shape: tuple[int, int]) -> Array:
    """Return a picture resampled by its cosine transform.

    `X` is 1 × c × h × w, float32, and `shape` (height, width). The result has no frequencies that `X` lacks.
    Interpolating kernels (bicubic, Lanczos) leave copies of low frequencies near the axes, which show as a weave. Along
    a side that gets smaller, frequencies above its limit are left out. Across TAPER the transform fades to zero.
    """
    _, channels, *own = X.shape
    height, width = (min(sides) for sides in zip(own, shape))
    share = (_frequencies(height, width) - TAPER[0]) / (TAPER[1] - TAPER[0])
    fade = 0.5 + 0.5 * np.cos(np.pi * share.clip(0, 1, out=share))
    fade *= np.sqrt(np.prod(shape) / np.prod(own))
    result = np.zeros((1, channels, *shape), np.float32)
    for plane, target in zip(X[0], result[0]):
        target[:height, :width] = _transformed(plane)[:height, :width] * fade
        target[...] = _back(target)
    return result
