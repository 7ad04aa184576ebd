"""Pictures: read, brought to the network's input and back, and written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
from mxnet import cpu, image, nd
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from gluon_nst.errors import InputError, reason
from gluon_nst.files import check_writable, given, reading, written_whole
from gluon_nst.machine import nd_mode

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

SMALLEST_SIDE = 16
"""Pictures with a shorter side, in pixels, are refused: there is nothing in them to transfer."""

NDArray = Any

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


# -- pictures in ------------------------------------------------------------------------------------------------------


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Greyscale with more than eight bits to the mode L, or LA; Pillow's own conversion would clip it."""
    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    if picture.mode == "F":  # no range is agreed on for floating point: 0 to 1 where it fits, else its own
        low, high = (0, 1) if values.min() >= 0 and values.max() <= 1 else (values.min(), values.max())
    else:  # mode I is 16 bits as older Pillows read them, or an 8-bit picture that somebody widened
        low, high = 0, 255 if picture.mode == "I" and values.max() <= 255 else 65535
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    scaled = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    if "transparency" in picture.info:
        scaled.putalpha(Image.fromarray(np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)))
    return scaled


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """`picture` as RGB, converted from its embedded colour `profile` (bytes) to sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return converted or picture.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture.convert("RGB")  # a damaged profile, or one for another colour space: viewers ignore it as well


def _to_rgb(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """`picture` on white, and its alpha channel where it has one."""
    profile = picture.info.get("icc_profile")
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _to_8_bits(picture)
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    alpha = picture.convert("RGBA").getchannel("A") if has_alpha else None
    if has_alpha:
        picture = picture.convert("L" if picture.mode.upper() == "LA" else "RGB")
    picture = _to_srgb(picture, profile) if profile else picture.convert("RGB")
    if alpha is None:
        return picture, None
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha), alpha


def read_image(path: str | Path) -> NDArray:
    """The picture in file `path` as a uint8 NDArray, height × width × 3, sRGB.

    Anything that Pillow opens: the first frame, turned as its EXIF orientation says, transparency flattened on white,
    an embedded colour profile converted to sRGB. Raises InputError for a file that is not such a picture, is damaged,
    has a side shorter than 16 pixels, or more pixels than Pillow's limit against decompression bombs.
    """
    return open_picture(path).array


class Picture(NamedTuple):
    """A picture that is decoded: a PIL image in mode RGB, and the SHA-256 of the file, or of the pixels, it came from.

    `alpha` is its transparency, a PIL image in mode L, where it has any; the RGB is flattened on white.
    """

    image: Image.Image
    sha256: str
    alpha: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.height, self.image.width

    @property
    def array(self) -> NDArray:
        """The pixels as a uint8 NDArray, height × width × 3."""
        return nd.array(np.asarray(self.image), dtype=np.uint8)


@contextlib.contextmanager
def pixels_allowed(most: int | None) -> Iterator[None]:
    """In the block pictures may have so many pixels, in place of Pillow's limit against decompression bombs; None leaves that."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most or before
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_picture(source: str | Path | Image.Image) -> Picture:
    """The Picture in a file, as `read_image` has it, or of a PIL image of any mode."""
    if isinstance(source, Image.Image):
        picture, alpha = flatten(source, "the picture")
        pixels = picture.tobytes() + (alpha.tobytes() if alpha else b"")
        return Picture(picture, hashlib.sha256(f"{picture.size}".encode() + pixels).hexdigest(), alpha)
    path = given(source)
    with reading(path, "a picture"):
        encoded = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # Pillow's remarks on odd metadata: of no use to a reader
            with Image.open(io.BytesIO(encoded)) as picture:
                flat, alpha = flatten(picture, str(path))
                return Picture(flat, hashlib.sha256(encoded).hexdigest(), alpha)
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path}: more pixels than the limit of {Image.MAX_IMAGE_PIXELS}; scale it down first, or raise the limit with"
            " --max-pixels"
        ) from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path}: not a picture in a format that Pillow reads; convert it to PNG or JPEG") from None
    except Exception as error:  # decoders raise all sorts on damaged files: OSError, SyntaxError, struct.error, …
        raise InputError(f"{path}: the picture is damaged ({reason(error)}); get a whole copy") from None


def flatten(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """A PIL image of any mode as RGB, as `read_image` has it, and its alpha channel; `name` stands for it in an error.

    Raises InputError where it is too small for an input.
    """
    width, height = picture.size
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"{name}: {height} x {width} pixels are too few; use a picture of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}"
        )
    picture.load()  # only now: a refusal needs no decoding
    return _to_rgb(ImageOps.exif_transpose(picture) or picture)


