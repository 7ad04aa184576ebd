"""Measure a batch on this machine: jobs per hour by the number of workers and cores, and the memory of the workers.

python scripts/dev/measure_batch.py [throughput] [memory]
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gluon_nst.weights import pictures

import psutil

CONTENT, STYLE = pictures.own_pictures()
COMMAND = [sys.executable, "-m", "gluon_nst", "batch"]


def listed(folder, number, side, epochs):
    """Write a list of jobs, each of the size `side(number)`; return its path."""
    path = Path(folder) / "jobs.csv"
    rows = [f"job-{each},{CONTENT},{STYLE},{side(each)},{epochs}" for each in range(number)]
    path.write_text("\n".join(["name,content,style,longest-side,epochs", *rows]) + "\n", encoding="utf-8")
    return path


def watched(process, memory):
    """Append the memory of the worker processes of a batch to a list, once a second, until it ends."""
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children()
            memory.append(sum(each.memory_info().rss for each in children if "spawn_main" in " ".join(each.cmdline())))
        time.sleep(1)


def run(folder, jobs, *options, before=()):
    """Run the jobs in a new folder; return the seconds, and a list of the memory of the workers over time."""
    memory, begun = [], time.monotonic()
    command = [
        *before,
        *COMMAND,
        str(jobs),
        "--out",
        tempfile.mkdtemp(dir=folder),
        "--recipe",
        "d2l-2019",
        "--quiet",
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    threading.Thread(target=watched, args=(process, memory), daemon=True).start()
    assert process.wait() == 0
    return time.monotonic() - begun, memory


def throughput(folder, number=8):
    jobs = listed(folder, number, lambda each: 240, 30)
    ways = {
        "one worker with one core": (["--workers", "1"], ["taskset", "-c", "0"]),
        "two workers with one core each": (["--workers", "2"], []),
        "one worker with two cores": (["--workers", "1"], []),
    }
    seconds = {}
    for name, (options, before) in ways.items():
        seconds[name], _ = run(folder, jobs, *options, before=before)
        ratio = seconds["one worker with one core"] / seconds[name]
        print(
            f"{name}: {seconds[name]:.0f} s, {3600 * number / seconds[name]:.0f} an hour, {ratio:.2f} times the first",
            flush=True,
        )


def memory(folder, number=40):
    jobs = listed(folder, number, lambda each: 100 + 8 * each, 3)
    _, taken = run(folder, jobs, "--workers", "2")
    tenth = len(taken) // 10
    for name, part in (("in the second tenth", taken[tenth : 2 * tenth]), ("in the last", taken[-tenth - 3 : -3])):
        print(f"two workers over {number} sizes, {name}: {max(part) / 1e6:.0f} MB together", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for what in sys.argv[1:] or ("throughput", "memory"):
            {"throughput": throughput, "memory": memory}[what](place)
