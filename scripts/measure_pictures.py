"""Measures a stylised picture whose content is flat_sky.py's: how flat its sky stayed, its borders, and its specks.

    python scripts/measure_pictures.py RESULT.png STYLE.jpg [--style-size LONGEST] [--sky ROWS]

flat share  the share of the sky's patches that have less than a quarter of the style's texture
borders     how much the outer 8 pixels of a side differ from the next 24, on the worst side
specks      how many of the sky's pixels stand out from their neighbours as hardly one of the style's does

All of it is measured on the luminance, which is 0.299 R + 0.587 G + 0.114 B of the values as stored, from 0 to 1.
"""

import argparse

from gluon_nst.files import given

import numpy as np
from PIL import Image

from flat_sky import sky_rows

PATCH = 16
OUTER, INNER = 8, 24  # pixels from a side, and further pixels from there
RARE = 99.99  # the percentile of the style's pixels that a speck exceeds
STEP = 1 / 255  # what differs by less than a step of 8 bits does not differ


def luminance(picture):
    """The luminance of a uint8 picture, height x width x 3: height x width, 0 to 1."""
    return np.asarray(picture, np.float64) @ (0.299, 0.587, 0.114) / 255


def patch_deviations(plane):
    """The standard deviation of each 16 x 16 patch, side by side from the upper left; what remains is left out."""
    rows, columns = (side // PATCH for side in plane.shape)
    patches = plane[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
    return patches.std(axis=(1, 3))


def flat_share(result, style, rows):
    """The share of the patches within the upper `rows` whose deviation is under a quarter of the style's median one."""
    usual = np.median(patch_deviations(luminance(style)))
    return float(np.mean(patch_deviations(luminance(result)[:rows]) < usual / 4))


def border_differences(result):
    """{(side, "mean" or "deviation"): |outer - inner| / inner}, for the outer 8 pixels of a side and the next 24.

    The inner ones are taken as three strips as deep as the outer one, and their figures averaged: over 24 rows even a smooth
    gradient deviates three times as much as over 8.
    """
    plane, differences = luminance(result), {}
    for side, turned in {"top": plane, "bottom": plane[::-1], "left": plane.T, "right": plane.T[::-1]}.items():
        outer, *inner = (turned[start : start + OUTER] for start in range(0, OUTER + INNER, OUTER))
        for name, figure in {"mean": np.mean, "deviation": np.std}.items():
            usual = np.mean([figure(strip) for strip in inner])
            differences[side, name] = float(abs(figure(outer) - usual) / max(usual, STEP))
    return differences


def border_difference(result):
    """The largest of the eight relative differences between a side's outer 8 pixels and its next 24."""
    return max(border_differences(result).values())


def departures(plane):
    """How far each pixel is from the median of the 5 x 5 about it; the picture is mirrored beyond its sides."""
    height, width = plane.shape
    padded = np.pad(plane, 2, mode="reflect")
    shifted = [padded[y : y + height, x : x + width] for y in range(5) for x in range(5)]
    return np.abs(plane - np.median(shifted, axis=0))


def specks(result, style, rows):
    """How many pixels of the upper `rows` depart further than the style's do at their 99.99th percentile.

    Gives that number, and the largest departure as a multiple of that percentile.
    """
    rare = max(np.percentile(departures(luminance(style)), RARE), STEP)
    departed = departures(luminance(result))[:rows]
    return int(np.sum(departed > rare)), float(departed.max() / rare)


def read(path, longest=None):
    """The picture in a file as uint8, height x width x 3, its longest side brought down to `longest` where it is larger."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
    if longest is not None and longest < max(picture.size):
        scale = longest / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.LANCZOS)
    return np.asarray(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=given, metavar="RESULT.png")
    parser.add_argument("style", type=given, metavar="STYLE.jpg")
    parser.add_argument(
        "--style-size",
        type=int,
        metavar="LONGEST",
        help="the longest side that the style picture had in the run (default: the result's); it is never enlarged",
    )
    parser.add_argument("--sky", type=int, metavar="ROWS", help="rows of sky (default: those of flat_sky.py's picture)")
    arguments = parser.parse_args()
    result = read(arguments.result)
    style = read(arguments.style, arguments.style_size or max(result.shape))
    rows = sky_rows(len(result)) if arguments.sky is None else arguments.sky
    if not PATCH <= rows <= len(result):
        parser.error(f"--sky {rows}: choose {PATCH} to {len(result)} rows")

    differences = border_differences(result)
    side, name = max(differences, key=differences.get)
    count, ratio = specks(result, style, rows)
    print(f"flat share  {flat_share(result, style, rows):.3f}")
    print(f"borders     {border_difference(result):.3f} ({side}, {name})")
    print(f"specks      {count} (largest: {ratio:.2f} times the style's {RARE}th percentile)")


if __name__ == "__main__":
    main()
