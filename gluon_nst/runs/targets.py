"""The targets of a stage: content features, style statistics, position weights."""

from __future__ import annotations

import math
from typing import Any, Collection, Iterator, NamedTuple

import numpy as np
from mxnet import nd

from gluon_nst.engine.graph import Piece, sliced
from gluon_nst.engine.memory import Plan
from gluon_nst.engine.objective import Guides
from gluon_nst.engine.padding import Canvas, at_layer, resized
from gluon_nst.engine.windows import part
from gluon_nst.losses.style_statistics import Statistic
from gluon_nst.machine.scratch import Scratch
from gluon_nst.network.layers import shape_at, smallest_side
from gluon_nst.network.vgg import outputs
from gluon_nst.pictures.pixels import in_unit
from gluon_nst.recipes import Recipe, Stage
from gluon_nst.runs.run import Run, StylePicture
from gluon_nst.typing import NDArray


class Targets(NamedTuple):
    """The targets of a stage for an Objective.

    `content_X` is the run's reference on the stage's padded canvas.
    """

    content_X: NDArray
    contents_Y: list[Any]
    styles_Y: list[list[NDArray | None]]
    guides: Guides


def targets_of(
    run: Run, stage: Stage, net: Any, statistic: Statistic, plan: Plan | None = None, elsewhere: bool = False
) -> Targets:
    """Compute the Targets of a `stage` of `run` for a `plan`, by default the run's.

    If remote workers compute the stage (`elsewhere`), the content's features are Pieces: each worker computes its own.
    """
    plan = plan or run.plan(stage)
    recipe, canvas, (height, width) = run.recipe, run.canvas(stage), stage.shape
    content_X = canvas.place(run.reference.preprocessed((width, height), recipe.resize)).as_in_context(run.device)
    if elsewhere:
        contents_Y = [Piece(shape_at(layer, canvas.size), run.device) for layer in recipe.content_layers]
    else:
        contents_Y = _contents(content_X, net, recipe, plan)
    styles_Y = _mean_statistics(run, stage, net, statistic, plan.style_window)
    return Targets(content_X, contents_Y, styles_Y, _guides(run, canvas))


def _contents(content_X: NDArray, net: Any, recipe: Recipe, plan: Plan) -> list[Any]:
    """Return the content layers' features.

    They are on disk if the stage is computed in windows, which read them one by one.
    """
    contents: dict[int, Any] = {}
    for layer, Y, slices in _features(content_X, net, recipe.content_layers, plan.style_window):
        if not plan.windowed:
            contents[layer] = Y
            continue
        if layer not in contents:
            contents[layer] = Scratch(shape_at(layer, content_X.shape[2:]))
        contents[layer].write(Y.asnumpy(), *slices)
    return [contents[layer] for layer in recipe.content_layers]


def _features(
    X: NDArray, net: Any, layers: Collection[int], window_side: int
) -> Iterator[tuple[int, NDArray, tuple[slice, slice]]]:
    """Yield (layer, features, slices) of a picture `X`, window by window.

    A window has at most `window_side` pixels a side. Each feature map can be freed before the next one is computed.
    """
    if not layers:
        return
    below = range(max([0, *layers]) + 1)
    for window in part(below, X.shape[2:], (window_side, window_side)).windows:
        pixels = sliced(X, *(span.covered(1) for span in window))
        for layer, Y in outputs(pixels, net, layers):
            stride = smallest_side(layer)
            core, slices = zip(*((span.core(stride), span.core_covered(stride)) for span in window))
            yield layer, sliced(Y, *core), slices
        nd.waitall()  # otherwise later windows would be allocated while this one is computed


def _guides(run: Run, canvas: Canvas) -> Guides:
    styles: dict[int, list[NDArray]] = {}
    mask = behind = None
    if run.mask is not None:
        mask = canvas.place(_pixels(run.mask, canvas.shape)).as_in_context(run.device)
        height, width = canvas.shape
        content_X = canvas.place(run.content.preprocessed((width, height), run.recipe.resize))
        behind = in_unit(content_X.as_in_context(run.device), run.recipe.pixel_unit)
    regions = [mask] if mask is not None else []
    if run.regions is not None:
        regions = [canvas.place(_pixels(region, canvas.shape)).as_in_context(run.device) for region in run.regions]
        regions = [region if mask is None else region * mask for region in regions]
    if regions:
        styles = {layer: [at_layer(weights, layer) for weights in regions] for layer in run.recipe.style_layers}
    return Guides(styles, mask, behind)


def _pixels(weights: np.ndarray, shape: tuple[int, int]) -> NDArray:
    """Resize weights of pixels, h × w, to another shape: 1 × 1 × h × w."""
    return nd.array(resized(weights, shape)[None, None])


def _mean_statistics(
    run: Run, stage: Stage, net: Any, statistic: Statistic, window_side: int
) -> list[list[NDArray | None]]:
    """Return the weighted mean statistics for each style layer and region.

    None if no style has the region at that layer: poolings drop a few rows at the edge of a picture.
    """
    regions = 1 if run.regions is None else len(run.regions)
    sums: dict[int, list[Any]] = {layer: [0] * regions for layer in run.recipe.style_layers}
    weights = {layer: [0.0] * regions for layer in run.recipe.style_layers}
    max_weight = max(style.weight for style in run.styles)  # sums of shares of it do not overflow
    for style in run.styles:
        share = style.weight / max_weight
        for (layer, number), sums_of_style in _statistics(run, style, stage, net, statistic, window_side).items():
            sums[layer][number] = sums[layer][number] + sums_of_style * share
            weights[layer][number] += share
    return [
        [total / weight if weight else None for total, weight in zip(sums[layer], weights[layer])] for layer in sums
    ]


def _statistics(
    run: Run, style: StylePicture, stage: Stage, net: Any, statistic: Statistic, window_side: int
) -> dict[tuple[int, int], NDArray]:
    """Return {(layer, region): statistic} of a style picture.

    Only regions that the picture has at the layer are included.
    """
    recipe, (height, width) = run.recipe, run.style_shape(style, stage)
    X = style.picture.preprocessed((width, height), recipe.resize).as_in_context(run.device)
    regions = (
        style.regions
        if style.regions is None
        else [_pixels(region, (height, width)).as_in_context(run.device) for region in style.regions]
    )
    sums: dict[tuple[int, int], Any] = {}
    positions: dict[tuple[int, int], float] = {}
    for layer, Y, slices in _features(X, net, recipe.style_layers, window_side):
        for number, region in enumerate([None] if regions is None else regions):
            weights = None if region is None else sliced(at_layer(region, layer), *slices)
            num_positions = math.prod(Y.shape[2:]) if weights is None else float(weights.sum().asscalar())
            if num_positions:
                key = layer, number
                sums[key] = sums.get(key, 0) + statistic.sums(Y, weights)
                positions[key] = positions.get(key, 0.0) + num_positions
    shapes = {layer: shape_at(layer, (height, width)) for layer in recipe.style_layers}
    return {
        (layer, number): statistic.normalised(
            total, shapes[layer], None if regions is None else positions[layer, number]
        )
        for (layer, number), total in sums.items()
    }
