"""The experiments of the library, and the commands compare and reconstruct."""

import gluon_nst as nst
from gluon_nst import experiments, recipes
from gluon_nst.runs.loop import carry_out

import pytest
from matplotlib.text import Text
from PIL import Image

from commands import assert_one_line, names

# -- sheets -----------------------------------------------------------------------------------------------------------


def test_two_varied_options_make_a_grid(content, style):
    layers = {"conv2_2": ["conv2_2"], "conv4_2": ["conv4_2"]}
    experiment = experiments.sweep(
        content, style, {"style_weight": {"1e1": 10.0, "1e3": 1e3}, "content_layers": layers}
    )
    assert [[trial.options for trial in row] for row in experiment.rows] == [
        [{"style_weight": 10, "content_layers": ["conv2_2"]}, {"style_weight": 1e3, "content_layers": ["conv2_2"]}],
        [{"style_weight": 10, "content_layers": ["conv4_2"]}, {"style_weight": 1e3, "content_layers": ["conv4_2"]}],
    ]
    picture = Image.new("RGB", (48, 32))
    axes = experiment.sheet([experiments.Outcome(trial, picture) for trial in experiment.trials]).axes
    assert [a.get_title() for a in axes] == ["content", "style weight 1e1", "style weight 1e3", "style", "", ""]
    assert [a.get_ylabel() for a in axes] == ["", "content layers conv2_2", "", "", "content layers conv4_2", ""]


def test_a_sheet_marks_failed_and_unfinished_trials(content, style):
    experiment = experiments.sweep(content, style, {"lr": {"1": 1.0, "2": 2.0}})
    first, second = experiment.trials
    outcomes = [
        experiments.Outcome(first, None, "too hot", failed=True),
        experiments.Outcome(second, None, "not run yet"),
    ]
    axes = experiment.sheet(outcomes).axes
    assert [text.get_text() for a in axes for text in a.texts] == ["failed: too hot", "not run yet"]


def test_the_sheet_of_a_reconstruction_begins_with_the_original(content):
    experiment = experiments.reconstruct("style", content, ["conv1_1", "conv2_1"])
    outcomes = [experiments.Outcome(trial, Image.new("RGB", (48, 32))) for trial in experiment.trials]
    titles = [axes.get_title() for axes in experiment.sheet(outcomes).axes]
    assert titles == ["original", "conv1_1", "conv1_1 to conv2_1"]


# -- trials -----------------------------------------------------------------------------------------------------------


def test_a_trial_with_a_long_name_has_files_with_short_names(content, style):
    layers = ["conv1_1+" * count + "conv2_1" for count in (40, 41)]
    experiment = experiments.sweep(content, style, {"style_layers": {name: ["conv1_1"] for name in layers}})
    found = [trial.file_name for trial in experiment.trials]
    assert len(set(found)) == 2
    assert all(len(name) < 120 for name in found)


def test_values_to_vary_can_be_a_list(content, style):
    experiment = experiments.sweep(content, style, {"style_weight": [1, 2.5]})
    assert [trial.name for trial in experiment.trials] == ["style-weight=1", "style-weight=2.5"]


@pytest.mark.parametrize(
    "vary, message",
    [
        ({"colour": [1]}, "vary: colour: not one of recipe, sizes"),
        ({"title": ["x"]}, "vary: title: not one of recipe, sizes"),
        ({}, "0 options"),
        ({"lr": []}, "lr: at least one"),
    ],
)
def test_invalid_variations_are_refused(content, style, vary, message):
    with pytest.raises(nst.InputError, match=message):
        experiments.sweep(content, style, vary)


def test_every_setting_that_affects_the_picture_can_be_varied():
    settings = [*recipes.recipe_settings(), *recipes.settings(nst.Job)]
    varied = [
        setting.name for setting in settings if setting.name != "regions" and not setting.words
    ]  # regions need maps of the styles, too
    assert ("recipe", *varied, "longest_side") == experiments.VARIABLE


