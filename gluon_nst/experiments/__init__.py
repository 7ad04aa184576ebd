"""Experiments: the chapter's exercises and the paper's figures, as sheets."""

from gluon_nst.experiments.designs import FIGURE_1, VARIABLE, compare, reconstruct, sweep
from gluon_nst.experiments.trials import Experiment, Outcome, Prepared, Trial, kept

__all__ = [
    "FIGURE_1",
    "VARIABLE",
    "Experiment",
    "Outcome",
    "Prepared",
    "Trial",
    "compare",
    "kept",
    "reconstruct",
    "sweep",
]
