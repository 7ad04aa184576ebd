"""The objective of a run: the losses of a composite and their gradient, as a distance of sums over positions.

Two graphs. The first runs the network and sums its statistics over the positions of the feature maps. The second, of a few
numbers, makes the losses of the sums; its gradient with respect to them is what the first one's backward pass begins with. The
forward pass is not repeated, and neither graph waits for the other in Python.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Sequence

from mxnet import nd, sym

from gluon_nst.errors import InputError
from gluon_nst.images import standardisation
from gluon_nst.layers import NAMES
from gluon_nst.losses import add_up
from gluon_nst.narrow import can_be_narrow, narrow_features
from gluon_nst.recipes import Recipe
from gluon_nst.records import Losses
from gluon_nst.style_statistics import Statistic, style_statistic
from gluon_nst.sums import SquaredDifference, SquaredVariation, TotalVariation, shape_of
from gluon_nst.vgg import extract_features

NDArray = Any
Symbol = Any


class _Graph:
    """A graph in the making: its variables stand for arrays, and some of them are to have gradients."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._arrays: dict[str, NDArray] = {}
        self.gradients: dict[str, NDArray] = {}

    def variable(self, name: str, array: NDArray, gradient: NDArray | None = None) -> Symbol:
        """The variable that stands for an `array`, whose gradient goes to `gradient`."""
        self._arrays[name] = array
        if gradient is not None:
            self.gradients[name] = gradient
        return sym.var(name, shape=array.shape, dtype=array.dtype)

    def sums(self, name: str, array: NDArray) -> Symbol:
        """The variable for sums that another graph puts out, with a gradient."""
        return self.variable(name, array, nd.zeros_like(array))

    def constant(self, name: str, array: Any) -> Symbol:
        """The variable for what never changes, as MXNet's own operators read it: in oneDNN's layout it would be converted in
        every epoch."""
        array = array.asnumpy() if isinstance(array, nd.NDArray) else array
        return self.variable(name, nd.array(array, ctx=self._context))

    def bind(self, outputs: Sequence[Symbol], others: dict[str, NDArray]) -> Any:
        """An executor that computes the `outputs`; `others` are arrays that symbols from elsewhere stand for."""
        graph = sym.Group(outputs)
        arrays = {**self._arrays, **{name: others[name] for name in graph.list_arguments() if name in others}}
        requests = {name: "write" if name in self.gradients else "null" for name in arrays}
        return graph.bind(self._context, arrays, args_grad=self.gradients, grad_req=requests)


class _Term(NamedTuple):
    """One of the losses: sums over positions, in the first graph, and what makes the weighted loss of them, in the second."""

    name: str
    sums: Sequence[Symbol]
    loss: Callable[..., Symbol]


class Guides(NamedTuple):
    """Where in the picture the losses are taken, at each layer's own grid, and what the composite is mixed with.

    - `styles` maps style layers to the weights of each region, one for each statistic in the layer's `styles_Y`.
    - `mask` (1 × 1 × h × w, in pixels) is the share of the composite in what the network sees, and `behind` (1 × 3 × h × w, in
      the unit of the recipe's pixels) the rest of it.
    """

    styles: Mapping[int, Sequence[NDArray]] = {}
    mask: NDArray | None = None
    behind: NDArray | None = None


