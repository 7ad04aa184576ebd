"""Measure stylised pictures against their painting and their content, by perceptual properties.

    python scripts/dev/measure_pictures.py RESULT.png [RESULT.png ...] --style STYLE.jpg [--content CONTENT.jpg]
    [--json]

The painting is scaled down to the longest side of the result, and the content to exactly its size.
A result is good if its value is near that of the painting for:
  coherence      how parallel the marks are, 0 to 1: long strokes are high, stipple and noise are low
  weave          ratio of fine detail along the axes to that along the diagonals; a woven texture is above 1
  low, mid, high share of the power at 0.02-0.08, 0.08-0.2 and 0.25-0.71 cycles per pixel
  grid           ratio of the power at multiples of 1/16 cycle per pixel to that beside them; seams are above 1
  chroma noise   root mean square of a* and b* above 0.25 cycles per pixel, in units of CIELAB
A result is good near 0 for:
  palette        distance of the distributions of a* and b* of result and painting, in units of CIELAB
  flat share     share of the 16 x 16 patches with less than a quarter of the painting's texture
  borders        relative difference of the outer 8 pixels of a side from the next 24, for the worst side
  specks         pixels that differ more from their neighbours than 99.99 % of the painting's pixels
  largest speck  the largest such difference, as a multiple of that limit
A result is good near 1 for (the value of the painting, stretched to the size, is that of chance):
  drawing        F-score of the edges against the content's: fine (1.5 pixels, within 2), coarse (4 pixels, within 4)
With --sky, flat share and specks are of the upper ROWS only: 3/5 of the height for the picture of flat_sky.py.

All but palette and chroma noise are measured on the luminance: 0.299 R + 0.587 G + 0.114 B as stored, from 0 to 1.
"""

import argparse
import json

from gluon_nst.errors import NSTError
from gluon_nst.machine.files import given
from gluon_nst.pictures import decoding
from gluon_nst.pictures.colours import to_lab

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, median_filter, sobel

PATCH = 16
OUTER, INNER = 8, 24  # pixels from a side, and further pixels from there
RARE = 99.99  # the percentile of the style's pixels that a speck exceeds
STEP = 1 / 255  # smaller differences than a step of 8 bits count as none
SMALLEST = 128  # pixels of a side; the spectra of smaller pictures are too coarse for the grid
TINY = 1e-12  # avoids divisions by 0
AXIS, DIAGONAL = 0.03, 0.04  # cycles per pixel: half the width of the axes and of the diagonals in a spectrum
BANDS = {"low": (0.02, 0.08), "mid": (0.08, 0.2), "high": (0.25, 0.71)}  # cycles per pixel
DIRECTIONS, QUANTILES = 16, 1000  # for the distance of distributions of colours
STRONG = 0.9  # the quantile of the gradients above which they are edges


def luminance(picture):
    """Return the luminance, 0 to 1, height x width, of a uint8 picture, height x width x 3."""
    return np.asarray(picture, np.float64) @ (0.299, 0.587, 0.114) / 255


def chroma(picture):
    """Return the a* and b* of CIELAB, height x width x 2, of a uint8 picture, height x width x 3."""
    return to_lab(np.asarray(picture, np.float32) / 255)[..., 1:]


# -- the marks --------------------------------------------------------------------------------------------------------


def coherence(plane):
    """Return how parallel neighbouring marks are: 1 for parallel lines, near 0 for texture without direction.

    (l1 - l2) / (l1 + l2) of the eigenvalues of the structure tensor over 3 pixels, averaged with weights l1 + l2.
    """
    dx, dy = sobel(plane, 1), sobel(plane, 0)
    xx, yy, xy = (gaussian_filter(product, 3) for product in (dx * dx, dy * dy, dx * dy))
    return float(np.hypot(xx - yy, 2 * xy).sum() / max((xx + yy).sum(), TINY))


def spectrum(plane):
    """Return the power spectrum under a Hann window, whose sum is the variance, and the frequencies fy, fx and |f|."""
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2 / (plane.size * (window**2).sum())
    fy, fx = np.fft.fftfreq(plane.shape[0])[:, None], np.fft.fftfreq(plane.shape[1])[None]
    return power, fy, fx, np.hypot(fy, fx)


def weave(power, fy, fx, f):
    """Return the mean power of the frequencies 0.25 to 0.5 near the axes over that near the diagonals; 1 is even."""
    fine = (f > 0.25) & (f < 0.5)
    axes = fine & ((abs(fy) < AXIS) | (abs(fx) < AXIS))
    diagonals = fine & (abs(abs(fy) - abs(fx)) < DIAGONAL)
    return float((power[axes].mean() + TINY**2) / (power[diagonals].mean() + TINY**2))


def band_shares(power, f):
    """Return {band: its share, 0 to 1, of the power above 0.02 cycles per pixel}."""
    everything = max(power[f > 0.02].sum(), TINY)
    return {name: float(power[(f >= low) & (f < high)].sum() / everything) for name, (low, high) in BANDS.items()}


