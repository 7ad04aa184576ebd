"""Training the composite at one size (section 14.12.7): one graph, one optimiser, a record of every epoch."""

import itertools
import math
import time
from typing import NamedTuple, Tuple

from mxnet import MXNetError, nd, sym

from gluon_nst.composite import get_inits
from gluon_nst.errors import InputError, Interrupted, NSTError, OutOfMemory
from gluon_nst.images import shown_range, standardisation
from gluon_nst.layers import CONTENT_LAYERS, LAYERS, STYLE_LAYERS, activations
from gluon_nst.lbfgs import LBFGS
from gluon_nst.losses import compute_loss
from gluon_nst.narrow import narrow_features
from gluon_nst.recipe import BOUNDS, CORRECTIONS, KEEPS, PIXELS, PRECISIONS, resolve
from gluon_nst.runtime import is_out_of_memory, nd_mode
from gluon_nst.vgg import extract_features

_FIRST_STEP = 0.06
"""The root mean square of the changes in the first step of L-BFGS, in the network's standardised pixels."""

SETTLING = 10
"""Epochs over which `tolerance` is measured."""


class Epoch(NamedTuple):
    """The record of one epoch: the weighted losses before its step, its learning rate, and how long it took.

    An epoch of L-BFGS is one evaluation of the losses and their gradient; it has no learning rate, which is 1 here.
    `seconds` is the time since the losses of the epoch before were known. `contents_l` and `styles_l` are the weighted
    losses by layer, whose sums `content` and `style` are.
    """

    stage: int
    epoch: int
    content: float
    style: float
    tv: float
    total: float
    lr: float
    seconds: float
    contents_l: Tuple[float, ...] = ()
    styles_l: Tuple[float, ...] = ()


