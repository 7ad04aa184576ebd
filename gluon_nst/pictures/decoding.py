"""Decoding of pictures from files.

MXNet is imported only when a picture is converted to an NDArray: processes that only read pictures, like the lab
page's, do not need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence, Union

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin

from gluon_nst.errors import InputError, reason
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import given, reading
from gluon_nst.typing import NDArray

Source = Union[str, Path, Image.Image]
"""A picture: a path, or a PIL image."""

SMALLEST_SIDE = 16
"""Pictures with a shorter side, in pixels, are refused: they are too small for a transfer."""

MOST_STRETCH = 1.05
"""Pictures that belong together have the same aspect ratio up to this factor, which allows for rounded small sizes."""


# -- decoding ---------------------------------------------------------------------------------------------------------


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Convert greyscale with more than eight bits to mode L or LA.

    Pillow's own conversion would clip it.
    """
    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    if picture.mode == "F":  # floating point has no standard range: 0 to 1 if the values fit, else their own range
        low, high = (0, 1) if values.min() >= 0 and values.max() <= 1 else (values.min(), values.max())
    elif values.min() < 0 or values.max() > 65535:
        raise ValueError("it has values below 0, or above 65535")
    else:  # in mode I older versions of Pillow read 16 bits; it may also be a converted 8-bit picture
        low, high = 0, 255 if picture.mode == "I" and values.max() <= 255 else 65535
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    scaled = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    if "transparency" in picture.info:
        scaled.putalpha(Image.fromarray(np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)))
    return scaled


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture from its embedded colour `profile` to sRGB, in mode RGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return converted or picture.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture.convert("RGB")  # damaged, or for another colour space: viewers ignore such profiles as well


def _to_rgb(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return a PIL image of any mode in sRGB, and its alpha channel if it has one."""
    profile, gamma = picture.info.get("icc_profile"), _gamma(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _to_8_bits(picture)
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode in ("La", "RGBa"):  # premultiplied
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    alpha = picture.convert("RGBA").getchannel("A") if has_alpha else None
    if has_alpha:
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    if profile:
        picture = _to_srgb(picture, profile)
    elif picture.mode != "RGB":  # convert() would copy an RGB picture
        picture = picture.convert("RGB")
    if gamma:
        levels = [round(255 * (level / 255) ** gamma) for level in range(256)]
        picture = picture.point(levels * 3)
    return picture, alpha


def _gamma(picture: Image.Image) -> float | None:
    """Return the exponent that converts a PNG without a colour profile to sRGB.

    None if its values are sRGB. PNG specification, 12.1: the values to the power 1 / gAMA are linear light, and sRGB is
    close to a power of 1 / 2.2. Like libpng, it ignores differences of up to 5 %.
    """
    gamma: Any = picture.info.get("gamma")
    if not gamma or not 0.01 < gamma < 100 or picture.info.keys() & {"icc_profile", "srgb"}:
        return None
    exponent = 1 / (2.2 * gamma)
    return exponent if abs(exponent - 1) > 0.05 else None


def on_white(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """Composite an RGB image with its `alpha` channel on white."""
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha) if alpha else picture


_SEEN = 32
"""Minimum alpha, of 255, of a pixel whose colour is used unchanged; below, rounding makes it unreliable."""


def _extended(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    """Extend the visible colours of an RGB image under its transparent pixels.

    Otherwise hidden colours of the file, or an arbitrary background, would influence neighbouring pixels.
    """
    if np.asarray(alpha).min() >= _SEEN:
        return picture
    if not np.asarray(alpha).any():
        return Image.new("RGB", picture.size, "white")
    weights = np.minimum(np.asarray(alpha, np.float32) / _SEEN, 1)
    channels = (_continued(np.asarray(channel, np.float32), weights) for channel in picture.split())
    return Image.merge("RGB", [Image.fromarray(np.rint(channel).astype(np.uint8)) for channel in channels])


def _continued(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blend values of weights below 1 with a mean of their neighbours.

    Both arrays are h × w, float32, the weights from 0 to 1; values with a weight of 1 are kept. The pull-push algorithm
    (Gortler, Grzeszczuk, Szeliski and Cohen 1996, The Lumigraph, section 3.3).
    """
    if values.size == 1:
        return values
    height, width = values.shape
    half = (width + 1) // 2, (height + 1) // 2
    sums, sums_of_weights = (
        np.asarray(Image.fromarray(each).resize(half, Image.Resampling.BOX)) for each in (values * weights, weights)
    )
    coarse = _continued(sums / np.maximum(sums_of_weights, 1e-6), np.minimum(4 * sums_of_weights, 1))
    return values * weights + np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)) * (
        1 - weights
    )


