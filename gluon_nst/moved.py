"""Old paths of modules, which keep working for one minor version with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType
from typing import Any

_PACKAGES = {
    "machine": "files scratch",
    "pictures": "colours encoding pixels regions",
    "network": "layers vgg",
    "losses": "records roots style_statistics",
    "engine": "composite graph memory objective windows",
    "optimisers": "lbfgs",
    "runs": "checkpoint estimates figures inputs job loop observer provenance result run state steering targets"
    " training",
}
_RENAMED = {
    "apart": "runs.processes",
    "canvas": "engine.padding",
    "frames": "pictures.optical_flow",
    "images": "pictures.decoding",
    "narrow": "network.bfloat16",
    "rerunning": "runs.rerun",
    "spectrum": "optimisers.preconditioner",
    "sums": "losses.reductions",
}
MOVED = {name: f"{package}.{name}" for package, names in _PACKAGES.items() for name in names.split()}
MOVED.update(_RENAMED)
"""The modules that were directly in gluon_nst, by their old names, with their new ones."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import the module that has taken the place of an old one, under both names."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != "gluon_nst" or name not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = f"gluon_nst.{MOVED[spec.name.rpartition('.')[2]]}"
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__ = self._own  # not those of the old name


def keep_old_paths() -> None:
    """Let old paths be imported, after everything else has been looked for."""
    sys.meta_path.append(_Finder())
