"""Measure the cost of checkpoints: the seconds of writing one and of an epoch, at several sizes.

    python scripts/dev/measure_checkpoints.py [--sizes 300x450,1000x1500] [--folder DIR]

A run writes a checkpoint every minute, or less often if that would take more than 2 % of its time. For each size and
optimiser, a run is stepped, and a checkpoint is written after every second epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import gluon_nst as nst
from gluon_nst.runs.checkpoint import EVERY, Checkpoint
from gluon_nst.runs.run import prepare
from gluon_nst.weights.pictures import own_pictures

from mxnet import nd

EPOCHS = 13


def measured(size: tuple[int, int], optimizer: str, folder: Path) -> tuple[float, float, int]:
    """Return the seconds of an epoch and of writing a checkpoint, and the bytes of the checkpoint."""
    recipe = "d2l-2019" if optimizer == "adam" else "fine"
    ladder = {} if optimizer == "adam" else {"size_factor": 1.0}
    job = nst.Job(*own_pictures(), recipe=recipe, sizes=[size], epochs=EPOCHS, **ladder)
    run, epochs, writes = prepare(job), [], []
    with Checkpoint(folder, every=1e9) as checkpoint:
        state = checkpoint.load(run, fresh=True)
        begun = time.perf_counter()
        for _ in nst.steps(run, state):
            nd.waitall()
            epochs.append(time.perf_counter() - begun)
            if len(epochs) % 2 and state.status == "running":
                begun = time.perf_counter()
                checkpoint.begin(run) if len(epochs) == 1 else checkpoint.save(state)
                writes.append(time.perf_counter() - begun)
            begun = time.perf_counter()
        bytes_ = max(path.stat().st_size for path in folder.glob("state-*"))
    return statistics.median(epochs[2:]), statistics.median(writes[1:]), bytes_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="300x450")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for text in arguments.sizes.split(","):
            height, width = map(int, text.split("x"))
            for optimizer in ("adam", "lbfgs"):
                epoch, write, size = measured((height, width), optimizer, Path(folder, optimizer))
                every = max(EVERY, 50 * write)
                print(
                    f"{text}, {optimizer}: an epoch {epoch:.2f} s, a checkpoint {write:.3f} s and {size / 1e6:.0f} MB: "
                    f"{write / every:.2%} of a run, one each {every:.0f} s"
                )


if __name__ == "__main__":
    main()