def test_all_runs_share_the_decoded_pictures(content, style, weights_file):
    experiment = experiments.sweep(content, style, {"lr": [0.1, 0.2, 0.3]}, weights=str(weights_file))
    first, *others = experiment.prepare().values()
    assert all(
        run.content is first.content is run.start and run.styles[0].picture is first.styles[0].picture for run in others
    )


@pytest.mark.slow
def test_each_outcome_is_yielded_when_its_trial_finishes(content, style, converted, tmp_path):
    options = {"sizes": [(16, 24)], "epochs": 1, "weights": str(converted)}
    experiment = experiments.sweep(content, style, {"lr": [0.1, 0.2]}, **options)
    outcomes = experiment.run(tmp_path / "out")
    assert next(outcomes).trial.name == "lr=0.1"
    assert names(tmp_path / "out") == ["lr=0.1.csv", "lr=0.1.png"]
    assert next(outcomes).picture.size == (24, 16)
    assert "lr=0.2.png" in names(tmp_path / "out")
    assert list(outcomes) == []


@pytest.mark.slow
def test_a_picture_is_kept_only_for_an_equal_run(content, style, converted, tmp_path):
    options = {"sizes": [(16, 24)], "epochs": 1, "weights": str(converted)}
    experiment = experiments.sweep(content, style, {"lr": [0.1, 0.2]}, **options)
    first, second = experiment.prepare().values()
    result = carry_out(first)
    result.save(tmp_path / "out.png")
    result.save_losses(tmp_path / "out.csv")
    assert experiments.kept(tmp_path / "out.png", first).tobytes() == result.image.tobytes()
    assert experiments.kept(tmp_path / "out.png", second) is None
    assert experiments.kept(tmp_path / "nowhere.png", first) is None


# -- comparisons ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".png", ".csv"])
def test_a_sweep_that_would_overwrite_a_users_file_is_refused(content, style, converted, tmp_path, ending):
    experiment = experiments.sweep(content, style, {"lr": [0.1]}, sizes=[(16, 24)], epochs=1, weights=str(converted))
    (tmp_path / "out").mkdir()
    own = (tmp_path / "out/lr=0.1.png").with_suffix(ending)
    own.write_bytes(content.read_bytes())
    with pytest.raises(nst.InputError, match=f"lr=0.1{ending}: exists, and .*; move it, or name another folder"):
        list(experiment.run(tmp_path / "out"))
    assert own.read_bytes() == content.read_bytes()


def test_a_users_sheet_is_not_overwritten(experiment, content, tmp_path):
    (tmp_path / "out").mkdir()
    own = tmp_path / "out/sheet.png"
    own.write_bytes(content.read_bytes())
    status, _, err = experiment("sweep", "--vary", "lr=0.1,0.2")
    assert status == 2
    assert "sheet.png: exists, and was not made by gluon-nst" in err
    assert own.read_bytes() == content.read_bytes()


@pytest.mark.slow
def test_skipped_files_of_a_folder_of_styles_are_reported_once(experiment, style, tmp_path):
    (tmp_path / "styles").mkdir()
    Image.open(style).save(tmp_path / "styles/one.png")
    (tmp_path / "styles/notes.txt").write_text("")
    style.unlink()
    (tmp_path / "styles").rename(style)
    _, _, err = experiment("sweep", "--vary", "lr=0.1,0.2")
    assert err.count(f"warning: {style}: left out: notes.txt (not a picture)") == 1


@pytest.mark.slow
def test_compare_runs_the_published_recipes_and_fine_on_the_same_pictures(experiment, started, tmp_path):
    status, out, _ = experiment("compare", "--epochs", "1")
    assert status == 0
    assert "6 of 6 pictures" in out
    assert out.count("losses of different recipes can't be compared") == 1
    contents = [(25,), (22,), (7,), (31,), (22,), (1, 13, 22)]
    assert [tuple(recipe.content_layers) for recipe in started] == contents
    assert {recipe.stages[0].size for recipe in started} == {(32, 48)}
    cells = [f"{name}{end}" for name in (*recipes.PUBLISHED, "fine") for end in (".csv", ".png")]
    assert names(tmp_path / "out") == sorted(["sheet.png", *cells])


