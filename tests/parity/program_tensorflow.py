"""The TensorFlow blog's program: Caffe's network and input, Keras' layers with their ReLU, pixels clipped at each
step."""

import numpy as np
import torch
from PIL import Image

from network import features

CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)  # blue, green, red
STYLE_LAYERS, CONTENT_LAYERS = [1, 6, 11, 20, 29], [31]


def gram_matrix(x):
    channels = x.shape[1]
    a = x[0].permute(1, 2, 0).reshape(-1, channels)
    return a.t() @ a / a.shape[0]


class Program:
    units = "bytes"

    def __init__(self, content, style, parameters, longest=64, lr=10.0):
        self.longest, self.lr = longest, lr
        self.model = features(parameters, 31)
        self.start = self.read(content)
        self.size = tuple(self.start.shape[2:])
        self.content_features = self.outputs(self.start)[1]
        self.gram_style_features = [gram_matrix(x) for x in self.outputs(self.read(style))[0]]

    def read(self, path):
        image = Image.open(path).convert("RGB")
        scale = self.longest / max(image.size)
        image = image.resize((round(image.size[0] * scale), round(image.size[1] * scale)), Image.LANCZOS)
        red_green_blue = torch.tensor(np.array(image)).permute(2, 0, 1)[None].float().contiguous()
        return red_green_blue.flip(1) - CAFFE_MEAN

    def outputs(self, x):
        styles, contents, x = [], [], x * 1
        for i, layer in enumerate(self.model):
            x = layer(x)
            if i in STYLE_LAYERS:
                styles.append(x)
            if i in CONTENT_LAYERS:
                contents.append(x)
        return styles, contents

    def losses(self, x):
        styles_hat, contents_hat = self.outputs(x)
        style_score = [
            1.0 / 5 * torch.mean((gram_matrix(x) - target) ** 2) * 1e-2
            for x, target in zip(styles_hat, self.gram_style_features)
        ]
        content_score = [torch.mean((x - target) ** 2) * 1e3 for x, target in zip(contents_hat, self.content_features)]
        return content_score, style_score, torch.zeros(())

    def run(self, steps):
        """Return the total loss of each step, by TensorFlow 1's Adam: epsilon is added to the uncorrected root."""
        x = self.start.clone().requires_grad_()
        m, v, totals = torch.zeros_like(x), torch.zeros_like(x), []
        for t in range(1, steps + 1):
            contents, styles, _ = self.losses(x)
            total = sum(contents) + sum(styles)
            (gradient,) = torch.autograd.grad(total, x)
            totals.append(total.item())
            with torch.no_grad():
                m = m + (gradient - m) * (1 - 0.9)
                v = v + (gradient**2 - v) * (1 - 0.999)
                x -= self.lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (v.sqrt() + 1e-8)
                x.copy_(torch.maximum(torch.minimum(x, 255 - CAFFE_MEAN), -CAFFE_MEAN))
        return totals
