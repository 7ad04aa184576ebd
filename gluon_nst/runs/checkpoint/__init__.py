"""Checkpoints: the State of a run on the disk, whole and checked, from which it goes on to the same picture."""

from gluon_nst.runs.checkpoint.keeper import EVERY, Checkpoint, carry_out_kept, command_of

__all__ = ["EVERY", "Checkpoint", "carry_out_kept", "command_of"]
