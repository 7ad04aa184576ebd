"""style-transfer-pytorch, from its description: Wasserstein-2 between Gaussians of features, Adam, a ladder of sizes.

    python tests/parity/program_stp.py CONTENT STYLE OUT.png --size 362 --parameters trunk.npz
    python tests/parity/program_stp.py CONTENT STYLE --evaluate PICTURE --parameters trunk.npz

The parameters are `features.0.weight`, … for standardised RGB, as `scripts/benchmark.py` saves them with `numpy.savez`.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate, pad

from network import features, responses

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
STYLE_WEIGHTS = {1: 256 / 341, 6: 64 / 341, 11: 16 / 341, 20: 4 / 341, 29: 1 / 341}
CONTENT_LAYER, CONTENT_WEIGHT, TV_WEIGHT = 22, 0.015, 2
EPSILON = 1e-4  # on the diagonal of each covariance
ITERATIONS = 12
LR, BETAS, DECAY = 0.02, (0.9, 0.99), 0.99


class TwelveIterations(torch.autograd.Function):
    """The root by Newton-Schulz, and its gradient by the same number of iterations, as in the program.

    The gradient X solves RX + XR = G, with R the root, and sign([[R, G], [0, -R]]) = [[I, 2X], [0, -I]]. The iteration
    for the sign of a matrix is H ← H(3I - H²)/2; it keeps the form of H, so its two upper blocks are enough.
    """

    @staticmethod
    def forward(ctx, A):
        norm, three = A.norm(), 3 * torch.eye(len(A), dtype=A.dtype)
        Y, Z = A / norm, three / 3
        for _ in range(ITERATIONS):
            T = (three - Z @ Y) / 2
            Y, Z = Y @ T, T @ Z
        root = Y * norm.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, G):
        (root,) = ctx.saved_tensors
        R, upper = root / root.norm(), G / root.norm()
        for _ in range(ITERATIONS):
            rest = 3 * torch.eye(len(R), dtype=R.dtype) - R @ R
            R, upper = R @ rest / 2, (upper @ rest - R @ (R @ upper - upper @ R)) / 2
        return upper / 2


class Accurate(torch.autograd.Function):
    """The root by eigenvectors, in whose basis the equation of the gradient is solved element by element."""

    @staticmethod
    def forward(ctx, A):
        eigenvalues, V = torch.linalg.eigh(A)
        # Up to rounding, no eigenvalue of a product of three is smaller: each covariance has EPSILON on its diagonal.
        roots = eigenvalues.clamp(min=EPSILON**2).sqrt()
        ctx.save_for_backward(roots, V)
        return (V * roots) @ V.T

    @staticmethod
    def backward(ctx, G):
        roots, V = ctx.saved_tensors
        return V @ ((V.T @ G @ V) / (roots[:, None] + roots)) @ V.T


ROOTS = {"twelve": TwelveIterations.apply, "accurate": Accurate.apply}


def gaussian(F):
    """Return the mean and the covariance over positions of F: channels × positions."""
    mean = F.mean(1)
    second_moment = F @ F.T / F.shape[1]
    return mean, second_moment - torch.outer(mean, mean) + EPSILON * torch.eye(len(F), dtype=F.dtype)


def wasserstein(mean, covariance, mean_s, covariance_s, root_s, root):
    """Return the squared distance of two Gaussians, with norm and trace as means over the channels."""
    between = root(root_s @ covariance @ root_s)
    return ((mean - mean_s) ** 2).mean() + (covariance_s + covariance - 2 * between).diagonal().mean()


def total_variation(x):
    """Return the mean squared differences from the eight neighbours, with replicated edges."""
    x = pad(x, (1, 1, 1, 1), mode="replicate")
    middle = x[:, :, 1:-1, 1:-1]
    sides = [x[:, :, 1:-1, 2:] - middle, x[:, :, 2:, 1:-1] - middle]
    diagonals = [x[:, :, 1:, 1:] - x[:, :, :-1, :-1], x[:, :, 1:, :-1] - x[:, :, :-1, 1:]]
    return 2 * (sum((d**2).mean() / 3 for d in sides) + sum((d**2).mean() / 12 for d in diagonals))


def fitted(image, longest):
    """Return the (height, width) of `image` resized to a longest side."""
    width, height = image.size
    return round(longest * height / max(width, height)), round(longest * width / max(width, height))


class Program:
    """The objective at one size: the content's longest side, or (height, width)."""

    units = "unit"

    def __init__(self, content, style, parameters, size=64, roots="twelve", dtype=torch.float32):
        self.root, self.dtype = ROOTS[roots], dtype
        self.style_dtype = torch.float64 if roots == "accurate" else dtype
        self.net = features(parameters, 29).to(dtype)
        self.net[0].padding = 0, 0  # `responses` pads for it
        content, style = Image.open(content).convert("RGB"), Image.open(style).convert("RGB")
        self.size = size if isinstance(size, tuple) else fitted(content, size)
        self.start = self.tensor(content, self.size)
        self.P = self.responses(self.start)[CONTENT_LAYER]
        responses = self.responses(self.tensor(style, fitted(style, min(max(self.size), max(style.size)))))
        gaussians = {layer: gaussian(responses[layer].to(self.style_dtype)) for layer in STYLE_WEIGHTS}
        self.targets = {layer: (mean, cov, self.root(cov)) for layer, (mean, cov) in gaussians.items()}

    def tensor(self, image, size):
        image = np.array(image.resize(size[::-1], Image.BICUBIC))
        return torch.tensor(image).permute(2, 0, 1)[None].to(self.dtype).contiguous() / 255

    def read(self, path):
        return self.tensor(Image.open(path).convert("RGB"), self.size)

    def responses(self, x):
        """Return channels × positions of each layer, after its ReLU."""
        x = pad((x - MEAN) / STD, (1, 1, 1, 1), mode="replicate")
        return responses(self.net, x, {CONTENT_LAYER, *STYLE_WEIGHTS})

    def losses(self, x):
        F = self.responses(x)
        content = CONTENT_WEIGHT * ((F[CONTENT_LAYER] - self.P) ** 2).mean()
        styles = [
            weight * wasserstein(*gaussian(F[layer].to(self.style_dtype)), *self.targets[layer], self.root)
            for layer, weight in STYLE_WEIGHTS.items()
        ]
        return [content], styles, TV_WEIGHT * total_variation(x)

    def terms_and_gradient(self, x):
        """Return ({"content": …, "style": [… of each layer], "tv": …, "total": …}, gradient), with weighted terms."""
        x = x.detach().clone().requires_grad_()
        (content,), styles, tv = self.losses(x)
        total = content + sum(styles) + tv
        (gradient,) = torch.autograd.grad(total, x)
        terms = {"content": content.item(), "style": [style.item() for style in styles], "tv": tv.item()}
        return {**terms, "total": total.item()}, gradient

    def run(self, steps):
        """Return the total loss of each step."""
        return descend(self, self.start, steps).totals


