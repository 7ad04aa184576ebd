"""What made a picture: written into it, and compared."""

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
"""What can be written as JSON: recipe, hashes of the inputs and of the weights, versions, seed, sizes."""

WORDS = tuple(each.name for each in settings(Recipe) if each.words)
"""The fields of a recipe that are words for people: another title makes no other picture."""


def provenance(recipe: Recipe, inputs: Provenance, weights: dict[str, str], seed: int, device: Any) -> Provenance:
    """That of a run by `recipe`, as it is fitted to its pictures.

    - `inputs` are the SHA-256 of all pictures, and what else there is to say of them.
    - `weights` are the source and the SHA-256 of VGG-19's parameters.
    - `seed` and `device` are those of the run.
    """
    written = {
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
    written.update(inputs)
    if device.device_type == "cpu":
        written["threads"], written["processor"] = threads(), processor()
    if recipe.precision == "bfloat16":
        written["instructions"] = bfloat16_by(device)
    return written


def as_text(written: Provenance) -> str:
    """What is written into a picture."""
    return json.dumps(written, sort_keys=True)


_OF_THE_MACHINE = ("versions", "threads", "instructions", "processor", "memory")
"""What does not say what is made, but by what: it counts in the last bits, and after many epochs in the picture."""


_OF_THE_FILE = ("file", "job")
"""How its file was written, and for which job of a batch."""


def key(written: Provenance) -> str:
    """A SHA-256 of what a picture is made of: recipe, inputs, parameters, seed.

    Versions do not count, nor the words of a recipe, nor the machine, nor how the picture's file was written, and for
    what.
    """
    return hashlib.sha256(as_text(_made_of(written)).encode()).hexdigest()


def _made_of(written: Provenance) -> Provenance:
    recipe = {name: value for name, value in written.get("recipe", {}).items() if name not in WORDS}
    if "init_sha256" in written:  # wherever that picture is
        recipe["init"] = "picture"
    # The names that stand for nothing here were in the first pictures' keys.
    nothing = {"versions": None, "threads": None, "instructions": None}
    made = {name: value for name, value in written.items() if name not in (*_OF_THE_MACHINE, *_OF_THE_FILE)}
    return {**made, **nothing, "recipe": recipe}


_INPUTS = {
    "content_sha256": "the content picture",
    "style_sha256": "the style picture",
    "init_sha256": "the picture that it starts from",
    "mask_sha256": "the mask",
    "regions_sha256": "the maps of regions",
    "flattened": "whether the content picture is flattened",
}


def differences(there: Provenance, here: Provenance) -> list[str]:
    """List the fields in which the runs of two provenances differ, each with its two values; the machine is left out.

    The list is empty if their keys are the same.
    """
    made, other = (json.loads(as_text(_made_of(each))) for each in (there, here))
    if "styles" in {**made, **other}:
        for each in (made, other):
            each.setdefault("styles", [{"sha256": each.pop("style_sha256", None), "weight": 1.0, "scale": None}])
    for each in (made, other):
        each.pop("sizes", None)  # which the recipe's stages say as well
    recipes = made.pop("recipe"), other.pop("recipe")
    return [_told(*each) for pair in (recipes, (made, other)) for each in _unlike(*pair)]


_Place = Tuple[Union[str, int], ...]


def _unlike(one: Any, two: Any, place: _Place = ()) -> Iterator[tuple[_Place, Any, Any]]:
    """The innermost places at which two trees of JSON differ, with the two values there."""
    if one == two:
        return
    if isinstance(one, dict) and isinstance(two, dict):
        for name in sorted({*one, *two}):
            yield from _unlike(one.get(name), two.get(name), (*place, name))
    elif all(isinstance(each, list) and each and isinstance(each[0], dict) for each in (one, two)):
        if len(one) != len(two):
            yield place, len(one), len(two)
        for number, (a, b) in enumerate(zip(one, two), start=1):
            yield from _unlike(a, b, (*place, number))
    else:
        yield place, one, two


def _told(place: _Place, one: Any, two: Any) -> str:
    name, *inside = place
    if name in _INPUTS:
        return f"{_INPUTS[str(name)]} is another"
    if inside and isinstance(inside[0], int):  # of one of several: stages, changes, styles
        name, inside = f"{str(name)[:-1]} {inside[0]}", inside[1:]
    return f"{': '.join(map(str, [name, *inside]))}: {_text(one)} there, {_text(two)} here"


def _text(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_MOST = 8


def listed(said: list[str]) -> str:
    """Differences as one text: the first eight, and how many more there are."""
    more = [f"and {len(said) - _MOST} more"] if len(said) > _MOST else []
    return "; ".join([*said[:_MOST], *more])


def other_machine(there: Provenance, here: Provenance) -> list[str]:
    """In what the machines, and the versions of what is installed on them, differ: a few words for each."""
    said = []
    for name in _OF_THE_MACHINE:
        one, two = there.get(name), here.get(name)
        if name == "versions":
            packages = sorted({*(one or {}), *(two or {})})
            pairs = [(package, (one or {}).get(package), (two or {}).get(package)) for package in packages]
        else:
            pairs = [(name, one, two)]
        said += [f"{what} {a} there, {b} here" for what, a, b in pairs if a != b and a is not None]
    return said
