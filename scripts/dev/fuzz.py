"""Run the program on damaged files, and check the exit status, the output and the resources of each run.

    python scripts/dev/fuzz.py [--pictures 2000] [--recipes 500] [--checkpoints 200] [--maps 200] [--seed 0]

Pictures in every format that Pillow writes, recipes, checkpoints and maps of regions are truncated, have bits flipped,
and pieces removed, duplicated or replaced. A file that is still valid may give a picture, with status 0; a damaged
checkpoint may fall back to the previous one. All other cases have to end with status 2 and one line `error: …`, without
a traceback or a partial file, within 10 seconds and 1 GB. Each case runs in a forked process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import gluon_nst
from gluon_nst import recipes
from gluon_nst.cli import dispatch, main  # noqa: F401 (loads MXNet before the first fork)
from gluon_nst.network import layers

import mxnet as mx
import numpy as np
from PIL import Image

SECONDS, BYTES = 10, 10**9
SIZE = 48, 64
_SHALLOW = ["--content-layers", "conv1_1", "--style-layers", "conv1_1", "--sizes", "24x32", "--epochs", "2", "--quiet"]

FORMATS = {
    "png": [("RGB", {}), ("RGBA", {}), ("P", {}), ("L", {}), ("I;16", {})],
    "jpg": [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})],
    "webp": [("RGB", {}), ("RGBA", {"lossless": True})],
    "tif": [("RGB", {}), ("RGB", {"compression": "tiff_lzw"}), ("L", {"compression": "tiff_adobe_deflate"}), ("F", {})],
    "gif": [("P", {}), ("L", {})],
    "bmp": [("RGB", {}), ("P", {}), ("1", {})],
    "tga": [("RGB", {}), ("RGBA", {"compression": "tga_rle"})],
    "ppm": [("RGB", {}), ("L", {})],
    "ico": [("RGBA", {})],
    "icns": [("RGBA", {})],
    "pcx": [("RGB", {}), ("P", {})],
    "sgi": [("RGB", {})],
    "jp2": [("RGB", {})],
    "dds": [("RGBA", {})],
    "im": [("RGB", {})],
    "xbm": [("1", {})],
    "avif": [("RGB", {})],
}  # fmt: skip


class Case(NamedTuple):
    """A command on a damaged file."""

    description: str
    arguments: list[object]
    falls_back: bool = False
    """Whether it may report the damage and continue, with status 0."""


# -- damage -----------------------------------------------------------------------------------------------------------


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Return a randomly damaged copy of the content of a file."""
    content = bytearray(whole)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        if not content:
            break
        place = chance.randrange(len(content)) if chance.random() < 0.5 else chance.randrange(min(len(content), 80))
        length = chance.choice([1, 2, 4, 16, 100])
        kind = chance.randrange(6)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            content[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            content[place : place + length] = (
                chance.randbytes(length) if hasattr(chance, "randbytes") else os.urandom(length)
            )
        elif kind == 3:
            del content[place : place + length]
        elif kind == 4:
            content[place:place] = content[place : place + length]
        else:
            content[place : place + length] = chance.choice([b"\xff", b"\0", b"\x7f"]) * length
    return bytes(content)


_ODD = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "1e-30",
    '""',
    '"\\u0000"',
    "[]",
    "{}",
    "true",
    "9" * 5000,
    '"x"',
    "[[]]",
    "1.5",
    '"' + "y" * 9999 + '"',
]


def damaged_recipe(text: str, chance: random.Random) -> bytes:
    """Return a recipe with random damage or invalid entries."""
    if chance.random() < 0.4:
        return damaged(text.encode(), chance)
    lines = text.splitlines()
    for _ in range(chance.choice([1, 1, 2])):
        place = chance.randrange(len(lines))
        name, equals, _ = lines[place].partition("=")
        kind = chance.randrange(4)
        if kind == 0 and equals:
            lines[place] = f"{name}= {chance.choice(_ODD)}"
        elif kind == 1:
            lines.append(lines[place])
        elif kind == 2:
            del lines[place]
        else:
            lines.insert(
                place, chance.choice(["[[stages]]", "[stages]", "extends = 'x.toml'", "colour = 1", "]", "[[changes]]"])
            )
        lines = lines or [""]
    return "\n".join(lines).encode()


