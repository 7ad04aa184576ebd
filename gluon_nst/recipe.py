"""What a run does: Recipe and Stage, read from recipes/*.toml, one file for each published program."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Tuple, Union

from gluon_nst.errors import InputError, reading
from gluon_nst.images import PIXELS, RESIZES
from gluon_nst.losses import CONTENT_REDUCTIONS, GRAM_DIVISORS, STYLE_REDUCTIONS
from gluon_nst.training import BOUNDS, CORRECTIONS, KEEPS, OPTIMIZERS, PRECISIONS, resolve
from gluon_nst.vgg import LAYERS, POOLINGS, smallest_side
from gluon_nst.weights import ACTIVATIONS, TRAINED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent / "recipes"

INITS = ("content", "noise", "style")
CARRIES = ("picture", "change")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One size of the coarse-to-fine schedule."""

    size: Union[Tuple[int, int], int]
    """(height, width) in pixels, or the longest side of a composite of the content picture's own shape."""
    epochs: int
    lr: float = 0.01
    """In the unit `pixels` of the recipe."""
    lr_decay: float = 0.1
    """The learning rate's factor; it falls after each epoch whose number is a positive multiple of `lr_decay_epoch`,"""
    lr_decay_epoch: int = 200
    lr_decay_from: int = 0
    """where the first epoch has this number."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a run does, whatever its pictures: layers, losses, weights, optimiser, stages."""

    stages: Tuple[Stage, ...]
    title: str = ""
    source: str = ""
    trunk: str = "model-zoo"
    """The trained VGG-19 that the program ran on: what `--weights auto` takes if it is here."""
    activations: str = "model-zoo"
    """The scale of the activations that the weights of the losses were chosen for: the `model-zoo`'s (which is also
    torchvision's) or `caffe`'s."""
    pooling: str = "max"
    content_layers: Tuple[int, ...] = (25,)
    """Indices in the model zoo's `features`, in ascending order. A file may name the layers as the paper does, `conv4_4`
    (before its ReLU) or `relu4_4` (after), and may give each a weight: `{relu1_1 = 1.0, relu2_1 = 0.5}`."""
    style_layers: Tuple[int, ...] = (0, 5, 10, 19, 28)
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
    """Of the convolutions after the first; `auto` is bfloat16 where the processor computes it natively, else float32."""
    tolerance: float = 0.0
    """A stage ends before its epochs do when its loss has fallen by less than this share of it over ten epochs."""
    pixels: str = "standardised"
    """The unit in which the optimizer sees the composite: `standardised`, as the network does, `unit`, from 0 to 1, or
    `bytes`, from 0 to 255."""
    bounds: str = "auto"
    """When pixels are brought to what a picture can show: at each `step`, or at the `end` of a stage. `auto` is what
    suits the optimizer, here and in `keep`: step and best with lbfgs, end and last with adam."""
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
    enlarge: bool = True
    """Whether a stage's longest side may be longer than the content picture's own."""
    report_every: int = 50
    """Epochs between two printed lines."""

    def __post_init__(self):
        for kind in ("content", "style"):
            layers, weights = getattr(self, f"{kind}_layers"), getattr(self, f"{kind}_layer_weights")
            weights = weights or (1.0,) * len(layers)
            if len(weights) != len(layers):
                raise InputError(f"{kind}_layer_weights: {len(weights)} weights for {len(layers)} layers")
            pairs = sorted(zip(layers, weights))  # the network puts its features out in this order
            object.__setattr__(self, f"{kind}_layers", tuple(layer for layer, _ in pairs))
            object.__setattr__(self, f"{kind}_layer_weights", tuple(weight for _, weight in pairs))

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
            return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8; save the recipe as one") from None


