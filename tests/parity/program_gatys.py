"""Gatys, Ecker and Bethge 2016, from the paper's equations 1 to 7: sums, average pooling, white noise, L-BFGS."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from network import features, responses

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)  # blue, green, red
STYLE_LAYERS, CONTENT_LAYER = [1, 6, 11, 20, 29], 22
ALPHA, BETA, W = 1, 1e3, 1 / 5


class Program:
    units = "standardised"

    def __init__(self, content, style, parameters, longest=64):
        net = features(parameters, 29)
        self.net = nn.Sequential(*(nn.AvgPool2d(2, 2) if isinstance(layer, nn.MaxPool2d) else layer for layer in net))
        width, height = Image.open(content).size
        self.size = round(height * longest / max(width, height)), round(width * longest / max(width, height))
        self.start = torch.tensor(np.random.default_rng(0).standard_normal((1, 3, *self.size), dtype=np.float32))
        self.P = self.responses(self.read(content))[CONTENT_LAYER]
        style_responses = self.responses(self.read(style))
        self.A = {layer: style_responses[layer] @ style_responses[layer].T for layer in STYLE_LAYERS}

    def read(self, path):
        height, width = self.size
        image = Image.open(path).convert("RGB").resize((width, height), Image.BILINEAR)
        return (torch.tensor(np.array(image)).permute(2, 0, 1)[None].float().contiguous() / 255 - MEAN) / STD

    def responses(self, x):
        """Return F of every layer: N rows (filters) of M positions each; `x` is standardised."""
        x = (255 * (x * STD + MEAN)).flip(1) - CAFFE_MEAN
        return responses(self.net, x, {CONTENT_LAYER, *STYLE_LAYERS})

    def losses(self, x):
        F = self.responses(x)
        content = 0.5 * ((F[CONTENT_LAYER] - self.P) ** 2).sum()  # equation 1
        E = []
        for layer in STYLE_LAYERS:
            N, M = F[layer].shape
            G = F[layer] @ F[layer].T  # equation 3
            E.append(((G - self.A[layer]) ** 2).sum() / (4 * N**2 * M**2))  # equation 4
        return [ALPHA * content], [BETA * W * e for e in E], torch.zeros(())  # equations 5 and 7

    def run(self, steps):
        """Return the total loss of each evaluation."""
        x, totals = self.start.clone().requires_grad_(), []
        optimizer = torch.optim.LBFGS([x], max_iter=steps, max_eval=steps, tolerance_grad=0, tolerance_change=0)

        def closure():
            optimizer.zero_grad()
            contents, styles, _ = self.losses(x)
            loss = sum(contents) + sum(styles)
            loss.backward()
            totals.append(loss.item())
            return loss

        while len(totals) < steps:
            optimizer.step(closure)
        return totals[:steps]
