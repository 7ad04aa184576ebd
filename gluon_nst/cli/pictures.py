"""The commands that make one run: chapter and render."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Callable, Iterable

from gluon_nst import recipes
from gluon_nst.cli import plain
from gluon_nst.cli.outputs import (
    OutputWriter,
    check_default_output,
    check_distinct,
    check_writable_with,
    default_output,
    save_beside,
    writing,
)
from gluon_nst.cli.session import Session
from gluon_nst.errors import InputError, warn
from gluon_nst.losses.records import Status
from gluon_nst.machine.files import check_writable
from gluon_nst.observers import Bar, Lines
from gluon_nst.pictures.encoding import check_picture_writable, warn_of_quality
from gluon_nst.runs import figures
from gluon_nst.runs.inputs import inputs
from gluon_nst.runs.job import Job, Style, Styles
from gluon_nst.runs.result import Result
from gluon_nst.weights.pictures import book_pictures, own_pictures

_STATUS = {Status.COMPLETE: 0, Status.SETTLED: 0, Status.INTERRUPTED: 130}
"""Exit statuses; 1 for the other statuses of a result."""


def render(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst render."""
    job = _job(arguments, options, recipes.DEFAULT, _styles(arguments))
    is_named = arguments.output is not None or arguments.overwrite
    output = arguments.output or default_output(arguments.content, arguments.style)
    if is_named:
        check_picture_writable(output, job.bits, job.quality)
    else:
        check_default_output(output, job.bits, job.quality)
        if arguments.save_every:
            raise InputError("--save-every: its pictures are named after the picture; name that with --output")
    session = Session(arguments, output, job)
    outputs = [*([output] if is_named else []), *session.outputs, *filter(None, [arguments.losses])]
    for path in outputs:
        check_writable(path)
    _check_inputs(arguments, job, [*outputs, *session.checkpoint_files])
    result = session.carry_out(job)
    if result is None:
        return _STATUS[Status.INTERRUPTED]
    with writing(output.parent):
        writer = OutputWriter(session.bar.note)
        if is_named:
            picture = writer.write(result.save, session.free_output_path(output, result), fallback=True)
        else:
            save = functools.partial(save_beside, result, session.bar.note)
            picture = writer.write(save, output, fallback=True)
        if arguments.losses:
            writer.write(_losses_saver(result, arguments.losses), session.free_output_path(arguments.losses, result))
        session.end(result, picture, writer)
    return _STATUS.get(result.status, 1)


def chapter(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst chapter."""
    if arguments.recipe and arguments.edition:
        raise InputError("--edition names a recipe as --recipe does; give one of them")
    # Without --content and --style, the pictures are chosen below.
    job = _job(arguments, options, f"d2l-{arguments.edition or 2019}", arguments.style or "")
    if arguments.plain:
        plain.check_options(arguments, job)
    out, losses = arguments.out, arguments.losses or arguments.out / "losses.csv"
    check_writable_with(out, [losses, out / "losses.png"])
    warn_of_quality("neural-style-1.png", job.quality)
    content, style = _chapter_pictures(arguments)
    job = dataclasses.replace(job, content=content, style=(Style(style),))
    session = Session(arguments, out / "neural-style.png", job, [Lines()])
    images = [out / f"neural-style-{number}.png" for number in range(1, len(session.recipe.stages) + 1)]
    outputs = [*images, losses, out / "losses.png", *session.outputs]
    check_writable_with(out, outputs)
    _check_inputs(arguments, job, [*outputs, *session.checkpoint_files])
    result = session.carry_out(job, plain.carry_out if arguments.plain else None)
    if result is None:
        return _STATUS[Status.INTERRUPTED]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        writer = OutputWriter(session.bar.note)
        for number, path in enumerate(images[: len(result.images)], start=1):
            save = functools.partial(result.save, stage=number)
            picture = writer.write(save, session.free_output_path(path, result), fallback=True)
        writer.write(_losses_saver(result, losses), session.free_output_path(losses, result))
        writer.write(result.save_plot, session.free_output_path(out / "losses.png", result))
        session.end(result, picture, writer)
    return _STATUS.get(result.status, 1)


def _losses_saver(result: Result, path: Path) -> Callable[[Path], None]:
    """Return the method that writes the losses: a plot or, by default, CSV.

    The ending of `path` selects it.
    """
    return result.save_plot if path.suffix.lower() in figures.ENDINGS else result.save_losses


def _job(arguments: argparse.Namespace, options: dict[str, Any], default: str, styles: Styles) -> Job:
    recipe = arguments.recipe or default
    return Job(arguments.content or "", styles, recipe=recipe, device=arguments.device, **options)


def _styles(arguments: argparse.Namespace) -> list[Style]:
    """Return the styles of `render`, each with its values of the options."""
    pictures = arguments.style
    values: dict[str, Any] = {}
    for name, option_values, option in (
        ("weight", arguments.style_weights, "--style-weights"),
        ("scale", arguments.style_scale, "--style-scale"),
        ("regions", arguments.style_regions, "--style-regions"),
    ):
        is_shared = name != "regions" and option_values is not None and len(option_values) == 1
        if option_values is not None and len(option_values) != len(pictures) and not is_shared:
            raise InputError(f"{option}: {len(option_values)} for {len(pictures)} styles; give one each")
        if name == "weight" and option_values and len(pictures) == 1 and not os.path.isdir(str(pictures[0])):
            warn("--style-weights has no effect on one style")
        values[name] = (option_values * len(pictures) if is_shared else option_values) or []
    return [
        Style(picture, **{name: value[number] for name, value in values.items() if value})
        for number, picture in enumerate(pictures)
    ]


def _check_inputs(arguments: argparse.Namespace, job: Job, outputs: Iterable[Path]) -> None:
    recipe_files = recipes.paths(arguments.recipe) if arguments.recipe else []
    check_distinct(outputs, *inputs(job), recipes.read(job.recipe).init, job.weights, *recipe_files)


def _chapter_pictures(arguments: argparse.Namespace) -> tuple[Path, Path]:
    bar = Bar(quiet=arguments.quiet)
    if (arguments.content is None) != (arguments.style is None):
        raise InputError("--content and --style go together; give both, or neither for the project's own pictures")
    if arguments.content:
        if arguments.book_images:
            raise InputError("--book-images is for a run without --content and --style; leave one of them out")
        return arguments.content, arguments.style
    if arguments.book_images:
        return book_pictures(bar.download)
    bar.note("using the project's own pictures; --book-images fetches the book's, --content and --style take yours")
    return own_pictures()