class Descent(NamedTuple):
    picture: torch.Tensor  # the last iterate
    average: torch.Tensor  # what is shown
    adam: dict  # the optimiser's state: step, exp_avg, exp_avg_sq
    totals: list  # the loss before each step


def descend(program, start, steps, adam=None):
    """Take `steps` of Adam from `start`, with the state `adam` of the previous size."""
    x = start.detach().clone().requires_grad_()
    optimizer, totals = torch.optim.Adam([x], lr=LR, betas=BETAS), []
    if adam:
        first = interpolate(adam["exp_avg"], x.shape[2:], mode="bicubic")
        second = interpolate(adam["exp_avg_sq"], x.shape[2:], mode="bilinear").clamp(min=0)
        optimizer.state[x] = {"step": adam["step"].clone(), "exp_avg": first, "exp_avg_sq": second}
    average, weight = (1 - DECAY) * start, 1 - DECAY
    for _ in range(steps):
        contents, styles, tv = program.losses(x)
        total = sum(contents) + sum(styles) + tv
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
        with torch.no_grad():
            x.clamp_(0, 1)
            average, weight = DECAY * average + (1 - DECAY) * x, DECAY * weight + 1 - DECAY
    return Descent(x.detach(), average / weight, dict(optimizer.state[x]), totals)


