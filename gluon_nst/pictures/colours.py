"""Colours: CIE L*a*b* and back, one picture's lightness with another's colours, a style in the content's colours.

The last two are the ways of Gatys, Bethge, Hertzmann and Shechtman 2016, "Preserving Color in Neural Artistic Style
Transfer" (arXiv:1606.05897), to keep the content's colours: sections 3 and 2 there.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError

Array = np.ndarray

# All numbers of sRGB with white D65 (IEC 61966-2-1) and of CIE 1976 L*a*b*. Not from scikit-image's `color`, whose
# primaries have six digits, which gives other bytes, and which clips what sRGB can't show, as `_shown` has to see.
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ = _XYZ / _XYZ.sum(axis=1, keepdims=True)
"""Divided by white's X, Y and Z, as L*a*b* asks; a* and b* of a grey become 0 to the last bit that counts."""
_FROM_XYZ = np.linalg.inv(_TO_XYZ)

_KNEE, _LINE, _OFFSET, _GAMMA = 0.04045, 12.92, 0.055, 2.4
"""sRGB's curve: a line up to the knee, and a power above it."""

_TO_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]])
"""L*, a*, b* from the cube roots of X, Y, Z, but for the 16 that is taken from L*."""
_FROM_LAB = np.linalg.inv(_TO_LAB)

_BEND, _SLOPE = 216 / 24389, 24389 / 27
"""Where CIE's cube root gives way to a line, and 116 times the slope of that line."""

HALVINGS = 12
"""Of the interval in which the chroma that can be shown is looked for: to 1/4096 of it, less than 0.05."""

BAND = 2**18
"""Pixels that are worked on at a time: some megabytes of floating point, whatever the size of the picture."""

LEAST_SPREAD = 2 / 255
"""A standard deviation that is smaller, of a style's colours in some direction, is taken for noise: `matched` stretches
it no more than if it were this large."""

GAINS = 1 / 8, 3
"""Smallest and largest eigenvalue of the matrix of `transported`. The drawing stays visible with a style of one colour,
and the noise of a grey photograph does not become colour."""


# -- CIE L*a*b* -------------------------------------------------------------------------------------------------------


def _linear(rgb: Array) -> Array:
    """sRGB without its curve: light. Below 0 its straight piece goes on, so that it can be undone there too."""
    return np.where(rgb > _KNEE, ((np.maximum(rgb, _KNEE) + _OFFSET) / (1 + _OFFSET)) ** _GAMMA, rgb / _LINE)


def _curved(linear: Array) -> Array:
    """sRGB's curve, `_linear` undone."""
    knee = _KNEE / _LINE
    powers = (1 + _OFFSET) * np.maximum(linear, knee) ** (1 / _GAMMA) - _OFFSET
    return np.where(linear > knee, powers, linear * _LINE)


def _times(matrix: Array, colours: Array) -> Array:
    """`matrix` (3 × 3) times each of `colours` (… × 3), in the precision of the colours."""
    return colours @ matrix.T.astype(colours.dtype)


def _lab_to_linear(lab: Array) -> Array:
    roots = _times(_FROM_LAB, lab + np.array([16, 0, 0], lab.dtype))
    return _times(_FROM_XYZ, np.where(roots > _BEND ** (1 / 3), roots**3, (116 * roots - 16) / _SLOPE))


def to_lab(rgb: Array) -> Array:
    """The CIE 1976 L*a*b* of sRGB colours: floating point, … × 3, as `rgb` is, whose values go from 0 to 1.

    L* goes from 0 to 100; white is D65's, for an observer of 2°. Values below 0 and above 1 are not clipped.
    """
    xyz = _times(_TO_XYZ, _linear(rgb))
    roots = np.where(xyz > _BEND, np.cbrt(xyz), (_SLOPE * xyz + 16) / 116)
    return _times(_TO_LAB, roots) - np.array([16, 0, 0], xyz.dtype)


def from_lab(lab: Array) -> Array:
    """The sRGB, … × 3, of CIE L*a*b* colours, `to_lab` undone: not clipped, so below 0 or above 1 where sRGB ends."""
    return _curved(_lab_to_linear(lab))


# -- pictures ---------------------------------------------------------------------------------------------------------