class Objective:
    """The chapter's losses of a composite `X` and the gradient of their sum, as one graph for the size of `X`.

    The graph is made of `extract_features` and `compute_loss` over the layers of `net`. Its memory is planned once,
    forward and backward pass together, which takes less than a hybridized block takes. `X` must have a gradient
    attached; its values are in the unit `pixels` (see `images.standardisation`). `loss_options` are the keywords of
    `compute_loss`. With `precision` bfloat16 the convolutions run in bfloat16 (`narrow.narrow_features`); the Gram matrices,
    the losses and the composite stay in float32.
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
        loss_options=None,
        precision="float32",
        pixels="standardised",
    ):
        # The targets as MXNet's own operators read them: in oneDNN's layout they would be converted in every epoch.
        targets = [nd.array(Y.asnumpy(), ctx=X.context) for Y in (*contents_Y, *styles_Y_gram)]
        arrays = {f"input{number}": array for number, array in enumerate((X, *targets))}
        X_name, *_ = arrays
        picture, *targets = [sym.var(name, shape=array.shape, dtype=array.dtype) for name, array in arrays.items()]
        if pixels != "standardised":
            scale, shift = (sym.var(name, shape=(1, 3, 1, 1)) for name in ("scale", "shift"))
            picture = sym.broadcast_add(sym.broadcast_mul(picture, scale), shift)
            arrays.update(zip(("scale", "shift"), (nd.array(values, ctx=X.context) for values in standardisation(pixels))))
        if precision == "bfloat16":
            (contents_Y_hat, styles_Y_hat), narrow = narrow_features(picture, net, content_layers, style_layers)
            arrays.update(narrow)
        else:
            contents_Y_hat, styles_Y_hat = extract_features(picture, net, content_layers, style_layers)
        contents_l, styles_l, tv_l, total = compute_loss(
            picture,
            contents_Y_hat,
            styles_Y_hat,
            targets[: len(contents_Y)],
            targets[len(contents_Y) :],
            **(loss_options or {}),
        )
        # In this order: a style layer's loss is then computed with the layer, and MXNet's plan needs a tenth less memory.
        graph = sym.Group([total, sym.BlockGrad(sym.concat(*contents_l, *styles_l, tv_l, total, dim=0))])
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
        """Compute the gradient into `X.grad`; gives the weighted losses as `compute_loss` does, as numbers.

        It returns when the losses are known, while MXNet goes on with the gradient.
        """
        _, losses = self._executor.forward(is_train=True)
        self._executor.backward(self._out_grads)
        self._X._fresh_grad = True  # as autograd's backward would have told the Trainer
        *layers, tv, total = losses.asnumpy().tolist()
        return layers[: self._contents], layers[self._contents :], tv, total


# Bytes that a process takes at most: with MXNet loaded, for every number that a layer puts out, for every pixel that L-BFGS
# works on, and for each of its corrections (two pictures in single precision); and for every pixel of a style picture, whose
# features of a block may all be kept. Learned from the peaks of whole runs at 300 × 450 to 900 × 1350, up to layers 7 and 28.
_BASE = 0.6e9
_BYTES_PER_ACTIVATION = 10.2
_BYTES_PER_PIXEL = {"adam": 0, "lbfgs": 200}
_BYTES_PER_CORRECTION = {"adam": 0, "lbfgs": 24}
_BYTES_PER_STYLE_PIXEL = 2000


def estimate_memory(size, last_layer, optimizer="adam", corrections=CORRECTIONS, style_size=(0, 0)):
    """The peak memory, in bytes, of a process that trains at `size` (height, width) on the CPU, in either precision.

    `style_size` matters where the style picture is much larger: it only goes forward, which takes less.
    """
    (height, width), (style_height, style_width) = size, style_size
    # The peak comes with the gradients of the first two blocks, where the numbers are: the layers above add little.
    numbers = activations(min(last_layer, LAYERS["conv2_2"]))
    kept = _BYTES_PER_PIXEL[optimizer] + corrections * _BYTES_PER_CORRECTION[optimizer]
    training = height * width * (numbers * _BYTES_PER_ACTIVATION + kept)
    return _BASE + max(training, style_height * style_width * _BYTES_PER_STYLE_PIXEL)


class _Record:
    """Counts and reports the epochs of a stage, and knows when they are enough."""

    def __init__(self, stage, num_epochs, tolerance, report, watch):
        self._stage, self._num_epochs, self._tolerance = stage, num_epochs, tolerance
        self._report, self._watch = report, watch
        self._lowest, self._last = [], time.perf_counter()

    def add(self, losses, lr, composite):
        """Take the epoch of `losses`, and tell whether it is the last. Raises NSTError when the loss is not finite.

        `composite` is a function that gives what the run has come to.
        """
        contents_l, styles_l, tv, total = losses
        number, now = len(self._lowest), time.perf_counter()
        if not math.isfinite(total):
            raise NSTError(
                f"stage {self._stage}, epoch {number}: the loss is {total}; lower the learning rate or the weights"
            )
        self._lowest.append(min([total, *self._lowest[-1:]]))
        epoch = Epoch(
            self._stage, number, sum(contents_l), sum(styles_l), tv, total, lr, now - self._last,
            tuple(contents_l), tuple(styles_l),
        )  # fmt: skip
        if self._report:
            self._report(epoch)
        if self._watch:
            self._watch(epoch, composite)
        self._last = now
        lowest = self._lowest[-1]
        fallen = self._lowest[-1 - SETTLING] - lowest if number >= SETTLING else math.inf
        return number + 1 >= self._num_epochs or fallen < self._tolerance * lowest


class _Best:
    """Keeps a copy of the composite that had the lowest loss."""

    def __init__(self, X):
        self.X, self.total = X.copy(), math.inf

    def see(self, X, total):
        if total < self.total:
            self.X, self.total = X.copy(), total


# Each of the two optimisers changes `X` in place as long as `record` takes more epochs. `best`, where there is one, sees
# every composite that was evaluated, and `composite` gives what the run has come to. `bounds`, where there are any, are
# the least and the largest value that a pixel may have.


def _adam(objective, X, trainer, record, composite, best, bounds, lr_decay, lr_decay_epoch, lr_decay_from):
    bounds = bounds and [nd.array(bound, ctx=X.context) for bound in bounds]
    for counted in itertools.count(lr_decay_from):
        losses = objective()
        if best:
            best.see(X, losses[-1])
        trainer.step(1)
        if bounds:
            X[:] = nd.broadcast_minimum(nd.broadcast_maximum(X, bounds[0]), bounds[1])
        if record.add(losses, trainer.learning_rate, composite):
            return
        if counted and counted % lr_decay_epoch == 0:
            trainer.set_learning_rate(trainer.learning_rate * lr_decay)


def _lbfgs(objective, X, record, composite, best, bounds, corrections, first_step):
    optimizer = LBFGS(X.asnumpy(), corrections, bounds, first_step)
    while not optimizer.settled:
        X[:] = optimizer.x
        losses = objective()
        best.see(X, losses[-1])
        if record.add(losses, 1.0, composite):
            return
        optimizer.step(losses[-1], X.grad.asnumpy())


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
    optimizer="adam",
    corrections=CORRECTIONS,
    precision="float32",
    pixels="standardised",
    bounds="auto",
    keep="auto",
    tolerance=0.0,
    stage=1,
    report=None,
    watch=None,
    **loss_options,
):
    """Train a composite that starts as `X` (1 × 3 × h × w), and return it.

    With `optimizer` adam, the learning rate `lr` is multiplied by `lr_decay` after the step of every epoch whose number
    is a positive multiple of `lr_decay_epoch`, where the first epoch has the number `lr_decay_from`: 0 in the 2019
    edition, 1 in the 2023 edition. With lbfgs, an epoch is one evaluation of the losses and their gradient, no learning
    rate is used, and `corrections` steps are remembered.

    The optimizer works on values in the unit `pixels`, one of recipe.PIXELS, which is also that of `lr`. With `bounds`
    step they are kept, step by step, to what a picture can show; with end they go where they will. `keep` says which
    composite is returned: the last, or the best of those whose loss was computed. Both follow the optimizer where they
    are auto: step and best for lbfgs, end and last for adam.

    `precision` is that of the convolutions, float32 or bfloat16. `styles_Y` may be an iterator, which lets each feature
    map go when its Gram matrix is made. Training ends after `num_epochs` epochs, or when over the last ten the lowest loss
    has fallen by less than the share `tolerance` of it. The other keywords are those of `compute_loss`.

    `report` is called with the Epoch after each epoch; its losses are those printed in the chapter, and its `stage` is
    the number given here. `watch` is called with the Epoch and a function that gives what would be returned now.
    Raises InputError for another optimizer or precision, NSTError when the loss is not finite any more, and OutOfMemory,
    or on Ctrl-C Interrupted, with the composite so far as its result.
    """
    bounds, keep = resolve(optimizer, bounds, keep)
    for name, value, known in (
        ("precision", precision, PRECISIONS),
        ("pixels", pixels, PIXELS),
        ("bounds", bounds, BOUNDS),
        ("keep", keep, KEEPS),
    ):
        if value not in known:
            raise InputError(f"{name} {value}: not one of {', '.join(known)}")
    record = _Record(stage, num_epochs, tolerance, report, watch)
    scale, shift = (nd.array(values, ctx=device) for values in standardisation(pixels))
    values, best = nd.broadcast_div(nd.broadcast_sub(X.as_in_context(device), shift), scale), None

    def composite():
        kept = best.X if best and keep == "best" else values
        return nd.broadcast_add(nd.broadcast_mul(kept, scale), shift)

    try:
        values, styles_Y_gram, trainer = get_inits(values, device, lr, styles_Y, loss_options.get("gram_divisor", "chw"))
        objective = Objective(
            net,
            values,
            contents_Y,
            styles_Y_gram,
            content_layers=content_layers,
            style_layers=style_layers,
            loss_options=loss_options,
            precision=precision,
            pixels=pixels,
        )
        best = _Best(values) if keep == "best" or optimizer == "lbfgs" else None
        limits = shown_range(pixels) if bounds == "step" else None
        if optimizer == "lbfgs":
            first_step = _FIRST_STEP / float(scale.mean().asscalar())
            _lbfgs(objective, values, record, composite, best, limits, corrections, first_step)
        else:
            _adam(objective, values, trainer, record, composite, best, limits, lr_decay, lr_decay_epoch, lr_decay_from)
        values.wait_to_read()
    except KeyboardInterrupt:
        raise Interrupted(composite()) from None
    except (MemoryError, MXNetError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"stage {stage}: the memory ran out", composite()) from None
    return composite()
