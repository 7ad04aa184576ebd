"""Checkpoints: files with the State of a run, from which it can resume."""

from gluon_nst.runs.checkpoint.keeper import EVERY, Checkpoint, carry_out_kept, command_of

__all__ = ["EVERY", "Checkpoint", "carry_out_kept", "command_of"]
