"""Losses and their parts: reductions over positions, statistics of a style, the chapter's functions."""
