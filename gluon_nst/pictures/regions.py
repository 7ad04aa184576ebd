"""Region maps, which assign regions of the styles to regions of the content.

Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017, "Controlling Perceptual Factors in Neural Style Transfer", section
4: each region has a guidance channel with the weights of positions in the sums over a feature map.
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
"""Maximum colours of an exact map, each of whose colours is a region; it is lossless and has no soft edges."""

EXACT_SHARE = 0.8
"""Minimum share of 2 × 2 squares of one colour in an exact map with more than MOST_COLOURS; photographs with a palette
of 256 colours have up to 0.5."""

MIXED = 8
"""Maximum distance of an edge pixel's colour from the line between the colours of two of its neighbours."""

TOLERANCE = 40
"""Maximum distance in RGB, 0 to 255, of two colours that are merged in a map that is not exact, unless both are regions
by themselves. JPEGs of quality 75 stay within it."""

FLAT = 12
"""Maximum difference of a channel, of 255, in a 2 × 2 square that is flat: of one colour, without an edge."""

LEAST_SHARE, LEAST_PIXELS = 0.001, 25
"""Minimum share of the map, and number of pixels, in which a region's colour is flat; a JPEG's ripples have fewer."""

CORE, LOSSY_CORE = 3, 9
"""Sides, in pixels, of squares of one colour. A colour with enough of them (LEAST_SHARE, LEAST_PIXELS) is a region by
itself: antialiased edges have none with side 3, lossy compression (JPEG, WebP, AVIF) almost none with side 9."""

ROUNDING, OWN_SHARE = 7, 0.15
"""Lossy compression may change a flat colour by up to ROUNDING in less than OWN_SHARE of its squares."""

PURE_SHARE = 0.4
"""Minimum share of a map that is flat in nearly the colours of its regions, at most a quarter of TOLERANCE from them.
Maps of 150 × 225 pixels have 0.65 even as poor JPEGs, photographs up to 0.3, smooth greys up to 0.37."""

MOST_COLOURS = 16
"""Maximum colours of a map that is not exact. Photographs have more, or few pixels with nearly these colours."""

REACH, RINGS = 2, 4
"""Pixels that are not flat get the label of a labelled pixel within REACH; this is repeated RINGS times."""


_UNKNOWN = -1


class Regions(NamedTuple):
    """R regions: their colours, and their weights in the content and the styles.

    `colours` are (r, g, b) from 0 to 255. `content` is R × h × w, 0 or 1 in float32, at the content's size; each
    position is in one region. `styles` has such an array for each style, at its size; a position with a colour that is
    not in the content's map is in no region, and a region that is not in the style's map is 0 everywhere.
    """

    colours: list[tuple[int, int, int]]
    content: Array
    styles: list[Array]


# -- the colours of a map ---------------------------------------------------------------------------------------------


def _is_flat(pixels: Array, most_difference: int) -> Array:
    """Return whether each pixel (h × w × 3) is in a flat 2 × 2 square.

    Each channel of a flat square differs by at most `most_difference`.
    """
    corners = [pixels[:-1, :-1], pixels[1:, :-1], pixels[:-1, 1:], pixels[1:, 1:]]
    most = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    least = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))
    squares = (most - least <= most_difference).all(axis=2)
    flat = np.zeros(pixels.shape[:2], bool)
    for rows, columns in product((slice(None, -1), slice(1, None)), repeat=2):
        flat[rows, columns] |= squares
    return flat


def _distances(pixels: Array, colours: Array) -> Array:
    """Return the squared distances of pixels (… × 3) from colours, in int32.

    `colours` is one colour for all pixels, or one for each.
    """
    total = np.zeros(pixels.shape[:-1], np.int32)  # channel by channel, because maps are large
    for channel in range(3):
        difference = pixels[..., channel].astype(np.int32) - colours[..., channel]
        total += np.square(difference, out=difference)
    return total


