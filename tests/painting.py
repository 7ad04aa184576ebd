"""Small random pictures for the tests."""

import numpy as np
from PIL import Image


def paint(height, width, seed=0):
    """A smooth random picture with some noise: uint8, height x width x 3."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC), dtype=float)
    return np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