@pytest.mark.slow
def test_compare_runs_the_given_recipes(experiment, started):
    status, _, err = experiment("compare", "--recipes", "d2l-2023,d2l-2019")
    assert (status, err) == (0, "")
    assert [recipe.style_weight for recipe in started] == [1e4, 1e3]


@pytest.mark.parametrize(
    "experiment, is_noted",
    [
        (experiments.compare("a.png", "b.png"), True),
        (experiments.compare("a.png", "b.png", ["fast"]), False),
        (experiments.sweep("a.png", "b.png", {"recipe": ["fast", "fine"]}), True),
        (experiments.sweep("a.png", "b.png", {"lr": [1, 2], "recipe": ["fast", "fine"]}), True),
        (experiments.sweep("a.png", "b.png", {"lr": [1, 2]}), False),
    ],
)
def test_a_sheet_of_several_recipes_says_that_their_losses_can_not_be_compared(experiment, is_noted, monkeypatch):
    outcomes = [experiments.Outcome(trial, None, "failed") for trial in experiment.trials]
    monkeypatch.setattr("gluon_nst.experiments.trials.open_picture", lambda path: Flat())
    texts = [text.get_text() for text in experiment.sheet(outcomes).findobj(Text)]
    assert any("can't be compared" in text for text in texts) == is_noted


class Flat:
    """A grey picture."""

    image = Image.new("RGB", (30, 20), "grey")

    def flattened(self):
        return self


def test_compare_with_a_misspelt_recipe_runs_nothing(experiment, started, tmp_path, monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.find", lambda *a, **k: pytest.fail("the weights were searched"))
    before = names(tmp_path)
    status, out, err = experiment("compare", "--recipes", "fine,fien")
    assert (status, out, started) == (2, "", [])
    assert names(tmp_path) == before
    assert err.startswith("error: recipe fien: not one of d2l-2019")
    assert err.endswith("; did you mean fine?\n")
    assert_one_line(err)


def test_a_bad_picture_of_one_trial_runs_nothing(experiment, started, content, tmp_path):
    before = names(tmp_path)
    status, out, err = experiment("sweep", "--vary", f"mask={content},nowhere.png")
    assert (status, out, started) == (2, "", [])
    assert names(tmp_path) == before
    assert err == "error: mask=nowhere.png: nowhere.png: no such file; check the path\n"


@pytest.mark.parametrize(
    "recipes, message",
    [("fast,fast", "give each value once"), ("fast,", "'fast,' is not NAME,… such as d2l-2019,udacity")],
)
def test_compare_refuses_an_invalid_list_of_recipes(experiment, recipes, message):
    status, out, err = experiment("compare", "--recipes", recipes)
    assert (status, out) == (2, "")
    assert message in err
    assert_one_line(err)


# -- reconstructions --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_content_is_reconstructed_from_each_single_layer(experiment, started, content, tmp_path):
    status, out, _ = experiment("reconstruct", "content", content, "--layers", "conv1_2,conv4_2")
    assert status == 0
    assert "2 of 2 pictures" in out
    assert [(recipe.content_layers, recipe.style_layers, recipe.init) for recipe in started] == [
        ({2: 1}, {}, "noise"),
        ({21: 1}, {}, "noise"),
    ]
    assert [recipe.last_layer for recipe in started] == [2, 21]  # later layers are not computed
    assert names(tmp_path / "out") == ["conv1_2.csv", "conv1_2.png", "conv4_2.csv", "conv4_2.png", "sheet.png"]


@pytest.mark.slow
def test_style_is_reconstructed_from_growing_subsets(experiment, started, content):
    assert experiment("reconstruct", "style", content)[0] == 0
    layers = (0, 5, 10, 19, 28)
    assert [tuple(recipe.style_layers) for recipe in started] == [layers[:count] for count in range(1, 6)]
    assert all(recipe.content_layers == {} for recipe in started)


def test_a_reconstruction_converges_to_its_picture(content, weights_file):
    options = {"sizes": [(32, 48)], "epochs": 60, "weights": str(weights_file)}
    recipe = experiments.reconstruct("content", content, ["conv1_1"], **options).trials[0].options["recipe"]
    rows = [epoch.losses for epoch in nst.transfer(content, content, recipe=recipe, weights=str(weights_file)).losses]
    assert min(losses.content for losses in rows) < 0.01 * rows[0].content
    assert rows[0].style == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["contents", "a.png"], "invalid choice: 'contents'"),
        (["content", "a.png", "--style-layers", "conv1_1"], "unrecognized arguments: --style-layers conv1_1"),
        (["content", "nowhere.png"], "nowhere.png: no such file"),
        (["content", "nowhere.png", "--layers", "conv9_1"], "layers: ['conv9_1'] is not different layers"),
    ],
)
def test_the_error_of_an_invalid_reconstruction_is_one_line(experiment, tmp_path, options, message):
    before = names(tmp_path)
    status, out, err = experiment("reconstruct", *options)
    assert status == 2
    assert out == ""
    assert message in err
    assert names(tmp_path) == before
    assert_one_line(err)


