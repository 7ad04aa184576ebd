"""Paint a bay by moonlight in thick paint: wide brush strokes along a flow. Used by scripts/dev/paint_gallery.py."""

import numpy as np
from paint_pictures import blur, fractal_noise, mix, overlap, sample, smoothstep

WIDTH, HEIGHT = 1024, 820
MOON = np.array([702.0, 190.0])
SHORE, MEADOW = 470, 640  # the rows where the water and the meadow begin
EDDIES = [(265, 285, 150, 1.0), (455, 120, 110, -1.0), (930, 350, 120, -1.0)]  # x, y, reach and turn


class Canvas:
    """A canvas: the colour and the thickness of the paint."""

    def __init__(self, rng, ground):
        self.rng, self.tile = rng, fractal_noise(rng, 512, 0.55, low=6)
        self.colour = np.full((HEIGHT, WIDTH, 3), ground, np.float32)
        self.relief = 0.4 * fractal_noise(rng, 1024, 0.9, low=20)[:HEIGHT, :WIDTH]

    def stroke(self, x, y, angle, bend, length, width, colour, second, load=1.0):
        """Draw a stroke along an arc of `bend` radians per pixel centred at (x, y), in two partly mixed colours."""
        rng, bend = self.rng, bend if abs(bend) > 1e-4 else 1e-4
        half = int(0.5 * length + width) + 2
        j, i = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
        spot, part = overlap(self.colour, i, int(x) - half, int(y) - half)
        i, j = i[part], j[part]
        if not i.size:
            return
        ahead, aside = i * np.cos(angle) + j * np.sin(angle), j * np.cos(angle) - i * np.sin(angle)
        around = np.hypot(ahead, aside - 1 / bend)  # the distance to the centre of the circle of the arc
        v = (1 / abs(bend) - around) * 2 / width
        u = np.arctan2(ahead * abs(bend), 1 - aside * bend) / abs(bend) * 2 / length
        a, b, lines = *rng.uniform(0, 500, 2), 0.30 * width
        hair = sample(self.tile, v * lines + a, u * 0.012 * length + b)
        slow = sample(self.tile, v * 2.2 + b, u * 1.0 + a)
        lift = 0.78 + 0.20 * sample(self.tile, v * 0.6 * lines + b, v * 0 + a).clip(-1.5, 1)
        start = -0.94 + 0.05 * sample(self.tile, v * 0.5 * lines + a, v * 0 + b)
        cover = smoothstep(1.0, 0.86, np.abs(v) + 0.05 * sample(self.tile, u * 0.05 * length, np.sign(v) * 40 + b))
        cover = cover * smoothstep(lift + 0.05, lift - 0.05, u) * smoothstep(start - 0.04, start + 0.04, u)
        dry = smoothstep(-0.2, 1.0, u) * smoothstep(-0.1, -1.2, hair)  # less paint towards the end of the stroke
        cover = cover * (1 - 0.95 * dry)
        ridge = 0.62 + 0.42 * hair + 0.55 * smoothstep(0.66, 0.92, np.abs(v)) + 0.75 * smoothstep(lift - 0.2, lift, u)
        share = np.clip(0.28 + 0.30 * slow + 0.20 * hair, 0, 1)
        paint = mix(colour, second, share) * (1 + 0.05 * hair)[..., None]
        self.colour[spot] = mix(self.colour[spot], paint, 0.97 * cover)
        self.relief[spot] = mix(self.relief[spot][..., None], (ridge * load * width**0.5)[..., None], 0.9 * cover)[
            ..., 0
        ]

    def lit(self):
        """Return the picture, with the relief of the paint lit from the upper left."""
        gy, gx = np.gradient(blur(self.relief, 0.6))
        slope = np.clip(0.62 * gx + 0.78 * gy, -1.8, 1.8)[..., None]
        shine = 0.20 * np.clip(slope - 0.55, 0, 1.2) ** 1.5
        return np.clip(self.colour, 0, 1) * (1 + 0.24 * slope) + shine


def flow_of_the_sky(x, y, drift):
    """Return the directions of strokes in the sky: around the moon and the eddies, and along the wind elsewhere."""
    across, down = 1.0 + 0 * x, 0.40 * np.sin(x / 130 + 0.7) + 0.25 * drift
    for middle_x, middle_y, reach, turn in ((*MOON, 190, 1.0), *EDDIES):
        u, v = x - middle_x, y - middle_y
        away = np.hypot(u, v) + 1
        pull = 3.5 * np.exp(-((away / reach) ** 2))
        across, down = across - turn * pull * v / away, down + turn * pull * u / away
    return np.arctan2(down, across)


