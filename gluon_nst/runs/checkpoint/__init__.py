"""Checkpoints: files with the State of a run and a checksum, from which the run resumes with the same picture."""

from gluon_nst.runs.checkpoint.keeper import EVERY, Checkpoint, carry_out_kept, command_of

__all__ = ["EVERY", "Checkpoint", "carry_out_kept", "command_of"]
