"""Synthetic pictures for rescaling Caffe-scaled parameters.

They are generated, so that every machine gets the same scales. Overlapping leaves whose sizes follow a power law have
the edges and the spectrum of photographs (Lee, Mumford and Huang 2001, the dead leaves model); stretched in a common
direction they resemble brush strokes. On top is shading with a spectrum of 1/f, and a little grain.
"""

from __future__ import annotations

import numpy as np

# Chosen so that VGG's outputs deviate, layer by layer, as much as they do on the chapter's two pictures at this size.
_LEAVES, _SMALLEST, _LARGEST, _GRAIN, _SEED = 100, 6, 80, 2, 2


def paint_pictures(height: int = 150, width: int = 225) -> np.ndarray:
    """Return four pictures with about the statistics of photographs and paintings.

    They are uint8, 4 × height × width × 3.
    """
    rng = np.random.RandomState(_SEED)  # its streams are frozen (NEP 19); default_rng's are not
    return np.stack([_paint(rng, height, width, stretch) for stretch in (1, 2, 3, 5)])


def _paint(rng: np.random.RandomState, height: int, width: int, stretch: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    palette = rng.uniform(20, 235, (6, 1)) + rng.normal(0, 30, (6, 3))
    picture = palette[0] + (palette[1] - palette[0]) * (y / height)[..., None]
    direction = rng.uniform(0, np.pi)
    # The density of leaves decreases with the third power of their radius; the large ones are drawn first.
    spread = rng.uniform(size=_LEAVES)
    for radius in sorted((_SMALLEST**-2 + (_LARGEST**-2 - _SMALLEST**-2) * spread) ** -0.5, reverse=True):
        top, left, angle = rng.uniform(0, height), rng.uniform(0, width), direction + rng.normal(0, 0.7)
        along = (np.cos(angle) * (x - left) + np.sin(angle) * (y - top)) / (radius * stretch**0.5)
        across = (np.cos(angle) * (y - top) - np.sin(angle) * (x - left)) / (radius / stretch**0.5)
        colour = palette[rng.randint(6)] + rng.normal(0, 12, 3) + rng.normal(0, 12)
        shading = rng.normal(0, 15) * along[..., None]
        picture = np.where((along**2 + across**2 < 1)[..., None], colour + shading, picture)
    picture *= 1 + 0.15 * _light(rng, height, width)[..., None]
    picture += rng.normal(0, _GRAIN, (height, width, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _light(rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height, 1.0), np.fft.rfftfreq(width, 1.0), indexing="ij"))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency, s=(height, width))
    return field / field.std()
