"""The commands that read the record in a picture: show and rerun."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import textwrap
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from gluon_nst import recipes
from gluon_nst.cli.outputs import check_distinct, writing
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.durations import format_duration
from gluon_nst.observers import Bar
from gluon_nst.pictures.decoding import picture_size, read_made, read_record
from gluon_nst.pictures.encoding import check_picture_writable
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.provenance import Provenance
from gluon_nst.runs.rerun import again

# -- show -------------------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst show."""
    picture, record = arguments.picture, read_record(arguments.picture)
    if arguments.json:
        print(json.dumps(record, indent=2))
        return 0
    try:
        rows = list(_rows(picture, record))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        raise InputError(f"{picture}: does not say all of how it was made; --json prints what it says") from None
    width = max(len(name) for name, _ in rows) + 2
    columns = max(shutil.get_terminal_size().columns, 60)
    for name, text in rows:
        is_whole = name in ("picture", "again")  # a path and a command, to be copied
        lines = [text] if is_whole else textwrap.wrap(text, columns - width, break_on_hyphens=False)
        for number, line in enumerate(lines):
            print(f"{'' if number else name:<{width}}{line}")
    return 0


def _rows(picture: Path, record: Provenance) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of a picture's record, each a name and a text."""
    height, width = picture_size(picture)
    yield "picture", f"{picture}: {height} x {width} (height x width)"
    if "recipe" not in record:
        yield "sheet", f"of {record['pictures']} pictures; each says itself how it was made"
        return
    recipe, stages = record["recipe"], record["recipe"]["stages"]
    title = ", ".join(filter(None, [recipe.get("title"), recipe.get("source")])) or "without a title"
    names = [name for name in recipes.names() if recipes.read(name).title == recipe.get("title")]
    yield "recipe", f"{', '.join(names)}: {title}" if names else title
    sizes = ["{} x {}".format(*stage["size"]) for stage in stages]
    made = sizes[record["stage"] - 1]
    scaled = "" if made == f"{height} x {width}" else f"; the picture is that of {made}"
    yield "sizes", f"{', '.join(sizes)}{scaled}"
    yield "epochs", ", ".join(str(stage["epochs"]) for stage in stages)
    if "interrupted" in record:
        position = record["interrupted"]
        epochs = stages[position["stage"] - 1]["epochs"]
        progress = f"after {position['epochs']} of {epochs} epochs of stage {position['stage']}"
        yield "status", f"{record.get('status', 'interrupted')} {progress}"
    elif "epochs" in record:
        yield "status", f"after {record['epochs']} epochs of stage {record['stage']}"
    if "loss" in record:
        yield "total loss", f"{record['loss']:.4g}"
    yield from _losses(recipe)
    optimizer = {"adam": "Adam", "lbfgs": "L-BFGS"}.get(recipe["optimizer"], recipe["optimizer"])
    yield "optimiser", f"{optimizer}, {recipe['precision']}"
    yield from _inputs(record)
    weights = record["weights"]
    yield "weights", f"VGG-19 from {weights['source']}, SHA-256 {_short(weights['sha256'])}"
    yield "seed", str(record["seed"])
    if "processor" in record:
        yield "machine", f"{record['processor']}, {record['threads']} threads"
    yield "versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    name = shlex.quote(str(picture.with_name(f"{picture.stem}-again{picture.suffix}")))
    yield "again", f"gluon-nst rerun {shlex.quote(str(picture))} --output {name}"


def _losses(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, what in (("content", "features"), ("style", recipe["style_statistic"])):
        layers = [f"{layer} {weight:g}" for layer, weight in recipe[f"{kind}_layers"].items()]
        if layers and recipe[f"{kind}_weight"]:
            yield f"{kind} loss", f"weight {recipe[f'{kind}_weight']:g}, {what} of {', '.join(layers)}"
    if recipe["tv_weight"]:
        yield "tv loss", f"weight {recipe['tv_weight']:g}, {recipe['tv_norm']}"
    for change in recipe.get("changes", ()):
        weights = [f"{name.replace('_', ' ')} {value:g}" for name, value in change.items() if name.endswith("weight")]
        yield "changed", f"from stage {change['stage']}, epoch {change['epoch']} on: {', '.join(weights)}"


def _inputs(record: Provenance) -> Iterator[tuple[str, str]]:
    """Yield the rows of the input pictures, which are known by their hashes."""
    yield "content", f"SHA-256 {_short(record['content_sha256'])}"
    for style in record.get("styles") or [{"sha256": record["style_sha256"]}]:
        parts = [f"{name} {style[name]:g}" for name in ("weight", "scale") if style.get(name) is not None]
        yield "style", ", ".join([f"SHA-256 {_short(style['sha256'])}", *parts])
    for name in ("mask", "init"):
        if f"{name}_sha256" in record:
            yield name, f"SHA-256 {_short(record[f'{name}_sha256'])}"
    if "regions_sha256" in record:
        yield "regions", f"SHA-256 {', '.join(map(_short, record['regions_sha256']))}"


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"


# -- rerun ------------------------------------------------------------------------------------------------------------


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
        raise NSTError(f"{arguments.picture}: could not be reproduced: {result.note}")
    with writing(arguments.output.parent):
        result.save(arguments.output)
    height, width = result.image.height, result.image.width
    difference = _difference(arguments.picture, arguments.output, reproduction.run.encoding.bits)
    print(
        f"{arguments.output}: {height} x {width} (height x width), reproduced, {difference},"
        f" {format_duration(result.seconds)}"
    )
    return 0


def _difference(picture: Path, other: Path, bits: int) -> str:
    """Return in words how much a reproduction differs from a `picture`.

    `other` is the reproduction's file.
    """
    pixels, other_pixels = _pixels(picture, bits), _pixels(other, bits)
    if pixels is None or other_pixels is None:
        return f"not compared with {picture}, which is damaged"
    if pixels.shape != other_pixels.shape:
        return f"not compared with {picture}, which has been changed since"
    differences = np.abs(pixels.astype(np.int64) - other_pixels)
    if not differences.any():
        return f"identical to {picture} pixel by pixel"
    loss = ", the compression of the file included" if picture.suffix.lower() != other.suffix.lower() else ""
    return (
        f"different from {picture}: by {differences.max()} of {2**bits - 1} at most,"
        f" {differences.mean():.2g} on average, in {differences.any(axis=-1).mean():.2%} of the pixels{loss}"
    )


def _pixels(picture: Path, bits: int) -> np.ndarray | None:
    """Return the pixels of a picture, height × width × channels.

    They have `bits` per channel. Returns None if the picture is damaged.
    """
    if bits == 16:
        import pyvips

        try:
            return np.asarray(pyvips.Image.new_from_file(str(picture)).numpy())
        except pyvips.Error:
            return None
    made = read_made(picture)
    return made and np.asarray(made[0])
