"""What made a picture: written into it, and compared."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import Any, Dict

import mxnet
import numpy as np
from PIL import Image

from gluon_nst.machine import bfloat16_by, threads
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
        written["threads"] = threads()  # other sums, in the last bit, and after many epochs another picture
    if recipe.precision == "bfloat16":
        written["instructions"] = bfloat16_by(device)
    return written


def as_text(written: Provenance) -> str:
    """What is written into a picture."""
    return json.dumps(written, sort_keys=True)


def key(written: Provenance) -> str:
    """A SHA-256 of what a picture is made of: recipe, inputs, parameters, seed.

    Versions do not count, nor the words of a recipe, nor the threads, nor what computed bfloat16.
    """
    recipe = {name: value for name, value in written.get("recipe", {}).items() if name not in WORDS}
    made = {**written, "recipe": recipe, "versions": None, "threads": None, "instructions": None}
    return hashlib.sha256(as_text(made).encode()).hexdigest()
