"""Payload: a job with the contents of its pictures, for another machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Callable, NamedTuple

from gluon_nst.batch.entries import Entry
from gluon_nst.errors import InputError
from gluon_nst.machine.files import given, reading, written_whole
from gluon_nst.pictures.decoding import picture_size
from gluon_nst.recipes import INITS, Recipe, fit, settings
from gluon_nst.runs.inputs import expanded
from gluon_nst.runs.job import Job, Style
from gluon_nst.runs.provenance import WORDS
from gluon_nst.weights.cache import Trunk, sha256_of

_OTHER_FIELDS = [each.name for each in settings(Job) if not each.words and each.name not in ("weights", "memory")]
"""The fields of a Job that affect the picture, other than content, style, recipe, and `weights`, whose trunk is hashed.
`memory` affects only the rounding."""

FindTrunk = Callable[[str, str], Trunk]
"""Function that returns the Trunk for a job's `weights` and the source that its recipe prefers."""


class Payload(NamedTuple):
    """A job for another machine, with the contents of its files once read."""

    entry: Entry
    recipe: Recipe
    """The recipe fitted to the content picture, from which the job's duration is estimated."""
    sha256: str
    """A SHA-256 of all inputs that affect the picture."""
    job: Job
    """The job with a name in place of each picture: the SHA-256 of its content."""
    trunk: Trunk
    """The trunk, whose file is uploaded separately."""
    files: dict[str, Path]
    """The paths of the pictures on the machine of the command, by these names."""
    contents: dict[str, bytes] = {}
    """The contents of the pictures, by the same names; empty before `with_contents`."""

    def with_contents(self, start: Path | None = None) -> Payload:
        """Return the payload with its files read into memory.

        `start` is the picture to start from instead of the recipe's `init`. Raises InputError if a file can't be read.
        """
        job, files = self.job, self.files
        if start is not None:
            name = f"start-{_sha256(start)}{start.suffix}"
            job, files = dataclasses.replace(job, recipe=following(self.recipe, name)), {**files, name: start}
        contents = {}
        for name, path in files.items():
            with reading(path, "a picture"):
                contents[name] = path.read_bytes()
        return self._replace(job=job, files=files, contents=contents)

    def unpacked(self, folder: Path) -> Job:
        """Write the pictures into `folder`, and return the job with their paths there."""
        for name, content in self.contents.items():
            with written_whole(folder / name) as file:
                file.write(content)
        return _with_files(self.job, lambda name: folder / str(name))

    def with_original_paths(self, text: str, folder: Path) -> str:
        """Return a text with the original paths of the pictures in `folder`.

        They replace the paths of the pictures there, and their names.
        """
        for name, original in self.files.items():
            text = text.replace(str(folder / name), str(original)).replace(name, str(original))
        return text


def following(recipe: Recipe, start: str) -> Recipe:
    """Return the last stage of a recipe, with `start` as its `init`.

    It is the recipe of a frame after the first one of a sequence.
    """
    return dataclasses.replace(recipe, stages=recipe.stages[-1:], size_factor=1.0, init=start, noise=0.0, changes=())


def pack(entry: Entry, find: FindTrunk, before: Payload | None = None) -> Payload:
    """Check the inputs of a job, and return its Payload without contents.

    `before` is the payload of the frame before it in a sequence. Raises InputError and WeightsError.
    """
    job = entry.job
    assert job is not None and isinstance(job.recipe, Recipe)
    files: dict[str, Path] = {}

    def named(source: Any) -> str:
        if not isinstance(source, (str, Path)):
            raise InputError("a picture in memory can't be sent to a worker; save it, and pass its path")
        path = given(source)
        name = f"{_sha256(path)}{path.suffix.lower()}"
        files[name] = path
        return name

    recipe = fit(job.recipe, picture_size(job.content))
    trunk = find(job.weights, recipe.trunk)
    sent = dataclasses.replace(_with_files(job, named), weights="auto")
    if before is not None:
        recipe = following(recipe, "content")
    assert isinstance(sent.style, tuple) and isinstance(sent.recipe, Recipe)
    determining = {
        "content": sent.content,
        "styles": [[style.picture, style.weight, style.scale, style.regions] for style in sent.style],
        "recipe": {name: value for name, value in sent.recipe.as_dict().items() if name not in WORDS},
        "others": [*(getattr(sent, name) for name in _OTHER_FIELDS), sent.file, trunk.sha256],
        "before": before.sha256 if before else None,
    }
    sha256 = hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()
    return Payload(entry, recipe, sha256, sent, trunk, files)


def _with_files(job: Job, named: Callable[[Any], Any]) -> Job:
    """Return the job with each picture replaced by the result of `named`.

    A folder of styles is expanded.
    """

    def optional(source: Any) -> Any:
        return None if source is None else named(source)

    styles = tuple(
        Style(named(file), weight, style.scale, optional(style.regions)) for file, style, weight in expanded(job.style)
    )
    recipe = job.recipe
    if recipe.init not in INITS:
        recipe = dataclasses.replace(recipe, init=str(named(recipe.init)))
    mask, regions = optional(job.mask), optional(job.regions)
    return dataclasses.replace(job, content=named(job.content), style=styles, recipe=recipe, mask=mask, regions=regions)


def _sha256(path: Path) -> str:
    with reading(path, "a picture"):
        return sha256_of(path)
