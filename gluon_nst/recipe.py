"""What a run does: Recipe and Stage, read from recipes/*.toml, one file for each published program."""

import dataclasses
import math
import os
import sys
from pathlib import Path
from typing import Tuple, Union

from gluon_nst.errors import InputError
from gluon_nst.files import given, reading
from gluon_nst.layers import CONTENT_LAYERS, LAYERS, STYLE_LAYERS, smallest_side

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent / "recipes"

DEFAULT = "d2l-2019"
"""The recipe of a run that is not told another."""
PUBLISHED = ("d2l-2019", "udacity", "poster", "tensorflow", "gatys-2016")
"""The four documents' recipes and the paper's: what `compare` takes unless it is told otherwise."""

# What the fields of a recipe may be, by name.

SOURCES = ("model-zoo", "caffe", "torchvision", "pypi")
"""Where VGG-19's parameters can come from, in the order in which they are tried."""
TRAINED = ("model-zoo", "torchvision", "caffe")
"""Those of them that published programs ran on."""
ACTIVATIONS = ("model-zoo", "caffe")
"""Scales of the activations: the model zoo's, which is torchvision's too, and the original Caffe network's, tens of times
larger. A ReLU network computes the same at both, but for the unit."""
POOLINGS = ("max", "average")
PRECISIONS = ("float32", "bfloat16")
PIXELS = ("standardised", "unit", "bytes")
BOUNDS = ("end", "step")
KEEPS = ("last", "best")
OPTIMIZERS = {"adam": ("end", "last"), "lbfgs": ("step", "best")}
"""Each with the bounds and the composite to keep that suit it: what `auto` stands for."""
INITS = ("content", "noise", "style")
CARRIES = ("picture", "change")
RESIZES = ("bilinear", "antialiased", "lanczos")
SIDES = ("longest", "shortest")

# What the published programs divide a Gram matrix of c × hw features by, and by what they multiply the mean of squares.
GRAM_DIVISORS = {"chw": lambda c, hw: c * hw, "hw": lambda c, hw: hw, "none": lambda c, hw: 1}
CONTENT_REDUCTIONS = {"mean": lambda c, hw: 1, "sum": lambda c, hw: c * hw, "sum/2": lambda c, hw: c * hw / 2}
STYLE_REDUCTIONS = {
    "mean": lambda c, hw: 1,
    "mean/chw": lambda c, hw: 1 / (c * hw),
    "sum": lambda c, hw: c * c,
    "sum/(2chw)^2": lambda c, hw: c * c / (2 * c * hw) ** 2,
    "relative": lambda c, hw: 1,  # and divided by the mean square of the style picture's Gram matrix
}