@pytest.mark.parametrize(
    "kind, layers, expected",
    [
        ("style", ["conv1_1", "conv3_1", "conv2_1"], ["conv1_1", "conv1_1 to conv3_1", "conv1_1 to conv2_1"]),
        ("style", {"conv1_1": 0.5, "conv2_1": 2}, ["conv1_1", "conv1_1 to conv2_1"]),
        ("content", {"conv1_1": 0.5, 2: 2}, ["conv1_1", "conv1_2"]),
    ],
)
def test_layers_are_reconstructed_in_the_given_order_with_the_given_weights(content, kind, layers, expected):
    trials = experiments.reconstruct(kind, content, layers).trials
    assert [trial.name for trial in trials] == expected
    if isinstance(layers, dict):
        last = getattr(trials[-1].options["recipe"], f"{kind}_layers")
        assert list(last.values()) == ([0.5, 2] if kind == "style" else [2])


def test_an_empty_experiment_is_refused(content, style):
    for make in (
        lambda: experiments.compare(content, style, []),
        lambda: experiments.reconstruct("style", content, []),
    ):
        with pytest.raises(nst.InputError, match="nothing to run; give at least one recipe, value or layer"):
            make()
    with pytest.raises(nst.InputError, match="reconstruct colour: not one of content, style"):
        experiments.reconstruct("colour", content)


def test_file_names_fit_into_255_bytes_in_any_script(content, style):
    experiment = experiments.sweep(content, style, {"init": {"画" * 200: "noise"}})
    assert all(len(path.name.encode()) <= 255 for path in experiment.paths("out"))


def test_observers_are_notified_of_the_end_of_every_trial(content, style, weights_file, tmp_path):
    ended = []

    class Ending(nst.Observer):
        def end(self, result):
            ended.append(result.recipe.tv_weight)

    options = {"sizes": [(32, 48)], "epochs": 1, "style_layers": ["conv1_1"], "content_layers": ["conv1_1"]}
    experiment = experiments.sweep(content, style, {"tv_weight": [1, 2]}, weights=str(weights_file), **options)
    list(experiment.run(tmp_path / "out", observer=Ending()))
    assert ended == [1, 2]


@pytest.mark.parametrize("text, message", [('extends = "bad.toml"', "extends itself"), ("= 3", "not TOML")])
def test_an_unreadable_recipe_runs_nothing(experiment, started, tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    status, _, err = experiment("compare", "--recipes", f"fast,{tmp_path / 'bad.toml'}")
    assert status == 2
    assert message in err
    assert started == []
    assert_one_line(err)
