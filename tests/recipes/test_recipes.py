import dataclasses
import json
import re
import shutil
import warnings as warnings_of_python

import gluon_nst as nst
from gluon_nst import InputError, cli, recipes, weights
from gluon_nst.recipes import files
from gluon_nst.recipes.reference import reference

import numpy as np
import pytest
from PIL import Image


def write(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


STAGES = (recipes.Stage((32, 48), 2),)
STAGE = "[[stages]]\nsize = [32, 48]\nepochs = 3\n"


def test_every_recipe_of_the_package_can_be_read():
    published = ["d2l-2019", "d2l-2023", "gatys-2016", "poster", "spst", "stp", "tensorflow", "udacity"]
    assert recipes.names() == sorted([*published, "fast", "fine", "reconstruction"])
    for name in recipes.names():
        recipe = recipes.read(name)
        assert recipe.title
        assert recipe.source
        assert recipe.last_layer in (10, 28, 29, 31)


def test_the_2019_recipe_agrees_with_the_chapter():
    recipe = recipes.read("d2l-2019")
    assert [(s.size, s.epochs, s.lr, s.lr_decay, s.lr_decay_epoch, s.lr_decay_from) for s in recipe.stages] == [
        ((150, 225), 500, 0.01, 0.1, 200, 0),
        ((300, 450), 300, 0.01, 0.1, 100, 0),
    ]
    assert (recipe.content_weight, recipe.style_weight, recipe.tv_weight) == (1, 1e3, 10)
    assert (recipe.content_layers, recipe.style_layers) == ({25: 1}, dict.fromkeys((0, 5, 10, 19, 28), 1))


def test_the_2023_recipe_agrees_with_the_chapter():
    recipe = recipes.read("d2l-2023")
    assert [(s.size, s.epochs, s.lr, s.lr_decay, s.lr_decay_epoch, s.lr_decay_from) for s in recipe.stages] == [
        ((300, 450), 500, 0.9, 0.8, 50, 1)
    ]
    assert recipe.style_weight == 1e4


def test_udacitys_recipe_takes_features_after_the_relu():
    recipe = recipes.read("udacity")
    assert recipe.content_layers == {22: 1}
    assert recipe.style_weight == 1e6
    assert recipe.style_layers == {1: 1, 6: 0.75, 11: 0.2, 20: 0.2, 29: 0.2}
    assert (recipe.gram_divisor, recipe.style_reduction) == ("none", "mean/chw")
    assert [(s.size, s.epochs, s.lr, s.lr_decay) for s in recipe.stages] == [(400, 2000, 0.003, 1)]
    assert recipe.side == "shortest"
    assert not recipe.enlarge


def test_the_posters_recipe_uses_the_first_five_convolutions():
    recipe = recipes.read("poster")
    assert (recipe.content_layers, recipe.style_layers) == ({7: 1}, dict.fromkeys((0, 2, 5, 7, 10), 1))
    assert recipe.style_weight == 1e5
    assert (recipe.optimizer, recipe.pixel_unit, recipe.clip_at, recipe.stages[0].size) == (
        "lbfgs",
        "unit",
        "step",
        (128, 128),
    )


def test_tensorflows_recipe_is_for_caffes_scale_and_keeps_the_best():
    recipe = recipes.read("tensorflow")
    assert (recipe.content_layers, recipe.style_layers) == ({31: 1}, dict.fromkeys((1, 6, 11, 20, 29), 0.2))
    assert (recipe.content_weight, recipe.style_weight) == (1e3, 1e-2)
    assert (recipe.activation_scale, recipe.pixel_unit, recipe.clip_at, recipe.keep) == (
        "caffe",
        "bytes",
        "step",
        "best",
    )
    assert (recipe.style_size, recipe.resize, recipe.stages[0].lr) == (1.0, "lanczos", 10)


def test_fast_minimises_the_losses_of_the_2019_recipe():
    fast, chapter = recipes.read("fast"), recipes.read("d2l-2019")
    for name in ("content_layers", "style_layers", "content_weight", "style_weight", "tv_weight", "init"):
        assert getattr(fast, name) == getattr(chapter, name)
    assert fast.stages[-1].size == chapter.stages[-1].size
    assert len(fast.stages) >= 2
    assert (fast.optimizer, fast.precision) == ("lbfgs", "auto")


def test_the_chapters_recipes_use_float32():
    for name in ("d2l-2019", "d2l-2023"):
        assert recipes.read(name).precision == "float32"
    assert recipes.read("fast").precision == recipes.customise("d2l-2019", precision="auto").precision == "auto"
    assert recipes.customise("fast", precision="float32").precision == "float32"


def test_pixels_are_only_a_style_layer(tmp_path):
    recipe = recipes.read(write(tmp_path, f"style_layers = {{pixels = 2, relu1_1 = 1}}\n{STAGE}"))
    assert recipe.style_layers == {-1: 2, 1: 1}
    assert recipe.as_dict()["style_layers"] == {"pixels": 2, "relu1_1": 1}
    assert recipes.customise(recipe, style_layers=["pixels"], content_layers=["conv1_1"]).last_layer == 0
    with pytest.raises(InputError, match="content_layers: .'pixels'. is not different layers of VGG-19"):
        recipes.read(write(tmp_path, f'content_layers = ["pixels"]\n{STAGE}'))
    with pytest.raises(InputError, match="style_layers: .-1. is not different layers of VGG-19"):
        recipes.customise(recipe, style_layers=[-1])
    with pytest.raises(InputError, match="different layers"):
        recipes.customise(recipe, style_layers=["pixels", "pixels"])
    with pytest.raises(InputError, match="did you mean pixels"):
        recipes.read(write(tmp_path, f'style_layers = ["pixel"]\n{STAGE}'))


def test_a_printed_recipe_can_be_saved_and_read(tmp_path):
    for name in recipes.names():
        assert recipes.read(write(tmp_path, recipes.text(name))) == recipes.read(name)


def test_a_recipe_can_name_layers_as_in_the_paper(tmp_path):
    path = write(tmp_path, f'content_layers = ["conv4_2"]\nstyle_layers = ["relu1_1", 5]\ntv_weight = 0\n{STAGE}')
    recipe = recipes.read(path)
    assert recipe.content_layers == {21: 1}
    assert recipe.style_layers == {1: 1, 5: 1}
    assert recipe.last_layer == 21
    assert recipe.tv_weight == 0
    assert recipe.stages[0].size == (32, 48)


@pytest.mark.parametrize(
    "text, message",
    [
        ("tv_weight = 3", "stages: at least one"),
        ("stages = 3", "stages: at least one"),
        ("size = 3", "size: unknown key; allowed are extends, stages, changes, title"),
        ("= 3", "not TOML"),
        (f"style_wieght = 3\n{STAGE}", "style_wieght: unknown key; allowed are .*style_weight"),
        (f"{STAGE}epoch = 3", "stage 1: epoch: unknown key; allowed are size, epochs"),
        ("[[stages]]\nsize = [32, 48]", "stage 1: epochs: missing"),
        ("[[stages]]\nsize = [32]\nepochs = 1", r"size: \[32\] is not two positive integers, \[height, width\]"),
        ("[[stages]]\nsize = [32, -3]\nepochs = 1", "size: .* is not two positive integers"),
        ("[[stages]]\nsize = [8, 64]\nepochs = 1", "size 8x64: too small for the network, .* at least 16x16"),
        (f"{STAGE}lr = 0", "stage 1: lr: 0 is not a number above 0"),
        (f"{STAGE}lr = nan", "stage 1: lr: nan is not a number above 0"),
        ("[[stages]]\nsize = [32, 48]\nepochs = 0", "epochs: 0 is not an integer of at least 1"),
        ("[[stages]]\nsize = [32, 48]\nepochs = true", "epochs: True is not an integer of at least 1"),
        (f"style_weight = -1\n{STAGE}", "style_weight: -1 is not a number of at least 0"),
        (f'style_weight = "1e3"\n{STAGE}', "style_weight: '1e3' is not a number of at least 0"),
        (f'content_layers = ["conv9_1"]\n{STAGE}', "content_layers: .* is not different layers of VGG-19"),
        (f"content_layers = [37]\n{STAGE}", "content_layers: .* is not different layers of VGG-19"),
        (f"content_layers = [1.0]\n{STAGE}", "content_layers: .* is not different layers of VGG-19"),
        (f"tv_weight = 1{'0' * 400}\n{STAGE}", "tv_weight: 10+… is not a number"),
        (f"x = {'[' * 5000}", "not TOML"),
        (f"content_layers = []\n{STAGE}", "content_layers: .* is not different layers of VGG-19"),
        (f"style_layers = 28\n{STAGE}", "style_layers: .* is not different layers of VGG-19"),
        (f'optimizer = "sgd"\n{STAGE}', "optimizer: 'sgd' is not one of adam, lbfgs"),
        (f'precision = "half"\n{STAGE}', "precision: 'half' is not one of auto, float32, bfloat16"),
        (f'carry = "all"\n{STAGE}', "carry: 'all' is not one of picture, change"),
        (f'enlarge = "yes"\n{STAGE}', "enlarge: 'yes' is not true or false"),
    ],
)
def test_the_error_for_a_bad_recipe_names_the_file_and_the_allowed_values(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as refused:
        recipes.read(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["d2l-2020", "", "missing.toml"])
def test_a_missing_recipe_is_refused(name):
    with pytest.raises(InputError, match=f"{name}: (not one of d2l-2019, d2l-2023, fast, .*|no such file)"):
        recipes.read(name)


def test_sizes_have_the_values_of_the_stages_in_turn_then_of_the_last():
    recipe = recipes.customise("d2l-2019", sizes=[(40, 60), (80, 120), (160, 240)])
    assert [stage.size for stage in recipe.stages] == [(40, 60), (80, 120), (160, 240)]
    assert [stage.epochs for stage in recipe.stages] == [500, 300, 300]
    assert [stage.lr_decay_epoch for stage in recipe.stages] == [200, 100, 100]


def test_epochs_are_one_number_for_each_stage_or_for_all():
    assert [stage.epochs for stage in recipes.customise("d2l-2019", epochs=[7, 8]).stages] == [7, 8]
    assert [stage.epochs for stage in recipes.customise("d2l-2019", epochs=9).stages] == [9, 9]
    with pytest.raises(InputError, match="epochs: 3 numbers for 2 sizes; give one each, or one for all"):
        recipes.customise("d2l-2019", epochs=[1, 2, 3])


def test_omitted_settings_are_kept():
    recipe = recipes.customise("d2l-2019", lr=0.5, tv_weight=0, init="noise")
    assert [stage.lr for stage in recipe.stages] == [0.5, 0.5]
    assert recipe.tv_weight == 0
    assert recipe.init == "noise"
    assert recipe.style_weight == 1e3
    assert recipes.customise(recipe) == recipe


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sizes": [(15, 100)]}, "size 15x100: too small for the network"),
        ({"sizes": [(0, 100)]}, "sizes: .* is not two positive integers"),
        ({"sizes": []}, "sizes: at least one"),
        ({"epochs": [0]}, "epochs: 0 is not an integer of at least 1"),
        ({"lr": -1}, "lr: -1 is not a number above 0"),
        ({"lr": float("inf")}, "lr: inf is not a number above 0"),
        ({"content_weight": -1}, "content_weight: -1 is not a number of at least 0"),
        ({"optimizer": "sgd"}, "optimizer: 'sgd' is not one of adam, lbfgs"),
        ({"precision": "float16"}, "precision: 'float16' is not one of auto, float32, bfloat16"),
        ({"tolerance": -0.1}, "tolerance: -0.1 is not a number of at least 0"),
    ],
)
def test_a_bad_change_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        recipes.customise("d2l-2019", **changes)


