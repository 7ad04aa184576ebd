"""The schema of a recipe: the fields of Recipe and Stage, each defined once.

A field has a rule, a default and a help text. The checks of Recipe and Stage, the keys of .toml files, the options of
the command line, the settings of `--vary` and the tables of docs/recipes.md are derived from it. A new field needs one
line here, and its use.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterator, NamedTuple

from gluon_nst.errors import InputError
from gluon_nst.network.layers import CONTENT_LAYERS, NAMES, PADDINGS, POOLINGS, STYLE_LAYERS, smallest_side
from gluon_nst.recipes import choices, effects
from gluon_nst.recipes.effects import Needs, check_weights
from gluon_nst.recipes.rules import (
    LADDER,
    Rule,
    boolean,
    choice,
    integer,
    layers,
    line,
    named_or_path,
    number,
    side,
    size,
    style_size,
)

Layers = Dict[int, float]
"""{index: weight}, in the network's order."""


SMALLEST_FACTOR = 1.05
"""The smallest factor from one size of a ladder to the next."""


def setting(
    rule: Rule,
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    words: bool = False,
    needs: Needs | None = None,
    everyday: bool = False,
) -> Any:
    """Return a field of a dataclass that is checked by `rule`.

    `words` marks descriptive fields, which do not change the picture. If a recipe does not meet `needs`, the field has
    no effect. `everyday` marks the fields in the short help of a command.
    """
    metadata = {"rule": rule, "help": help, "words": words, "needs": needs, "everyday": everyday}
    return dataclasses.field(default=default, metadata=metadata)


def check_fields(instance: Any, of: str = "") -> None:
    """Check each field that has a rule, and set it to the converted value.

    It is called by `__post_init__` of frozen dataclasses. `of` precedes the field's name in an error.
    """
    for field in dataclasses.fields(instance):
        if "rule" in field.metadata:
            value = field.metadata["rule"].check(getattr(instance, field.name), f"{of}{field.name}")
            object.__setattr__(instance, field.name, value)


# A table, if possible with one line for each field; the formatter would break it.
# fmt: off


@dataclasses.dataclass(frozen=True)
class Stage:
    """One size of the coarse-to-fine schedule.

    Raises InputError for a value that a field can't have.
    """

    size: int | str | tuple[int, int] = setting(
        size(),
        "height and width in pixels; one number, for the side selected by `side`; own, the content "
        "picture's size; or ladder, for all stages but the last in a recipe with size_factor")
    epochs: int = setting(integer(1), "steps of Adam, or evaluations of L-BFGS", everyday=True)
    lr: float = setting(
        number(above=0), "initial learning rate, in the unit of the pixels",
        0.01, needs=effects.ADAM)
    lr_decay: float = setting(
        number(above=0), "factor by which the learning rate is multiplied at each decay",
        0.1, needs=effects.ADAM)
    lr_decay_epoch: int = setting(
        integer(1), "decay interval in epochs: the learning rate decays after each positive multiple of it",
        200, needs=effects.ADAM)
    lr_decay_from: int = setting(
        integer(0), "number of the first epoch, for the decay: 0 as in the 2019 edition, 1 as in the 2023 edition",
        0, needs=effects.ADAM)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a stage whose recipe is fitted to its content picture."""
        if not isinstance(self.size, tuple):
            raise TypeError(f"a stage of {self.size} pixels is not fitted to a picture yet: see recipes.fit")
        return self.size

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0.

        >>> [Stage((300, 450), 8, lr_decay_epoch=3).lr_at(epoch) for epoch in (3, 4, 7)]
        [0.01, 0.001, 0.0001]
        """
        lr, done = self.lr, range(self.lr_decay_from, self.lr_decay_from + epoch)
        for _ in range(sum(1 for counted in done if counted and counted % self.lr_decay_epoch == 0)):
            lr *= self.lr_decay  # repeatedly, as in the chapter, for the same rounding
        return lr


