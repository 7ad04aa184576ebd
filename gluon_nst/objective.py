"""The objective of a run: the losses of a composite and their gradient, as a distance of sums over positions.

Two graphs. The first runs the network and sums its statistics over the positions of the feature maps. The second, of a few
numbers, makes the losses of the sums; its gradient with respect to them is what the first one's backward pass begins with. The
forward pass is not repeated, and neither graph waits for the other in Python.
"""

from __future__ import annotations

from typing import Any, Sequence

from mxnet import nd, sym

from gluon_nst.images import standardisation
from gluon_nst.layers import NAMES
from gluon_nst.losses import add_up
from gluon_nst.narrow import narrow_features
from gluon_nst.recipes import Recipe
from gluon_nst.records import Losses
from gluon_nst.style_statistics import SquaredDifference, Statistic, TotalVariation, shape_of, style_statistic
from gluon_nst.vgg import extract_features

NDArray = Any


def _plain(Y: NDArray, like: NDArray) -> NDArray:
    """A target as MXNet's own operators read it: in oneDNN's layout it would be converted in every epoch."""
    return nd.array(Y.asnumpy(), ctx=like.context)


class Objective:
    """The losses of a composite `X` and the gradient of their sum, for the size of `X`.

    - `net` is the truncated network, a Sequential.
    - `X` (1 × 3 × h × w) has a gradient attached; its values are in the `pixel_unit` of the recipe.
    - `contents_Y` are the content layers' features of the content picture, `styles_Y` the style layers' statistics of the
      style picture: by default their Gram matrices.
    - `recipe` says which layers these are, what they weigh, and in what precision the convolutions are computed.
    - `statistic` is what `styles_Y` are, where it is not what the recipe has.

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
    ) -> None:
        self.X, self._recipe = X, recipe
        self._content = SquaredDifference(recipe.content_reduction)
        self._style = statistic or style_statistic(recipe)
        self._variation = TotalVariation()
        self._names = [f"content/{NAMES[layer]}" for layer in recipe.content_layers]
        self._names += [f"style/{NAMES[layer]}" for layer in recipe.style_layers]
        self._names.append("tv")
        self._statistics = self._statistics_graph(net, contents_Y)
        self._distance = self._distance_graph(self._statistics.outputs, styles_Y)
        self._out_grads = [nd.ones(1, ctx=X.context), nd.zeros(len(self._names) + 1, ctx=X.context)]

    def _statistics_graph(self, net: Any, contents_Y: Sequence[NDArray]) -> Any:
        """The graph from the composite to the sums; remembers the shapes of what is summed over."""
        X, recipe = self.X, self._recipe
        arrays = {"X": X}
        composite = sym.var("X", shape=X.shape, dtype=X.dtype)
        if recipe.pixel_unit != "standardised":
            scale_shift = standardisation(recipe.pixel_unit)
            arrays.update((name, nd.array(a, ctx=X.context)) for name, a in zip(("scale", "shift"), scale_shift))
            scale, shift = (sym.var(name, shape=(1, 3, 1, 1)) for name in ("scale", "shift"))
            composite = sym.broadcast_add(sym.broadcast_mul(composite, scale), shift)
        if recipe.precision == "bfloat16":
            features, narrowed = narrow_features(composite, net, recipe.content_layers, recipe.style_layers)
            arrays.update(narrowed)
        else:
            features = extract_features(composite, net, recipe.content_layers, recipe.style_layers)
        contents_Y_hat, styles_Y_hat = features
        self._shapes = [[shape_of(Y_hat) for Y_hat in kind] for kind in ((composite,), styles_Y_hat, contents_Y_hat)]
        targets = [f"content{number}" for number in range(len(contents_Y))]
        arrays.update((name, _plain(Y, X)) for name, Y in zip(targets, contents_Y))
        # In this order: the sums of a layer are then computed with the layer, and MXNet's plan needs a tenth less memory.
        graph = sym.Group(
            [
                *self._variation.sums(composite),
                *(self._style.sums(Y_hat) for Y_hat in styles_Y_hat),
                *(
                    self._content.sums(Y_hat, sym.var(name, shape=Y.shape, dtype=Y.dtype))
                    for Y_hat, name, Y in zip(contents_Y_hat, targets, contents_Y)
                ),
            ]
        )
        parameters = net.collect_params()
        arrays.update((name, parameters[name].data()) for name in graph.list_arguments() if name not in arrays)
        gradients = {"X": X.grad}
        return graph.bind(X.context, arrays, args_grad=gradients, grad_req=_only(gradients, arrays))

    def _distance_graph(self, sums: Sequence[NDArray], styles_Y: Sequence[NDArray]) -> Any:
        """The graph from the sums to the losses."""
        recipe, context = self._recipe, self.X.context
        arrays = {f"sums{number}": array for number, array in enumerate(sums)}
        gradients = {name: nd.zeros_like(array) for name, array in arrays.items()}
        down, across, *rest = (sym.var(name, shape=array.shape) for name, array in arrays.items())
        styles, contents = rest[: len(styles_Y)], rest[len(styles_Y) :]
        targets = {f"style{number}": _plain(Y, self.X) for number, Y in enumerate(styles_Y)}
        (composite_shape,), styles_shape, contents_shape = self._shapes
        contents_l = [
            self._content.loss(sums, shape) * (recipe.content_weight * weight)
            for sums, shape, weight in zip(contents, contents_shape, recipe.content_layers.values())
        ]
        styles_l = [
            self._style.distance(self._style.normalised(sums, shape), sym.var(name, shape=Y.shape), shape)
            * (recipe.style_weight * weight)
            for sums, shape, weight, (name, Y) in zip(
                styles, styles_shape, recipe.style_layers.values(), targets.items()
            )
        ]
        tv_l = self._variation.loss((down, across), composite_shape) * recipe.tv_weight
        total = add_up(contents_l, styles_l, tv_l)
        graph = sym.Group([total, sym.BlockGrad(sym.concat(*contents_l, *styles_l, tv_l, total, dim=0))])
        self._gradients = list(gradients.values())
        arrays.update(targets)
        return graph.bind(context, arrays, args_grad=gradients, grad_req=_only(gradients, arrays))

    def __call__(self) -> Losses:
        """Compute the gradient into `X.grad`, and give the weighted losses.

        It returns when the losses are known, while MXNet goes on with the gradient.
        """
        self._statistics.forward(is_train=True)
        _, losses = self._distance.forward(is_train=True)
        self._distance.backward(self._out_grads)
        self._statistics.backward(self._gradients)
        self.X._fresh_grad = True  # as autograd's backward would have told the Trainer
        *terms, total = losses.asnumpy().tolist()
        return Losses(dict(zip(self._names, terms)), total)


def _only(wanted: dict[str, NDArray], arrays: dict[str, NDArray]) -> dict[str, str]:
    """What a graph of `arrays` is asked for: the gradients of those that are `wanted`, and of no others."""
    return {name: "write" if name in wanted else "null" for name in arrays}
