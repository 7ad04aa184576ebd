"""`compare`, `sweep` and `reconstruct`: runs laid out as a labelled sheet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import tempfile
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from matplotlib.figure import Figure
from PIL import Image

from gluon_nst import experiments
from gluon_nst.errors import InputError, warn
from gluon_nst.experiments import Experiment, Outcome
from gluon_nst.machine.files import given
from gluon_nst.observers import Bar
from gluon_nst.observers.progress import is_watched
from gluon_nst.pictures.arrays import image_of
from gluon_nst.recipes import COMPARED, RecipeName
from gluon_nst.runs import figures
from gluon_nst.runs.job import Given
from gluon_nst.runs.observer import Observer


@dataclasses.dataclass(frozen=True, repr=False)
class SheetResult:
    """The pictures of several runs. A notebook shows them as a labelled sheet."""

    experiment: Experiment
    outcomes: tuple[Outcome, ...]
    """One for each run: its picture, or the reason why there is none."""

    @property
    def images(self) -> dict[str, Image.Image]:
        """The pictures, PIL images, by the names of their runs."""
        return {each.trial.name: each.picture for each in self.outcomes if each.picture is not None}

    @functools.cached_property
    def figure(self) -> Figure:
        """The sheet, a matplotlib Figure."""
        return self.experiment.sheet(self.outcomes)

    def save(self, path: str | Path) -> None:
        """Write the sheet as PNG, SVG or PDF, by the ending of `path`."""
        figures.save(self.figure, path)

    def __repr__(self) -> str:
        return f"<SheetResult: {len(self.images)} of {len(self.outcomes)} pictures: {', '.join(self.images)}>"

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=100)
        return file.getvalue()


def compare(
    content: Given,
    style: Given,
    recipes: Sequence[RecipeName] = COMPARED,
    *,
    output: str | Path | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> SheetResult:
    """Run several recipes on the same two pictures, and return a sheet of the results.

    `recipes` are names or paths. `settings` are keywords of `transfer`, the same for all. With the folder `output`,
    each picture and its losses are kept there, and what is there already is not computed again. `progress` is as in
    `transfer`. Losses of different recipes can't be compared. A run that fails gives a warning, and its reason in the
    sheet.
    """
    with _paths(content=content, style=style) as (content_path, style_path):
        return _carry_out(experiments.compare(content_path, style_path, recipes, **settings), output, progress)


def sweep(
    content: Given,
    style: Given,
    vary: Mapping[str, Any],
    *,
    output: str | Path | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> SheetResult:
    """Vary one setting of `transfer`, or two, and return the pictures as a sheet.

    `vary` has one or two settings with their values: a list, or a dictionary whose keys are the labels. The first is
    drawn across, the second down. The recipe is the chapter's unless `settings` say another. The other arguments are as
    in `compare`.

    >>> sheet = sweep("photo.jpg", "painting.jpg", {"style_weight": [1e2, 1e3, 1e4]})  # doctest: +SKIP
    """
    with _paths(content=content, style=style) as (content_path, style_path):
        return _carry_out(experiments.sweep(content_path, style_path, vary, **settings), output, progress)


def reconstruct(
    kind: str,
    picture: Given,
    layers: Sequence[str | int] | Mapping[str | int, float] | None = None,
    *,
    output: str | Path | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> SheetResult:
    """Reconstruct the content or the style of a picture from noise, layer by layer.

    `kind` is `content` or `style`. The default layers are those of figure 1 of Gatys et al. 2016. Returns a sheet of
    the pictures. The other arguments are as in `compare`.
    """
    with _paths(picture=picture) as (path,):
        return _carry_out(experiments.reconstruct(kind, path, layers, **settings), output, progress)


@contextlib.contextmanager
def _paths(**pictures: Given) -> Iterator[list[Path]]:
    """Yield the paths of pictures.

    PIL images and arrays are written into a temporary folder, which is deleted at the end of the block.
    """
    with tempfile.TemporaryDirectory(prefix="gluon-nst-") as folder:
        paths = []
        for name, picture in pictures.items():
            if isinstance(picture, (str, Path)):
                paths.append(given(picture))
                continue
            if not isinstance(picture, Image.Image) and not hasattr(picture, "shape"):
                raise InputError(f"{name}: {type(picture).__name__} is neither a path nor a PIL image nor an array")
            path = Path(folder, f"{name}.png")
            (picture if isinstance(picture, Image.Image) else image_of(picture, name)).save(path)
            paths.append(path)
        yield paths


def _carry_out(experiment: Experiment, output: str | Path | None, progress: bool | None) -> SheetResult:
    """Run the trials that are not finished in the folder `output`."""
    with contextlib.ExitStack() as stack:
        folder = output or stack.enter_context(tempfile.TemporaryDirectory(prefix="gluon-nst-"))
        watched = is_watched() if progress is None else progress
        prepared = experiment.prepare(Bar() if watched else None)
        observer: Observer | None = None
        if watched:
            observer = stack.enter_context(Bar(experiment.unfinished(folder, prepared)))
        outcomes = tuple(experiment.run(folder, prepared, observer))
        for outcome in outcomes:
            if outcome.picture is not None:
                outcome.picture.load()  # the folder may be temporary
            else:
                warn(f"{outcome.trial.name}: {outcome.note}", stacklevel=3)
        result = SheetResult(experiment, outcomes)
        _ = result.figure  # as long as the pictures are there
        return result
