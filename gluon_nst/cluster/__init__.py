"""Dask clusters, local or remote, and one picture computed by their workers."""

from __future__ import annotations

import typing
import warnings

from gluon_nst.cluster.pool import Pool
from gluon_nst.cluster.spread import Spread

__all__ = ["Pool", "Spread"]


class _Crew(Pool):
    """Pool under its old name, whose `notify` was called `say`."""

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        say: typing.Callable[[str], object] = str,
        notify: typing.Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(address, workers, notify or say)


def __getattr__(name: str) -> type[Pool]:
    if name == "Crew":
        warnings.warn("gluon_nst.cluster.Crew is now gluon_nst.cluster.Pool", DeprecationWarning, stacklevel=2)
        return _Crew
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
