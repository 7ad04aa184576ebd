"""Pictures in files, read.

MXNet is loaded when the first array is made of one: a process that only looks at pictures, as the lab page's do, needs none of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import warnings
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from gluon_nst.errors import InputError, reason
from gluon_nst.files import given, reading

SMALLEST_SIDE = 16
"""Pictures with a shorter side, in pixels, are refused: there is nothing in them to transfer."""

NDArray = Any


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


def on_white(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
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
    if profile:
        picture = _to_srgb(picture, profile)
    elif picture.mode != "RGB":  # a picture that is RGB already would be copied
        picture = picture.convert("RGB")
    if alpha is None:
        return picture, None
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha), alpha


def read_image(path: str | Path | Image.Image) -> NDArray:
    """The picture in file `path`, or a PIL image, as a uint8 NDArray, height × width × 3, sRGB.

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
    profile: bytes | None = None
    """The file's own ICC profile, where it has one for RGB; the pixels are converted to sRGB."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.height, self.image.width

    @property
    def array(self) -> NDArray:
        """The pixels as a uint8 NDArray, height × width × 3."""
        from mxnet import nd

        return nd.array(np.asarray(self.image), dtype=np.uint8)

    def preprocessed(self, image_shape: tuple[int, int], resize: str) -> NDArray:
        """`pixels.preprocess` of it; Pillow's ways to resize take the PIL image itself, of which no array is made."""
        from mxnet import nd

        from gluon_nst.pixels import RESIZES, preprocess

        way = RESIZES[resize]
        img = self.array if way is None else nd.array(np.asarray(self.image.resize(image_shape, way)), dtype=np.uint8)
        return preprocess(img, image_shape, resize)


@contextlib.contextmanager
def pixels_allowed(most: int | None) -> Iterator[None]:
    """In the block pictures may have so many pixels, in place of Pillow's limit against decompression bombs; None leaves that."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most or before
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixels_limit() -> int | None:
    """How many pixels a picture may have now."""
    return Image.MAX_IMAGE_PIXELS


def open_picture(source: str | Path | Image.Image, formats: tuple[str, ...] | None = None) -> Picture:
    """The Picture in a file, as `read_image` has it, or of a PIL image of any mode.

    `formats` are those of Pillow's that are tried, by default all: some call other programs, or were made long ago.
    """
    if isinstance(source, Image.Image):
        picture, alpha = flatten(source.copy(), "the picture")
        pixels = picture.tobytes() + (alpha.tobytes() if alpha else b"")
        return Picture(picture, hashlib.sha256(f"{picture.size}".encode() + pixels).hexdigest(), alpha)
    with _opening(source, formats) as (picture, sha256):
        flat, alpha = flatten(picture, str(given(source)))
        return Picture(flat, sha256, alpha, _rgb_profile(picture))


def picture_size(source: str | Path | Image.Image) -> tuple[int, int]:
    """(height, width) of a picture, as it is shown; of a file no more than its beginning is decoded. Raises as `open_picture`."""
    if isinstance(source, Image.Image):
        return source.height, source.width
    with _opening(source) as (picture, _):
        width, height = picture.size
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opening(source: str | Path, formats: tuple[str, ...] | None = None) -> Iterator[tuple[Image.Image, str]]:
    """The picture in a file, as Pillow opens it, for the block, and the SHA-256 of the file.

    Raises InputError for whatever Pillow raises here and in the block.
    """
    path = given(source)
    with reading(path, "a picture"):
        encoded = path.read_bytes()
    if formats:
        Image.init()  # else Pillow knows some of them only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # Pillow's remarks on odd metadata: of no use to a reader
            with Image.open(io.BytesIO(encoded), formats=formats) as picture, _without_remarks(picture):
                yield picture, hashlib.sha256(encoded).hexdigest()
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


@contextlib.contextmanager
def _without_remarks(picture: Image.Image) -> Iterator[None]:
    """Keep libtiff, which decodes in the block, from writing what it thinks of a damaged file to standard error by itself."""
    if picture.format != "TIFF":
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # there is no standard error
            kept = os.dup(2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


def _rgb_profile(picture: Image.Image) -> bytes | None:
    """The colour profile that is embedded in a picture, where it is a sound one for RGB."""
    profile = picture.info.get("icc_profile")
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), opened, "RGB", "RGB")  # it can be converted to
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return profile


def flatten(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """A PIL image of any mode as RGB, as `read_image` has it, and its alpha channel; `name` stands for it in an error.

    `picture` itself is turned as its EXIF orientation says, and given back where it is RGB. Raises InputError where it is too
    small for an input.
    """
    width, height = picture.size
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"{name}: {height} x {width} pixels are too few; use a picture of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}"
        )
    picture.load()  # only now: a refusal needs no decoding
    ImageOps.exif_transpose(picture, in_place=True)
    return on_white(picture)


# -- what a picture says of itself --------------------------------------------------------------------------------------


def read_record(path: str | Path) -> dict[str, Any]:
    """What the picture in a file says of how it was made. Raises InputError where it is none, is damaged, or says nothing."""
    _, said = _read_record(path, load=False)
    if said is None:
        raise InputError(
            f"{path}: says nothing of how it was made: it is none of gluon-nst's pictures, or was edited since"
        )
    return said


def _read_record(path: str | Path, load: bool) -> tuple[Image.Image, dict[str, Any] | None]:
    with _opening(path) as (picture, _):
        if load:
            picture.load()  # the whole of it: half a file is no picture
        texts = [getattr(picture, "text", {}).get("gluon-nst"), picture.info.get("comment"), picture.getexif().get(270)]
        for text in texts:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                said = json.loads(text or "")
                # Elsewhere than in a text of our own others describe their pictures in JSON too.
                if isinstance(said, dict) and (text is texts[0] or "recipe" in said):
                    return picture, said
        return picture, None


def read_made(path: str | Path) -> tuple[Image.Image, dict[str, Any]] | None:
    """The picture at `path` and what it says of how it was made, or None where it says nothing, is damaged, or isn't there."""
    try:
        picture, said = _read_record(path, load=True)
    except InputError:
        return None
    return None if said is None else (picture.convert("RGBA" if picture.mode == "RGBA" else "RGB"), said)
