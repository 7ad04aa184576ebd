"""Job: what is to be made."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from gluon_nst.errors import InputError
from gluon_nst.recipes import DEFAULT, SOURCES, RecipeName, customise, read, setting
from gluon_nst.recipes.rules import integer, named_or_path
from gluon_nst.recipes.schema import check_fields

if TYPE_CHECKING:
    from PIL import Image

Source = Union[str, Path, "Image.Image"]
"""A picture: a path, or a PIL image."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be made: one transfer. It can be pickled. Raises InputError for a value that a field can't have.

    The pictures are opened when the run is prepared (`run.prepare`).
    """

    content: Source
    style: Source
    recipe: RecipeName = DEFAULT
    """A name, the path of a .toml file, or a Recipe, which it becomes."""
    # fmt: off
    seed: int = setting(integer(0), "seed of the noise that --init noise starts from", 0)
    weights: str = setting(named_or_path("auto", *SOURCES), "where VGG-19's parameters come from; see gluon-nst weights list", "auto")
    # fmt: on
    device: str = "auto"
    """`auto` (the first GPU, else the CPU), `cpu`, `gpu` or `gpu:N`."""

    def __post_init__(self) -> None:
        for name in ("content", "style"):
            picture = getattr(self, name)
            if not isinstance(picture, (str, os.PathLike)) and not hasattr(picture, "convert"):
                raise InputError(f"{name}: {type(picture).__name__} is neither a path nor a PIL image")
        object.__setattr__(self, "recipe", read(self.recipe))
        check_fields(self)

    @classmethod
    def customised(cls, content: Source, style: Source, *, recipe: RecipeName = DEFAULT, **options: Any) -> Job:
        """A Job whose `options` are those of its fields, and changes of its recipe, as `recipes.customise` takes them."""
        fields = {field.name for field in dataclasses.fields(cls)}
        changes = {name: value for name, value in options.items() if name not in fields}
        own = {name: value for name, value in options.items() if name in fields}
        return cls(content, style, customise(recipe, **changes), **own)
