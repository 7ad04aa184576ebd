"""Encoding of pictures as PNG, TIFF, WebP and JPEG, in 8 or 16 bits.

The files have a colour profile, a resolution and the provenance. Pillow writes 8 bits per channel. It has no RGB with
16, which libvips (pyvips) writes, some rows at a time.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from gluon_nst.errors import InputError, NSTError, reason, warn
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import check_writable, given, placed_whole
from gluon_nst.pictures.decoding import on_white

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
_DEEP = ("PNG", "TIFF")
_LOSSY = ("JPEG", "WEBP")
_FULL_COLOUR = 90
"""Minimum quality of a JPEG with colours at full resolution (4:4:4); below, they have half of it, as usual."""
_LONGEST_COMMENT = 65_000
"""Maximum bytes of a JPEG's comment."""
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}


class Encoding(NamedTuple):
    """The encoding of a picture's file.

    A format ignores the fields that it does not have.
    """

    bits: int = 8
    """Bits per channel: 8 or 16."""
    quality: int = 95
    """Quality of a JPEG or a WebP, from 1 to 100."""
    dpi: float | None = None
    """Resolution in pixels per inch."""
    profile: bytes | None = None
    """The ICC profile for RGB to which the picture is converted; None for sRGB."""


@functools.lru_cache(maxsize=None)
def srgb() -> bytes:
    """Return the ICC profile of sRGB with a fixed date.

    Thus the same picture always has the same bytes.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])  # 1 January 2000
    return bytes(profile)


def check_picture_writable(path: str | Path, bits: int = 8, quality: int = Encoding().quality) -> None:
    """Call `check_writable` for a picture: PNG, TIFF, WebP or JPEG.

    With 16 `bits` PNG or TIFF. Warns of a `quality` if the format has none.
    """
    check_writable(path, tuple(_FORMATS))
    warn_of_quality(path, quality)
    kind = _FORMATS[given(path).suffix.lower()]
    if bits != 8 and kind not in _DEEP:
        raise InputError(f"{path}: {kind} has 8 bits, not {bits}; name a .png or a .tif")


def warn_of_quality(path: str | Path, quality: int | None) -> None:
    """Warn of a `quality` if the format of a picture at `path` has none."""
    kind = _FORMATS[given(path).suffix.lower()]
    if kind not in _LOSSY and quality not in (None, Encoding().quality):
        warn(f"quality has no effect on a {kind}, which is lossless", stacklevel=2)


def check_bits(bits: int) -> None:
    """Raise InputError if pictures with these `bits` need a missing package."""
    if bits != 8:
        require(f"bits {bits}:", "pyvips", "leave it at 8")


def write_image(
    picture: Image.Image | np.ndarray,
    path: str | Path,
    provenance: str = "",
    encoding: Encoding | None = None,
    *,
    sync: bool = False,
) -> None:
    """Write a picture as PNG, TIFF, WebP or JPEG, by the ending of `path`.

    `picture` is sRGB: a PIL image, or, for 16 bits, an array of uint16, h × w × 3, or × 4 with alpha. `provenance` is
    written into it as text: the chunk `gluon-nst` of a PNG, the comment of a JPEG, the ImageDescription of the others.
    `sync` is as in `files.placed_whole`. Raises InputError for an unsupported path or encoding, and NSTError if the
    file can't be written.
    """
    path, encoding = given(path), encoding or Encoding()
    check_picture_writable(path, 8 if isinstance(picture, Image.Image) else 16, encoding.quality)
    kind = _FORMATS[path.suffix.lower()]
    height, width = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
    if max(height, width) > _LONGEST_SIDE.get(kind, max(height, width)):
        raise NSTError(f"{path}: {height} x {width} pixels are too many for a {kind}; name a .png or a .tif")
    with placed_whole(path, sync) as temporary:
        if isinstance(picture, np.ndarray):
            _write_deep(picture, temporary, kind, provenance, encoding)
        else:
            _write_shallow(picture, temporary, kind, provenance, encoding)


def _write_shallow(picture: Image.Image, path: str, kind: str, provenance: str, encoding: Encoding) -> None:
    if kind == "JPEG" and picture.mode == "RGBA":  # a JPEG can't be transparent
        picture = on_white(picture.convert("RGB"), picture.getchannel("A"))
    if encoding.profile:
        picture = _converted(picture, encoding.profile)
    options: dict[str, Any] = {"icc_profile": encoding.profile or srgb()}
    if encoding.dpi:
        options["dpi"] = (encoding.dpi, encoding.dpi)
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        if provenance:
            text.add_text("gluon-nst", provenance)
        options["pnginfo"] = text
    elif kind == "JPEG":
        options.update(
            quality=encoding.quality,
            subsampling=0 if encoding.quality >= _FULL_COLOUR else 2,
            comment=provenance if len(provenance) < _LONGEST_COMMENT else "",
        )
    elif kind == "TIFF":
        options.update(compression="tiff_adobe_deflate", description=provenance)
    elif kind == "WEBP":
        options.update(quality=encoding.quality, exif=_exif(provenance, encoding.dpi))
    else:
        raise ValueError(f"{kind}: unknown format")
    picture.save(path, format=kind, **options)


def _exif(provenance: str, dpi: float | None) -> Image.Exif:
    """Return the EXIF data of a WebP."""
    exif = Image.Exif()
    if provenance:
        exif[270] = provenance  # ImageDescription
    if dpi:
        exif[282] = exif[283] = dpi  # XResolution, YResolution
        exif[296] = 2  # in inches
    return exif


def _converted(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture from sRGB to a profile; its transparency stays."""
    try:
        other, own = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        made = ImageCms.profileToProfile(picture.convert("RGB"), own, other, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise NSTError(f"--keep-profile: the content picture's profile can't be used ({reason(error)})") from None
    assert made is not None
    if picture.mode == "RGBA":
        made.putalpha(picture.getchannel("A"))
    return made


def _write_deep(pixels: np.ndarray, path: str, kind: str, provenance: str, encoding: Encoding) -> None:
    import pyvips

    height, width, channels = pixels.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).data, width, height, channels, "ushort")
    picture = picture.copy(interpretation="rgb16")
    with contextlib.ExitStack() as stack:
        try:
            if encoding.profile:
                own, other = (stack.enter_context(_as_file(each)) for each in (srgb(), encoding.profile))
                picture = picture.icc_transform(other, input_profile=own, intent="perceptual", depth=16)
            resolution = {"xres": encoding.dpi / 25.4, "yres": encoding.dpi / 25.4} if encoding.dpi else {}
            picture = picture.copy(**resolution)  # the fields of other images can't be set
            picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", encoding.profile or srgb())
            if provenance:
                field = "png-comment-0-gluon-nst" if kind == "PNG" else "image-description"
                picture.set_type(pyvips.GValue.gstr_type, field, provenance)
            if kind == "PNG":
                picture.pngsave(path, compression=6, bitdepth=16)
            else:
                picture.tiffsave(path, compression="deflate", predictor="horizontal")
        except pyvips.Error as error:
            raise OSError(reason(error).strip()) from None  # `placed_whole` adds the file's name


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=".icc") as file:
        file.write(content)
        file.flush()
        yield file.name