CORRECTIONS = 5
"""Steps that L-BFGS remembers. For the chapter's losses, from the content picture, more need no fewer evaluations, and each
takes longer; from noise more are worth their time and memory."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One size of the coarse-to-fine schedule."""

    size: Union[Tuple[int, int], int]
    """(height, width) in pixels, or one side, which the recipe names, of a composite of the content picture's own shape."""
    epochs: int
    lr: float = 0.01
    """In the unit `pixels` of the recipe."""
    lr_decay: float = 0.1
    """The learning rate's factor; it falls after each epoch whose number is a positive multiple of `lr_decay_epoch`,"""
    lr_decay_epoch: int = 200
    lr_decay_from: int = 0
    """where the first epoch has this number."""

    def __post_init__(self):
        for name in (field.name for field in dataclasses.fields(self)):
            object.__setattr__(self, name, _checked(name, getattr(self, name), name))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a run does, whatever its pictures: layers, losses, weights, optimiser, stages.

    What is not given is as in the chapter's 2019 edition. Raises InputError for a value that a field can't have.
    """

    stages: Tuple[Stage, ...]
    title: str = ""
    source: str = ""
    trunk: str = "model-zoo"
    """The trained VGG-19 that the program ran on: what `--weights auto` takes if it is here."""
    activations: str = "model-zoo"
    """The scale of the activations that the weights of the losses were chosen for: the `model-zoo`'s (which is also
    torchvision's) or `caffe`'s."""
    pooling: str = "max"
    content_layers: Tuple[int, ...] = CONTENT_LAYERS
    """Indices in the model zoo's `features`, in ascending order. A file may name the layers as the paper does, `conv4_4`
    (before its ReLU) or `relu4_4` (after), and may give each a weight: `{relu1_1 = 1.0, relu2_1 = 0.5}`."""
    style_layers: Tuple[int, ...] = STYLE_LAYERS
    content_layer_weights: Tuple[float, ...] = ()
    """One for each of the layers, 1 where a file gives none; `content_weight` and `style_weight` multiply them."""
    style_layer_weights: Tuple[float, ...] = ()
    gram_divisor: str = "chw"
    """What a Gram matrix of c × h × w features is divided by: `chw`, `hw` or `none`."""
    content_reduction: str = "mean"
    """Of the squared differences in a layer: `mean`, `sum` or `sum/2`."""
    style_reduction: str = "mean"
    """Of the squared differences of Gram matrices: `mean`, `mean/chw`, `sum`, `sum/(2chw)^2` or `relative`."""
    content_weight: float = 1.0
    style_weight: float = 1e3
    tv_weight: float = 10.0
    optimizer: str = "adam"
    corrections: int = CORRECTIONS
    """Steps that L-BFGS remembers."""
    precision: str = "float32"
    """Of the convolutions after the first; `auto` is bfloat16 where that is the faster on the processor, else float32."""
    tolerance: float = 0.0
    """A stage ends before its epochs do when its loss has fallen by less than this share of it over ten epochs."""
    pixels: str = "standardised"
    """The unit in which the optimizer sees the composite: `standardised`, as the network does, `unit`, from 0 to 1, or
    `bytes`, from 0 to 255."""
    bounds: str = "auto"
    """When pixels are brought to what a picture can show: at each `step`, or at the `end` of a stage. `auto` is what
    suits the optimizer, whichever it is, here and in `keep`: step and best with lbfgs, end and last with adam."""
    keep: str = "auto"
    """Which composite a stage ends with: the `last`, or the `best`, whose loss was the lowest."""
    init: str = "content"
    """The first stage's start: `content`, `noise`, `style`, or a picture's path."""
    carry: str = "picture"
    """What a stage takes over from the one before, resized: the `picture`, clipped to what can be shown, or its `change`
    from the content picture, which leaves the content's finer detail where it is."""
    resize: str = "bilinear"
    """How pictures are resized: `bilinear` as MXNet does, `antialiased` (bilinear) or `lanczos` as Pillow does."""
    style_size: Union[str, float] = "content"
    """The style picture's size: squashed to the `content`'s, or in its own shape, its longest side this many times the
    composite's."""
    side: str = "longest"
    """Which side of the composite a stage's `size` is where it is one number: the `longest` or the `shortest`."""
    enlarge: bool = True
    """Whether such a size may be more than the content picture's longest side; where it may not, it is that side."""
    report_every: int = 50
    """Epochs between two printed lines."""

    def __post_init__(self):
        stages = tuple(self.stages) if isinstance(self.stages, (list, tuple)) else ()
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise InputError(_NO_STAGES)
        values = {"stages": stages}
        for name in (field.name for field in dataclasses.fields(self) if field.name not in (*_MADE_ELSEWHERE, *_LAYERS)):
            values[name] = _checked(name, getattr(self, name), name)
        for kind in ("content", "style"):
            layers, weights = f"{kind}_layers", f"{kind}_layer_weights"
            # No layers are enough for a loss that counts for nothing.
            chosen = getattr(self, layers)
            pairs = _checked(layers, chosen, layers) if chosen or values[f"{kind}_weight"] else []
            if getattr(self, weights) and not isinstance(chosen, dict):  # else the table has them
                pairs = _with_weights(pairs, getattr(self, weights), weights)
            pairs = sorted(pairs)  # the network puts its features out in this order
            values[layers], values[weights] = zip(*pairs) if pairs else ((), ())
        if not values["content_layers"] and not values["style_layers"]:
            raise InputError("content_layers, style_layers: at least one layer is needed")
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_sizes(self)

    @property
    def last_layer(self):
        """The index of the last layer used: the network ends there."""
        return max(self.content_layers + self.style_layers)

    @property
    def keeps(self):
        """Which composite a stage ends with: last or best."""
        return resolve(self.optimizer, self.bounds, self.keep)[1]

    @property
    def loss_options(self):
        """The keywords of `compute_loss`."""
        return {
            "content_weight": [self.content_weight * weight for weight in self.content_layer_weights],
            "style_weight": [self.style_weight * weight for weight in self.style_layer_weights],
            "tv_weight": self.tv_weight,
            "gram_divisor": self.gram_divisor,
            "content_reduction": self.content_reduction,
            "style_reduction": self.style_reduction,
        }