def read_image(path: str | Path | Image.Image) -> NDArray:
    """Read the picture in file `path`, or a PIL image, as an NDArray.

    The result is uint8, height × width × 3, in sRGB. All formats of Pillow are read: the first frame, rotated by its
    EXIF orientation, transparency flattened on white, an embedded colour profile converted to sRGB. Raises InputError
    for a file that is not such a picture, is damaged, has a side shorter than 16 pixels, or more pixels than Pillow's
    limit against decompression bombs.
    """
    return open_picture(path).flattened().array


class Picture(NamedTuple):
    """A decoded picture.

    `image` is a PIL image in mode RGB, `sha256` the hash of its file, or of its pixels. `alpha` is its alpha channel, a
    PIL image in mode L, or None if it has none. The colours under transparent pixels are extended from the pixels
    around them.
    """

    image: Image.Image
    sha256: str
    alpha: Image.Image | None = None
    profile: bytes | None = None
    """The file's ICC profile, if it has one for RGB; the pixels are converted to sRGB."""
    format: str | None = None
    """Pillow's name of the file's format."""
    values: np.ndarray | None = None
    """The original integers of a picture with one channel of more than 8 bits, h × w; None for others."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.height, self.image.width

    @property
    def visible(self) -> np.ndarray | None:
        """The opacity of each pixel, h × w from 0 to 1 in float32.

        None for a picture without an alpha channel.
        """
        return None if self.alpha is None else np.asarray(self.alpha, np.float32) / 255

    def flattened(self) -> Picture:
        """Return the picture on white, without an alpha channel."""
        return self._replace(image=on_white(self.image, self.alpha), alpha=None)

    @property
    def array(self) -> NDArray:
        """The pixels as a uint8 NDArray, height × width × 3."""
        from mxnet import nd

        return nd.array(np.asarray(self.image), dtype=np.uint8)

    def preprocessed(self, image_shape: tuple[int, int], resize: str) -> NDArray:
        """Return `pixels.preprocess` of the picture.

        Pillow's ways to resize need no array of the whole picture.
        """
        from mxnet import nd

        from gluon_nst.pictures.pixels import RESIZES, preprocess

        way = RESIZES[resize]
        img = self.array if way is None else nd.array(np.asarray(self.image.resize(image_shape, way)), dtype=np.uint8)
        return preprocess(img, image_shape, resize)


@contextlib.contextmanager
def pixels_allowed(most: int | None) -> Iterator[None]:
    """Replace Pillow's limit against decompression bombs, in pixels, in the block.

    None keeps it.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most or before
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixels_limit() -> int | None:
    """Return the maximum number of pixels of a picture; None for no limit."""
    return Image.MAX_IMAGE_PIXELS


def open_picture(source: str | Path | Image.Image, formats: tuple[str, ...] | None = None) -> Picture:
    """Return the Picture in a file, or of a PIL image of any mode.

    It is decoded as by `read_image`. `formats` restricts Pillow's formats, by default all; some of them call other
    programs, or are obsolete.
    """
    if isinstance(source, Image.Image):
        original = source.copy()
        picture, alpha = decode(original, "the picture")
        pixels = picture.tobytes() + (alpha.tobytes() if alpha else b"")
        sha256 = hashlib.sha256(f"{picture.size}".encode() + pixels).hexdigest()
        return Picture(picture, sha256, alpha, None, source.format, _values(original))
    with _opening(source, formats) as (picture, sha256):
        rgb, alpha = decode(picture, str(given(source)))
        return Picture(rgb, sha256, alpha, _rgb_profile(picture), picture.format, _values(picture))


def _values(picture: Image.Image) -> np.ndarray | None:
    """Return a Picture's `values` from a decoded and rotated PIL image."""
    if picture.mode.startswith("I"):
        return np.asarray(picture)
    return picture.info.get(_VALUES)  # type: ignore[arg-type]


def picture_size(source: str | Path | Image.Image) -> tuple[int, int]:
    """Return the (height, width) of a picture after its EXIF rotation.

    Most formats are not decoded for it. Raises the errors of `open_picture`.
    """
    if isinstance(source, Image.Image):
        picture = ImageOps.exif_transpose(source) if _is_turned(source) else source  # the caller's is not changed
        assert picture is not None  # for the types of older versions of Pillow
        return picture.height, picture.width
    with _opening(source) as (picture, _):
        if _is_turned(picture):  # in some formats Pillow rotates the size before it decodes
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
        return picture.height, picture.width


