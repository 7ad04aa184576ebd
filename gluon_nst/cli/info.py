"""The command info: machine, precision, sources of weights, and extras."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import mxnet as mx

from gluon_nst import machine
from gluon_nst.cli.weights import print_sources
from gluon_nst.machine.extras import EXTRAS
from gluon_nst.machine.instructions import instructions
from gluon_nst.version import __version__


def info(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst info."""
    versions = {"gluon-nst": __version__, "mxnet": mx.__version__, "python": platform.python_version()}
    device = machine.choose_device()
    threads = os.environ.get("OMP_NUM_THREADS", "as MXNet takes them")
    print(" ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"device {device}; cores {machine.physical_cores()}; threads {threads}")
    by, auto = machine.bfloat16_by(device) or "nothing", machine.choose_precision("auto", device)
    print(f"precision, where a recipe says auto: {auto}; bfloat16 by {by}; AMX: {instructions.amx}")
    print_sources()
    _print_extras()
    return 0


def _print_extras() -> None:
    """Print the extras, which of them are installed, and how to install the others."""
    print("extras, which add packages:")
    for name, extra in EXTRAS.items():
        installed = extra.is_installed
        command = "" if installed else f"; pip install 'gluon-nst[{name}]'"
        print(f"{name:<12} {'installed' if installed else '-':<9} {extra.purpose}{command}")
