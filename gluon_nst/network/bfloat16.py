"""The trunk in bfloat16, as a graph: convolutions in bfloat16, features in float32 for the losses that are taken of
them.

oneDNN's kernels for AMX put the channels last, MXNet's own operators put them first, and the conversion costs more than
a convolution. So the graph avoids it for large gradients: with AMX, where features are widened, the network continues
from the wide ones, and two gradients of one layout are added. Without AMX it continues from the bfloat16 ones, in
oneDNN's blocked layout: there a pooling is ten times as fast. The layers from the second convolution on have a first
convolution of their own, whose gradient is of a few channels only.
"""

from __future__ import annotations

import sys
from typing import Any, Collection, Mapping

from mxnet import nd, sym
from mxnet.contrib import amp
from mxnet.gluon import nn

from gluon_nst.machine.instructions import instructions
from gluon_nst.network.layers import CONVOLUTIONS
from gluon_nst.network.operators import operators, padded, shape_of
from gluon_nst.network.vgg import FirstConv2D, features_of
from gluon_nst.typing import Symbol

_CHANNELS = 16
"""Of the picture, all but three of them 0: for so few as three oneDNN has no kernel for AMX's tiles."""


_WIDEST = 736


def widest() -> int:
    """How many positions feature maps may be wide here in bfloat16: one more grid step, and oneDNN 2.4.4's backward
    convolution for AMX does not come to an end, however high they are."""
    return _WIDEST if instructions.amx == "used" else sys.maxsize


def _narrowed(X: Any) -> Any:
    return operators(X).amp_cast(X, dtype=amp.amp.bfloat16)


def _widened(X: Symbol) -> Symbol:
    return sym.amp_cast(X, dtype="float32")


def narrow_features(
    X: Symbol, layers: Mapping[int, Any], wanted: Collection[int], parameters: Mapping[str, Any]
) -> tuple[dict[int, Symbol], dict[str, Any]]:
    """`vgg.features_of` for a Symbol `X` whose shape is known, and {name: NDArray} of the parameters that it adds.

    `parameters` are those of the layers, by name. The features of layers before the second convolution are computed in
    float32 throughout.
    """
    second = CONVOLUTIONS[1]
    features = features_of(X, {index: layer for index, layer in layers.items() if index < second}, wanted)
    added: dict[str, Any] = {}
    is_wide = True
    for index, layer in layers.items():
        if isinstance(layer, nn.Conv2D):
            convolution = _Convolution(layer, parameters, added)
            X = convolution(_narrowed(X) if is_wide and index else X)
            is_wide = False
        else:
            X = layer(X)
        if index in wanted and index >= second:
            if is_wide:
                features[index] = X
            elif instructions.amx == "used":
                X, is_wide = _widened(X), True
                features[index] = X
            else:
                features[index] = _widened(_branch(X))
    return features, added


def _branch(X: Symbol) -> Symbol:
    """Return `X` after a pooling of 1 × 1, which keeps its gradient in oneDNN's blocked layout.

    The values stay the same. Without it MXNet adds gradients of two layouts in float32, by three conversions.
    """
    return sym.Pooling(X, kernel=(1, 1), stride=(1, 1), pool_type="avg")


class _Convolution:
    """A convolution of the network in bfloat16; its `parameters` are narrowed once, into `added`.

    The network's first one takes the picture in float32.
    """

    def __init__(self, layer: Any, parameters: Mapping[str, Any], added: dict[str, Any]) -> None:
        self._layer, self._added = layer, added
        self._weight, self._bias = parameters[layer.weight.name], parameters[layer.bias.name]
        self._first = self._weight.shape[1] == 3
        self._border = layer.border if isinstance(layer, FirstConv2D) else "zero"

    def __call__(self, X: Symbol) -> Symbol:
        weight = self._weight
        if self._first:
            X = self._padded(X)
            num_filter, channels, height, width = weight.shape
            zeros = nd.zeros((num_filter, _CHANNELS - channels, height, width), ctx=weight.context)
            weight = nd.concat(weight, zeros, dim=1)
        arguments = [self._variable(name, array) for name, array in (("weight", weight), ("bias", self._bias))]
        pad = (0, 0) if self._first and self._border != "zero" else (1, 1)
        return sym.Convolution(X, *arguments, kernel=(3, 3), pad=pad, num_filter=len(self._bias))

    def _padded(self, X: Symbol) -> Symbol:
        """The picture, narrow, with as many channels as the kernels want."""
        if self._border != "zero":
            X = padded(X, self._border)
        if hasattr(self._layer, "zero"):
            X = sym.broadcast_sub(X, self._layer.zero.var())
        name = f"{self._layer.name}_channels"
        zeros = self._added[name] = nd.zeros((1, _CHANNELS - 3, *shape_of(X)[2:]), ctx=self._weight.context)
        # Narrowed after it is put together: without AMX, oneDNN's blocks of channels in bfloat16 can't be taken apart
        # again at the third, and the process would end there.
        return _narrowed(sym.concat(X, sym.var(name, shape=zeros.shape), dim=1))

    def _variable(self, name: str, array: Any) -> Symbol:
        name = f"{self._layer.name}_{name}_bfloat16"
        self._added[name] = _narrowed(array)
        return sym.var(name, shape=array.shape, dtype=amp.amp.bfloat16)
