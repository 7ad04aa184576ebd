"""The film of a run of the lab, of the pictures along the way that are there, in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

from PIL import Image

from gluon_nst.errors import NSTError
from gluon_nst.lab.web.models import DISK_FULL
from gluon_nst.lab.web.store import FILM, LOSSES, MOMENTS
from gluon_nst.losses.records import Epoch, Losses
from gluon_nst.observers.film import write_film
from gluon_nst.pictures.decoding import open_picture


def record_of(path: Path) -> list[Epoch]:
    """The epochs in a file of losses, each with the sums of its losses."""
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


def moments_of(folder: Path, epochs: int) -> list[tuple[int, Image.Image]]:
    """The pictures along the way, each with how many epochs were done, in their order."""
    found = ((int(path.stem), path) for path in (folder / MOMENTS).glob("[0-9]*.jpg"))
    return [(done, open_picture(path).image) for done, path in sorted(found) if done <= epochs]


def main() -> None:
    """Make the film of the run in the folder that the command names, and print what became of it as JSON."""
    folder = Path(sys.argv[1])
    os.nice(15)
    try:
        record = record_of(folder / LOSSES)
        write_film(folder / FILM, moments_of(folder, len(record)), record)
        print(json.dumps({"film": "made"}))
    except (NSTError, OSError):
        print(json.dumps({"film": DISK_FULL}))
