import gluon_nst as nst
from gluon_nst.observers import Lines

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from training_inputs import make_inputs, needs_bfloat16, one_by_one, recipe


@pytest.fixture(scope="module")
def inputs(net):
    return make_inputs(net)


def record(net, inputs, lr=0.01, epochs=8, every=100, **options):
    rows = []
    X = nst.train(*inputs, net, mx.cpu(), lr, epochs, every, recipe=recipe(**options), report=rows.append)
    return X, rows


def totals(rows):
    return [row.losses.total for row in rows]


def as_printed(net, X, contents_Y, styles_Y, lr, num_epochs, lr_decay_epoch):
    """Run the loop of the 2019 edition with the public functions; return the total loss of each epoch."""
    X, styles_Y_gram, trainer = nst.get_inits(X, mx.cpu(), lr, styles_Y)
    found = []
    for i in range(num_epochs):
        with autograd.record():
            contents_Y_hat, styles_Y_hat = nst.extract_features(X, net)
            *_, total = nst.compute_loss(X, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram)
        total.backward()
        trainer.step(1)
        found.append(total.asscalar())
        if i % lr_decay_epoch == 0 and i != 0:
            trainer.set_learning_rate(trainer.learning_rate * 0.1)
    return X, found


@pytest.mark.slow
def test_training_is_the_chapters_loop(net, inputs):
    X, rows = record(net, inputs, epochs=12, every=5)
    expected_X, expected = as_printed(net, *inputs, 0.01, 12, 5)
    assert totals(rows) == pytest.approx(expected, rel=1e-4)
    assert np.abs(X.asnumpy() - expected_X.asnumpy()).max() < 2e-3


@pytest.mark.slow
def test_the_chapters_call_is_enough(net, inputs):
    X = nst.train(*inputs, net, mx.cpu(), 0.01, 2, 100)
    assert X.shape == inputs[0].shape
    assert np.array_equal(X.asnumpy(), record(net, inputs, epochs=2)[0].asnumpy())


@pytest.mark.slow
def test_every_epoch_is_recorded_with_the_losses_before_its_step(net, inputs):
    X, rows = record(net, inputs)
    assert [row.epoch for row in rows] == list(range(8))
    assert {row.stage for row in rows} == {1}
    assert rows[0].losses.content < 1e-6 < rows[1].losses.content  # it starts from the content picture
    for row in rows:
        losses = row.losses
        assert losses.total == pytest.approx(losses.content + losses.style + losses.tv, rel=1e-5)
        assert row.seconds > 0


@pytest.mark.slow
def test_the_loss_falls(net, inputs):
    _, rows = record(net, inputs)
    assert all(after < before for before, after in zip(totals(rows), totals(rows)[1:]))


@pytest.mark.slow
def test_the_learning_rate_falls_in_the_epochs_of_the_2019_edition(net, inputs):
    _, rows = record(net, inputs, epochs=8, every=3)
    assert [row.lr for row in rows] == pytest.approx([1e-2] * 4 + [1e-3] * 3 + [1e-4])


@pytest.mark.slow
def test_the_learning_rate_falls_in_the_epochs_of_the_2023_edition(net, inputs):
    _, rows = record(net, inputs, epochs=8, every=3, lr_decay=0.8, lr_decay_from=1)
    assert [row.lr for row in rows] == pytest.approx([1e-2] * 3 + [8e-3] * 3 + [6.4e-3] * 2)


def test_the_first_step_is_adams(net, inputs):
    X, _ = record(net, inputs, lr=0.02, epochs=1)
    step = np.abs(X.asnumpy() - inputs[0].asnumpy())
    assert step.max() <= 0.02 * 1.001
    assert np.median(step) > 0.015


def test_the_input_is_not_changed(net, inputs):
    before = inputs[0].asnumpy()
    record(net, inputs, epochs=2)
    assert np.array_equal(inputs[0].asnumpy(), before)


def test_a_loss_that_is_not_finite_ends_the_run(net, inputs):
    with pytest.raises(nst.NSTError, match="stage 1, epoch 1: the loss is (nan|inf); lower the learning rate"):
        record(net, inputs, lr=1e30)


def test_training_works_in_np_mode(net, inputs, np_mode):
    X, rows = record(net, [inputs[0].as_np_ndarray(), *inputs[1:]], epochs=2)
    assert isinstance(X, mx.np.ndarray)
    assert len(rows) == 2


def in_range(X):
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    shown = X.asnumpy() * std + mean
    return shown.min() >= -1e-6 and shown.max() <= 1 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_lbfgs_finds_a_lower_loss_than_adam_in_as_many_evaluations(net, inputs, precision):
    _, adams = record(net, inputs, epochs=20)
    X, rows = record(net, inputs, epochs=20, optimizer="lbfgs", precision=precision)
    assert len(rows) == 20
    assert min(totals(rows)) < 0.9 * totals(adams)[-1]
    assert in_range(X)


@pytest.mark.slow
def test_lbfgs_returns_the_best_composite_that_it_evaluated(net, inputs):
    X, rows = record(net, inputs, epochs=25, optimizer="lbfgs")
    losses, _ = one_by_one(net, inputs, X)
    assert losses[3] == pytest.approx(min(totals(rows)), rel=1e-4)


@pytest.mark.slow
def test_lbfgs_does_not_return_a_composite_worse_than_the_previous_one(net, inputs):
    _, rows = record(net, inputs, epochs=30, optimizer="lbfgs")
    found = totals(rows)
    worse = next(number for number in range(1, 30) if found[number] > found[number - 1])  # a step was too long
    X, _ = record(net, inputs, epochs=worse + 1, optimizer="lbfgs")
    expected, _ = record(net, inputs, epochs=worse, optimizer="lbfgs")
    assert np.array_equal(X.asnumpy(), expected.asnumpy())


