"""The objective of a run: the losses of a composite, and their gradient.

The objective is a distance of reductions over positions. There are two graphs. The first evaluates the network and
reduces its statistics over the positions of the feature maps. The second, of a few numbers, computes the losses from
these sums; its gradient with respect to the sums is the head gradient of the first graph's backward pass. The forward
pass is not repeated, and Python does not wait between the two.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np
from mxnet import nd, sym

from gluon_nst.engine.graph import Computed, Computing, Graph, PartGraph
from gluon_nst.engine.windows import Part, whole
from gluon_nst.errors import InputError
from gluon_nst.losses.chapter import add_up
from gluon_nst.losses.records import Losses
from gluon_nst.losses.reductions import SquaredDifference, SquaredVariation, TotalVariation
from gluon_nst.losses.style_statistics import Statistic, style_statistic
from gluon_nst.network.bfloat16 import bfloat16_features, widest
from gluon_nst.network.layers import NAMES, PIXELS, shape_at, smallest_side
from gluon_nst.network.operators import shape_of
from gluon_nst.network.vgg import features_of, without_scalings
from gluon_nst.pictures.pixels import standardisation
from gluon_nst.recipes import Recipe
from gluon_nst.typing import NDArray, Symbol


class _Term(NamedTuple):
    """A loss: its sums over positions, and the function from them to the loss.

    The sums are computed in the first graph, the weighted loss in the second.
    """

    name: str
    sums: Sequence[Symbol]
    loss: Callable[..., Symbol]


class Guides(NamedTuple):
    """The weights of positions in the losses, and the background of the composite.

    - `styles` maps style layers to the weights of each region, one for each statistic in the layer's `styles_Y`.
    - `mask` (1 × 1 × h × w, in pixels) is the share of the composite in the network's input, and `behind`
      (1 × 3 × h × w, in the unit of the recipe's pixels) is the background that makes up the rest.
    """

    styles: Mapping[int, Sequence[NDArray]] = {}
    mask: NDArray | None = None
    behind: NDArray | None = None


class Objective:
    """The losses of a composite `X` and the gradient of their sum, as a function.

    - `net` is the truncated network, a Sequential.
    - `X` (1 × 3 × h × w) has a gradient attached; its values are in the `pixel_unit` of the recipe.
    - `contents_Y` are the content layers' features of the content picture, `styles_Y` the style layers' statistics of
      the style picture, by default their Gram matrices; with regions, a list with one for each region, or None if no
      style has the region.
    - `recipe` has the layers, the weights and the precision of the convolutions. A part that is too wide for bfloat16
      (`bfloat16.widest`) is computed in float32.
    - `statistic` is that of `styles_Y`, by default the recipe's.
    - `guides` are the weights of positions and the background.
    - `parts` are those of the network, each with its windows, or factories of remote evaluators; by default the network
      is computed whole.

    MXNet plans the memory of the forward and backward pass of each graph together, once; this takes less memory than a
    hybridized block. The statistics, the losses and the composite are in float32 with either precision.
    """

    def __init__(
        self,
        net: Any,
        X: NDArray,
        contents_Y: Sequence[Any],
        styles_Y: Sequence[NDArray],
        recipe: Recipe,
        statistic: Statistic | None = None,
        guides: Guides | None = None,
        parts: Sequence[Part | Computing] | None = None,
    ) -> None:
        for kind, layers, targets in (
            ("content", recipe.content_layers, contents_Y),
            ("style", recipe.style_layers, styles_Y),
        ):
            if len(layers) != len(targets):
                raise InputError(f"{kind}_layers: {len(targets)} targets for {len(layers)} layers; give one each")
        self.X, self._recipe, self._guides = X, recipe, guides or Guides()
        self._statistic, self._size = statistic or style_statistic(recipe), X.shape[2:]
        self._contents = dict(zip(recipe.content_layers, contents_Y))
        self._styles = dict(zip(recipe.style_layers, styles_Y))
        self._distances = Graph(X.context)
        layers, parameters = without_scalings(net, {*recipe.content_layers, *recipe.style_layers})
        self.parts: list[Computed] = []
        terms_of_parts = []
        source, gradient = X, X.grad
        for part in parts or whole(recipe.last_layer, self._size):
            computed = part(source, gradient) if callable(part) else Computed(part, source, gradient)
            terms_of_parts.append(self._part(computed, layers, parameters))
            self.parts.append(computed)
            source, gradient = computed.onward, computed.back
        self._bind_distances(terms_of_parts)

    def _part(self, computed: Computed, net: Mapping[int, Any], parameters: dict[str, NDArray]) -> list[_Term]:
        """Return a part's loss terms, and create the executor of their sums."""
        recipe, graph, layers = self._recipe, computed.graph, computed.part.layers
        composite = computed.input if layers.start else self._composite(computed.input, graph)
        X = composite if layers.start else self._standardised(composite, graph)
        wanted = {*recipe.content_layers, *recipe.style_layers}
        has_next = layers.stop <= recipe.last_layer
        chosen = {layer: net[layer] for layer in layers}
        pixel_layers = [] if layers.start else [PIXELS]
        wanted_here = [layer for layer in (*pixel_layers, *layers) if layer in wanted]
        wanted_here += [layers[-1]] if has_next else []
        if recipe.precision == "bfloat16" and computed.part.shape[1] <= widest():
            features, added = bfloat16_features(X, chosen, wanted_here, parameters)
            parameters = {**parameters, **added}
        else:
            features = features_of(X, chosen, wanted_here)
        styles = [self._style_term(layer, features[layer], graph) for layer in recipe.style_layers if layer in features]
        contents = [
            self._content_term(layer, features[layer], graph) for layer in recipe.content_layers if layer in layers
        ]
        variation = [] if layers.start else [self._variation_term(composite, X, graph)]
        # In this order the sums of a layer are computed with the layer, and MXNet's plan needs a tenth less memory.
        terms = [*variation, *styles, *contents]
        computed.bind(
            [each for term in terms for each in term.sums], features[layers[-1]] if has_next else None, parameters
        )
        return terms

    def _bind_distances(self, terms_of_parts: list[list[_Term]]) -> None:
        """Create the executor of the graph that computes the losses from all sums."""
        distances, losses = self._distances, {}
        self._sum_gradients = []
        for computed, terms in zip(self.parts, terms_of_parts):
            sums, num_before = iter(computed.sums), len(distances.gradients)
            for term in terms:
                variables = [
                    distances.with_gradient(f"{term.name}/{number}", next(sums)) for number in range(len(term.sums))
                ]
                losses[term.name] = term.loss(*variables)
            self._sum_gradients.append(list(distances.gradients.values())[num_before:])
        contents = [f"content/{NAMES[layer]}" for layer in self._contents]
        styles = [f"style/{NAMES[layer]}" for layer in self._styles]
        self._names = [*contents, *styles, "tv"]
        total = add_up([losses[name] for name in contents], [losses[name] for name in styles], losses["tv"])
        values = sym.concat(*(losses[name] for name in self._names), total, dim=0)
        self._losses = distances.bind([total, sym.BlockGrad(values)], {})
        context = self.X.context
        self._out_grads = [nd.ones(1, ctx=context), nd.zeros(len(self._names) + 1, ctx=context)]

    def _composite(self, X: Symbol, graph: PartGraph) -> Symbol:
        """Return the composite blended with the background by the mask.

        It is in the unit of the recipe's pixels.
        """
        if self._guides.mask is None:
            return X
        behind = graph.covered("behind", self._guides.behind, 1)
        return behind + sym.broadcast_mul(X - behind, graph.covered("mask", self._guides.mask, 1))

    def _standardised(self, composite: Symbol, graph: PartGraph) -> Symbol:
        """Return the composite as the network's input, standardised."""
        if self._recipe.pixel_unit == "standardised":
            return composite
        # Constants of the composite's shape: the gradients of MXNet's broadcasting operators take ten times as long.
        shape = shape_of(composite)
        scale, shift = (np.broadcast_to(each, shape) for each in standardisation(self._recipe.pixel_unit))
        return composite * graph.constant("scale", scale) + graph.constant("shift", shift)

    def _content_term(self, layer: int, Y_hat: Symbol, graph: PartGraph) -> _Term:
        difference, shape = SquaredDifference(self._recipe.content_reduction), shape_at(layer, self._size)
        weight, name = self._recipe.content_weight * self._recipe.content_layers[layer], f"content/{NAMES[layer]}"
        stride = smallest_side(layer)
        sums = difference.sums(Y_hat, graph.covered(name, self._contents[layer], stride), graph.core(stride))
        return _Term(name, [sums], lambda sums: difference.loss(sums, shape) * weight)

    def _style_term(self, layer: int, Y_hat: Symbol, graph: PartGraph) -> _Term:
        """Return the style loss of a layer.

        With regions it is the mean of their losses, weighted by their shares of the picture.
        """
        weight, name = self._recipe.style_weight * self._recipe.style_layers[layer], f"style/{NAMES[layer]}"
        statistic, shape, stride = self._statistic, shape_at(layer, self._size), smallest_side(layer)
        Y = self._styles[layer]
        targets = [
            [
                self._distances.constant(f"{name}/{number}/{part}", array)
                for part, array in enumerate([] if target is None else statistic.target(target))
            ]
            for number, target in enumerate(Y if isinstance(Y, (list, tuple)) else [Y])
        ]
        if layer not in self._guides.styles:
            (target,) = targets
            sums_of_all = statistic.sums(Y_hat, graph.core(stride))
            return _Term(
                name,
                [sums_of_all],
                lambda sums: statistic.distance(statistic.normalised(sums, shape), target, shape) * weight,
            )
        # A region outside the mask, or of a few rows at the edge, has no statistic.
        visible = [
            (graph.weights(f"{name}/{number}/weights", weights, stride), positions, target)
            for number, (weights, target) in enumerate(zip(self._guides.styles[layer], targets))
            for positions in [float(weights.asnumpy().sum(dtype="float64"))]
            if positions and target
        ]
        if not visible:
            raise InputError(f"the mask and the regions leave no position of {NAMES[layer]}; make them larger")
        total_positions = sum(positions for _, positions, _ in visible)

        def loss(*sums: Symbol) -> Symbol:
            distances = []
            for each, (_, positions, target) in zip(sums, visible):
                distance = statistic.distance(statistic.normalised(each, shape, positions), target, shape)
                distances.append(distance * (weight * positions / total_positions))
            return sym.add_n(*distances)

        return _Term(name, [statistic.sums(Y_hat, weights) for weights, _, _ in visible], loss)

    def _variation_term(self, composite: Symbol, standardised: Symbol, graph: PartGraph) -> _Term:
        shape, weight = self.X.shape, self._recipe.tv_weight
        variation: TotalVariation | SquaredVariation = TotalVariation()
        if self._recipe.tv_norm == "l2":  # of pixels from 0 to 1
            variation = SquaredVariation()
            if self._recipe.pixel_unit != "unit":
                composite = sym.broadcast_div(standardised, graph.constant("tv/unit", standardisation("unit")[0]))
        else:
            composite = standardised
        sums = variation.sums(composite, graph.corners())
        return _Term("tv", sums, lambda *sums: variation.loss(sums, shape) * weight)

    def __call__(self) -> Losses:
        """Compute the gradient into `X.grad`, and return the weighted losses.

        It returns when the losses are known; MXNet may still compute the gradient.
        """
        for computed in self.parts:
            computed.forward()
        _, losses = self._losses.forward(is_train=True)
        self._losses.backward(self._out_grads)
        for computed, gradients in zip(reversed(self.parts), reversed(self._sum_gradients)):
            computed.backward(gradients)
        self.X._fresh_grad = True  # as autograd's backward sets it for the Trainer
        *terms, total = losses.asnumpy().tolist()
        return Losses(dict(zip(self._names, terms)), total)
