"""Runs: from a Job to a Result, with everything that is recorded, saved and resumed on the way."""
