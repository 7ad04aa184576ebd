"""The objective of a stage and what computes it: graph, windows, memory, composite."""
