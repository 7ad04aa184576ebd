"""What a stage is to come near: the content picture's features, the styles' statistics, and where in the picture they count."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import numpy as np
from mxnet import nd

from gluon_nst.canvas import Canvas, at_layer, resized
from gluon_nst.images import in_unit, preprocess
from gluon_nst.objective import Guides
from gluon_nst.recipes import Stage
from gluon_nst.run import Run, StylePicture
from gluon_nst.style_statistics import Statistic
from gluon_nst.vgg import extract_features, get_styles

NDArray = Any


class Targets(NamedTuple):
    """The targets of a stage, as an Objective takes them; `content_X` is the content picture on the stage's canvas."""

    content_X: NDArray
    contents_Y: list[NDArray]
    styles_Y: list[list[NDArray | None]]
    guides: Guides


def targets_of(run: Run, stage: Stage, net: Any, statistic: Statistic) -> Targets:
    """The Targets of a `stage` of `run`."""
    recipe, canvas, (height, width) = run.recipe, run.canvas(stage), stage.shape
    content_X = canvas.place(preprocess(run.content.array, (width, height), recipe.resize)).as_in_context(run.device)
    contents_Y, _ = extract_features(content_X, net, recipe.content_layers, ())
    return Targets(content_X, contents_Y, _blended(run, stage, net, statistic), _guides(run, canvas, content_X))


def _guides(run: Run, canvas: Canvas, content_X: NDArray) -> Guides:
    styles: dict[int, list[NDArray]] = {}
    mask = behind = None
    if run.mask is not None:
        mask = canvas.place(_pixels(run.mask, canvas.shape)).as_in_context(run.device)
        behind = in_unit(content_X, run.recipe.pixel_unit)
    where = [mask] if mask is not None else []
    if run.regions is not None:
        where = [canvas.place(_pixels(region, canvas.shape)).as_in_context(run.device) for region in run.regions]
        where = [region if mask is None else region * mask for region in where]
    if where:
        styles = {layer: [at_layer(weights, layer) for weights in where] for layer in run.recipe.style_layers}
    return Guides(styles, mask, behind)


def _pixels(weights: np.ndarray, shape: tuple[int, int]) -> NDArray:
    """Weights of a picture's pixels, h × w, at another shape: 1 × 1 × h × w."""
    return nd.array(resized(weights, shape)[None, None])


def _blended(run: Run, stage: Stage, net: Any, statistic: Statistic) -> list[list[NDArray | None]]:
    """The statistics of all styles together, for each style layer and each region: weighted means.

    None where no style has the region at that layer: a few rows at the edge of a picture are lost to the poolings.
    """
    regions = 1 if run.regions is None else len(run.regions)
    sums: list[list[Any]] = [[0] * regions for _ in run.recipe.style_layers]
    weights = [[0.0] * regions for _ in run.recipe.style_layers]
    largest = max(style.weight for style in run.styles)  # in shares of it, whatever they are, they can be added up
    for style in run.styles:
        share = style.weight / largest
        for layer, statistics in enumerate(_statistics(run, style, stage, net, statistic)):
            for number, each in statistics.items():
                sums[layer][number] = sums[layer][number] + each * share
                weights[layer][number] += share
    return [[total / weight if weight else None for total, weight in zip(*each)] for each in zip(sums, weights)]


def _statistics(
    run: Run, style: StylePicture, stage: Stage, net: Any, statistic: Statistic
) -> Iterator[dict[int, NDArray]]:
    """{region: statistic} of one style picture, for each style layer in turn; of the regions that it has there."""
    recipe = run.recipe
    height, width = run.style_shape(style, stage)
    _, styles_Y = get_styles(style.picture.array, (width, height), run.device, net, recipe.style_layers, recipe.resize)
    for layer in recipe.style_layers:
        Y = styles_Y.pop(0)  # each large feature map goes as soon as its statistic is there
        if style.regions is None:
            yield {0: statistic.of(Y)}
            continue
        found = {}
        for number, region in enumerate(style.regions):
            weights = at_layer(_pixels(region, (height, width)).as_in_context(run.device), layer)
            positions = float(weights.sum().asscalar())
            if positions:
                found[number] = statistic.of(Y, weights, positions)
        yield found