class Objective:
    """The losses of a composite `X` and the gradient of their sum, for the size of `X`.

    - `net` is the truncated network, a Sequential.
    - `X` (1 × 3 × h × w) has a gradient attached; its values are in the `pixel_unit` of the recipe.
    - `contents_Y` are the content layers' features of the content picture, `styles_Y` the style layers' statistics of the
      style picture: by default their Gram matrices; where a layer is guided, a list of one for each region, None for one
      that no style has there.
    - `recipe` says which layers these are, what they weigh, and in what precision the convolutions are computed: in float32 all
      the same where bfloat16 would not do (`narrow.can_be_narrow`).
    - `statistic` is what `styles_Y` are, where it is not what the recipe has.
    - `guides` say where the losses are taken.

    The memory of each graph is planned once, forward and backward pass together, which takes less than a hybridized block
    takes. The statistics, the losses and the composite are in float32 in either precision.
    """

    def __init__(
        self,
        net: Any,
        X: NDArray,
        contents_Y: Sequence[NDArray],
        styles_Y: Sequence[NDArray],
        recipe: Recipe,
        statistic: Statistic | None = None,
        guides: Guides | None = None,
    ) -> None:
        for kind, layers, targets in (
            ("content", recipe.content_layers, contents_Y),
            ("style", recipe.style_layers, styles_Y),
        ):
            if len(layers) != len(targets):
                raise InputError(f"{kind}_layers: {len(targets)} targets for {len(layers)} layers; give one each")
        self.X, self._recipe, self._guides = X, recipe, guides or Guides()
        network, distances = _Graph(X.context), _Graph(X.context)
        composite = self._composite(network)
        parameters = {name: parameter.data() for name, parameter in net.collect_params().items()}
        if recipe.precision == "bfloat16" and can_be_narrow(composite):
            features, narrowed = narrow_features(composite, net, recipe.content_layers, recipe.style_layers)
            parameters.update(narrowed)
        else:
            features = extract_features(composite, net, recipe.content_layers, recipe.style_layers)
        of_contents = zip(recipe.content_layers, features[0], contents_Y)
        of_styles = zip(recipe.style_layers, features[1], styles_Y)
        statistic = statistic or style_statistic(recipe)
        contents = [self._content_term(*layer, network) for layer in of_contents]
        styles = [self._style_term(*layer, statistic, (network, distances)) for layer in of_styles]
        variation = self._variation_term(composite, network)
        # In this order: the sums of a layer are then computed with the layer, and MXNet's plan needs a tenth less memory.
        terms = [variation, *styles, *contents]
        self._network = network.bind([each for term in terms for each in term.sums], parameters)
        sums, losses = iter(self._network.outputs), {}
        for term in terms:
            variables = [distances.sums(f"{term.name}/{number}", next(sums)) for number in range(len(term.sums))]
            losses[term.name] = term.loss(*variables)
        self._names = [term.name for term in (*contents, *styles, variation)]
        *others, tv_l = (losses[name] for name in self._names)
        total = add_up(others[: len(contents)], others[len(contents) :], tv_l)
        self._distances = distances.bind([total, sym.BlockGrad(sym.concat(*others, tv_l, total, dim=0))], {})
        self._of_sums = list(distances.gradients.values())
        self._out_grads = [nd.ones(1, ctx=X.context), nd.zeros(len(self._names) + 1, ctx=X.context)]

    def _composite(self, graph: _Graph) -> Symbol:
        """The composite as the network takes it."""
        X = graph.variable("X", self.X, self.X.grad)
        if self._guides.mask is not None:
            behind = graph.constant("behind", self._guides.behind)
            X = behind + sym.broadcast_mul(X - behind, graph.constant("mask", self._guides.mask))
        if self._recipe.pixel_unit == "standardised":
            return X
        scale, shift = standardisation(self._recipe.pixel_unit)
        return sym.broadcast_add(sym.broadcast_mul(X, graph.constant("scale", scale)), graph.constant("shift", shift))

    def _content_term(self, layer: int, Y_hat: Symbol, Y: NDArray, graph: _Graph) -> _Term:
        difference, shape = SquaredDifference(self._recipe.content_reduction), shape_of(Y_hat)
        weight, name = self._recipe.content_weight * self._recipe.content_layers[layer], f"content/{NAMES[layer]}"
        sums = difference.sums(Y_hat, graph.constant(name, Y))
        return _Term(name, [sums], lambda sums: difference.loss(sums, shape) * weight)

    @staticmethod
    def _weights(name: str, weights: NDArray, graph: _Graph) -> tuple[Symbol, float]:
        """The variable for weights of positions, and their sum."""
        return graph.constant(f"{name}/weights", weights), float(weights.asnumpy().sum(dtype="float64"))

    def _style_term(
        self, layer: int, Y_hat: Symbol, Y: Any, statistic: Statistic, graphs: tuple[_Graph, _Graph]
    ) -> _Term:
        """That of all regions together, each by its share of the picture."""
        network, distances = graphs
        weight, name = self._recipe.style_weight * self._recipe.style_layers[layer], f"style/{NAMES[layer]}"
        shape = shape_of(Y_hat)
        targets = [
            [
                distances.constant(f"{name}/{number}/{part}", array)
                for part, array in enumerate([] if target is None else statistic.target(target))
            ]
            for number, target in enumerate(Y if isinstance(Y, (list, tuple)) else [Y])
        ]
        if layer not in self._guides.styles:
            (target,) = targets
            whole = statistic.sums(Y_hat)
            return _Term(
                name,
                [whole],
                lambda sums: statistic.distance(statistic.normalised(sums, shape), target, shape) * weight,
            )
        regions = enumerate(self._guides.styles[layer])
        where = [self._weights(f"{name}/{number}", weights, network) for number, weights in regions]
        # A region that the mask hides, or that a few rows at the edge are, has no statistic.
        seen = [(each, target) for each, target in zip(where, targets) if each[1] and target]
        if not seen:
            raise InputError(f"{NAMES[layer]} sees nothing of what the mask and the regions leave; make them larger")
        where, targets = [each for each, _ in seen], [target for _, target in seen]
        everywhere = sum(positions for _, positions in where)

        def loss(*sums: Symbol) -> Symbol:
            distances = []
            for each, (_, positions), target in zip(sums, where, targets):
                distance = statistic.distance(statistic.normalised(each, shape, positions), target, shape)
                distances.append(distance * (weight * positions / everywhere))
            return sym.add_n(*distances)

        return _Term(name, [statistic.sums(Y_hat, weights) for weights, _ in where], loss)

    def _variation_term(self, composite: Symbol, graph: _Graph) -> _Term:
        shape, weight = shape_of(composite), self._recipe.tv_weight
        variation: TotalVariation | SquaredVariation = TotalVariation()
        if self._recipe.tv_norm == "l2":  # of pixels from 0 to 1
            variation = SquaredVariation()
            composite = sym.broadcast_div(composite, graph.constant("tv/unit", standardisation("unit")[0]))
        return _Term("tv", variation.sums(composite), lambda *sums: variation.loss(sums, shape) * weight)

    def __call__(self) -> Losses:
        """Compute the gradient into `X.grad`, and give the weighted losses.

        It returns when the losses are known, while MXNet goes on with the gradient.
        """
        self._network.forward(is_train=True)
        _, losses = self._distances.forward(is_train=True)
        self._distances.backward(self._out_grads)
        self._network.backward(self._of_sums)
        self.X._fresh_grad = True  # as autograd's backward would have told the Trainer
        *terms, total = losses.asnumpy().tolist()
        return Losses(dict(zip(self._names, terms)), total)
