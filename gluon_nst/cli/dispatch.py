"""Calls the functions of the commands; loads MXNet."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any, Callable

from mxnet import MXNetError

from gluon_nst.cli import batch, demo, info, lab, pictures, records, sheets, weights
from gluon_nst.cli.options import given_options
from gluon_nst.cli.resuming import original_arguments
from gluon_nst.errors import NSTError, reason
from gluon_nst.pictures.decoding import pixels_allowed

_COMMANDS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], int]] = {
    "demo": demo.demo,
    "chapter": pictures.chapter,
    "render": pictures.render,
    "sweep": sheets.sweep,
    "compare": sheets.compare,
    "reconstruct": sheets.reconstruct,
    "batch": batch.batch,
    "show": records.show,
    "rerun": records.rerun,
    "weights": weights.weights,
    "info": info.info,
    "kit": lab.kit,
}


def run(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """Run a command, and return its exit status.

    `options` are the keywords of `transfer` among the arguments.
    """
    try:
        with contextlib.ExitStack() as stack:
            if arguments.command == "resume":
                arguments = stack.enter_context(original_arguments(arguments))
                options = given_options(arguments)
            stack.enter_context(pixels_allowed(getattr(arguments, "max_pixels", None)))
            return _COMMANDS[arguments.command](arguments, options)
    except (MXNetError, MemoryError) as error:
        raise NSTError(f"the run failed: {reason(error)}") from None
