"""`transfer`: one run from Python, with the options of `gluon-nst render`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence, Tuple, Union

from gluon_nst.cluster import Pool, Spread
from gluon_nst.errors import InputError
from gluon_nst.observers import Bar, Live
from gluon_nst.observers.progress import is_watched
from gluon_nst.pictures.decoding import pixels_allowed
from gluon_nst.recipes import DEFAULT, RecipeName
from gluon_nst.runs.checkpoint import Checkpoint
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.job import OF_TRANSFER, Given, Job, Styles, check_settings
from gluon_nst.runs.loop import Elsewhere, Halt, carry_out, never
from gluon_nst.runs.observer import Observer, Observers
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import prepare
from gluon_nst.runs.state import State

Size = Union[int, str, Tuple[int, int]]
"""A longest side in pixels, `own` for the content picture's own size, or (height, width)."""
Layers = Union[Sequence[Union[str, int]], Mapping[Union[str, int], float]]
"""Layers by name or index, or their weights by layer."""


def transfer(  # noqa: PLR0913 (the settings that people use, for editors and help())
    content: Given,
    style: Styles,
    *,
    recipe: RecipeName = DEFAULT,
    longest_side: int | str | Sequence[int | str] | None = None,
    sizes: Size | Sequence[Size] | None = None,
    epochs: int | Sequence[int] | None = None,
    lr: float | Sequence[float] | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    tv_weight: float | None = None,
    content_layers: Layers | None = None,
    style_layers: Layers | None = None,
    style_weights: float | Sequence[float] | None = None,
    style_scale: float | Sequence[float] | None = None,
    style_size: str | float | None = None,
    preserve_colors: str | None = None,
    mask: Given | None = None,
    regions: Given | None = None,
    style_regions: Given | Sequence[Given] | None = None,
    flatten: bool = False,
    init: str | None = None,
    noise: float | None = None,
    seed: int = 0,
    optimizer: str | None = None,
    precision: str | None = None,
    memory: float | str | None = None,
    device: str = "auto",
    weights: str = "auto",
    bits: int = 8,
    quality: int = 95,
    dpi: float | None = None,
    keep_profile: bool = False,
    progress: bool | None = None,
    callback: Callable[[State], object] | None = None,
    observers: Iterable[Observer] = (),
    state: State | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: float | None = None,
    fresh: bool = False,
    scheduler: str | None = None,
    max_pixels: int | None = None,
    **settings: Any,
) -> Result:
    """Transfer the style of one picture to the content of another, coarse to fine.

    Pictures are paths, PIL images or arrays (height × width × 3, or × 4 with alpha; uint8, or floats from 0 to 1).
    If a setting is None, the recipe's value is used. The default recipe `fine` sets longest_side 512, epochs 60 and 30,
    content_weight 0.3 and style_weight 1. Settings of a stage take one value per stage, or one for all stages.

    - `style`: a picture, several, or `Style`s; `style_weights`, `style_scale` (longest side of a style as a multiple of
      the result's) and `style_regions` have one value for each.
    - `recipe`: a name (`gluon-nst recipes` lists them), the path of a .toml file, or a Recipe.
    - `longest_side`: the longest side of the result in pixels; the other follows from the content picture. `sizes`:
      (height, width) of each stage instead.
    - `epochs`: steps of Adam, or evaluations of L-BFGS, of each stage; `lr`: learning rate.
    - `content_weight`, `style_weight`, `tv_weight`: weights of the losses; `content_layers`, `style_layers`: layers of
      VGG-19 by name, with weights if they are a dictionary.
    - `style_size`: `content`, or the longest side of the style picture as a multiple of the result's.
    - `preserve_colors`: `no`, `luminance` or `histogram`.
    - `mask`: white where the picture is stylised, black where the content stays. `regions`: a map of the content whose
      colours are matched with those of `style_regions`. `flatten`: lay a transparent content picture on white.
    - `init`: `content`, `style`, `noise`, or a picture's path; `noise`: share of noise in it, from 0 to 1, by `seed`.
    - `optimizer`: `adam` or `lbfgs`; `precision`: `float32`, `bfloat16` or `auto`.
    - `memory`: bytes, or text such as `3GB`, that the run may take; `device`: `auto`, `cpu`, `gpu` or `gpu:N`;
      `weights`: where VGG-19's parameters come from.
    - `bits`, `quality`, `dpi`, `keep_profile`: how `Result.save` writes the picture.
    - `progress`: a progress bar with an estimate; by default on a terminal and in a notebook.
    - `callback`: a function that is called with the State after each epoch; `observers`: objects that follow the run.
    - `checkpoint`: a folder in which the run is kept, every `checkpoint_every` seconds and at its end; the same call
      continues it, or, with `fresh`, starts again. `state`: a State to continue from, changed in place.
    - `scheduler`: `tcp://HOST:PORT` of a Dask cluster whose workers compute the windows of large pictures.
    - `max_pixels`: the most pixels that an input picture may have.
    - `settings`: any other setting of a recipe, by the names in docs/recipes.md.

    Returns a Result, whose status says whether the run completed. Raises InputError before anything is computed,
    KeywordError (a TypeError) for an unknown keyword, WeightsError if no parameters are available, and NSTError or
    OutOfMemory if the run failed before there was a picture.

    >>> result = transfer("photo.jpg", "painting.jpg", longest_side=512)  # doctest: +SKIP
    >>> result.save("out.png")  # doctest: +SKIP
    """
    arguments = locals()
    check_settings(settings, also=OF_TRANSFER)
    settings.update(
        (name, value)
        for name, value in arguments.items()
        if value is not None and name not in ("content", "style", "recipe", "settings", *OF_TRANSFER)
    )
    if state is not None and checkpoint is not None:
        raise InputError("state, checkpoint: both say where the run continues; leave one of them out")
    if checkpoint is None and (fresh or checkpoint_every is not None):
        raise InputError(f"{'fresh' if fresh else 'checkpoint_every'}: is for a run with a checkpoint; name its folder")
    followers = [*_bar(progress, observers), *observers]
    observer = Observers(followers)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pixels_allowed(max_pixels))
        for follower in followers:
            if isinstance(follower, Bar):
                stack.enter_context(follower)
        run = prepare(Job(content, style, recipe, **settings), observer)
        elsewhere: Elsewhere | None = None
        if scheduler is not None:
            pool = stack.enter_context(Pool(scheduler, notify=observer.note))
            elsewhere = stack.enter_context(Spread(pool, observer.note))
        state = State() if state is None else state
        if checkpoint is not None:
            kept = stack.enter_context(Checkpoint(checkpoint, checkpoint_every, observer.note))
            state = kept.load(run, fresh=fresh)
            observer = Observers([*followers, kept])
        if elsewhere is None:
            note_if_long([run], observer, state)
        result = carry_out(run, observer, state, _calling(callback, state), elsewhere)
    observer.end(result)
    return result


def _bar(progress: bool | None, observers: Iterable[Observer]) -> list[Observer]:
    """Return the progress bar of a run, if it is to have one besides its `observers`."""
    if progress is None:
        progress = is_watched() and not any(isinstance(each, (Bar, Live)) for each in observers)
    return [Bar()] if progress else []


def _calling(callback: Callable[[State], object] | None, state: State) -> Halt:
    """Return a Halt that calls a function with the state, and never stops the run.

    Unlike those of an observer, errors of the function end the run.
    """
    if callback is None:
        return never

    def halt() -> bool:
        callback(state)
        return False

    return halt
