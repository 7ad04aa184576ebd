import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

import gluon_nst as nst
from gluon_nst import runtime, layers
from gluon_nst.training import Objective, estimate_memory

from painting import paint

needs_bfloat16 = pytest.mark.skipif(
    "avx512bw" not in runtime.processor_flags(), reason="MXNet has bfloat16 only on processors with AVX-512"
)


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


def composite(seed=3):
    """A composite, with a gradient, that is neither the content picture nor the style picture."""
    X = nst.preprocess(mx.nd.array(paint(32, 48, seed), dtype="uint8"), (48, 32))
    X.attach_grad()
    return X


def graph(net, inputs, X, **options):
    """The losses of `X` and the gradient, by the graph."""
    _, contents_Y, styles_Y = inputs
    contents_l, styles_l, tv_l, total = Objective(net, X, contents_Y, [nst.gram(Y) for Y in styles_Y], **options)()
    return [sum(contents_l), sum(styles_l), tv_l, total], X.grad.asnumpy().astype(np.float64)


def one_by_one(net, inputs, X):
    """The losses of `X` and the gradient, by the public functions, layer by layer."""
    _, contents_Y, styles_Y = inputs
    X = X.copy()
    X.attach_grad()
    with autograd.record():
        features = nst.extract_features(X, net)
        contents_l, styles_l, tv_l, total = nst.compute_loss(X, *features, contents_Y, [nst.gram(Y) for Y in styles_Y])
    total.backward()
    sums = [sum(loss.asscalar() for loss in losses) for losses in (contents_l, styles_l, [tv_l], [total])]
    return sums, X.grad.asnumpy().astype(np.float64)


def test_the_graph_agrees_with_the_functions_called_one_by_one(net, inputs):
    X = composite()
    losses, gradient = graph(net, inputs, X)
    expected, expected_gradient = one_by_one(net, inputs, X)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert np.linalg.norm(gradient - expected_gradient) < 1e-5 * np.linalg.norm(expected_gradient)


def test_the_gradient_of_the_objective_agrees_with_finite_differences(net, inputs):
    X = composite()
    _, gradient = graph(net, inputs, X)
    random = np.random.default_rng(0)
    for direction in (gradient, gradient * random.random(gradient.shape), random.normal(size=gradient.shape) + 3 * gradient / gradient.std()):
        direction = direction / np.linalg.norm(direction)
        step = 0.05
        up, down = (one_by_one(net, inputs, X + mx.nd.array(sign * step * direction))[0][3].astype(float) for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-2)


def test_the_graph_computes_the_gradient_of_the_composite_and_of_nothing_else(net, inputs):
    X, contents_Y, styles_Y = composite(), *inputs[1:]
    executor = Objective(net, X, contents_Y, [nst.gram(Y) for Y in styles_Y])._executor
    gradients = [name for name, gradient in executor.grad_dict.items() if gradient is not None]
    assert gradients == ["input0"]


@needs_bfloat16
def test_bfloat16_is_near_float32(net, inputs):
    X = composite()
    expected, expected_gradient = one_by_one(net, inputs, X)
    losses, gradient = graph(net, inputs, X, precision="bfloat16")
    assert losses == pytest.approx(expected, rel=1e-2) and losses[:2] != pytest.approx(expected[:2], rel=1e-6)
    cosine = (gradient * expected_gradient).sum() / np.linalg.norm(gradient) / np.linalg.norm(expected_gradient)
    assert cosine > 0.97


@needs_bfloat16
def test_bfloat16_changes_nothing_outside_the_run(net, inputs):
    before = nst.extract_features(inputs[0], net)[1][-1].asnumpy()
    record(net, inputs, epochs=2, precision="bfloat16")
    after = nst.extract_features(inputs[0], net)[1][-1]
    assert after.dtype == np.float32 and np.array_equal(after.asnumpy(), before)


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