# -- extends, layers, sizes -------------------------------------------------------------------------------------------


def test_a_recipe_can_extend_another_one(tmp_path):
    recipe = recipes.read(write(tmp_path, 'extends = "udacity"\ntv_weight = 3\nstyle_layers = ["conv1_1"]'))
    expected = dataclasses.replace(recipes.read("udacity"), tv_weight=3.0, style_layers=(0,), good_for="")
    assert recipe == expected


def test_a_recipe_can_extend_a_file_beside_it(tmp_path):
    (tmp_path / "base.toml").write_text(f"tv_weight = 7\n{STAGE}")
    path = write(tmp_path, 'extends = "base.toml"\nstyle_weight = 2')
    recipe = recipes.read(path)
    assert (recipe.tv_weight, recipe.style_weight, recipe.stages[0].size) == (7, 2, (32, 48))


@pytest.mark.parametrize(
    "text, message",
    [
        ('extends = "my.toml"', "my.toml: extends: the recipe extends itself"),
        ('extends = "d2l"', "my.toml: extends: 'd2l' is not one of d2l-2019, .*, nor a .toml file"),
        ("extends = 3", "my.toml: extends: 3 is not a recipe's name or the path of a .toml file"),
        ('extends = "nowhere.toml"', "nowhere.toml: no such file"),
        ('extends = "bad.toml"', "bad.toml: tv_weight: -1 is not a number of at least 0"),
        ('extends = "d2l-2019"\nstages = []', "my.toml: stages: at least one"),
        ("style_layers = {conv1_1 = -1}", "my.toml: style_layers: .* is not different layers of VGG-19, .* or a table"),
        ('style_layers = {conv1_1 = "1"}', "my.toml: style_layers: .* is not different layers"),
        ("style_layers = {conv1_1 = 1, 0 = 2}", "my.toml: style_layers: .* is not different layers"),
        (f"tv_weight = {'9' * 5000}", "my.toml: (not TOML|tv_weight: 9+… is not a number)"),
        ('extends = "a\\u0000.toml"', "my.toml: extends: .* is not a recipe's name"),
        ('init = "a\\nb.png"', "my.toml: init: .* is not one of content, noise, style"),
        ("style_size = 0", "my.toml: style_size: 0 is not content, or a number above 0"),
        ('gram_divisor = "c"', "my.toml: gram_divisor: 'c' is not one of chw, hw, none"),
        ("[[stages]]\nsize = 8\nepochs = 1", "my.toml: size 8x8: too small for the network"),
    ],
)
def test_the_error_for_an_impossible_recipe_names_the_file(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(f"tv_weight = -1\n{STAGE}")
    with pytest.raises(InputError, match=message) as refused:
        recipes.read(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "my.toml").write_text(f"tv_weight = 7\n{STAGE}", encoding="utf-8-sig")
    assert recipes.read(tmp_path / "my.toml").tv_weight == 7


def test_layers_can_have_weights_and_are_in_the_networks_order(tmp_path):
    recipe = recipes.read(write(tmp_path, f"style_layers = {{relu4_1 = 0.5, conv1_1 = 2, 7 = 3}}\n{STAGE}"))
    assert list(recipe.style_layers.items()) == [(0, 2), (7, 3), (20, 0.5)]
    assert recipe.as_dict()["style_layers"] == {"conv1_1": 2, "conv2_2": 3, "relu4_1": 0.5}


def test_layers_can_be_customised_by_name_index_or_weights():
    recipe = recipes.customise("udacity", content_layers=["conv2_2", 21], style_layers={"relu1_1": 4})
    assert (recipe.content_layers, recipe.style_layers) == ({7: 1, 21: 1}, {1: 4})
    with pytest.raises(InputError, match="content_layers: .'conv9_1'. is not different layers"):
        recipes.customise("udacity", content_layers=["conv9_1"])


def test_a_stage_with_a_longest_side_has_the_pictures_aspect_ratio():
    fitted = [
        recipes.fit(recipes.customise("udacity", sizes=[400]), size).stages[0].size for size in ((800, 600), (300, 900))
    ]
    assert fitted == [(400, 300), (133, 400)]
    small = dataclasses.replace(recipes.customise("udacity", sizes=[400]), enlarge=False)
    assert recipes.fit(small, (150, 200)).stages[0].size == (150, 200)
    assert recipes.fit(recipes.read("tensorflow"), (150, 200)).stages[0].size == (384, 512)
    assert recipes.fit(recipes.read("d2l-2019"), (150, 200)) == recipes.read("d2l-2019")
    with pytest.raises(InputError, match="size 4x400: too small for the network"):
        recipes.fit(recipes.customise("udacity", sizes=[400]), (9, 900))


def test_a_stage_with_a_shortest_side_agrees_with_torchvision():
    fitted = [
        recipes.fit(recipes.read("udacity"), size).stages[0].size
        for size in ((1365, 2048), (800, 600), (160, 240), (900, 900))
    ]
    assert fitted == [(400, 600), (533, 400), (240, 360), (400, 400)]


def test_the_style_picture_is_stretched_or_keeps_its_aspect_ratio():
    squashed, own = recipes.read("udacity"), recipes.customise("udacity", style_size=0.5)
    stage = (200, 300)
    assert recipes.style_shape(squashed, stage, (900, 300)) == (200, 300)
    assert recipes.style_shape(own, stage, (900, 300)) == (150, 50)
    assert recipes.style_shape(own, stage, (900, 20)) == (720, 16)  # enlarged for the network, in its aspect ratio
    assert recipes.style_shape(own, stage, (900, 300), scale=1.0) == (300, 100)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: recipes.Recipe(stages=()), r"stages: at least one \[\[stages\]\] table is needed"),
        (lambda: recipes.Recipe(stages=[(300, 450)]), "stages: at least one"),
        (lambda: recipes.Stage((300, 450), epochs=0), "epochs: 0 is not an integer of at least 1"),
        (lambda: recipes.Stage((300, 450), 1, lr=float("nan")), "lr: nan is not a number above 0"),
        (lambda: recipes.Stage("300x450", 1), "size: '300x450' is not two positive integers"),
        (
            lambda: recipes.Recipe(STAGES, style_reduction="median"),
            "style_reduction: 'median' is not one of mean, ",
        ),
        (lambda: recipes.Recipe(STAGES, tv_weight=float("nan")), "tv_weight: nan is not a number of at least 0"),
        (lambda: recipes.Recipe(STAGES, content_layers=()), "content_layers: .* is not different layers of VGG-19"),
        (lambda: recipes.Recipe(STAGES, style_layers=(37,)), "style_layers: .* is not different layers of VGG-19"),
        (
            lambda: recipes.Recipe(STAGES, style_layers={0: -1}),
            "style_layers: {0: -1} is not different layers of VGG-19",
        ),
        (lambda: recipes.Recipe(STAGES, enlarge=1), "enlarge: 1 is not true or false"),
        (lambda: recipes.Recipe((recipes.Stage((8, 64), 1),)), "size 8x64: too small for the network"),
        (
            lambda: dataclasses.replace(recipes.read("fast"), optimizer="sgd"),
            "optimizer: 'sgd' is not one of adam, lbfgs",
        ),
    ],
)
def test_a_recipe_made_in_python_is_checked_like_a_file(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_table_of_layers_replaces_their_weights():
    recipe = dataclasses.replace(recipes.read("udacity"), style_layers=dict.fromkeys(("conv1_1", "conv2_1"), 0.5))
    assert recipe.style_layers == {0: 0.5, 5: 0.5}


def test_a_requested_longest_side_is_used():
    assert recipes.fit(recipes.customise("udacity", sizes=[800]), (300, 450)).stages[0].size == (533, 800)


def test_the_sources_of_weights_are_those_of_the_schema():
    assert tuple(weights.SOURCES) == recipes.SOURCES


def test_a_recipe_made_in_python_may_name_its_layers():
    recipe = recipes.Recipe(STAGES, content_layers=["conv4_2"], style_layers={"relu2_1": 0.5, "conv1_1": 2})
    assert (recipe.content_layers, recipe.style_layers) == ({21: 1}, {0: 2, 6: 0.5})


def test_omitted_fields_are_those_of_the_2019_recipe(tmp_path):
    default, bare = recipes.read(recipes.CHAPTER), recipes.read(write(tmp_path, STAGE))
    words = {name: getattr(default, name) for name in ("title", "source", "good_for")}
    assert dataclasses.replace(bare, stages=default.stages, **words) == default
    assert recipes.Stage(300, 1) == dataclasses.replace(default.stages[0], size=300, epochs=1)


def test_explicit_settings_are_kept_with_another_optimizer():
    recipe = recipes.customise("tensorflow", optimizer="lbfgs")
    assert (recipe.clip_at, recipe.keep) == ("step", "best")
    recipe = recipes.follow_optimizer(recipes.customise("gatys-2016", optimizer="adam"))
    assert (recipe.clip_at, recipe.keep) == ("end", "best")


def test_automatic_clipping_and_keep_follow_the_optimizer():
    for optimizer, expected in (("adam", ("end", "last")), ("lbfgs", ("step", "best"))):
        recipe = recipes.follow_optimizer(recipes.customise("d2l-2019", optimizer=optimizer))
        assert (recipe.clip_at, recipe.keep) == expected
    assert recipes.follow_optimizer(recipes.customise("gatys-2016", optimizer="lbfgs")).clip_at == "end"


@pytest.fixture
def recipes_folder(tmp_path, monkeypatch):
    """Replace the folder of the package's recipes by a copy."""
    folder = tmp_path / "recipes"
    shutil.copytree(files.FOLDER, folder)
    monkeypatch.setattr(files, "FOLDER", folder)
    return folder


@pytest.mark.slow
def test_a_new_file_is_a_new_recipe(recipes_folder, content, style, weights_file, tmp_path, capfd):
    (recipes_folder / "mine.toml").write_text(
        f'extends = "d2l-2019"\ntitle = "My own"\nsource = "https://example.org"\ncontent_layers = ["relu2_1"]\n{STAGE}'
    )
    assert cli.main(["recipes"]) == 0
    assert re.search(r"\nmine +My own\n +32 x 48\n +https://example.org\n", capfd.readouterr().out)
    options = ["--recipe", "mine", "--output", str(tmp_path / "out.png"), "--weights", str(weights_file)]
    assert cli.main(["render", str(content), str(style), *options]) == 0
    assert Image.open(tmp_path / "out.png").size == (48, 32)
    options = ["--recipes", "d2l-2019,mine", "--out", str(tmp_path / "out"), "--weights", str(weights_file)]
    assert cli.main(["compare", str(content), str(style), *options, "--sizes", "32x48", "--epochs", "2"]) == 0
    assert (tmp_path / "out/mine.png").is_file()


def test_a_changed_line_changes_the_recipe(recipes_folder):
    path = recipes_folder / "d2l-2019.toml"
    lines = path.read_text().splitlines(keepends=True)
    (changed,) = [number for number, line in enumerate(lines) if line.startswith("content_weight")]
    lines[changed] = "content_weight = 5.0\n"
    before = {name: recipes.read(name) for name in recipes.names()}
    path.write_text("".join(lines))
    for name in ("d2l-2019", "d2l-2023", "fast"):  # the other two extend it
        assert recipes.read(name) == dataclasses.replace(before[name], content_weight=5.0)
    assert recipes.read("udacity") == before["udacity"]


# -- the schema -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old, new", files.RENAMED.items())
def test_the_error_for_a_renamed_key_names_the_new_key(tmp_path, old, new):
    with pytest.raises(InputError, match=f"my.toml: {old}: was renamed to {new}; write {new} = …"):
        recipes.read(write(tmp_path, f"{old} = 1\n{STAGE}"))


CHANGED = {"init": "noise", "style_size": 0.5, "noise": 0.5, "beta2": 0.99, "average_decay": 0.5}
"""Different values of settings for which the default plus 1 is not allowed."""


def other_value(setting, recipe):
    """Return a value of a setting that differs from that of `recipe`."""
    before = getattr(recipe.stages[0] if setting.staged else recipe, setting.name)
    if setting.rule.choices:
        return next(choice for choice in setting.rule.choices if choice != before)
    if setting.name in CHANGED:
        return CHANGED[setting.name]
    if isinstance(before, dict):
        return {3: 0.5}
    return not before if isinstance(before, bool) else before + 1


def test_every_setting_of_a_recipe_can_be_changed():
    recipe = recipes.customise("d2l-2019", sizes=[(64, 96), (96, 128)])
    for setting in recipes.recipe_settings():
        if setting.name == "sizes":
            continue
        value = other_value(setting, recipe)
        changed = recipes.customise(recipe, **{setting.name: value})
        after = [getattr(each, setting.name) for each in (changed.stages if setting.staged else [changed])]
        assert after == [value] * len(after)


def test_a_setting_of_the_stages_is_one_value_for_all_or_one_for_each():
    recipe = recipes.customise("d2l-2019", lr=[0.5, 0.25], lr_decay=0.9)
    assert [(stage.lr, stage.lr_decay) for stage in recipe.stages] == [(0.5, 0.9), (0.25, 0.9)]


def test_numpys_numbers_are_allowed():
    recipe = recipes.customise(
        "fast", sizes=[np.int64(64)], epochs=np.int32(3), style_weight=np.float32(2), lr=np.float64(1)
    )
    assert recipe == recipes.customise("fast", sizes=[64], epochs=3, style_weight=2, lr=1)
    assert recipes.customise("udacity", sizes=np.int64(64)).side == "longest"
    assert json.dumps(recipe.as_dict())
    with pytest.raises(InputError, match="epochs: .* is not an integer of at least 1"):
        recipes.customise("fast", epochs=np.float32(3))


def test_a_change_that_is_not_a_setting_is_refused():
    with pytest.raises(TypeError, match="stile_weight: not a setting of a recipe; did you mean style_weight?"):
        recipes.customise("d2l-2019", stile_weight=3)
    with pytest.raises(nst.NSTError, match="^xyz: not a setting of a recipe; there are sizes, epochs, lr"):
        recipes.customise("d2l-2019", xyz=3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("style_wieght = 3", "style_wieght: unknown key; .*; did you mean style_weight?"),
        ("[[stages]]\nsize = 64\nepohcs = 3", "stage 1: epohcs: unknown key; .*; did you mean epochs?"),
        ('optimizer = "lbgfs"', "optimizer: 'lbgfs' is not one of adam, lbfgs; did you mean lbfgs?"),
        ('content_layers = ["cnov4_2"]', "content_layers: .*; did you mean conv4_2?"),
        ('extends = "fien"', "extends: 'fien' is not one of .*; did you mean fine?"),
        ('extend = "fine"', "extend: unknown key; .*; did you mean extends?"),
    ],
)
def test_a_misspelt_word_in_a_recipe_gets_a_suggestion(tmp_path, text, message):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(nst.InputError, match=re.escape(message).replace(r"\.\*", ".*")):
        recipes.read(tmp_path / "my.toml")


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_pair_of_integers_is_refused_as_sizes_and_a_list_of_them_is_two_stages():
    for pair in ((48, 64), (np.int64(48), np.int64(64))):
        with pytest.raises(
            nst.InputError, match=r"write \[\[48, 64\]\] for .*, or longest_side = \[48, 64\] for two stages"
        ):
            recipes.customise("d2l-2019", sizes=pair)
    one = recipes.fit(recipes.customise("d2l-2019", sizes=[(48, 64)]), (60, 90))
    two = recipes.fit(recipes.customise("d2l-2019", longest_side=[48, 64]), (60, 90))
    assert [stage.size for stage in one.stages] == [(48, 64)]
    assert [stage.size for stage in two.stages] == [(32, 48), (43, 64)]
    assert recipes.customise("d2l-2019", sizes=[48, 64]) == recipes.customise("d2l-2019", longest_side=(48, 64))
    assert recipes.customise("d2l-2019", sizes=64) == recipes.customise("d2l-2019", longest_side=64)


