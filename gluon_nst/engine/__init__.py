"""The objective of a stage and its evaluation: graph, windows, memory plan, composite."""
