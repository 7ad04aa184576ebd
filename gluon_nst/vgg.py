"""VGG-19's layers, their names and indices, the Sequential truncated after the last one used, and its features."""

from mxnet import init
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision

from gluon_nst.errors import InputError
from gluon_nst.images import preprocess
from gluon_nst.runtime import nd_mode

# The book's choice of layers, each before its ReLU: conv4_4, and the first convolution of every block.
CONTENT_LAYERS = (25,)
STYLE_LAYERS = (0, 5, 10, 19, 28)

POOLINGS = ("max", "average")

# Convolutions and channels of each block (Simonyan and Zisserman 2015, table 1, column E).
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


def _layers():
    layers = {}
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            layers[f"conv{block}_{number}"] = len(layers)
            layers[f"relu{block}_{number}"] = len(layers)
        layers[f"pool{block}"] = len(layers)
    return layers


LAYERS = _layers()
"""The paper's names of the layers, each with its index in the model zoo's (and torchvision's) `features`."""

NAMES = {index: name for name, index in LAYERS.items()}
"""The other way round."""

CONVOLUTIONS = tuple(index for name, index in LAYERS.items() if name.startswith("conv"))
"""The indices of the sixteen convolutions."""


def parameter_shapes():
    """The shapes of the sixteen convolutions' parameters under the model zoo's names, in the order of the layers."""
    shapes, below, indices = {}, 3, iter(CONVOLUTIONS)
    for convolutions, channels in BLOCKS:
        for index in (next(indices) for _ in range(convolutions)):
            shapes[f"features.{index}.weight"] = (channels, below, 3, 3)
            shapes[f"features.{index}.bias"] = (channels,)
            below = channels
    return shapes


def activations(last):
    """How many numbers the layers up to and including `last` put out for each pixel of a picture."""
    numbers, area = 0, 1
    for name, index in LAYERS.items():
        if index <= last:
            area = area / 4 if name.startswith("pool") else area
            numbers += BLOCKS[int(name[4]) - 1][1] * area
    return numbers


def multiplications(last):
    """How many multiplications the convolutions up to layer `last` take for each pixel of a picture, forward."""
    numbers, below, area = 0, 3, 1
    for name, index in LAYERS.items():
        channels = BLOCKS[int(name[4]) - 1][1]
        if name.startswith("pool"):
            area /= 4
        elif name.startswith("conv") and index <= last:
            numbers += 9 * below * channels * area
            below = channels
    return numbers


def smallest_side(last):
    """The shortest side, in pixels, of a picture that still has a pixel left after layer `last`."""
    return 2 ** sum(index <= last for name, index in LAYERS.items() if name.startswith("pool"))


class _ShiftedConv2D(nn.Conv2D):
    """A convolution that takes `zero` (1 × 3 × 1 × 1) from its input, so that its zero padding stands for it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.zero = self.params.get("zero", shape=(1, 3, 1, 1))

    def hybrid_forward(self, F, x, weight, bias, zero):
        return super().hybrid_forward(F, F.broadcast_sub(x, zero), weight, bias)


@nd_mode
def truncated_vgg19(parameters, last, ctx, pooling="max"):
    """The model zoo's VGG-19 up to and including layer `last`, as in section 14.12.3 of the book.

    `parameters` maps the model zoo's names (`features.0.weight`, …) to NDArrays, and perhaps `features.0.zero` to the input
    that the first layer's padding stands for. They are frozen: the composite is the only thing with a gradient. The layers
    above `last`, the dense ones among them, are never allocated. `pooling` is `max`, as VGG was trained, or `average`
    (Gatys et al. 2016, section 2).
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling}: not one of {', '.join(POOLINGS)}")
    features = vision.vgg19().features
    net = nn.Sequential()
    for index in range(last + 1):
        averaged = pooling == "average" and isinstance(features[index], nn.MaxPool2D)
        shifted = index == 0 and "features.0.zero" in parameters
        net.add(
            _ShiftedConv2D(BLOCKS[0][1], 3, padding=1, in_channels=3) if shifted
            else nn.AvgPool2D(pool_size=2, strides=2) if averaged
            else features[index]
        )  # fmt: skip
    net.collect_params().setattr("grad_req", "null")
    for index in CONVOLUTIONS:
        if index <= last:
            for name in ("weight", "bias") + (("zero",) if isinstance(net[index], _ShiftedConv2D) else ()):
                parameter, data = getattr(net[index], name), parameters[f"features.{index}.{name}"]
                parameter.shape = data.shape
                parameter.initialize(init.Zero(), ctx=ctx)
                parameter.set_data(data)
    return net


@nd_mode
def extract_features(X, net, content_layers=CONTENT_LAYERS, style_layers=STYLE_LAYERS):
    """The outputs of the content layers and of the style layers for the network input `X` (1 × 3 × h × w): two lists.

    `net` is any sequence of layers; `X` may be a Symbol, so that the graph of a run is made by this very function.
    """
    contents, styles = [], []
    for index, layer in enumerate(net):
        X = layer(X)
        if index in style_layers:
            styles.append(X)
        if index in content_layers:
            contents.append(X)
    return contents, styles


@nd_mode
def get_contents(content_img, image_shape, device, net, content_layers=CONTENT_LAYERS, resize="bilinear"):
    """The preprocessed content image (1 × 3 × h × w) and its content features; `image_shape` is (width, height)."""
    content_X = preprocess(content_img, image_shape, resize).copyto(device)
    contents_Y, _ = extract_features(content_X, net, content_layers, ())
    return content_X, contents_Y


@nd_mode
def get_styles(style_img, image_shape, device, net, style_layers=STYLE_LAYERS, resize="bilinear"):
    """The preprocessed style image (1 × 3 × h × w) and its style features; `image_shape` is (width, height)."""
    style_X = preprocess(style_img, image_shape, resize).copyto(device)
    _, styles_Y = extract_features(style_X, net, (), style_layers)
    return style_X, styles_Y