# -- valid files ------------------------------------------------------------------------------------------------------


def strokes(chance: random.Random) -> Image.Image:
    """Return a random picture."""
    height, width = SIZE
    values = np.random.default_rng(chance.randrange(2**32)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.BICUBIC)


def valid_pictures(folder: Path) -> list[Path]:
    """Write one file of each kind that this Pillow supports; return their paths."""
    paths, chance = [], random.Random(1)
    for ending, kinds in FORMATS.items():
        for number, (mode, options) in enumerate(kinds):
            picture, path = strokes(chance), folder / f"valid-{number}.{ending}"
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
            elif ending == "icns":
                picture = picture.resize((64, 64)).convert(mode)
            else:
                picture = picture.convert(mode)
            with contextlib.suppress(KeyError, ValueError, OSError):  # Pillow was built without this format
                picture.save(path, **options)
                paths.append(path)
    return paths


def random_weights(path: Path) -> None:
    """Write a file of random parameters of the network."""
    generator = np.random.default_rng(19)
    arrays = {}
    for name, shape in layers.parameter_shapes().items():
        arrays[name] = mx.nd.array(generator.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / np.prod(shape[1:])))
    mx.nd.save(str(path), arrays)


# -- cases ------------------------------------------------------------------------------------------------------------


class Files:
    """The valid files in a `folder`, and functions that return a damaged case."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir()
        self.content, self.style = folder / "content.png", folder / "style.png"
        for path, seed in ((self.content, 2), (self.style, 3)):
            strokes(random.Random(seed)).save(path)
        self.weights = folder / "random.params"
        _in_a_fork(lambda: random_weights(self.weights))
        self._render(self.content, self.style, self.out / "first.png")
        self.pictures = valid_pictures(folder)
        self.kept = folder / "kept"
        options = ["--checkpoint", self.kept, "--checkpoint-every", "0"]
        _expect_done(self._command(self.content, self.style, self.out / "kept.png", *options))
        shutil.rmtree(self.out)
        self.out.mkdir()

    def _command(self, content: Path, style: Path, output: Path, *options: object) -> list[object]:
        own = ["--weights", self.weights, "--recipe", "d2l-2019", *_SHALLOW]
        return ["render", content, style, "--output", output, *own, *options]

    def _render(self, *arguments: Path) -> None:
        _expect_done(self._command(*arguments))

    def picture(self, chance: random.Random) -> Case:
        """Return a case with a damaged content, style, start or mask."""
        valid = chance.choice(self.pictures)
        path = self.folder / f"damaged{valid.suffix}"
        path.write_bytes(damaged(valid.read_bytes(), chance))
        role, output = chance.choice(["content", "content", "style", "init", "mask"]), self.out / "out.png"
        commands = {
            "content": self._command(path, self.style, output),
            "style": self._command(self.content, path, output),
            "init": self._command(self.content, self.style, output, "--init", path),
            "mask": self._command(self.content, self.style, output, "--mask", path),
        }
        return Case(f"picture {valid.name} as {role}", commands[role])

    def recipe(self, chance: random.Random) -> Case:
        """Return a case with a damaged recipe."""
        name, path = chance.choice(recipes.names()), self.folder / "damaged.toml"
        path.write_bytes(damaged_recipe(recipes.text(name), chance))
        own = ["--recipe", path, "--output", self.out / "out.png", "--weights", self.weights]
        return Case(f"recipe {name}", ["render", self.content, self.style, *own, *_SHALLOW])

    def checkpoint(self, chance: random.Random) -> Case:
        """Return a case with a checkpoint whose newest file, or both, are damaged."""
        folder = self.folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.kept, folder)
        older, newest = sorted(folder.glob("state-*"))
        both = chance.random() < 0.5
        for path in (older, newest) if both else (newest,):
            path.write_bytes(damaged(path.read_bytes(), chance))
        return Case(
            f"checkpoint, {'both' if both else 'the newest'}",
            ["resume", folder, "--output", self.out / "out.png", "--quiet"],
            True,
        )

    def map(self, chance: random.Random) -> Case:
        """Return a case with an invalid map of regions: damaged, noise, wrong shape, or one colour."""
        path, height, width = self.folder / "map.png", *SIZE
        generator = np.random.default_rng(chance.randrange(2**32))
        kind = chance.randrange(5)
        if kind < 2:
            half = np.zeros((height, width, 3), np.uint8)
            half[:, : width // 2] = 255
            file = io.BytesIO()
            Image.fromarray(half).save(file, "PNG")
            path.write_bytes(damaged(file.getvalue(), chance))
        elif kind == 2:
            Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        elif kind == 3:
            shape = generator.integers(1, 90, 2)
            Image.fromarray(generator.integers(0, 2, (*shape, 3), dtype=np.uint8) * 255).save(path)
        else:
            Image.new(chance.choice(["RGB", "L", "1", "RGBA"]), (width, height), chance.randrange(2)).save(path)
        maps = ["--regions", path, "--style-regions", path if chance.random() < 0.5 else self.style]
        return Case("map of regions", self._command(self.content, self.style, self.out / "out.png", *maps))


def _expect_done(arguments: list[object]) -> None:
    _in_a_fork(lambda: main(list(map(str, arguments))))


def _in_a_fork(do: Callable[[], int | None]) -> None:
    """Run a function in a forked process: after MXNet has computed here, forks would lack its threads."""
    child = os.fork()
    if child == 0:
        os._exit(do() or 0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("a run on valid files has failed")


# -- results -----------------------------------------------------------------------------------------------


class Ended(NamedTuple):
    """The result of a command."""

    status: int
    err: str
    seconds: float
    bytes: int
    written: list[str]


def run_case(case: Case, out: Path, log: Path) -> Ended:
    """Run a command in a forked process, which is killed after a timeout."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = main(list(map(str, case.arguments)))
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    while True:
        ended, code, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begun > SECONDS + 2:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    status = os.WEXITSTATUS(code) if os.WIFEXITED(code) else -os.WTERMSIG(code)
    written = sorted(path.name for path in out.iterdir())
    for path in out.iterdir():
        path.unlink()
    err = log.read_text(errors="replace")
    return Ended(status, err, time.monotonic() - begun, usage.ru_maxrss * 1024, written)


