"""The commands notebook, doctor and kit: what a lab takes. The first two load no MXNet."""

from __future__ import annotations

import argparse
from typing import Any

from gluon_nst.lab import doctor as examination
from gluon_nst.lab import notebooks


def notebook(arguments: argparse.Namespace) -> int:
    """gluon-nst notebook."""
    path = notebooks.place_notebook(arguments.name, arguments.out)
    print(path)
    print(f"open it:              jupyter lab {path}")
    print(f"or run it as it is:   jupyter nbconvert --to html --execute {path}")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """gluon-nst doctor: a line for each finding, as it is known; status 1 where the lab would fail."""
    levels = []
    for finding in examination.examine():
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        print(f"{finding.level:<5}  {finding.name:<9}  {finding.found}{remedy}", flush=True)
        levels.append(finding.level)
    faults = levels.count(examination.FAULT)
    print(f"not ready: {faults} fault{'s' * (faults > 1)}, see above" if faults else "ready for the lab")
    return 1 if faults else 0


def kit(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst kit."""
    from tqdm import tqdm

    from gluon_nst.lab.kit import make
    from gluon_nst.observers import Bar

    bar = Bar()

    def counting(description: str, count: int | None) -> Any:
        return tqdm(desc=description, total=count, unit="package", leave=False)

    made = make(arguments.folder, notify=bar.note, progress=bar.download, counting=counting)
    print(f"{made}: carry it to a machine without a network, and run there: bash {made.name}/install")
    return 0
