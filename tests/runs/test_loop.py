import pickle
import subprocess
import sys

import gluon_nst as nst
from gluon_nst.optimisers.adam import AdamState
from gluon_nst.runs import loop
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.run import prepare

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from painting import paint


def take(steps, count):
    """Return the State after this number of steps, and stop."""
    for _ in range(count):
        state = next(steps)
    steps.close()
    return state


# -- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_steps_yield_the_state_after_every_epoch(job):
    seen = []
    for state in nst.steps(job()):
        seen.append((state.stage, state.epoch, len(state.record), len(state.images), state.status))
    assert seen == [
        *((1, done, done, 0, "running") for done in (1, 2, 3)),
        (1, 4, 4, 1, "running"),
        *((2, done, 4 + done, 1, "running") for done in (1, 2)),
        (2, 3, 7, 2, "complete"),
    ]
    assert state.seconds > 0


@pytest.mark.slow
def test_the_last_state_has_the_pictures_of_the_result(job, run):
    *_, state = nst.steps(job())
    result = run()
    assert [picture.tobytes() for picture in state.images] == [picture.tobytes() for picture in result.images]


@pytest.mark.slow
def test_a_state_has_the_current_picture_of_the_run(job, run):
    prepared = prepare(job())
    state = take(nst.steps(prepared), 2)
    assert state.picture(prepared).tobytes() == run(sizes=[(32, 48)], epochs=2).image.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, count", [("adam", 4), ("lbfgs", 2), ("lbfgs", 6)])
def test_a_stopped_run_resumes_with_the_same_picture(job, optimizer, count):
    options = {"optimizer": optimizer, "keep": "best", "carry": "change"}
    *_, whole = nst.steps(job(**options))
    state = pickle.loads(pickle.dumps(take(nst.steps(job(**options)), count)))
    *_, state = nst.steps(job(**options), state)
    assert state.status == whole.status == "complete"
    assert [epoch.losses.total for epoch in state.record] == [epoch.losses.total for epoch in whole.record]
    assert [picture.tobytes() for picture in state.images] == [picture.tobytes() for picture in whole.images]


