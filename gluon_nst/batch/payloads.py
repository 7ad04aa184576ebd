"""Payload: a job with all that it is made of, which can be sent to another machine. What is a file here travels by its
content."""

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

_OTHERS = [each.name for each in settings(Job) if not each.words and each.name not in ("weights", "memory")]
"""The fields of a Job that its picture depends on, beside content, style and recipe. Of `weights` the parameters count,
and `memory` changes nothing but rounding."""

FindTrunk = Callable[[str, str], Trunk]
"""The Trunk for a job's `weights`, and the source that its recipe prefers."""


class Payload(NamedTuple):
    """A job as it is sent: its pictures are named by their SHA-256, and `contents` has them by these names."""

    name: str
    job: Job
    trunk: Trunk
    """Whose file the worker holds already."""
    asked: str
    """A SHA-256 of all that makes its picture."""
    contents: dict[str, bytes]
    originals: dict[str, str]
    """What the files are called here, by these names, for people."""

    def unpacked(self, folder: Path) -> Job:
        """The job, its files in a `folder`."""
        for name, content in self.contents.items():
            with written_whole(folder / name) as file:
                file.write(content)
        return _with_files(self.job, lambda name: folder / str(name))

    def in_words(self, text: str, folder: Path) -> str:
        """A text with the names of this machine in place of those of the files in `folder`."""
        for name, original in self.originals.items():
            text = text.replace(str(folder / name), original).replace(name, original)
        return text


class Packed(NamedTuple):
    """A job whose inputs have been looked at, and not read into the memory yet."""

    entry: Entry
    recipe: Recipe
    """Fitted to its content picture: how long it takes depends on that."""
    asked: str
    job: Job
    """As it is sent: each picture is named by its content."""
    trunk: Trunk
    """VGG-19's parameters, which it is made with."""
    files: dict[str, Path]
    """Its files by these names."""

    def payload(self, start: Path | None = None) -> Payload:
        """What is sent; `start` is the picture that it starts from in place of its recipe's."""
        job, files = self.job, self.files
        if start is not None:
            name = f"start-{_sha256(start)}{start.suffix}"
            job, files = dataclasses.replace(job, recipe=following(self.recipe, name)), {**files, name: start}
        contents = {}
        for name, path in files.items():
            with reading(path, "a picture"):
                contents[name] = path.read_bytes()
        originals = {name: str(path) for name, path in files.items()}
        return Payload(self.entry.name, job, self.trunk, self.asked, contents, originals)


def following(recipe: Recipe, start: str) -> Recipe:
    """The recipe of a frame that starts from the one before it: its last stage alone, as what the others find is
    there."""
    return dataclasses.replace(recipe, stages=recipe.stages[-1:], size_factor=1.0, init=start, noise=0.0, changes=())


def pack(entry: Entry, find: FindTrunk, before: Packed | None = None) -> Packed:
    """Look at the inputs of a job; `before` is the frame that it follows. Raises InputError, and WeightsError."""
    job = entry.job
    assert job is not None and isinstance(job.recipe, Recipe)
    files: dict[str, Path] = {}

    def named(source: Any) -> str:
        if not isinstance(source, (str, Path)):
            raise InputError("a picture in the memory can't be sent; save it, and name its file")
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
    made_of = {
        "content": sent.content,
        "styles": [[style.picture, style.weight, style.scale, style.regions] for style in sent.style],
        "recipe": {name: value for name, value in sent.recipe.as_dict().items() if name not in WORDS},
        "others": [*(getattr(sent, name) for name in _OTHERS), sent.file, trunk.sha256],
        "before": before.asked if before else None,
    }
    asked = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return Packed(entry, recipe, asked, sent, trunk, files)


def _with_files(job: Job, named: Callable[[Any], Any]) -> Job:
    """The job with what `named` gives in place of each of its pictures; those of a folder stand one by one."""
    assert isinstance(job.style, tuple) and isinstance(job.recipe, Recipe)

    def optional(source: Any) -> Any:
        return None if source is None else named(source)

    styles = [
        Style(named(file), weight, style.scale, optional(style.regions)) for file, style, weight in expanded(job.style)
    ]
    recipe = job.recipe
    if recipe.init not in INITS:
        recipe = dataclasses.replace(recipe, init=str(named(recipe.init)))
    mask, regions = optional(job.mask), optional(job.regions)
    return dataclasses.replace(job, content=named(job.content), style=styles, recipe=recipe, mask=mask, regions=regions)


def _sha256(path: Path) -> str:
    with reading(path, "a picture"):
        return sha256_of(path)
