"""Paint the two demonstration pictures, a mountain landscape and an oil painting of oaks, from a seed."""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1500, 1000


def fractal_noise(rng, size, beta, low=1.0):
    """Return periodic noise whose amplitude falls as frequency ** -beta above `low` cycles."""
    freq = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    gain = np.where(freq >= low, np.maximum(freq, 1.0) ** -beta, 0.0)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * gain, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def sample(grid, x, y):
    """Look up a grid bilinearly at cell coordinates, repeating it beyond its edges."""
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    if grid.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    rows, cols = grid.shape[:2]
    x0, x1, y0, y1 = x0 % cols, (x0 + 1) % cols, y0 % rows, (y0 + 1) % rows
    return (grid[y0, x0] * (1 - fx) + grid[y0, x1] * fx) * (1 - fy) + (grid[y1, x0] * (1 - fx) + grid[y1, x1] * fx) * fy


def smoothstep(low, high, x):
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def mix(a, b, t):
    """Blend colours: `t` is a plane of weights, `a` and `b` are pictures or single colours."""
    t = np.asarray(t, np.float32)[..., None]
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def blur(plane, radius):
    fy, fx = np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1])[None, :]
    gain = np.exp(-2 * (np.pi * radius) ** 2 * (fx**2 + fy**2))
    return np.fft.irfft2(np.fft.rfft2(plane) * gain, s=plane.shape).astype(np.float32)


