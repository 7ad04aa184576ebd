"""Regions: label maps that say which part of the content is drawn from which part of a style.

Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017, "Controlling Perceptual Factors in Neural Style Transfer", section
4: each region has a guidance channel, which weighs the positions in the sums over a feature map.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import NamedTuple, Sequence

import numpy as np
from scipy import ndimage

from gluon_nst.errors import InputError, warn
from gluon_nst.machine import available_memory
from gluon_nst.pictures.decoding import Source, check_shape, name_of, open_picture

Array = np.ndarray
Size = Sequence[int]

MOST_EXACT_COLOURS = 256
"""A map of no more colours, without soft edges and of a lossless format, is exact: each of its colours is a region."""

EXACT_SHARE = 0.8
"""At least this share of an exact map of more than MOST_COLOURS lies in two by two pixels of one colour; photographs
with a palette of 256 have up to 0.5."""

MIXED = 8
"""A pixel whose colour is no farther than this from those between the colours of two of its neighbours may be of an
edge."""

TOLERANCE = 40
"""In a map that is not exact, two colours no farther apart than this in RGB, of 0 to 255, are one, unless both are
regions by themselves: JPEGs of quality 75 stay within it."""

FLAT = 12
"""What the values of a channel may differ by, of 255, in two by two pixels that show one colour and no edge."""

LEAST_SHARE, LEAST_PIXELS = 0.001, 25
"""A region's colour lies flat over at least this share of its map, and so many pixels: a JPEG's ripples do over fewer.
"""

CORE, LOSSY_CORE = 3, 9
"""A colour is a region by itself, whatever is near it, if squares of it with this side in pixels are as frequent as
that: antialiased edges have none with a side of 3, lossy compression (JPEG, WebP, AVIF) next to none with 9."""

ROUNDING, OWN_SHARE = 7, 0.15
"""Lossy compression may change a flat colour by up to this distance over a smaller share of its squares than this."""

PURE_SHARE = 0.4
"""A picture of which less lies flat in nearly the colours of its regions, a quarter of the tolerance from them at most,
is no map. Maps of 150 x 225 pixels have 0.65 of it even as bad JPEGs, photographs up to 0.3, smooth greys up to
0.37."""

MOST_COLOURS = 16
"""A map that is not exact has no more. In a photograph there are more, or few pixels that are like them."""

REACH, RINGS = 2, 4
"""A pixel that is not flat takes the colour of a flat one at most REACH away, and then of those that did, RINGS times.
"""


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


def _is_flat(pixels: Array, most_difference: int) -> Array:
    """Where a pixel (h × w × 3) is in some two by two whose channels differ by no more: in a region two pixels wide."""
    corners = [pixels[:-1, :-1], pixels[1:, :-1], pixels[:-1, 1:], pixels[1:, 1:]]
    most = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    least = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))
    squares = (most - least <= most_difference).all(axis=2)
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


def _codes(pixels: Array) -> Array:
    """Each colour of 8 bits (… × 3) as one integer."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _codes_of(values: Array) -> Array:
    """The integers of a picture of one channel as `_codes`; those up to 255 are greys, as in 8 bits."""
    if values.max() > 255:
        whole = values % 257 == 0  # 16 bits that are 8, widened
        if values.max() > 65535 or not whole.all():
            return values.astype(np.int64)
        values = values // 257
    return _codes(np.repeat(values[..., None], 3, axis=-1))


