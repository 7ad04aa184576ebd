"""Optical flow between frames of a film, and the start of a frame.

As in Ruder, Dosovitskiy and Brox 2016 (Artistic style transfer for videos), section 4.1, a frame starts from the result
of the previous frame, warped by optical flow. The flow is OpenCV's dense inverse search (Kroeger et al. 2016). Where
the forward and the backward flow disagree, the content was occluded or outside the previous frame: there the frame
starts from its content in the colours of the result. In its own colours it would stay grey, because a frame has few
epochs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError
from gluon_nst.machine.extras import require
from gluon_nst.pictures.colours import matched
from gluon_nst.pictures.decoding import Source, open_picture

Pixels = np.ndarray
"""h × w × 3, uint8."""


def check_frames() -> None:
    """Raise InputError if OpenCV, which computes the flow, is not installed."""
    require("a sequence of frames", "opencv-python-headless")


def flow(there: Pixels, here: Pixels) -> np.ndarray:
    """Return the optical flow from the frame `there` to the frame `here`.

    It is h × w × 2, in pixels to the right and down.
    """
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    one, two = (cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (there, here))
    unguided: Any = None
    return np.asarray(search.calc(one, two, unguided))


def warped(pixels: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Warp pixels, h × w or h × w × c, by the flow from the new to the old frame."""
    import cv2

    return cv2.remap(pixels, *_places(back), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def consistent(back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Return where two flows between frames are consistent: h × w, Boolean.

    `back` is the flow to the previous frame, `forth` the flow from it. Both together must return to the same position,
    up to a share of their lengths (Sundaram, Brox and Keutzer 2010, as in Ruder et al., equation 4). Positions outside
    the previous frame are not consistent.
    """
    across, down = _places(back)
    there = warped(forth, back)
    gap, ways = ((back + there) ** 2).sum(-1), (back**2).sum(-1) + (there**2).sum(-1)
    height, width = back.shape[:2]
    inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    return (gap <= 0.01 * ways + 0.5) & inside


def _places(back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and the rows from which the pixels come."""
    height, width = back.shape[:2]
    down, across = np.mgrid[:height, :width].astype(np.float32)
    return across + back[..., 0], down + back[..., 1]


def start(before: Source, frame: Source, result: Source, shape: tuple[int, int]) -> Image.Image:
    """Return the start of a frame: the result of the previous frame, warped.

    `before` is the previous frame and `result` its result; the start has the `shape` (height, width). Raises InputError
    if a picture can't be opened, or if the two frames have different sizes.
    """
    pictures = [open_picture(each) for each in (before, frame, result)]
    if pictures[0].size != pictures[1].size:
        sizes = " and ".join("{} x {}".format(*each.size) for each in pictures[:2])
        raise InputError(f"{frame}: the frames are {sizes}; all frames of a film must have one size")
    old, new, made = (np.asarray(_resized(each.image, shape)) for each in pictures)
    back, forth = flow(new, old), flow(old, new)
    trusted = _softened(consistent(back, forth))
    seen = [None if each.alpha is None else np.asarray(_resized(each.alpha, shape)) / 255 for each in pictures[1:]]
    uncovered = np.asarray(matched(Image.fromarray(new), Image.fromarray(made), *seen))
    mixed: Any = warped(made, back) * trusted + uncovered * (1 - trusted)
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _resized(picture: Image.Image, shape: tuple[int, int]) -> Image.Image:
    return picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS)


def _softened(mask: np.ndarray) -> np.ndarray:
    """Return a mask with soft edges, h × w × 1, from 0 to 1.

    Hard edges would be visible in the picture.
    """
    import cv2

    grown = cv2.erode(mask.astype(np.float32), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(grown, (0, 0), 1.5)[..., None]
