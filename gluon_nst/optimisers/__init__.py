"""The optimisers: Adam, by the chapter's Trainer, and L-BFGS."""

from gluon_nst.optimisers.adam import Adam, Moments
from gluon_nst.optimisers.lbfgs import LBFGS
from gluon_nst.optimisers.optimiser import CLASSES, Optimiser, OptimiserState, resumed

__all__ = ["CLASSES", "LBFGS", "Adam", "Moments", "Optimiser", "OptimiserState", "resumed"]
