import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

import gluon_nst as nst

from painting import paint


@pytest.fixture(scope="module")
def inputs(net):
    content, style = (mx.nd.array(paint(32, 48, seed), dtype="uint8") for seed in (1, 2))
    X, contents_Y = nst.get_contents(content, (48, 32), mx.cpu(), net)
    _, styles_Y = nst.get_styles(style, (48, 32), mx.cpu(), net)
    return X, contents_Y, styles_Y


def record(net, inputs, lr=0.01, epochs=8, every=100, **options):
    rows = []
    X = nst.train(*inputs, net, mx.cpu(), lr, epochs, every, report=rows.append, **options)
    return X, rows


def as_printed(net, X, contents_Y, styles_Y, lr, num_epochs, lr_decay_epoch):
    """The loop of the 2019 edition over the public functions, called one by one; the total loss of each epoch."""
    X, styles_Y_gram, trainer = nst.get_inits(X, mx.cpu(), lr, styles_Y)
    totals = []
    for i in range(num_epochs):
        with autograd.record():
            contents_Y_hat, styles_Y_hat = nst.extract_features(X, net)
            *_, total = nst.compute_loss(X, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram)
        total.backward()
        trainer.step(1)
        totals.append(total.asscalar())
        if i % lr_decay_epoch == 0 and i != 0:
            trainer.set_learning_rate(trainer.learning_rate * 0.1)
    return X, totals


def test_training_is_the_chapters_loop(net, inputs):
    X, rows = record(net, inputs, epochs=12, every=5)
    expected_X, expected = as_printed(net, *inputs, 0.01, 12, 5)
    assert [row.total for row in rows] == pytest.approx(expected, rel=1e-4)
    assert np.abs(X.asnumpy() - expected_X.asnumpy()).max() < 2e-3


def test_every_epoch_is_recorded_with_the_losses_before_its_step(net, inputs):
    X, rows = record(net, inputs, stage=4)
    assert [row.epoch for row in rows] == list(range(8)) and {row.stage for row in rows} == {4}
    assert rows[0].content < 1e-6 < rows[1].content  # it starts from the content picture
    for row in rows:
        assert row.total == pytest.approx(row.content + row.style + row.tv, rel=1e-5) and row.seconds > 0


def test_the_loss_falls(net, inputs):
    _, rows = record(net, inputs)
    assert all(after.total < before.total for before, after in zip(rows, rows[1:]))


def test_the_learning_rate_falls_where_the_2019_edition_has_it(net, inputs):
    _, rows = record(net, inputs, epochs=8, every=3)
    assert [row.lr for row in rows] == pytest.approx([1e-2] * 4 + [1e-3] * 3 + [1e-4])


def test_the_learning_rate_falls_where_the_2023_edition_has_it(net, inputs):
    _, rows = record(net, inputs, epochs=8, every=3, lr_decay=0.8, lr_decay_from=1)
    assert [row.lr for row in rows] == pytest.approx([1e-2] * 3 + [8e-3] * 3 + [6.4e-3] * 2)


def test_the_first_step_is_adams(net, inputs):
    X, _ = record(net, inputs, lr=0.02, epochs=1)
    step = np.abs(X.asnumpy() - inputs[0].asnumpy())
    assert step.max() <= 0.02 * 1.001 and np.median(step) > 0.015


def test_the_input_is_left_as_it_is(net, inputs):
    before = inputs[0].asnumpy()
    record(net, inputs, epochs=2)
    assert np.array_equal(inputs[0].asnumpy(), before)


def test_a_loss_that_is_not_finite_ends_the_run(net, inputs):
    with pytest.raises(nst.NSTError, match="stage 1, epoch 1: the loss is (nan|inf); lower the learning rate"):
        record(net, inputs, lr=1e30)


def test_an_interrupt_keeps_the_composite(net, inputs):
    def stop(row):
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(nst.Interrupted) as stopped:
        nst.train(*inputs, net, mx.cpu(), 0.01, 10, 100, report=stop)
    expected, _ = record(net, inputs, epochs=3)
    assert np.array_equal(stopped.value.result.asnumpy(), expected.asnumpy())


def test_training_works_in_np_mode(net, inputs, np_mode):
    X, rows = record(net, [inputs[0].as_np_ndarray(), *inputs[1:]], epochs=2)
    assert isinstance(X, mx.np.ndarray) and len(rows) == 2
