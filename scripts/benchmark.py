"""Measure the chapter as printed, in PyTorch and with gluon-nst; write img/benchmark.md, .json and .png.

    python scripts/benchmark.py [--parts epochs,large,limit,profile,descent,pairs] [--rounds 3]

    epochs   seconds and peak memory of an epoch at 300 × 450
    large    the same at 900 × 1350 and 1200 × 1800 (up to 10 GB)
    limit    the fastest matrix products of the machine
    profile  the time of an epoch by group of operators
    descent  the loss over time, until the chapter's final loss (half an hour, most of it the chapter as printed)
    pairs    the final loss of `fast` and of the chapter on several pairs of pictures (5 minutes each)

Needs the extra `benchmark`. Every program runs in a subprocess, on the bundled pictures and the parameters that
`--weights auto` finds. Three further pairs are painted by scripts; `--pairs cat=cat.jpg,waves.jpg` adds more. Results
are stored by type of processor in img/benchmark.json; parts that are not requested keep their stored results.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ENVIRONMENT = dict(os.environ)  # before gluon_nst sets the number of threads of this process

import gluon_nst  # noqa: E402 (first: it sets the threads)
from gluon_nst import recipes, weights  # noqa: E402
from gluon_nst.machine import bfloat16_by, physical_cores  # noqa: E402
from gluon_nst.machine.files import written_whole  # noqa: E402
from gluon_nst.network.layers import BLOCKS  # noqa: E402
from gluon_nst.recipes import PRECISIONS  # noqa: E402
from gluon_nst.weights import pictures  # noqa: E402

import matplotlib  # noqa: E402
import mxnet as mx  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

sys.path.append(str(Path(__file__).with_name("dev")))
from paint_pairs import paint_pairs  # noqa: E402

FOLDER = Path(__file__).parents[1] / "img"
WARM_UP = 3  # in the first epochs memory is allocated and oneDNN chooses its kernels

# The measured programs: the name in benchmark_programs.py, and its options.
MODES = {
    "chapter as printed": ("chapter as printed", {}),
    "PyTorch": ("PyTorch", {}),
    "PyTorch, channels_last": ("PyTorch", {"channels_last": True}),
    "PyTorch, bfloat16": ("PyTorch", {"bfloat16": True}),
    "PyTorch, bfloat16, channels_last": ("PyTorch", {"bfloat16": True, "channels_last": True}),
    "PyTorch, bfloat16, channels_last, compiled": (
        "PyTorch",
        {"bfloat16": True, "channels_last": True, "compiled": True},
    ),
    "gluon-nst": ("gluon-nst", {"precision": "float32"}),
    "gluon-nst, bfloat16": ("gluon-nst", {"precision": "bfloat16"}),
}
LARGE = ["PyTorch", "gluon-nst"]
SIZES = [(300, 450), (900, 1350), (1200, 1800)]
DESCENTS = {"chapter as printed": 1, "gluon-nst": 1, "PyTorch, Adam": 1, "PyTorch, L-BFGS": 2, "gluon-nst fast": 2}
"""The number of runs of each program. The first two determine the target loss of the others."""


def stages_of(name):
    return [[*stage.shape, stage.epochs, stage.lr_decay_epoch] for stage in recipes.read(name).stages]


class Programs:
    """Runs benchmark_programs.py, always on the same pictures and parameters."""

    def __init__(self, folder):
        parameters = weights.find(notify=print).parameters(28)
        mx.nd.save(f"{folder}/trunk.params", parameters)
        np.savez(f"{folder}/trunk.npz", **{name: array.asnumpy() for name, array in parameters.items()})
        self._folder = folder
        self._content, self._style = map(str, pictures.own_pictures())

    def run(self, program, **run):
        file = {"P": "trunk.npz", "c": "trunk.params"}.get(program[0])
        run = {"content": self._content, "style": self._style, **run}
        run["weights"] = f"{self._folder}/{file}" if file else "auto"
        command = [sys.executable, Path(__file__).with_name("benchmark_programs.py"), program, json.dumps(run)]
        done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def say(line):
    print(line, file=sys.stderr, flush=True)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure_epochs(programs, names, size, epochs, rounds):
    runs = {name: {"seconds": [], "peak": []} for name in names}
    for number in range(rounds):
        for name in names:
            program, options = MODES[name]
            run = programs.run(program, stages=[[*size, WARM_UP + epochs, 100]], **options)
            ends = [seconds for _, seconds, _ in run["epochs"]]
            runs[name]["seconds"].append(statistics.median(np.diff(ends[WARM_UP - 1 :])))
            runs[name]["peak"].append(run["peak"])
            seconds = runs[name]["seconds"][-1]
            say(f"{size[0]} x {size[1]}, round {number + 1}, {name}: {seconds:.3f} s, {run['peak']:.2f} GB")
    return {"x".join(map(str, size)): runs}


def measure_descents(programs, names, known, mode):
    """Run the programs `names` alternately, PyTorch in its `mode`; `known` are the stored results of this part."""
    runs = {name: done for name, done in known.get("descent", {}).items() if name not in names}
    target = known.get("target")
    for number in range(max(DESCENTS.values())):
        for name in (name for name, rounds in DESCENTS.items() if name in names and number < rounds):
            program, *_ = name.split(", ")
            options = dict(MODES[mode][1]) if program == "PyTorch" else {}
            if name == "PyTorch, L-BFGS":
                options["lbfgs"] = True
            if name == "gluon-nst fast":
                program, options = "gluon-nst", {"recipe": "fast", "check": True}
            short = "lbfgs" in options or "recipe" in options
            stages = stages_of("fast" if short else "d2l-2019")
            run = programs.run(program, stages=stages, target=target if short else None, **options)
            if name == "chapter as printed" or target is None:
                target = run["epochs"][-1][2]
            runs.setdefault(name, []).append(run)
            say(f"{name}: {seconds_to(run, target)} s to {target:.3f}, {run['epochs'][-1][1]:.1f} s in all")
    return {
        "descent": {name: runs[name] for name in (*DESCENTS, *runs) if name in runs},
        "target": target,
        "descent mode": mode,
    }


def measure_pairs(programs, pairs, known):
    """Return the final losses, in float32, of the chapter, unless `known`, and of `fast`.

    The result is {"pairs": {name: {"chapter": …, "fast": …}}}.
    """
    results = {}
    for name, (content, style) in pairs.items():
        given = {"content": str(content), "style": str(style)}
        hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (content, style)]
        before = known.get(name, {})
        chapter = before.get("chapter")
        if before.get("pictures") != hashes:
            run = programs.run("gluon-nst", stages=stages_of("d2l-2019"), **MODES["gluon-nst"][1], **given)
            chapter = run["epochs"][-1][2]
        run = programs.run("gluon-nst", stages=[], recipe="fast", check=True, **given)
        counts = [sum(stage == number for stage, *_ in run["epochs"]) for number in range(1, run["epochs"][-1][0] + 1)]
        results[name] = {
            "pictures": hashes,
            "chapter": chapter,
            "fast": run["float32 loss"],
            "seconds": run["epochs"][-1][1],
            "evaluations": counts,
        }
        say(f"{name}: {results[name]}")
    return {"pairs": {**known, **results}}


def seconds_to(run, target):
    """Return the seconds until the last stage of a run reaches the target, or those of the whole run if it does not."""
    last = run["epochs"][-1][0]
    return next(
        (seconds for stage, seconds, total in run["epochs"] if stage == last and total <= target), run["epochs"][-1][1]
    )


def flops(height, width):
    """Return the floating-point operations of an epoch up to conv5_1.

    They are those of the convolutions and Gram matrices, forward and backward; parameters have no gradients.
    """
    count, below = 0, 3
    for block, (convolutions, channels) in enumerate(BLOCKS):
        pixels = (height >> block) * (width >> block)
        for _ in range(convolutions if block < 4 else 1):
            count += 2 * 2 * 9 * below * channels * pixels
            below = channels
        count += 2 * 2 * channels**2 * pixels
    return count


# -- reporting --------------------------------------------------------------------------------------------------------


def best_mode(epochs):
    """Return the mode of PyTorch with the shortest epoch."""
    names = [name for name in epochs if name.startswith("PyTorch")]
    return min(names, key=lambda name: statistics.median(epochs[name]["seconds"]))


def ratio(over, under):
    """Return the median of the ratios by round; within a round the programs run one after the other."""
    return statistics.median(a / b for a, b in zip(over, under))


def times_to_target(results):
    """Return the median seconds of each program until it reaches the target."""
    target = results["target"]
    return {
        name: statistics.median(seconds_to(run, target) for run in runs) for name, runs in results["descent"].items()
    }


def compared(results):
    """Return the rows (description, required ratio, measured ratio) of the available parts."""
    epochs, rows = results.get("epochs", {}), []
    small, middle, large = (epochs.get("x".join(map(str, size))) for size in SIZES)
    if small:
        seconds = {name: run["seconds"] for name, run in small.items()}
        ours, best = seconds["gluon-nst"], best_mode(small)
        bfloat16 = seconds.get("gluon-nst, bfloat16", ours)
        fastest = min(ours, bfloat16, key=statistics.median)
        for name, asked in (("chapter as printed", 3.8), ("PyTorch", 1.2), ("PyTorch, channels_last", 1.05)):
            rows.append((f"epoch at 300 × 450, float32: {name} / gluon-nst", asked, ratio(seconds[name], ours)))
        rows.append(
            (f"epoch at 300 × 450: PyTorch's best mode ({best[9:]}) / gluon-nst's", 1.1, ratio(seconds[best], fastest))
        )
        asked = 2.4 if results["instructions"] == "AMX" else 1.5
        rows.append(("epoch at 300 × 450: gluon-nst float32 / bfloat16", asked, ratio(ours, bfloat16)))
    if middle:
        rows.append(
            (
                "epoch at 900 × 1350, float32: PyTorch / gluon-nst",
                1.6,
                ratio(*(middle[name]["seconds"] for name in LARGE)),
            )
        )
    if small and "limit" in results:
        speed = flops(300, 450) / statistics.median(ours) / 1e9
        rows.append(("share of the best float32 matrix product", 0.85, speed / max(results["limit"].values())))
    if "descent" in results:
        times = times_to_target(results)
        asked = {"chapter as printed": 25, "PyTorch, Adam": 6, "PyTorch, L-BFGS": 1.5}
        for name in [name for name in times if name in asked]:
            rows.append(
                (
                    f"time to the chapter's final loss: {name} / `fast`",
                    asked[name],
                    times[name] / times["gluon-nst fast"],
                )
            )
    for size, runs in epochs.items():
        peaks = [max(runs[name]["peak"]) for name in ("gluon-nst", "PyTorch")]
        rows.append(
            (f"peak memory at {size.replace('x', ' × ')}: gluon-nst / PyTorch", "at most 1.0", peaks[0] / peaks[1])
        )
    if small and large:
        growth = statistics.median(large["gluon-nst"]["seconds"]) / statistics.median(ours) / 16
        rows.append(("time per pixel and epoch: 1200 × 1800 / 300 × 450", "at most 1.25", growth))
    if "pairs" in results:
        below = sum(pair["fast"] <= pair["chapter"] for pair in results["pairs"].values())
        rows.append(
            (
                f"pairs of pictures, of {len(results['pairs'])}, on which `fast` ends no higher than the chapter",
                6,
                below,
            )
        )
    return rows


def markdown(machines):
    """Return the text of img/benchmark.md: a table of all machines, then the details of each."""
    names = [
        name
        for name in MODES
        if any(name in results.get("epochs", {}).get("300x450", {}) for results in machines.values())
    ]
    lines = [f"| one epoch at 300 × 450, seconds | {' | '.join(machines)} |", "| --- |" + " --- |" * len(machines)]
    for name in names:
        runs = [results.get("epochs", {}).get("300x450", {}).get(name) for results in machines.values()]
        cells = [f"{statistics.median(run['seconds']):.2f}" if run else "" for run in runs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, results in machines.items():
        lines += ["", f"## {name}", "", *_of_one_machine(results)]
    return "\n".join(lines) + "\n"


def _of_one_machine(results):
    lines = [f"Measured on {results['machine']}, by `scripts/benchmark.py`; medians.", ""]
    for size, runs in results.get("epochs", {}).items():
        lines += [f"| one epoch at {size.replace('x', ' × ')} | seconds | peak memory |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {statistics.median(run['seconds']):.2f} | {max(run['peak']):.2f} GB |"
            for name, run in runs.items()
        ]
        lines.append("")
    if "descent" in results:
        lines += [
            f"| to the chapter's final loss at 300 × 450, {results['target']:.2f} | seconds | epochs | runs |",
            "| --- | --- | --- | --- |",
        ]
        times, mode = times_to_target(results), results.get("descent mode", "PyTorch")
        for name, runs in results["descent"].items():
            reached = min(run["epochs"][-1][2] for run in runs) <= results["target"]
            in_mode = f" ({mode[9:]})" if name.startswith("PyTorch") and mode != "PyTorch" else ""
            lines.append(
                f"| {name}{in_mode} | {'' if reached else 'more than '}{times[name]:.0f}"
                f" | {len(runs[0]['epochs'])} | {len(runs)} |"
            )
        reached = max(run["float32 loss"] for run in results["descent"]["gluon-nst fast"])
        lines += [
            "",
            f"What `fast` reaches there is {reached:.3f} when float32 evaluates it, function by function.",
            "",
        ]
    if "pairs" in results:
        lines += [
            "| pair | the chapter ends at | `fast`, by float32 | seconds | evaluations |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, pair in results["pairs"].items():
            counts = " + ".join(map(str, pair["evaluations"]))
            lines.append(f"| {name} | {pair['chapter']:.2f} | {pair['fast']:.2f} | {pair['seconds']:.0f} | {counts} |")
        lines.append("")
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
    return lines + [f"| {what} | {asked} | {measured:.2f} |" for what, asked, measured in compared(results)]


def plot(results):
    """Draw the loss over time, and the time of an epoch by group of operators."""
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
    """Return (kind, description, instructions) of this machine; its results are stored under its kind."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    model = re.sub(r"\(R\)|\(TM\)|Processor|\d+-Core.*|@.*", "", model.group(1) if model else platform.processor())
    instructions = bfloat16_by(mx.cpu()) or "float32"
    kind = f"{' '.join(model.split())}, {physical_cores()} cores, {instructions}"
    versions = {"gluon-nst": gluon_nst.__version__, "MXNet": mx.__version__, "PyTorch": torch.__version__}
    versions = ", ".join(f"{name} {version}" for name, version in versions.items())
    return kind, f"{kind}, no GPU, {versions}, Python {platform.python_version()}", instructions


