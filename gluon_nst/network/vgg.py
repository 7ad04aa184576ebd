"""The truncated Sequential of VGG-19's layers, and its features (section 14.12.4)."""

from __future__ import annotations

from typing import Any, Collection, Iterable, Iterator, Mapping

import numpy as np
from mxnet import init
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision

from gluon_nst.errors import InputError
from gluon_nst.machine import nd_mode
from gluon_nst.network.layers import (
    BLOCKS,
    CONTENT_LAYERS,
    CONVOLUTIONS,
    PADDINGS,
    PATCH,
    PIXELS,
    POOLINGS,
    STYLE_LAYERS,
)
from gluon_nst.network.operators import operators, padded, shape_of
from gluon_nst.pictures.pixels import preprocess
from gluon_nst.typing import NDArray


class FirstConv2D(nn.Conv2D):
    """The first convolution of VGG, whose padding is one of layers.PADDINGS.

    If it is `shifted`, it subtracts `zero` (1 × 3 × 1 × 1) from its input, so that zero padding represents that value.
    """

    def __init__(self, padding: str, shifted: bool) -> None:
        super().__init__(BLOCKS[0][1], 3, padding=int(padding == "zero"), in_channels=3)
        self.border, self.shifted = padding, shifted
        if shifted:
            self.zero = self.params.get("zero", shape=(1, 3, 1, 1))

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any, zero: Any = None) -> Any:
        if self.border != "zero":
            x = padded(x, self.border)
        return super().hybrid_forward(F, x if zero is None else F.broadcast_sub(x, zero), weight, bias)


@nd_mode
def truncated_vgg19(
    parameters: Mapping[str, NDArray], last: int, ctx: Any, pooling: str = "max", padding: str = "zero"
) -> nn.Sequential:
    """Return VGG-19 up to and including layer `last`, as in section 14.12.4.

    The layers are the model zoo's. `parameters` maps its names (`features.0.weight`, …) to NDArrays, and optionally
    `features.0.zero` to the input that the first layer's zero padding represents. They are frozen: only the composite
    has a gradient. The layers above `last`, including the dense ones, are never allocated. `pooling` is `max`, as VGG
    was trained, or `average` (Gatys et al. 2016, section 2). `padding` is that of the first convolution: `zero`,
    `replicate` or `reflect`.
    """
    for what, name, known in (("pooling", pooling, POOLINGS), ("padding", padding, PADDINGS)):
        if name not in known:
            raise InputError(f"{what} {name}: not one of {', '.join(known)}")
    features = vision.vgg19().features
    net = nn.Sequential()
    for index in range(last + 1):
        averaged = pooling == "average" and isinstance(features[index], nn.MaxPool2D)
        shifted = "features.0.zero" in parameters
        net.add(
            FirstConv2D(padding, shifted) if index == 0 and (shifted or padding != "zero")
            else nn.AvgPool2D(pool_size=2, strides=2) if averaged
            else features[index]
        )  # fmt: skip
    net.collect_params().setattr("grad_req", "null")
    for index in CONVOLUTIONS:
        if index <= last:
            for name in ("weight", "bias") + (("zero",) if getattr(net[index], "shifted", False) else ()):
                parameter, data = getattr(net[index], name), parameters[f"features.{index}.{name}"]
                parameter.shape = data.shape
                parameter.initialize(init.Zero(), ctx=ctx)
                parameter.set_data(data)
    return net


@nd_mode
def extract_features(
    X: Any,
    net: Iterable[Any],
    content_layers: Collection[int] = CONTENT_LAYERS,
    style_layers: Collection[int] = STYLE_LAYERS,
) -> tuple[list[Any], list[Any]]:
    """Return the outputs of the content layers and of the style layers, two lists.

    `X` is the network's input, 1 × 3 × h × w, an NDArray or a Symbol; `net` is any sequence of layers.
    """
    features = features_of(X, dict(enumerate(net)), {*content_layers, *style_layers})
    contents, styles = ([X for index, X in features.items() if index in of] for of in (content_layers, style_layers))
    return contents, styles


def outputs(X: NDArray, net: Any, wanted: Collection[int]) -> Iterator[tuple[int, NDArray]]:
    """Yield (index, output) for each `wanted` layer, in the network's order.

    `X` is the network input. Each output is computed on demand. The convolutions in `scalings` are computed as
    products.
    """
    if PIXELS in wanted:
        yield PIXELS, patches(X)
    factors = scalings(net)
    for index in range(max(wanted, default=PIXELS) + 1):
        X = X * factors[index] if index in factors else net[index](X)
        if index in wanted:
            yield index, X


