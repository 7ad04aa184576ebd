"""Measurements with MXNet in a subprocess, as JSON lines.

The doctor and the lab page use them; MXNet may crash. python -m gluon_nst.lab.probe
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
from gluon_nst.machine.files import OWN_SIZE
from gluon_nst.machine.instructions import instructions
from gluon_nst.network.layers import parameter_shapes
from gluon_nst.network.vgg import truncated_vgg19
from gluon_nst.recipes import Recipe
from gluon_nst.runs.estimates import objective_on_noise, time_objective
from gluon_nst.runs.run import fitted

TIMED_SIZE = (150, 225)
"""(height, width) at which an epoch is timed: the chapter's first size."""

NOTEBOOK = (
    ("d2l-2019", (150, 225), 100),
    ("d2l-2019", (300, 450), 30),
    ("fine", (100, 150), 40),
    ("fine", (141, 212), 15),
    ("fine", (200, 300), 15),
)
"""The epochs of the chapter's notebook, by recipe and size."""
_NOTEBOOK_OVERHEAD = 20
"""Seconds of starting the notebook and of its other cells."""


def software() -> dict[str, Any]:
    """Return MXNet's version and features, the device and the precision."""
    device = machine.choose_device()
    features = mx.runtime.Features()
    return {
        "mxnet": mx.__version__,
        "features": [name for name in ("MKLDNN", "CUDA", "OPENMP") if features.is_enabled(name)],
        "device": str(device),
        "precision": machine.choose_precision("auto", device),
        "bfloat16 by": machine.bfloat16_by(device),
        "amx": instructions.amx,
    }


def memory() -> dict[str, Any]:
    """Return the bytes that are free and the most that a run of the notebook needs."""
    most = max(needed(_fitted_recipe(name), size) for name, size, _ in NOTEBOOK)
    return {"free": machine.available_memory(), "needed": most}


def parameters() -> dict[str, Any]:
    """Return where VGG-19's parameters are: cached, in another cache, or a source."""
    trunk = weights.cached()
    if trunk:
        return {"status": "cached", "title": weights.SOURCES[trunk.source].title}
    for source in weights.SOURCES.values():
        path = source.on_this_machine()
        if path and path.is_file():
            return {"status": "on this machine", "title": source.title}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        available = list(pool.map(lambda source: source.answers(), weights.SOURCES.values()))
    sources = [name for name, is_available in zip(weights.SOURCES, available) if is_available]
    return {"status": "missing", "source": sources[0] if sources else None}


def _fitted_recipe(name: str) -> Recipe:
    return fitted(recipes.read(name), OWN_SIZE, machine.choose_device())


class SpeedMeasurement:
    """Times an epoch for each combination of precision and style statistic."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._parameters = {
            name: nd.array(random.standard_normal(shape, dtype=np.float32) * np.float32(0.05))
            for name, shape in parameter_shapes().items()
        }
        self._timings: dict[Any, tuple[float, float]] = {}

    def epoch(self, recipe: Recipe) -> tuple[float, float]:
        """Return the seconds of an epoch at TIMED_SIZE, and of a unit of work.

        A unit of work is that of `windows.work`.
        """
        key = recipe.precision, recipe.style_statistic
        if key not in self._timings:
            device = machine.choose_device()
            net = truncated_vgg19(self._parameters, recipe.last_layer, device)
            parts = whole(recipe.last_layer, TIMED_SIZE)
            seconds = time_objective(objective_on_noise(recipe, net, TIMED_SIZE, parts, device)).next
            self._timings[key] = seconds, seconds / work(parts)
        return self._timings[key]

    def seconds(self, recipe: Recipe, size: tuple[int, int], epochs: int) -> float:
        """Return the seconds of epochs at a size (height, width)."""
        return epochs * self.epoch(recipe)[1] * work(whole(recipe.last_layer, size))


def times() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the seconds of an epoch, then the minutes of each recipe and the notebook.

    The epoch is at TIMED_SIZE, the recipes are at their own sizes.
    """
    speed, chapter = SpeedMeasurement(), _fitted_recipe(recipes.CHAPTER)
    yield "epoch", {"seconds": speed.epoch(chapter)[0]}
    minutes = {}
    for name in recipes.names():
        recipe = _fitted_recipe(name)
        minutes[name] = sum(speed.seconds(recipe, stage.shape, stage.epochs) for stage in recipe.stages) / 60
    runs = sum(speed.seconds(_fitted_recipe(name), size, epochs) for name, size, epochs in NOTEBOOK)
    yield "minutes", {"recipes": minutes, "notebook": (runs + _NOTEBOOK_OVERHEAD) / 60}


def fetch() -> None:
    """Fetch the parameters, and print their source as JSON."""
    trunk = weights.find("auto", preferred=recipes.read(recipes.DEFAULT).trunk)
    print(json.dumps({"weights": f"{trunk.source} (VGG-19's parameters)"}), flush=True)


def rates() -> None:
    """Print the seconds of a unit of work (`windows.work`) by recipe name as JSON."""
    speed = SpeedMeasurement()
    print(json.dumps({name: speed.epoch(_fitted_recipe(name))[1] for name in recipes.names()}), flush=True)


def main() -> None:
    """Print each measurement as JSON as soon as it is known."""

    def put(name: str, values: dict[str, Any]) -> None:
        finite = {key: None if value == math.inf else value for key, value in values.items()}
        print(json.dumps({name: finite}), flush=True)

    put("software", software())
    put("memory", memory())
    put("weights", parameters())
    for name, values in times():
        put(name, values)


if __name__ == "__main__":
    main()
