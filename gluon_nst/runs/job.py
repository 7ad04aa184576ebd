"""Job: the pictures, the recipe and the settings of a run."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence, Union

from gluon_nst.errors import InputError, KeywordError, check_keywords, warn
from gluon_nst.recipes import (
    DEFAULT,
    LONGEST_SIDE,
    SOURCES,
    Recipe,
    RecipeName,
    customise,
    recipe_settings,
    setting,
)
from gluon_nst.recipes import settings as all_settings
from gluon_nst.recipes.effects import NOISE, warn_without_effect
from gluon_nst.recipes.rules import flag, integer, memory, named_or_path, number, one_of, path
from gluon_nst.recipes.schema import check_fields

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Source = Union[str, Path, "Image.Image"]
"""A picture: a path, or a PIL image."""
Given = Union[Source, "np.ndarray"]
"""A picture as callers may give it: a Source, or an array of height × width × 3, or × 4 with alpha; uint8, or floats
from 0 to 1."""


def _source(name: str, picture: Any) -> Any:
    """Return the Source of a picture as given; `name` is what errors call it."""
    if isinstance(picture, (str, os.PathLike)) or hasattr(picture, "convert"):
        return picture
    if hasattr(picture, "shape"):
        from gluon_nst.pictures.arrays import image_of

        return image_of(picture, name)
    raise InputError(f"{name}: {type(picture).__name__} is neither a path nor a PIL image nor an array")


@dataclasses.dataclass(frozen=True, init=False)
class Style:
    """A style picture among several. Raises InputError for an invalid value."""

    picture: Source
    # fmt: off
    weight: float = setting(number(above=0), "weight of the style picture, relative to the others", 1.0)
    scale: float | None = setting(
        number(above=0, most=100, optional=True),
        "longest side of the style picture divided by the result's (default: the value of style_size)",
        None)
    # fmt: on
    regions: Source | None = None
    """Its map of regions, where the job's content has one."""

    def __init__(
        self, picture: Given, weight: float = 1.0, scale: float | None = None, regions: Given | None = None
    ) -> None:
        object.__setattr__(self, "picture", _source("style", picture))
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "regions", None if regions is None else _source("style regions", regions))
        check_fields(self, of="style ")


Styles = Union[Given, Style, Sequence[Union[Given, Style]]]
"""One style, or several."""

PER_STYLE = {"style_weights": "weight", "style_scale": "scale", "style_regions": "regions"}
"""The settings with a value for each style, and the fields of Style that they set."""


@dataclasses.dataclass(frozen=True, init=False)
class Job:
    """What is to be made: one transfer. It can be pickled.

    The pictures are opened when the run is prepared (`run.prepare`).
    """

    content: Source
    style: tuple[Style, ...]
    recipe: Recipe
    # fmt: off
    mask: Source | None = setting(
        path("a picture"), "mask: white is stylised, black stays as in the content picture",
        None, everyday=True)
    regions: Source | None = setting(
        path("a picture"),
        "region map of the content; a region takes its style from the same colour in a style's map",
        None)
    flatten: bool = setting(
        flag(), "place a transparent content picture on a white background; the result is opaque",
        False)
    seed: int = setting(integer(0), "seed of the noise in the initial composite", 0, needs=NOISE)
    weights: str = setting(
        named_or_path("auto", *SOURCES), "source of VGG-19's parameters; see gluon-nst weights list",
        "auto")
    memory: float | None = setting(
        memory(), "maximum memory of the run; pictures that need more use windows; auto: the free memory",
        None)
    # how its picture is written, where the format has that
    bits: int = setting(
        one_of(8, 16), "bits per channel of the picture; 16 for PNG and TIFF, with the extra `print`",
        8, words=True)
    quality: int = setting(integer(1, 100), "quality of a JPEG or a WebP", 95, words=True)
    dpi: float | None = setting(
        number(1, most=1e5, optional=True), "print resolution, in pixels per inch",
        None, words=True)
    keep_profile: bool = setting(
        flag(), "write the picture in the content picture's colour profile instead of sRGB",
        False, words=True)
    # fmt: on
    device: str = "auto"
    """`auto` (the first GPU, else the CPU), `cpu`, `gpu` or `gpu:N`."""

    def __init__(self, content: Given, style: Styles, recipe: RecipeName = DEFAULT, **settings: Any) -> None:
        """Make the Job of a transfer; the arguments are those of `transfer`.

        Pictures are paths, PIL images or arrays; `style` is one style or several, each a picture or a Style. `recipe`
        is a name, the path of a .toml file or a Recipe. Raises InputError for a value that is not allowed, and
        KeywordError for an unknown keyword.
        """
        fields, changes, per_style = split(settings)
        values = {field.name: field.default for field in dataclasses.fields(Job)}
        values.update(
            fields,
            content=_source("content", content),
            style=_styles(style, per_style),
            recipe=customise(recipe, **changes),
        )
        for name in ("mask", "regions"):
            if values[name] is not None:
                values[name] = _source(name, values[name])
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_fields(self)
        defaults = {each.name: each for each in all_settings(Job)}
        given = (name for name in fields if name in defaults and getattr(self, name) != defaults[name].default)
        warn_without_effect(given, defaults, self.recipe)

    @classmethod
    def customised(cls, content: Given, style: Styles, *, recipe: RecipeName = DEFAULT, **options: Any) -> Job:
        """Return a Job. Deprecated: `Job` itself takes the same arguments."""
        warnings.warn("Job.customised: Job takes these arguments itself", DeprecationWarning, stacklevel=2)
        return cls(content, style, recipe, **options)

    @property
    def file(self) -> dict[str, Any]:
        """The settings of the picture's file that differ from their defaults."""
        fields = (each for each in all_settings(Job) if each.words)
        return {each.name: getattr(self, each.name) for each in fields if getattr(self, each.name) != each.default}


