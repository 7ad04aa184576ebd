"""Paint a harbour town on a summer morning: houses along a quay, boats, and their reflections in the water.

Used by scripts/dev/paint_gallery.py. Objects are drawn twice, as colour and as light, and the two are multiplied.
"""

import numpy as np
from paint_pictures import fractal_noise, mix, sample, smoothstep
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1024, 768
SCALE = 2  # painted larger than saved, for smooth thin shapes
COLUMNS, ROWS = WIDTH * SCALE, HEIGHT * SCALE
QUAY, WATER = 500 * SCALE, 540 * SCALE  # the rows of the quay's upper edge and of the water line
WALLS = [
    (214, 156, 92),
    (226, 196, 148),
    (190, 98, 74),
    (222, 178, 110),
    (168, 176, 170),
    (205, 128, 96),
    (232, 214, 184),
    (146, 160, 142),
    (196, 144, 128),
]
SHUTTERS = [(58, 92, 84), (74, 96, 120), (120, 62, 48), (64, 74, 58), (150, 158, 150)]
ROOFS = [(160, 84, 58), (142, 72, 52), (174, 98, 66), (126, 78, 62)]
HULLS = [(36, 78, 122), (176, 52, 42), (226, 222, 208), (42, 104, 96), (222, 168, 60)]


def shaded(colour, share):
    return tuple(int(np.clip(part * share, 0, 255)) for part in colour)


class Scene:
    """A picture of colours, one of light (128 is full daylight), and a mask of the objects before the sky."""

    def __init__(self, rng, sky):
        self.rng, self.walls, self.shadow_boxes = rng, [], []
        self.colour = Image.fromarray(np.uint8(np.clip(sky, 0, 1) * 255))
        self.light, self.solid = Image.new("L", (COLUMNS, ROWS), 128), Image.new("L", (COLUMNS, ROWS), 0)
        self.paint, self.lamp, self.mask = (ImageDraw.Draw(image) for image in (self.colour, self.light, self.solid))

    def polygon(self, corners, colour, light=128):
        corners = [(float(x), float(y)) for x, y in corners]
        self.paint.polygon(corners, tuple(colour))
        self.lamp.polygon(corners, int(light))
        self.mask.polygon(corners, 255)

    def box(self, x0, y0, x1, y1, colour, light=128):
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, light)

    def line(self, ends, colour, width, light=128):
        self.paint.line(ends, tuple(colour), int(width))
        self.lamp.line(ends, int(light), int(width))
        self.mask.line(ends, 255, int(width))

    def shadow(self, corners, share, soft):
        """Darken the light within a polygon, with a soft edge."""
        veil = Image.new("L", (COLUMNS, ROWS), 255)
        ImageDraw.Draw(veil).polygon([(float(x), float(y)) for x, y in corners], int(255 * share))
        self.light = ImageChops.multiply(self.light, veil.filter(ImageFilter.GaussianBlur(soft)))
        self.lamp = ImageDraw.Draw(self.light)


