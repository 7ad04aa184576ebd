"""Regions: label maps that say which part of the content is drawn from which part of a style, and masks.

Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017, "Controlling Perceptual Factors in Neural Style Transfer", section 4:
each region has a guidance channel, which weighs the positions in the sums over a feature map.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple, Sequence, Union

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError
from gluon_nst.images import open_picture

Array = np.ndarray
Source = Union[str, Path, Image.Image]
Size = Sequence[int]

TOLERANCE = 40
"""Two colours that are no farther apart than this, in RGB from 0 to 255, are one: JPEGs of quality 75 stay within it."""

FLAT = 12
"""What the values of a channel may differ by, of 255, in two by two pixels that show one colour and no edge."""

LEAST_SHARE, LEAST_PIXELS = 0.001, 25
"""A region's colour lies flat over at least this share of its map, and so many pixels: a JPEG's ripples do over fewer."""

PURE_SHARE = 0.4
"""A picture of which less lies flat in nearly the colours of its regions, a quarter of the tolerance from them at most,
is no map. Maps of 150 x 225 pixels have 0.65 of it even as bad JPEGs, photographs up to 0.3, smooth greys up to 0.37."""

MOST_COLOURS = 16
"""A map has no more. In a photograph there are more, or few pixels that are like them."""

REACH, RINGS = 2, 4
"""A pixel that is not flat takes the colour of a flat one at most REACH away, and then of those that did, RINGS times."""

MOST_STRETCH = 1.05
"""A map's width by its height is that of its picture, up to this factor: what rounding does to small sizes."""

LEAST_WEIGHT = 5 / 255
"""A mask that is nowhere whiter is black."""

_UNKNOWN = -1


class Regions(NamedTuple):
    """R regions: their colours in the content's map, and where they are in the content and in each of the styles.

    `colours` are (r, g, b) from 0 to 255. `content` is R × h × w, 0 or 1 in float32, at the content's size: each of its
    positions is in one region. `styles` has one such array for each style, at its size; a position whose colour the
    content's map hasn't is in none, and a region that a style's map lacks is 0 everywhere there.
    """

    colours: list[tuple[int, int, int]]
    content: Array
    styles: list[Array]


# -- the colours of a map ---------------------------------------------------------------------------------------------


def _is_flat(pixels: Array) -> Array:
    """Where a pixel (h × w × 3) is in some two by two that hardly differ: in a region at least two pixels wide."""
    corners = [pixels[:-1, :-1], pixels[1:, :-1], pixels[:-1, 1:], pixels[1:, 1:]]
    most = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    least = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))
    squares = (most - least <= FLAT).all(axis=2)
    flat = np.zeros(pixels.shape[:2], bool)
    for rows, columns in product((slice(None, -1), slice(1, None)), repeat=2):
        flat[rows, columns] |= squares
    return flat


def _distances(pixels: Array, colours: Array) -> Array:
    """The squared distances of `pixels` (… × 3) from one colour or as many, in int32.

    Channel by channel: maps are large.
    """
    total = np.zeros(pixels.shape[:-1], np.int32)
    for channel in range(3):
        difference = pixels[..., channel].astype(np.int32) - colours[..., channel]
        total += np.square(difference, out=difference)
    return total


def _find_colours(pixels: Array, flat: Array) -> tuple[Array, float]:
    """The colours of the regions, R × 3, and the share of the map that lies flat in nearly these.

    What lies `flat` most often, with all that is near it, is the first, then the next; one more than MOST_COLOURS at most.
    """
    red, green, blue = (pixels[..., channel][flat].astype(np.int32) for channel in range(3))
    codes, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
    candidates = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    least, pure = max(LEAST_SHARE * flat.size, LEAST_PIXELS), 0
    colours = np.zeros((0, 3), np.int32)
    while counts.sum() >= least and len(colours) <= MOST_COLOURS:
        commonest = candidates[counts.argmax()]
        distances = _distances(candidates, commonest)
        near = distances <= TOLERANCE**2
        if counts[near].sum() >= least:
            colours = np.vstack([colours, commonest])
            pure += counts[distances <= (TOLERANCE / 4) ** 2].sum()
        candidates, counts = candidates[~near], counts[~near]
    return colours, pure / flat.size


