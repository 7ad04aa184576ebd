"""What a run does: Recipe and Stage, read from recipes/*.toml, one file for each published program."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Tuple

from gluon_nst.errors import InputError, reading
from gluon_nst.training import OPTIMIZERS, PRECISIONS
from gluon_nst.vgg import LAYERS, smallest_side

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent / "recipes"

INITS = ("content", "noise", "style")
CARRIES = ("picture", "change")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One size of the coarse-to-fine schedule. Sizes are (height, width) in pixels."""

    size: Tuple[int, int]
    epochs: int
    lr: float = 0.01
    lr_decay: float = 0.1
    """The learning rate's factor; it falls after each epoch whose number is a positive multiple of `lr_decay_epoch`,"""
    lr_decay_epoch: int = 200
    lr_decay_from: int = 0
    """where the first epoch has this number."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a run does, whatever its pictures: layers, weights, optimiser, stages."""

    stages: Tuple[Stage, ...]
    title: str = ""
    source: str = ""
    content_layers: Tuple[int, ...] = (25,)
    """Indices in the model zoo's `features`; a file may name them as the paper does, `conv4_4`."""
    style_layers: Tuple[int, ...] = (0, 5, 10, 19, 28)
    content_weight: float = 1.0
    style_weight: float = 1e3
    tv_weight: float = 10.0
    optimizer: str = "adam"
    precision: str = "float32"
    """Of the convolutions after the first; `auto` is bfloat16 where the processor computes it natively, else float32."""
    tolerance: float = 0.0
    """A stage ends before its epochs do when its loss has fallen by less than this share of it over ten epochs."""
    init: str = "content"
    """The first stage's start: `content`, `noise`, `style`, or a picture's path."""
    carry: str = "picture"
    """What a stage takes over from the one before, resized: the `picture`, clipped to what can be shown, or its `change`
    from the content picture, which leaves the content's finer detail where it is."""
    rescaled: bool = True
    """Whether a Caffe-scaled trunk is brought to the scale of the model zoo's, for which the weights were chosen."""
    report_every: int = 50
    """Epochs between two printed lines."""

    @property
    def last_layer(self):
        """The index of the last layer used: the network ends there."""
        return max(self.content_layers + self.style_layers)


def names():
    """The names of the published programs' recipes, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def _path(recipe):
    if str(recipe) in names():
        return _FOLDER / f"{recipe}.toml"
    if str(recipe).endswith(".toml"):
        return Path(recipe)
    raise InputError(f"recipe {recipe}: not one of {', '.join(names())}, nor the path of a .toml file")


def text(recipe):
    """The TOML text of a recipe, by name or path, ready to be saved and edited."""
    path = _path(recipe)
    try:
        with reading(path, "a recipe"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8; save the recipe as one") from None


def read(recipe):
    """The Recipe of that name, or in that .toml file; a Recipe is returned as it is."""
    if isinstance(recipe, Recipe):
        return recipe
    path = _path(recipe)
    try:
        table = tomllib.loads(text(recipe))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    stages = table.pop("stages", None)
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise InputError(f"{path}: stages: at least one [[stages]] table is needed")
    stages = tuple(_build(Stage, stage, f"{path}: stage {number}") for number, stage in enumerate(stages, start=1))
    recipe = _build(Recipe, table, path, stages=stages)
    _check_sizes(recipe, f"{path}: ")
    return recipe


def _build(kind, table, where, **given):
    """A Stage or a Recipe from the TOML `table`, every value checked."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in given}
    for name in table:
        if name not in fields:
            raise InputError(f"{where}: {name}: unknown key; allowed are {', '.join(fields)}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in table:
            raise InputError(f"{where}: {name}: missing")
    return kind(**given, **{name: _checked(name, value, f"{where}: {name}") for name, value in table.items()})


# One rule for each field: a function that gives the value in its type or raises, and what it allows in words.


def _integer(low):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError
        return value

    return check, f"an integer of at least {low}"


def _number(low, open_end=False):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not math.isfinite(value) or value < low or (open_end and value == low):
            raise ValueError
        return float(value)

    return check, f"a number {'above' if open_end else 'of at least'} {low}"


def _choice(*choices):
    def check(value):
        if value not in choices:
            raise ValueError
        return value

    return check, f"one of {', '.join(map(str, choices))}"


def _boolean(value):
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value):
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _layers(value):
    indices = tuple(LAYERS[layer] if isinstance(layer, str) else layer for layer in value)
    if not indices or isinstance(value, str) or len(set(indices)) < len(indices):
        raise ValueError
    check, _ = _integer(0)
    if max(map(check, indices)) >= len(LAYERS):
        raise ValueError
    return indices