@pytest.mark.slow
def test_a_run_resumes_in_another_process(job, tmp_path):
    *_, whole = nst.steps(job())
    state = take(nst.steps(job()), 3)
    (tmp_path / "state").write_bytes(pickle.dumps((job(), state)))
    code = """
import pickle, sys
import gluon_nst as nst
job, state = pickle.load(open(sys.argv[1], "rb"))
*_, state = nst.steps(job, state)
state.images[-1].save(sys.argv[2])
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "state", tmp_path / "out.png"], check=True)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.tobytes() == whole.images[-1].tobytes()


@pytest.mark.slow
def test_a_run_resumes_with_a_different_recipe(job):
    state = take(nst.steps(job()), 2)
    state.hand_over()
    *_, state = nst.steps(job(style_weight=0), state)
    made = nst.Result.of(prepare(job(style_weight=0)), state).provenance
    assert (made["recipe"]["style_weight"], made["before"][0]["recipe"]["style_weight"]) == (0, 1000)
    styles = [epoch.losses.style for epoch in state.record]
    assert min(styles[:2]) > 0 == max(styles[2:])
    assert len(styles) == 7


@pytest.mark.slow
def test_a_stage_that_resumes_with_fewer_epochs_than_are_done_ends_at_once(job, run):
    state = take(nst.steps(job()), 3)
    state.hand_over()
    *_, state = nst.steps(job(epochs=[2, 1]), state)
    assert [(epoch.stage, epoch.epoch) for epoch in state.record] == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert state.status == "complete"
    assert state.images[0].tobytes() == run(epochs=[3, 1]).images[0].tobytes()


@pytest.mark.parametrize("count", [2, 4, 7])
def test_the_state_of_another_job_is_refused_without_hand_over(job, count):
    state = take(nst.steps(job()), count)
    other = job(tv_weight=1)
    with pytest.raises(
        nst.InputError, match="state: belongs to another job; resume that one, or call the state's `hand_over`"
    ):
        next(nst.steps(other, state))
    with pytest.raises(nst.InputError, match="state: belongs to another job"):
        nst.Result.of(prepare(other), state)


@pytest.mark.slow
def test_a_job_with_more_stages_resumes_from_a_complete_one(job):
    *_, state = nst.steps(job(sizes=[(32, 48)], epochs=2))
    state.hand_over()
    *_, state = nst.steps(job(epochs=[2, 1]), state)
    assert state.status == "complete"
    assert [picture.size for picture in state.images] == [(48, 32), (64, 48)]


@pytest.mark.slow
def test_two_generators_on_one_state_repeat_no_stage(job):
    state = nst.State()
    first = nst.steps(job(), state)
    next(first)
    for _ in nst.steps(job(), state):
        pass
    list(first)
    assert len(state.images) == 2
    assert state.status == "complete"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_state_can_be_pickled_in_np_mode(job, optimizer, np_mode):
    *_, whole = nst.steps(job(optimizer=optimizer))
    state = pickle.loads(pickle.dumps(take(nst.steps(job(optimizer=optimizer)), 2)))
    *_, state = nst.steps(job(optimizer=optimizer), state)
    assert state.images[-1].tobytes() == whole.images[-1].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("in_np_mode", [True, False])
def test_a_state_pickled_in_one_array_mode_is_resumed_in_the_other(job, in_np_mode):
    options = {"keep": "best", "carry": "change"}
    *_, whole = nst.steps(job(**options))
    state = take(nst.steps(job(**options)), 6)
    with mx.util.np_shape(in_np_mode), mx.util.np_array(in_np_mode):
        pickled = pickle.dumps(state)
    with mx.util.np_shape(not in_np_mode), mx.util.np_array(not in_np_mode):
        state, run = pickle.loads(pickled), prepare(job(**options))
        assert state.picture(run).size == (64, 48)
        assert nst.Result.of(run, state).status == "interrupted"
        *_, state = nst.steps(run, state)
    assert state.images[-1].tobytes() == whole.images[-1].tobytes()


def test_the_pictures_before_an_error_of_mxnet_are_kept(run):
    result = run(lr_decay=[1, 1e-39], lr_decay_epoch=1, epochs=[2, 4])  # MXNet has no such learning rate
    assert result.status == "failed"
    assert result.note.startswith("the run failed: ")
    assert len(result.images) == 2


def test_a_state_of_a_different_size_is_refused(job):
    state = take(nst.steps(job()), 2)
    state.hand_over()
    with pytest.raises(
        nst.InputError, match="state: its composite is 32x48, and the job's 48x64; resume that state's job"
    ):
        next(nst.steps(job(sizes=[(48, 64), (64, 96)]), state))


@pytest.mark.slow
def test_a_finished_run_has_no_more_steps(job):
    *_, state = nst.steps(job(epochs=1))
    assert list(nst.steps(job(epochs=1), state)) == []
    assert state.status == "complete"


def test_the_callers_array_mode_is_restored_between_two_steps(job, np_mode):
    modes = [(mx.util.is_np_array(), state.status) for state in nst.steps(job(epochs=1))]
    assert modes == [(True, "running"), (True, "complete")]


# -- how a run ends ---------------------------------------------------------------------------------------------------


class Stopper(nst.Observer):
    """Stops a run after this number of epochs, like Ctrl-C."""

    def __init__(self, count):
        self.count = count

    def state(self, state):
        if len(state.record) == self.count:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("count, pictures, last", [(2, 1, (1, 2)), (4, 1, (1, 4)), (6, 2, (2, 2))])
def test_an_interrupted_run_has_a_result(job, run, count, pictures, last):
    prepared, state = prepare(job()), nst.State()
    with pytest.raises(KeyboardInterrupt):
        carry_out(prepared, Stopper(count), state)
    result = nst.Result.of(prepared, state)
    assert (result.status, result.complete) == ("interrupted", False)
    assert len(result.images) == pictures
    assert len(result.losses) == count
    assert tuple(result.provenance["interrupted"].values()) == last
    shorter = run(sizes=[(32, 48), (48, 64)][:pictures], epochs=[4, last[1]][-pictures:] if pictures == 2 else last[1])
    assert result.image.tobytes() == shorter.image.tobytes()


@pytest.mark.slow
def test_an_interrupted_transfer_is_resumed_by_the_same_call(run):
    state = nst.State()
    with pytest.raises(KeyboardInterrupt):
        run(state=state, observers=[Stopper(3)])
    assert len(state.record) == 3
    result = run(state=state)
    assert result.status == "complete"
    assert result.image.tobytes() == run().image.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["targets_of", "Objective"])
def test_an_interrupt_between_two_stages_keeps_the_first_picture(job, run, monkeypatch, name):
    function, calls = getattr(loop, name), []

    def stop(*arguments, **options):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(loop, name, stop)
    prepared, state = prepare(job()), nst.State()
    with pytest.raises(KeyboardInterrupt):
        carry_out(prepared, state=state)
    result = nst.Result.of(prepared, state)
    assert len(state.images) == 1
    assert result.provenance["interrupted"] == {"stage": 1, "epochs": 4}
    monkeypatch.undo()
    assert state.images[0].tobytes() == run(sizes=[(32, 48)], epochs=4).image.tobytes()


def test_a_run_stopped_before_its_first_epoch_has_no_result(job):
    with pytest.raises(nst.NSTError, match="the run has no picture yet"):
        nst.Result.of(prepare(job()), nst.State())


@pytest.mark.slow
def test_a_run_that_diverges_in_its_third_stage_keeps_the_first_two(run):
    result = run(sizes=[(32, 48), (48, 64), (32, 48)], epochs=3, lr=[0.01, 0.01, 1e30])
    assert (result.status, result.complete) == ("diverged", False)
    assert result.note.startswith("stage 3, epoch 1: the loss is ")
    assert result.provenance["status"] == "diverged"
    assert [picture.size for picture in result.images] == [(48, 32), (64, 48)]
    assert result.image.tobytes() == run(epochs=3).image.tobytes()
    assert [(epoch.stage, epoch.epoch) for epoch in result.losses][-2:] == [(2, 2), (3, 0)]
    assert result.loss == [epoch.losses.total for epoch in result.losses if epoch.stage == 2][-1]


def test_a_run_that_diverges_in_its_first_stage_has_no_result(run):
    with pytest.raises(nst.NSTError, match="stage 1, epoch 1: the loss is (nan|inf); lower the learning rate"):
        run(lr=1e30)


@pytest.mark.parametrize("sizes", [48, [48]])
def test_sizes_may_be_a_single_longest_side(run, sizes):
    assert run(sizes=sizes, epochs=1).image.size == (48, 32)


@pytest.mark.slow
def test_a_run_that_diverged_resumes_from_the_previous_stage(job):
    *_, state = nst.steps(job(lr=[0.01, 1e30]))
    assert state.status == "diverged"
    assert len(state.images) == 1
    state.hand_over()
    *_, state = nst.steps(job(), state)
    *_, whole = nst.steps(job())
    assert state.images[-1].tobytes() == whole.images[-1].tobytes()
    assert state.status == "complete"
    assert len(state.images) == 2
    assert state.note == ""
    assert [(epoch.stage, epoch.epoch) for epoch in state.record][3:] == [(1, 3), (2, 0), (2, 1), (2, 2)]


class OutOfMemory(nst.Observer):
    """Lets the memory run out after this number of epochs."""

    def __init__(self, monkeypatch, count):
        self.monkeypatch, self.count = monkeypatch, count

    def state(self, state):
        if len(state.record) == self.count:
            self.monkeypatch.setattr("gluon_nst.engine.objective.Objective.__call__", _no_memory)


def _no_memory(objective):
    raise mx.MXNetError("Failed to allocate CPU Memory")


def test_a_run_whose_memory_runs_out_keeps_its_pictures(run, monkeypatch):
    result = run(observers=[OutOfMemory(monkeypatch, 5)])
    assert result.status == "out of memory"
    assert len(result.images) == 2
    assert len(result.losses) == 5
    assert result.note == "size 48x64: the memory ran out; choose a smaller size, or end other programs"


def test_running_out_of_memory_in_the_first_epoch_is_an_error(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.engine.objective.Objective.__call__", _no_memory)
    with pytest.raises(nst.OutOfMemory, match="size 32x48: the memory ran out"):
        run()


@pytest.mark.slow
def test_a_run_that_converges_to_its_tolerance_is_complete(run):
    result = run(epochs=40, tolerance=0.5)
    assert (result.status, result.complete) == ("settled", True)
    assert len(result.losses) < 80
    assert len(result.images) == 2


# -- transfer ---------------------------------------------------------------------------------------------------------


def test_the_result_has_a_picture_of_every_stage_and_a_record_of_every_epoch(run):
    result = run()
    assert [picture.size for picture in result.images] == [(48, 32), (64, 48)]
    assert result.image is result.images[1]
    assert [(row.stage, row.epoch) for row in result.losses] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)]
    assert (result.status, result.complete, result.note) == ("complete", True, "")
    assert result.seconds > 0


@pytest.mark.slow
def test_the_same_inputs_and_seed_give_the_same_picture(run):
    first, second, other = (run(init="noise", seed=seed).image.tobytes() for seed in (5, 5, 6))
    assert first == second != other


def test_the_second_stage_starts_from_the_clipped_resized_first_result(job):
    prepared = prepare(job(lr=1.0))
    state = take(nst.steps(prepared), 4)
    shown = nst.postprocess(state.composite) * 255
    assert nst.postprocess(state.composite).asnumpy().max() == 1  # there was something to clip
    content_X = nst.preprocess(prepared.content.array, (64, 48))
    start = prepared.start_of(2, content_X, state.composite)
    assert np.array_equal(start.asnumpy(), nst.preprocess(shown, (64, 48)).asnumpy())


def test_a_stage_can_carry_over_the_difference_from_the_content_picture(job):
    prepared = prepare(job(sizes=[(32, 48), (64, 96)], epochs=3, carry="change"))
    state = take(nst.steps(prepared), 3)
    small, large = (nst.preprocess(prepared.content.array, shape) for shape in ((48, 32), (96, 64)))
    start = prepared.start_of(2, large, state.composite)
    change, carried = state.composite - small, start - large
    assert np.abs(change.asnumpy()).mean() > 1e-3
    halved = carried.asnumpy().reshape(1, 3, 32, 2, 48, 2).mean(axis=(3, 5))  # bilinear, it smooths a little
    assert np.corrcoef(halved.ravel(), change.asnumpy().ravel())[0, 1] > 0.9


@pytest.mark.parametrize("init", ["content", "style"])
def test_a_run_starts_from_the_picture_of_init(run, content, style, init):
    picture = {"content": content, "style": style}[init]
    result = run(init=init, sizes=[(32, 48)], epochs=1, lr=1e-6)
    start = nst.preprocess(nst.read_image(picture), (48, 32))
    assert np.abs(np.asarray(result.image, float) - nst.postprocess(start).asnumpy() * 255).max() < 1


def test_a_run_starts_from_a_file(run, tmp_path):
    Image.fromarray(paint(32, 48, seed=9)).save(tmp_path / "start.png")
    result = run(init=str(tmp_path / "start.png"), sizes=[(32, 48)], epochs=1, lr=1e-6)
    assert np.abs(np.asarray(result.image, float) - paint(32, 48, seed=9)).max() < 1


def test_weights_of_the_losses_and_layers_are_those_of_the_recipe(run):
    recipe = nst.Recipe(
        (nst.Stage((32, 48), 2),), content_layers=(7,), style_layers=(0, 2), style_weight=0, tv_weight=0
    )
    result = run(recipe=recipe, **dict.fromkeys(("sizes", "epochs", "content_layers", "style_layers")))
    assert [list(row.losses) for row in result.losses] == [
        ["content/conv2_2", "style/conv1_1", "style/conv1_2", "tv"]
    ] * 2
    assert [row.losses.style for row in result.losses] == [0, 0] == [row.losses.tv for row in result.losses]
    *_, made = (result.provenance["recipe"][name] for name in ("style_layers", "content_layers"))
    assert made == {"conv2_2": 1.0}


def test_a_pil_image_is_read_like_a_file(run, content):
    picture = Image.new("RGBA", (40, 40), (10, 20, 30, 0))
    result = run(picture, content, sizes=[(32, 48)], epochs=1, lr=1e-6).image
    assert result.mode == "RGBA"
    assert np.asarray(result)[..., :3].min() > 250
    assert np.asarray(result)[..., 3].max() == 0
    with pytest.raises(nst.InputError, match="1 x 1 pixels are too few"):
        run(Image.new("RGB", (1, 1)), content)


def test_bad_input_is_refused_before_the_search_for_weights(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.find", lambda *a, **k: pytest.fail("the weights were looked for"))
    for options in ({"seed": -1}, {"seed": 1.5}, {"device": "tpu"}, {"init": "nowhere.png"}, {"sizes": [(8, 8)]}):
        with pytest.raises(nst.InputError):
            run(**options)
    with pytest.raises(nst.InputError, match="nowhere.jpg: no such file"):
        run("nowhere.jpg", "nowhere.jpg")
    for misspelt, meant in (("stile_weight", "style_weight"), ("observer", "observers"), ("seeed", "seed")):
        with pytest.raises(TypeError, match=f"{misspelt}: not a setting of a transfer; did you mean {meant}"):
            run(**{misspelt: 3})


def test_a_run_that_does_not_fit_into_the_memory_is_refused_at_its_start(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.find", lambda *a, **k: pytest.fail("the weights were looked for"))
    monkeypatch.setattr("gluon_nst.engine.memory.available_memory", lambda: 2e9)
    message = r"size 5000x7500: needs at least \d\.\d GB of memory, in windows, and 2\.0 GB are free; choose a smaller"
    with pytest.raises(nst.InputError, match=message):
        run(sizes=[(32, 48), (5000, 7500)])


@pytest.mark.slow
def test_a_transfer_is_the_same_in_np_mode(run, np_mode):
    assert mx.util.is_np_array()
    picture = run(epochs=2).image.tobytes()
    mx.npx.reset_np()
    assert picture == run(epochs=2).image.tobytes()


@pytest.mark.slow
def test_the_recipe_of_a_result_has_the_values_of_auto(run, monkeypatch):
    monkeypatch.setattr("gluon_nst.machine.instructions.processor_flags", lambda: {"avx2"})
    result = run(recipe="fast", epochs=2)
    assert result.recipe.precision == "float32" == result.provenance["recipe"]["precision"]
    assert run(optimizer="lbfgs", epochs=1).provenance["recipe"]["keep"] == "best"


def test_a_recipe_for_caffes_scale_warns_of_a_trunk_at_another_scale(run):
    class Notes(nst.Observer):
        lines = []

        def note(self, line):
            self.lines.append(line)

    run(recipe="tensorflow", epochs=1, observers=[Notes()])
    assert any(
        "not of Caffe's scale, for which the recipe's weights of the losses were chosen" in line for line in Notes.lines
    )


@pytest.mark.slow
def test_each_file_is_decoded_once(content, weights_file, monkeypatch):
    opened = []
    decode = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.append(file) or decode(file, **options))
    nst.transfer(content, content, init="content", epochs=1, sizes=[(32, 48), (48, 64)], weights=str(weights_file))
    assert len(opened) == 2  # as content and as style: once each


# -- failures at the end of a stage, and on the disk ------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_interrupted_at_the_end_of_a_stage_resumes_with_the_same_picture(job, monkeypatch):
    options = {"sizes": [(32, 48), (32, 48)], "epochs": [3, 2], "carry_moments": True}
    *_, whole = nst.steps(job(**options))

    def stop(self):
        raise KeyboardInterrupt

    state = nst.State()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(AdamState, "carried_moments", stop)
        for _ in nst.steps(job(**options), state):
            pass
    assert state.images == []
    assert state.stage == 1
    *_, state = nst.steps(job(**options), state)
    assert [picture.tobytes() for picture in state.images] == [picture.tobytes() for picture in whole.images]


def test_a_run_whose_disk_fails_keeps_its_epochs(job, monkeypatch):
    def fail(self):
        raise OSError("No space left on device")

    monkeypatch.setattr(AdamState, "carried_moments", fail)
    *_, state = nst.steps(job(carry_moments=True))
    assert state.status == "failed"
    assert "No space left on device" in state.note
    assert len(state.record) > 0