# -- settings without effect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe, options, needs",
    [
        ("fine", {"lr": 0.1}, "optimizer adam"),
        ("fine", {"lr_decay_epoch": 3}, "optimizer adam"),
        ("d2l-2019", {"history_size": 9}, "optimizer lbfgs"),
        ("d2l-2019", {"optimizer": "lbfgs", "beta2": 0.9}, "optimizer adam"),
        ("d2l-2019", {"moments_weight": 2}, "style_statistic gram-mean-std"),
        ("fine", {"gram_divisor": "hw"}, "style_statistic gram"),
        ("d2l-2019", {"average_decay": 0.9}, "keep average"),
        ("d2l-2019", {"smallest_size": 64}, "a size_factor above 1"),
        ("d2l-2019", {"init": "noise", "noise": 0.5}, "an init from a picture"),
        ("d2l-2019", {"seed": 3}, "init noise, or a noise above 0"),
        ("d2l-2019", {"tv_weight": 0, "tv_norm": "l2"}, "a tv_weight above 0"),
        ("d2l-2019", {"content_weight": 0, "content_reduction": "sum"}, "a content_weight above 0"),
        ("d2l-2019", {"longest_side": 64, "carry": "change"}, "several stages"),
    ],
)
def test_a_setting_of_the_caller_without_effect_gives_a_warning(recipe, options, needs):
    with pytest.warns(nst.errors.NSTWarning, match=f"^{list(options)[-1]} has no effect without {needs}$"):
        nst.Job("a.png", "b.png", recipe=recipe, **options)