def _size(value):
    height, width = value
    check, _ = _integer(1)
    return check(height), check(width)


_LAYERS = (_layers, f"different layers of VGG-19, by name (conv4_2) or index (0 to {len(LAYERS) - 1})")
_RULES = {
    "size": (_size, "two positive integers, [height, width]"),
    "epochs": _integer(1),
    "lr": _number(0, open_end=True),
    "lr_decay": _number(0, open_end=True),
    "lr_decay_epoch": _integer(1),
    "lr_decay_from": _integer(0),
    "title": (_text, "a text"),
    "source": (_text, "a text"),
    "content_layers": _LAYERS,
    "style_layers": _LAYERS,
    "content_weight": _number(0),
    "style_weight": _number(0),
    "tv_weight": _number(0),
    "optimizer": _choice(*OPTIMIZERS),
    "precision": _choice("auto", *PRECISIONS),
    "tolerance": _number(0),
    "init": (_text, f"one of {', '.join(INITS)}, or a picture's path"),
    "carry": _choice(*CARRIES),
    "rescaled": (_boolean, "true or false"),
    "report_every": _integer(1),
}


def _checked(name, value, where):
    check, allowed = _RULES[name]
    try:
        return check(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise InputError(f"{where}: {value!r} is not {allowed}") from None


def _check_sizes(recipe, where=""):
    """Raise InputError where a stage is too small for the layers of `recipe`."""
    least = smallest_side(recipe.last_layer)
    for stage in recipe.stages:
        if min(stage.size) < least:
            height, width = stage.size
            raise InputError(
                f"{where}size {height}x{width}: too small for the network, whose layer {recipe.last_layer} needs "
                f"at least {least}x{least}"
            )


def customise(
    recipe,
    *,
    sizes=None,
    epochs=None,
    lr=None,
    optimizer=None,
    precision=None,
    tolerance=None,
    init=None,
    content_weight=None,
    style_weight=None,
    tv_weight=None,
):
    """`recipe` (a Recipe, a name or a path) with other values for what is given.

    `sizes` is a sequence of (height, width), one a stage; the stages take their other values from the recipe's stages in
    turn, and from its last one where there are more. `epochs` is a sequence of one number each, or one for all.
    `precision` auto leaves it to the recipe.
    """
    recipe = read(recipe)
    stages = recipe.stages
    if sizes is not None:
        sizes = [_checked("size", size, "sizes") for size in sizes]
        if not sizes:
            raise InputError("sizes: at least one is needed")
        stages = tuple(
            dataclasses.replace(stages[min(number, len(stages) - 1)], size=size) for number, size in enumerate(sizes)
        )
    if epochs is not None:
        epochs = list(epochs) if isinstance(epochs, (list, tuple)) else [epochs]
        if len(epochs) not in (1, len(stages)):
            raise InputError(f"epochs: {len(epochs)} numbers for {len(stages)} sizes; give one each, or one for all")
        epochs = [_checked("epochs", number, "epochs") for number in epochs]
        epochs = epochs * len(stages) if len(epochs) == 1 else epochs
        stages = tuple(dataclasses.replace(stage, epochs=number) for stage, number in zip(stages, epochs))
    if lr is not None:
        stages = tuple(dataclasses.replace(stage, lr=_checked("lr", lr, "lr")) for stage in stages)
    values = {
        "optimizer": optimizer,
        "precision": None if precision == "auto" else precision,
        "tolerance": tolerance,
        "init": None if init is None else str(init),
        "content_weight": content_weight,
        "style_weight": style_weight,
        "tv_weight": tv_weight,
    }
    values = {name: _checked(name, value, name) for name, value in values.items() if value is not None}
    recipe = dataclasses.replace(recipe, stages=stages, **values)
    _check_sizes(recipe)
    return recipe