def complaint(case: Case, ended: Ended) -> str:
    """Return why the result of a command is not acceptable, or an empty text."""
    lines = ended.err.splitlines()
    if "Traceback" in ended.err or ended.status not in (0, 2):
        return f"status {ended.status}"
    if ended.status == 2 and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"{len(lines)} lines"
    if ended.status == 2 and ended.written:
        return f"wrote {ended.written}"
    if ended.status == 0 and ended.written != ["out.png"]:
        return f"wrote {ended.written}"
    if ended.seconds > SECONDS or ended.bytes > BYTES:
        return f"took {ended.seconds:.1f} s and {ended.bytes / 1e9:.2f} GB"
    return ""


def fuzz(kind: str, count: int, seed: int, files: Files) -> Iterator[tuple[Case, Ended, str]]:
    """Yield `count` cases of a `kind`, each with its result and the complaint, if any."""
    make: Callable[[random.Random], Case] = getattr(files, kind)
    for number in range(count):
        case = make(random.Random(f"{seed} {kind} {number}"))
        case = case._replace(description=f"{case.description} ({kind} {number})")
        ended = run_case(case, files.out, files.folder / "log")
        yield case, ended, complaint(case, ended)


def main_() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"picture": 2000, "recipe": 500, "checkpoint": 200, "map": 200}
    for kind, count in kinds.items():
        parser.add_argument(f"--{kind}s", type=int, default=count, dest=kind)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GLUON_NST_CACHE"] = str(Path(folder, "cache"))
        files = Files(Path(folder))
        for kind in kinds:
            statuses: Counter[int] = Counter()
            longest = largest = 0.0
            for case, ended, bad in fuzz(kind, getattr(arguments, kind), arguments.seed, files):
                statuses[ended.status] += 1
                longest, largest = max(longest, ended.seconds), max(largest, ended.bytes)
                if bad:
                    wrong += 1
                    print(f"{case.description}: {bad}\n{ended.err}", flush=True)
            print(f"{kind}s: {dict(statuses)}, at most {longest:.1f} s and {largest / 1e9:.2f} GB", flush=True)
    print(f"gluon-nst {gluon_nst.__version__}: {wrong} ended as they should not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main_())