def test_settings_of_the_recipe_and_those_with_an_effect_give_no_warning():
    with warnings_of_python.catch_warnings():
        warnings_of_python.simplefilter("error")
        for name in recipes.names():
            nst.Job("a.png", "b.png", recipe=name, longest_side=64, style_weight=3, seed=0)
        nst.Job("a.png", "b.png", recipe="fine", optimizer="adam", lr=0.1)
        nst.Job("a.png", "b.png", recipe="d2l-2019", init="noise", seed=3)


@pytest.mark.parametrize(
    "options, since",
    [
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, ""),
        ({"content_layers": {"conv1_1": 0}, "style_weight": 0, "tv_weight": 0}, ""),
        (
            {"content_weight": 0, "tv_weight": 0, "changes": (recipes.Change(1, 2, style_weight=0),)},
            " after epoch 2 of",
        ),
    ],
)
def test_a_recipe_that_minimises_nothing_is_refused(options, since):
    with pytest.raises(InputError, match=f"content_weight, style_weight, tv_weight: no loss has a weight{since}"):
        recipes.Recipe(STAGES, **options)
    changes = (recipes.Change(1, 1, content_weight=0.0), recipes.Change(1, 2, content_weight=1.0, style_weight=0.0))
    recipe = recipes.Recipe(STAGES, tv_weight=0, changes=changes)
    assert recipe.at(1, 2).content_weight == 1
    assert recipe.at(1, 2).style_weight == 0


