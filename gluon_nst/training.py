"""Training the composite at one size (section 14.12.7): one graph, one optimiser, a record of every epoch."""

import itertools
import math
import time
from typing import NamedTuple

import numpy as np
from mxnet import nd, sym
from mxnet.contrib import amp
from scipy import optimize

from gluon_nst.composite import get_inits
from gluon_nst.errors import InputError, Interrupted, NSTError
from gluon_nst.images import RGB_MEAN, RGB_STD
from gluon_nst.losses import compute_loss
from gluon_nst.runtime import nd_mode
from gluon_nst.vgg import CONTENT_LAYERS, LAYERS, STYLE_LAYERS, activations, extract_features

OPTIMIZERS = ("adam", "lbfgs")
PRECISIONS = ("float32", "bfloat16")

_ENDLESS = 2**31 - 1

SETTLING = 10
"""Epochs over which `tolerance` is measured."""


class Epoch(NamedTuple):
    """The record of one epoch: the weighted losses before its step, its learning rate, and how long it took.

    An epoch of L-BFGS is one evaluation of the losses and their gradient; it has no learning rate, which is 1 here.
    `seconds` is the time since the losses of the epoch before were known.
    """

    stage: int
    epoch: int
    content: float
    style: float
    tv: float
    total: float
    lr: float
    seconds: float


class Objective:
    """The chapter's losses of a composite `X` and the gradient of their sum, as one graph for the size of `X`.

    The graph is made of `extract_features` and `compute_loss` over the layers of `net`. Its memory is planned once,
    forward and backward pass together, which takes less than a hybridized block takes. `X` must have a gradient
    attached. With `precision` bfloat16 the layers from the second convolution on run in bfloat16; the first, the Gram
    matrices, the losses and the composite stay in float32.
    """

    def __init__(
        self,
        net,
        X,
        contents_Y,
        styles_Y_gram,
        *,
        content_layers=CONTENT_LAYERS,
        style_layers=STYLE_LAYERS,
        loss_weights=None,
        precision="float32",
    ):
        arrays = {f"input{number}": array for number, array in enumerate((X, *contents_Y, *styles_Y_gram))}
        X_name, *_ = arrays
        variables = [sym.var(name, shape=array.shape, dtype=array.dtype) for name, array in arrays.items()]
        contents_Y_hat, styles_Y_hat = extract_features(variables[0], net, content_layers, style_layers)
        contents_l, styles_l, tv_l, total = compute_loss(
            variables[0],
            contents_Y_hat,
            styles_Y_hat,
            variables[1 : len(contents_Y) + 1],
            variables[len(contents_Y) + 1 :],
            **(loss_weights or {}),
        )
        # In this order: a style layer's loss is then computed with the layer, and MXNet's plan needs a tenth less memory.
        graph = sym.Group([total, sym.BlockGrad(sym.concat(*contents_l, *styles_l, tv_l, total, dim=0))])
        if precision == "bfloat16":
            graph = amp.convert_symbol(
                graph,
                "bfloat16",
                target_dtype_ops=["Convolution"],
                fp32_ops=["Reshape"],  # the first operator of every Gram matrix; a difference is widened by itself
                conditional_fp32_ops=[],
                excluded_sym_names=[f"{net[0].name}_fwd"],  # with three input channels it gains nothing
            )
        parameters = net.collect_params()
        arrays.update((name, parameters[name].data()) for name in graph.list_arguments() if name not in arrays)
        self._executor = graph.bind(
            X.context,
            arrays,
            args_grad={X_name: X.grad},
            grad_req={name: "write" if name == X_name else "null" for name in arrays},
        )
        self._X, self._contents = X, len(contents_Y)
        self._out_grads = [nd.ones(1, ctx=X.context), nd.zeros(len(contents_l) + len(styles_l) + 2, ctx=X.context)]

    def __call__(self):
        """Compute the gradient into `X.grad`; gives the weighted content, style, total variation and total losses.

        It returns when the losses are known, while MXNet goes on with the gradient.
        """
        _, losses = self._executor.forward(is_train=True)
        self._executor.backward(self._out_grads)
        self._X._fresh_grad = True  # as autograd's backward would have told the Trainer
        losses = losses.asnumpy().tolist()
        return sum(losses[: self._contents]), sum(losses[self._contents : -2]), losses[-2], losses[-1]


# Bytes that a process takes at most: with MXNet loaded, for every number that a layer puts out, and for every pixel that
# L-BFGS keeps. Learned from the peaks of whole runs at 300 × 450 to 900 × 1350, up to layers 7 and 28.
_BASE = 0.6e9
_BYTES_PER_ACTIVATION = 10.2
_BYTES_PER_PIXEL = {"adam": 0, "lbfgs": 900}


def estimate_memory(size, last_layer, optimizer="adam"):
    """The peak memory, in bytes, of a process that trains at `size` (height, width) on the CPU, in either precision."""
    height, width = size
    # The peak comes with the gradients of the first two blocks, where the numbers are: the layers above add little.
    numbers = activations(min(last_layer, LAYERS["conv2_2"]))
    return _BASE + height * width * (numbers * _BYTES_PER_ACTIVATION + _BYTES_PER_PIXEL[optimizer])


