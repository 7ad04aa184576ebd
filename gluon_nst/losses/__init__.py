"""Losses and their parts: reductions over positions, statistics of a style, the chapter's functions."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # `gluon_nst.losses` was the module of these. Imported when they are asked for: MXNet takes seconds to load.
    if name in ("add_up", "compute_loss", "content_loss", "gram", "style_loss", "tv_loss"):
        return getattr(importlib.import_module("gluon_nst.losses.chapter"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
