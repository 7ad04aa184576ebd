"""What `doctor` asks of a machine with MXNet loaded, in a process of its own, which may die of it: one finding after
the other as JSON.

python -m gluon_nst.lab.probe
"""

from __future__ import annotations

import concurrent.futures
import json
import math
from typing import Any, Iterator

import mxnet as mx
import numpy as np
from mxnet import nd

from gluon_nst import machine, recipes, weights
from gluon_nst.engine.memory import needed
from gluon_nst.engine.windows import whole, work
from gluon_nst.machine.instructions import instructions
from gluon_nst.network.layers import parameter_shapes
from gluon_nst.network.vgg import truncated_vgg19
from gluon_nst.recipes import Recipe
from gluon_nst.runs.estimates import objective_on_noise, timed
from gluon_nst.runs.run import fitted

PICTURE = (1000, 1500)
"""(height, width) of the project's own pictures."""

TIMED = (150, 225)
"""(height, width) at which an epoch is timed: the chapter's first size."""

NOTEBOOK = (
    ("d2l-2019", (150, 225), 100),
    ("d2l-2019", (300, 450), 30),
    ("fine", (100, 150), 40),
    ("fine", (141, 212), 15),
    ("fine", (200, 300), 15),
)
"""The epochs of the chapter's notebook, by recipe and size."""
_REST_OF_THE_NOTEBOOK = 20
"""Seconds that its other cells take, with its start; they compute little."""


def software() -> dict[str, Any]:
    """MXNet, and where it computes."""
    device = machine.choose_device()
    features = mx.runtime.Features()
    return {
        "mxnet": mx.__version__,
        "built with": [name for name in ("MKLDNN", "CUDA", "OPENMP") if features.is_enabled(name)],
        "device": str(device),
        "precision": machine.choose_precision("auto", device),
        "bfloat16 by": machine.bfloat16_by(device),
        "amx": instructions.amx,
    }


def memory() -> dict[str, Any]:
    """Bytes: what is free, and what the notebook's runs need at most."""
    most = max(needed(_named(name), size) for name, size, _ in NOTEBOOK)
    return {"free": machine.available_memory(), "needed": most}


def parameters() -> dict[str, Any]:
    """Where VGG-19's parameters are, or whence they can be had."""
    trunk = weights.cached()
    if trunk:
        return {"where": "here", "title": weights.SOURCES[trunk.source].title}
    for source in weights.SOURCES.values():
        original = source.on_this_machine()
        if original and original.is_file():
            return {"where": "left", "title": source.title}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda source: source.answers(), weights.SOURCES.values()))
    return {"where": "to be fetched", "source": next((n for n, there in zip(weights.SOURCES, answers) if there), None)}


def _named(name: str) -> Recipe:
    return fitted(recipes.read(name), PICTURE, machine.choose_device())


class Rates:
    """Seconds for each unit of work, by what a recipe computes: its precision and its style statistic; each timed
    once."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._parameters = {
            name: nd.array(random.standard_normal(shape, dtype=np.float32) * np.float32(0.05))
            for name, shape in parameter_shapes().items()
        }
        self._found: dict[Any, tuple[float, float]] = {}

    def epoch(self, recipe: Recipe) -> tuple[float, float]:
        """The seconds of an epoch at TIMED, and those for each unit of work."""
        kind = recipe.precision, recipe.style_statistic
        if kind not in self._found:
            device = machine.choose_device()
            net = truncated_vgg19(self._parameters, recipe.last_layer, device)
            parts = whole(recipe.last_layer, TIMED)
            seconds = timed(objective_on_noise(recipe, net, TIMED, parts, device)).next
            self._found[kind] = seconds, seconds / work(parts)
        return self._found[kind]

    def seconds(self, recipe: Recipe, size: tuple[int, int], epochs: int) -> float:
        """What so many epochs take at a size (height, width)."""
        return epochs * self.epoch(recipe)[1] * work(whole(recipe.last_layer, size))


def times() -> Iterator[tuple[str, dict[str, Any]]]:
    """An epoch at TIMED; then the minutes of each recipe, at its own sizes, and of the notebook."""
    rates, book = Rates(), _named(recipes.CHAPTER)
    yield "epoch", {"seconds": rates.epoch(book)[0]}
    minutes = {}
    for name in recipes.names():
        recipe = _named(name)
        minutes[name] = sum(rates.seconds(recipe, stage.shape, stage.epochs) for stage in recipe.stages) / 60
    runs = sum(rates.seconds(_named(name), size, epochs) for name, size, epochs in NOTEBOOK)
    yield "minutes", {"recipes": minutes, "notebook": (runs + _REST_OF_THE_NOTEBOOK) / 60}


def fetch() -> None:
    """Have the parameters here, and put where they come from on standard output."""
    found = weights.find("auto", preferred=recipes.read(recipes.DEFAULT).trunk)
    print(json.dumps({"weights": f"{found.source} (VGG-19's parameters)"}), flush=True)


def rates() -> None:
    """Put the seconds of a unit of work (`windows.work`), by the name of each recipe, on standard output."""
    timed_once = Rates()
    print(json.dumps({name: timed_once.epoch(_named(name))[1] for name in recipes.names()}), flush=True)


def main() -> None:
    """Put the findings on standard output, each as soon as it is known."""

    def put(name: str, found: dict[str, Any]) -> None:
        found = {key: None if value == math.inf else value for key, value in found.items()}
        print(json.dumps({name: found}), flush=True)

    put("software", software())
    put("memory", memory())
    put("weights", parameters())
    for name, found in times():
        put(name, found)


if __name__ == "__main__":
    main()
