"""Colours: CIE L*a*b*, luminance transfer, and matching of colour statistics.

Luminance transfer (section 3) and matching (section 2) keep the content's colours as in Gatys, Bethge, Hertzmann and
Shechtman 2016, "Preserving Color in Neural Artistic Style Transfer" (arXiv:1606.05897).
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError

Array = np.ndarray

# The numbers of sRGB with white D65 (IEC 61966-2-1) and of CIE 1976 L*a*b*. scikit-image's `color` is not used: its
# primaries have six digits, which gives different bytes, and it clips colours outside sRGB, which `_shown` has to find.
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ = _XYZ / _XYZ.sum(axis=1, keepdims=True)
"""Divided by white's X, Y and Z, as L*a*b* requires; a* and b* of a grey become 0 within rounding."""
_FROM_XYZ = np.linalg.inv(_TO_XYZ)

_KNEE, _LINE, _OFFSET, _GAMMA = 0.04045, 12.92, 0.055, 2.4
"""sRGB's curve: a line up to the knee, and a power above it."""

_TO_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]])
"""L*, a*, b* from the cube roots of X, Y, Z, without the 16 that is subtracted from L*."""
_FROM_LAB = np.linalg.inv(_TO_LAB)

_BEND, _SLOPE = 216 / 24389, 24389 / 27
"""The value below which CIE's cube root is replaced by a line, and 116 times the slope of that line."""

HALVINGS = 12
"""Bisections in the search for the largest chroma inside sRGB: to 1/4096 of the chroma, less than 0.05."""

BAND = 2**18
"""Pixels that are processed at a time: some megabytes of floating point, whatever the size of the picture."""

LEAST_SPREAD = 2 / 255
"""Smallest standard deviation of a style's colours, in any direction, that `matched` stretches fully; smaller ones are
noise, and are stretched as if they were this large."""

GAINS = 1 / 8, 3
"""Smallest and largest eigenvalue of the matrix of `transported`, so that the content stays visible with a style of one
colour, and the noise of a grey photograph does not become colour."""


# -- CIE L*a*b* -------------------------------------------------------------------------------------------------------


def _linear(rgb: Array) -> Array:
    """Convert sRGB to linear light.

    Below 0 the line is extended, so that the conversion can be inverted there.
    """
    return np.where(rgb > _KNEE, ((np.maximum(rgb, _KNEE) + _OFFSET) / (1 + _OFFSET)) ** _GAMMA, rgb / _LINE)


def _curved(linear: Array) -> Array:
    """Convert linear light to sRGB; the inverse of `_linear`."""
    knee = _KNEE / _LINE
    powers = (1 + _OFFSET) * np.maximum(linear, knee) ** (1 / _GAMMA) - _OFFSET
    return np.where(linear > knee, powers, linear * _LINE)


def _times(matrix: Array, colours: Array) -> Array:
    """Multiply `matrix` (3 × 3) by each of `colours` (… × 3), in their precision."""
    return colours @ matrix.T.astype(colours.dtype)


def _lab_to_linear(lab: Array) -> Array:
    roots = _times(_FROM_LAB, lab + np.array([16, 0, 0], lab.dtype))
    return _times(_FROM_XYZ, np.where(roots > _BEND ** (1 / 3), roots**3, (116 * roots - 16) / _SLOPE))


def to_lab(rgb: Array) -> Array:
    """Convert sRGB colours (… × 3, floating point from 0 to 1) to CIE 1976 L*a*b*.

    L* is 0 to 100; the white point is D65 for the 2° observer. Values below 0 and above 1 are not clipped.
    """
    xyz = _times(_TO_XYZ, _linear(rgb))
    roots = np.where(xyz > _BEND, np.cbrt(xyz), (_SLOPE * xyz + 16) / 116)
    return _times(_TO_LAB, roots) - np.array([16, 0, 0], xyz.dtype)


def from_lab(lab: Array) -> Array:
    """Convert CIE L*a*b* colours (… × 3) to sRGB.

    Values outside sRGB are below 0 or above 1, not clipped.
    """
    return _curved(_lab_to_linear(lab))


# -- pictures ---------------------------------------------------------------------------------------------------------