def overlap(canvas, patch, x, y):
    """Return where a patch laid at (x, y) meets the canvas, as slices of the canvas and of the patch."""
    x0, y0 = max(x, 0), max(y, 0)
    x1 = max(x0, min(x + patch.shape[1], canvas.shape[1]))
    y1 = max(y0, min(y + patch.shape[0], canvas.shape[0]))
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def save_jpeg(pixels, path):
    """Write a JPEG atomically: into a temporary file that is renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    picture = Image.fromarray(np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8))
    picture = picture.resize((WIDTH, HEIGHT), Image.LANCZOS)
    picture.save(partial, "JPEG", quality=88, optimize=True, progressive=True)
    os.replace(partial, path)


# --- The mountains: a height field seen in perspective ------------------------------------------
# World units are kilometres, x to the right and z away from the viewer; colours are linear light.

SCALE = 1.5  # painted larger than saved, for smooth thin shapes
ROWS, COLS = int(HEIGHT * SCALE), int(WIDTH * SCALE)
FOCAL, HORIZON, EYE = 1190 * SCALE, 640 * SCALE, 0.030
CELLS, EXTENT = 1400, 11.0
CELL = EXTENT / CELLS
SUN = np.array([-0.78, 0.46, -0.50])  # the direction towards the sun: x, up, z
HAZE = (0.44, 0.57, 0.76)
PEAKS = [  # x, z, height, radius
    (0.45, 6.0, 2.30, 3.1),
    (-1.1, 6.5, 1.65, 2.2),
    (2.3, 6.4, 1.55, 2.4),
    (-3.4, 7.6, 1.95, 2.8),
    (4.4, 8.6, 2.1, 3.0),
    (-1.9, 9.6, 2.0, 2.6),
    (2.5, 9.9, 2.2, 2.8),
    (-2.9, 3.6, 0.75, 1.9),
    (2.9, 3.3, 0.70, 1.9),
    (-0.4, 4.0, 0.33, 1.3),
]
NEAR_TREES = [  # x and foot as shares of the picture, height likewise
    (0.975, 0.96, 0.62),
    (0.90, 0.93, 0.40),
    (0.945, 0.99, 0.47),
    (0.855, 0.925, 0.24),
    (0.03, 0.975, 0.36),
    (0.075, 0.96, 0.22),
]


def ridged(tile, x, y, octaves):
    """Return ridged noise: folded octaves, each weighted by the coarser ones."""
    total, weight = 0.0, 1.0
    for octave in range(octaves):
        crest = np.clip(1 - np.abs(sample(tile, x + 97.3 * octave, y + 41.7 * octave)), 0, 1) ** 2
        total = total + crest * weight * 0.5**octave
        weight, x, y = np.clip(crest * 1.6, 0, 1), x * 2.03, y * 2.03
    return total


def settle(height, steepest, rounds):
    """Apply thermal erosion: move material from slopes above `steepest` to the cells below."""
    for _ in range(rounds):
        for axis in (0, 1):
            fall = np.diff(height, axis=axis, append=height.take([-1], axis)) / CELL
            slide = 0.24 * CELL * (fall - np.clip(fall, -steepest, steepest))
            height = height + slide - np.roll(slide, 1, axis)
    return height


def build_terrain(rng):
    """Return the height field in kilometres; below 0 is the lake."""
    smooth, folds = fractal_noise(rng, 512, 2.2), fractal_noise(rng, 512, 4.0, low=10)
    z, x = np.mgrid[0:CELLS, 0:CELLS].astype(np.float32) * CELL
    x = x - EXTENT / 2
    warp_x, warp_z = 0.22 * sample(smooth, x * 40, z * 40), 0.22 * sample(smooth, x * 40 + 200, z * 40)
    base = np.full_like(x, -0.05)
    for px, pz, top, radius in PEAKS:
        away = np.hypot(x + warp_x - px, z + warp_z - pz) / radius
        base = np.maximum(base, top * np.clip(1 - away, 0, 1) ** 1.15 - 0.05)
    crags = ridged(folds, x * 28 + 230, z * 28 + 311, 7) - 0.55
    height = base + crags * (0.08 + 0.50 * base.clip(0) ** 0.8) * smoothstep(-0.05, 0.5, base)
    # The shore comes nearer towards the sides only, so that no water is hidden behind land.
    shore = 1.75 - 0.85 * smoothstep(-0.12, -0.6, x) - 0.45 * smoothstep(0.35, 1.0, x)
    shore = shore + 0.05 * sample(smooth, x * 60 + 90, x * 0)
    height = height * smoothstep(0, 1.4, z - shore) + 0.10 * (z - shore).clip(-0.5, 1.2)
    buttresses = ridged(folds, x * 130 + 9 * warp_x, z * 130 + 9 * warp_z, 6) - 0.5
    height = settle(height, 0.95, 50) + 0.17 * smoothstep(0.1, 1.3, base) * buttresses
    edges = ridged(folds, x * 420, z * 420, 4) - 0.5
    return (settle(height, 1.35, 14) + 0.055 * smoothstep(0.3, 1.4, base) * edges).astype(np.float32)


def cast_rays(height):
    """Return the world position that each pixel shows, column by column; z is infinite for the sky."""
    depth = np.geomspace(0.4, EXTENT - 0.1, 1500)[:, None]
    slant = ((np.arange(COLS) - COLS / 2) / FOCAL)[None, :]
    ground = sample(height, (slant * depth + EXTENT / 2) / CELL, depth / CELL + slant * 0)
    rise = FOCAL * (np.maximum(ground, 0) - EYE) / depth
    skyline = np.maximum.accumulate(rise, axis=0)
    wanted = HORIZON - np.arange(ROWS) - 0.5
    z = np.full((ROWS, COLS), np.inf)
    for col in range(COLS):
        hit = np.searchsorted(skyline[:, col], wanted)
        seen = (hit < len(depth)) & (hit > 0)
        k = hit[seen]
        before, after = rise[k - 1, col], rise[k, col]
        part = np.clip((wanted[seen] - before) / np.maximum(after - before, 1e-6), 0, 1)
        z[seen, col] = depth[k - 1, 0] + part * (depth[k, 0] - depth[k - 1, 0])
    return slant * np.minimum(z, EXTENT), z


def light_terrain(height):
    """Return a map of the normal (x, up, z), the sunlight and the ambient occlusion."""
    gz, gx = np.gradient(height, CELL)
    normal = np.stack([-gx, np.ones_like(gx), -gz], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    # The sun is on the left, so a running maximum along each row gives the shadows.
    sunlit, across = 0.0, np.arange(CELLS, dtype=np.float32) * CELL
    for slope in (0.38, 0.43, 0.48, 0.53):
        line = height + across * slope
        sunlit = sunlit + 0.25 * (np.maximum.accumulate(line, axis=1) - line < 0.02)
    openness = 0.5 + 2.2 * (height - blur(height, 6)) + 0.7 * (height - blur(height, 30))
    return np.dstack([normal, sunlit, np.clip(openness, 0.1, 1.0)]).astype(np.float32)


def veil_at(distance):
    """Return the share of haze at a distance: low on the near shore, so that the forest is dark against the peaks."""
    return 0.60 * (1 - np.exp(-(np.clip((distance - 1.0) / 8.0, 0, None) ** 2)))


def paint_sky(rng):
    """Paint a deep blue zenith, a pale horizon and soft clouds, lit from the side of the sun."""
    y, x = np.mgrid[0:ROWS, 0:COLS].astype(np.float32)
    up = np.clip((HORIZON - y) / HORIZON, 0, 1)
    tile = fractal_noise(rng, 1024, 1.75, low=2)
    u, v = (2 * x / COLS - 1) * 150 / (up + 0.35) + 330, 480 / (up + 0.35)
    density = sample(tile, u, v)
    lit = np.clip(0.72 + 0.55 * (density - sample(tile, u - 9, v + 7)), 0.35, 1.1)
    cloud = mix((0.42, 0.49, 0.62), (0.98, 0.95, 0.90), lit)
    cover = smoothstep(-0.1, 1.5, density) * smoothstep(0.02, 0.3, up)
    return mix(mix((0.62, 0.72, 0.82), (0.075, 0.20, 0.47), up**0.75), cloud, 0.92 * cover)


def paint_slopes(rng, picture, height, x, z):
    """Paint rock, snow, turf and forest floor over the sky; return where trees grow and how they are lit."""
    seen = np.isfinite(z)
    x, z = x[seen], z[seen]
    at = (x + EXTENT / 2) / CELL, z / CELL
    up, lit = sample(height, *at), sample(light_terrain(height), *at)
    grain, bump = fractal_noise(rng, 1024, 1.1), fractal_noise(rng, 1024, 1.5)
    fine = sample(grain, x * 420, z * 160 + up * 420)
    broad = sample(bump, x * 60 + 300, z * 60)
    rough = sample(bump, x * 260, z * 130 + up * 300)
    gully_at = x * 620 + z * 240 + 3 * rough, up * 230 + x * 40
    gully = sample(bump, *gully_at)
    tilt = 0.38 * (rough - sample(bump, x * 260 + 1.5, z * 130 + up * 300)) + 0.45 * (
        gully - sample(bump, gully_at[0] + 1.5, gully_at[1])
    )
    normal = lit[:, :3] + np.stack([tilt, 0 * tilt, 0.10 * fine], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    flat = normal[:, 1]

    strata = np.sin(up * 62 + x * 9 + 2.5 * rough)
    rock = mix((0.070, 0.066, 0.066), (0.215, 0.190, 0.163), np.clip(0.48 + 0.22 * rough + 0.08 * strata, 0, 1))
    rock = rock * ((1 + 0.20 * fine) * np.clip(1 + 0.24 * gully, 0.4, 2))[:, None]
    turf = mix((0.075, 0.095, 0.030), (0.160, 0.140, 0.055), np.clip(0.5 + 0.3 * broad + 0.2 * fine, 0, 1))
    forest = mix((0.007, 0.014, 0.008), (0.020, 0.032, 0.013), np.clip(0.5 + 0.4 * fine, 0, 1))
    turf_at = smoothstep(0.55, 0.75, flat + 0.05 * rough) * smoothstep(1.15, 0.7, up + 0.1 * broad)
    clearing = smoothstep(1.0, 1.7, sample(bump, x * 90, z * 45 + 500)) * (z > 1.9)
    forest_at = smoothstep(0.58, 0.44, up + 0.09 * broad + 0.25 * (0.7 - flat)) * (1 - 0.8 * clearing)
    # Snow lies high up, on ledges and in hollows, but not on steep slopes.
    hold = 0.34 * (up - 0.95 - 0.10 * broad) + 0.8 * (flat - 0.50) - 0.35 * (lit[:, 4] - 0.5) + 0.06 * rough
    snow_at = smoothstep(-0.13, 0.16, hold + 0.03 * fine) * smoothstep(0.62, 1.0, up + 0.08 * rough)
    colour = mix(mix(mix(rock, turf, turf_at), forest, forest_at), (0.72, 0.74, 0.78), snow_at)

    sun = np.clip(normal @ (SUN / np.linalg.norm(SUN)), 0, 1) * lit[:, 3]
    light = sun[:, None] * (3.5, 3.1, 2.6) + lit[:, 4:] * (0.36, 0.49, 0.72)
    picture[seen] = mix(colour * light, HAZE, veil_at(z))
    growth, glow = np.zeros((2,) + seen.shape, np.float32)
    growth[seen], glow[seen] = forest_at * (up > 0.004), 0.35 + 0.65 * lit[:, 3]
    land = np.zeros(seen.shape, bool)
    land[seen] = up > 0
    return growth, glow, land


def draw_spruce(rng, size=800):
    """Draw one spruce twig by twig, dark on the right; return brightness with coverage as alpha."""
    image = Image.new("LA", (size // 2, size), (0, 0))
    draw = ImageDraw.Draw(image)
    middle, fullness = size / 4, rng.uniform(0.17, 0.22) * size
    draw.polygon([(middle, 0), (middle + size / 70, size), (middle - size / 70, size)], (40, 255))
    for down in np.sort(rng.uniform(0.004, 0.93, 400)) ** 0.9:
        side = rng.uniform(-1, 1)
        reach = fullness * (0.05 + down**0.85) * rng.uniform(0.65, 1.1) * side
        droop = (0.10 + 0.28 * down) * abs(reach) + 0.012 * size
        for along in np.linspace(0.1, 1, 5 + int(abs(reach) / 6)):
            x, y = middle + reach * along, down * size + droop * (along - 0.35 * along**3)
            glow = 95 - 75 * side * along + 60 * (along - 0.5) + rng.normal(0, 22)
            twig = size * (0.010 + 0.022 * down) * rng.uniform(0.6, 1.3)
            tip = x + rng.normal(0.25 * np.sign(side), 0.5) * twig, y + twig
            draw.line([(x, y), tip], (int(np.clip(glow, 8, 255)), 255), size // 170)
    return image


def plant_tree(rng, picture, stock, x, y, tall, light, veil):
    """Draw one spruce with its foot at (x, y); `stock` has the drawings and their reduced copies."""
    tall, kind = max(4, int(tall)), int(rng.integers(8))
    if kind not in stock:
        stock[kind] = draw_spruce(rng)
    if (kind, tall) not in stock:
        small = np.asarray(stock[kind].resize((max(3, tall // 2), tall), Image.LANCZOS), np.float32)
        stock[kind, tall] = (small[..., :1] / 115) ** 1.6, small[..., 1] / 255
    bright, cover = stock[kind, tall]
    spot, part = overlap(picture, cover, x - cover.shape[1] // 2, y - tall + 1)
    green = np.array([0.034, 0.056, 0.024]) * rng.uniform(0.55, 1.5) * (rng.uniform(0.8, 1.4), 1, 1)
    colour = mix(bright[part] * green * light + (0.004, 0.007, 0.010), HAZE, np.full((1, 1), veil))
    picture[spot] = mix(picture[spot], colour, cover[part])


def plant_forest(rng, picture, stock, growth, glow, z):
    """Draw trees from far to near; their feet are on pixels that show forest ground."""
    y, x = np.nonzero(rng.random(z.shape) < 0.030 * growth)
    for k in np.argsort(-z[y, x]):
        away = z[y[k], x[k]]
        plant_tree(
            rng,
            picture,
            stock,
            x[k],
            y[k],
            FOCAL * rng.uniform(0.014, 0.034) / away,
            1.75 * glow[y[k], x[k]],
            veil_at(away),
        )


def fill_lake(rng, picture, land):
    """Paint the reflection of the far shore in the water, with ripples that grow towards the viewer."""
    y, x = np.mgrid[0:ROWS, 0:COLS].astype(np.float32)
    shore = ROWS - np.argmax(land[::-1], axis=0)[None, :].astype(np.float32)
    near = np.clip((y - HORIZON) / (ROWS - HORIZON), 0.004, 1)
    swell, across = fractal_noise(rng, 1024, 1.3, low=6), x / near**0.6
    ripple = sample(swell, across * 0.05, 60 / near) + 0.5 * sample(swell, across * 0.13, 190 / near)
    mirror = sample(
        picture,
        np.clip(x + ripple * 5 * near, 0, COLS - 1),
        np.clip(shore - (y - shore) * 0.97 + ripple * (1 + 16 * near), 0, ROWS - 1),
    )
    water = mix((0.010, 0.060, 0.070), mirror, np.clip(0.92 - 0.40 * near + 0.05 * ripple, 0.1, 0.95))
    breeze = 0.22 * smoothstep(0.5, 1.8, sample(swell, x * 0.02 + 70, 14 / near))
    return np.where((y >= shore)[..., None], mix(water, (0.36, 0.47, 0.60), breeze), picture)


def grow_meadow(rng, picture):
    """Draw grass and flowers on the near bank, from back to front; return display colours."""
    image = Image.fromarray(np.clip(picture ** (1 / 2.2) * 255, 0, 255).astype(np.uint8))
    draw, patches = ImageDraw.Draw(image), fractal_noise(rng, 512, 1.6)
    petals = ((238, 232, 214), (226, 178, 48), (150, 92, 168), (214, 84, 92))
    for near in np.linspace(0, 1, 130):
        for x in rng.uniform(-20, COLS + 20, 330):
            bank = ROWS * (0.885 + 0.055 * np.sin(x / COLS * 3.6 + 0.7))
            y = bank + (ROWS * 1.06 - bank) * near**1.25 + rng.normal(0, 4)
            tone = float(sample(patches, np.float64(x * 0.06), np.float64(y * 0.2)))
            tall = (9 + 60 * near) * SCALE * rng.uniform(0.35, 1.0) * (1 + 0.2 * np.clip(tone, -2, 2))
            lean, glow = rng.normal(0.15, 0.35) * tall, rng.uniform(0.55, 1.25) * (0.75 + 0.35 * near)
            shade = tuple(int(np.clip(c * glow, 0, 255)) for c in (88 + 22 * tone, 104 + 8 * tone, 40))
            tip_x, tip_y = x + lean, y - tall
            draw.line([(x, y), (x + 0.3 * lean, y - 0.6 * tall), (tip_x, tip_y)], shade, int(1 + 2.2 * near))
            if rng.random() < 0.020 + 0.05 * (tone > 0.7):
                r = (1.0 + 5.5 * near) * rng.uniform(0.7, 1.2)
                petal = petals[int(abs(tone * 3 + rng.normal(0, 0.8))) % 4]
                draw.ellipse([tip_x - r, tip_y - 0.7 * r, tip_x + r, tip_y + 0.7 * r], petal)
                r *= 0.35
                draw.ellipse([tip_x - r, tip_y - 0.7 * r, tip_x + r, tip_y + 0.7 * r], (196, 140, 30))
    return np.asarray(image, np.float32) / 255


def paint_mountains(rng):
    height, stock = build_terrain(rng), {}
    x, z = cast_rays(height)
    picture = paint_sky(rng)
    growth, glow, land = paint_slopes(rng, picture, height, x, z)
    plant_forest(rng, picture, stock, growth, glow, z)
    picture = fill_lake(rng, picture, land)
    for x, y, tall in NEAR_TREES:
        plant_tree(rng, picture, stock, int(x * COLS), int(y * ROWS), tall * ROWS, light=1.0, veil=0)
    # A tone curve like that of film, so that sunlit snow is not clipped to white.
    return grow_meadow(rng, 1.1 * (picture / (1 + picture**2.5) ** 0.4) ** 1.15)


# --- The oaks: strokes of thick paint, laid from coarse to fine ---------------------------------
# Units are pixels of the saved picture; colours are as shown.

SUNSET = np.array([790.0, 500.0])
CROWNS = np.array(
    [  # colours from shadow to light
        [(0.26, 0.09, 0.22), (0.62, 0.13, 0.10), (0.90, 0.33, 0.09), (0.99, 0.62, 0.20)],
        [(0.33, 0.16, 0.24), (0.72, 0.36, 0.08), (0.96, 0.65, 0.11), (1.0, 0.87, 0.38)],
        [(0.30, 0.11, 0.25), (0.76, 0.24, 0.07), (0.96, 0.48, 0.08), (1.0, 0.76, 0.26)],
    ]
)
OAKS = [  # foot x, foot y, trunk width, crown colours, haze; far to near
    (640, 612, 13, 2, 0.55),
    (985, 616, 14, 1, 0.5),
    (560, 632, 19, 1, 0.4),
    (1060, 640, 22, 0, 0.35),
    (905, 650, 24, 2, 0.25),
    (440, 660, 30, 2, 0.2),
    (1180, 690, 40, 1, 0.12),
    (1330, 850, 92, 0, 0),
    (245, 890, 118, 1, 0),
]


def make_brush(rng, tile, length, width, angle):
    """Return the coverage, the relief and the streaks of one stroke, with a ragged end."""
    bend = rng.uniform(-0.16, 0.16)
    half = int(np.hypot(length, width + abs(bend) * length) / 2) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    u = (x * np.cos(angle) - y * np.sin(angle)) / (length / 2)
    v = (x * np.sin(angle) + y * np.cos(angle)) / (width / 2) + bend * (u * u - 0.4) * length / width
    a, b = rng.uniform(0, 500, 2)
    bristle = sample(tile, u * 0.03 * length + a, v * width * 0.34 + b)
    edge = sample(tile, u * 0.07 * length + b, np.sign(v) * 40)
    lift = 0.80 + 0.17 * sample(tile, v * 0 + a, v * width * 0.28 + b)
    # Short dabs are leaf-shaped, long strokes keep their width.
    belly = np.clip(1.02 - np.abs(u) ** (2.2 if length < 2.5 * width else 9), 1e-3, 1)
    cover = smoothstep(1.0, 0.80, np.abs(v) / belly + 0.10 * edge) * smoothstep(lift + 0.08, lift - 0.06, u)
    cover = cover * smoothstep(-1.0, -0.86, u - 0.10 * v * v)
    cover = cover * (1 - 0.9 * smoothstep(-0.1, 0.9, u) * smoothstep(0.1, -0.9, bristle))
    rims = 0.55 * smoothstep(0.55, 0.9, np.abs(v)) + 0.7 * smoothstep(lift - 0.28, lift, u)
    return cover, (0.55 + 0.30 * bristle + rims) * cover, 1 + 0.085 * bristle[..., None]


class Painting:
    """A canvas: the colour and the thickness of the paint."""

    def __init__(self, rng, ground):
        self.rng, self.brushes, self.tile = rng, {}, fractal_noise(rng, 512, 0.9, low=20)
        self.colour = np.full((HEIGHT, WIDTH, 3), ground, np.float32)
        self.relief = np.zeros((HEIGHT, WIDTH), np.float32)

    def stroke(self, x, y, angle, colour, length, width, broken=0.04, load=1.0):
        """Draw one stroke; `broken` varies its colour, like paint that is not fully mixed."""
        rng, turn = self.rng, int(round(angle * 18 / np.pi)) % 36
        key = length, width, turn, int(rng.integers(5))
        if key not in self.brushes:
            self.brushes[key] = make_brush(rng, self.tile, length, width, turn * np.pi / 18)
        cover, ridge, streaks = self.brushes[key]
        half = cover.shape[0] // 2
        spot, part = overlap(self.colour, cover, int(x) - half, int(y) - half)
        paint = np.clip(colour + rng.normal(0, broken) + rng.normal(0, 0.55 * broken, 3), 0.02, 1)
        self.colour[spot] = mix(self.colour[spot], paint * streaks[part], 0.94 * cover[part])
        self.relief[spot] *= 1 - 0.8 * cover[part]
        self.relief[spot] += ridge[part] * load * width**0.5

    def lit(self):
        """Return the picture: the relief lit from the upper left, and the weave of the canvas where paint is thin."""
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        weave = 0.10 * (np.sin(x * 1.45) + np.sin(y * 1.45))
        gy, gx = np.gradient(blur(self.relief, 0.7) + weave * np.exp(-0.35 * self.relief))
        slope = np.clip(0.70 * gx + 0.78 * gy, -1.6, 1.6)[..., None]
        return self.colour * (1 + 0.26 * slope) + 0.16 * np.clip(slope - 0.45, 0, 1) ** 2


def sketch_scene(rng):
    """Return the colours and the stroke directions of everything behind the trees."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    soft, drift = fractal_noise(rng, 512, 2.2), fractal_noise(rng, 512, 2.6)
    billow = sample(soft, x * 0.16, y * 0.3)
    glow = np.exp(-(np.hypot((x - SUNSET[0]) / 520, (y - SUNSET[1]) / 330) ** 2))
    colour = mix((0.16, 0.47, 0.58), (0.55, 0.76, 0.74), np.clip(y / 560 + 0.16 * billow, 0, 1))
    colour = mix(colour, (1.0, 0.88, 0.56), np.clip(glow * (1.15 + 0.10 * billow), 0, 1))
    for level, tint in ((455, (0.52, 0.56, 0.74)), (510, (0.40, 0.36, 0.62)), (565, (0.62, 0.30, 0.32))):
        top = level - 30 * sample(soft, x * 0.12 + level, x * 0) - 14 * sample(soft, x * 0.6, x * 0 + level)
        colour = mix(colour, mix(tint, (1.0, 0.80, 0.46), 0.85 * glow), smoothstep(-6, 8, y - top))
    deep = np.clip((y - 605) / 395, 0, 1)
    path = np.exp(-(((x - SUNSET[0] + 90 * np.sin(deep * 3.0)) / (70 + 330 * deep)) ** 2))
    grass = mix((0.80, 0.50, 0.16), (0.45, 0.19, 0.13), np.clip(deep**0.8 + 0.15 * billow, 0, 1))
    grass = mix(grass, mix((1.0, 0.84, 0.45), (0.93, 0.60, 0.24), deep), np.clip(path + 0.12 * billow, 0, 1))
    for foot_x, foot_y, trunk, _, _ in OAKS:
        away = ((y - foot_y + 4) / (foot_y - SUNSET[1])).clip(0)
        middle = foot_x + (foot_x - SUNSET[0]) * away * 0.9
        breadth = np.maximum(trunk * (0.75 + 1.3 * away) + 10 * away * billow, 1)
        shadow = smoothstep(1.15, 0.7, np.abs(x - middle) / breadth) * (away > 0) * np.exp(-0.3 * away)
        grass = mix(grass, (0.27, 0.19, 0.42), 0.85 * shadow)
    dapple = smoothstep(0.5, 1.3, sample(drift, x * 0.35, y * 1.2)) * smoothstep(0.1, 0.4, deep)
    colour = mix(colour, mix(grass, (0.36, 0.22, 0.46), 0.7 * dapple), smoothstep(-4, 4, y - 606))
    around = np.arctan2(SUNSET[1] - y, x - SUNSET[0]) + np.pi / 2 + 0.5 * sample(drift, x * 0.2, y * 0.2)
    return colour, np.where(y < 450, around, 0.30 * sample(drift, x * 0.3, y * 0.6))