def sketch(rng):
    """Return the colour, the second colour, and the direction of the strokes at each pixel."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    soft = fractal_noise(rng, 1024, 2.0, low=2)[:HEIGHT, :WIDTH]
    fine = fractal_noise(rng, 1024, 1.3, low=6)[:HEIGHT, :WIDTH]
    angle = flow_of_the_sky(x, y, soft)

    away = np.hypot(x - MOON[0], y - MOON[1])
    colour = mix((0.05, 0.09, 0.30), (0.12, 0.32, 0.62), np.clip(y / SHORE + 0.3 * soft, 0, 1))
    colour = mix(colour, (0.13, 0.58, 0.66), 0.85 * smoothstep(0.2, 1.3, fine + 0.5 * y / SHORE))
    # Clouds in bands along the wind, curled in the eddies.
    stream = y + 52 * np.cos(x / 130 + 0.7) + 22 * soft
    for middle_x, middle_y, reach, turn in EDDIES:
        u, v = x - middle_x, y - middle_y
        near = np.exp(-((np.hypot(u, v) / reach) ** 2))
        stream = stream + near * (turn * 26 * np.arctan2(v, u) * smoothstep(0, 0.3, np.hypot(u, v) / reach))
    band = np.sin(stream / 17) + 0.4 * np.sin(stream / 7.3 + 2) + 0.35 * fine
    cloud = mix((0.20, 0.62, 0.70), (0.86, 0.93, 0.86), smoothstep(0.5, 1.5, band))
    colour = mix(
        colour, cloud, 0.92 * smoothstep(0.25, 0.9, band) * smoothstep(-0.7, 0.9, soft + 0.25 * np.sin(x / 150))
    )
    colour = mix(colour, (0.36, 0.16, 0.50), 0.7 * smoothstep(0.6, 1.3, -band) * smoothstep(150, 430, y))
    rings = 0.5 + 0.5 * np.cos(away / 15)
    halo = mix((0.10, 0.50, 0.64), (0.96, 0.84, 0.36), rings * np.exp(-away / 210))
    colour = mix(colour, halo, np.clip(1.25 * np.exp(-((away / 170) ** 2)), 0, 1))
    colour = mix(colour, (0.99, 0.80, 0.14), smoothstep(66, 60, away))
    colour = mix(colour, (1.0, 0.94, 0.55), smoothstep(44, 36, np.hypot(x - MOON[0] + 10, y - MOON[1] + 8)))

    # Hills in crimson and violet, their strokes along the slopes.
    for base, rise, wide, dark, light in (
        (432, 70, 0.0052, (0.20, 0.12, 0.42), (0.46, 0.26, 0.62)),
        (462, 92, 0.0081, (0.36, 0.05, 0.22), (0.80, 0.16, 0.26)),
    ):
        bend = np.sin(x * wide + base) + 0.45 * np.sin(x * wide * 2.7 + 1.3 * base)
        top, slope = base - rise * (0.5 + 0.5 * bend), -0.5 * rise * wide * np.cos(x * wide + base) * 1.0
        on = smoothstep(-2, 3, y - top) * (y < SHORE + 4)
        lit = np.clip(0.5 + 1.6 * slope * np.sign(x - MOON[0]) + 0.35 * fine - (y - top) / 220, 0, 1)
        colour = mix(colour, mix(dark, light, lit), on)
        angle = np.where(on > 0.5, np.arctan(slope * 1.6) + 0.25 * fine.clip(-1, 1), angle)

    # Water: horizontal strokes with the colours of the sky and the reflection of the moon.
    on, deep = y >= SHORE, np.clip((y - SHORE) / (MEADOW - SHORE), 0, 1)
    wave = np.sin(y / (3.5 + 9 * deep) + 2.2 * soft + x / 210)
    water = mix((0.04, 0.12, 0.36), (0.10, 0.46, 0.60), np.clip(0.45 + 0.4 * wave + 0.25 * fine, 0, 1))
    water = mix(water, (0.62, 0.12, 0.28), 0.75 * np.exp(-deep * 7) * smoothstep(-0.3, 0.6, wave + fine))
    path = np.exp(-(((x - MOON[0] - 14 * wave) / (38 + 70 * deep)) ** 2)) * smoothstep(-0.75, 0.1, wave)
    colour = np.where(on[..., None], mix(water, (0.99, 0.82, 0.28), np.clip(1.15 * path, 0, 1)), colour)
    angle = np.where(on, 0.10 * wave + 0.06 * soft, angle)

    # The strokes of the meadow fan out from the foot of the reflection.
    bank = MEADOW + 34 * np.sin(x / 170 + 2.0) + 12 * np.sin(x / 61)
    on, deep = y >= bank, np.clip((y - bank) / (HEIGHT - MEADOW), 0, 1)
    meadow = mix((0.03, 0.20, 0.22), (0.16, 0.42, 0.24), np.clip(0.5 + 0.4 * fine + 0.2 * soft, 0, 1))
    meadow = mix(
        meadow, (0.80, 0.72, 0.16), 0.7 * smoothstep(0.4, 1.4, -fine + 0.4 * np.exp(-(((x - MOON[0]) / 240) ** 2)))
    )
    meadow = mix(meadow, (0.05, 0.07, 0.24), 0.7 * smoothstep(0.5, 1.6, soft))
    colour = np.where(on[..., None], meadow, colour)
    angle = np.where(on, np.arctan2(-1.0, (x - 560) / 420 + 0.35 * soft), angle)
    second = mix(colour * 0.55, (0.98, 0.95, 0.80), 0.22 + 0.14 * np.clip(soft, -1, 1))
    return colour.astype(np.float32), second, angle, bank


def bends(angle):
    """Return the curvature of the direction field, in radians per pixel."""
    sine, cosine = np.sin(angle), np.cos(angle)
    sy, sx = np.gradient(blur(sine, 3))
    cy, cx = np.gradient(blur(cosine, 3))
    return np.clip(cosine * (cosine * sx + sine * sy) - sine * (cosine * cx + sine * cy), -0.03, 0.03)


def cover(canvas, colour, second, angle, bend, length, width, spacing, where=None):
    """Paint a layer of strokes over the canvas, or over `where`, on a jittered grid in random order."""
    rng = canvas.rng
    y, x = np.mgrid[0:HEIGHT:spacing, 0:WIDTH:spacing].reshape(2, -1)
    x = np.clip(x + rng.integers(-spacing, spacing + 1, x.size), 0, WIDTH - 1)
    y = np.clip(y + rng.integers(-spacing, spacing + 1, y.size), 0, HEIGHT - 1)
    for k in rng.permutation(x.size):
        j, i = y[k], x[k]
        if where is not None and not where[j, i]:
            continue
        arc = bend[j, i]
        longest = min(length, 2.4 / (abs(arc) + 1e-6)) * rng.uniform(0.7, 1.15)
        tone = colour[j, i] * rng.normal(1, 0.09) + rng.normal(0, 0.022, 3)
        other = second[j, i] * rng.normal(1, 0.10) + rng.normal(0, 0.03, 3)
        turn = angle[j, i] + rng.normal(0, 0.08)
        canvas.stroke(
            i, j, turn, arc, longest, width * rng.uniform(0.8, 1.15), np.clip(tone, 0, 1), np.clip(other, 0, 1)
        )


def paint_bay(rng):
    colour, second, angle, bank = sketch(rng)
    bend, canvas = bends(angle), Canvas(rng, (0.10, 0.10, 0.22))
    busy = np.abs(colour - np.dstack([blur(colour[..., c], 14) for c in range(3)])).max(axis=2) > 0.10
    cover(canvas, colour, second, angle, bend, 190, 42, 30)
    cover(canvas, colour, second, angle, bend, 130, 27, 19)
    cover(canvas, colour, second, angle, bend, 70, 15, 11, busy)
    # Flowers in the meadow: short thick strokes, larger towards the viewer.
    near = np.sort(rng.random(620)) ** 1.3
    x, drifts = rng.uniform(0, WIDTH, near.size), fractal_noise(rng, 512, 1.6, low=3)
    for k in range(near.size):
        y = bank[0, int(x[k])] + 12 + (HEIGHT - bank[0, int(x[k])]) * near[k]
        tone = np.array([(0.86, 0.08, 0.14), (0.96, 0.26, 0.18), (0.99, 0.80, 0.16), (0.93, 0.90, 0.82)])[
            rng.choice(4, p=(0.48, 0.26, 0.18, 0.08))
        ]
        size = 9 + 16 * near[k]
        if sample(drifts, np.array([x[k] * 0.5]), np.array([y * 1.2]))[0] < rng.normal(0.0, 0.4):
            continue
        for _ in range(3):
            turn = rng.uniform(0, 2 * np.pi)
            spot = x[k] + 0.35 * size * np.cos(turn), y + 0.3 * size * np.sin(turn)
            canvas.stroke(
                *spot, turn, 0.04, size * 1.5, size * 0.62, tone * rng.uniform(0.75, 1.05), tone * 0.55, load=1.5
            )
    return canvas.lit()