class _Record:
    """Counts and reports the epochs of a stage, and knows when they are enough."""

    def __init__(self, stage, num_epochs, tolerance, report):
        self._stage, self._num_epochs, self._tolerance, self._report = stage, num_epochs, tolerance, report
        self._lowest, self._last = [], time.perf_counter()

    def add(self, losses, lr):
        """Take the epoch of `losses`, and tell whether it is the last. Raises NSTError when the loss is not finite."""
        epoch, now, total = len(self._lowest), time.perf_counter(), losses[-1]
        if not math.isfinite(total):
            raise NSTError(
                f"stage {self._stage}, epoch {epoch}: the loss is {total}; lower the learning rate or the weights"
            )
        self._lowest.append(min([total, *self._lowest[-1:]]))
        if self._report:
            self._report(Epoch(self._stage, epoch, *losses, lr, now - self._last))
        self._last = now
        lowest = self._lowest[-1]
        fallen = self._lowest[-1 - SETTLING] - lowest if epoch >= SETTLING else math.inf
        return epoch + 1 >= self._num_epochs or fallen < self._tolerance * lowest


def _adam(objective, trainer, record, lr_decay, lr_decay_epoch, lr_decay_from):
    for counted in itertools.count(lr_decay_from):
        losses = objective()
        trainer.step(1)
        if record.add(losses, trainer.learning_rate):
            return
        if counted and counted % lr_decay_epoch == 0:
            trainer.set_learning_rate(trainer.learning_rate * lr_decay)


def _lbfgs(objective, X, record):
    """SciPy's L-BFGS-B (Byrd et al. 1995; Gatys et al. 2016 used L-BFGS), the pixels bounded to what can be shown.

    Leaves the best composite that was evaluated in `X`, however it ends.
    """
    best, lowest = X.asnumpy(), math.inf
    # One pair for all the pixels of a channel: of arrays SciPy would make millions of Python's numbers.
    bounds = [((0 - mean) / std, (1 - mean) / std) for mean, std in zip(RGB_MEAN, RGB_STD)]
    bounds = [pair for pair in bounds for _ in range(X[0, 0].size)]

    def evaluate(x):
        nonlocal best, lowest
        X[:] = x.reshape(X.shape)
        losses = objective()
        if losses[-1] < lowest:
            best, lowest = x.astype(np.float32).reshape(X.shape), losses[-1]
        if record.add(losses, 1.0):
            raise StopIteration  # SciPy looks at its own limits only between two line searches
        return losses[-1], X.grad.asnumpy().ravel().astype(np.float64)

    try:
        before = None
        while lowest != before:  # a line search fails now and then for want of precision: a fresh start goes on
            before = lowest
            # Five corrections (m): with more an evaluation takes longer, and no fewer of them are needed.
            optimize.fmin_l_bfgs_b(
                evaluate,
                best.ravel().astype(np.float64),
                bounds=bounds,
                m=5,
                factr=0,
                pgtol=0,
                maxfun=_ENDLESS,
                maxiter=_ENDLESS,
            )
    except StopIteration:
        pass
    finally:
        X[:] = best
        objective = None  # SciPy's wrappers hold each other, and `evaluate`, until a garbage collection


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
    optimizer="adam",
    precision="float32",
    tolerance=0.0,
    stage=1,
    report=None,
):
    """Train a composite that starts as `X` (1 × 3 × h × w), and return it.

    With `optimizer` adam, the learning rate `lr` is multiplied by `lr_decay` after the step of every epoch whose number
    is a positive multiple of `lr_decay_epoch`, where the first epoch has the number `lr_decay_from`: 0 in the 2019
    edition, 1 in the 2023 edition. With lbfgs, an epoch is one evaluation of the losses and their gradient, no learning rate is
    used, the pixels are bounded to what a picture can show, and the best composite is returned, not the last.

    `precision` is that of the convolutions, float32 or bfloat16. `styles_Y` may be an iterator, which lets each feature
    map go when its Gram matrix is made. Training ends after `num_epochs` epochs, or when over the last ten the lowest loss
    has fallen by less than the share `tolerance` of it.

    `report` is called with the Epoch after each epoch; its losses are those printed in the chapter, and its `stage` is
    the number given here. Raises InputError for another optimizer or precision, NSTError when the loss is not finite
    any more, and Interrupted, with the composite so far as its result, on Ctrl-C.
    """
    for name, value, known in (("optimizer", optimizer, OPTIMIZERS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise InputError(f"{name} {value}: not one of {', '.join(known)}")
    loss_weights = {"content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight}
    record = _Record(stage, num_epochs, tolerance, report)
    try:
        X, styles_Y_gram, trainer = get_inits(X, device, lr, styles_Y)
        objective = Objective(
            net,
            X,
            contents_Y,
            styles_Y_gram,
            content_layers=content_layers,
            style_layers=style_layers,
            loss_weights=loss_weights,
            precision=precision,
        )
        if optimizer == "lbfgs":
            _lbfgs(objective, X, record)
        else:
            _adam(objective, trainer, record, lr_decay, lr_decay_epoch, lr_decay_from)
        X.wait_to_read()
    except KeyboardInterrupt:
        raise Interrupted(X) from None
    return X