def cover_canvas(painting, colour, angle, length, width, spacing):
    """Paint a layer of strokes over the whole canvas, on a jittered grid in random order."""
    rng = painting.rng
    y, x = np.mgrid[0:HEIGHT:spacing, 0:WIDTH:spacing].reshape(2, -1)
    x = np.clip(x + rng.integers(-spacing, spacing + 1, x.size), 0, WIDTH - 1)
    y = np.clip(y + rng.integers(-spacing, spacing + 1, y.size), 0, HEIGHT - 1)
    turn = angle[y, x] + rng.normal(0, 0.16, x.size) + np.pi * rng.integers(0, 2, x.size)
    for k in rng.permutation(x.size):
        painting.stroke(x[k], y[k], turn[k], colour[y[k], x[k]], length, width)


def grow(rng, x, y, heading, trunk, length, wood, tips, order=0):
    """Grow a crooked branch and its children; collect the pieces of wood and the positions of leaves."""
    gone, bend, step = 0.0, rng.normal(0, 0.05), max(3.0, 0.16 * trunk)
    while gone < length:
        thick = trunk * (1 - 0.38 * gone / length) * (1 + 0.9 * (order == 0) * np.exp(-2 * gone / trunk))
        bend = 0.8 * bend + rng.normal(0, 0.055)
        heading += bend + (0.035 * np.cos(heading) if order else 0.16 * (np.pi / 2 - heading))
        x, y, gone = x + np.cos(heading) * step, y - np.sin(heading) * step, gone + step
        wood.append((x, y, heading, thick))
        if order > 1 and rng.random() < 0.16:
            tips.append((x, y))
    if trunk < 5 or order > 5:
        tips.append((x, y))
        return
    forks = 3 if order < 2 else 2
    for side in np.linspace(-1, 1, forks) + rng.normal(0, 0.2, forks):
        turn = side * rng.uniform(0.35, 0.65) * (1 if order else 1.55)
        grow(
            rng,
            x,
            y,
            heading + turn,
            thick * rng.uniform(0.60, 0.78),
            length * rng.uniform(0.66, 0.88),
            wood,
            tips,
            order + 1,
        )


