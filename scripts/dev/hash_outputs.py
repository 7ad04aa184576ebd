"""Run some twenty commands on small pictures and print hashes of their outputs.

    python scripts/dev/hash_outputs.py > before.txt
    python scripts/dev/hash_outputs.py > after.txt           # after a change
    diff before.txt after.txt

A change that does not affect results leaves every line the same, on the same machine with the same number of threads.
Times, dates and paths are excluded. The hash of a picture is that of its pixels without metadata, the hash of a CSV is
that of all columns but the seconds, and of the printed lines only standard output counts. `--python` runs the commands
with a different interpreter, and so a different version of gluon-nst.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONTENT, STYLE = ROOT / "img/mountains.jpg", ROOT / "img/autumn-oaks.jpg"

SMALL = "--sizes 32x48,48x64 --epochs 3,2"
COMMANDS = {
    "chapter": "chapter --content c.jpg --style s.jpg --out . --sizes 32x48,48x64 --epochs 3,2",
    "plain": "chapter --plain --content c.jpg --style s.jpg --out . --sizes 32x48,48x64 --epochs 3,2",
    "2019": f"render c.jpg s.jpg --output out.png --recipe d2l-2019 {SMALL} --losses losses.csv",
    "2023": f"render c.jpg s.jpg --output out.png --recipe d2l-2023 {SMALL} --losses losses.csv --init noise --seed 3",
    "fast": f"render c.jpg s.jpg --output out.png --recipe fast {SMALL} --losses losses.csv",
    "fine": "render c.jpg s.jpg --output out.jpg --longest-side 160 --epochs 6,4 --losses losses.csv",
    "float32": "render c.jpg s.jpg --output out.png --longest-side 128 --epochs 5 --precision float32",
    "stp": "render c.jpg s.jpg --output out.png --recipe stp --longest-side 128 --epochs 3 --losses losses.csv",
    "gatys": "render c.jpg s.jpg --output out.png --recipe gatys-2016 --sizes 48x64 --epochs 5 --losses losses.csv",
    "udacity": "render c.jpg s.jpg --output out.png --recipe udacity --sizes 48x64 --epochs 4 --losses losses.csv",
    "tensorflow": "render c.jpg s.jpg --output out.png --recipe tensorflow --sizes 48x64 --epochs 4",
    "spst": "render c.jpg s.jpg --output out.png --recipe spst --sizes 64x96 --epochs 4",
    "styles": f"render c.jpg s.jpg t.jpg --output out.png {SMALL} --mask mask.png --preserve-colors luminance",
    "regions": f"render c.jpg s.jpg --output out.tif {SMALL} --regions map.png --style-regions map.png",
    "histogram": f"render c.jpg s.jpg --output out.png {SMALL} --recipe fast --preserve-colors histogram",
    "windows": "render c.jpg s.jpg --output out.png --recipe fast --sizes 480x640 --epochs 2 --memory 1.25GB",
    "sweep": f"sweep c.jpg s.jpg --out . --recipe d2l-2019 {SMALL} --vary style-weight=1e2,1e4",
    "compare": f"compare c.jpg s.jpg --out . --recipes d2l-2019,fast {SMALL}",
    "reconstruct": "reconstruct content c.jpg --out . --layers relu1_1,relu4_2 --sizes 48x64 --epochs 4",
    "batch": f"batch contents s.jpg --out made --workers 1 --recipe fast {SMALL}",
    "recipes": "recipes fine",
    "help": "render --help-all",
}

VARYING = (  # parts of a text that differ between runs
    (re.compile(r"\d+(\.\d+)? ?(s|seconds|ms|min|minutes|MB|GB|epochs/s)\b"), "TIME"),
    (re.compile(r"\d+:\d+(:\d+)?"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d\S*"), "DATE"),
)


def small_inputs(folder):
    """Write the small pictures, mask and map of regions that the commands use."""
    for name, path in {"c": CONTENT, "s": STYLE}.items():
        with Image.open(path) as picture:
            picture.convert("RGB").resize((240, 160), Image.LANCZOS).save(folder / f"{name}.jpg", quality=95)
    with Image.open(folder / "s.jpg") as picture:
        picture.transpose(Image.FLIP_LEFT_RIGHT).rotate(90, expand=True).save(folder / "t.jpg", quality=95)
    left = np.zeros((160, 240), np.uint8)
    left[:, :110] = 255
    Image.fromarray(left).save(folder / "mask.png")
    Image.fromarray(np.stack([left, 255 - left, 0 * left], axis=2)).save(folder / "map.png")
    (folder / "contents").mkdir()
    for name in ("a", "b"):
        Image.open(folder / "c.jpg").rotate(180 * (name == "b")).save(folder / f"contents/{name}.jpg", quality=95)


def digest(*parts):
    """Return a short hash of the `parts`, bytes or text."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else str(part).encode())
    return sha.hexdigest()[:16]


def without_varying(text, folder):
    """Return `text` without times, dates and the path of `folder`."""
    text = text.replace(str(folder), "FOLDER")
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def of_file(path, folder):
    """Return the hash of the reproducible content of a file."""
    if path.suffix in (".png", ".jpg", ".tif"):
        with Image.open(path) as picture:
            return digest(picture.mode, picture.size, picture.tobytes())
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            rows = [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)]
        return digest(without_varying(json.dumps(rows), folder))
    if path.suffix in (".md", ".txt", ".toml", ".json", ".html"):
        return digest(without_varying(path.read_text(), folder))
    return "written"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter with gluon-nst (default: this one)")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--weights", default="auto")
    arguments = parser.parse_args()
    for name in arguments.only.split(",") if arguments.only else COMMANDS:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            small_inputs(folder)
            before = set(folder.rglob("*"))
            command = [*COMMANDS[name].split()]
            if name not in ("recipes", "help"):
                command += ["--weights", arguments.weights]
            environment = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "100"}
            ended = subprocess.run(
                [arguments.python, "-m", "gluon_nst", *command],
                cwd=folder, capture_output=True, text=True, env=environment,
            )  # fmt: skip
            printed = without_varying(ended.stdout, folder)
            print(name, ended.returncode, digest(printed), flush=True)
            if ended.returncode:
                print(ended.stderr.strip(), flush=True)
            for path in sorted(set(folder.rglob("*")) - before):
                if path.is_file():
                    print(" ", path.relative_to(folder), of_file(path, folder), flush=True)


if __name__ == "__main__":
    main()