def test_sizes_and_longest_side_exclude_each_other():
    with pytest.raises(nst.InputError, match="sizes, longest_side: both set the sizes of the stages"):
        recipes.customise("d2l-2019", sizes=[(48, 64)], longest_side=64)
    with pytest.raises(nst.InputError, match="longest_side: 0 is not a positive integer, or own"):
        recipes.customise("d2l-2019", longest_side=0)
    with pytest.raises(nst.InputError, match="longest_side: at least one is needed"):
        recipes.customise("d2l-2019", longest_side=[])


def test_the_learning_rate_is_a_function_of_the_epoch():
    stage = recipes.Stage((300, 450), 500, lr=0.9, lr_decay=0.8, lr_decay_epoch=50, lr_decay_from=1)
    assert [stage.lr_at(epoch) for epoch in (0, 49, 50, 100)] == pytest.approx([0.9, 0.9, 0.72, 0.576])
    stage = recipes.read("d2l-2019").stages[0]
    assert [stage.lr_at(epoch) for epoch in (0, 200, 201, 400, 401)] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def test_a_recipe_as_json_is_read_as_the_same_recipe():
    for name in recipes.names():
        recipe = recipes.read(name)
        values = json.loads(json.dumps(recipe.as_dict()))
        stages = [recipes.Stage(**stage) for stage in values.pop("stages")]
        assert recipes.Recipe(stages, **values) == recipe


