"""Paint a test picture from a seed: a cloudless sky without texture over textured ground.

    python scripts/dev/flat_sky.py OUT.png [--size 384x510]

Any texture in the sky of a result comes from the run; scripts/dev/measure_pictures.py --sky ROWS measures it.
"""

import argparse

from gluon_nst.machine.files import given, written_whole

import numpy as np
from paint_pictures import fractal_noise, mix, sample, smoothstep
from PIL import Image


def sky_rows(height):
    """Return the number of rows of sky, from the top: three fifths of the height."""
    return height * 3 // 5


def paint_flat_sky(rng, height=384, width=510):
    """Return the picture, float32, height x width x 3, 0 to 1.

    Above is a smooth gradient; below are hills, woods and a field with flowers.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    sky, tile = sky_rows(height), fractal_noise(rng, 512, 1.3)
    fine = rng.standard_normal((height, width)).astype(np.float32)
    x, deep = 510 * x / width, np.clip((y - sky) / (height - sky), 0, 1)
    picture = mix((0.26, 0.47, 0.78), (0.80, 0.88, 0.94), np.clip(y / sky, 0, 1))

    # Three layers, each with an irregular upper edge below the rows of sky.
    hills = mix((0.30, 0.38, 0.46), (0.46, 0.52, 0.50), np.clip(0.5 + 0.4 * sample(tile, 2 * x, 300 * deep), 0, 1))
    woods = mix((0.05, 0.11, 0.05), (0.24, 0.34, 0.12), np.clip(0.4 + 0.4 * sample(tile, 5 * x, 500 * deep + 90), 0, 1))
    far = 1 / (deep + 0.15)  # the field recedes: its texture is finer towards the woods
    across, along = (x - 255) * far, 300 * far
    grass = sample(tile, across * 0.4, along * 0.4) + 0.6 * sample(tile, across * 2, along) + 0.5 * fine
    field = mix((0.24, 0.27, 0.08), (0.80, 0.68, 0.28), np.clip(0.5 + 0.22 * grass, 0, 1))
    flowers = sample(tile, across * 3 + 200, along * 3) + 0.8 * sample(tile, across * 0.3 + 90, along * 0.3)
    field = mix(field, (0.82, 0.22, 0.20), 0.8 * smoothstep(1.6, 2.1, flowers))
    for colour, edge, rough, wide in ((hills, 0.10, 0.06, 0.3), (woods, 0.21, 0.06, 0.8), (field, 0.30, 0.015, 9)):
        profile = np.maximum(sample(tile, wide * x, 90 * edge + 0 * x), -1.5)
        picture = mix(picture, colour, deep > edge + rough * profile)
    return picture


def size(text):
    """Return (height, width) of a text such as 384x510."""
    height, width = map(int, text.split("x"))
    return height, width


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=given, metavar="OUT.png")
    parser.add_argument(
        "--size", type=size, default=(384, 510), metavar="HEIGHTxWIDTH", help="in pixels (default: 384x510)"
    )
    parser.add_argument("--seed", type=int, default=2, help="seed of the ground (default: 2)")
    arguments = parser.parse_args()
    picture = paint_flat_sky(np.random.default_rng(arguments.seed), *arguments.size)
    with written_whole(arguments.out) as file:
        Image.fromarray(np.uint8(np.clip(picture * 255 + 0.5, 0, 255))).save(file, "PNG")


if __name__ == "__main__":
    main()