def names():
    """The names of the published programs' recipes, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def resolve(optimizer, bounds, keep):
    """`bounds` and `keep` as the optimizer has them where they are auto. Raises InputError for another optimizer."""
    if optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer {optimizer}: not one of {', '.join(OPTIMIZERS)}")
    its_bounds, its_keep = OPTIMIZERS[optimizer]
    return its_bounds if bounds == "auto" else bounds, its_keep if keep == "auto" else keep


def _path(recipe):
    if str(recipe) in names():
        return _FOLDER / f"{recipe}.toml"
    if str(recipe).endswith(".toml"):
        return given(recipe)
    raise InputError(f"recipe {recipe}: not one of {', '.join(names())}, nor the path of a .toml file")


def text(recipe):
    """The TOML text of a recipe, by name or path, ready to be saved and edited."""
    path = _path(recipe)
    try:
        with reading(path, "a recipe"):
            return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8; save the recipe as one") from None


def read(recipe):
    """The Recipe of that name, or in that .toml file; a Recipe is returned as it is."""
    if isinstance(recipe, Recipe):
        return recipe
    path = _path(recipe)
    try:
        return Recipe(**{"stages": (), **_read_values(path)})
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def _read_values(path, below=()):
    """The values of Recipe's fields in the file at `path`, over those of the recipe that it extends."""
    if path.resolve() in below:
        raise InputError(f"{path}: extends: the recipe extends itself")
    try:
        table = tomllib.loads(text(path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: an integer of too many digits, too
        raise InputError(f"{path}: not TOML: {error}") from None
    values = {}
    if "extends" in table:
        extended = _checked("extends", table.pop("extends"), f"{path}: extends")
        if extended not in names():
            if not extended.endswith(".toml"):
                raise InputError(f"{path}: extends: {extended!r} is not one of {', '.join(names())}, nor a .toml file")
            extended = path.parent / given(extended)
        values = _read_values(_path(extended), (*below, path.resolve()))
    stages = table.pop("stages", None)
    values.update(_checked_table(Recipe, table, path))
    if stages is not None:
        if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
            raise InputError(f"{path}: {_NO_STAGES}")
        where = [f"{path}: stage {number}" for number in range(1, len(stages) + 1)]
        values["stages"] = tuple(Stage(**_checked_table(Stage, stage, at)) for stage, at in zip(stages, where))
    return values


_NO_STAGES = "stages: at least one [[stages]] table is needed"
_LAYERS = ("content_layers", "style_layers")
_MADE_ELSEWHERE = ("stages", "content_layer_weights", "style_layer_weights")


def _checked_table(kind, table, where):
    """The values of a TOML `table` for the fields of `kind`, Stage or Recipe, every one checked."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in _MADE_ELSEWHERE}
    for name in table:
        if name not in fields:
            extends = "extends, stages, " if kind is Recipe else ""
            raise InputError(f"{where}: {name}: unknown key; allowed are {extends}{', '.join(fields)}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in table:
            raise InputError(f"{where}: {name}: missing")
    values = {name: _checked(name, value, f"{where}: {name}") for name, value in table.items()}
    return _with_layer_weights(values)


def _with_layer_weights(values):
    """`values` with the checked pairs of content and style layers taken apart into layers and weights."""
    for kind in ("content", "style"):
        if f"{kind}_layers" in values:
            pairs = values[f"{kind}_layers"]
            values[f"{kind}_layers"], values[f"{kind}_layer_weights"] = map(tuple, zip(*pairs))
    return values


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


def _line(value):
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    return value


def _text(value):
    if not _line(value):
        raise ValueError
    return value


def _layers(value):
    """(index, weight) of each layer in a list of layers, or in a table of their weights."""
    weights = value if isinstance(value, dict) else {}
    layers = [int(name) if isinstance(name, str) and name.isdecimal() else name for name in value]
    indices = [LAYERS[layer] if isinstance(layer, str) else layer for layer in layers]
    if not indices or isinstance(value, str) or len(set(indices)) < len(indices):
        raise ValueError
    check_index, _ = _integer(0)
    check_weight, _ = _number(0)
    if max(map(check_index, indices)) >= len(LAYERS):
        raise ValueError
    return [(index, check_weight(weights.get(name, 1.0))) for index, name in zip(indices, value)]


def _with_weights(pairs, weights, where):
    """The layers of `pairs`, (index, weight) each, with other `weights`."""
    if not isinstance(weights, (list, tuple)):
        raise InputError(f"{where}: {weights!r} is not a list of numbers, one for each layer")
    if len(weights) != len(pairs):
        raise InputError(f"{where}: {len(weights)} weights for {len(pairs)} layers")
    return [(index, _checked("layer_weight", weight, where)) for (index, _), weight in zip(pairs, weights)]


def _start(value):
    return _text(os.fspath(value))


def _size(value):
    check, _ = _integer(1)
    if isinstance(value, int):
        return check(value)
    height, width = value
    return check(height), check(width)


def _style_size(value):
    check, _ = _number(0, open_end=True)
    return value if value == "content" else check(value)


_LAYERS_RULE = (
    _layers,
    f"different layers of VGG-19, by name (conv4_2, relu4_2) or index (0 to {len(LAYERS) - 1}), or a table of their weights",
)
_RULES = {
    "size": (_size, "two positive integers, [height, width], or one, the longest or shortest side"),
    "epochs": _integer(1),
    "lr": _number(0, open_end=True),
    "lr_decay": _number(0, open_end=True),
    "lr_decay_epoch": _integer(1),
    "lr_decay_from": _integer(0),
    "extends": (_text, "a recipe's name or the path of a .toml file"),
    "title": (_line, "a text of one line"),
    "source": (_line, "a text of one line"),
    "trunk": _choice(*TRAINED),
    "activations": _choice(*ACTIVATIONS),
    "pooling": _choice(*POOLINGS),
    "content_layers": _LAYERS_RULE,
    "style_layers": _LAYERS_RULE,
    "layer_weight": _number(0),
    "gram_divisor": _choice(*GRAM_DIVISORS),
    "content_reduction": _choice(*CONTENT_REDUCTIONS),
    "style_reduction": _choice(*STYLE_REDUCTIONS),
    "content_weight": _number(0),
    "style_weight": _number(0),
    "tv_weight": _number(0),
    "optimizer": _choice(*OPTIMIZERS),
    "corrections": _integer(1),
    "precision": _choice("auto", *PRECISIONS),
    "tolerance": _number(0),
    "pixels": _choice(*PIXELS),
    "bounds": _choice("auto", *BOUNDS),
    "keep": _choice("auto", *KEEPS),
    "init": (_start, f"one of {', '.join(INITS)}, or a picture's path"),
    "carry": _choice(*CARRIES),
    "resize": _choice(*RESIZES),
    "style_size": (_style_size, "content, or a number above 0"),
    "side": _choice(*SIDES),
    "enlarge": (_boolean, "true or false"),
    "report_every": _integer(1),
}


def _checked(name, value, where):
    check, allowed = _RULES[name]
    try:
        return check(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f"{shown[:99]}…"
        raise InputError(f"{where}: {shown} is not {allowed}") from None


def _check_sizes(recipe):
    """Raise InputError where a stage is too small for the layers of `recipe`."""
    least = smallest_side(recipe.last_layer)
    for stage in recipe.stages:
        height, width = stage.size if isinstance(stage.size, tuple) else (stage.size, stage.size)
        if min(height, width) < least:
            raise InputError(
                f"size {height}x{width}: too small for the network, whose layer {recipe.last_layer} needs "
                f"at least {least}x{least}"
            )


def fit(recipe, picture_size):
    """`recipe` with the height and width of every stage, for a content picture of `picture_size` (height, width)."""
    shortest, longest = min(picture_size), max(picture_size)

    def size(stage):
        if isinstance(stage.size, tuple):
            return stage.size
        length = stage.size if recipe.enlarge else min(stage.size, longest)
        if recipe.side == "shortest":  # torchvision's Resize of one number, which cuts the other side's fraction off
            return tuple(side * length // shortest for side in picture_size)
        return tuple(max(1, round(side * length / longest)) for side in picture_size)

    return dataclasses.replace(recipe, stages=tuple(dataclasses.replace(stage, size=size(stage)) for stage in recipe.stages))


def style_size(recipe, stage, picture_size):
    """(height, width) of a style picture of `picture_size` in a stage whose size is known.

    In its own shape it is enlarged where its short side would be less than the network needs.
    """
    if recipe.style_size == "content":
        return stage.size
    least = smallest_side(recipe.last_layer)
    scale = max(recipe.style_size * max(stage.size) / max(picture_size), least / min(picture_size))
    return tuple(max(least, round(side * scale)) for side in picture_size)


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
    content_layers=None,
    style_layers=None,
    content_weight=None,
    style_weight=None,
    tv_weight=None,
    style_size=None,
):
    """`recipe` (a Recipe, a name or a path) with other values for what is given.

    `sizes` is a sequence of (height, width) or of longest sides, one a stage; the stages take their other values from the
    recipe's stages in turn, and from its last one where there are more. `epochs` is a sequence of one number each, or one
    for all. Layers are names or indices, with a weight of 1 each, or a dictionary of their weights. `precision` auto
    leaves it to the recipe.
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
        "init": init,
        "content_layers": content_layers,
        "style_layers": style_layers,
        "content_layer_weights": None if content_layers is None else (),
        "style_layer_weights": None if style_layers is None else (),
        "content_weight": content_weight,
        "style_weight": style_weight,
        "tv_weight": tv_weight,
        "style_size": style_size,
    }
    if any(isinstance(size, int) for size in sizes or ()):  # which is what was asked for, whatever the recipe's own rule
        values.update(side="longest", enlarge=True)
    values = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(recipe, stages=stages, **values)
