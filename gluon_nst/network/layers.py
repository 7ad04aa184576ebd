"""VGG-19's layers: their names, indices, shapes and sizes.

Plain arithmetic, without MXNet.
"""

from __future__ import annotations

# The book's choice of layers, each before its ReLU: conv4_4, and the first convolution of every block.
CONTENT_LAYERS = (25,)
STYLE_LAYERS = (0, 5, 10, 19, 28)

# Convolutions and channels of each block (Simonyan and Zisserman 2015, table 1, column E).
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


POOLINGS = ("max", "average")
PADDINGS = ("zero", "replicate", "reflect")


def _layers() -> dict[str, int]:
    layers: dict[str, int] = {}
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            layers[f"conv{block}_{number}"] = len(layers)
            layers[f"relu{block}_{number}"] = len(layers)
        layers[f"pool{block}"] = len(layers)
    return layers


LAYERS = _layers()
"""The paper's names of the layers, each with its index in the model zoo's (and torchvision's) `features`."""

PIXELS = -1
"""Index of the style layer below the network: the patches of the picture itself (`vgg.patches`), named pixels."""
PATCH = 3
"""Side of a patch, in pixels."""

NAMES = {PIXELS: "pixels", **{index: name for name, index in LAYERS.items()}}
"""The name of each layer by its index."""

CONVOLUTIONS = tuple(index for name, index in LAYERS.items() if name.startswith("conv"))
"""The indices of the sixteen convolutions."""


GRID = 16
"""Pixels that a position of the last block covers in each direction: poolings drop nothing from multiples of it."""


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the sixteen convolutions' parameters, by name.

    The names are the model zoo's, in order of the layers.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    below, indices = 3, iter(CONVOLUTIONS)
    for convolutions, channels in BLOCKS:
        for index in (next(indices) for _ in range(convolutions)):
            shapes[f"features.{index}.weight"] = (channels, below, 3, 3)
            shapes[f"features.{index}.bias"] = (channels,)
            below = channels
    return shapes


def outputs_per_pixel(last: int) -> float:
    """Return the number of outputs of the layers up to `last`, per pixel.

    Layer `last` is included, and the pixels are those of the picture.
    """
    numbers, area = 0.0, 1.0
    for name, index in LAYERS.items():
        if index <= last:
            area = area / 4 if name.startswith("pool") else area
            numbers += BLOCKS[int(name[4]) - 1][1] * area
    return numbers


def multiplications(last: int) -> float:
    """Return the multiplications of the forward pass up to `last`, per pixel.

    The pixels are those of the picture.
    """
    numbers, below, area = 0.0, 3, 1.0
    for name, index in LAYERS.items():
        channels = BLOCKS[int(name[4]) - 1][1]
        if name.startswith("pool"):
            area /= 4
        elif name.startswith("conv") and index <= last:
            numbers += 9 * below * channels * area
            below = channels
    return numbers


def shape_at(layer: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the shape, 1 × c × h × w, of a layer's features.

    `size` is the (height, width) of the picture.

    >>> shape_at(28, (300, 450))
    (1, 512, 18, 28)
    """
    height, width = (side // smallest_side(layer) for side in size)
    channels = 3 * PATCH**2 if layer == PIXELS else BLOCKS[int(NAMES[layer][4]) - 1][1]
    return 1, channels, height, width


def smallest_side(last: int) -> int:
    """Return the shortest side of a picture that has a position at layer `last`.

    It is in pixels.
    """
    return 2 ** sum(index <= last for name, index in LAYERS.items() if name.startswith("pool"))
