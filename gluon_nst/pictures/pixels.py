"""Preprocessing, postprocessing (section 14.12.3), and the units of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from mxnet import cpu, image, nd
from PIL import Image

from gluon_nst.errors import InputError
from gluon_nst.machine import nd_mode
from gluon_nst.pictures.colours import bands
from gluon_nst.typing import NDArray

# The mean and standard deviation of ImageNet's pictures, by channel; the model zoo's VGG-19 was trained with them.
RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)

RESIZES = {
    "bilinear": None,
    "antialiased": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Resampling methods: MXNet's bilinear one, which always samples four neighbours, and three of Pillow's, which average
over all pixels that a new pixel covers: bilinear (as in torchvision), bicubic and Lanczos."""


def _resize(img: NDArray, image_shape: tuple[int, int], resize: str) -> NDArray:
    """Resize `img` (h × w × 3) to (width, height) by one of RESIZES."""
    if resize not in RESIZES:
        raise InputError(f"resize {resize}: not one of {', '.join(RESIZES)}")
    if RESIZES[resize] is None:
        return image.imresize(img, *image_shape)
    array = img.asnumpy()
    if array.dtype == np.uint8:
        array = np.asarray(Image.fromarray(array).resize(image_shape, RESIZES[resize]))
        return nd.array(array, dtype=array.dtype)
    width, height = image_shape
    return resize_channels(img.transpose((2, 0, 1)).expand_dims(0), (height, width), resize)[0].transpose((1, 2, 0))


def resize_channels(X: NDArray, shape: tuple[int, int], resize: str) -> NDArray:
    """Resize `X` (1 × c × h × w, float32) by one of Pillow's methods.

    `shape` is (height, width).
    """
    height, width = shape
    # Pillow supports floating point only for single channels.
    channels = [Image.fromarray(channel).resize((width, height), RESIZES[resize]) for channel in X[0].asnumpy()]
    return nd.array(np.stack([np.asarray(channel) for channel in channels])[None], ctx=X.context)


@nd_mode
def preprocess(img: NDArray, image_shape: tuple[int, int], resize: str = "bilinear") -> NDArray:
    """Return the network's input for a picture, resized and standardised.

    The result is 1 × 3 × h × w, standardised by ImageNet's mean and deviation. `img` is height × width × 3 with values
    from 0 to 255 (uint8 or float32); `image_shape` is (width, height), the order of the book and of MXNet's `imresize`,
    unlike all other sizes in this package. `resize` is one of RESIZES; the book's is `bilinear`.
    """
    img = _resize(img, image_shape, resize)
    height, width, channels = img.shape
    X = nd.empty((1, channels, height, width), ctx=img.context)
    mean, std = (nd.array(values, ctx=img.context) for values in (RGB_MEAN, RGB_STD))
    for rows in bands(height, width):
        band = (img[rows].astype("float32") / 255 - mean) / std
        X[:, :, rows] = band.transpose((2, 0, 1)).expand_dims(axis=0)
        X.wait_to_read()  # otherwise later bands would be allocated while this one is computed
    return X


@nd_mode
def postprocess(img: NDArray) -> NDArray:
    """Return the picture in a network input.

    `img` is 1 × 3 × h × w; the result is h × w × 3, clipped to 0 … 1, on the CPU.
    """
    img = img[0].as_in_context(cpu())
    return (img.transpose((1, 2, 0)) * nd.array(RGB_STD) + nd.array(RGB_MEAN)).clip(0, 1)


@nd_mode
def to_pixels(img: NDArray, bits: int = 8) -> np.ndarray:
    """Return a network input as pixels, h × w × 3: uint8 or, for 16 bits, uint16."""
    _, channels, height, width = img.shape
    pixels = np.empty((height, width, channels), {8: np.uint8, 16: np.uint16}[bits])
    for rows in bands(height, width):
        band = img.slice_axis(axis=2, begin=rows.start, end=rows.stop)
        pixels[rows] = np.rint(postprocess(band).asnumpy() * np.iinfo(pixels.dtype).max)
    return pixels


def to_picture(img: NDArray) -> Image.Image:
    """Return the network input `img` as a PIL image."""
    return Image.fromarray(to_pixels(img))


def standardisation(pixel_unit: str) -> tuple[Any, Any]:
    """Return the scale and shift from values in a unit to the standardised input.

    Both are 1 × 3 × 1 × 1. `pixel_unit` is one of recipes.choices.PIXEL_UNITS: `standardised`, `unit` from 0 to 1, or
    `bytes` from 0 to 255.
    """
    mean, std = (np.array(values, dtype=np.float32).reshape((1, 3, 1, 1)) for values in (RGB_MEAN, RGB_STD))
    if pixel_unit == "standardised":
        return np.ones_like(std), np.zeros_like(mean)
    largest = {"unit": 1, "bytes": 255}[pixel_unit]
    return 1 / (largest * std), -mean / std


def in_unit(X: NDArray, pixel_unit: str) -> NDArray:
    """Convert a network input (1 × 3 × h × w) to the unit `pixel_unit`."""
    if pixel_unit == "standardised":
        return X
    scale, shift = (nd.array(values, ctx=X.context) for values in standardisation(pixel_unit))
    shifted = nd.broadcast_sub(X, shift)
    return nd.broadcast_div(shifted, scale, out=shifted)


def from_unit(X: NDArray, pixel_unit: str) -> NDArray:
    """Convert `X` from the unit `pixel_unit` to the standardised input.

    It is the inverse of `in_unit`.
    """
    if pixel_unit == "standardised":
        return X
    scale, shift = (nd.array(values, ctx=X.context) for values in standardisation(pixel_unit))
    standardised = nd.broadcast_mul(X, scale)
    return nd.broadcast_add(standardised, shift, out=standardised)


def shown_range(pixel_unit: str) -> tuple[Any, Any]:
    """Return the smallest and largest value of a picture in a unit.

    Each is 1 × 3 × 1 × 1.
    """
    scale, shift = standardisation(pixel_unit)
    unit_scale, unit_shift = standardisation("unit")
    return (unit_shift - shift) / scale, (unit_scale + unit_shift - shift) / scale
