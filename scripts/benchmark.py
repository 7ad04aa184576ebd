"""Measures the chapter as printed, in PyTorch and by gluon-nst, in turn, and writes img/benchmark.md, .json and .png.

    python scripts/benchmark.py [--parts epochs,large,limit,profile,descent] [--rounds 3]

    epochs   one epoch at 300 × 450, and its peak memory
    large    the same at 900 × 1350 and 1200 × 1800 (up to 10 GB)
    limit    the best float32 matrix product of the machine
    profile  where an epoch's time goes
    descent  the loss over the seconds, to the chapter's own final loss (half an hour, most of it the chapter as printed)

It needs the extra `benchmark`. Every program is a process of its own, on the project's own pictures and the trunk that
`--weights auto` finds. A part that is not asked for keeps what img/benchmark.json has of it.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ENVIRONMENT = dict(os.environ)  # as it was before gluon_nst sets the threads of this process

import gluon_nst  # noqa: E402 (first: it sets the threads)
import matplotlib  # noqa: E402
import mxnet as mx  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from gluon_nst import pictures, recipe, runtime, weights  # noqa: E402
from gluon_nst.recipe import PRECISIONS  # noqa: E402
from gluon_nst.layers import BLOCKS  # noqa: E402

FOLDER = Path(__file__).parents[1] / "img"
WARM_UP = 3  # the first epochs allocate, and let oneDNN choose its kernels

EPOCHS = ["chapter as printed", "PyTorch", "PyTorch, channels_last", "PyTorch, bfloat16"]
EPOCHS += ["gluon-nst", "gluon-nst, bfloat16"]
LARGE = ["PyTorch", "gluon-nst"]
SIZES = [(300, 450), (900, 1350), (1200, 1800)]
DESCENTS = {"chapter as printed": 1, "PyTorch": 1, "gluon-nst": 1, "PyTorch, L-BFGS": 2, "gluon-nst fast": 2}


def stages_of(name):
    return [[*stage.size, stage.epochs, stage.lr_decay_epoch] for stage in recipe.read(name).stages]


class Programs:
    """Runs benchmark_programs.py on the same pictures and parameters."""

    def __init__(self, folder):
        parameters = weights.find(notify=print).parameters(28, True)
        mx.nd.save(f"{folder}/trunk.params", parameters)
        np.savez(f"{folder}/trunk.npz", **{name: array.asnumpy() for name, array in parameters.items()})
        self._folder = folder
        self._content, self._style = map(str, pictures.own_pictures())

    def run(self, name, program=None, **run):
        file = {"P": "trunk.npz", "c": "trunk.params"}.get(name[0])
        run.update(weights=f"{self._folder}/{file}" if file else "auto", content=self._content, style=self._style)
        command = [sys.executable, Path(__file__).with_name("benchmark_programs.py"), program or name, json.dumps(run)]
        done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True, universal_newlines=True)
        return json.loads(done.stdout.splitlines()[-1])


def say(line):
    print(line, file=sys.stderr, flush=True)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure_epochs(programs, names, size, epochs, rounds):
    runs = {name: {"seconds": [], "peak": []} for name in names}
    for number in range(rounds):
        for name in names:
            run = programs.run(name, stages=[[*size, WARM_UP + epochs, 100]])
            ends = [seconds for _, seconds, _ in run["epochs"]]
            runs[name]["seconds"].append(statistics.median(np.diff(ends[WARM_UP - 1 :])))
            runs[name]["peak"].append(run["peak"])
            seconds = runs[name]["seconds"][-1]
            say(f"{size[0]} x {size[1]}, round {number + 1}, {name}: {seconds:.3f} s, {run['peak']:.2f} GB")
    return {"x".join(map(str, size)): runs}


def measure_descents(programs, names, descents, target):
    """Run the programs `names` in turn; `descents` and `target` are what is known already."""
    # The chapter as printed first: its last loss is what the others are timed to.
    descents = {name: [] if name in names else runs for name, runs in descents.items()}
    for number in range(max(DESCENTS.values())):
        for name, rounds in DESCENTS.items():
            if number >= rounds or name not in names:
                continue
            short = name in ("PyTorch, L-BFGS", "gluon-nst fast")
            stages = stages_of("fast" if short else "d2l-2019")
            if short:
                stages[-1][2] *= 4  # it ends when it is at the target
            run = programs.run(name, stages=stages, target=target if short else None)
            if name == "chapter as printed":
                target = run["epochs"][-1][2]
            descents.setdefault(name, []).append(run)
            say(f"{name}: {seconds_to(run, target)} s to {target:.3f}, {run['epochs'][-1][1]:.1f} s in all")
    return {"descent": descents, "target": target}


def seconds_to(run, target):
    """The seconds after which a run's last stage is at the target; those of the whole run where it never is."""
    last = run["epochs"][-1][0]
    return next((seconds for stage, seconds, total in run["epochs"] if stage == last and total <= target), run["epochs"][-1][1])


