"""Make the film of a run from its snapshots, in a subprocess."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

from PIL import Image

from gluon_nst.errors import NSTError
from gluon_nst.lab.web.models import DISK_FULL
from gluon_nst.lab.web.store import FILM, LOSSES, SNAPSHOTS
from gluon_nst.losses.records import Epoch, Losses
from gluon_nst.observers.film import write_film
from gluon_nst.pictures.decoding import open_picture


def read_record(path: Path) -> list[Epoch]:
    """Read the epochs of a losses file.

    The content losses are one sum, and so are the style losses.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Epoch(
                int(row["stage"]),
                int(row["epoch"]),
                Losses(
                    {"content/all": float(row["content"]), "style/all": float(row["style"]), "tv": float(row["tv"])},
                    float(row["total"]),
                ),
                float(row["lr"]),
                float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]


def read_snapshots(folder: Path, epochs: int) -> list[tuple[int, Image.Image]]:
    """Return the snapshots of a run up to an epoch, in order.

    Each has its number of finished epochs.
    """
    paths = ((int(path.stem), path) for path in (folder / SNAPSHOTS).glob("[0-9]*.jpg"))
    return [(done, open_picture(path).image) for done, path in sorted(paths) if done <= epochs]


def main() -> None:
    """Make the film of the run in the folder on the command line; print JSON."""
    folder = Path(sys.argv[1])
    os.nice(15)
    try:
        record = read_record(folder / LOSSES)
        write_film(folder / FILM, read_snapshots(folder, len(record)), record)
        print(json.dumps({"film": "made"}))
    except (NSTError, OSError):
        print(json.dumps({"film": DISK_FULL}))
