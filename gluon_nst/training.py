"""Training the composite at one size (section 14.12.7): one optimiser, a record of every epoch."""

import math
import time
from typing import NamedTuple

from mxnet import autograd
from mxnet.gluon import HybridBlock

from gluon_nst.composite import get_inits
from gluon_nst.errors import Interrupted, NSTError
from gluon_nst.losses import compute_loss
from gluon_nst.runtime import nd_mode
from gluon_nst.vgg import CONTENT_LAYERS, STYLE_LAYERS, extract_features


class Epoch(NamedTuple):
    """The record of one epoch: the weighted losses before its step, its learning rate, and how long it took."""

    stage: int
    epoch: int
    content: float
    style: float
    tv: float
    total: float
    lr: float
    seconds: float


class Objective(HybridBlock):
    """`extract_features` and `compute_loss` as one graph over the layers of `net`.

    Called with the composite, the content features and the style Gram matrices, it returns what `compute_loss` does.
    As one graph MXNet plans its memory once and reuses it every epoch; layer by layer it keeps twice as much.
    """

    def __init__(self, net, content_layers, style_layers, loss_weights):
        super().__init__()
        self._layers = list(net)
        for layer in self._layers:
            self.register_child(layer)
        self._content_layers, self._style_layers, self._loss_weights = content_layers, style_layers, loss_weights
        self.hybridize(static_alloc=True, static_shape=True)

    def hybrid_forward(self, F, X, contents_Y, styles_Y_gram):
        contents_Y_hat, styles_Y_hat = extract_features(X, self._layers, self._content_layers, self._style_layers)
        return compute_loss(X, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram, **self._loss_weights)


@nd_mode
def train(
    X,
    contents_Y,
    styles_Y,
    net,
    device,
    lr,
    num_epochs,
    lr_decay_epoch,
    *,
    lr_decay=0.1,
    lr_decay_from=0,
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
    content_weight=1.0,
    style_weight=1e3,
    tv_weight=10.0,
    stage=1,
    report=None,
):
    """Train a composite that starts as `X` (1 × 3 × h × w) with Adam, and return it.

    The learning rate is multiplied by `lr_decay` after the step of every epoch whose number is a positive multiple of
    `lr_decay_epoch`, where the first epoch has the number `lr_decay_from`: 0 in the 2019 edition, 1 in the 2023 edition.
    `report` is called with the Epoch after each epoch; its losses are those printed in the chapter, and its `stage` is
    the number given here. Raises NSTError when the loss is not finite any more, and Interrupted, with the composite so
    far as its result, on Ctrl-C.
    """
    loss_weights = {"content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight}
    try:
        X, styles_Y_gram, trainer = get_inits(X, device, lr, styles_Y)
        objective = Objective(net, content_layers, style_layers, loss_weights)
        for epoch in range(num_epochs):
            start = time.perf_counter()
            with autograd.record():
                contents_l, styles_l, tv_l, total = objective(X, contents_Y, styles_Y_gram)
            total.backward()
            trainer.step(1)
            X.wait_to_read()
            record = Epoch(
                stage,
                epoch,
                sum(layer_loss.asscalar().item() for layer_loss in contents_l),
                sum(layer_loss.asscalar().item() for layer_loss in styles_l),
                tv_l.asscalar().item(),
                total.asscalar().item(),
                trainer.learning_rate,
                time.perf_counter() - start,
            )
            if not math.isfinite(record.total):
                raise NSTError(
                    f"stage {stage}, epoch {epoch}: the loss is {record.total}; lower the learning rate or the weights"
                )
            counted = epoch + lr_decay_from
            if counted and counted % lr_decay_epoch == 0:
                trainer.set_learning_rate(trainer.learning_rate * lr_decay)
            if report:
                report(record)
    except KeyboardInterrupt:
        raise Interrupted(X) from None
    return X
