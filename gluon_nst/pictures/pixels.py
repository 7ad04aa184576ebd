"""Pixels: a picture as the network's input, and back (section 14.12.3), and the units that they are counted in."""

from __future__ import annotations

from typing import Any

import numpy as np
from mxnet import cpu, image, nd
from PIL import Image

from gluon_nst.errors import InputError
from gluon_nst.machine import nd_mode
from gluon_nst.pictures.colours import bands
from gluon_nst.typing import NDArray

# The mean and standard deviation of ImageNet's pictures, by channel: what the model zoo's VGG-19 was trained on.
RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)

RESIZES = {
    "bilinear": None,
    "antialiased": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""The ways to resize: MXNet's, which samples four neighbours however far it scales down, and three of Pillow's, which
average over all that a pixel covers: bilinear (as torchvision has it), bicubic and Lanczos."""


def _resize(img: NDArray, image_shape: tuple[int, int], resize: str) -> NDArray:
    """`img` (height × width × 3) at `image_shape` (width, height), by one of RESIZES."""
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
    """`X` (1 × c × h × w, float32) at another `shape` (height, width), by one of Pillow's ways."""
    height, width = shape
    # Pillow has floating point for single channels only.
    channels = [Image.fromarray(channel).resize((width, height), RESIZES[resize]) for channel in X[0].asnumpy()]
    return nd.array(np.stack([np.asarray(channel) for channel in channels])[None], ctx=X.context)


@nd_mode
def preprocess(img: NDArray, image_shape: tuple[int, int], resize: str = "bilinear") -> NDArray:
    """The network's input for a picture: resized, standardised by ImageNet's mean and deviation, 1 × 3 × h × w.

    `img` is height × width × 3 with values from 0 to 255 (uint8 or float32); `image_shape` is (width, height), the
    order that the book's own `image_shape` and MXNet's `imresize` take, unlike every other size here. `resize` is one
    of RESIZES; the book's is `bilinear`.
    """
    img = _resize(img, image_shape, resize)
    height, width, channels = img.shape
    X = nd.empty((1, channels, height, width), ctx=img.context)
    mean, std = (nd.array(values, ctx=img.context) for values in (RGB_MEAN, RGB_STD))
    for rows in bands(height, width):
        band = (img[rows].astype("float32") / 255 - mean) / std
        X[:, :, rows] = band.transpose((2, 0, 1)).expand_dims(axis=0)
        X.wait_to_read()  # else the bands to come would be allocated meanwhile
    return X


@nd_mode
def postprocess(img: NDArray) -> NDArray:
    """The picture in a network input of 1 × 3 × h × w: h × w × 3, values from 0 to 1, clipped, on the CPU."""
    img = img[0].as_in_context(cpu())
    return (img.transpose((1, 2, 0)) * nd.array(RGB_STD) + nd.array(RGB_MEAN)).clip(0, 1)


@nd_mode
def to_pixels(img: NDArray, bits: int = 8) -> np.ndarray:
    """The network input `img` as pixels, h × w × 3, of 8 or 16 `bits`: uint8 or uint16."""
    _, channels, height, width = img.shape
    pixels = np.empty((height, width, channels), {8: np.uint8, 16: np.uint16}[bits])
    for rows in bands(height, width):
        band = img.slice_axis(axis=2, begin=rows.start, end=rows.stop)
        pixels[rows] = np.rint(postprocess(band).asnumpy() * np.iinfo(pixels.dtype).max)
    return pixels


def to_picture(img: NDArray) -> Image.Image:
    """The network input `img` as a PIL image."""
    return Image.fromarray(to_pixels(img))


def standardisation(pixel_unit: str) -> tuple[Any, Any]:
    """Scale and shift, 1 × 3 × 1 × 1 each, that take values in the unit `pixel_unit` to the network's standardised
    input.

    `pixel_unit` is one of recipes.choices.PIXEL_UNITS: `standardised` already, `unit` from 0 to 1, or `bytes` from 0 to
    255.
    """
    mean, std = (np.array(values, dtype=np.float32).reshape((1, 3, 1, 1)) for values in (RGB_MEAN, RGB_STD))
    if pixel_unit == "standardised":
        return np.ones_like(std), np.zeros_like(mean)
    largest = {"unit": 1, "bytes": 255}[pixel_unit]
    return 1 / (largest * std), -mean / std


def in_unit(X: NDArray, pixel_unit: str) -> NDArray:
    """A network input `X` (1 × 3 × h × w, standardised) in the unit `pixel_unit`: itself where that is its own."""
    if pixel_unit == "standardised":
        return X
    scale, shift = (nd.array(values, ctx=X.context) for values in standardisation(pixel_unit))
    in_it = nd.broadcast_sub(X, shift)
    return nd.broadcast_div(in_it, scale, out=in_it)


def from_unit(X: NDArray, pixel_unit: str) -> NDArray:
    """`in_unit` undone."""
    if pixel_unit == "standardised":
        return X
    scale, shift = (nd.array(values, ctx=X.context) for values in standardisation(pixel_unit))
    standardised = nd.broadcast_mul(X, scale)
    return nd.broadcast_add(standardised, shift, out=standardised)


def shown_range(pixel_unit: str) -> tuple[Any, Any]:
    """The least and the largest value that a picture can show, in the unit `pixel_unit`: 1 × 3 × 1 × 1 each."""
    scale, shift = standardisation(pixel_unit)
    unit_scale, unit_shift = standardisation("unit")
    return (unit_shift - shift) / scale, (unit_scale + unit_shift - shift) / scale