@pytest.mark.slow
def test_the_last_composite_of_lbfgs_is_the_last_that_it_evaluated(net, inputs):
    X, rows = record(net, inputs, epochs=5, optimizer="lbfgs", keep="last")
    losses, _ = one_by_one(net, inputs, X)
    assert losses[3] == pytest.approx(totals(rows)[-1], rel=1e-4)


def noise(inputs):
    return [mx.nd.array(np.random.default_rng(0).normal(0, 5, inputs[0].shape)), *inputs[1:]]


@pytest.mark.slow
def test_lbfgs_clips_a_start_outside_the_range_of_pixels(net, inputs):
    X, rows = record(net, noise(inputs), epochs=5, optimizer="lbfgs")
    assert in_range(X)
    assert totals(rows)[-1] < totals(rows)[0]


@pytest.mark.slow
def test_lbfgs_without_box_constraints_leaves_the_range_of_pixels(net, inputs):
    X, rows = record(net, noise(inputs), epochs=5, optimizer="lbfgs", clip_at="end")
    assert not in_range(X)
    assert totals(rows)[-1] < totals(rows)[0]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_training_ends_when_the_loss_has_converged(net, inputs, optimizer):
    _, rows = record(net, inputs, epochs=100, optimizer=optimizer, tolerance=0.1)
    assert 10 < len(rows) < 100
    lowest = np.minimum.accumulate(totals(rows))
    fallen = [(before - after) / after for before, after in zip(lowest, lowest[10:])]
    assert fallen[-1] < 0.1
    assert all(share >= 0.1 for share in fallen[:-1])


@pytest.mark.slow
def test_lbfgs_ends_at_a_minimum(net, inputs):
    _, rows = record(net, inputs, epochs=500, optimizer="lbfgs", style_weight=0, tv_weight=0)
    assert len(rows) < 500
    assert min(totals(rows)) < 1e-6


@pytest.mark.parametrize("pixel_unit, unit", [("unit", 1), ("bytes", 255)])
def test_adam_works_in_the_unit_of_the_pixels(net, inputs, pixel_unit, unit):
    X, _ = record(net, inputs, lr=0.02 * unit, epochs=1, pixel_unit=pixel_unit)
    std = np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    steps = np.abs(X.asnumpy() - inputs[0].asnumpy()) * std
    assert steps.max() <= 0.02 * 1.001
    assert np.median(steps) > 0.0195


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_losses_are_the_same_in_every_unit_of_the_pixels(net, inputs, optimizer):
    units = ("standardised", "unit", "bytes")
    first, *others = (
        record(net, inputs, epochs=1, optimizer=optimizer, pixel_unit=unit)[1][0].losses for unit in units
    )
    for losses in others:
        assert list(losses.values()) == pytest.approx(list(first.values()), rel=1e-5)


@pytest.mark.slow
def test_pixels_are_clipped_at_each_step_if_the_recipe_requires_it(net, inputs):
    free, _ = record(net, inputs, lr=1.0, epochs=6)
    bounded, rows = record(net, inputs, lr=1.0, epochs=6, clip_at="step")
    assert not in_range(free)
    assert in_range(bounded)
    assert len(rows) == 6


@pytest.mark.slow
def test_adam_can_keep_the_best_composite(net, inputs):
    rising = {"lr": 0.01, "epochs": 9, "every": 4, "lr_decay": 100}  # a step far too long after the fifth epoch
    last, rows = record(net, inputs, **rising)
    found = totals(rows)
    assert found.index(min(found)) not in (0, 8)
    best, _ = record(net, inputs, keep="best", **rising)
    losses, _ = one_by_one(net, inputs, best)
    assert losses[3] == pytest.approx(min(found), rel=1e-4)
    assert np.abs(best.asnumpy() - last.asnumpy()).max() > 0.1


def test_features_of_other_layers_than_the_recipes_are_refused(net, inputs):
    X, contents_Y, styles_Y = inputs
    with pytest.raises(nst.InputError, match="style_layers: 4 targets for 5 layers; give one each"):
        record(net, [X, contents_Y, styles_Y[1:]])


@pytest.mark.slow
def test_auto_is_the_faster_precision_also_in_train(net, inputs, monkeypatch):
    monkeypatch.setattr("gluon_nst.machine.instructions.processor_flags", lambda: {"avx2"})
    X, _ = record(net, inputs, epochs=2, precision="auto")
    assert np.array_equal(X.asnumpy(), record(net, inputs, epochs=2)[0].asnumpy())
    with pytest.raises(nst.InputError, match="precision bfloat16: MXNet supports it only with AVX-512"):
        record(net, inputs, epochs=2, precision="bfloat16")


@pytest.mark.slow
def test_train_notifies_its_observer(net, inputs):
    class Follower(nst.Observer):
        def begin(self, run):
            self.run, self.pictures, self.stages = run, [], run.recipe.stages

        def state(self, state):
            self.pictures.append(state.picture(self.run))

    follower, lines = Follower(), []
    X, *_ = inputs
    nst.train(*inputs, net, mx.cpu(), 0.01, 3, 2, observer=follower)
    assert [stage.epochs for stage in follower.stages] == [3]
    assert follower.stages[0].shape == X.shape[2:]
    assert len(follower.pictures) == 3
    assert len({picture.tobytes() for picture in follower.pictures}) == 3
    assert follower.pictures[0].size == X.shape[:1:-1]
    nst.train(*inputs, net, mx.cpu(), 0.01, 4, 2, recipe=recipe(report_every=2), observer=Lines(lines.append))
    assert [line.split(",")[0] for line in lines] == ["epoch   2", "change lr to 1.0e-03"]
