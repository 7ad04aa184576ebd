"""Pictures: decoding, encoding, preprocessing, colours, masks and region maps."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # As in `nst.pictures.own_pictures()`: these two fetch and verify, as weights do.
    if name in ("book_pictures", "own_pictures"):
        return getattr(importlib.import_module("gluon_nst.weights.pictures"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
