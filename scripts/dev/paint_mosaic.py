"""Paint a mosaic of glass and gold: three fish around a sun. Used by scripts/dev/paint_gallery.py."""

import contourpy
import numpy as np
from paint_pictures import blur, fractal_noise, mix, overlap, smoothstep

SIZE = 1024
CENTRE = SIZE / 2
FISH = 236  # distance of the fish from the centre
MORTAR = (0.135, 0.115, 0.105)

PALETTES = {  # colours of the tesserae by kind of region, with their frequencies
    "gold": [((0.86, 0.64, 0.20), 5), ((0.96, 0.79, 0.36), 3), ((0.68, 0.46, 0.12), 3), ((0.98, 0.90, 0.62), 1)],
    "terracotta": [((0.70, 0.29, 0.17), 5), ((0.80, 0.41, 0.24), 3), ((0.54, 0.19, 0.13), 3), ((0.87, 0.56, 0.36), 1)],
    "cream": [((0.90, 0.83, 0.68), 5), ((0.82, 0.72, 0.54), 3), ((0.95, 0.91, 0.82), 2), ((0.72, 0.66, 0.56), 1)],
    "night": [((0.06, 0.13, 0.36), 5), ((0.09, 0.20, 0.48), 3), ((0.04, 0.08, 0.24), 3), ((0.16, 0.32, 0.60), 1)],
    "blue": [((0.11, 0.30, 0.62), 5), ((0.18, 0.42, 0.72), 3), ((0.08, 0.20, 0.50), 3), ((0.36, 0.62, 0.80), 1)],
    "turquoise": [((0.16, 0.52, 0.62), 4), ((0.32, 0.66, 0.70), 3), ((0.10, 0.40, 0.55), 3), ((0.60, 0.82, 0.80), 1)],
    "ink": [((0.09, 0.08, 0.11), 4), ((0.15, 0.12, 0.16), 2)],
    "leaf": [((0.25, 0.38, 0.20), 4), ((0.38, 0.50, 0.26), 3), ((0.15, 0.27, 0.18), 3), ((0.58, 0.64, 0.34), 1)],
}
KINDS = list(PALETTES)


