"""Paint two pairs of pictures for scripts/benchmark.py from a seed, of other kinds than the demonstration pair.

    python scripts/dev/paint_pairs.py --out FOLDER

The pairs are a town in flat daylight with a style of swirling strokes, and shaded fruit on a table with the hatching of
a woodcut. They are for measurements: their statistics differ from those of mountains.jpg and autumn-oaks.jpg.
"""

import argparse
from pathlib import Path

from gluon_nst.machine.files import given

import numpy as np
from paint_pictures import blur, fractal_noise, mix, sample, smoothstep
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 900, 600


def plane():
    """Return the x and y coordinates of the pixels."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return x, y


def paint_town(rng):
    """Paint houses before a bright, empty sky: flat colours, straight edges, little texture."""
    image = Image.fromarray(np.uint8(mix((0.55, 0.72, 0.92), (0.90, 0.94, 0.97), plane()[1] / HEIGHT) * 255))
    draw = ImageDraw.Draw(image)
    for row, ground in enumerate((400, 470, 560)):
        left = -rng.integers(0, 80)
        while left < WIDTH:
            width, height = int(rng.integers(70, 150)), int(rng.integers(130, 260))
            top, wall = ground - height, tuple(int(v) for v in rng.uniform(120, 245, 3) * (0.75 + 0.12 * row))
            roof = tuple(int(v) for v in np.array([150, 70, 50]) * rng.uniform(0.6, 1.2))
            draw.rectangle([left, top, left + width, HEIGHT], fill=wall)
            draw.polygon([(left - 6, top), (left + width // 2, top - width // 2), (left + width + 6, top)], fill=roof)
            for window_y in range(top + 16, ground - 40, 42):
                for window_x in range(left + 12, left + width - 20, 30):
                    draw.rectangle(
                        [window_x, window_y, window_x + 15, window_y + 24], fill=(48, 56, 78), outline=(235, 232, 222)
                    )
            left += width + int(rng.integers(0, 8))
    draw.rectangle([0, 560, WIDTH, HEIGHT], fill=(128, 124, 120))
    return np.asarray(image, np.float32) / 255 + rng.normal(0, 0.012, (HEIGHT, WIDTH, 1))


def smeared(texture, angle, length):
    """Return `texture` averaged along the direction field `angle` (line integral convolution): brush strokes."""
    x, y = plane()
    total = sample(texture, x, y)
    for sign in (-1, 1):
        u, v = x.copy(), y.copy()
        for _ in range(length):
            turn = sample(angle, u, v)
            u, v = u + sign * np.cos(turn), v + sign * np.sin(turn)
            total = total + sample(texture, u, v)
    return total / (2 * length + 1)


def paint_swirls(rng):
    """Paint long, wavy strokes of orange over blue and green."""
    bends = fractal_noise(rng, 1024, 2.4, low=2)[:HEIGHT, :WIDTH]
    strokes = smeared(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), 1.6 * bends, 24)
    tone, strokes = plane()[1] / HEIGHT + 0.25 * bends, strokes / strokes.std()
    colours = [(0.93, 0.42, 0.12), (0.98, 0.76, 0.30), (0.25, 0.38, 0.55), (0.10, 0.16, 0.24)]
    picture = mix(mix(colours[0], colours[1], smoothstep(0.05, 0.35, tone)), colours[2], smoothstep(0.35, 0.6, tone))
    return mix(picture, colours[3], smoothstep(0.7, 1.0, tone)) * (1 + 0.28 * strokes[..., None])


def paint_fruit(rng):
    """Paint shaded fruit on a dark table: smooth gradients, a few highlights, half of it in shadow."""
    x, y = plane()
    picture = mix((0.17, 0.12, 0.10), (0.36, 0.25, 0.17), smoothstep(330, 600, y) * np.exp(-(((x - 380) / 420) ** 2)))
    for _ in range(9):
        centre, radius = (rng.uniform(140, 760), rng.uniform(260, 470)), rng.uniform(55, 105)
        u, v = (x - centre[0]) / radius, (y - centre[1]) / radius
        picture = picture * (1 - 0.6 * np.exp(-(((u - 0.5) / 1.2) ** 2) - ((v - 0.95) / 0.35) ** 2))[..., None]
        up = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
        light = np.clip(-0.55 * u - 0.5 * v + 0.67 * up, 0, 1)
        colour = np.array(
            [(0.82, 0.20, 0.12), (0.90, 0.58, 0.12), (0.55, 0.66, 0.18), (0.48, 0.16, 0.34)][rng.integers(4)]
        )
        ball = colour * (0.08 + 0.95 * light[..., None]) + 0.8 * light[..., None] ** 40
        picture = mix(picture, ball, smoothstep(1.01, 0.985, np.hypot(u, v)))
    return picture * (1 + 0.02 * rng.standard_normal((HEIGHT, WIDTH, 1)))


def paint_woodcut(rng):
    """Paint black lines of varying width on warm paper, in patches of three directions."""
    x, y = plane()
    tone = 0.5 + 0.22 * fractal_noise(rng, 1024, 2.0, low=2)[:HEIGHT, :WIDTH]
    patch = sample(rng.uniform(0, np.pi, (9, 13)).astype(np.float32), np.round(x / 75), np.round(y / 75))
    ripple = 5 * blur(fractal_noise(rng, 1024, 1.6, low=3)[:HEIGHT, :WIDTH], 3)
    lines = 0.5 + 0.5 * np.sin((x * np.cos(patch) + y * np.sin(patch) + ripple) * 2 * np.pi / 8)
    ink = smoothstep(-0.1, 0.1, lines - np.clip(tone, 0.12, 0.95))
    return mix((0.93, 0.88, 0.76), (0.09, 0.08, 0.09), ink)


PAIRS = {"town": (paint_town, paint_swirls), "fruit": (paint_fruit, paint_woodcut)}


def paint_pairs(folder, seed=5):
    """Write the pairs into `folder`; return {name: (path of the content, path of the style)}."""
    paths = {}
    for name, painters in PAIRS.items():
        paths[name] = tuple(Path(folder) / f"{painter.__name__[6:]}.png" for painter in painters)
        for path, painter in zip(paths[name], painters):
            picture = np.clip(painter(np.random.default_rng(seed)) * 255 + 0.5, 0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(path)
    return paths


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=given, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paint_pairs(arguments.out)


if __name__ == "__main__":
    main()
