"""The command weights: lists, fetches, imports and finds VGG-19's parameters."""

from __future__ import annotations

import argparse
from typing import Any

from gluon_nst import weights as trunks
from gluon_nst.errors import NSTError
from gluon_nst.observers import Bar


def weights(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst weights."""
    bar = Bar()
    if arguments.action == "list":
        print_sources()
        return 0
    if arguments.action == "path":
        trunk = trunks.cached(arguments.source)
        if trunk is None:
            raise NSTError(f"weights {arguments.source}: not here; run gluon-nst weights fetch, or import a file")
    elif arguments.action == "fetch":
        trunk = trunks.fetch(arguments.source, notify=bar.note, progress=bar.download)
    else:
        trunk = trunks.import_file(arguments.file, notify=bar.note)
    print(trunk.path)
    return 0


def print_sources() -> None:
    """Print the sources, and which of them are in the cache."""
    for source in trunks.SOURCES.values():
        cached = trunks.cached(source.name)
        print(
            f"{source.name:<12} {source.size / 1e6:4.0f} MB  {'here' if cached else '-':<5}"
            f" {source.title}, {source.licence}"
        )
        print(f"{'':<12} {source.best_for}")
