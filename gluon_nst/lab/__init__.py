"""Teaching material: notebooks, checks of exercises, tools, and the lab page.

- `notebooks` builds the notebooks from scripts/notebook_*.py.
- `checks` has exercise_1 to exercise_9, which notebooks call: `run_checks` checks the results of runs,
  `function_checks` functions that students write. Both use the class `Check` of `check`.
- `doctor` reports whether a machine is ready; `probe` is its subprocess with MXNet, which also times the recipes for
  the lab page.
- `kit` builds a folder from which gluon-nst installs without a network.
- `web` is the lab page.
"""
