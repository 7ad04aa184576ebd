"""Changes of the weights of the losses during a run: in a recipe, and by steering."""

import pickle

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.runs.figures import plot_losses
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import prepare

import pytest

from conftest import SMALL

CHANGED = {"style_weight": 4e4, "tv_weight": 0.0}


def steered(job, done, options):
    """Return the (run, state) of a job that is pickled and resumed with different weights after `done` epochs."""
    run, state = prepare(job(**options)), nst.State()
    for _ in nst.steps(run, state):
        if len(state.record) == done:
            break
    run = nst.steer(run, state, **CHANGED)
    run, state = pickle.loads(pickle.dumps((run, state)))
    for _ in nst.steps(run, state):
        pass
    return run, state


@pytest.mark.slow
@pytest.mark.parametrize(
    "done, options",
    [
        pytest.param(2, {}, id="in a stage, adam"),
        pytest.param(2, {"optimizer": "lbfgs"}, id="in a stage, lbfgs"),
        pytest.param(4, {"optimizer": "lbfgs"}, id="between two, lbfgs"),
        pytest.param(4, {"keep": "best", "carry": "change"}, id="between two, best"),
        pytest.param(6, {"keep": "average", "average_decay": 0.5}, id="in the second, average"),
    ],
)
def test_a_steered_run_is_reproduced_by_its_record(job, done, options, tmp_path):
    options = {"epochs": (4, 5), **options}
    run, state = steered(job, done, options)
    result = Result.of(run, state)
    file = tmp_path / "steered.toml"
    file.write_text(recipes.as_toml(run.recipe))
    again = carry_out(prepare(job(recipe=file, **dict.fromkeys(SMALL))))
    assert again.image.tobytes() == result.image.tobytes()
    assert again.provenance == result.provenance
    assert [e.losses for e in again.losses] == [e.losses for e in state.record]
    plain = carry_out(prepare(job(**options)))
    assert plain.image.tobytes() != result.image.tobytes()


@pytest.mark.slow
def test_different_weights_count_from_the_next_epoch(job):
    _, state = steered(job, 2, {"epochs": (4, 3)})
    losses = [epoch.losses for epoch in state.record]
    plain = [epoch.losses for epoch in carry_out(prepare(job(epochs=(4, 3)))).losses]
    # The next composite is the same one, with different weights: 1e3 to 4e4, and no total variation.
    assert losses[:2] == plain[:2]
    assert losses[2].style == pytest.approx(40 * plain[2].style, rel=1e-5)
    assert losses[2].content == plain[2].content
    assert plain[2].tv > 0
    assert [each.tv for each in losses[2:]] == [0] * 5


def test_omitted_weights_are_kept_and_the_last_change_of_an_epoch_counts(job):
    run, state = prepare(job(epochs=4)), nst.State()
    next(nst.steps(run, state))
    run = nst.steer(run, state, style_weight=5.0)
    run = nst.steer(run, state, tv_weight=3.0)
    run = nst.steer(run, state, style_weight=6.0)
    assert run.recipe.changes == (nst.Change(1, 1, style_weight=6.0, tv_weight=3.0),)
    assert nst.steer(run, state) is run
    at = run.recipe.at(1, 1)
    assert (at.content_weight, at.style_weight, at.tv_weight) == (1.0, 6.0, 3.0)
    assert run.recipe.at(1, 0).style_weight == 1e3
    assert run.recipe.at(2, 0).style_weight == 6.0


@pytest.mark.slow
def test_a_loss_that_rises_with_its_weights_has_not_converged(job):
    run, state = prepare(job(sizes=[(32, 48)], epochs=40, tolerance=1e-9)), nst.State()
    for _ in nst.steps(run, state):
        if len(state.record) == 15:
            break
    run = nst.steer(run, state, style_weight=1e5)
    *_, state = nst.steps(run, state)
    assert len(state.record) > 16
    assert Result.of(run, state).loss > state.record[0].losses.total  # the lowest with the final weights


@pytest.mark.slow
def test_weight_changes_are_marked_on_the_curve(job):
    run, state = steered(job, 2, {"epochs": (4, 3)})
    dotted = [
        line.get_xdata()[0]
        for line in plot_losses(state.record, run.recipe).axes[0].lines
        if line.get_linestyle() == ":"
    ]
    assert dotted == [2]


def test_the_record_of_a_recipe_without_changes_has_no_such_field(job):
    assert "changes" not in prepare(job()).provenance["recipe"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[[changes]]\nepoch = 3", "change 1: stage: missing"),
        ("[[changes]]\nstage = 1\nepoch = -1", "change 1: epoch: -1 is not an integer of at least 0"),
        (
            "[[changes]]\nstage = 1\nepoch = 1\nlr = 2",
            "change 1: lr: unknown key; allowed are stage, epoch, content_weight",
        ),
        ("[[changes]]\nstage = 2\nepoch = 1", "changes: there is no stage 2; the recipe has 1"),
        ("[[changes]]\nstage = 1\nepoch = 1\n" * 2, "changes: two at stage 1, epoch 1; combine them into one"),
    ],
)
def test_an_impossible_change_is_refused(tmp_path, table, message):
    file = tmp_path / "a.toml"
    file.write_text(f"[[stages]]\nsize = [32, 48]\nepochs = 8\n{table}")
    with pytest.raises(nst.InputError) as error:
        recipes.read(file)
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


def test_changes_that_are_not_tables_are_refused(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("changes = 3\n[[stages]]\nsize = [32, 48]\nepochs = 8\n")
    with pytest.raises(nst.InputError, match=r"changes: each is a \[\[changes\]\] table"):
        recipes.read(file)


@pytest.mark.parametrize("name", recipes.names())
def test_a_written_recipe_is_read_unchanged(name, tmp_path):
    for number, recipe in enumerate([recipes.read(name), recipes.fit(recipes.read(name), (300, 451))]):
        file = tmp_path / f"{number}.toml"
        file.write_text(recipes.as_toml(recipe), encoding="utf-8")
        assert recipes.read(file) == recipe