def ladder(end, smallest=128):
    """Return the longest sides, with a factor of √2, down to `smallest`."""
    sizes = [end]
    while round(end / 2 ** (len(sizes) / 2)) >= smallest:
        sizes.append(round(end / 2 ** (len(sizes) / 2)))
    return sizes[::-1]


def stylize(content, style, parameters, end_size, *, smallest=128, steps=(1000, 500), roots="twelve", report=None):
    """Return the picture, 1 × 3 × height × width from 0 to 1; `steps` are those at the first size and at the others.

    `report` is called with the Program and the Descent of each size.
    """
    shown = adam = None
    for longest in ladder(end_size, smallest):
        program = Program(content, style, parameters, longest, roots)
        if shown is None:
            descent = descend(program, program.start, steps[0])
        else:
            start = interpolate(shown, program.size, mode="bicubic").clamp(0, 1)
            descent = descend(program, start, steps[1], adam)
        shown, adam = descent.average, descent.adam
        if report:
            report(program, descent)
    return shown.clamp(0, 1)


def evaluate(content, style, parameters, x, roots="twelve"):
    """Return the terms of the objective at the picture `x`, at its size."""
    return Program(content, style, parameters, tuple(x.shape[2:]), roots).terms_and_gradient(x)[0]


def pixels(image):
    return torch.tensor(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float().contiguous() / 255


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("content")
    parser.add_argument("style")
    parser.add_argument("out", nargs="?", help="the picture to be made")
    parser.add_argument("--parameters", required=True, help="an .npz of features.0.weight, …")
    parser.add_argument("--size", type=int, default=362, help="the longest side")
    parser.add_argument("--smallest", type=int, default=128, help="no size of the ladder is smaller")
    parser.add_argument("--steps", type=int, nargs=2, default=(1000, 500), help="at the first size, at each other")
    parser.add_argument("--roots", choices=ROOTS, default="twelve")
    parser.add_argument("--evaluate", metavar="PICTURE", help="print the objective of this picture instead")
    arguments = parser.parse_intermixed_args()  # OUT may follow an option
    if bool(arguments.out) == bool(arguments.evaluate):
        parser.error("either OUT or --evaluate PICTURE")
    with np.load(arguments.parameters) as arrays:
        given = arguments.content, arguments.style, dict(arrays)

    def show(x, roots):
        terms = evaluate(*given, x, roots)
        layers = ", ".join(f"{style:.6g}" for style in terms["style"])
        print(f"{roots:8} total {terms['total']:.6g}, content {terms['content']:.6g}", end=", ")
        print(f"style {sum(terms['style']):.6g} ({layers}), tv {terms['tv']:.6g}")

    if arguments.evaluate:
        for roots in ROOTS:
            show(pixels(Image.open(arguments.evaluate)), roots)
        return

    begun = time.perf_counter()

    def report(program, descent):
        height, width = program.size
        last = f"last loss {descent.totals[-1]:.6g}" if descent.totals else "no step"
        print(f"{height} x {width}: {time.perf_counter() - begun:.1f} s, {last}", flush=True)

    options = {"smallest": arguments.smallest, "steps": arguments.steps, "roots": arguments.roots, "report": report}
    picture = stylize(*given, arguments.size, **options)
    seconds = time.perf_counter() - begun
    array = (255 * picture[0].permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(array).save(arguments.out)
    print(f"{seconds:.1f} s")
    show(picture, arguments.roots)


if __name__ == "__main__":
    main()