def _codes(pixels: Array) -> Array:
    """Return each colour of 8 bits (… × 3) as one integer."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _codes_of(values: Array) -> Array:
    """Return the codes of the integers of a picture with one channel.

    Integers up to 255, and 8 bits that were converted to 16, are greys.
    """
    if values.max() > 255:
        whole = values % 257 == 0  # 8 bits that were converted to 16
        if values.max() > 65535 or not whole.all():
            return values.astype(np.int64)
        values = values // 257
    return _codes(np.repeat(values[..., None], 3, axis=-1))


def _colours(codes: Array) -> Array:
    """Return the colours of codes; the inverse of `_codes`."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def _exact(codes: Array) -> tuple[Array, Array] | None:
    """Return the colours of an exact map, R × 3, and each pixel's colour number.

    None if the map is not exact.
    """
    unique, labels, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if len(unique) > MOST_EXACT_COLOURS:
        return None
    flat = _is_flat(codes[..., None], 0)
    if len(unique) > MOST_COLOURS and flat.mean() < EXACT_SHARE:
        return None
    labels = labels.reshape(codes.shape)
    is_flat_nowhere = np.ones(len(unique), bool)
    is_flat_nowhere[labels[flat]] = False
    if _has_soft_edges(codes, is_flat_nowhere[labels]):
        return None
    order = np.argsort(-counts, kind="stable")
    return _colours(unique[order]), np.argsort(order).astype(np.int16)[labels]


def _has_soft_edges(codes: Array, where: Array) -> bool:
    """Return whether a map has soft edges.

    `where` (h × w) selects the pixels whose colour is flat nowhere. At soft edges most of these are mixtures of two of
    their neighbours; in lines and points they are not.
    """
    rows, columns = np.nonzero(where)
    if not rows.size:
        return False
    chosen = np.linspace(0, rows.size - 1, min(rows.size, 20_000)).astype(int)  # a sample is enough
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


class _RegionColours(NamedTuple):
    """The colours of the regions of a map that is not exact, R × 3."""

    colours: Array
    pure: float
    """The share of the map that is flat in nearly these colours."""
    merged: list[tuple[Array, Array]]
    """Frequent colours that are not a region, the most frequent first, each with the nearest colour of a region."""


def _find_colours(codes: Array, flat: Array, is_lossy: bool) -> _RegionColours:
    """Find the colours of the regions, at most one more than MOST_COLOURS.

    Repeatedly, the most frequent `flat` colour becomes a region, and those close to it are merged into it.
    """
    unique, counts = np.unique(codes[flat], return_counts=True)
    candidates, cores = _colours(unique), _cores(codes, unique, LOSSY_CORE if is_lossy else CORE)
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
        return _RegionColours(colours, 0, [])
    nearest, distances = _nearest(frequent, colours)
    merged = [(frequent[each], colours[nearest[each]]) for each in np.flatnonzero(distances > ROUNDING**2)]
    return _RegionColours(colours, pure / flat.size, merged)


def _cores(codes: Array, unique: Array, side: int) -> Array:
    """Return the number of squares of one code, for each of the `unique` codes.

    `codes` is h × w, `unique` are its flat codes, and `side` is the squares' side in pixels.
    """
    is_uniform = ndimage.maximum_filter(codes, side) == ndimage.minimum_filter(codes, side)
    uniform, counts = np.unique(codes[is_uniform], return_counts=True)
    cores = np.zeros(len(unique), np.int64)
    cores[np.searchsorted(unique, uniform)] = counts  # uniform squares are flat: their codes are in `unique`
    return cores


# -- the label of each pixel ------------------------------------------------------------------------------------------


def _nearest(pixels: Array, colours: Array) -> tuple[Array, Array]:
    """Return the number of the colour nearest to each pixel, and its distance.

    `pixels` is … × 3; the distance is squared.
    """
    labels, best = np.zeros(pixels.shape[:-1], np.int16), _distances(pixels, colours[0])
    for label, colour in enumerate(colours[1:], 1):
        distances = _distances(pixels, colour)
        labels[distances < best] = label
        np.minimum(best, distances, out=best)
    return labels, best