def bands(height: int, width: int) -> Iterator[slice]:
    """Return slices of rows that cover a picture.

    Each has at most BAND pixels, or one row.
    """
    step = max(1, BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _unit(pixels: Array) -> Array:
    """Convert pixels of 8 or 16 bits to float32 from 0 to 1."""
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


def _levels(rgb: Array, kind: Any) -> Array:
    """Convert values from 0 to 1 to the type `kind`, uint8 or uint16, clipped."""
    most = np.iinfo(kind).max
    return np.rint(rgb * most).clip(0, most).astype(kind)


# More than the rounding errors of float32, and too little for a visible tinge in black.
_MARGIN = 0.03 / 255
_LEAST_LIGHT, _MOST_LIGHT = _linear(np.array([-_MARGIN, 1 + _MARGIN]))


def _can_be_shown(lab: Array) -> Array:
    linear = _lab_to_linear(lab)
    return ((linear >= _LEAST_LIGHT) & (linear <= _MOST_LIGHT)).all(axis=-1)


def _shown(lab: Array) -> Array:
    """Reduce the chroma of colours outside sRGB to the largest one inside.

    `lab` is h × w × 3. The search is a bisection; its result is a colour that was tested, or grey, so that it can be
    shown.
    """
    outside = ~_can_be_shown(lab)
    colours = lab[outside]
    greys = colours * np.array([1, 0, 0], lab.dtype)
    least, most = np.zeros_like(colours[:, :1]), np.ones_like(colours[:, :1])
    for _ in range(HALVINGS):
        share = (least + most) / 2
        can = _can_be_shown(greys + share * (colours - greys))[:, None]
        least, most = np.where(can, share, least), np.where(can, most, share)
    lab = lab.copy()
    lab[outside] = greys + least * (colours - greys)
    return lab


def with_luminance_of(light: Array, chroma: Array) -> Array:
    """Return pixels with the lightness L* of `light` and the a* and b* of `chroma`.

    All are of the same size, h × w × 3, and type, 8 or 16 bits. The chroma of colours outside sRGB is reduced; their
    hue and lightness stay. It gives a stylised picture the content's colours: section 3 of Gatys et al. 2016, in CIE's
    space instead of YIQ, whose Y does not measure the lightness of saturated colours. Raises InputError if the sizes
    differ.
    """
    if light.shape != chroma.shape:
        sizes = " and ".join(f"{each.shape[0]} x {each.shape[1]}" for each in (light, chroma))
        raise InputError(
            f"pictures of {sizes} pixels: lightness and colours must have the same size; resize one of them"
        )
    made = np.empty_like(light)
    for rows in bands(*light.shape[:2]):
        lab = to_lab(_unit(chroma[rows]))
        lab[..., 0] = to_lab(_unit(light[rows]))[..., 0]
        made[rows] = _levels(from_lab(_shown(lab)), made.dtype)
    return made


def blended(above: Array, below: Array, shares: Array) -> Array:
    """Blend pixels of 8 or 16 bits, h × w × 3.

    `shares` (h × w, from 0 to 1) are those of the pixels `above`.
    """
    made = np.empty_like(above)
    for rows in bands(*above.shape[:2]):
        share = shares[rows, :, None]
        made[rows] = _levels(_unit(above[rows]) * share + _unit(below[rows]) * (1 - share), made.dtype)
    return made


def moments(image: Image.Image, weights: Array | None = None) -> tuple[Array, Array]:
    """Return the mean (3) and covariance (3 × 3) of the colours of an RGB image.

    The colours are from 0 to 1, the results float64. `weights` (h × w) are those of the pixels; None, or all zeros,
    means equal weights.
    """
    pixels = np.asarray(image)
    weights = None if weights is None or not weights.any() else weights
    total, products, count = np.zeros(3), np.zeros((3, 3)), 0.0
    for rows in bands(*pixels.shape[:2]):
        flat = pixels[rows].reshape((-1, 3)) / 255
        weighted = flat if weights is None else flat * weights[rows].reshape((-1, 1))
        total += weighted.sum(axis=0)
        products += weighted.T @ flat
        count += len(flat) if weights is None else float(weights[rows].sum(dtype=np.float64))
    mean = total / count
    return mean, products / count - np.outer(mean, mean)


def _power(covariance: Array, exponent: float, least: float) -> Array:
    """Return a power of a symmetric matrix, with eigenvalues of at least `least`."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, least) ** exponent) @ vectors.T


def matched(
    style: Image.Image,
    content: Image.Image,
    style_weights: Array | None = None,
    content_weights: Array | None = None,
) -> Image.Image:
    """Return `style` with the mean and covariance of the colours of `content`.

    x → A (x − μ_S) + μ_C with A = Σ_C^½ Σ_S^−½, the PCA form of Gatys et al. 2016, section 2, on sRGB values, clipped
    to 0 … 1. PIL images in mode RGB, of any two sizes; the result has that of `style`. The greys of a grey style are
    mapped to a line of the content's colours, and a style of one colour to the content's mean: if Σ_S is (nearly)
    singular, `LEAST_SPREAD` keeps its inverse finite and noise from becoming colours. The weights (h × w) are those of
    the pixels; transparent pixels have 0.
    """
    style_mean, style_covariance = moments(style, style_weights)
    mean, covariance = moments(content, content_weights)
    A = _power(covariance, 0.5, 0) @ _power(style_covariance, -0.5, LEAST_SPREAD**2)
    return _mapped(style, A, mean - A @ style_mean)


def _mapped(image: Image.Image, A: Array, b: Array) -> Image.Image:
    """Replace each colour x of an image, from 0 to 1, by A x + b, clipped to 0 … 1."""
    pixels, b = np.asarray(image), b.astype(np.float32)
    made = np.empty_like(pixels)
    for rows in bands(*pixels.shape[:2]):
        made[rows] = _levels(_times(A, _unit(pixels[rows])) + b, np.uint8)
    return Image.fromarray(made)


def transported(content: Image.Image, target: tuple[Array, Array], weights: Array | None = None) -> Image.Image:
    """Return `content` with the mean and covariance of `target`, by optimal transport.

    x → A (x − μ_C) + μ_S with A = Σ_C^−½ (Σ_C^½ Σ_S Σ_C^½)^½ Σ_C^−½, the optimal transport between Gaussians (Olkin and
    Pukelsheim 1982), on sRGB values, clipped to 0 … 1. The eigenvalues of A are limited to GAINS. `content` is a PIL
    image in mode RGB, `weights` (h × w) are those of its pixels in the mean and covariance, by default equal.
    """
    (mean, covariance), (style_mean, style_covariance) = moments(content, weights), target
    root = _power(covariance, 0.5, LEAST_SPREAD**2)
    inverse = _power(covariance, -0.5, LEAST_SPREAD**2)
    gains, vectors = np.linalg.eigh(inverse @ _power(root @ style_covariance @ root, 0.5, 0) @ inverse)
    A = (vectors * gains.clip(*GAINS)) @ vectors.T
    return _mapped(content, A, style_mean - A @ mean)