def paint_wood(painting, wood, haze):
    """Paint trunks and branches with strokes along the grain: warm towards the sun, violet away from it."""
    rng = painting.rng
    # In random order, so that strokes do not overlap regularly like scales.
    for k in rng.permutation(len(wood)):
        x, y, heading, thick = wood[k]
        across, sunward = np.array([np.sin(heading), np.cos(heading)]), SUNSET - (x, y)
        facing = across @ sunward / (np.hypot(*sunward) + 1e-6)
        width = int(np.clip(thick * 0.22, 3, 13)) | 1
        for side in np.linspace(-1, 1, max(2, int(thick / width * 1.1))) if thick > 8 else (0.0,):
            light = side * np.sign(facing) * (0.45 + 0.55 * abs(facing)) + rng.normal(0, 0.22)
            tone = mix((0.13, 0.08, 0.13), (0.30, 0.15, 0.13), smoothstep(-0.5, 0.5, light))
            tone = mix(tone, (0.86, 0.47, 0.20), smoothstep(0.55, 1.25, light))
            tone = mix(tone, (0.34, 0.30, 0.52), 0.8 * smoothstep(-0.6, -1.2, light))
            spot = (x, y) + across * side * 0.5 * (thick - width)
            painting.stroke(
                *spot,
                heading + rng.normal(0, 0.20),
                mix(tone, (0.80, 0.62, 0.58), haze),
                int(max(9, width * rng.integers(3, 6))),
                width,
                broken=0.028,
                load=1.1,
            )


