"""The graph of the trunk in bfloat16, with features in float32.

The convolutions are in bfloat16; the losses need the features in float32. oneDNN's kernels for AMX have channels last,
MXNet's operators have them first, and the conversion of the layout takes longer than a convolution. The graph avoids it
for large gradients. With AMX, the network continues from the features in float32, so that two gradients of the same
layout are added. Without AMX, it continues from the features in bfloat16, in oneDNN's blocked layout, in which a
pooling is ten times as fast. The layers from the second convolution on have their own copy of the first convolution,
whose gradient has only a few channels.
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
"""Channels of the picture, of which all but three are 0: oneDNN has no kernel for AMX's tiles with only three."""


_WIDEST = 736


def widest() -> int:
    """Return the maximum width of feature maps in bfloat16, in positions.

    It is that of this processor. For wider ones, by a grid step or more and of any height, oneDNN 2.4.4's backward
    convolution for AMX never returns.
    """
    return _WIDEST if instructions.amx == "used" else sys.maxsize


def _to_bfloat16(X: Any) -> Any:
    return operators(X).amp_cast(X, dtype=amp.amp.bfloat16)


def _to_float32(X: Symbol) -> Symbol:
    return sym.amp_cast(X, dtype="float32")


def bfloat16_features(
    X: Symbol, layers: Mapping[int, Any], wanted: Collection[int], parameters: Mapping[str, Any]
) -> tuple[dict[int, Symbol], dict[str, Any]]:
    """Return `vgg.features_of` with convolutions in bfloat16, and added parameters.

    `X` is a Symbol with a known shape; the added parameters are {name: NDArray}. `parameters` are those of the layers,
    by name. The features of layers before the second convolution are computed in float32.
    """
    second = CONVOLUTIONS[1]
    features = features_of(X, {index: layer for index, layer in layers.items() if index < second}, wanted)
    added: dict[str, Any] = {}
    is_float32 = True
    for index, layer in layers.items():
        if isinstance(layer, nn.Conv2D):
            convolution = _Convolution(layer, parameters, added)
            X = convolution(_to_bfloat16(X) if is_float32 and index else X)
            is_float32 = False
        else:
            X = layer(X)
        if index in wanted and index >= second:
            if is_float32:
                features[index] = X
            elif instructions.amx == "used":
                X, is_float32 = _to_float32(X), True
                features[index] = X
            else:
                features[index] = _to_float32(_branch(X))
    return features, added


def _branch(X: Symbol) -> Symbol:
    """Return `X` after a pooling of 1 × 1.

    The values stay the same, and the gradient stays in oneDNN's blocked layout. Without it MXNet adds gradients of two
    layouts in float32, by three conversions.
    """
    return sym.Pooling(X, kernel=(1, 1), stride=(1, 1), pool_type="avg")


class _Convolution:
    """A convolution of the network in bfloat16.

    Its `parameters` are converted once, into `added`. The input of the first convolution is the picture in float32.
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
        """Return the picture in bfloat16, with the channels that the kernels require."""
        if self._border != "zero":
            X = padded(X, self._border)
        if hasattr(self._layer, "zero"):
            X = sym.broadcast_sub(X, self._layer.zero.var())
        name = f"{self._layer.name}_channels"
        zeros = self._added[name] = nd.zeros((1, _CHANNELS - 3, *shape_of(X)[2:]), ctx=self._weight.context)
        # Converted after the concatenation: without AMX, oneDNN can't split its blocks of channels in bfloat16 after
        # the third channel, and would terminate the process.
        return _to_bfloat16(sym.concat(X, sym.var(name, shape=zeros.shape), dim=1))

    def _variable(self, name: str, array: Any) -> Symbol:
        name = f"{self._layer.name}_{name}_bfloat16"
        self._added[name] = _to_bfloat16(array)
        return sym.var(name, shape=array.shape, dtype=amp.amp.bfloat16)
