"""Looking at an uploaded picture, in a process of its own: it may be anything, and take as much memory or time as it
likes."""

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
"""Those that come from cameras, screens and the web. Others call other programs, or their decoders are old."""

KINDS = "PNG, JPEG, WebP, GIF or BMP"

_MEMORY, _SECONDS = 3_000_000_000, 30
_LONGEST_SIDE = 1024


def look(path: Path, shown: Path, pixels: int) -> tuple[int, int]:
    """(height, width) of the picture at `path`, of so many pixels at most; what the page shows of it goes to `shown`.

    Raises InputError for what is no such picture.
    """
    with pixels_allowed(pixels):
        picture = open_picture(path, FORMATS)
    small = picture.flattened().image.copy()
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    write_image(small, shown)
    return picture.size


def main() -> None:
    """Look at the file that the command names, and print what it is, or why it is refused, as JSON."""
    path, shown, pixels = sys.argv[1:]
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    try:
        height, width = look(Path(path), Path(shown), int(pixels))
        print(json.dumps({"height": height, "width": width}))
    except MemoryError:
        print(json.dumps({"error": "the picture takes too much memory; scale it down first"}))
    except NSTError as error:
        line = one_line(error).replace(f"{path}: ", "").replace(", or raise the limit with --max-pixels", "")
        line = line.replace(
            "in a format that Pillow reads; convert it to PNG or JPEG", f"of a kind that is taken here: {KINDS}"
        )
        full = not isinstance(error, InputError)
        print(json.dumps({"error": line, "full": full}))
