"""The optimisers: Adam, as the chapter's Trainer has it, and L-BFGS."""

from gluon_nst.moved import forward

__getattr__ = forward(__name__, "gluon_nst.optimisers.optimisers", "Adam", "CLASSES", "LBFGS", "Moments", "Optimiser")
