"""Render the sheets in README and docs/: the recipe fine and its controls. Takes half an hour on two cores.

    python scripts/dev/gallery.py [--inputs FOLDER] [--only pairs,styles,regions,colours,first] [--weights pypi]

It paints the inputs (paint_gallery.py) into the folder `--inputs`, runs the program on them, and writes into img/.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import gluon_nst as nst
from gluon_nst.machine.files import given
from gluon_nst.runs import figures
from gluon_nst.runs.figures import Cell

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).resolve().parent
IMG = HERE.parents[1] / "img"
MOUNTAINS, OAKS = IMG / "mountains.jpg", IMG / "autumn-oaks.jpg"
RECIPES = "fast,spst,stp-lbfgs.toml,fine"  # the third is beside this script
LONGEST = 448  # longest side of the pictures in the sheets, in pixels
WIDEST = 1280  # maximum width of the sheets, in pixels

SKY, LAND, WATER = (70, 130, 230), (200, 60, 40), (30, 160, 120)  # the colours of the maps


def pairs(inputs, weights):
    """Render a sheet for each of three pairs: content, style, fast, spst, stp and fine."""
    of = {"oaks": (MOUNTAINS, OAKS)}
    of.update(
        {
            style: ((inputs / f"{content}.jpg").resolve(), (inputs / f"{style}.jpg").resolve())
            for content, style in PAIRS
        }
    )
    for name, (content, style) in of.items():
        command = [sys.executable, "-m", "gluon_nst", "compare", content, style, "--recipes", RECIPES]
        options = ["--longest-side", LONGEST, "--precision", "auto", "--weights", weights]
        sheet = (inputs / f"fine-{name}.png").resolve()
        where = ["--out", (inputs / f"compare-{name}").resolve(), "--figure", sheet]
        subprocess.run([str(word) for word in command + options + where], check=True, cwd=HERE)
        publish(sheet)


PAIRS = (("portrait", "mosaic"), ("harbour", "bay"))


def transfer(content, style, weights, **options):
    return nst.transfer(content, style, weights=weights, **{"sizes": LONGEST, **options}).image


def opened(path):
    with Image.open(path) as picture:
        return picture.convert("RGB")


def save(inputs, name, rows, title):
    figures.save(figures.sheet(rows, title=title), inputs / f"{name}.png")
    publish(inputs / f"{name}.png")


def publish(sheet):
    """Write a sheet into img/ as a JPEG, scaled down to the width of a page on a high-density screen."""
    picture = opened(sheet)
    picture.thumbnail((WIDEST, WIDEST), Image.LANCZOS)
    picture.save(IMG / f"{sheet.stem}.jpg", quality=80, optimize=True)


def styles(inputs, weights):
    """Render three styles, separately and blended."""
    paths = [OAKS, inputs / "mosaic.jpg", inputs / "bay.jpg"]
    alone = [transfer(MOUNTAINS, path, weights) for path in paths]
    blended = transfer(MOUNTAINS, [nst.Style(path) for path in paths], weights)
    first = [Cell(opened(MOUNTAINS), "content"), *(Cell(opened(path), f"style {path.stem}") for path in paths)]
    second = [Cell(blended, "all three, blended"), *(Cell(picture, path.stem) for picture, path in zip(alone, paths))]
    save(inputs, "styles", [first, second], "Three styles blended: fine")


def map_of_harbour(picture):
    """Return the map of sky, land and water of the harbour; sky is blue or white in the upper part."""
    pixels = np.asarray(picture).astype(int)
    height, width, _ = pixels.shape
    red, green, blue = np.moveaxis(pixels, 2, 0)
    rows = np.arange(height)[:, None] / height
    sky = ((blue > red + 25) | ((pixels.min(axis=2) > 165) & (rows < 0.27))) & (rows < 0.4)
    return _painted(sky, np.broadcast_to(rows > 0.66, sky.shape))


def map_of_bay(picture):
    """Return the map of sky, land and water of the bay, whose regions have horizontal edges."""
    rows = np.arange(picture.height)[:, None] / picture.height * np.ones((1, picture.width))
    return _painted(rows < 0.43, (rows > 0.575) & (rows < 0.74))


def _painted(sky, water):
    labels = np.where(sky, 0, np.where(water, 2, 1)).astype(np.uint8)
    smooth = np.asarray(
        Image.fromarray(labels).filter(ImageFilter.ModeFilter(15))
    )  # on labels: on colours the filter would mix channels
    return Image.fromarray(np.array([SKY, LAND, WATER], np.uint8)[smooth])


def regions(inputs, weights):
    """Render with regions: sky in the style of the sky, houses of hills and field, water of the water."""
    content, style = opened(inputs / "harbour.jpg"), opened(inputs / "bay.jpg")
    maps = map_of_harbour(content), map_of_bay(style)
    for name, made in zip(("harbour", "bay"), maps):
        made.save(inputs / f"{name}-map.png")
    plain = transfer(content, style, weights)
    drawn = transfer(content, nst.Style(style, regions=maps[1]), weights, regions=maps[0])
    first = [Cell(content, "content"), Cell(style, "style"), Cell(plain, "without regions")]
    second = [Cell(maps[0], "its map"), Cell(maps[1], "its map"), Cell(drawn, "by regions")]
    save(inputs, "regions", [first, second], "Regions: fine")


def colours(inputs, weights):
    """Render with the colours of the content, by both methods."""
    content, style = inputs / "harbour.jpg", OAKS
    made = {way: transfer(content, style, weights, preserve_colors=way) for way in ("no", "luminance", "histogram")}
    cells = [Cell(opened(content), "content"), Cell(opened(style), "style")]
    save(
        inputs, "colours", [[*cells, *(Cell(picture, way) for way, picture in made.items())]], "--preserve-colors: fine"
    )


def first(inputs, weights):
    """Render the first picture of README, at 1024 pixels."""
    nst.transfer(MOUNTAINS, OAKS, weights=weights, sizes=1024, quality=85).save(IMG / "fine.jpg")


SHEETS = {"pairs": pairs, "styles": styles, "regions": regions, "colours": colours, "first": first}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=given, default=given("gallery"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SHEETS), metavar="NAME,...")
    parser.add_argument("--weights", default="auto")
    arguments = parser.parse_args()
    for name in arguments.only:
        if name not in SHEETS:
            parser.error(f"--only {name}: choose from {', '.join(SHEETS)}")
    names = [name for pair in PAIRS for name in pair]
    if not all((arguments.inputs / f"{name}.jpg").exists() for name in names):
        subprocess.run([sys.executable, HERE / "paint_gallery.py", arguments.inputs], check=True)
    for name in arguments.only:
        SHEETS[name](arguments.inputs, arguments.weights)


if __name__ == "__main__":
    main()