@dataclasses.dataclass(frozen=True)
class Change:
    """A weight change: weights of the losses from an epoch on; None keeps a weight.

    Raises InputError for a value that a field can't have.
    """

    stage: int = setting(integer(1), "stage in which the weights change, counted from 1")
    epoch: int = setting(integer(0), "number of epochs of this stage before the change")
    content_weight: float | None = setting(
        number(0, optional=True), "weight of the content loss after the change",
        None)
    style_weight: float | None = setting(number(0, optional=True), "weight of the style loss after the change", None)
    tv_weight: float | None = setting(
        number(0, optional=True), "weight of the total variation loss after the change",
        None)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def weights(self) -> dict[str, Any]:
        """The weights that change, by the names of a recipe's fields."""
        named = {"content_weight": self.content_weight, "style_weight": self.style_weight, "tv_weight": self.tv_weight}
        return {name: weight for name, weight in named.items() if weight is not None}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a run: layers, losses, weights, optimiser, stages.

    The defaults are those of the chapter's 2019 edition. `stages` is a sequence of Stage, `changes` a sequence of
    Change, in any order. Raises InputError for a value that a field can't have.
    """

    stages: tuple[Stage, ...]
    changes: tuple[Change, ...] = ()
    # descriptive fields, which do not change the picture
    title: str = setting(line(empty=True), "title of the recipe", "", words=True)
    source: str = setting(line(empty=True), "where the program is published", "", words=True)
    good_for: str = setting(line(empty=True), "what the recipe is good for", "", words=True)
    report_every: int = setting(integer(1), "epochs between two printed lines", 50, words=True)
    # the network
    trunk: str = setting(
        choice(*choices.TRAINED), "source of VGG-19's parameters preferred by --weights auto, if it is in the cache",
        "model-zoo")
    activation_scale: str = setting(
        choice(*choices.ACTIVATION_SCALES),
        "activation scale of VGG-19 for which the loss weights were chosen",
        "model-zoo")
    pooling: str = setting(
        choice(*POOLINGS),
        "pooling: max, as in the training of VGG-19, or average, as in Gatys et al. 2016", "max")
    padding: str = setting(
        choice(*PADDINGS),
        "padding of the first convolution: zeros, as in the training of VGG-19, or pixels at the edge",
        "zero")
    content_layers: Layers = setting(
        layers(),
        "content layers, by name or index; conv4_2: output before the ReLU; relu4_2: output after it", CONTENT_LAYERS)
    style_layers: Layers = setting(
        layers(pixels=True),
        "style layers, by name or index; pixels: patches of the picture itself; default weight: 1",
        STYLE_LAYERS)
    # the losses
    style_statistic: str = setting(
        choice(*choices.STYLE_STATISTICS),
        "style statistic; gram: Gram matrices; gram-mean-std: also means and standard deviations; "
        "wasserstein: Gaussians, compared by Wasserstein distance",
        "gram")
    gram_divisor: str = setting(
        choice(*choices.GRAM_DIVISORS), "divisor of a Gram matrix of c × h × w features",
        "chw", needs=effects.GRAM)
    content_reduction: str = setting(
        choice(*choices.CONTENT_REDUCTIONS), "reduction of the squared differences of features",
        "mean", needs=effects.CONTENT)
    style_reduction: str = setting(
        choice(*choices.STYLE_REDUCTIONS), "reduction of the squared differences of Gram matrices",
        "mean", needs=effects.GRAMS)
    moments_weight: float = setting(
        number(0), "weight of the means and standard deviations relative to the Gram matrices, for gram-mean-std",
        10.0, needs=effects.MOMENTS)
    content_weight: float = setting(number(0), "weight of the content loss", 1.0, everyday=True)
    style_weight: float = setting(number(0), "weight of the style loss", 1e3, everyday=True)
    tv_weight: float = setting(number(0), "weight of the total variation loss", 10.0)
    tv_norm: str = setting(
        choice(*choices.TV_NORMS),
        "l1: absolute differences between neighbours, as in the chapter; l2: squared differences, "
        "including diagonal neighbours",
        "l1", needs=effects.TV)
    # the optimiser
    optimizer: str = setting(choice(*choices.OPTIMIZERS), "optimiser: Adam, as in the chapter, or L-BFGS", "adam")
    history_size: int = setting(
        integer(1), "number of previous steps stored by L-BFGS; use more than 5 for runs that start from noise",
        5, needs=effects.LBFGS)
    preconditioner: str = setting(
        choice(*choices.PRECONDITIONERS),
        "initial inverse Hessian of L-BFGS: the identity (none), or a low-pass filter, which gives longer strokes",
        "none", needs=effects.LBFGS)
    preconditioner_power: float = setting(
        number(0, most=4), "exponent of the frequency in the low-pass filter",
        1.0, needs=effects.PRECONDITIONED)
    beta2: float = setting(
        number(0, most=0.999999), "decay rate of Adam's running average of squared gradients",
        0.999, needs=effects.ADAM)
    precision: str = setting(
        choice("auto", *choices.PRECISIONS),
        "data type of the convolutions; auto: the faster of the two on this machine",
        "float32")
    tolerance: float = setting(
        number(0), "end a stage when its loss falls by less than this fraction over ten epochs",
        0.0)
    pixel_unit: str = setting(
        choice(*choices.PIXEL_UNITS),
        "unit of the optimised pixels: standardised like the network's input, from 0 to 1 (unit), or "
        "from 0 to 255 (bytes)",
        "standardised")
    clip_at: str = setting(
        choice("auto", *choices.CLIP_AT),
        "clip pixels at each step, or at a stage's end; auto: step for lbfgs, else end",
        "auto")
    keep: str = setting(
        choice("auto", *choices.KEEP),
        "composite that a stage keeps: last, best (lowest loss) or average; auto: best for lbfgs, else last",
        "auto")
    average_decay: float = setting(
        number(0, most=0.999999), "decay of the exponential moving average of a stage's composites",
        0.99, needs=effects.AVERAGE)
    # the pictures
    init: str = setting(
        named_or_path(*choices.INITS, what="a picture"),
        "initial composite: the content picture, the style picture, noise, or a picture file",
        "content")
    noise: float = setting(
        number(0, most=1), "fraction of noise in the initial composite",
        0.0, needs=effects.PICTURE)
    size_factor: float = setting(
        number(1, most=100),
        "ratio of consecutive sizes in a series that ends with the size of the last stage; 1: no series",
        1.0)
    smallest_size: int = setting(
        integer(1),
        "lower limit of the sizes that size_factor generates", 128, needs=effects.LADDER)
    margin: int = setting(
        integer(0),
        "minimum padding in pixels, rounded up to the network's grid; it is optimised with the picture "
        "and then cropped; 0: none",
        0)
    carry: str = setting(
        choice(*choices.CARRIES),
        "initial composite of a later stage; picture: the previous composite; change: the content "
        "picture plus the previous stage's change to it",
        "picture", needs=effects.SEVERAL_STAGES)
    upsampling: str = setting(
        choice(*choices.UPSAMPLINGS),
        "upsampling between stages: as in the setting resize, or by cosine transform (no grid artefacts)",
        "resize", needs=effects.CARRIED)
    carry_moments: bool = setting(
        boolean(), "whether a stage starts with Adam's moments and step count from the previous stage",
        False, needs=effects.ADAM)
    resize: str = setting(
        choice(*choices.RESIZES),
        "resampling of pictures: bilinear as in MXNet; antialiased, bicubic or Lanczos as in Pillow",
        "bilinear")
    style_size: str | float = setting(
        style_size(),
        "size of the style picture: content (the content picture's size), or its longest side relative to the result's",
        "content", everyday=True)
    enlarge_style: bool = setting(
        boolean(),
        "whether a style picture that keeps its aspect ratio may be enlarged", True)
    preserve_colors: str = setting(
        choice(*choices.PRESERVE_COLORS),
        "keep the content's colours: luminance combines the content's chroma with the result's "
        "luminance; histogram recolours the style picture before the run",
        "no", everyday=True)
    content_colors: str = setting(
        choice(*choices.CONTENT_COLORS),
        "colours of the content picture in the content loss and in the initial composite: its own, or "
        "those of the style pictures",
        "own", needs=effects.REFERENCE)
    side: str = setting(choice(*choices.SIDES), "side that a single-number size specifies", "longest")
    enlarge: bool = setting(
        boolean(),
        "whether a single-number size may exceed the content picture's longest side", True)

    def __post_init__(self) -> None:
        stages = tuple(self.stages) if isinstance(self.stages, (list, tuple)) else ()
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise InputError(NO_STAGES)
        object.__setattr__(self, "stages", stages)
        check_fields(self)
        self._check_changes()
        for kind, used, weight in (
            ("content_layers", self.content_layers, "content_weight"),
            ("style_layers", self.style_layers, "style_weight"),
        ):
            weights = [getattr(self, weight), *(change.weights.get(weight, 0) for change in self.changes)]
            if any(weights) and not used:  # a loss without a weight needs no layers
                raise InputError(f"{kind}: [] is not {layers().allowed}")
        if not self.content_layers and not self.style_layers:
            raise InputError("content_layers, style_layers: at least one layer is needed")
        if 1 < self.size_factor < SMALLEST_FACTOR:
            raise InputError(
                f"size_factor: {self.size_factor} is neither 1, for no ladder, nor at least {SMALLEST_FACTOR}"
            )
        if self.carry_moments and self.margin:
            raise InputError(
                "carry_moments: a stage's margin does not fit the next stage's; set margin to 0, or this to false"
            )
        self._check_sizes()
        check_weights(self)

    def _check_changes(self) -> None:
        changes = tuple(self.changes) if isinstance(self.changes, (list, tuple)) else (None,)
        if not all(isinstance(change, Change) for change in changes):
            raise InputError(NO_CHANGES)
        places = [(change.stage, change.epoch) for change in changes]
        for stage, epoch in places:
            if self.size_factor == 1 and stage > len(self.stages):
                raise InputError(f"changes: there is no stage {stage}; the recipe has {len(self.stages)}")
            if places.count((stage, epoch)) > 1:
                raise InputError(f"changes: two at stage {stage}, epoch {epoch}; combine them into one")
        object.__setattr__(self, "changes", tuple(sorted(changes, key=lambda change: (change.stage, change.epoch))))

    def _check_sizes(self) -> None:
        least = max(2, smallest_side(self.last_layer))  # total variation needs two pixels
        for place, stage in enumerate(self.stages, start=1):
            if isinstance(stage.size, str):
                if stage.size == LADDER and (self.size_factor == 1 or place == len(self.stages)):
                    raise InputError(
                        f"stage {place}: size: ladder is for stages before the last one of a recipe with a size_factor"
                    )
                continue
            height, width = stage.size if isinstance(stage.size, tuple) else (stage.size, stage.size)
            if min(height, width) < least:
                raise InputError(
                    f"size {height}x{width}: too small for the network, whose layer {NAMES[self.last_layer]} needs "
                    f"at least {least}x{least}"
                )

    @property
    def last_layer(self) -> int:
        """The index of the last layer that is used, after which the network is truncated."""
        return max([0, *self.content_layers, *self.style_layers])

    def changed_in(self, stage: int) -> list[int]:
        """Return the epochs of a stage at which the weights of the losses change."""
        return [change.epoch for change in self.changes if change.stage == stage]

    def at(self, stage: int, epoch: int) -> Recipe:
        """Return the recipe with the weights of the losses in an epoch of a stage.

        Stages are counted from 1, epochs from 0.
        """
        weights: dict[str, Any] = {}
        for change in self.changes:
            if (change.stage, change.epoch) <= (stage, epoch):
                weights.update(change.weights)
        return dataclasses.replace(self, changes=(), **weights) if weights else self

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values, with layers by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for kind in ("content_layers", "style_layers"):
            values[kind] = {NAMES[index]: weight for index, weight in values[kind].items()}
        changes = [{"stage": each.stage, "epoch": each.epoch, **each.weights} for each in self.changes]
        del values["changes"]
        # Omitted if there are none, so that the keys of older pictures stay valid.
        return {
            **values,
        "stages": [dataclasses.asdict(stage) for stage in self.stages],
            **({"changes": changes} if changes else {}),
        }


# fmt: on
NO_STAGES = "stages: at least one [[stages]] table is needed"
NO_CHANGES = "changes: each is a [[changes]] table: a stage, an epoch, and the weights from there on"


# -- derived settings -------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A field for `customise`, the command line and the documentation."""

    name: str
    rule: Rule
    help: str
    default: Any
    staged: bool
    """Whether each stage has one."""
    words: bool
    needs: Needs | None = None
    everyday: bool = False
    """Whether the short help of a command shows it."""

    def parse(self, text: str) -> Any:
        """Parse an argument of the command line, or raise ValueError.

        The result is not checked yet.
        """
        return [self.rule.parse(part) for part in text.split(",")] if self.staged else self.rule.parse(text)


def settings(kind: type) -> Iterator[Setting]:
    """Yield the Settings of the fields of `kind` that have a rule, in order.

    `size` of Stage is called `sizes`.
    """
    for field in dataclasses.fields(kind):
        if "rule" in field.metadata:
            name = "sizes" if (kind, field.name) == (Stage, "size") else field.name
            metadata = field.metadata
            yield Setting(
                name,
                metadata["rule"],
                metadata["help"],
                field.default,
                kind is Stage,
                metadata["words"],
                metadata["needs"],
                metadata["everyday"],
            )


_SIDES = "longest side of the result in pixels, or one per stage: 225,450; own: the content picture's size"
LONGEST_SIDE = Setting("longest_side", side(), _SIDES, None, staged=True, words=False, everyday=True)
"""An alternative to `sizes`."""


def recipe_settings() -> tuple[Setting, ...]:
    """Return the settings of a recipe that can change the picture.

    They are the fields of its stages, then its own.
    """
    return tuple(each for kind in (Stage, Recipe) for each in settings(kind) if not each.words)
