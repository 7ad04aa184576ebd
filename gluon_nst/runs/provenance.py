"""The record of how a picture was made: written into its file, and compared."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import Any, Dict, Iterator, Tuple, Union

import mxnet
import numpy as np
from PIL import Image

from gluon_nst.machine import bfloat16_by, processor, threads
from gluon_nst.recipes import Recipe, settings
from gluon_nst.version import __version__

Provenance = Dict[str, Any]
"""A record, as JSON values: recipe, hashes of the inputs and of the weights, versions, seed, sizes."""

WORDS = tuple(each.name for each in settings(Recipe) if each.words)
"""The descriptive fields of a recipe, which do not change the picture."""


def provenance(recipe: Recipe, inputs: Provenance, weights: dict[str, str], seed: int, device: Any) -> Provenance:
    """Return the record of a run by `recipe`, fitted to its pictures.

    - `inputs` are the SHA-256 of all pictures and their settings (`inputs.inputs_record`).
    - `weights` are the source and the SHA-256 of VGG-19's parameters.
    - `seed` and `device` are those of the run.
    """
    record = {
        "recipe": recipe.as_dict(),
        "weights": weights,
        "versions": {
            "gluon-nst": __version__,
            "mxnet": mxnet.__version__,
            "numpy": np.__version__,
            "pillow": Image.__version__,
            "python": platform.python_version(),
        },
        "seed": seed,
        "sizes": [stage.size for stage in recipe.stages],
    }
    record.update(inputs)
    if device.device_type == "cpu":
        record["threads"], record["processor"] = threads(), processor()
    if recipe.precision == "bfloat16":
        record["instructions"] = bfloat16_by(device)
    return record


def as_text(record: Provenance) -> str:
    """Return a record as the text that is written into a picture."""
    return json.dumps(record, sort_keys=True)


_OF_THE_MACHINE = ("versions", "threads", "instructions", "processor", "memory")
"""Fields of the machine and its software: they change the last bits, and after many epochs the picture."""


_OF_THE_FILE = ("file", "job", "loss")
"""Fields of the file's encoding, of the batch job, and the final loss."""


def key(record: Provenance) -> str:
    """Return the SHA-256 of the recipe, inputs, parameters and seed of a picture.

    Versions, the machine, the descriptive fields of a recipe, the file's encoding, the batch job and the final loss do
    not count.
    """
    return hashlib.sha256(as_text(_determining_fields(record)).encode()).hexdigest()


OF_THE_PICTURE = ("stage", "epochs", "status", "interrupted", "job")
"""Fields of a record that belong to one picture of the run, or to the end of the run."""


def job_key(record: Provenance) -> str:
    """Return the key of the job of a picture, the same for its unfinished pictures."""
    return key({name: value for name, value in record.items() if name not in OF_THE_PICTURE})


def _determining_fields(record: Provenance) -> Provenance:
    recipe = {name: value for name, value in record.get("recipe", {}).items() if name not in WORDS}
    if "init_sha256" in record:  # wherever its file is
        recipe["init"] = "picture"
    # The keys of the first pictures contained these names.
    placeholders = {"versions": None, "threads": None, "instructions": None}
    fields = {name: value for name, value in record.items() if name not in (*_OF_THE_MACHINE, *_OF_THE_FILE)}
    return {**fields, **placeholders, "recipe": recipe}


_INPUTS = {
    "content_sha256": "the content picture",
    "style_sha256": "the style picture",
    "init_sha256": "the picture that it starts from",
    "mask_sha256": "the mask",
    "regions_sha256": "the region maps",
    "flattened": "the flattening of the content picture",
}


def differences(there: Provenance, here: Provenance) -> list[str]:
    """List the fields in which two provenances differ, with both values.

    The machine is left out. The list is empty if their keys are the same.
    """
    fields, other_fields = (json.loads(as_text(_determining_fields(each))) for each in (there, here))
    if "styles" in {**fields, **other_fields}:
        for each in (fields, other_fields):
            each.setdefault("styles", [{"sha256": each.pop("style_sha256", None), "weight": 1.0, "scale": None}])
    for each in (fields, other_fields):
        each.pop("sizes", None)  # the recipe's stages have them, too
    recipes = fields.pop("recipe"), other_fields.pop("recipe")
    return [_description(*each) for pair in (recipes, (fields, other_fields)) for each in _differing_values(*pair)]


_Path = Tuple[Union[str, int], ...]


def _differing_values(first: Any, second: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any, Any]]:
    """Yield (path, one value, other value) for the differences of two JSON trees."""
    if first == second:
        return
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            yield from _differing_values(first.get(name), second.get(name), (*path, name))
    elif all(isinstance(each, list) and each and isinstance(each[0], dict) for each in (first, second)):
        if len(first) != len(second):
            yield path, len(first), len(second)
        for number, (a, b) in enumerate(zip(first, second), start=1):
            yield from _differing_values(a, b, (*path, number))
    else:
        yield path, first, second


def _description(path: _Path, first: Any, second: Any) -> str:
    name, *rest = path
    if name in _INPUTS:
        return f"{_INPUTS[str(name)]} differs"
    if rest and isinstance(rest[0], int):  # an element of stages, changes or styles
        name, rest = f"{str(name)[:-1]} {rest[0]}", rest[1:]
    return f"{': '.join(map(str, [name, *rest]))}: {_text(first)} there, {_text(second)} here"


def _text(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_MAX_LISTED = 8


def listed(differences: list[str]) -> str:
    """Join differences to one text: the first eight, and the number of the others."""
    rest = [f"and {len(differences) - _MAX_LISTED} more"] if len(differences) > _MAX_LISTED else []
    return "; ".join([*differences[:_MAX_LISTED], *rest])


def other_machine(there: Provenance, here: Provenance) -> list[str]:
    """List the differences in machine and installed versions of two records."""
    differences = []
    for name in _OF_THE_MACHINE:
        first, second = there.get(name), here.get(name)
        if name == "versions":
            packages = sorted({*(first or {}), *(second or {})})
            pairs = [(package, (first or {}).get(package), (second or {}).get(package)) for package in packages]
        else:
            pairs = [(name, first, second)]
        differences += [f"{what} {a} there, {b} here" for what, a, b in pairs if a != b and a is not None]
    return differences
