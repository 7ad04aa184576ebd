"""Kill runs with SIGKILL at random moments, resume them, and compare the results with those of undisturbed runs.

    python scripts/dev/kill_runs.py [--kills 100] [--seed 0] [--weights SPEC]

The runs use Adam or L-BFGS, one size or three, whole pictures or windows, and write a checkpoint after every epoch. A
third of the kills happen during the writing of a checkpoint, the others at any moment, including the start. A killed
run is resumed, by the same command or by `gluon-nst resume`, until it finishes. Its picture must have the same bytes,
and its losses the same numbers except the seconds. Takes about ten seconds for each kill on two cores.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from gluon_nst.weights.pictures import own_pictures

_LAYERS = ["--content-layers", "conv3_1", "--style-layers", "conv1_1,conv3_1", "--precision", "float32"]
_SIZES = {
    "one size": ["--sizes", "320x448", "--epochs", "9"],
    "three sizes": ["--sizes", "160x224,224x320,320x448", "--epochs", "5,4,3"],
}
_MEMORY = {"whole": [], "in windows": ["--memory", "0.85GB"]}
_TIMEOUT = 300


class Kind(NamedTuple):
    """A kind of run: its optimiser, its sizes, and how it is computed."""

    optimizer: str
    sizes: str
    computed: str

    def command(self, folder: Path, weights: str) -> list[str]:
        """Return its command, which writes into `folder`."""
        content, style = own_pictures()
        options = [
            *_LAYERS,
            *_SIZES[self.sizes],
            *_MEMORY[self.computed],
            "--optimizer",
            self.optimizer,
            "--weights",
            weights,
        ]
        outputs = ["--output", folder / "out.png", "--losses", folder / "losses.csv", "--quiet"]
        kept = ["--checkpoint", folder / "kept", "--checkpoint-every", "0"]
        return command("render", content, style, "--recipe", "d2l-2019", *options, *outputs, *kept)


KINDS = [Kind(*each) for each in itertools.product(("adam", "lbfgs"), _SIZES, _MEMORY)]


class Ended(NamedTuple):
    """The result of a run: the bytes of its picture, and its losses without the seconds."""

    picture: bytes
    losses: list[list[str]]

    @classmethod
    def of(cls, folder: Path) -> Ended:
        return cls((folder / "out.png").read_bytes(), losses(folder / "losses.csv"))


def losses(path: Path) -> list[list[str]]:
    """Return the rows of a losses file, without the seconds."""
    with open(path, newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def command(*arguments: object) -> list[str]:
    """Return a command of gluon-nst."""
    return [sys.executable, "-m", "gluon_nst", *map(str, arguments)]


def run_undisturbed(kind: Kind, folder: Path, weights: str) -> tuple[Ended, float]:
    """Run without a kill; return the result and the seconds."""
    folder.mkdir()
    begun = time.monotonic()
    _end(kind.command(folder, weights))
    return Ended.of(folder), time.monotonic() - begun


def _end(run: list[str]) -> None:
    ended = subprocess.run(run, capture_output=True, text=True, timeout=_TIMEOUT)
    if ended.returncode:
        raise SystemExit(f"{' '.join(run)}: ended with {ended.returncode}: {ended.stderr}")


def run_with_kills(
    kind: Kind, folder: Path, weights: str, seconds: float, chance: random.Random
) -> tuple[Ended, int, int]:
    """Run with one or more kills at random moments within `seconds`.

    Return the result, the number of kills, and the number of kills during the writing of a checkpoint.
    """
    folder.mkdir()
    first, kept = kind.command(folder, weights), folder / "kept"
    kills = while_writing = 0
    for _ in range(chance.choice([1, 1, 2, 3])):
        again = first if not kept.is_dir() or chance.random() < 0.5 else command("resume", kept, "--quiet")
        done, wrote = _kill(again, kept, chance.uniform(0, seconds), chance.random() < 1 / 3)
        kills, while_writing = kills + done, while_writing + wrote
    _end(first if chance.random() < 0.5 or not any(kept.glob("state-*")) else command("resume", kept, "--quiet"))
    return Ended.of(folder), kills, while_writing


def _kill(run: list[str], kept: Path, after: float, in_a_write: bool) -> tuple[bool, bool]:
    """Start a run, and kill it `after` seconds, or during the next write of a checkpoint after that.

    Return whether it was killed, and whether that was during a write.
    """
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    moment = time.monotonic() + after
    writing = False
    while process.poll() is None:
        if time.monotonic() >= moment:
            writing = any(kept.glob(".state-*"))
            if writing or not in_a_write:
                process.kill()
                break
        elif moment - time.monotonic() > 0.01:
            time.sleep(0.005)
    return process.wait() == -9, writing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="auto")
    arguments = parser.parse_args()
    chance, kills, while_writing, runs, wrong = random.Random(arguments.seed), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = {}
        for kind in KINDS:
            expected[kind] = run_undisturbed(kind, folder / f"never-{len(expected)}", arguments.weights)
            print(f"{', '.join(kind)}: {expected[kind][1]:.1f} s", flush=True)
        for kind in itertools.cycle(KINDS):
            if kills >= arguments.kills:
                break
            ended, more, writing = run_with_kills(
                kind, folder / f"{runs}", arguments.weights, expected[kind][1], chance
            )
            kills, while_writing, runs = kills + more, while_writing + writing, runs + 1
            same = ended == expected[kind][0]
            wrong += not same
            print(f"{', '.join(kind)}: killed {more} times, {'the same' if same else 'DIFFERENT'}", flush=True)
    print(f"{kills} kills, {while_writing} of them during a write; {runs - wrong} of {runs} runs gave the same bytes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