def is_stretched(other: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether two sizes (height, width) have different aspect ratios."""
    stretch = other[0] * size[1] / (other[1] * size[0])
    return not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH


def check_shape(name: str, own: Sequence[int], size: Sequence[int], other: str, advice: str) -> None:
    """Raise InputError unless two sizes have nearly the same aspect ratio.

    `own` is the (height, width) of the picture called `name`, `size` that of the `other` one; `advice` ends the
    message.
    """
    if is_stretched(own, size):
        raise InputError(
            f"{name}: {own[0]} x {own[1]} pixels do not have the aspect ratio of {other}, {size[0]} x {size[1]};"
            f" {advice}"
        )


def _is_turned(picture: Image.Image) -> bool:
    """Return whether the EXIF orientation exchanges the height and the width."""
    return picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5


@contextlib.contextmanager
def _opening(source: str | Path, formats: tuple[str, ...] | None = None) -> Iterator[tuple[Image.Image, str]]:
    """Open a picture with Pillow for the block; yield it and its file's SHA-256.

    Raises InputError in place of Pillow's errors here and in the block.
    """
    path = given(source)
    with reading(path, "a picture"):
        encoded = path.read_bytes()
    if formats:
        Image.init()  # otherwise Pillow has registered only some of them
    else:
        _register_heif(path, encoded)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # Pillow's warnings of odd metadata do not help the user
            with _opened(path, encoded, formats) as picture, _without_remarks(picture):
                yield picture, hashlib.sha256(encoded).hexdigest()
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path}: more pixels than the limit of {Image.MAX_IMAGE_PIXELS}; scale it down first,"
            " or raise the limit with --max-pixels"
        ) from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path}: not a picture in a format that Pillow reads; convert it to PNG or JPEG") from None
    except Exception as error:  # decoders raise many types on damaged files: OSError, SyntaxError, struct.error, …
        raise InputError(f"{path}: the picture is damaged ({reason(error)}); get an intact copy") from None


def _opened(path: Path, encoded: bytes, formats: tuple[str, ...] | None) -> Image.Image:
    """Return the picture in the bytes of a file.

    One that Pillow opens is not decoded yet.
    """
    if encoded[:4] in _TIFF and (not formats or "TIFF" in formats):
        tags, samples = None, ""
        with contextlib.suppress(Exception):  # of a damaged header, for which Pillow has a better error
            tags = _tiff_tags(encoded)
            samples = _kind_of_samples(tags)
        if tags is not None and samples:
            return _tiff_by_vips(path, encoded, tags, samples)
    picture = Image.open(io.BytesIO(encoded), formats=formats)
    scale = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}.get(str(picture.tile[0][3]) if picture.tile else "")
    if picture.format == "PNG" and scale and "transparency" in picture.info:
        # Pillow scales the pixels of a PNG to 8 bits, but not the transparent colour (recent versions do for 1 bit).
        colour: Any = picture.info["transparency"]
        scaled = [min(int(each * scale), 255) for each in (colour if isinstance(colour, tuple) else (colour,))]
        picture.info["transparency"] = tuple(scaled) if len(scaled) > 1 else scaled[0]
    return picture


# -- formats that Pillow does not read without help -------------------------------------------------------------------

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""Picture formats in the container of ISO 23008-12, by brand, with their common names."""


def register_heif() -> None:
    """Register HEIC and AVIF with Pillow if pillow-heif is installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
        if not _reads_avif() and hasattr(pillow_heif, "register_avif_opener"):
            pillow_heif.register_avif_opener()


def _reads_avif() -> bool:
    return ".avif" in Image.registered_extensions()


def _register_heif(path: Path, encoded: bytes) -> None:
    """Call `register_heif` for a file that needs it.

    Raises InputError if pillow-heif is not installed.
    """
    kind = _BRANDS.get(encoded[8:12]) if encoded[4:8] == b"ftyp" else None
    if kind is None or (kind == "AVIF" and _reads_avif()):
        return
    register_heif()
    require(f"{path}: {kind}", "pillow-heif", "convert it to JPEG")


_TIFF = (b"II*\0", b"MM\0*", b"II+\0")
"""The signatures of TIFFs, except that of a big-endian BigTIFF, which Pillow does not read."""


_VALUES = "gluon-nst values"
"""The key in a picture's `info` of its values with more than 8 bits, before they were converted to 8."""
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 256, 257, 258, 262, 284, 338, 339
"""Tags of TIFF 6.0."""


def _tiff_tags(encoded: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2(encoded[: 16 if b"+" in encoded[2:4] else 8])
    file = io.BytesIO(encoded)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _kind_of_samples(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    """Describe the samples of a TIFF that Pillow can't read or reads incorrectly.

    Returns "" for other files.
    """
    bits, formats = tags.get(_BITS, (1,)), set(tags.get(_SAMPLE_FORMAT, (1,)))
    samples, in_one_plane = len(bits), tags.get(_PLANES, 1) == 1
    grey, several = samples == 1 and tags.get(_PHOTOMETRIC) == 1, samples > 2 and in_one_plane
    premultiplied_grey = samples == 2 and tags.get(_EXTRA_SAMPLES) == (1,)
    if formats == {1} and ((max(bits) <= 8 and not premultiplied_grey) or (set(bits) == {16} and (grey or several))):
        return ""
    if formats in ({2}, {3}) and bits == (32,):
        return ""
    kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(min(formats), "unknown")
    return (
        f"{samples} {kind} {max(bits)}-bit sample{'s' * (samples > 1)}{'' if in_one_plane else ' in separate planes'}"
    )


def _tiff_by_vips(path: Path, encoded: bytes, tags: TiffImagePlugin.ImageFileDirectory_v2, samples: str) -> Image.Image:
    """Read a TIFF with libvips, in 8 bits.

    Raises InputError if libvips can't read it, or is not installed.
    """
    advice = "convert it to 8 or 16 bits a channel"
    largest = {8: 2**8 - 1, 16: 2**16 - 1, 32: 2**32 - 1}.get(max(tags.get(_BITS, (1,))))
    has_alpha = len(tags.get(_BITS, (1,))) % 2 == 0
    # With 32 bits libvips divides the colours by the alpha as if that had 8. The meaning of negative values and
    # fractions is not defined.
    if "unsigned" not in samples or largest is None or (largest > 2**16 and has_alpha):
        raise InputError(f"{path}: a TIFF of {samples} is not supported; {advice}")
    require(f"{path}: a TIFF of {samples}", "pyvips", advice)
    import pyvips

    if tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
    picture = pyvips.Image.new_from_buffer(encoded, "", fail_on="error").autorot()
    if picture.interpretation == "cmyk" or picture.bands > 4:
        raise InputError(f"{path}: a TIFF of {samples} is not supported; {advice}")
    values = picture.numpy()
    image = Image.fromarray(np.rint(values * (255 / largest)).astype(np.uint8))
    if values.ndim == 2:
        image.info[_VALUES] = values
    if picture.get_typeof("icc-profile-data"):
        image.info["icc_profile"] = picture.get("icc-profile-data")
    return image


@contextlib.contextmanager
def _without_remarks(picture: Image.Image) -> Iterator[None]:
    """Suppress what libtiff, called in the block, writes to standard error."""
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
    """Return the embedded colour profile of a picture if it is a valid RGB one."""
    profile = picture.info.get("icc_profile")
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), opened, "RGB", "RGB")  # raises if it can't be used
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return profile


def decode(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Return a PIL image of any mode as the RGB image of a Picture, and its alpha.

    `name` is for errors. `picture` is rotated in place by its EXIF orientation, and returned itself if it is RGB.
    Raises InputError if it is too small for an input.
    """
    width, height = picture.size
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"{name}: {height} x {width} pixels are too few;"
            f" use a picture of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}"
        )
    picture.load()  # after the check, which needs no decoding
    ImageOps.exif_transpose(picture, in_place=True)
    picture, alpha = _to_rgb(picture)
    return _extended(picture, alpha) if alpha else picture, alpha


# -- the record in a picture ------------------------------------------------------------------------------------------


def read_record(path: str | Path) -> dict[str, Any]:
    """Return the record of how the picture in a file was made.

    Raises InputError if the file is not a picture, is damaged, or has no record.
    """
    _, record = _read_record(path, load=False)
    if record is None:
        raise InputError(
            f"{path}: has no record of how it was made: it is not a picture of gluon-nst, or was edited since"
        )
    return record


def _read_record(path: str | Path, load: bool) -> tuple[Image.Image, dict[str, Any] | None]:
    with _opening(path) as (picture, _):
        if load:
            picture.load()  # raises if the file is truncated
        texts = [getattr(picture, "text", {}).get("gluon-nst"), picture.info.get("comment"), picture.getexif().get(270)]
        for text in texts:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                record = json.loads(text or "")
                # In comments and descriptions other programs may write JSON, too.
                if isinstance(record, dict) and (text is texts[0] or "recipe" in record):
                    return picture, record
        return picture, None


def read_made(path: str | Path) -> tuple[Image.Image, dict[str, Any]] | None:
    """Return the picture at `path` and its record.

    None if it has no record, is damaged, or does not exist.
    """
    try:
        picture, record = _read_record(path, load=True)
    except InputError:
        return None
    return None if record is None else (picture.convert("RGBA" if picture.mode == "RGBA" else "RGB"), record)


def name_of(source: Source, otherwise: str) -> str:
    """Return the path of a picture as text; `otherwise` for a PIL image."""
    return otherwise if isinstance(source, Image.Image) else str(source)