def paint_crown(painting, tips, ramp, haze, scale, clumps):
    """Paint a crown in clumps, each with a lit and a shadowed side."""
    rng, length = painting.rng, int(np.clip(25 * scale, 6, 30))
    for centre in np.array(tips)[rng.integers(0, len(tips), clumps)]:
        sunny = 0.65 * (SUNSET - centre) / (np.hypot(*(SUNSET - centre)) + 1) + (0, -0.75)
        radius, other, turn = scale * rng.uniform(36, 70), 0.5 * rng.random(), rng.normal(0.5, 0.5)
        offsets = rng.normal(0, 0.5, (50, 2)) * (1.15, 0.8)
        for offset in offsets[np.argsort(offsets @ sunny + rng.normal(0, 0.35, 50))]:
            light = int(np.clip(1.55 + 1.9 * (offset @ sunny + rng.normal(0, 0.22)), 0, 3))
            tone = CROWNS[ramp][light] * (1 - other) + CROWNS[(ramp + 1) % 3][light] * other
            angle = turn + 1.2 * offset[0] + rng.normal(0, 0.5) + np.pi * rng.integers(2)
            painting.stroke(
                *(centre + offset * radius),
                angle,
                mix(tone, (0.98, 0.80, 0.55), haze),
                length - 2 * int(rng.integers(0, 1 + length // 5)),
                max(4, length // 2),
                load=0.9 + 0.15 * light,
            )


def scatter_leaves(painting, count):
    """Paint fallen leaves in drifts, larger towards the viewer; one in eighty is in the air."""
    rng, drifts = painting.rng, fractal_noise(painting.rng, 256, 1.8, low=4)
    near, x = np.sort(rng.random(count)), rng.uniform(0, WIDTH, count)
    y = 625 + 375 * near**0.9
    lies = sample(drifts, x * 0.12, y * 0.5) > rng.normal(0.1, 0.7, count)
    y = np.where(rng.random(count) < 1 / 80, rng.uniform(250, 800, count), y)
    for k in np.flatnonzero(lies):
        size = int((5 + 3 * round(5 * near[k])) * rng.uniform(0.7, 1.25))
        tone = CROWNS[rng.integers(3)][rng.choice(4, p=(0.12, 0.28, 0.38, 0.22))]
        painting.stroke(x[k], y[k], rng.normal(0, 0.6), tone, size, max(4, size // 2), broken=0.06, load=1.1)


def paint_oaks(rng):
    colour, angle = sketch_scene(rng)
    painting = Painting(rng, ground=(0.45, 0.24, 0.15))
    for length, width, spacing in ((150, 44, 26), (84, 25, 17), (46, 15, 13)):
        cover_canvas(painting, colour, angle, length, width, spacing)
    scatter_leaves(painting, 5200)
    for x, y, trunk, ramp, haze in OAKS:
        wood, tips = [], []
        grow(rng, x, y, np.pi / 2 + rng.normal(0, 0.08), trunk, trunk * 2.2 + 12, wood, tips)
        scale, clumps = np.clip(trunk / 95, 0.2, 1.0) ** 0.7, int(14 + 0.7 * trunk)
        paint_crown(painting, tips, ramp, haze, scale, clumps)
        paint_wood(painting, wood, haze)
        paint_crown(painting, tips, ramp, haze, scale, clumps)
        # Leaves on the roots hide the straight foot of the trunk.
        roots = [(x + side * trunk, y + 0.06 * trunk) for side in np.linspace(-1, 1, 9)]
        paint_crown(painting, roots, ramp, haze, 0.6 * scale, 1 + trunk // 25)
    return painting.lit()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "img",
        help="folder for the pictures (default: img, beside the folder of this script)",
    )
    parser.add_argument("--seed", type=int, default=2, help="seed of the pictures (default: 2)")
    args = parser.parse_args()
    for name, paint in (("mountains.jpg", paint_mountains), ("autumn-oaks.jpg", paint_oaks)):
        save_jpeg(paint(np.random.default_rng(args.seed)), args.out / name)


if __name__ == "__main__":
    main()