def _grown(labels: Array, pixels: Array, colours: Array) -> Array:
    """Give unknown `labels` the known one within REACH whose colour is nearest.

    A pixel that is surrounded by one colour other than its own is not an edge, and stays unknown.
    """
    rows, columns = np.nonzero(labels == _UNKNOWN)
    around = np.pad(labels, REACH, constant_values=_UNKNOWN)
    wanted = pixels[rows, columns]
    chosen = np.full(rows.size, _UNKNOWN, np.int16)
    best, worst = np.full(rows.size, np.iinfo(np.int32).max), np.zeros(rows.size, np.int32)
    offsets = sorted(product(range(-REACH, REACH + 1), repeat=2), key=lambda offset: offset[0] ** 2 + offset[1] ** 2)
    for down, right in offsets:  # the closest pixel first, so that it is preferred among equal colours
        neighbours = around[rows + down + REACH, columns + right + REACH]
        distances = _distances(wanted, colours[neighbours])
        nearer = (neighbours != _UNKNOWN) & (distances < best)
        chosen[nearer], best[nearer] = neighbours[nearer], distances[nearer]
        worst = np.maximum(worst, np.where(neighbours != _UNKNOWN, distances, 0))
    chosen[(best == worst) & (best > TOLERANCE**2)] = _UNKNOWN
    labels = labels.copy()
    labels[rows, columns] = chosen
    return labels


def _label(pixels: Array, flat: Array, colours: Array) -> Array:
    """Return the number of each pixel's region, h × w.

    An antialiased edge between black and white contains grey, and a JPEG's more colours. Therefore pixels that are not
    flat get the nearest of the colours *around them*, which include grey only next to a grey region.
    """
    nearest, distances = _nearest(pixels, colours)
    labels = np.where(flat & (distances <= TOLERANCE**2), nearest, np.int16(_UNKNOWN))
    for _ in range(RINGS):
        labels = _grown(labels, pixels, colours)
    return np.where(labels == _UNKNOWN, nearest, labels)


# -- maps -------------------------------------------------------------------------------------------------------------


def _sampled(labels: Array, size: Size) -> Array:
    """Resize `labels` (h × w) by nearest-neighbour interpolation."""
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(labels.shape, size))
    return labels[rows[:, None], columns]


class _Map(NamedTuple):
    """A region map, resized to its picture.

    `colours` is R × 3; `labels` (h × w) is the number of each position's colour.
    """

    name: str
    colours: Array
    labels: Array
    is_exact: bool
    """Whether only equal colours are the same."""

    def weights(self, wanted: Sequence[int | None]) -> Array:
        """Return weights of 1 at the positions of each wanted colour.

        The colours are given by number; None has no positions. The result is len(wanted) × h × w.
        """
        weights = np.zeros((len(wanted), *self.labels.shape), np.float32)
        for channel, number in zip(weights, wanted):
            if number is not None:
                channel[self.labels == number] = 1
        return weights

    def find(self, other: _Map) -> list[int | None]:
        """Return the number of each colour of another map in this one, or None.

        If both maps are exact, the same colour is the equal one, otherwise the nearest one within the tolerance. No
        number is returned twice.
        """
        most = 0 if self.is_exact and other.is_exact else TOLERANCE**2
        differences = self.colours[None].astype(np.int64) - other.colours[:, None]
        distances = (differences**2).sum(axis=2)
        numbers: list[int | None] = [None] * len(other.colours)
        for place in np.argsort(distances, axis=None, kind="stable"):
            wanted, number = divmod(int(place), len(self.colours))
            if distances[wanted, number] <= most and numbers[wanted] is None and number not in numbers:
                numbers[wanted] = number
        return numbers


LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")
"""Pillow's names of the formats that may change colours."""


def _read_map(source: Source, otherwise: str, size: Size) -> _Map:
    """Read the map in `source` at `size`; errors call a PIL image `otherwise`."""
    name, picture = name_of(source, otherwise), open_picture(source).flattened()
    check_shape(name, picture.size, size, "its picture", "paint it over a copy of the picture")
    pixels, is_lossy = np.asarray(picture.image), picture.format in LOSSY
    codes = _codes(pixels)
    exact = None if is_lossy else _exact(codes if picture.values is None else _codes_of(picture.values))
    colours, labels = exact or _tolerant(name, pixels, codes, is_lossy)
    labels = _sampled(labels, size)
    seen = np.unique(labels)  # a tiny region may disappear in the scaling
    numbers = np.zeros(len(colours), np.int16)
    numbers[seen] = np.arange(len(seen))
    return _Map(name, colours[seen], numbers[labels], exact is not None)


