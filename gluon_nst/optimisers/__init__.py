"""The optimisers: Adam, as the chapter's Trainer has it, and L-BFGS."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # `gluon_nst.optimisers` was the module of these.
    if name in ("Adam", "CLASSES", "LBFGS", "Moments", "Optimiser"):
        return getattr(importlib.import_module("gluon_nst.optimisers.optimisers"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
