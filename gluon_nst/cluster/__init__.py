"""Many machines: the workers of a Dask cluster, here or elsewhere, and one picture spread over them."""

from __future__ import annotations

import warnings

from gluon_nst.cluster.pool import Pool
from gluon_nst.cluster.spread import Spread

__all__ = ["Pool", "Spread"]


def __getattr__(name: str) -> type[Pool]:
    if name == "Crew":
        warnings.warn("gluon_nst.cluster.Crew is now gluon_nst.cluster.Pool", DeprecationWarning, stacklevel=2)
        return Pool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
