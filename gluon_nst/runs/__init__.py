"""Runs: from a Job to a Result, with records, checkpoints and estimates."""