def in_range(X):
    shown = X.asnumpy() * np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1) + np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    return shown.min() >= -1e-6 and shown.max() <= 1 + 1e-6


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_lbfgs_finds_a_lower_loss_than_adam_in_as_many_evaluations(net, inputs, precision):
    _, adams = record(net, inputs, epochs=60)
    X, rows = record(net, inputs, epochs=60, optimizer="lbfgs", precision=precision)
    assert len(rows) == 60 and min(row.total for row in rows) < 0.9 * adams[-1].total and in_range(X)


def test_lbfgs_returns_the_best_composite_that_it_evaluated(net, inputs):
    X, rows = record(net, inputs, epochs=25, optimizer="lbfgs")
    losses, _ = one_by_one(net, inputs, X)
    assert losses[3] == pytest.approx(min(row.total for row in rows), rel=1e-4)


def test_an_evaluation_that_is_worse_than_the_one_before_is_not_what_lbfgs_returns(net, inputs):
    _, rows = record(net, inputs, epochs=60, optimizer="lbfgs")
    totals = [row.total for row in rows]
    worse = next(number for number in range(1, 60) if totals[number] > totals[number - 1])  # a step was too long
    X, _ = record(net, inputs, epochs=worse + 1, optimizer="lbfgs")
    expected, _ = record(net, inputs, epochs=worse, optimizer="lbfgs")
    assert np.array_equal(X.asnumpy(), expected.asnumpy())


def test_lbfgs_bounds_a_start_that_can_not_be_shown(net, inputs):
    noise = mx.nd.array(np.random.default_rng(0).normal(0, 5, inputs[0].shape))
    X, rows = record(net, [noise, *inputs[1:]], epochs=5, optimizer="lbfgs")
    assert in_range(X) and rows[-1].total < rows[0].total