def read(recipe):
    """The Recipe of that name, or in that .toml file; a Recipe is returned as it is."""
    if isinstance(recipe, Recipe):
        return recipe
    path = _path(recipe)
    values = _read_values(path)
    if "stages" not in values:
        raise InputError(f"{path}: stages: at least one [[stages]] table is needed")
    recipe = Recipe(**values)
    _check_sizes(recipe, f"{path}: ")
    return recipe


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
            extended = path.parent / extended
        values = _read_values(_path(extended), (*below, path.resolve()))
    stages = table.pop("stages", None)
    values.update(_checked_table(Recipe, table, path))
    if stages is not None:
        if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
            raise InputError(f"{path}: stages: at least one [[stages]] table is needed")
        where = [f"{path}: stage {number}" for number in range(1, len(stages) + 1)]
        values["stages"] = tuple(Stage(**_checked_table(Stage, stage, at)) for stage, at in zip(stages, where))
    return values


_MADE_ELSEWHERE = {"stages", "content_layer_weights", "style_layer_weights"}


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


def _text(value):
    if not isinstance(value, str) or not value or not value.isprintable():
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


def _size(value):
    check, _ = _integer(1)
    if isinstance(value, int):
        return check(value)
    height, width = value
    return check(height), check(width)


def _style_size(value):
    check, _ = _number(0, open_end=True)
    return value if value == "content" else check(value)


_LAYERS = (
    _layers,
    f"different layers of VGG-19, by name (conv4_2, relu4_2) or index (0 to {len(LAYERS) - 1}), or a table of their weights",
)
_RULES = {
    "size": (_size, "two positive integers, [height, width], or one, the longest side"),
    "epochs": _integer(1),
    "lr": _number(0, open_end=True),
    "lr_decay": _number(0, open_end=True),
    "lr_decay_epoch": _integer(1),
    "lr_decay_from": _integer(0),
    "extends": (_text, "a recipe's name or the path of a .toml file"),
    "title": (_text, "a text of one line"),
    "source": (_text, "a text of one line"),
    "trunk": _choice(*TRAINED),
    "activations": _choice(*ACTIVATIONS),
    "pooling": _choice(*POOLINGS),
    "content_layers": _LAYERS,
    "style_layers": _LAYERS,
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
    "init": (_text, f"one of {', '.join(INITS)}, or a picture's path"),
    "carry": _choice(*CARRIES),
    "resize": _choice(*RESIZES),
    "style_size": (_style_size, "content, or a number above 0"),
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


def _check_sizes(recipe, where=""):
    """Raise InputError where a stage is too small for the layers of `recipe`."""
    least = smallest_side(recipe.last_layer)
    for stage in recipe.stages:
        height, width = stage.size if isinstance(stage.size, tuple) else (stage.size, stage.size)
        if min(height, width) < least:
            raise InputError(
                f"{where}size {height}x{width}: too small for the network, whose layer {recipe.last_layer} needs "
                f"at least {least}x{least}"
            )


def fit(recipe, picture_size):
    """`recipe` with the height and width of every stage, for a content picture of `picture_size` (height, width)."""
    longest = max(picture_size)

    def size(stage):
        if isinstance(stage.size, tuple):
            return stage.size
        scale = (stage.size if recipe.enlarge else min(stage.size, longest)) / longest
        return tuple(max(1, round(side * scale)) for side in picture_size)

    stages = tuple(dataclasses.replace(stage, size=size(stage)) for stage in recipe.stages)
    recipe = dataclasses.replace(recipe, stages=stages)
    _check_sizes(recipe)
    return recipe


def style_size(recipe, stage, picture_size):
    """(height, width) of a style picture of `picture_size` in a stage whose size is known."""
    if recipe.style_size == "content":
        return stage.size
    scale = recipe.style_size * max(stage.size) / max(picture_size)
    least = smallest_side(recipe.last_layer)
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
    leaves it to the recipe. With another `optimizer` than the recipe's come the bounds and the composite to keep that
    suit it.
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
        "content_layers": content_layers,
        "style_layers": style_layers,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "tv_weight": tv_weight,
        "style_size": style_size,
    }
    values = {name: _checked(name, value, name) for name, value in values.items() if value is not None}
    if values.get("optimizer", recipe.optimizer) != recipe.optimizer:
        values.update(bounds="auto", keep="auto")
    recipe = dataclasses.replace(recipe, stages=stages, **_with_layer_weights(values))
    _check_sizes(recipe)
    return recipe
