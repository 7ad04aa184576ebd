"""The poster's command-line tool: pixels from 0 to 1, standardised by the network's first layer; ReLU on a copy."""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import mse_loss

from network import features

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
CONTENT, STYLE = ["7"], ["0", "2", "5", "7", "10"]


def gram_matrix(x):
    b, c, h, w = x.size()
    x = x.view(-1, h * w)
    return torch.mm(x, x.t()).div(b * c * h * w)


class Program:
    units = "unit"

    def __init__(self, content, style, parameters, size=64):
        self.size = size, size
        self.vgg = features(parameters, 10)
        self.start = self.read(content)
        self.content_targets = {name: x for name, x in self.forward(self.start).items() if name in CONTENT}
        self.style_targets = {name: gram_matrix(x) for name, x in self.forward(self.read(style)).items()}

    def read(self, path):
        image = Image.open(path).convert("RGB").resize(self.size[::-1], Image.BILINEAR)
        return torch.tensor(np.array(image)).permute(2, 0, 1)[None].float().contiguous() / 255

    def forward(self, x):
        x, outputs = (x - MEAN) / STD, {}
        for name, layer in self.vgg._modules.items():
            x = nn.functional.relu(x, inplace=False) if isinstance(layer, nn.ReLU) else layer(x)
            outputs[name] = x
        return {name: outputs[name] for name in STYLE}

    def losses(self, x):
        outputs = self.forward(x)
        contents = [mse_loss(outputs[name], target) * 1 for name, target in self.content_targets.items()]
        styles = [mse_loss(gram_matrix(outputs[name]), target) * 100000 for name, target in self.style_targets.items()]
        return contents, styles, torch.zeros(())

    def run(self, steps):
        """Return the total loss of each evaluation."""
        x, totals = self.start.clone().requires_grad_(), []
        optimizer = torch.optim.LBFGS([x])

        def closure():
            x.data.clamp_(0, 1)
            optimizer.zero_grad()
            contents, styles, _ = self.losses(x)
            loss = sum(contents) + sum(styles)
            loss.backward()
            totals.append(loss.item())
            return loss

        while len(totals) < steps:
            optimizer.step(closure)
        return totals[:steps]