def test_an_interrupt_keeps_the_best_composite_of_lbfgs(net, inputs):
    rows = []

    def stop(row):
        rows.append(row)
        if row.epoch == 9:
            raise KeyboardInterrupt

    with pytest.raises(nst.Interrupted) as stopped:
        nst.train(*inputs, net, mx.cpu(), 0.01, 50, 100, optimizer="lbfgs", report=stop)
    losses, _ = one_by_one(net, inputs, stopped.value.result)
    assert losses[3] == pytest.approx(min(row.total for row in rows), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_training_ends_when_the_loss_has_settled(net, inputs, optimizer):
    _, rows = record(net, inputs, epochs=200, optimizer=optimizer, tolerance=0.05)
    assert 10 < len(rows) < 200
    lowest = np.minimum.accumulate([row.total for row in rows])
    fallen = [(before - after) / after for before, after in zip(lowest, lowest[10:])]
    assert fallen[-1] < 0.05 and all(share >= 0.05 for share in fallen[:-1])


@pytest.mark.parametrize("options", [{"optimizer": "LBFGS"}, {"precision": "auto"}])
def test_an_optimizer_or_a_precision_that_is_not_known_is_refused(net, inputs, options):
    with pytest.raises(nst.InputError, match="(optimizer LBFGS: not one of adam, lbfgs|precision auto: not one of float32)"):
        record(net, inputs, **options)


def test_an_interrupt_in_the_last_backward_pass_keeps_the_composite(net, inputs, monkeypatch):
    def stop(self):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(mx.nd.NDArray, "wait_to_read", stop)
    with pytest.raises(nst.Interrupted) as stopped:
        record(net, inputs, epochs=3)
    expected, _ = record(net, inputs, epochs=3)
    assert np.array_equal(stopped.value.result.asnumpy(), expected.asnumpy())


def test_lbfgs_ends_where_nothing_is_left_to_gain(net, inputs):
    X, contents_Y, styles_Y = inputs
    _, rows = record(net, inputs, epochs=500, optimizer="lbfgs", style_weight=0, tv_weight=0)
    assert len(rows) < 500 and min(row.total for row in rows) < 1e-6  # it started from the content picture


def test_activations_are_those_of_the_layers(net):
    X, count = mx.nd.zeros((1, 3, 32, 48)), 0
    for index, layer in enumerate(net):
        X = layer(X)
        count += X.size
        assert layers.activations(index) == count / (32 * 48)


def test_the_estimate_grows_with_the_size_and_the_layers():
    small, large = (estimate_memory((height, 450), 28) for height in (300, 600))
    assert small < large < 2 * small and estimate_memory((300, 450), 2) < small
    assert estimate_memory((300, 450), 28, "lbfgs") > small


@pytest.mark.parametrize("pixels, unit", [("unit", 1), ("bytes", 255)])
def test_adam_works_in_the_unit_of_the_pixels(net, inputs, pixels, unit):
    X, _ = record(net, inputs, lr=0.02 * unit, epochs=1, pixels=pixels)
    steps = np.abs(X.asnumpy() - inputs[0].asnumpy()) * np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    assert steps.max() <= 0.02 * 1.001 and np.median(steps) > 0.0195


def test_the_losses_are_the_same_in_every_unit_of_the_pixels(net, inputs):
    for optimizer in ("adam", "lbfgs"):
        rows = [record(net, inputs, epochs=1, optimizer=optimizer, pixels=pixels)[1][0] for pixels in ("standardised", "unit", "bytes")]
        for row in rows[1:]:
            assert row[3:6] == pytest.approx(rows[0][3:6], rel=1e-5)


def test_bounds_at_each_step_keep_pixels_to_what_can_be_shown(net, inputs):
    free, _ = record(net, inputs, lr=1.0, epochs=6)
    bounded, rows = record(net, inputs, lr=1.0, epochs=6, bounds="step")
    assert not in_range(free) and in_range(bounded) and len(rows) == 6


def test_lbfgs_without_bounds_goes_where_it_will(net, inputs):
    noise = mx.nd.array(np.random.default_rng(0).normal(0, 5, inputs[0].shape))
    X, rows = record(net, [noise, *inputs[1:]], epochs=5, optimizer="lbfgs", bounds="end")
    assert not in_range(X) and rows[-1].total < rows[0].total


def test_the_best_composite_can_be_kept_of_adams_as_well(net, inputs):
    rising = {"lr": 0.01, "epochs": 9, "every": 4, "lr_decay": 100}  # a step far too long after the fifth epoch
    last, rows = record(net, inputs, **rising)
    totals = [row.total for row in rows]
    assert totals.index(min(totals)) not in (0, 8)
    best, _ = record(net, inputs, keep="best", **rising)
    losses, _ = one_by_one(net, inputs, best)
    assert losses[3] == pytest.approx(min(totals), rel=1e-4)
    assert np.abs(best.asnumpy() - last.asnumpy()).max() > 0.1


def test_every_epoch_has_the_losses_of_each_layer(net, inputs):
    _, rows = record(net, inputs, epochs=2, style_weight=[1, 10, 0, 1e3, 1e3])
    for row in rows:
        assert len(row.contents_l) == 1 and len(row.styles_l) == 5 and row.styles_l[2] == 0
        assert sum(row.contents_l) == row.content and sum(row.styles_l) == row.style


@pytest.mark.parametrize("options", [{}, {"optimizer": "lbfgs"}, {"keep": "best", "pixels": "unit"}])
def test_a_watcher_can_have_what_the_run_has_come_to(net, inputs, options):
    seen = []
    X, _ = record(net, inputs, epochs=4, watch=lambda epoch, composite: seen.append((epoch.epoch, composite())), **options)
    assert [number for number, _ in seen] == [0, 1, 2, 3]
    assert np.array_equal(seen[-1][1].asnumpy(), X.asnumpy())
    third, _ = record(net, inputs, epochs=3, **options)
    assert np.array_equal(seen[2][1].asnumpy(), third.asnumpy())


def test_a_keyword_that_no_loss_has_is_refused(net, inputs):
    with pytest.raises(TypeError, match="stile_weight"):
        record(net, inputs, stile_weight=3)
