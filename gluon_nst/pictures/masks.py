"""Masks: where a picture is stylised."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError, warn
from gluon_nst.pictures.decoding import Source, check_shape, name_of, open_picture

LEAST_WEIGHT = 5 / 255
"""A mask that is nowhere whiter is black."""

LEAST_CONTRAST = 0.25
"""By how much, of 1, the greys of what is visible of a mask differ if they count beside its transparency."""


def read_mask(source: Source, size: Sequence[int]) -> np.ndarray:
    """A mask from a file or a PIL image: float32, h × w at `size` (height, width), white 1, black 0, greys between.

    It is read as `open_picture` reads pictures, colours by their luma, and scaled with antialiasing. Of a mask with an
    alpha channel that varies, that is the mask if what is visible is all of one colour, as in a drawing on a
    transparent layer; otherwise transparent pixels are black. Warns of a mask that is the same everywhere. Raises
    InputError if its proportions are not those of `size` by more than five per cent, and if it is black everywhere.
    """
    name, picture = name_of(source, "the mask"), open_picture(source)
    check_shape(name, picture.size, size, "its picture", "paint it over a copy of the picture")
    grey = np.asarray(picture.image.convert("L"), np.float32) / 255
    if picture.visible is not None:
        drawn = grey[picture.visible > 0.5]
        is_drawing = np.ptp(picture.visible) > LEAST_WEIGHT and (not drawn.size or np.ptp(drawn) < LEAST_CONTRAST)
        if is_drawing and drawn.size and drawn.mean() < 0.5:
            warn(
                f"{name}: drawn in a dark colour on a transparent layer; what is drawn is stylised, whatever its colour"
            )
        grey = picture.visible if is_drawing else picture.visible * grey
    mask = np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR)).clip(0, 1)
    if mask.max() < LEAST_WEIGHT:
        raise InputError(f"{name}: black everywhere, so nothing is to be stylised; paint in white what is")
    if np.ptp(grey) < LEAST_WEIGHT:
        warn(f"{name}: the same everywhere ({grey.mean():.0%} white), so no part of the picture differs from another")
    return mask
