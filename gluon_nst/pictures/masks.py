"""Masks: greyscale pictures that select the part to be stylised."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError, warn
from gluon_nst.pictures.decoding import Source, check_shape, name_of, open_picture

LEAST_WEIGHT = 5 / 255
"""A mask without a larger value counts as black."""

LEAST_CONTRAST = 0.25
"""Minimum difference, of 1, between the visible greys of a mask with transparency for which the greys count, too."""


def read_mask(source: Source, size: Sequence[int]) -> np.ndarray:
    """Read a mask from a file or a PIL image.

    It is float32, h × w at `size` (height, width); white is 1, black 0. It is decoded by `open_picture`, converted from
    colours to luma, and scaled with antialiasing. If the alpha channel varies and the visible pixels have one colour,
    as in a drawing on a transparent layer, the alpha channel is the mask; otherwise transparent pixels are black. Warns
    of a mask that is the same everywhere. Raises InputError if its aspect ratio differs from that of `size` by more
    than 5 %, and if it is black everywhere.
    """
    name, picture = name_of(source, "the mask"), open_picture(source)
    check_shape(name, picture.size, size, "its picture", "paint it over a copy of the picture")
    grey = np.asarray(picture.image.convert("L"), np.float32) / 255
    if picture.visible is not None:
        drawn = grey[picture.visible > 0.5]
        is_drawing = np.ptp(picture.visible) > LEAST_WEIGHT and (not drawn.size or np.ptp(drawn) < LEAST_CONTRAST)
        if is_drawing and drawn.size and drawn.mean() < 0.5:
            warn(f"{name}: a dark drawing on a transparent layer; the drawn part is stylised, whatever its colour")
        grey = picture.visible if is_drawing else picture.visible * grey
    mask = np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR)).clip(0, 1)
    if mask.max() < LEAST_WEIGHT:
        raise InputError(f"{name}: black everywhere, so nothing would be stylised; paint the part to stylise in white")
    if np.ptp(grey) < LEAST_WEIGHT:
        warn(f"{name}: the same everywhere ({grey.mean():.0%} white), so it does not distinguish parts of the picture")
    return mask