@pytest.mark.parametrize("make", [lambda: nst.Job("a", "b", seed=-1), lambda: nst.Job("a", "b", seed=1.5)])
def test_a_job_checks_its_fields(make):
    with pytest.raises(InputError, match="seed: .* is not an integer of at least 0"):
        make()


@pytest.mark.parametrize("name", [setting.name for setting in recipes.recipe_settings() if setting.name != "sizes"])
def test_every_setting_is_a_key_of_a_recipe_and_in_the_reference(tmp_path, name):
    # The command line and --vary are tested in tests/cli/test_cli_options.py and tests/experiments.
    before = recipes.customise("d2l-2019", sizes=[(64, 96)])
    (setting,) = [each for each in recipes.recipe_settings() if each.name == name]
    value = other_value(setting, before)
    in_toml = "{conv1_2 = 0.5, relu1_2 = 2}" if isinstance(value, dict) else json.dumps(value)
    top, stage = {"extends": '"d2l-2019"'}, {"size": "[64, 96]", "epochs": "500"}
    (stage if setting.staged else top)[name] = in_toml
    top, stage = ("\n".join(f"{key} = {text}" for key, text in table.items()) for table in (top, stage))
    recipe = recipes.read(write(tmp_path, f"{top}\n[[stages]]\n{stage}"))
    expected = {2: 0.5, 3: 2.0} if isinstance(value, dict) else value
    assert getattr(recipe.stages[0] if setting.staged else recipe, name) == expected
    assert f"| `{name}` | `--{name.replace('_', '-')}` | " in reference()


@pytest.mark.parametrize("picture", [None, {"a.png"}, b"a.png", 3])
def test_an_invalid_picture_is_refused_when_the_job_is_made(picture):
    with pytest.raises(InputError, match="style: .* is neither a path nor a PIL image"):
        nst.Job("a.png", picture)
