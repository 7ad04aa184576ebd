"""Paint two pairs of demonstration pictures from a seed; takes some minutes on one core.

    python scripts/dev/paint_gallery.py FOLDER [--only portrait,mosaic,harbour,bay]

The pairs are a portrait with the style of a mosaic, and a harbour town with that of a bay by moonlight.
"""

import argparse
import io

from gluon_nst.machine.files import given, written_whole

import numpy as np
from paint_bay import paint_bay
from paint_harbour import paint_harbour
from paint_mosaic import paint_mosaic
from paint_portrait import paint_portrait
from PIL import Image

PAINTERS = {"portrait": paint_portrait, "mosaic": paint_mosaic, "harbour": paint_harbour, "bay": paint_bay}
PAIRS = (("portrait", "mosaic"), ("harbour", "bay"))  # content, style
LARGEST = 500_000  # bytes of a file


def jpeg(pixels):
    """Return the JPEG of the highest quality, at most 92, within LARGEST; pixels are 0 to 1, height x width x 3."""
    picture = Image.fromarray(np.uint8(np.clip(pixels * 255 + 0.5, 0, 255)))
    for quality in range(92, 60, -2):
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=quality, optimize=True, progressive=True)
        if encoded.tell() <= LARGEST:
            break
    return encoded.getvalue()


def names(text):
    chosen = text.split(",")
    if not set(chosen) <= set(PAINTERS):
        raise argparse.ArgumentTypeError(f"{text}: choose from {', '.join(PAINTERS)}")
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=given, metavar="FOLDER")
    parser.add_argument("--only", type=names, default=list(PAINTERS), metavar="NAMES", help="only these pictures")
    parser.add_argument("--seed", type=int, default=3, help="seed of the pictures (default: 3)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        encoded = jpeg(PAINTERS[name](np.random.default_rng(arguments.seed)))
        with written_whole(arguments.folder / f"{name}.jpg") as file:
            file.write(encoded)


if __name__ == "__main__":
    main()
