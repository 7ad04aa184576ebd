"""Old paths of modules, which give a DeprecationWarning for one minor version."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType
from typing import Any, Callable

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
"""New names of the modules that were directly in gluon_nst, by their old names."""


def _new(old: str) -> str | None:
    """Return the new path of a module that has moved, or None.

    A module in a package that has moved has moved too.
    """
    package, _, name = old.partition(".")
    first, dot, rest = name.partition(".")
    if package != "gluon_nst" or first not in MOVED or (dot and first != "checkpoint"):
        return None
    return f"gluon_nst.{MOVED[first]}{dot}{rest}"


def import_moved(old: str) -> ModuleType:
    """Import the module with the old path `old`, and warn.

    The warning names the line of the caller's caller.
    """
    new = _new(old)
    assert new is not None
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
    return importlib.import_module(new)


def forward(package: str, module: str, *names: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a `package` that replaces an old module.

    It has these `names` of a new `module`, which is imported when a name is used, because MXNet takes seconds to load.
    The new module is imported when a name is used, because MXNet takes seconds to load.
    """

    def get(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import a moved module under its old name and its new one."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if _new(fullname) else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = import_moved(spec.name)
        self._spec_and_loader = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__ = self._spec_and_loader  # not those of the old name


def keep_old_paths() -> None:
    """Register the finder of old paths.

    It comes before the other finders, which would load a module of a moved package a second time.
    """
    sys.meta_path.insert(0, _Finder())