def _tolerant(name: str, pixels: Array, codes: Array, is_lossy: bool) -> tuple[Array, Array]:
    """Return the colours of an inexact map, and the number of each pixel's colour.

    Such a map has soft edges or lossy compression. Warns with the regions. Raises InputError for a photograph.
    """
    flat = _is_flat(pixels, FLAT)
    colours, pure, merged = _find_colours(codes, flat, is_lossy)
    if not 0 < len(colours) <= MOST_COLOURS or pure < PURE_SHARE:
        raise InputError(
            f"{name}: probably a photograph, not a region map; paint each region in one flat colour,"
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
"""Maximum number of merged colours that are listed."""


def _hex(colour: Sequence[int] | Array) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def read_regions(
    content_map: Source,
    style_maps: Sequence[Source],
    content_size: Size,
    style_sizes: Sequence[Size],
) -> Regions:
    """Return the Regions in label maps.

    Maps are files or PIL images, each for a picture of a size (height, width). The pixels of one colour in the
    content's map are a region; its style is taken from the pixels with that colour in a style's map. Maps are decoded
    by `open_picture`, in any mode and format, and flattened on white. The most frequent colour is the first region. A
    map is scaled to its picture's size by nearest-neighbour interpolation.

    A map in a lossless format with up to 256 colours and no soft edges is exact: each colour is a region, and only
    equal colours are the same; greys of 16 and 32 bits differ by their numbers. Warns of a content map with a single
    region. In other maps soft edges up to 4 pixels wide and lossy compression are tolerated, with a warning that lists
    the regions and the merged colours. A colour is a region if it is flat in at least a thousandth of the map and 25
    pixels; two colours within TOLERANCE are merged, unless each has enough squares of its own; other pixels are in the
    nearest region. Lines must be 3 pixels wide, in a JPEG 5.

    Raises InputError for a map that is not exact with more than 16 colours, an aspect ratio that differs from the
    picture's by more than 5 %, a colour that is in no style's map, a number of maps other than that of styles, and
    regions that do not fit into the memory.
    """
    if len(style_maps) != len(style_sizes):
        raise InputError(f"{len(style_maps)} style maps for {len(style_sizes)} style pictures; give one each")
    content = _read_map(content_map, "the content's map", content_size)
    numbered = zip(range(1, len(style_maps) + 1), style_maps, style_sizes)
    styles = [_read_map(source, f"the map of style {number}", size) for number, source, size in numbered]
    if len(content.colours) == 1:
        warn(f"{content.name}: only one region ({_hex(content.colours[0])}), so the map has no effect")
    numbers_of_styles = [style.find(content) for style in styles]
    for colour, *numbers in zip(content.colours, *numbers_of_styles):
        if all(number is None for number in numbers):
            raise InputError(f"{content.name}: no style's map has its colour {_hex(colour)}; {_advice(colour, styles)}")
    needed = 4 * len(content.colours) * sum(each.labels.size for each in (content, *styles))
    if needed > available_memory() / 2:
        raise InputError(
            f"{content.name}: {len(content.colours)} regions take {needed / 1e9:.1f} GB; scale the pictures down,"
            " or use fewer"
        )
    return Regions(
        [(int(red), int(green), int(blue)) for red, green, blue in content.colours],
        content.weights(range(len(content.colours))),
        [style.weights(numbers) for style, numbers in zip(styles, numbers_of_styles)],
    )


def _advice(colour: Array, styles: Sequence[_Map]) -> str:
    """Return the advice for a colour that is in no style's map."""
    advice = f"paint it into {' or '.join(style.name for style in styles)}"
    for style in styles:
        distances = ((style.colours.astype(np.int64) - colour) ** 2).sum(axis=1)
        if distances.min() <= TOLERANCE**2:
            return f"{advice}; {_hex(style.colours[distances.argmin()])} in {style.name} is close, but not the same"
    return advice