# -- arrays: section 14.12.2 ------------------------------------------------------------------------------------------


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

    `img` is height × width × 3 with values from 0 to 255 (uint8 or float32); `image_shape` is (width, height), the order
    that the book's own `image_shape` and MXNet's `imresize` take, unlike every other size here. `resize` is one of
    RESIZES; the book's is `bilinear`.
    """
    img = _resize(img, image_shape, resize)
    img = (img.astype("float32") / 255 - nd.array(RGB_MEAN)) / nd.array(RGB_STD)
    return img.transpose((2, 0, 1)).expand_dims(axis=0)


@nd_mode
def postprocess(img: NDArray) -> NDArray:
    """The picture in a network input of 1 × 3 × h × w: h × w × 3, values from 0 to 1, clipped, on the CPU."""
    img = img[0].as_in_context(cpu())
    return (img.transpose((1, 2, 0)) * nd.array(RGB_STD) + nd.array(RGB_MEAN)).clip(0, 1)


@nd_mode
def to_picture(img: NDArray) -> Image.Image:
    """The network input `img` as a PIL image."""
    return Image.fromarray(np.rint(postprocess(img).asnumpy() * 255).astype(np.uint8))


def standardisation(pixel_unit: str) -> tuple[Any, Any]:
    """Scale and shift, 1 × 3 × 1 × 1 each, that take values in the unit `pixel_unit` to the network's standardised input.

    `pixel_unit` is one of recipes.choices.PIXEL_UNITS: `standardised` already, `unit` from 0 to 1, or `bytes` from 0 to 255.
    """
    mean, std = (np.array(values, dtype=np.float32).reshape((1, 3, 1, 1)) for values in (RGB_MEAN, RGB_STD))
    if pixel_unit == "standardised":
        return np.ones_like(std), np.zeros_like(mean)
    largest = {"unit": 1, "bytes": 255}[pixel_unit]
    return 1 / (largest * std), -mean / std


def in_unit(X: NDArray, pixel_unit: str) -> NDArray:
    """A network input `X` (1 × 3 × h × w, standardised) in the unit `pixel_unit`."""
    scale, shift = (nd.array(values, ctx=X.context) for values in standardisation(pixel_unit))
    return nd.broadcast_div(nd.broadcast_sub(X, shift), scale)


def shown_range(pixel_unit: str) -> tuple[Any, Any]:
    """The least and the largest value that a picture can show, in the unit `pixel_unit`: 1 × 3 × 1 × 1 each."""
    scale, shift = standardisation(pixel_unit)
    unit_scale, unit_shift = standardisation("unit")
    return (unit_shift - shift) / scale, (unit_scale + unit_shift - shift) / scale


# -- pictures out -----------------------------------------------------------------------------------------------------


def check_picture_writable(path: str | Path) -> None:
    """`check_writable` for a picture: PNG or JPEG."""
    check_writable(path, tuple(_FORMATS))


def write_image(picture: Image.Image, path: str | Path, provenance: str = "") -> None:
    """Write a PIL image as PNG or JPEG, by the ending of `path`; `provenance` goes into it as text.

    In a PNG it is the text chunk `gluon-nst`, in a JPEG the comment.
    """
    path = given(path)
    check_picture_writable(path)
    kind, text = _FORMATS[path.suffix.lower()], PngImagePlugin.PngInfo()
    if kind == "JPEG" and picture.mode == "RGBA":  # which can't be transparent
        picture, _ = _to_rgb(picture)
    if provenance:
        text.add_text("gluon-nst", provenance)
    options: dict[str, Any] = {"pnginfo": text} if kind == "PNG" else {"quality": 95, "comment": provenance}
    with written_whole(path) as file:
        picture.save(file, format=kind, **options)


def read_made(path: str | Path) -> tuple[Image.Image, dict[str, Any]] | None:
    """The PNG at `path` and what it says of how it was made, or None where it says nothing or isn't there."""
    try:
        with reading(path, "a picture"), Image.open(path) as picture:
            picture.load()  # the whole of it: half a file is no picture
            provenance = json.loads(picture.text["gluon-nst"])  # type: ignore[attr-defined]
            mode = "RGBA" if picture.mode == "RGBA" else "RGB"
            return (picture.convert(mode), provenance) if isinstance(provenance, dict) else None
    except MemoryError:
        raise
    except Exception:  # no file, no PNG, no text, no JSON: not ours, or damaged
        return None
