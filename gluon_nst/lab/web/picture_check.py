"""Check of an uploaded picture, in a subprocess with limited memory and time.

Its bytes are not trusted.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from gluon_nst.errors import InputError, NSTError, one_line
from gluon_nst.pictures.decoding import open_picture, pixels_allowed
from gluon_nst.pictures.encoding import write_image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats of cameras, screens and the web. Others run external programs, or have old decoders."""
_FORMAT_NAMES = "PNG, JPEG, WebP, GIF or BMP"

_MAX_MEMORY, _MAX_SECONDS = 3_000_000_000, 30
_PREVIEW_SIDE = 1024


def check_picture(path: Path, preview: Path, max_pixels: int) -> tuple[int, int]:
    """Decode the picture at `path`, write its preview, and return its (height, width).

    Raises InputError if the file is not a picture of these formats.
    """
    with pixels_allowed(max_pixels):
        picture = open_picture(path, FORMATS)
    small = picture.flattened().image.copy()
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    write_image(small, preview)
    return picture.size


def main() -> None:
    """Check the file on the command line; print its size, or the error, as JSON."""
    path, preview, max_pixels = sys.argv[1:]
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_SECONDS, _MAX_SECONDS))
    try:
        height, width = check_picture(Path(path), Path(preview), int(max_pixels))
        print(json.dumps({"height": height, "width": width}))
    except MemoryError:
        print(json.dumps({"error": "the picture needs too much memory; scale it down first"}))
    except NSTError as error:
        line = one_line(error).replace(f"{path}: ", "").replace(", or raise the limit with --max-pixels", "")
        line = line.replace(
            "in a format that Pillow reads; convert it to PNG or JPEG",
            f"in a format that the lab accepts: {_FORMAT_NAMES}",
        )
        disk_full = not isinstance(error, InputError)
        print(json.dumps({"error": line, "disk_full": disk_full}))
