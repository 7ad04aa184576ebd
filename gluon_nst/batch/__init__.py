"""Batch: many jobs on one or more machines. A failed job does not stop the others; a finished one is not repeated."""

from gluon_nst.batch.entries import Entry, pairs, read, sequence
from gluon_nst.batch.overview import Outcome, Overview, OverviewBar
from gluon_nst.batch.report import write_report
from gluon_nst.batch.scheduler import Batch

__all__ = ["Batch", "Entry", "Outcome", "Overview", "OverviewBar", "pairs", "read", "sequence", "write_report"]
