"""Section 14.12 of Dive into Deep Learning, Neural Style Transfer, in its code.

`gluon-nst chapter --plain` runs this file. It imports only MXNet, and gets the numbers of a recipe as arguments:
autograd differentiates the losses, and a Trainer updates the composite. The rest of the package computes the same
losses by one compiled graph, several times as fast; docs/book.md names the fast counterparts, and a test checks that
the losses are equal.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from mxnet import autograd, cpu, gluon, image, init, nd
from mxnet.gluon import nn
from mxnet.ndarray import NDArray

# -- 14.12.3 preprocessing and postprocessing --------------------------------------------------------------------------

rgb_mean = nd.array([0.485, 0.456, 0.406])
rgb_std = nd.array([0.229, 0.224, 0.225])


def preprocess(img: NDArray, image_shape: tuple[int, int]) -> NDArray:
    """Return a picture (h × w × 3, 0 to 255) as the network's input, 1 × 3 × h × w.

    `image_shape` is (width, height).
    """
    img = image.imresize(img, *image_shape)
    img = (img.astype("float32") / 255 - rgb_mean) / rgb_std
    return img.transpose((2, 0, 1)).expand_dims(axis=0)


def postprocess(img: NDArray) -> NDArray:
    """Return the picture in a network input: h × w × 3, from 0 to 1."""
    img = img[0].as_in_context(cpu())
    return (img.transpose((1, 2, 0)) * rgb_std + rgb_mean).clip(0, 1)


# -- 14.12.4 extracting features ---------------------------------------------------------------------------------------


def extract_features(
    X: NDArray, net: nn.Sequential, content_layers: Sequence[int], style_layers: Sequence[int]
) -> tuple[list[NDArray], list[NDArray]]:
    """Return the outputs of the content layers and the style layers, by their indices."""
    contents, styles = [], []
    for i in range(len(net)):
        X = net[i](X)
        if i in style_layers:
            styles.append(X)
        if i in content_layers:
            contents.append(X)
    return contents, styles


# -- 14.12.5 the loss function -----------------------------------------------------------------------------------------


def content_loss(Y_hat: NDArray, Y: NDArray) -> NDArray:
    """Return the mean squared difference of two feature maps."""
    return (Y_hat - Y).square().mean()


def gram(X: NDArray) -> NDArray:
    """Return the Gram matrix of a feature map 1 × c × h × w, divided by c·h·w."""
    num_channels, n = X.shape[1], X.size // X.shape[1]
    X = X.reshape((num_channels, n))
    return nd.dot(X, X.T) / (num_channels * n)


def style_loss(Y_hat: NDArray, gram_Y: NDArray) -> NDArray:
    """Return the mean squared difference of the Gram matrices."""
    return (gram(Y_hat) - gram_Y).square().mean()


def tv_loss(Y_hat: NDArray) -> NDArray:
    """Return the total variation loss of a composite."""
    return 0.5 * (
        (Y_hat[:, :, 1:, :] - Y_hat[:, :, :-1, :]).abs().mean()
        + (Y_hat[:, :, :, 1:] - Y_hat[:, :, :, :-1]).abs().mean()
    )


class Weights(NamedTuple):
    """Weights of the losses."""

    content: float = 1.0
    style: float = 1e3
    tv: float = 10.0


def compute_loss(
    X: NDArray,
    contents_Y_hat: Sequence[NDArray],
    styles_Y_hat: Sequence[NDArray],
    contents_Y: Sequence[NDArray],
    styles_Y_gram: Sequence[NDArray],
    weights: Weights,
) -> tuple[list[NDArray], list[NDArray], NDArray, NDArray]:
    """Return the weighted content, style and total variation losses, and their sum."""
    contents_l = [content_loss(Y_hat, Y) * weights.content for Y_hat, Y in zip(contents_Y_hat, contents_Y)]
    styles_l = [style_loss(Y_hat, Y) * weights.style for Y_hat, Y in zip(styles_Y_hat, styles_Y_gram)]
    tv_l = tv_loss(X) * weights.tv
    return contents_l, styles_l, tv_l, nd.add_n(*styles_l, *contents_l, tv_l)


# -- 14.12.6 initializing the synthesized image ------------------------------------------------------------------------


class GeneratedImage(nn.Block):
    """A Block whose only parameter is the composite image."""

    def __init__(self, img_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = self.params.get("weight", shape=img_shape)

    def forward(self) -> NDArray:
        return self.weight.data()


def get_inits(
    X: NDArray, device: Any, lr: float, styles_Y: Sequence[NDArray]
) -> tuple[NDArray, list[NDArray], gluon.Trainer]:
    """Return the composite, initialised with `X`, the Gram matrices, and the Trainer."""
    gen_img = GeneratedImage(X.shape)
    gen_img.initialize(init.Constant(X), ctx=device, force_reinit=True)
    trainer = gluon.Trainer(gen_img.collect_params(), "adam", {"learning_rate": lr})
    return gen_img(), [gram(Y) for Y in styles_Y], trainer


# -- 14.12.7 training --------------------------------------------------------------------------------------------------


class EpochRecord(NamedTuple):
    """Record of an epoch: number, losses by layer, learning rate, duration in seconds."""

    epoch: int
    contents: Sequence[float]
    styles: Sequence[float]
    tv: float
    total: float
    lr: float
    seconds: float


def train(
    X: NDArray, contents_Y: Sequence[NDArray], styles_Y: Sequence[NDArray], net: nn.Sequential, device: Any,
    recipe: Any, stage: Any, report: Callable[[EpochRecord, NDArray], object],
) -> NDArray:  # fmt: skip
    """Train the composite that starts as `X`, and return it.

    The book's lr, num_epochs and lr_decay_epoch are those of the `stage` of a `recipe`. Instead of printing, it calls
    `report` with the record of each epoch and the composite.
    """
    weights = Weights(recipe.content_weight, recipe.style_weight, recipe.tv_weight)
    X, styles_Y_gram, trainer = get_inits(X, device, stage.lr, styles_Y)
    for i in range(stage.epochs):
        start = time.perf_counter()
        with autograd.record():
            contents_Y_hat, styles_Y_hat = extract_features(X, net, recipe.content_layers, recipe.style_layers)
            contents_l, styles_l, tv_l, l = compute_loss(
                X, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram, weights
            )
        l.backward()
        trainer.step(1)
        contents, styles, (tv, total) = (
            [float(loss.asscalar()) for loss in losses] for losses in (contents_l, styles_l, (tv_l, l))
        )
        seconds = time.perf_counter() - start
        report(EpochRecord(i, contents, styles, tv, total, trainer.learning_rate, seconds), X)
        number = i + stage.lr_decay_from  # the second edition counts the epochs from 1
        if number != 0 and number % stage.lr_decay_epoch == 0:
            trainer.set_learning_rate(trainer.learning_rate * stage.lr_decay)
    return X


def neural_style(
    content_img: NDArray, style_img: NDArray, net: nn.Sequential, device: Any, recipe: Any,
    report: Callable[[int, EpochRecord, NDArray], object],
) -> Iterator[NDArray]:  # fmt: skip
    """Yield the composite of each size of a `recipe` (h × w × 3, from 0 to 1).

    Each size starts from the previous one. `content_img` and `style_img` are h × w × 3, uint8. `net` is the truncated
    VGG-19. `recipe` is a Recipe of the book (`d2l-2019` or `d2l-2023`). `report` is called with the number of the
    stage, from 1, each EpochRecord, and the composite.
    """
    output: NDArray | None = None
    for number, stage in enumerate(recipe.stages, start=1):
        image_shape = stage.size[1], stage.size[0]
        content_X = preprocess(content_img, image_shape).copyto(device)
        contents_Y, _ = extract_features(content_X, net, recipe.content_layers, recipe.style_layers)
        style_X = preprocess(style_img, image_shape).copyto(device)
        _, styles_Y = extract_features(style_X, net, recipe.content_layers, recipe.style_layers)
        X = content_X if output is None else preprocess(output * 255, image_shape).copyto(device)
        X = train(X, contents_Y, styles_Y, net, device, recipe, stage, functools.partial(report, number))
        output = postprocess(X)
        yield output