def _colours(codes: Array) -> Array:
    """`_codes` undone."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def _exact(codes: Array) -> tuple[Array, Array] | None:
    """The colours of an exact map, R × 3, and the number of its own for each pixel; None if a map is not exact."""
    found, labels, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if len(found) > MOST_EXACT_COLOURS:
        return None
    flat = _is_flat(codes[..., None], 0)
    if len(found) > MOST_COLOURS and flat.mean() < EXACT_SHARE:
        return None
    labels = labels.reshape(codes.shape)
    is_flat_nowhere = np.ones(len(found), bool)
    is_flat_nowhere[labels[flat]] = False
    if _has_soft_edges(codes, is_flat_nowhere[labels]):
        return None
    order = np.argsort(-counts, kind="stable")
    return _colours(found[order]), np.argsort(order).astype(np.int16)[labels]


def _has_soft_edges(codes: Array, where: Array) -> bool:
    """Whether a map has soft edges; `where` (h × w) are the pixels whose colour is flat nowhere.

    At soft edges most of these are mixtures of two of their neighbours. Those of lines and points have a colour of
    their own.
    """
    rows, columns = np.nonzero(where)
    if not rows.size:
        return False
    chosen = np.linspace(0, rows.size - 1, min(rows.size, 20_000)).astype(int)  # enough to tell
    around = np.pad(codes, 1, mode="edge")
    offsets = [offset for offset in product(range(3), repeat=2) if offset != (1, 1)]
    own = _colours(codes[rows[chosen], columns[chosen]]).astype(np.float32)
    neighbours = [_colours(around[rows[chosen] + down, columns[chosen] + right]) for down, right in offsets]
    nearest = np.full(len(chosen), np.inf, np.float32)
    for one, other in combinations(neighbours, 2):
        line = (other - one).astype(np.float32)
        length = (line**2).sum(axis=1)
        share = ((own - one) * line).sum(axis=1) / np.maximum(length, 1)
        is_between = (share > 0) & (share < 1)
        distance = ((own - one - share[:, None] * line) ** 2).sum(axis=1)
        nearest = np.where(is_between, np.minimum(nearest, distance), nearest)
    return float((nearest <= MIXED**2).mean()) > 0.5


class _Found(NamedTuple):
    """The colours of the regions of a map that is not exact, R × 3."""

    colours: Array
    pure: float
    """The share of the map that lies flat in nearly these."""
    merged: list[tuple[Array, Array]]
    """Colours as frequent as a region that are not one, the most frequent first, each with the region's that is
    nearest."""


def _find_colours(codes: Array, flat: Array, is_lossy: bool) -> _Found:
    """The colours of the regions. What lies `flat` most often, with all that is near it, is the first, then the next.

    One more than MOST_COLOURS at most.
    """
    found, counts = np.unique(codes[flat], return_counts=True)
    candidates, cores = _colours(found), _cores(codes, found, LOSSY_CORE if is_lossy else CORE)
    least, pure = max(LEAST_SHARE * flat.size, LEAST_PIXELS), 0
    frequent = candidates[np.argsort(-counts, kind="stable")][: np.count_nonzero(counts >= least)]
    colours = np.zeros((0, 3), np.int32)
    while counts.sum() >= least and len(colours) <= MOST_COLOURS:
        first = counts.argmax()
        distances = _distances(candidates, candidates[first])
        own = cores >= least
        if is_lossy:
            own &= (distances > ROUNDING**2) | (cores >= OWN_SHARE * cores[first])
        near = (distances <= TOLERANCE**2) & ~own
        near[first] = True
        if counts[near].sum() >= least:
            colours = np.vstack([colours, candidates[first]])
            pure += counts[near & (distances <= (TOLERANCE / 4) ** 2)].sum()
        candidates, counts, cores = candidates[~near], counts[~near], cores[~near]
    if not len(colours):
        return _Found(colours, 0, [])
    nearest, distances = _nearest(frequent, colours)
    merged = [(frequent[each], colours[nearest[each]]) for each in np.flatnonzero(distances > ROUNDING**2)]
    return _Found(colours, pure / flat.size, merged)


def _cores(codes: Array, found: Array, side: int) -> Array:
    """How many squares with sides of so many pixels have each of the codes `found` alone."""
    alike = ndimage.maximum_filter(codes, side) == ndimage.minimum_filter(codes, side)
    solid, counts = np.unique(codes[alike], return_counts=True)
    cores = np.zeros(len(found), np.int64)
    cores[np.searchsorted(found, solid)] = counts  # what is alike is flat, and so among those found
    return cores


# -- the label of each pixel ------------------------------------------------------------------------------------------


def _nearest(pixels: Array, colours: Array) -> tuple[Array, Array]:
    """The number of the nearest of `colours` for each of `pixels` (… × 3), and the squared distance from it."""
    labels, best = np.zeros(pixels.shape[:-1], np.int16), _distances(pixels, colours[0])
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
    chosen = np.full(rows.size, _UNKNOWN, np.int16)
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
    labels = np.where(flat & (distances <= TOLERANCE**2), nearest, np.int16(_UNKNOWN))
    for _ in range(RINGS):
        labels = _grown(labels, pixels, colours)
    return np.where(labels == _UNKNOWN, nearest, labels)


# -- maps -------------------------------------------------------------------------------------------------------------


def _sampled(labels: Array, size: Size) -> Array:
    """`labels` (h × w) at another size, each from the middle of what it stands for."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * found / wanted).astype(int) for found, wanted in zip(labels.shape, size)
    )
    return labels[rows[:, None], columns]


