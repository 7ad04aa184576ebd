import gluon_nst as nst

import mxnet as mx
import numpy as np


def test_the_composite_is_the_blocks_only_parameter():
    block = nst.GeneratedImage((1, 3, 4, 5))
    block.initialize(mx.init.Constant(0.25))
    assert [name[len(block.prefix) :] for name in block.collect_params()] == ["weight"]
    assert block().shape == (1, 3, 4, 5)
    assert (block().asnumpy() == 0.25).all()


def test_the_composite_starts_as_a_copy():
    X = mx.nd.random.normal(shape=(1, 3, 4, 5))
    composite, grams, trainer = nst.get_inits(X, mx.cpu(), 0.3, [mx.nd.ones((1, 2, 3, 3))])
    assert np.array_equal(composite.asnumpy(), X.asnumpy())
    composite[:] = 0
    assert X.asnumpy().any()
    assert grams[0].shape == (2, 2)
    assert trainer.learning_rate == 0.3
    assert type(trainer) is mx.gluon.Trainer
    assert type(trainer.optimizer) is mx.optimizer.Adam


def test_the_block_works_in_np_mode(np_mode):
    block = nst.GeneratedImage((1, 3, 4, 5))
    block.initialize(mx.init.Constant(0.25))
    assert isinstance(block(), mx.np.ndarray)
    composite, _, _ = nst.get_inits(mx.np.ones((1, 3, 4, 5)), mx.cpu(), 0.3, [])
    assert composite.sum() == 60