def bands(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, some at a time."""
    step = max(1, BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _unit(pixels: Array) -> Array:
    """Pixels in 8 or 16 bits as float32 from 0 to 1."""
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


def _levels(rgb: Array, kind: Any) -> Array:
    """Values from 0 to 1 in 8 or 16 bits, as `kind` has, clipped."""
    most = np.iinfo(kind).max
    return np.rint(rgb * most).clip(0, most).astype(kind)


# More than float32 rounds off, and too little for black to get a tinge: blue is as light with 13 times as much.
_MARGIN = 0.03 / 255
_LEAST_LIGHT, _MOST_LIGHT = _linear(np.array([-_MARGIN, 1 + _MARGIN]))


def _can_be_shown(lab: Array) -> Array:
    linear = _lab_to_linear(lab)
    return ((linear >= _LEAST_LIGHT) & (linear <= _MOST_LIGHT)).all(axis=-1)


def _shown(lab: Array) -> Array:
    """`lab` (h × w × 3) with less chroma where sRGB has no such colour: as much as it has, by bisection.

    The least that is tried is grey, which can be shown, and the one taken was tried, so that each can be.
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
    """The lightness L* of `light` with the a* and b* of `chroma`: pixels of 8 or 16 bits, h × w × 3, all alike.

    Where sRGB has no such colour, the chroma is made smaller until it has; hue and lightness stay. So does a stylised
    picture get the content's colours: section 3 of Gatys et al. 2016, in CIE's space instead of YIQ, whose Y is no
    measure of how light a saturated colour looks. Raises InputError where the sizes differ.
    """
    if light.shape != chroma.shape:
        sizes = " and ".join(f"{each.shape[0]} x {each.shape[1]}" for each in (light, chroma))
        raise InputError(
            f"pictures of {sizes} pixels: one's lightness needs colours of the same size; resize one of them"
        )
    made = np.empty_like(light)
    for rows in bands(*light.shape[:2]):
        lab = to_lab(_unit(chroma[rows]))
        lab[..., 0] = to_lab(_unit(light[rows]))[..., 0]
        made[rows] = _levels(from_lab(_shown(lab)), made.dtype)
    return made


def blended(above: Array, below: Array, shares: Array) -> Array:
    """Pixels of 8 or 16 bits, h × w × 3, on others: the share of those `above` is in `shares`, h × w, from 0 to 1."""
    made = np.empty_like(above)
    for rows in bands(*above.shape[:2]):
        share = shares[rows, :, None]
        made[rows] = _levels(_unit(above[rows]) * share + _unit(below[rows]) * (1 - share), made.dtype)
    return made


def moments(image: Image.Image, weights: Array | None = None) -> tuple[Array, Array]:
    """Return the mean (3) and covariance (3 × 3), float64, of the colours, 0 to 1, of a PIL image in mode RGB.

    `weights` (h × w) are those of the pixels; None, or all zeros, means equal weights.
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
    """A symmetric matrix to a power by its eigenvalues, those below `least` taken as `least`."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, least) ** exponent) @ vectors.T


def matched(
    style: Image.Image,
    content: Image.Image,
    style_weights: Array | None = None,
    content_weights: Array | None = None,
) -> Image.Image:
    """`style` with its colours moved linearly such that their mean and covariance are those of `content`.

    x → A (x − μ_S) + μ_C with A = Σ_C^½ Σ_S^−½, the PCA form of Gatys et al. 2016, section 2, on sRGB as it is, clipped
    to what can be shown. PIL images in mode RGB, of any two sizes; the result has that of `style`. A style of grey
    alone has its greys along a line of the content's colours, a style of one colour becomes the content's mean: where
    Σ_S has (nearly) no extent, `LEAST_SPREAD` keeps its inverse finite and noise from becoming colours. The weights, h
    × w, say how much each pixel counts; transparent pixels do not.
    """
    style_mean, style_covariance = moments(style, style_weights)
    mean, covariance = moments(content, content_weights)
    A = _power(covariance, 0.5, 0) @ _power(style_covariance, -0.5, LEAST_SPREAD**2)
    return _mapped(style, A, mean - A @ style_mean)


def _mapped(image: Image.Image, A: Array, b: Array) -> Image.Image:
    """The image with each colour x, 0 to 1, replaced by A x + b, clipped to what can be shown."""
    pixels, b = np.asarray(image), b.astype(np.float32)
    made = np.empty_like(pixels)
    for rows in bands(*pixels.shape[:2]):
        made[rows] = _levels(_times(A, _unit(pixels[rows])) + b, np.uint8)
    return Image.fromarray(made)


def transported(content: Image.Image, target: tuple[Array, Array], weights: Array | None = None) -> Image.Image:
    """Return `content` with the mean and covariance of `target`, by the linear map that moves its colours least.

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