# -- the label of each pixel ------------------------------------------------------------------------------------------


def _nearest(pixels: Array, colours: Array) -> tuple[Array, Array]:
    """The number of the nearest of `colours` for each of `pixels` (… × 3), and the squared distance from it."""
    labels, best = np.zeros(pixels.shape[:-1], np.int8), _distances(pixels, colours[0])
    for label, colour in enumerate(colours[1:], 1):
        distances = _distances(pixels, colour)
        labels[distances < best] = label
        np.minimum(best, distances, out=best)
    return labels, best


def _grown(labels: Array, pixels: Array, colours: Array) -> Array:
    """`labels` with those unknown that have known ones within REACH: of these the one whose colour is nearest.

    Where all around is of one colour, and not the pixel's own, it is no edge: it stays unknown.
    """
    rows, columns = np.nonzero(labels == _UNKNOWN)
    around = np.pad(labels, REACH, constant_values=_UNKNOWN)
    wanted = pixels[rows, columns]
    chosen = np.full(rows.size, _UNKNOWN, np.int8)
    best, worst = np.full(rows.size, np.iinfo(np.int32).max), np.zeros(rows.size, np.int32)
    offsets = sorted(product(range(-REACH, REACH + 1), repeat=2), key=lambda offset: offset[0] ** 2 + offset[1] ** 2)
    for down, right in offsets:  # the closest first: it is taken where others are as near in colour
        found = around[rows + down + REACH, columns + right + REACH]
        distances = _distances(wanted, colours[found])
        nearer = (found != _UNKNOWN) & (distances < best)
        chosen[nearer], best[nearer] = found[nearer], distances[nearer]
        worst = np.maximum(worst, np.where(found != _UNKNOWN, distances, 0))
    chosen[(best == worst) & (best > TOLERANCE**2)] = _UNKNOWN
    labels = labels.copy()
    labels[rows, columns] = chosen
    return labels


def _label(pixels: Array, flat: Array, colours: Array) -> Array:
    """The number of its region for each pixel, h × w.

    An antialiased edge of black and white passes through grey, and a JPEG's through more: what is no flat piece of a
    region takes the nearest of the colours *around it*, and grey is not among these unless a grey region is there.
    """
    nearest, distances = _nearest(pixels, colours)
    labels = np.where(flat & (distances <= TOLERANCE**2), nearest, np.int8(_UNKNOWN))
    for _ in range(RINGS):
        labels = _grown(labels, pixels, colours)
    return np.where(labels == _UNKNOWN, nearest, labels)


# -- maps -------------------------------------------------------------------------------------------------------------


def _check_shape(name: str, found: Size, size: Size) -> None:
    """Raise InputError unless (height, width) `found` has nearly the proportions of `size`."""
    stretch = found[0] * size[1] / (found[1] * size[0])
    if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
        raise InputError(
            f"{name}: {found[0]} x {found[1]} pixels are of another shape than the {size[0]} x {size[1]} of its picture;"
            " paint it over a copy of the picture"
        )


def _sampled(labels: Array, size: Size) -> Array:
    """`labels` (h × w) at another size, each from the middle of what it stands for."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * found / wanted).astype(int) for found, wanted in zip(labels.shape, size)
    )
    return labels[rows[:, None], columns]


def _name(source: Source, otherwise: str) -> str:
    return otherwise if isinstance(source, Image.Image) else str(source)


class _Map(NamedTuple):
    """A map at its picture's size: the colours seen in it (R × 3), and the number of its own for each position."""

    name: str
    colours: Array
    labels: Array

    def weights(self, wanted: Sequence[int | None]) -> Array:
        """1 where a position has the colour with each number that is `wanted`, None being none: len(wanted) × h × w."""
        weights = np.zeros((len(wanted), *self.labels.shape), np.float32)
        for channel, number in zip(weights, wanted):
            if number is not None:
                channel[self.labels == number] = 1
        return weights

    def find(self, colour: Array) -> int | None:
        """The number of the colour that is nearest to `colour`, or None where none is within the tolerance."""
        distances = _distances(self.colours, colour)
        return int(distances.argmin()) if distances.min() <= TOLERANCE**2 else None