def scalings(net: Any) -> dict[int, float]:
    """Return {index: factor} for convolutions that only scale a ReLU's output.

    The factor is positive. A trunk with VGG-16 in VGG-19's layers has them at the indices 16, 25 and 34 (Net2DeeperNet,
    Chen et al. 2016). They are detected by their parameters.
    """
    factors = {}
    for index, layer in enumerate(net):
        if index and isinstance(layer, nn.Conv2D) and _is_relu(net[index - 1]):
            factor = _scaling(layer)
            if factor:
                factors[index] = factor
    return factors


def _is_relu(layer: Any) -> bool:
    return isinstance(layer, nn.Activation) and layer._act_type == "relu"


def _scaling(layer: nn.Conv2D) -> float | None:
    """Return the factor of a convolution that is a multiple of the identity.

    None for any other convolution, and for one with a bias.
    """
    if layer.bias.data().asnumpy().any():
        return None
    weight = layer.weight.data().asnumpy()
    num_filter, channels, height, width = weight.shape
    diagonal = np.einsum("iihw->ihw", weight)[:, height // 2, width // 2] if num_filter == channels else np.zeros(1)
    factor = float(diagonal[0])
    only = (diagonal == diagonal[0]).all() and np.count_nonzero(weight) == num_filter
    return factor if only and factor > 0 else None


def _unchanged(X: Any) -> Any:
    return X


def without_scalings(net: Any, wanted: Collection[int]) -> tuple[dict[int, Any], dict[str, NDArray]]:
    """Return a network's layers and parameters without the convolutions in `scalings`.

    The layers of `net` are by index, the parameters by name. The parameters of the preceding convolution are multiplied
    by the factor, because a ReLU is positively homogeneous. The scaling convolution and the ReLU after it are then the
    identity. The convolution is kept if its factor would change `wanted` features of the preceding convolution or ReLU.
    """
    layers = dict(enumerate(net))
    parameters = {name: parameter.data() for name, parameter in net.collect_params().items()}
    for index, factor in scalings(net).items():
        before = layers.get(index - 2)
        if not isinstance(before, nn.Conv2D) or (factor != 1 and {index - 2, index - 1} & {*wanted}):
            continue
        for parameter in (before.weight, before.bias):
            parameters[parameter.name] = parameters[parameter.name] * factor
        layers[index] = _unchanged
        if _is_relu(layers.get(index + 1)):
            layers[index + 1] = _unchanged
    return layers, parameters


def features_of(X: Any, layers: Mapping[int, Any], wanted: Collection[int]) -> dict[int, Any]:
    """Return {index: output} of those `layers` that are `wanted`, in order.

    `X` is the input of the first layer. If PIXELS is wanted, `X` must be the network's input.
    """
    features = {PIXELS: patches(X)} if PIXELS in wanted else {}
    for index, layer in layers.items():
        X = layer(X)
        if index in wanted:
            features[index] = X
    return features


def patches(X: Any) -> Any:
    """Return the 3 × 3 pixels around each pixel of `X` as channels: 1 × 27 × h × w.

    `X` is the network's input, 1 × 3 × h × w; its edge is padded by replication. The means and covariances of the
    patches describe the palette, and the sharpness of the picture in every direction.
    """
    _, channels, height, width = shape_of(X)
    gathered = operators(X).im2col(
        padded(X, "replicate"), kernel=(PATCH, PATCH), stride=(1, 1), dilate=(1, 1), pad=(0, 0)
    )
    return gathered.reshape((1, channels * PATCH**2, height, width))


@nd_mode
def get_contents(
    content_img: NDArray,
    image_shape: tuple[int, int],
    device: Any,
    net: Iterable[Any],
    content_layers: Collection[int] = CONTENT_LAYERS,
    resize: str = "bilinear",
) -> tuple[NDArray, list[NDArray]]:
    """Return the preprocessed content image (1 × 3 × h × w) and its content features.

    `image_shape` is (width, height).
    """
    content_X = preprocess(content_img, image_shape, resize).copyto(device)
    contents_Y, _ = extract_features(content_X, net, content_layers, ())
    return content_X, contents_Y


@nd_mode
def get_styles(
    style_img: NDArray,
    image_shape: tuple[int, int],
    device: Any,
    net: Iterable[Any],
    style_layers: Collection[int] = STYLE_LAYERS,
    resize: str = "bilinear",
) -> tuple[NDArray, list[NDArray]]:
    """Return the preprocessed style image (1 × 3 × h × w) and its style features.

    `image_shape` is (width, height).
    """
    style_X = preprocess(style_img, image_shape, resize).copyto(device)
    _, styles_Y = extract_features(style_X, net, (), style_layers)
    return style_X, styles_Y