def read_pair(value):
    name, _, paths = value.partition("=")
    paths = paths.split(",")
    if len(paths) != 2:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=CONTENT,STYLE")
    return name, paths


PARTS = ("limit", "epochs", "large", "profile", "descent", "pairs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument(
        "--descents", nargs="*", choices=DESCENTS, help="only these; the others keep their stored results"
    )
    parser.add_argument(
        "--pairs", nargs="*", type=read_pair, default=[], metavar="NAME=CONTENT,STYLE", help="additional pairs"
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help=f"measured epochs of a run, after {WARM_UP} warm-up epochs"
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of runs of each program, in alternation")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"--parts: unknown: {', '.join(sorted(unknown))}")

    file = FOLDER / "benchmark.json"
    machines = json.loads(file.read_text()) if file.exists() else {}
    kind, description, instructions = machine()
    results = machines.setdefault(kind, {})
    results.update(machine=description, instructions=instructions)

    def keep(part):
        results.update(part)
        with written_whole(file, "w") as unfinished:
            unfinished.write(json.dumps(machines) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(folder)
        if "limit" in parts:
            keep({"limit": programs.run("limit")})
        if "epochs" in parts:
            names = [name for name in MODES if "compiled" not in name or shutil.which("g++")]
            names = [name for name in names if name != "gluon-nst, bfloat16" or instructions != "float32"]
            runs = measure_epochs(programs, names, SIZES[0], arguments.epochs, arguments.rounds)
            keep({"epochs": {**results.get("epochs", {}), **runs}})
        if "large" in parts:
            for size in SIZES[1:]:
                keep({"epochs": {**results.get("epochs", {}), **measure_epochs(programs, LARGE, size, 2, 1)}})
        if "profile" in parts:
            run = {"stages": [[*SIZES[0], arguments.epochs, 100]]}
            precisions = PRECISIONS if instructions != "float32" else PRECISIONS[:1]
            keep(
                {
                    "profile": {
                        precision: programs.run("profile", precision=precision, **run) for precision in precisions
                    }
                }
            )
        if "descent" in parts:
            if "300x450" not in results.get("epochs", {}):
                parser.error("descent: run the part epochs first, which determines the fastest mode of PyTorch")
            names = arguments.descents or list(DESCENTS)
            keep(measure_descents(programs, names, results, best_mode(results["epochs"]["300x450"])))
        if "pairs" in parts:
            pairs = {"mountains": pictures.own_pictures(), **paint_pairs(folder), **dict(arguments.pairs)}
            keep(measure_pairs(programs, pairs, results.get("pairs", {})))
    (FOLDER / "benchmark.md").write_text(markdown(machines))
    matplotlib.rcParams["font.size"] = 9
    plot(results).savefig(FOLDER / "benchmark.png", dpi=110)
    print(markdown(machines))


if __name__ == "__main__":
    main()
