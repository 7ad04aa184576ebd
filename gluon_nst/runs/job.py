"""Job: the pictures, the recipe and the settings of a run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence, Union

from gluon_nst.errors import InputError, check_keywords
from gluon_nst.recipes import (
    DEFAULT,
    LONGEST_SIDE,
    SOURCES,
    Recipe,
    RecipeName,
    customise,
    read,
    recipe_settings,
    setting,
    settings,
)
from gluon_nst.recipes.effects import NOISE, warn_without_effect
from gluon_nst.recipes.rules import flag, integer, memory, named_or_path, number, one_of, path
from gluon_nst.recipes.schema import check_fields

if TYPE_CHECKING:
    from PIL import Image

Source = Union[str, Path, "Image.Image"]
"""A picture: a path, or a PIL image."""


def _is_picture(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) or hasattr(value, "convert")


def _check_picture(name: str, picture: Any) -> None:
    if not _is_picture(picture):
        raise InputError(f"{name}: {type(picture).__name__} is neither a path nor a PIL image")


@dataclasses.dataclass(frozen=True)
class Style:
    """A style picture among several. Raises InputError for a value that a field can't have."""

    picture: Source
    # fmt: off
    weight: float = setting(number(above=0), "its share of the style, beside the other pictures' weights", 1.0)
    scale: float | None = setting(
        number(above=0, most=100, optional=True),
        "its longest side, as a multiple of the composite's, where it is not as the recipe has it",
        None)
    # fmt: on
    regions: Source | None = None
    """Its map of regions, where the job's content has one."""

    def __post_init__(self) -> None:
        _check_picture("style", self.picture)
        if self.regions is not None:
            _check_picture("style regions", self.regions)
        check_fields(self, of="style ")


Styles = Union[Source, Style, Sequence[Union[Source, Style]]]
"""One style, or several."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be made: one transfer. It can be pickled. Raises InputError for a value that a field can't have.

    The pictures are opened when the run is prepared (`run.prepare`).
    """

    content: Source
    style: Styles
    """One or several, each a picture or a Style; a folder stands for its pictures. It becomes a tuple of Style."""
    recipe: RecipeName = DEFAULT
    """A name, the path of a .toml file, or a Recipe, which it becomes."""
    # fmt: off
    mask: Source | None = setting(
        path("a picture"), "a picture of where: white is stylised, black stays as the content is",
        None)
    regions: Source | None = setting(
        path("a picture"), "a map of the content: what has one colour is drawn from where a style's map has it",
        None)
    flatten: bool = setting(
        flag(), "lay a content picture that is transparent on white, for a result that is not",
        False)
    seed: int = setting(integer(0), "seed of the noise that --init noise starts from", 0, needs=NOISE)
    weights: str = setting(
        named_or_path("auto", *SOURCES), "where VGG-19's parameters come from; see gluon-nst weights list",
        "auto")
    memory: float | None = setting(
        memory(), "the most that the run may take; what does not fit whole is computed in windows. auto: what is free",
        None)
    # how its picture is written, where the format has that
    bits: int = setting(
        one_of(8, 16), "of each channel of the picture; 16 for a PNG or a TIFF, with the extra `print`",
        8, words=True)
    quality: int = setting(integer(1, 100), "of a JPEG or a WebP", 95, words=True)
    dpi: float | None = setting(number(1, most=1e5, optional=True), "pixels to an inch, on paper", None, words=True)
    keep_profile: bool = setting(
        flag(), "write the picture in the content picture's own colour profile, in place of sRGB",
        False, words=True)
    # fmt: on
    device: str = "auto"
    """`auto` (the first GPU, else the CPU), `cpu`, `gpu` or `gpu:N`."""

    def __post_init__(self) -> None:
        _check_picture("content", self.content)
        pictures: Sequence[Any] = self.style if isinstance(self.style, (list, tuple)) else [self.style]
        if not pictures:
            raise InputError("style: at least one style picture is needed")
        styles = tuple(style if isinstance(style, Style) else Style(style) for style in pictures)
        object.__setattr__(self, "style", styles)
        object.__setattr__(self, "recipe", read(self.recipe))
        check_fields(self)

    @classmethod
    def customised(cls, content: Source, style: Styles, *, recipe: RecipeName = DEFAULT, **options: Any) -> Job:
        """Return a Job; `options` are its fields and changes of its recipe, as for `recipes.customise`."""
        fields, changes = split(options)
        job = cls(content, style, customise(recipe, **changes), **fields)
        known = {each.name: each for each in settings(cls)}
        assert isinstance(job.recipe, Recipe)
        warn_without_effect(
            (name for name in fields if name in known and getattr(job, name) != known[name].default), known, job.recipe
        )
        return job

    @property
    def file(self) -> dict[str, Any]:
        """The settings of the picture's file that differ from their defaults."""
        fields = (each for each in settings(Job) if each.words)
        return {each.name: getattr(self, each.name) for each in fields if getattr(self, each.name) != each.default}


def split(options: Mapping[str, Any], also: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keywords of `Job.customised` into fields of a Job and changes of its recipe.

    `also` are further keywords of the caller. Raises TypeError for an unknown one.
    """
    job_names = [field.name for field in dataclasses.fields(Job)]
    recipe_names = [each.name for each in (*recipe_settings(), LONGEST_SIDE)]
    check_keywords(options, [*job_names, *also, *recipe_names], "not a keyword of a job")
    job_options = {name: value for name, value in options.items() if name in job_names}
    return job_options, {name: value for name, value in options.items() if name in recipe_names}
