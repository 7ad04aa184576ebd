"""Put pictures side by side at full size, with a label below each, into one PNG or JPEG.

    python scripts/dev/contact_sheet.py OUT.png PICTURE[=LABEL] ... [--columns N] [--longest-side PIXELS]

Unlike gluon_nst.runs.figures.sheet, whose pictures have 450 pixels, it does not resample.
"""

import argparse
from pathlib import Path

from gluon_nst.errors import NSTError
from gluon_nst.machine.files import check_writable, given, written_whole
from gluon_nst.pictures import decoding

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

GAP, TEXT = 12, 20  # pixels
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def sheet(pictures, labels, columns):
    """Return the pictures, PIL images of any sizes, in rows of `columns`, each over its label, on white."""
    font = ImageFont.truetype(findfont("DejaVu Sans"), TEXT)
    longest = max(picture.width for picture in pictures)
    labels = [shortened(label, font, longest) for label in labels]
    extents = [max(picture.width, round(font.getlength(label))) for picture, label in zip(pictures, labels)]
    widths = [max(extents[column::columns]) for column in range(min(columns, len(pictures)))]
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    heights = [max(pictures[k].height for k in row) + 2 * TEXT for row in rows]
    page = Image.new("RGB", (sum(widths) + GAP * (len(widths) + 1), sum(heights) + GAP * (len(rows) + 1)), "white")
    draw, top = ImageDraw.Draw(page), GAP
    for row, height in zip(rows, heights):
        left = GAP
        for k, width in zip(row, widths):
            page.paste(pictures[k], (left, top))
            draw.text((left, top + pictures[k].height + TEXT // 3), labels[k], "black", font)
            left += width + GAP
        top += height + GAP
    return page


def shortened(label, font, width):
    """Return the label, shortened with an ellipsis if it is wider than `width` pixels."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "…") > width:
        label = label[:-1]
    return label + "…"


def labelled(text):
    """Return (path, label) of PICTURE or PICTURE=LABEL; the label is the file's name by default."""
    path, _, label = text.partition("=") if not Path(text).exists() else (text, "", "")
    return given(path), label or Path(path).stem


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=given, metavar="OUT.png", help="or OUT.jpg")
    parser.add_argument("pictures", type=labelled, nargs="+", metavar="PICTURE[=LABEL]")
    parser.add_argument("--columns", type=int, metavar="N", help="pictures in a row (default: all)")
    parser.add_argument(
        "--longest-side", type=int, metavar="PIXELS", help="scale down larger pictures (default: no scaling)"
    )
    arguments = parser.parse_args(words)
    if min(arguments.columns or 1, arguments.longest_side or 1) < 1:
        parser.error("--columns and --longest-side must be at least 1")
    try:
        check_writable(arguments.out, tuple(FORMATS))
        pictures = [decoding.open_picture(path).flattened().image.convert("RGB") for path, _ in arguments.pictures]
        if arguments.longest_side:
            for picture in pictures:
                picture.thumbnail((arguments.longest_side, arguments.longest_side), Image.LANCZOS)
        page = sheet(pictures, [label for _, label in arguments.pictures], arguments.columns or len(pictures))
        with written_whole(arguments.out) as file:
            page.save(file, FORMATS[arguments.out.suffix.lower()], quality=95)
    except NSTError as error:
        parser.error(str(error))
    print(f"{arguments.out}: {page.height} × {page.width} (height × width)")


if __name__ == "__main__":
    main()