def flops(height, width):
    """Of an epoch up to conv5_1: the convolutions forward and back to the data, the Gram matrices and their gradients."""
    count, below = 0, 3
    for block, (convolutions, channels) in enumerate(BLOCKS):
        pixels = (height >> block) * (width >> block)
        for number in range(convolutions if block < 4 else 1):
            count += 2 * 2 * 9 * below * channels * pixels
            below = channels
        count += 2 * 2 * channels**2 * pixels
    return count


# -- telling ----------------------------------------------------------------------------------------------------------


def ratio(over, under):
    """The median of the ratios round by round: the programs of a round ran one after the other."""
    return statistics.median(a / b for a, b in zip(over, under))


def times_to_target(results):
    """The median seconds of each program's descent to the target."""
    target = results["target"]
    return {
        name: statistics.median(seconds_to(run, target) for run in runs) for name, runs in results["descent"].items()
    }


def compared(results):
    """The rows (what, asked for, measured) of the parts that there are."""
    epochs = results.get("epochs", {})
    rows = []
    small, middle = epochs.get("300x450"), epochs.get("900x1350")
    if small:
        ours = small["gluon-nst"]["seconds"]
        for name, asked in (("chapter as printed", 3.8), ("PyTorch", 1.2), ("PyTorch, channels_last", 1.05)):
            rows.append((f"epoch at 300 × 450, float32: {name} / gluon-nst", asked, ratio(small[name]["seconds"], ours)))
    if middle:
        rows.append(
            (
                "epoch at 900 × 1350, float32: PyTorch / gluon-nst",
                1.6,
                ratio(middle["PyTorch"]["seconds"], middle["gluon-nst"]["seconds"]),
            )
        )
    if small:
        rows.append(
            ("epoch at 300 × 450: gluon-nst float32 / bfloat16", 1.5, ratio(ours, small["gluon-nst, bfloat16"]["seconds"]))
        )
    if small and "limit" in results:
        speed = flops(300, 450) / statistics.median(ours) / 1e9
        rows.append(("share of the best float32 matrix product", 0.85, speed / max(results["limit"].values())))
    if "descent" in results:
        times = times_to_target(results)
        for name, asked in (("chapter as printed", 25), ("PyTorch", 8), ("PyTorch, L-BFGS", 1.2)):
            rows.append(
                (f"time to the chapter's final loss: {name} / `fast`", asked, times[name] / times["gluon-nst fast"])
            )
    for size, runs in epochs.items():
        peaks = [max(runs[name]["peak"]) for name in ("gluon-nst", "PyTorch")]
        rows.append((f"peak memory at {size.replace('x', ' × ')}: gluon-nst / PyTorch", "at most 1.0", peaks[0] / peaks[1]))
    large = epochs.get("1200x1800")
    if small and large:
        growth = statistics.median(large["gluon-nst"]["seconds"]) / statistics.median(ours) / 16
        rows.append(("time per pixel and epoch: 1200 × 1800 / 300 × 450", "at most 1.25", growth))
    return rows


