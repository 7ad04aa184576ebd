"""The objective of a stage: graph, windows, memory plan, composite."""
