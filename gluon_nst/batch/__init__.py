"""Batch: many jobs on one or more machines.

A failed job does not stop the others, and a finished one is not repeated. The module itself can be called:
`nst.batch("contents", "styles", output="painted")` paints each picture of a folder in each style of another, in several
processes; `help(nst.batch.run.batch)` has its arguments. In a program that is a file, call it below
`if __name__ == "__main__":`, because the processes import that file.
"""

import sys
import types

from gluon_nst.batch.entries import Entry, pairs, read, sequence
from gluon_nst.batch.overview import Outcome, Overview, OverviewBar
from gluon_nst.batch.report import write_report
from gluon_nst.batch.run import BatchResult
from gluon_nst.batch.run import batch as _batch
from gluon_nst.batch.scheduler import Batch

__all__ = [
    "Batch",
    "BatchResult",
    "Entry",
    "Outcome",
    "Overview",
    "OverviewBar",
    "pairs",
    "read",
    "sequence",
    "write_report",
]


class _CallableModule(types.ModuleType):
    __call__ = staticmethod(_batch)


sys.modules[__name__].__class__ = _CallableModule
