"""VGG-19 in PyTorch, with the layers of torchvision's `vgg19().features`: every ReLU works in place."""

import torch
from torch import nn

BLOCKS = (64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4


def features(parameters, last):
    """Return the network up to layer `last`; `parameters` maps `features.0.weight`, … to NumPy arrays."""
    layers, below = [], 3
    for block in BLOCKS:
        for channels in block:
            layers += [nn.Conv2d(below, channels, 3, padding=1), nn.ReLU(inplace=True)]
            below = channels
        layers.append(nn.MaxPool2d(2, 2))
    net = nn.Sequential(*layers[: last + 1])
    names = {name: name[len("features.") :] for name in parameters if int(name.split(".")[1]) <= last}
    net.load_state_dict({short: torch.tensor(parameters[name]) for name, short in names.items()})
    return net.requires_grad_(False).eval()


def responses(net, x, layers):
    """Return {layer: its features of `x` as channels × positions}."""
    found = {}
    for i, layer in enumerate(net):
        x = layer(x)
        if i in layers:
            found[i] = x[0].flatten(1)
    return found
