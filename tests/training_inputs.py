"""The inputs of training a composite of 32 × 48 in the tests, with the random network."""

import dataclasses

import gluon_nst as nst
from gluon_nst import machine
from gluon_nst.recipes import follow_optimizer

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from painting import paint

needs_bfloat16 = pytest.mark.skipif(
    "avx512bw" not in machine.processor_flags(), reason="MXNet has bfloat16 only on processors with AVX-512"
)

STAGE = nst.Stage((32, 48), 8)


def recipe(**options):
    """Return the chapter's recipe for that size, with different values of some fields of the recipe or its stage."""
    of_stage = {name: options.pop(name) for name in list(options) if hasattr(STAGE, name)}
    return follow_optimizer(nst.Recipe((dataclasses.replace(STAGE, **of_stage),), **options))


def make_inputs(net):
    """Return the content picture, its features, and those of the style picture, for `train`."""
    content, style = (mx.nd.array(paint(32, 48, seed), dtype="uint8") for seed in (1, 2))
    X, contents_Y = nst.get_contents(content, (48, 32), mx.cpu(), net)
    _, styles_Y = nst.get_styles(style, (48, 32), mx.cpu(), net)
    return X, contents_Y, styles_Y


def composite(seed=3):
    """Return a composite, with a gradient, that is neither the content picture nor the style picture."""
    X = nst.preprocess(mx.nd.array(paint(32, 48, seed), dtype="uint8"), (48, 32))
    X.attach_grad()
    return X


def one_by_one(net, inputs, X):
    """Return the losses of `X` and the gradient, by the public functions, layer by layer."""
    _, contents_Y, styles_Y = inputs
    X = X.copy()
    X.attach_grad()
    with autograd.record():
        features = nst.extract_features(X, net)
        contents_l, styles_l, tv_l, total = nst.compute_loss(X, *features, contents_Y, [nst.gram(Y) for Y in styles_Y])
    total.backward()
    sums = [sum(loss.asscalar() for loss in losses) for losses in (contents_l, styles_l, [tv_l], [total])]
    return sums, X.grad.asnumpy().astype(np.float64)
