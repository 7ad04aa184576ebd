"""Udacity's style transfer, from its notes and solution notebook: the ReLU overwrites the outputs of convolutions."""

import numpy as np
import torch
from PIL import Image

from network import features

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
STYLE_WEIGHTS = {"conv1_1": 1.0, "conv2_1": 0.75, "conv3_1": 0.2, "conv4_1": 0.2, "conv5_1": 0.2}
LAYERS = {"0": "conv1_1", "5": "conv2_1", "10": "conv3_1", "19": "conv4_1", "21": "conv4_2", "28": "conv5_1"}


def gram_matrix(tensor):
    _, d, h, w = tensor.size()
    tensor = tensor.view(d, h * w)
    return torch.mm(tensor, tensor.t())


class Program:
    units = "standardised"

    def __init__(self, content, style, parameters, max_size=64):
        self.vgg = features(parameters, 29)
        width, height = Image.open(content).size
        size = max_size if max(width, height) > max_size else max(width, height)
        # torchvision's Resize(size): the shorter side has that length, the other one is rounded down.
        self.size = (size, int(size * width / height)) if height <= width else (int(size * height / width), size)
        self.start = self.read(content)
        self.content_features = self.get_features(self.start)
        style_features = self.get_features(self.read(style))
        self.style_grams = {name: gram_matrix(style_features[name]) for name in style_features}

    def read(self, path):
        height, width = self.size
        image = Image.open(path).convert("RGB").resize((width, height), Image.BILINEAR)
        return (torch.tensor(np.array(image)).permute(2, 0, 1)[None].float().contiguous() / 255 - MEAN) / STD

    def get_features(self, x):
        kept = {}
        for name, layer in self.vgg._modules.items():
            x = layer(x)
            if name in LAYERS:
                kept[LAYERS[name]] = x
        return kept

    def losses(self, target):
        kept = self.get_features(target * 1)  # a copy, which the first layers may overwrite
        content_loss = torch.mean((kept["conv4_2"] - self.content_features["conv4_2"]) ** 2)
        styles = []
        for name, weight in STYLE_WEIGHTS.items():
            _, d, h, w = kept[name].shape
            layer_style_loss = weight * torch.mean((gram_matrix(kept[name]) - self.style_grams[name]) ** 2)
            styles.append(1e6 * layer_style_loss / (d * h * w))
        return [1 * content_loss], styles, torch.zeros(())

    def run(self, steps):
        target = self.start.clone().requires_grad_(True)
        optimizer, totals = torch.optim.Adam([target], lr=0.003), []
        for _ in range(steps):
            contents, styles, _ = self.losses(target)
            total_loss = sum(contents) + sum(styles)
            optimizer.zero_grad()
            total_loss.backward()
            optimizer.step()
            totals.append(total_loss.item())
        return totals