def paint_sky(rng):
    """Paint a sky that is blue above and pale at the horizon, with clouds lit from the left."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32) / SCALE
    up = np.clip(1 - y / 470, 0, 1)
    picture = mix((0.80, 0.87, 0.90), (0.20, 0.45, 0.75), up**0.8)
    tile, billow = fractal_noise(rng, 1024, 1.65, low=2), fractal_noise(rng, 1024, 1.2, low=10)

    def density(x, y):
        heap = sample(tile, x * 0.75 + 120, y * 1.35 + 620) + 0.16 * sample(billow, x * 0.9, y * 1.1)
        return heap + 0.55 * np.sin(x / 210 + 2.4) * np.sin(y / 95 + 1.0)

    thick = density(x, y)
    lit = np.clip(0.62 + 0.55 * (thick - density(x - 14, y - 16)) - 0.12 * (thick - 1), 0, 1)
    cloud = mix((0.58, 0.64, 0.72), (1.0, 0.98, 0.94), lit)
    return mix(picture, cloud, 0.96 * smoothstep(0.15, 1.0, thick) * smoothstep(0.0, 0.25, up))


def paint_hill(rng, scene):
    """Paint a hazy wooded hill with a tower behind the town."""
    line = fractal_noise(rng, 512, 1.5, low=2)
    x = np.arange(0, COLUMNS + 8, 8)
    for base, rise, tint in ((300, 60, (132, 156, 172)), (318, 118, (92, 118, 100))):
        shape = rise * np.exp(-(((x / COLUMNS - (0.80 if rise > 80 else 0.30)) / 0.33) ** 2))
        top = (
            (base - shape) * SCALE
            - 7 * SCALE * sample(line, x * 0.09 + base, 0 * x)
            - 3 * SCALE * sample(line, x * 0.5, 0 * x + base)
        )
        scene.polygon([(0, ROWS), *zip(x, top), (COLUMNS, ROWS)], tint)
        if rise > 80:  # crowns of trees, light above and dark below
            for _ in range(2600):
                k = rng.integers(len(x))
                r, down = SCALE * rng.uniform(3, 8), rng.uniform(0, 150) * SCALE
                tone = np.array(tint) * rng.uniform(0.72, 1.10) + (0, rng.uniform(-4, 8), -8)
                for shift, share in ((0.25, 0.72), (-0.15, 1.12)):
                    middle = x[k] + shift * r, top[k] + down + shift * r
                    box = [middle[0] - r, middle[1] - r, middle[0] + r, middle[1] + 0.8 * r]
                    scene.paint.ellipse(box, shaded(tone, share))
                    scene.mask.ellipse(box, 255)


def draw_window(scene, x, y, wide, tall, shutters, stone):
    """Draw a window: glass that reflects the sky, bars, a sill, and often shutters."""
    rng, s = scene.rng, SCALE
    scene.box(x - 2 * s, y - 2 * s, x + wide + 2 * s, y + tall + 2 * s, stone)
    scene.box(x, y, x + wide, y + tall, (34, 42, 52), 112)
    glint = rng.uniform(0.3, 1.0)
    scene.polygon(
        [(x, y + tall), (x, y + 0.45 * tall), (x + wide, y + 0.12 * tall), (x + wide, y + tall)],
        shaded((104, 130, 150), glint),
        112,
    )
    if rng.random() < 0.4:  # a curtain
        scene.box(x, y, x + 0.4 * wide, y + tall, (176, 170, 158), 84)
    for bar in (0.33, 0.66):
        scene.box(x, y + bar * tall - 0.5 * s, x + wide, y + bar * tall + 0.5 * s, (214, 206, 192), 118)
    scene.box(x + 0.5 * wide - 0.7 * s, y, x + 0.5 * wide + 0.7 * s, y + tall, (214, 206, 192), 118)
    scene.polygon(
        [(x, y), (x + wide, y), (x + wide, y + 3 * s), (x + 3 * s, y + 3 * s), (x + 3 * s, y + tall), (x, y + tall)],
        (30, 34, 42),
        70,
    )
    scene.box(x - 4 * s, y + tall + 1 * s, x + wide + 4 * s, y + tall + 4 * s, stone, 140)
    scene.shadow_boxes.append((x - 2 * s, y + tall + 4 * s, x + wide + 6 * s, y + tall + 9 * s))
    if shutters is None:
        return
    for left in (x - 0.58 * wide - 2 * s, x + wide + 2 * s):
        scene.box(left, y - s, left + 0.56 * wide, y + tall + s, shutters)
        for slat in np.arange(y + 2 * s, y + tall - s, 3 * s):
            scene.box(left + 1.2 * s, slat, left + 0.56 * wide - 1.2 * s, slat + 1.2 * s, shaded(shutters, 0.66), 118)
        scene.shadow_boxes.append((left + 0.56 * wide, y + s, left + 0.56 * wide + 3 * s, y + tall + 3 * s))
    if rng.random() < 0.35:  # flowers on the sill
        for _ in range(26):
            u, v, r = (
                rng.uniform(x - 2 * s, x + wide + 2 * s),
                y + tall - rng.uniform(-3, 5) * s,
                rng.uniform(1, 2.2) * s,
            )
            tone = [(196, 48, 60), (72, 104, 52), (58, 92, 46), (226, 110, 130)][rng.integers(4)]
            scene.paint.ellipse([u - r, v - r, u + r, v + r], tone)


def draw_house(scene, left, right, top, foot, far=0.0):
    """Draw the front of a house: wall, roof, rows of windows, and a door or a shop with an awning."""
    rng, s = scene.rng, SCALE
    wide, haze = right - left, np.array((178, 196, 206))
    if not scene.walls:
        scene.walls = [WALLS[k] for k in rng.permutation(len(WALLS))]
    wall = np.array(scene.walls.pop()) * rng.uniform(0.92, 1.05)
    wall = wall * (1 - far) + haze * far
    roof = np.array(ROOFS[rng.integers(len(ROOFS))]) * (1 - far) + haze * far
    stone = shaded(wall * 0.35 + np.array((226, 216, 198)) * 0.65, 1.0)
    scene.box(left, top, right, foot, shaded(wall, 1))
    scene.shadow_boxes = []
    gable, pitch = rng.random() < 0.4, rng.uniform(0.24, 0.36) * min(wide, 150 * s)
    if gable:
        peak = (left + right) / 2, top - 1.5 * pitch
        scene.polygon([(left, top), peak, (right, top)], shaded(wall, 1))
        for ends, light in (([(left - 5 * s, top + 4 * s), peak], 150), ([peak, (right + 5 * s, top + 4 * s)], 84)):
            scene.line(ends, shaded(roof, 1), 8 * s, light)
        if wide > 60 * s:
            draw_window(scene, peak[0] - 6 * s, top - 0.55 * pitch, 12 * s, 17 * s, None, stone)
    else:
        inset = rng.uniform(0, 0.12) * wide
        corners = [
            (left - 5 * s, top + 2 * s),
            (left + inset, top - pitch),
            (right - inset, top - pitch),
            (right + 5 * s, top + 2 * s),
        ]
        scene.polygon(corners, shaded(roof, 1), 134)
        for k, row in enumerate(np.arange(top - pitch, top, 3.2 * s)):  # tiles
            share = (row - top + pitch) / pitch
            a, b = (
                corners[1][0] + (corners[0][0] - corners[1][0]) * share,
                corners[2][0] + (corners[3][0] - corners[2][0]) * share,
            )
            for column in np.arange(a, b - 3 * s, 4 * s):
                shift = 2 * s * (k % 2)
                scene.paint.rectangle(
                    [column + shift, row, min(column + shift + 3 * s, b), row + 2.2 * s],
                    shaded(roof, rng.uniform(0.80, 1.18)),
                )
        scene.box(left - 5 * s, top + 2 * s, right + 5 * s, top + 5 * s, shaded(roof, 0.7), 120)
    for at in rng.uniform(0.12, 0.85, rng.integers(1, 3)):
        x, y = left + at * wide, top - (0.55 if gable else 1.0) * pitch
        scene.box(x, y - 15 * s, x + 11 * s, y + 9 * s, shaded(roof * 0.6 + 60, 1))
        scene.box(x + 6 * s, y - 15 * s, x + 11 * s, y + 9 * s, shaded(roof * 0.6 + 60, 1), 82)
        scene.box(x - 2 * s, y - 17 * s, x + 13 * s, y - 14 * s, stone)
    count, storey = max(1, int(wide // (34 * s))), rng.uniform(40, 48) * s
    step, shutters = wide / count, SHUTTERS[rng.integers(len(SHUTTERS))] if rng.random() < 0.75 else None
    size = min(13 * s, 0.36 * step)
    ground = foot - 46 * s
    for row in np.arange(top + 15 * s, ground - 30 * s, storey):
        for k in range(count):
            draw_window(scene, left + (k + 0.5) * step - size / 2, row, size, 25 * s, shutters, stone)
        scene.box(left, row + storey - 9 * s, right, row + storey - 7.6 * s, stone, 132)
    if far == 0:
        scene.box(left, foot - 5 * s, right, foot, (128, 120, 110))
        scene.box(left, ground + 6 * s, right, ground + 8 * s, stone, 136)
        for k in range(count):
            x = left + (k + 0.5) * step
            scene.box(x - 9 * s, ground + 15 * s, x + 9 * s, foot, (40, 38, 40), 84)
            scene.box(x - 7 * s, ground + 17 * s, x + 7 * s, foot, shaded(SHUTTERS[(k + count) % 5], 0.8), 92)
        if rng.random() < 0.6:
            tone = [(184, 62, 50), (222, 206, 172), (52, 100, 108), (214, 160, 66)][rng.integers(4)]
            for k, x in enumerate(np.arange(left + 3 * s, right - 4 * s, 6 * s)):
                strip = tone if k % 2 else (230, 224, 210)
                scene.polygon(
                    [
                        (x, ground + 9 * s),
                        (x + 6 * s, ground + 9 * s),
                        (x + 7.5 * s, ground + 21 * s),
                        (x + 1.5 * s, ground + 21 * s),
                    ],
                    strip,
                    142,
                )
            scene.shadow_boxes.append((left + 4 * s, ground + 21 * s, right, ground + 38 * s))
    # Shadows of the eaves, the sills, the shutters and the house on the left; the sun is high on the left.
    for x0, y0, x1, y1 in [(left, top + 4 * s, right, top + 13 * s), *scene.shadow_boxes]:
        veil = scene.light.crop((int(x0), int(y0), max(int(x0) + 1, int(x1)), max(int(y0) + 1, int(y1))))
        scene.light.paste(veil.point(lambda value: int(value * 0.62)), (int(x0), int(y0)))
    scene.lamp = ImageDraw.Draw(scene.light)
    return wall


def draw_town(rng, scene):
    """Draw three rows of houses up the slope, the rear ones hazy, and a church tower."""
    s = SCALE
    for foot, low, high, far in ((330, 40, 75, 0.45), (385, 70, 110, 0.22)):
        x = -rng.uniform(0, 60) * s
        while x < COLUMNS:
            wide = rng.uniform(62, 110) * s
            lift = 62 * s * np.exp(-(((x / COLUMNS - 0.80) / 0.28) ** 2))
            draw_house(scene, x, x + wide, foot * s - lift - rng.uniform(low, high) * s, QUAY, far)
            x += wide + rng.choice([0, 0, 10, 24]) * s
        if far == 0.45:
            draw_tower(scene, 640 * s, 150 * s)
    x = -rng.uniform(10, 40) * s
    before = None
    while x < COLUMNS:
        wide, tall = rng.uniform(74, 132) * s, rng.uniform(135, 235) * s
        draw_house(scene, x, x + wide, QUAY - tall, QUAY)
        if before is not None and before > tall + 12 * s:
            drop = min(before - tall, 60 * s)
            scene.shadow(
                [
                    (x, QUAY - tall - 10 * s),
                    (x + 0.55 * drop, QUAY - tall + 0.7 * drop),
                    (x + 0.55 * drop, QUAY),
                    (x, QUAY),
                ],
                0.60,
                1.5 * s,
            )
        before = tall
        x += wide


def draw_tower(scene, x, top):
    s, wall = SCALE, (206, 192, 168)
    scene.box(x - 24 * s, top, x + 24 * s, QUAY, wall, 124)
    scene.box(x + 8 * s, top, x + 24 * s, QUAY, wall, 92)
    scene.box(x - 28 * s, top - 3 * s, x + 28 * s, top + 3 * s, (222, 212, 192))
    scene.polygon([(x - 25 * s, top - 3 * s), (x, top - 62 * s), (x + 8 * s, top - 3 * s)], (118, 142, 132), 134)
    scene.polygon([(x + 25 * s, top - 3 * s), (x, top - 62 * s), (x + 8 * s, top - 3 * s)], (118, 142, 132), 88)
    scene.line([(x, top - 60 * s), (x, top - 80 * s)], (70, 66, 60), 2 * s)
    scene.line([(x - 6 * s, top - 73 * s), (x + 6 * s, top - 73 * s)], (70, 66, 60), 2 * s)
    for shift in (-10, 6):
        box = [x + shift * s - 5 * s, top + 14 * s, x + shift * s + 5 * s, top + 48 * s]
        scene.paint.rounded_rectangle(box, 5 * s, (52, 52, 58))
    scene.paint.ellipse([x - 9 * s, top + 56 * s, x + 9 * s, top + 74 * s], (232, 226, 208), (90, 80, 66), s)
    scene.paint.line([(x, top + 65 * s), (x, top + 59 * s)], (40, 36, 34), s)
    scene.paint.line([(x, top + 65 * s), (x + 4 * s, top + 67 * s)], (40, 36, 34), s)


def draw_quay(rng, scene):
    """Draw the quay: blocks of stone, darker and green towards the water, with rings, ladders and people."""
    s = SCALE
    scene.box(0, QUAY - 3 * s, COLUMNS, QUAY + 4 * s, (190, 180, 164), 140)
    scene.box(0, QUAY + 4 * s, COLUMNS, WATER + 2 * s, (138, 128, 114), 96)
    for y in np.arange(QUAY + 4 * s, WATER, 9 * s):
        x = -rng.uniform(0, 30) * s
        while x < COLUMNS:
            wide = rng.uniform(18, 42) * s
            wet = smoothstep(WATER - 16 * s, WATER, y + 9 * s)
            tone = np.array((146, 136, 122)) * rng.uniform(0.78, 1.12) * (1 - 0.5 * wet) + np.array((-6, 8, -6)) * wet
            scene.box(x + 0.6 * s, y + 0.6 * s, x + wide - 0.6 * s, y + 8.2 * s, shaded(tone, 1), 96)
            x += wide
    for _ in range(34):  # people, a few pixels of them
        x, tall = rng.uniform(0, COLUMNS), rng.uniform(17, 21) * s
        cloth = [(60, 70, 92), (168, 60, 52), (206, 198, 184), (52, 54, 58), (196, 150, 78), (88, 112, 120)]
        top, legs = cloth[rng.integers(6)], cloth[rng.integers(6)]
        scene.box(x - 2.4 * s, QUAY - 0.52 * tall, x + 2.4 * s, QUAY - s, shaded(legs, 0.7), 108)
        scene.polygon(
            [
                (x - 3.6 * s, QUAY - 0.84 * tall),
                (x + 3.6 * s, QUAY - 0.84 * tall),
                (x + 2.8 * s, QUAY - 0.46 * tall),
                (x - 2.8 * s, QUAY - 0.46 * tall),
            ],
            top,
        )
        scene.paint.ellipse([x - 2 * s, QUAY - tall, x + 2 * s, QUAY - 0.82 * tall], (178, 130, 102))
        scene.shadow(
            [(x, QUAY - s), (x + 12 * s, QUAY + s), (x + 12 * s, QUAY + 3 * s), (x, QUAY + 2 * s)], 0.65, 0.6 * s
        )


def draw_sail(scene, head, clew, tack, colour, light, towards):
    """Draw a sail between three corners, with a curved outer edge and light from `light` at the mast to `towards`."""
    head, clew, tack = map(np.array, (head, clew, tack))
    belly = (head + clew) / 2 + (0.15 * (clew - tack)[0], 0)
    t = np.linspace(0, 1, 14)[:, None]
    edge = head * (1 - t) ** 2 + 2 * t * (1 - t) * belly + clew * t**2
    for share in np.linspace(0, 1, 40)[:-1]:
        near, far = (tack * (1 - u) + edge * u for u in (share, share + 1 / 39))
        shade = light + (towards - light) * share + 5 * np.sin(40 * share)
        scene.polygon([head, *near, *far[::-1]], colour, shade)


def draw_boat(scene, x, y, length, hull, mast, sail=None):
    """Draw a moored wooden boat from the side: hull, cabin, mast and rigging. y is its water line."""
    rng, s = scene.rng, length / 120
    bow, stern = x + 0.52 * length, x - 0.48 * length
    deck = [(stern, y - 15 * s), (x - 20 * s, y - 12 * s), (x + 25 * s, y - 14 * s), (bow, y - 25 * s)]
    scene.polygon([*deck, (bow - 12 * s, y + 2 * s), (stern + 6 * s, y + 2 * s)], hull, 120)
    scene.polygon(
        [(stern + 2 * s, y - 6 * s), (bow - 8 * s, y - 9 * s), (bow - 12 * s, y + 2 * s), (stern + 6 * s, y + 2 * s)],
        shaded(hull, 0.62),
        104,
    )
    scene.line(deck, (232, 226, 210), 2.4 * s, 140)
    scene.line([(stern + 3 * s, y - 1 * s), (bow - 11 * s, y - 1 * s)], (120, 40, 34), 3 * s, 104)
    cabin = x - 30 * s
    scene.box(cabin, y - 34 * s, cabin + 34 * s, y - 13 * s, (224, 218, 202))
    scene.box(cabin + 24 * s, y - 34 * s, cabin + 34 * s, y - 13 * s, (224, 218, 202), 88)
    scene.box(cabin - 2 * s, y - 37 * s, cabin + 37 * s, y - 33 * s, shaded(hull, 1.15), 138)
    for k in (4, 14):
        scene.box(cabin + k * s, y - 29 * s, cabin + (k + 7) * s, y - 21 * s, (48, 62, 76), 110)
    top = y - mast
    foot = x + 14 * s
    scene.box(foot - 1.6 * s, top, foot + 1.6 * s, y - 13 * s, (150, 112, 72), 124)
    for end in ((stern + 3 * s, y - 16 * s), (bow - 2 * s, y - 25 * s), (x - 24 * s, y - 34 * s)):
        scene.line([(foot, top + 4 * s), end], (70, 62, 56), max(2, 0.8 * s))
    if sail is None:  # furled on its boom
        scene.polygon(
            [(foot, y - 44 * s), (foot - 62 * s, y - 40 * s), (foot - 62 * s, y - 36 * s), (foot, y - 34 * s)],
            (214, 202, 178),
            118,
        )
    else:
        draw_sail(
            scene, (foot + 3 * s, top + 8 * s), (bow - 4 * s, y - 28 * s), (foot + 6 * s, y - 30 * s), sail, 150, 112
        )
        draw_sail(
            scene, (foot - 3 * s, top + 6 * s), (foot - 64 * s, y - 38 * s), (foot - 3 * s, y - 36 * s), sail, 96, 146
        )
    for at in rng.uniform(stern + 12 * s, bow - 20 * s, 3):  # fenders
        scene.paint.ellipse([at - 3 * s, y - 11 * s, at + 3 * s, y - 2 * s], (226, 220, 204))


def developed(rng, scene):
    """Return colour times light, with stains, plaster and grain; shadows are blue, light is warm."""
    colour = np.asarray(scene.colour, np.float32) / 255
    light = np.asarray(scene.light.filter(ImageFilter.GaussianBlur(0.5 * SCALE)), np.float32) / 128
    stands = np.asarray(scene.solid, np.float32)[..., None] / 255
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32) / SCALE
    plaster, rough = fractal_noise(rng, 1024, 1.2, low=5), fractal_noise(rng, 1024, 0.5, low=40)
    stain = sample(plaster, x * 1.1, y * 0.45)
    texture = 1 + 0.055 * stain + 0.050 * sample(rough, 1.7 * x, 1.7 * y) + 0.03 * sample(plaster, 4 * x, 4 * y)
    lit = np.clip(light, 0, 1.3)[..., None]
    tint = mix((0.50, 0.62, 0.90), (1.06, 1.01, 0.93), np.clip(light, 0, 1))
    return np.where(stands > 0.5, colour * texture[..., None] * (0.25 + 0.75 * lit) * tint, colour)


def fill_harbour(rng, picture):
    """Paint the reflection of the quay and everything above it, with waves that grow towards the viewer."""
    y, x = np.mgrid[WATER:ROWS, 0:COLUMNS].astype(np.float32)
    near = np.clip((y - WATER) / (ROWS - WATER), 0.004, 1)
    swell, chop = fractal_noise(rng, 1024, 1.5, low=4), fractal_noise(rng, 1024, 1.0, low=16)
    depth = 1 / (near + 0.10)
    across = (x - COLUMNS / 2) * depth / SCALE
    wave = sample(swell, across * 0.20, 260 * depth) + 0.55 * sample(chop, across * 0.34 + 300, 420 * depth)
    rise = wave * (2 + 30 * near) * SCALE
    mirror = sample(picture, np.clip(x + 0.25 * rise, 0, COLUMNS - 1), np.clip(2 * WATER - y + rise, 0, WATER - 1))
    tilt = (
        wave - sample(swell, across * 0.20, 260 * depth + 3) - 0.55 * sample(chop, across * 0.34 + 300, 420 * depth + 5)
    )
    deep = mix((0.05, 0.17, 0.19), (0.08, 0.25, 0.27), np.clip(0.5 + 0.3 * wave, 0, 1))
    share = np.clip(0.80 - 0.30 * near + 0.10 * tilt, 0.15, 0.95)
    water = mix(deep, mirror * (0.93, 0.97, 0.98), share)
    water = mix(water, (0.62, 0.76, 0.86), 0.30 * smoothstep(0.7, 1.8, tilt + 0.4 * wave) * smoothstep(0.0, 0.25, near))
    glint = smoothstep(2.0, 2.9, tilt + wave) * near
    picture[WATER:] = np.clip(water + 0.28 * glint[..., None], 0, 1)
    return picture


def paint_harbour(rng):
    scene, s = Scene(rng, paint_sky(rng)), SCALE
    paint_hill(rng, scene)
    draw_town(rng, scene)
    draw_quay(rng, scene)
    for x, length, mast in ((120, 105, 118), (300, 88, 100), (565, 120, 150), (700, 80, 92), (930, 112, 132)):
        draw_boat(scene, x * s, WATER + rng.uniform(0, 5) * s, length * s, HULLS[rng.integers(len(HULLS))], mast * s)
    picture = fill_harbour(rng, developed(rng, scene))
    # Two boats nearer to the viewer, each with a separate reflection.
    for x, y, length, mast, hull, sail in ((265, 652, 200, 235, 1, (222, 150, 84)), (812, 622, 150, 165, 0, None)):
        picture = float_boat(rng, picture, x * s, y * s, length * s, mast * s, HULLS[hull], sail)
    image = Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255 + 0.5)).resize((WIDTH, HEIGHT), Image.LANCZOS)
    return np.asarray(image, np.float32) / 255 + rng.normal(0, 0.010, (HEIGHT, WIDTH, 1))


def float_boat(rng, picture, x, y, length, mast, hull, sail):
    boat = Scene(rng, picture)
    draw_boat(boat, x, y, length, hull, mast, sail)
    shown = developed(rng, boat)
    stands = np.asarray(boat.solid, np.float32) / 255
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
    chop, near = fractal_noise(rng, 1024, 1.2, low=8), (rows - WATER) / (ROWS - WATER)
    wave = sample(chop, (columns - COLUMNS / 2) * 0.16, 300 / (near.clip(0) + 0.10)) * (rows - y).clip(0) ** 0.5 * SCALE
    above = np.clip(2 * y - rows + 1.2 * wave, 0, ROWS - 1)
    beside = np.clip(columns + 0.7 * wave, 0, COLUMNS - 1)
    mirrored = sample(shown, beside, above) * 0.72 + np.array((0.02, 0.06, 0.07))
    cover = sample(stands, beside, above) * (rows > y) * smoothstep(y + 1.0 * mast, y, rows) * 0.85
    return np.where(stands[..., None] > 0.5, shown, mix(picture, mirrored, cover))
