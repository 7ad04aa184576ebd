"""Simulate one picture of 24 megapixels on 1 to 64 workers at 1 and 10 Gbit/s, from times measured on this machine.

    python scripts/dev/simulate_spread.py

A window is timed in the code of a worker. The simulation has one link between the client and the workers, which
transfers one message at a time in each direction, and workers with the speed of this machine.
"""

import heapq
import math
import time

import gluon_nst as nst
from gluon_nst.cluster import windows
from gluon_nst.engine.memory import spread_plan
from gluon_nst.engine.windows import part
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.machine.trees import as_numpy
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of
from gluon_nst.weights import pictures

SIZE, RECIPE, MEMORY = (4000, 6000), "fine", 16e9
SIDES = (736, 1024)
"""Sides of the timed windows, in pixels."""


def timed(side):
    """Time a window; return the seconds per pixel, the bytes of its sums, and the recipe.

    The seconds are those of the `sums`, of the gradient `after` the sums, and of the gradient `alone`.
    """
    content, style = pictures.own_pictures()
    job = nst.Job(content, style, recipe=RECIPE, size_factor=1.0, sizes=[(side - 64, side * 2)], epochs=1, margin=0)
    run = prepare(job)
    (stage,) = run.recipe.stages
    statistic, net = style_statistic(run.recipe), run.net()
    targets = targets_of(run, stage, net, statistic, elsewhere=True)
    one = part(range(run.recipe.last_layer + 1), stage.shape, (side, side))
    shape = targets.content_X.shape
    of_stage = windows.StagePayload(
        "",
        run.recipe,
        run.trunk,
        one,
        shape,
        as_numpy(targets.styles_Y),
        as_numpy(targets.guides),
        "auto",
    )
    computed = windows.Windows(of_stage)
    rows, columns = (span.covered(1) for span in next(one.windows))
    X = targets.content_X[:, :, rows, columns].asnumpy()
    sums = computed.compute(0, 0, X, X, None)
    times = {name: [] for name in ("sums", "after", "alone")}
    for evaluation in range(3):
        begun = time.perf_counter()
        computed.compute(0, evaluation, X, X, None)
        between = time.perf_counter()
        computed.compute(0, evaluation, X, X, sums)
        after = time.perf_counter()
        computed.compute(0, evaluation, X, X, sums)
        times["sums"].append(between - begun)
        times["after"].append(after - between)
        times["alone"].append(time.perf_counter() - after)
    pixels = math.prod(one.shape)
    return (
        {name: min(seconds) / pixels for name, seconds in times.items()},
        sum(each.nbytes for each in sums),
        run.recipe,
    )


def pass_seconds(plan, workers, sent, received, seconds, link):
    """Return the seconds of one pass over the windows.

    `sent` and `received` are bytes; `seconds` are those of the first window of a worker, and of its other windows.
    """
    (one,) = plan.parts
    free_at = [(0.0, number) for number in range(workers)]
    heapq.heapify(free_at)
    counts, out_free, in_free, end = [0] * workers, 0.0, 0.0, 0.0
    for _ in range(one.number):
        free, number = heapq.heappop(free_at)
        out_free += sent / link  # the next window is sent while one is computed
        done = max(free, out_free) + seconds[min(counts[number], 1)]
        counts[number] += 1
        heapq.heappush(free_at, (done, number))
        in_free = max(in_free, done) + received / link
        end = max(end, in_free)
    return end


def main():
    measured = {}
    for side in SIDES:
        measured[side], of_sums, recipe = timed(side)
        times = ", ".join(f"{name} {seconds * 1e6:.2f}" for name, seconds in measured[side].items())
        print(
            f"a window of {side} x {side}, seconds per megapixel: {times}; its sums: {of_sums / 1e6:.1f} MB", flush=True
        )
    per_pixel = measured[SIDES[-1]]
    print("| workers | windows | 1 Gbit/s | times | 10 Gbit/s | times |\n| --- | --- | --- | --- | --- | --- |")
    first = {}
    for workers in (1, 2, 4, 8, 16, 32, 64):
        plan = spread_plan(recipe, SIZE, workers, MEMORY)
        (one,) = plan.parts
        area = math.prod(one.shape)
        cells = []
        for gigabits in (1, 10):
            link = gigabits * 1e9 / 8
            of_sum, after, alone = (per_pixel[name] * area for name in ("sums", "after", "alone"))
            forward = pass_seconds(plan, workers, 12 * area, of_sums, (of_sum, of_sum), link)
            backward = pass_seconds(plan, workers, of_sums, 12 * area, (after, alone), link)
            seconds = forward + backward
            first.setdefault(gigabits, seconds)
            cells += [f"{seconds:.1f} s", f"{first[gigabits] / seconds:.1f}"]
        print(f"| {workers} | {one.number} of {one.shape[0]} × {one.shape[1]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