def _read_map(source: Source, otherwise: str, size: Size) -> _Map:
    """The map in `source` at `size`; `otherwise` is what a PIL image is called in an error."""
    name, picture = _name(source, otherwise), open_picture(source)
    _check_shape(name, picture.size, size)
    pixels = np.asarray(picture.image)
    flat = _is_flat(pixels)
    colours, pure = _find_colours(pixels, flat)
    if len(colours) > MOST_COLOURS or pure < PURE_SHARE:
        raise InputError(
            f"{name}: probably a photograph and no map of regions; paint each region in one flat colour,"
            f" {MOST_COLOURS} colours at most"
        )
    labels = _sampled(_label(pixels, flat, colours), size)
    seen = np.unique(labels)  # a tiny region may not outlive the scaling
    numbers = np.zeros(len(colours), np.int8)
    numbers[seen] = np.arange(len(seen))
    return _Map(name, colours[seen], numbers[labels])


def read_regions(
    content_map: Source, style_maps: Sequence[Source], content_size: Size, style_sizes: Sequence[Size]
) -> Regions:
    """The Regions that label maps show: files or PIL images, each for a picture of a size (height, width).

    A region is what has one colour in the content's map; it is drawn from where a style's map has that colour, up to
    TOLERANCE. Maps are read as `open_picture` reads pictures, of any mode and format. Edges blurred over up to four
    pixels and the noise of a JPEG are overlooked: a colour counts where it lies flat over a thousandth of the map, or 25
    pixels, at least, and every pixel is given to one that counts. Lines are seen where they are three pixels wide, in a
    JPEG five. The commonest colour comes first. A map of another size is scaled, its labels and not its colours.

    Raises InputError for a map with more than 16 colours, one whose proportions are not its picture's by more than five
    per cent, a colour that no style's map has, and another number of maps than of styles.
    """
    if len(style_maps) != len(style_sizes):
        raise InputError(f"{len(style_maps)} style maps for {len(style_sizes)} style pictures; give each its map")
    content = _read_map(content_map, "the content's map", content_size)
    numbered = zip(range(1, len(style_maps) + 1), style_maps, style_sizes)
    styles = [_read_map(source, f"the map of style {number}", size) for number, source, size in numbered]
    found = [[style.find(colour) for colour in content.colours] for style in styles]
    for colour, *numbers in zip(content.colours, *found):
        if all(number is None for number in numbers):
            shown = "#{:02x}{:02x}{:02x}".format(*colour)
            names = " or ".join(style.name for style in styles)
            raise InputError(f"{content.name}: no style has a region of its colour {shown}; paint it into {names}")
    return Regions(
        [(int(red), int(green), int(blue)) for red, green, blue in content.colours],
        content.weights(range(len(content.colours))),
        [style.weights(numbers) for style, numbers in zip(styles, found)],
    )


# -- masks ------------------------------------------------------------------------------------------------------------


def read_mask(source: Source, size: Size) -> Array:
    """A mask from a file or a PIL image: float32, h × w at `size` (height, width), white 1, black 0, greys between.

    It is read as `open_picture` reads pictures, transparency white, colours by their luma, and scaled with antialiasing.
    Raises InputError where its proportions are not those of `size` by more than five per cent, and where it is black
    everywhere.
    """
    name, picture = _name(source, "the mask"), open_picture(source)
    _check_shape(name, picture.size, size)
    grey = picture.image.convert("L").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    mask = np.asarray(grey, dtype=np.float32) / 255
    if mask.max() < LEAST_WEIGHT:
        raise InputError(f"{name}: black everywhere, so nothing is to be stylised; paint in white what is")
    return mask