def markdown(results):
    lines = [f"Measured on {results['machine']}, by `scripts/benchmark.py`; medians.", ""]
    for size, runs in results.get("epochs", {}).items():
        lines += [f"| one epoch at {size.replace('x', ' × ')} | seconds | peak memory |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {statistics.median(run['seconds']):.2f} | {max(run['peak']):.2f} GB |" for name, run in runs.items()
        ]
        lines.append("")
    if "descent" in results:
        lines += [
            f"| to the chapter's final loss at 300 × 450, {results['target']:.2f} | seconds | epochs | runs |",
            "| --- | --- | --- | --- |",
        ]
        times = times_to_target(results)
        for name, runs in results["descent"].items():
            reached = min(run["epochs"][-1][2] for run in runs) <= results["target"]
            lines.append(f"| {name} | {'' if reached else 'more than '}{times[name]:.0f} | {len(runs[0]['epochs'])} | {len(runs)} |")
        reached = max(run["float32 loss"] for run in results["descent"]["gluon-nst fast"])
        lines += ["", f"What `fast` reaches there is {reached:.3f} when float32 evaluates it, function by function.", ""]
    if "profile" in results:
        names = list(results["profile"])
        lines += [f"| milliseconds of an epoch | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        for group in results["profile"][names[0]]:
            milliseconds = [f"{results['profile'][name][group]:.0f}" for name in names]
            lines.append(f"| {group} | {' | '.join(milliseconds)} |")
        lines.append("")
    if "limit" in results:
        products = ", ".join(f"{name} {speed:.0f}" for name, speed in results["limit"].items())
        lines += [f"The best float32 matrix products, in GFLOP/s: {products}.", ""]
    lines += ["| ratio | asked for at least | measured |", "| --- | --- | --- |"]
    lines += [f"| {what} | {asked} | {measured:.2f} |" for what, asked, measured in compared(results)]
    return "\n".join(lines) + "\n"


def plot(results):
    """The loss over the seconds, and where an epoch's time goes."""
    figure = Figure(figsize=(11, 4.2), constrained_layout=True)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
    for name, runs in results.get("descent", {}).items():
        seconds, totals = zip(*[(seconds, total) for _, seconds, total in runs[0]["epochs"]])
        left.plot(seconds, totals, label=name, linewidth=2 if name == "gluon-nst fast" else 1.2)
    if "target" in results:
        left.axhline(results["target"], color="grey", linestyle="--", linewidth=0.8)
        where = {"xytext": (2, -11), "textcoords": "offset points"}
        left.annotate("the chapter's final loss", (1, results["target"]), color="grey", fontsize=9, **where)
    left.set(xscale="log", yscale="log", xlabel="seconds", ylabel="total loss of the stage")
    left.set_title("The loss over the seconds")
    left.legend(fontsize=8)
    bottom = dict.fromkeys(results.get("profile", {}), 0.0)
    for group in next(iter(results.get("profile", {}).values()), {}):
        heights = [results["profile"][name][group] for name in bottom]
        right.bar(list(bottom), heights, bottom=list(bottom.values()), label=group, width=0.6)
        bottom = {name: below + height for (name, below), height in zip(bottom.items(), heights)}
    right.set(ylabel="milliseconds", title="Where an epoch at 300 × 450 goes")
    right.legend(fontsize=8)
    return figure


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    flags = runtime.processor_flags()
    width = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    native = ", bfloat16" if runtime.choose_precision("auto", mx.cpu()) == "bfloat16" else ""
    versions = {"gluon-nst": gluon_nst.__version__, "MXNet": mx.__version__, "PyTorch": torch.__version__}
    return (
        f"{runtime.physical_cores()} cores ({model.group(1) if model else platform.processor()}; {width}{native}), no GPU, "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}, Python {platform.python_version()}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="epochs,large,limit,profile,descent")
    parser.add_argument("--descents", nargs="*", choices=DESCENTS, help="these only; the others keep what was measured")
    parser.add_argument("--epochs", type=int, default=6, help=f"counted epochs a run, after {WARM_UP} that are not")
    parser.add_argument("--rounds", type=int, default=3, help="times that the programs take turns")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    unknown = set(parts) - {"epochs", "large", "limit", "profile", "descent"}
    if unknown:
        parser.error(f"--parts: unknown: {', '.join(sorted(unknown))}")

    file = FOLDER / "benchmark.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    if results.get("machine") != machine():
        results = {"machine": machine()}  # figures of another machine are no use beside these

    def keep(part):
        results.update(part)
        file.write_text(json.dumps(results) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(folder)
        if "limit" in parts:
            keep({"limit": programs.run("limit")})
        if "epochs" in parts:
            runs = measure_epochs(programs, EPOCHS, SIZES[0], arguments.epochs, arguments.rounds)
            keep({"epochs": {**results.get("epochs", {}), **runs}})
        if "large" in parts:
            for size in SIZES[1:]:
                keep({"epochs": {**results.get("epochs", {}), **measure_epochs(programs, LARGE, size, 2, 1)}})
        if "profile" in parts:
            run = {"program": "profile", "stages": [[*SIZES[0], arguments.epochs, 100]]}
            profiles = {precision: programs.run("gluon-nst", precision=precision, **run) for precision in PRECISIONS}
            keep({"profile": profiles})
        if "descent" in parts:
            known = results.get("descent", {})
            names = arguments.descents or list(DESCENTS)
            if not known and names[0] != "chapter as printed":
                parser.error("--descents: the chapter as printed has to be measured first")
            keep(measure_descents(programs, names, known, results.get("target")))
    (FOLDER / "benchmark.md").write_text(markdown(results))
    matplotlib.rcParams["font.size"] = 9
    plot(results).savefig(FOLDER / "benchmark.png", dpi=110)
    print(markdown(results))


if __name__ == "__main__":
    main()