def _styles(style: Styles, per_style: Mapping[str, Any]) -> tuple[Style, ...]:
    """Return the styles of a job with their values of the settings PER_STYLE.

    A setting has one value for each style, or one for all.
    """
    pictures: Sequence[Any] = style if isinstance(style, (list, tuple)) else [style]
    if not pictures:
        raise InputError("style: at least one style picture is needed")
    styles = tuple(each if isinstance(each, Style) else Style(each) for each in pictures)
    for name, field in PER_STYLE.items():
        values = per_style.get(name)
        if values is None:
            continue
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        if len(values) == 1 and name != "style_regions":
            values *= len(styles)
        if len(values) != len(styles):
            raise InputError(f"{name}: {len(values)} for {len(styles)} styles; give one each")
        if name == "style_weights" and len(styles) == 1 and not _is_folder(styles[0].picture):
            warn("style_weights has no effect on one style")
        styles = tuple(dataclasses.replace(each, **{field: value}) for each, value in zip(styles, values))
    return styles


def _is_folder(picture: Any) -> bool:
    return isinstance(picture, (str, os.PathLike)) and os.path.isdir(picture)


def _groups() -> tuple[list[str], list[str], list[str]]:
    """Return the names of a Job's keywords, in three groups.

    The groups are its fields, changes of its recipe, and the settings PER_STYLE.
    """
    return (
        [field.name for field in dataclasses.fields(Job)][3:],  # after the pictures and the recipe
        [each.name for each in (*recipe_settings(), LONGEST_SIDE)],
        list(PER_STYLE),
    )


OF_TRANSFER = (
    *("progress", "callback", "observers", "state"),
    *("checkpoint", "checkpoint_every", "fresh", "scheduler", "max_pixels"),
)
"""The keywords of `transfer` that are not settings of a Job: they change how a run is followed, kept and computed."""


def check_settings(names: Iterable[str], also: Sequence[str] = ()) -> None:
    """Raise KeywordError for a name that is no keyword of a Job and not in `also`."""
    for name in names:
        if name in OF_TRANSFER and name not in also:
            raise KeywordError(f"{name}: a keyword of transfer, not of a Job; pass it to transfer")
    check_keywords(names, [*itertools.chain(*_groups()), *also], "not a setting of a transfer")


def split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Split keywords of `Job` into fields, recipe changes, and settings PER_STYLE.

    Raises KeywordError for an unknown one.
    """
    check_settings(settings)
    fields, changes, per_style = ({name: settings[name] for name in settings if name in group} for group in _groups())
    return fields, changes, per_style