class _Map(NamedTuple):
    """A map at its picture's size: the colours seen in it (R × 3), and the number of its own for each position."""

    name: str
    colours: Array
    labels: Array
    is_exact: bool
    """Whether equal colours alone are the same."""

    def weights(self, wanted: Sequence[int | None]) -> Array:
        """1 where a position has the colour with each number that is `wanted`, None being none: len(wanted) × h × w."""
        weights = np.zeros((len(wanted), *self.labels.shape), np.float32)
        for channel, number in zip(weights, wanted):
            if number is not None:
                channel[self.labels == number] = 1
        return weights

    def find(self, other: _Map) -> list[int | None]:
        """For each colour of another map the number of the same colour here, or None.

        The same is the equal one if both maps are exact, otherwise the nearest within the tolerance; none is that of
        two.
        """
        most = 0 if self.is_exact and other.is_exact else TOLERANCE**2
        differences = self.colours[None].astype(np.int64) - other.colours[:, None]
        distances = (differences**2).sum(axis=2)
        found: list[int | None] = [None] * len(other.colours)
        for place in np.argsort(distances, axis=None, kind="stable"):
            wanted, number = divmod(int(place), len(self.colours))
            if distances[wanted, number] <= most and found[wanted] is None and number not in found:
                found[wanted] = number
        return found


LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")
"""Pillow's names of the formats that change colours, or may do so."""


def _read_map(source: Source, otherwise: str, size: Size) -> _Map:
    """The map in `source` at `size`; `otherwise` is what a PIL image is called in an error."""
    name, picture = name_of(source, otherwise), open_picture(source).flattened()
    check_shape(name, picture.size, size, "its picture", "paint it over a copy of the picture")
    pixels, is_lossy = np.asarray(picture.image), picture.format in LOSSY
    codes = _codes(pixels)
    exact = None if is_lossy else _exact(codes if picture.values is None else _codes_of(picture.values))
    colours, labels = exact or _tolerant(name, pixels, codes, is_lossy)
    labels = _sampled(labels, size)
    seen = np.unique(labels)  # a tiny region may not outlive the scaling
    numbers = np.zeros(len(colours), np.int16)
    numbers[seen] = np.arange(len(seen))
    return _Map(name, colours[seen], numbers[labels], exact is not None)


