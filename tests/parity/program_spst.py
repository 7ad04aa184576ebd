"""Scaling Painting Style Transfer (Galerne, Raad, Lezama, Morel 2024, arXiv 2212.13459) at one size, from its loss.

Gram matrices, means and standard deviations of features after their ReLU. The rescaling of the network to a mean
activation of 1, as by Gatys et al., is up to the caller; the parameters are for Caffe's input.
"""

import numpy as np
import torch
from PIL import Image

from network import features, responses

CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)  # blue, green, red
STYLE_LAYERS, CONTENT_LAYER = [1, 6, 11, 20, 29], 22
GRAM_WEIGHT, MEAN_WEIGHT, STD_WEIGHT = 1e3, 1e4, 1e4  # the first is divided by the number of channels, squared
EPSILON = 1e-12  # added to a variance, because the root's slope is infinite at 0, the variance of a constant channel


def statistics(F):
    """Return the Gram matrix, the channels' means and standard deviations of F: channels × positions."""
    mean = F.mean(1)
    variance = ((F - mean[:, None]) ** 2).mean(1)
    return F @ F.T / F.shape[1], mean, (variance + EPSILON).sqrt()


def style_loss(F, target):
    (G, mean, std), (G_s, mean_s, std_s) = statistics(F), target
    gram_l = GRAM_WEIGHT / len(F) ** 2 * ((G - G_s) ** 2).mean()
    return gram_l + MEAN_WEIGHT * ((mean - mean_s) ** 2).mean() + STD_WEIGHT * ((std - std_s) ** 2).mean()


class Program:
    """The objective at one size: the content's longest side, or (height, width); the style's size follows by a rule."""

    units = "bytes"

    def __init__(self, content, style, parameters, size=64, style_size=None, dtype=torch.float32):
        self.dtype = dtype
        self.net = features(parameters, 29).to(dtype)
        width, height = Image.open(content).size
        scale = 1 if isinstance(size, tuple) else size / max(width, height)
        self.size = size if isinstance(size, tuple) else (round(scale * height), round(scale * width))
        self.start = self.read(content)
        self.P = self.responses(self.start)[CONTENT_LAYER]
        responses = self.responses(self.read(style, style_size or self.scaled_down(style)))
        self.targets = {layer: statistics(responses[layer]) for layer in STYLE_LAYERS}

    def scaled_down(self, style):
        """Return the style's (height, width), reduced to the content's shorter side if it is 1.1 times as long."""
        width, height = Image.open(style).size
        shorter = min(self.size)
        if min(width, height) <= 1.1 * shorter:
            return height, width
        scaled_height = round(height * shorter / min(width, height))
        return scaled_height, round(width / height * scaled_height)

    def read(self, path, size=None):
        height, width = size or self.size
        image = np.array(Image.open(path).convert("RGB").resize((width, height), Image.BICUBIC))
        return torch.tensor(image).permute(2, 0, 1)[None].to(self.dtype).contiguous().flip(1) - CAFFE_MEAN

    def responses(self, x):
        """Return channels × positions of each layer, after its ReLU."""
        return responses(self.net, x, {CONTENT_LAYER, *STYLE_LAYERS})

    def losses(self, x):
        F = self.responses(x)
        content = ((F[CONTENT_LAYER] - self.P) ** 2).mean()
        styles = [style_loss(F[layer], self.targets[layer]) for layer in STYLE_LAYERS]
        return [content], styles, torch.zeros(())

    def terms_and_gradient(self, x):
        """Return ({"content": …, "style": [… of each layer], "tv": 0, "total": …}, gradient), with weighted terms."""
        x = x.detach().clone().requires_grad_()
        (content,), styles, tv = self.losses(x)
        total = content + sum(styles) + tv
        (gradient,) = torch.autograd.grad(total, x)
        terms = {"content": content.item(), "style": [style.item() for style in styles], "tv": tv.item()}
        return {**terms, "total": total.item()}, gradient

    def run(self, steps, memory=100):
        """Return the total loss of each evaluation, by PyTorch's L-BFGS without a line search."""
        x, totals = self.start.clone().requires_grad_(), []
        optimizer = torch.optim.LBFGS([x], history_size=memory)

        def closure():
            optimizer.zero_grad()
            contents, styles, tv = self.losses(x)
            total = sum(contents) + sum(styles) + tv
            total.backward()
            totals.append(total.item())
            return total

        while len(totals) < steps:
            optimizer.step(closure)
        return totals[:steps]
