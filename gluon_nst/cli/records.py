"""The commands that read the record in a picture: show and rerun."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gluon_nst.cli.outputs import check_distinct, writing
from gluon_nst.errors import NSTError
from gluon_nst.machine.durations import format_duration
from gluon_nst.observers import Bar
from gluon_nst.pictures.decoding import read_record
from gluon_nst.pictures.encoding import check_picture_writable
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.rerun import again


def show(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst show."""
    print(json.dumps(read_record(arguments.picture), indent=2))
    return 0


def rerun(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst rerun."""
    check_picture_writable(arguments.output)
    bar = Bar(quiet=arguments.quiet)
    job_options = {"device": arguments.device, **({"weights": arguments.weights} if arguments.weights else {})}
    reproduction = again(arguments.picture, arguments.inputs, bar, **job_options)
    check_picture_writable(arguments.output, reproduction.run.encoding.bits)
    check_distinct([arguments.output], arguments.picture, *reproduction.inputs, reproduction.run.recipe.init)
    note_if_long([reproduction.run], bar)
    with bar:
        result = reproduction.carry_out(bar)
    if not result.complete:
        raise NSTError(f"{arguments.picture}: could not be made again: {result.note}")
    with writing(arguments.output.parent):
        result.save(arguments.output)
    height, width = result.image.height, result.image.width
    print(f"{arguments.output}: {height} x {width}, made again, {format_duration(result.seconds)}")
    return 0
