"""Compare the estimated time and peak memory of several runs with the measured values.

    python scripts/dev/measure_estimates.py [NUMBER ...]

Each run and each estimate has a separate process; the pictures are the bundled ones. Takes about ten minutes on two
cores. NUMBER selects some of the runs, counted from 1.
"""

import argparse
import json
import subprocess
import sys

RUNS = [
    ("d2l-2019", {}),
    ("d2l-2019", {"sizes": [(600, 900)], "epochs": [20], "precision": "float32"}),
    ("d2l-2019", {"sizes": [(1200, 1800)], "epochs": [6], "memory": 2e9}),
    ("fast", {"sizes": [(300, 450), (600, 900)], "epochs": [40, 25]}),
    ("stp", {"sizes": [362], "epochs": [60]}),
    ("fine", {"sizes": [512]}),
    ("gatys-2016", {"sizes": [(200, 300)], "epochs": [100]}),
    ("spst", {"sizes": [768], "epochs": [15]}),
    ("fine", {"sizes": [724], "precision": "float32", "memory": 1.5e9, "epochs": [30]}),
]
"""Recipes, and the options of `transfer`."""

ESTIMATE = """
import json, sys, time
import gluon_nst as nst
from gluon_nst.weights import pictures
recipe, options = json.loads(sys.argv[1])
begun = time.perf_counter()
estimate = nst.estimate(nst.Job(*map(str, pictures.own_pictures()), recipe=recipe, **options))
print(json.dumps([estimate.seconds, estimate.memory, time.perf_counter() - begun]))
"""

RUN = """
import json, sys
from gluon_nst.weights import pictures
from gluon_nst.runs.job import Job
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare
recipe, options = json.loads(sys.argv[1])
run = prepare(Job(*map(str, pictures.own_pictures()), recipe=recipe, **options))
result = carry_out(run)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
print(json.dumps([result.seconds, peak, result.status, "{}x{}".format(*run.recipe.stages[-1].shape), \
run.recipe.precision]))
"""


def answer(program, recipe, options):
    """Return the JSON that a program prints for a recipe and its options."""
    command = [sys.executable, "-W", "ignore", "-c", program, json.dumps([recipe, options])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", type=int, nargs="*", metavar="NUMBER", help="runs, counted from 1 (default: all)")
    numbers = parser.parse_args().runs or range(1, len(RUNS) + 1)
    print("| recipe | size | precision | seconds, estimated | measured | | peak GB, estimated | measured | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for number in numbers:
        recipe, options = RUNS[number - 1]
        seconds, memory, _ = answer(ESTIMATE, recipe, options)
        taken, peak, status, size, precision = answer(RUN, recipe, options)
        assert status == "complete", status
        print(
            f"| `{recipe}` | {size} | {precision} | {seconds:.0f} | {taken:.0f} | {seconds / taken:.2f}"
            f" | {memory / 1e9:.2f} | {peak / 1e9:.2f} | {memory / peak:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
