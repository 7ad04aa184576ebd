"""The d2l chapter, both editions, from its text: features before the ReLU, because Gluon's ReLU works on a copy."""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from network import features

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
CONTENT_LAYERS, STYLE_LAYERS = [25], [0, 5, 10, 19, 28]


def gram(X):
    num_channels, n = X.shape[1], X.numel() // X.shape[1]
    X = X.reshape(num_channels, n)
    return X @ X.T / (num_channels * n)


class Program:
    units = "standardised"

    def __init__(
        self, content, style, parameters, style_weight, lr, lr_decay, lr_decay_epoch, first_epoch, size=(48, 72)
    ):
        self.size, self.style_weight = size, style_weight
        self.lr, self.lr_decay, self.lr_decay_epoch, self.first_epoch = lr, lr_decay, lr_decay_epoch, first_epoch
        net = features(parameters, max(CONTENT_LAYERS + STYLE_LAYERS))
        # Gluon's Activation does not change its input.
        self.net = nn.Sequential(*(nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in net))
        self.start = self.read(content)
        self.contents_Y = self.extract(self.start)[0]
        self.styles_Y_gram = [gram(Y) for Y in self.extract(self.read(style))[1]]

    def read(self, path):
        image = torch.tensor(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float().contiguous()
        # MXNet's imresize is OpenCV's bilinear interpolation: four neighbours, rounded to integers.
        image = interpolate(image, self.size, mode="bilinear", align_corners=False, antialias=False).round()
        return (image / 255 - MEAN) / STD

    def extract(self, X):
        contents, styles = [], []
        for i, layer in enumerate(self.net):
            X = layer(X)
            if i in STYLE_LAYERS:
                styles.append(X)
            if i in CONTENT_LAYERS:
                contents.append(X)
        return contents, styles

    def losses(self, X):
        contents_Y_hat, styles_Y_hat = self.extract(X)
        contents_l = [torch.square(Y_hat - Y).mean() * 1 for Y_hat, Y in zip(contents_Y_hat, self.contents_Y)]
        styles_l = [
            torch.square(gram(Y_hat) - gram_Y).mean() * self.style_weight
            for Y_hat, gram_Y in zip(styles_Y_hat, self.styles_Y_gram)
        ]
        tv = 0.5 * (torch.abs(X[:, :, 1:] - X[:, :, :-1]).mean() + torch.abs(X[:, :, :, 1:] - X[:, :, :, :-1]).mean())
        return contents_l, styles_l, tv * 10

    def run(self, steps):
        """Return the total loss of each step, by MXNet's Adam: epsilon is added to the uncorrected root."""
        X = self.start.clone().requires_grad_()
        m, v, lr, totals = torch.zeros_like(X), torch.zeros_like(X), self.lr, []
        for i in range(steps):
            contents_l, styles_l, tv_l = self.losses(X)
            total = sum(contents_l) + sum(styles_l) + tv_l
            (gradient,) = torch.autograd.grad(total, X)
            totals.append(total.item())
            t = i + 1
            with torch.no_grad():
                m = 0.9 * m + 0.1 * gradient
                v = 0.999 * v + 0.001 * gradient**2
                X -= lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (v.sqrt() + 1e-8)
            number = i + self.first_epoch
            if number % self.lr_decay_epoch == 0 and number != 0:
                lr *= self.lr_decay
        return totals


def edition_2019(content, style, parameters):
    return Program(content, style, parameters, 1e3, 0.01, 0.1, 200, 0)


def edition_2023(content, style, parameters):
    return Program(content, style, parameters, 1e4, 0.9, 0.8, 50, 1)
