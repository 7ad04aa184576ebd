"""Functions for the commands: `transfer`, `compare`, `sweep` and `reconstruct`."""

from gluon_nst.api.sheets import SheetResult, compare, reconstruct, sweep
from gluon_nst.api.transfers import transfer

__all__ = ["SheetResult", "compare", "reconstruct", "sweep", "transfer"]