def _tolerant(name: str, pixels: Array, codes: Array, is_lossy: bool) -> tuple[Array, Array]:
    """The colours of a map with soft edges or lossy compression, and the number of its own for each pixel.

    Warns of what was made of it. Raises InputError for a photograph.
    """
    flat = _is_flat(pixels, FLAT)
    found = _find_colours(codes, flat, is_lossy)
    colours, merged = found.colours, found.merged
    if not 0 < len(colours) <= MOST_COLOURS or found.pure < PURE_SHARE:
        raise InputError(
            f"{name}: probably a photograph and no map of regions; paint each region in one flat colour,"
            f" {MOST_COLOURS} colours at most, or {MOST_EXACT_COLOURS} in a PNG without soft edges"
        )
    labels = _label(pixels, flat, colours)
    shares = np.bincount(labels.ravel(), minlength=len(colours)) / labels.size
    others = 1 - np.isin(codes, _codes(colours)).mean()
    number = f"{len(colours)} region{'s' * (len(colours) > 1)}"
    regions = ", ".join(f"{_hex(colour)} {share:.1%}" for colour, share in zip(colours, shares))
    pairs = "".join(f"; {_hex(one)} is merged into {_hex(other)}" for one, other in merged[:_NAMED])
    pairs += f"; and {len(merged) - _NAMED} more" if len(merged) > _NAMED else ""
    warn(
        f"{name}: {number} ({regions}); the {others:.1%} of its pixels with other"
        f" colours, of soft edges or lossy compression, are in the nearest region{pairs}"
    )
    return colours, labels


_NAMED = 5
"""How many merged colours are named."""


def _hex(colour: Sequence[int] | Array) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def read_regions(
    content_map: Source,
    style_maps: Sequence[Source],
    content_size: Size,
    style_sizes: Sequence[Size],
) -> Regions:
    """The Regions that label maps show: files or PIL images, each for a picture of a size (height, width).

    A region is what has one colour in the content's map; it is drawn from where a style's map has that colour. Maps are
    read as `open_picture` reads pictures, of any mode and format, on white where they are transparent. The commonest
    colour comes first. A map of another size is scaled, its labels and not its colours.

    A map of a lossless format with up to 256 colours and no soft edges is exact: each colour is a region, and equal
    colours are the same; greys of 16 and 32 bits are told apart by their numbers. Warns of a content map with one
    region alone. In any other map soft edges up to four pixels wide and lossy compression are overlooked, with a
    warning that says which regions were found and which colours merged: a colour counts if it lies flat over a
    thousandth of the map, or 25 pixels, at least; colours no farther apart than TOLERANCE are the same, unless each has
    squares of its own as frequent as that; every other pixel is in the region nearest to it. Lines are seen where they
    are three pixels wide, in a JPEG five.

    Raises InputError for a map that is not exact with more than 16 colours, one whose proportions are not its picture's
    by more than five per cent, a colour that no style's map has, another number of maps than of styles, and regions
    that take more memory than there is.
    """
    if len(style_maps) != len(style_sizes):
        raise InputError(f"{len(style_maps)} style maps for {len(style_sizes)} style pictures; give each its map")
    content = _read_map(content_map, "the content's map", content_size)
    numbered = zip(range(1, len(style_maps) + 1), style_maps, style_sizes)
    styles = [_read_map(source, f"the map of style {number}", size) for number, source, size in numbered]
    if len(content.colours) == 1:
        warn(f"{content.name}: one region alone ({_hex(content.colours[0])}), so it has no effect")
    found = [style.find(content) for style in styles]
    for colour, *numbers in zip(content.colours, *found):
        if all(number is None for number in numbers):
            raise InputError(
                f"{content.name}: no style has a region of its colour {_hex(colour)}; {_advice(colour, styles)}"
            )
    needed = 4 * len(content.colours) * sum(each.labels.size for each in (content, *styles))
    if needed > available_memory() / 2:
        raise InputError(
            f"{content.name}: {len(content.colours)} regions take {needed / 1e9:.1f} GB; scale the pictures down,"
            " or use fewer"
        )
    return Regions(
        [(int(red), int(green), int(blue)) for red, green, blue in content.colours],
        content.weights(range(len(content.colours))),
        [style.weights(numbers) for style, numbers in zip(styles, found)],
    )


def _advice(colour: Array, styles: Sequence[_Map]) -> str:
    """What to do where no style's map has a colour."""
    advice = f"paint it into {' or '.join(style.name for style in styles)}"
    for style in styles:
        distances = ((style.colours.astype(np.int64) - colour) ** 2).sum(axis=1)
        if distances.min() <= TOLERANCE**2:
            return f"{advice}; {_hex(style.colours[distances.argmin()])} in {style.name} is near, but not the same"
    return advice