def draw_regions():
    """Return the kind of each pixel, an index into KINDS; later shapes cover earlier ones."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5
    radius, angle = np.hypot(x - CENTRE, y - CENTRE), np.arctan2(y - CENTRE, x - CENTRE)
    kind = np.full((SIZE, SIZE), KINDS.index("gold"))

    def lay(name, where):
        kind[where] = KINDS.index(name)

    # The corners: a spray of leaves in each, on gold.
    u, v = np.minimum(x, SIZE - x) - 8, np.minimum(y, SIZE - y) - 8
    for turn, length in ((0.10, 210), (0.44, 175), (np.pi / 4, 140), (np.pi / 2 - 0.44, 175), (np.pi / 2 - 0.10, 210)):
        along, across = u * np.cos(turn) + v * np.sin(turn) - 38, u * np.sin(turn) - v * np.cos(turn)
        share = np.clip(along / length, 0, 1)
        width, within = 25 * np.sin(np.pi * share**0.8), (along > 0) & (along < length)
        lay("leaf" if turn != np.pi / 4 else "terracotta", (np.abs(across) < width) & within)
        lay("cream", (np.abs(across) < 0.22 * width) & within)
    lay("terracotta", np.hypot(u, v) < 56)
    lay("night", np.hypot(u, v) < 40)
    lay("gold", np.hypot(u, v) < 18)

    # The frame: gold, a running wave between two blue bands, gold.
    for name, limit in (("terracotta", 508), ("gold", 494), ("night", 480), ("cream", 458)):
        lay(name, radius < limit)
    lay("terracotta", radius < 427 + 20 * np.sin(14 * angle))
    lay("gold", (np.abs(radius - 427 - 20 * np.sin(14 * angle)) < 6))
    for name, limit in (("gold", 396), ("night", 380), ("blue", 364)):
        lay(name, radius < limit)

    # The sea: currents around the sun.
    winding = np.sin(3 * angle + radius / 34 + 0.6 * np.sin(5 * angle - radius / 60))
    lay("turquoise", (radius < 364) & (winding > 0.55))
    lay("night", (radius < 364) & (winding < -0.75))

    ray = np.abs((angle * 10 / (2 * np.pi) + 0.25 * np.sin(radius / 14)) % 1 - 0.5) * 2
    lay("gold", (radius < 154) & (ray < 1.0 - (radius - 82).clip(0) / 72))
    lay("terracotta", radius < 86)
    lay("gold", radius < 72)
    lay("cream", radius < 30)
    lay("terracotta", radius < 15)

    for start in np.arange(3) * 2 * np.pi / 3 - 0.4:
        turned = (angle - start + np.pi) % (2 * np.pi) - np.pi
        s, n = turned * FISH, radius - FISH
        body = 60 * np.clip(1 - (np.abs(s - 12) / 150) ** 2.4, 0, None) ** 0.85
        tail = (s < -108) & (s > -186 + 24 * np.cos(n / 13)) & (np.abs(n) < 9 + 0.66 * (-108 - s))
        fins = (np.abs(n) < body + 26 * np.clip(np.sin((s + 62) / 110 * np.pi), 0, 1)) & (s > -62) & (s < 48)
        lay("ink", ((np.abs(n) < body + 8) & (body > 0)) | (fins & (np.abs(n) > body)))
        lay("terracotta", tail)
        lay("gold", tail & (np.abs(n) < 0.30 * (-108 - s) + 3))
        lay("terracotta", fins & (np.abs(n) > body + 5) & (np.abs(n) < body + 22))
        band = (s + 30 - n**2 / 95) / 27
        for name, low, high in (("gold", -9, 9), ("terracotta", -3, -2), ("terracotta", -1, 0), ("cream", 0.9, 1.5)):
            lay(name, (np.abs(n) < body) & (band > low) & (band < high))
        lay("cream", (np.abs(n) < body) & (n < -0.45 * body) & (s < 60) & (band % 2 > 0.9))
        lay("gold", (np.abs(n) < body) & (s > 70))
        lay("terracotta", (np.abs(n) < body) & (np.abs(np.hypot(s - 128, 0.8 * n) - 78) < 7) & (s > 45))
        lay("cream", np.hypot(s - 98, n - 12) < 15)
        lay("ink", np.hypot(s - 100, n - 12) < 8)
    return kind


def distance_to_edges(kind, furthest=130):
    """Return the distance of each pixel from the nearest one of a different kind, up to `furthest`."""
    edge = np.zeros(kind.shape, bool)
    edge[:, 1:] |= kind[:, 1:] != kind[:, :-1]
    edge[1:] |= kind[1:] != kind[:-1]
    x = np.arange(SIZE)
    left = np.maximum.accumulate(np.where(edge, x, -SIZE), axis=1)
    right = np.minimum.accumulate(np.where(edge, x, 2 * SIZE)[:, ::-1], axis=1)[:, ::-1]
    level = np.minimum(x - left, right - x).clip(0, furthest).astype(np.float32) ** 2
    squared = level.copy()
    for down in range(1, furthest):
        np.minimum(squared[down:], level[:-down] + down**2, out=squared[down:])
        np.minimum(squared[:-down], level[down:] + down**2, out=squared[:-down])
    return np.sqrt(squared)


def lay_rows(rng, kind, away):
    """Place tesserae in rows along the edges of shapes; return x, y, direction, width and length of each."""
    wide = np.array([{"ink": 9.0, "terracotta": 11.5, "cream": 11.0, "gold": 11.5}.get(name, 13.5) for name in KINDS])
    away = blur(away, 1.5)
    taken, tesserae = np.full((SIZE, SIZE), -1.0, np.float32), []

    def place(x, y, direction, row, length):
        column, line = int(x), int(y)
        if not (0 <= column < SIZE and 0 <= line < SIZE) or wide[kind[line, column]] != row or taken[line, column] >= 0:
            return
        tesserae.append((x, y, direction, row, length))
        reach = int(0.66 * row)
        v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        spot, part = overlap(taken, u, column - reach, line - reach)
        taken[spot][(np.hypot(u, v) < 0.68 * row)[part]] = 1

    slope_y, slope_x = np.gradient(away)
    for row in np.unique(wide):
        levels = contourpy.contour_generator(z=away)
        for level in np.arange(0.5 * row + 0.8, away.max(), row):
            for line in levels.lines(level):
                steps = np.hypot(*np.diff(line, axis=0).T)
                along, at = np.concatenate([[0], np.cumsum(steps)]), rng.uniform(0, row)
                while at < along[-1]:
                    length = row * rng.uniform(0.85, 1.45)
                    x, y = (np.interp(at, along, line[:, axis]) for axis in (0, 1))
                    j, i = min(int(y), SIZE - 1), min(int(x), SIZE - 1)
                    place(x, y, np.arctan2(slope_x[j, i], -slope_y[j, i]), row, length)
                    at += length
    for y, x in rng.permutation(np.argwhere(taken < 0)):
        if taken[y, x] < 0:
            row = wide[kind[y, x]]
            place(x, y, np.arctan2(slope_x[y, x], -slope_y[y, x]), row, 0.8 * row)
    return np.array(tesserae)


def split(kind, tesserae):
    """Return the tessera of each pixel, and the distance to the next tessera, in pixels."""
    best, second = np.full((2, SIZE, SIZE), 1e3, np.float32)
    owner = np.zeros((SIZE, SIZE), np.int32)
    for number, (x, y, direction, row, length) in enumerate(tesserae):
        reach, column, line = int(1.7 * row), int(x), int(y)
        v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        u, v = u + column - x, v + line - y
        along, across = u * np.cos(direction) + v * np.sin(direction), u * np.sin(direction) - v * np.cos(direction)
        metric = np.maximum(np.abs(along) - 0.5 * (length - row), np.abs(across))
        spot, part = overlap(owner, metric, column - reach, line - reach)
        metric = np.where(kind[spot] == kind[line, column], metric[part], 1e3)
        nearer = metric < best[spot]
        second[spot] = np.minimum(second[spot], np.maximum(best[spot], metric))
        best[spot] = np.minimum(best[spot], metric)
        owner[spot][nearer] = number
    return owner, second - best


def settled(tesserae, owner):
    """Return the tesserae, moved to the centroids of their pixels (Lloyd's algorithm)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    count = np.bincount(owner.ravel(), minlength=len(tesserae)).clip(1)
    for column, plane in ((0, x), (1, y)):
        tesserae[:, column] = np.where(
            count > 8, np.bincount(owner.ravel(), plane.ravel(), len(tesserae)) / count, tesserae[:, column]
        )
    return tesserae


def colours_of(rng, kinds):
    """Return a colour for each tessera: a random variation of one of its kind."""
    colours = np.zeros((len(kinds), 3))
    for index, palette in enumerate(PALETTES.values()):
        mine = kinds == index
        shares = np.array([share for _, share in palette], float)
        colours[mine] = np.array([colour for colour, _ in palette])[
            rng.choice(len(palette), mine.sum(), p=shares / shares.sum())
        ]
    value = rng.normal(1, 0.10, (len(kinds), 1))
    return np.clip(colours * value + rng.normal(0, 0.014, colours.shape), 0.02, 1)


def paint_mosaic(rng):
    kind = draw_regions()
    away = distance_to_edges(kind)
    tesserae = lay_rows(rng, kind, away)
    for _ in range(1):
        tesserae = settled(tesserae, split(kind, tesserae)[0])
    inside = tesserae[:, :2].clip(0, SIZE - 1).astype(int)
    owner, gap = split(kind, tesserae)
    kinds = kind[inside[:, 1], inside[:, 0]]

    gap = blur(np.minimum(np.minimum(gap, 2 * away), 14), 0.6)
    set_in = smoothstep(1.3, 3.0, gap)
    # Every tessera is tilted a little, so that their brightness varies in the light from the upper left.
    tilt = rng.normal(0, 1, (len(tesserae), 2))
    facing = tilt @ (-0.6, -0.8)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    off_x, off_y = x - tesserae[owner, 0], y - tesserae[owner, 1]
    glow = (tilt[owner, 0] * off_x + tilt[owner, 1] * off_y) / 12
    gy, gx = np.gradient(2.6 * smoothstep(0.5, 5.0, gap) + 0.35 * fractal_noise(rng, SIZE, 0.7, low=60))
    bevel = np.clip(-0.6 * gx - 0.8 * gy, -1.5, 1.5) * -1
    shiny = np.isin(kinds, [KINDS.index("gold")]) * 1.0
    bright = 1 + (0.10 + 0.16 * shiny[owner]) * facing[owner] + 0.10 * glow
    streaks = fractal_noise(rng, SIZE, 0.8, low=12)
    bright = bright * (1 + 0.05 * streaks + 0.05 * fractal_noise(rng, SIZE, 1.6, low=2))
    colour = colours_of(rng, kinds)[owner] * bright[..., None]
    sparkle = smoothstep(1.2, 2.4, facing)[owner] * (0.16 + 0.30 * shiny[owner]) * (0.7 + 0.3 * glow)
    colour = colour * (1 + 0.30 * bevel[..., None]) + (sparkle + 0.20 * np.clip(bevel - 0.55, 0, 1))[..., None]
    grit = 1 + 0.30 * fractal_noise(rng, SIZE, 0.3)[..., None]
    shade = np.roll(set_in, (2, 2), (0, 1))
    mortar = np.array(MORTAR) * grit * (1.35 - 0.75 * shade)[..., None]
    return mix(mortar, colour, set_in)