def grid(power):
    """Return the power at multiples of 1/16 cycle per pixel along the axes over that within 1/32 of them; 1 is none.

    1/16 to 7/16 (every other one is a multiple of 1/8), averaged over both axes; beside them the geometric mean, since
    spectra fall steeply. It finds equal lines along the axes every 16 or 8 pixels, wherever the first one is. Steps
    between tiles whose sign varies leave it below 1.
    """
    ratios = []
    for along in (power, power.T):  # fy is small, and then fx is
        across, width = np.abs(np.fft.fftfreq(along.shape[0])) < AXIS, along.shape[1]
        profile, frequencies = along[across].mean(axis=0) + TINY**2, np.fft.fftfreq(width)
        for centre in np.arange(1, 8) / 16:
            bins = abs(frequencies - centre) * width
            beside = (bins > 2.5) & (bins <= width / 32)  # a line is 2 bins wide under a Hann window
            ratios.append(profile[bins <= 1].mean() / np.exp(np.log(profile[beside]).mean()))
    return float(np.mean(ratios))


# -- the colours ------------------------------------------------------------------------------------------------------


def palette_distance(result, style):
    """Return the sliced Wasserstein distance between the a*, b* of two pictures: 0 is the same palette, in any order.

    In units of CIELAB, scaled so that a shift of all colours by d is a distance of d.
    """
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES

    def quantiles(picture):
        colours = chroma(picture).reshape(-1, 2)
        colours = colours[:: 1 + len(colours) // 2**18]  # a quarter of a million pixels are enough
        return np.quantile(colours @ [np.cos(angles), np.sin(angles)], levels, axis=0)

    return float(np.abs(quantiles(result) - quantiles(style)).mean() * np.pi / 2)


def chroma_noise(picture):
    """Return the root mean square of a* and b* above 0.25 cycles per pixel, in units of CIELAB."""
    planes = np.moveaxis(chroma(picture), -1, 0)
    return float(np.sqrt(sum(power[f > 0.25].sum() for power, _, _, f in map(spectrum, planes))))


# -- the drawing ------------------------------------------------------------------------------------------------------


def edges(plane, sigma):
    """Return a mask of the edges at a scale: the ridges of the gradient over `sigma` pixels, in its top tenth."""
    smooth = gaussian_filter(plane, sigma)
    dy, dx = np.gradient(smooth)
    strength = np.hypot(dx, dy)
    steps = np.stack([dy, dx]) / np.maximum(strength, TINY)
    here = np.indices(plane.shape)
    before, after = (map_coordinates(strength, here + sign * steps, order=1, mode="nearest") for sign in (-1, 1))
    return (strength > max(np.quantile(strength, STRONG), STEP / 10)) & (strength >= before) & (strength >= after)


def drawing(result, content, sigma, tolerance):
    """Return the F-score, 0 to 1, of a result's edges against the content's of the same size.

    The harmonic mean of the shares of either's edges that have one of the other's within `tolerance` pixels.
    """
    found, wanted = (edges(luminance(picture), sigma) for picture in (result, content))
    if not (found.any() and wanted.any()):
        return float(found.any() == wanted.any())
    near = [distance_transform_edt(~mask) <= tolerance for mask in (wanted, found)]
    precision, recall = near[0][found].mean(), near[1][wanted].mean()
    return float(2 * precision * recall / max(precision + recall, TINY))


# -- flaws ------------------------------------------------------------------------------------------------------------


def patch_deviations(plane):
    """Return the standard deviation of each 16 x 16 patch from the upper left; the remainder is left out."""
    rows, columns = (side // PATCH for side in plane.shape)
    patches = plane[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
    return patches.std(axis=(1, 3))


def flat_share(result, style, rows=None):
    """Return the share of the patches of the upper `rows` (default: all) below a quarter of the style's median."""
    usual = np.median(patch_deviations(luminance(style)))
    return float(np.mean(patch_deviations(luminance(result)[:rows]) < usual / 4))


def border_difference(result):
    """Return the largest of the eight relative differences between a side's outer 8 pixels and its next 24.

    Of the mean and of the deviation, on each side. The inner pixels are three strips as deep as the outer one, whose
    figures are averaged: over 24 rows even a smooth gradient deviates three times as much as over 8.
    """
    plane, differences = luminance(result), []
    for turned in (plane, plane[::-1], plane.T, plane.T[::-1]):
        outer, *inner = (turned[start : start + OUTER] for start in range(0, OUTER + INNER, OUTER))
        for figure in (np.mean, np.std):
            usual = np.mean([figure(strip) for strip in inner])
            differences.append(float(abs(figure(outer) - usual) / max(usual, STEP)))
    return max(differences)


def departures(plane):
    """Return how far each pixel is from the median of the 5 x 5 about it; the picture is mirrored beyond its sides."""
    return np.abs(plane - median_filter(plane, 5, mode="mirror"))


def specks(result, style, rows=None):
    """Return how many pixels of the upper `rows` (default: all) depart beyond the style's 99.99th percentile.

    With it, the largest departure as a multiple of that percentile.
    """
    rare = max(np.percentile(departures(luminance(style)), RARE), STEP)
    departed = departures(luminance(result))[:rows]
    return int(np.sum(departed > rare)), float(departed.max() / rare)


# -- the table --------------------------------------------------------------------------------------------------------


def measures_alone(picture):
    """Return {measure: value} of the measures of a single picture."""
    plane = luminance(picture)
    power, fy, fx, f = spectrum(plane)
    return {
        "coherence": coherence(plane),
        "weave": weave(power, fy, fx, f),
        **band_shares(power, f),
        "grid": grid(power),
        "chroma noise": chroma_noise(picture),
        "borders": border_difference(picture),
    }


def measures(result, style, content=None, rows=None):
    """Return {measure: {"result": value, "painting": value, "content": value}} of uint8 pictures, height x width x 3.

    `content` has the size of the result. The drawing of the painting, stretched to that size, is that of chance.
    """
    pictures = {"result": result, "painting": style, **({} if content is None else {"content": content})}
    table = {}
    for column, picture in pictures.items():
        upper = None if column == "painting" else rows
        count, largest = specks(picture, style, upper)
        values = {
            **measures_alone(picture),
            "palette": palette_distance(picture, style),
            "flat share": flat_share(picture, style, upper),
            "specks": count,
            "largest speck": largest,
        }
        if content is not None:
            height, width = content.shape[:2]
            fitted = np.asarray(Image.fromarray(picture).resize((width, height), Image.LANCZOS))
            values["drawing fine"] = drawing(fitted, content, 1.5, 2)
            values["drawing coarse"] = drawing(fitted, content, 4, 4)
        for name, value in values.items():
            table.setdefault(name, {})[column] = value
    return table


RATIOS = (
    "coherence",
    "weave",
    "low",
    "mid",
    "high",
    "grid",
    "chroma noise",
)  # whose target is the value of the painting


def as_text(table):
    """Yield the lines of a table of measures, with the ratio of result and painting for RATIOS."""
    columns = list(table["coherence"])
    yield " " * 15 + "".join(f"{column:>10}" for column in columns) + "  result / painting"
    for name, values in table.items():
        cells = "".join(
            f"{values[column]:10d}" if name == "specks" else f"{values[column]:10.3f}" for column in columns
        )
        ratio = f"{values['result'] / max(values['painting'], TINY):19.2f}" if name in RATIOS else ""
        yield f"{name:15}{cells}{ratio}"


# -- the command ------------------------------------------------------------------------------------------------------


def read(path, longest=None):
    """Return the picture in a file as uint8, height x width x 3, its longest side at most `longest`."""
    picture = decoding.open_picture(path).flattened().image.convert("RGB")
    if longest is not None and longest < max(picture.size):
        scale = longest / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.LANCZOS)
    return np.asarray(picture)


def read_content(path, height, width):
    """Return the content picture in a file at exactly a result's size. Raises NSTError if the shapes differ."""
    content = read(path)
    rows, columns = content.shape[:2]
    if abs(rows * width / (columns * height) - 1) > 0.02:
        raise NSTError(
            f"{path}: its shape, {rows} × {columns} (height × width), does not fit the result, {height} × {width}; "
            "use the content picture of this result"
        )
    return np.asarray(Image.fromarray(content).resize((width, height), Image.LANCZOS))


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=given, nargs="+", metavar="RESULT.png")
    parser.add_argument("--style", type=given, required=True, metavar="STYLE.jpg", help="the painting")
    parser.add_argument("--content", type=given, metavar="CONTENT.jpg", help="needed for the measure drawing")
    parser.add_argument(
        "--style-size",
        type=int,
        metavar="LONGEST",
        help="longest side of the painting in the run (default: the result's); it is never enlarged",
    )
    parser.add_argument("--sky", type=int, metavar="ROWS", help="rows, from the top, for flat share and specks")
    parser.add_argument("--json", action="store_true", help="print {result: {measure: {column: value}}}")
    arguments = parser.parse_args(words)
    tables = {}
    try:
        for path in arguments.results:
            result = read(path)
            height, width = result.shape[:2]
            style = read(arguments.style, arguments.style_size or max(height, width))
            if min(*result.shape[:2], *style.shape[:2]) < SMALLEST:
                parser.error(f"{path}: both sides of the result and of the painting must be at least {SMALLEST} pixels")
            if arguments.sky is not None and not PATCH <= arguments.sky <= height:
                parser.error(f"--sky {arguments.sky}: choose {PATCH} to {height} rows")
            content = read_content(arguments.content, height, width) if arguments.content else None
            tables[str(path)] = measures(result, style, content, arguments.sky)
    except NSTError as error:
        parser.error(str(error))
    if arguments.json:
        print(json.dumps(tables, indent=2))
        return
    for path, table in tables.items():
        print(path, *as_text(table), sep="\n")


if __name__ == "__main__":
    main()
