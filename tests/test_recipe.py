import dataclasses
import shutil

import pytest

from PIL import Image

from gluon_nst import InputError, cli, recipe as recipes, weights


def write(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


STAGES = (recipes.Stage((32, 48), 2),)
STAGE = "[[stages]]\nsize = [32, 48]\nepochs = 3\n"


def test_every_recipe_of_the_package_can_be_read():
    published = ["d2l-2019", "d2l-2023", "fast", "gatys-2016", "poster", "reconstruction", "tensorflow", "udacity"]
    assert recipes.names() == published
    for name in recipes.names():
        recipe = recipes.read(name)
        assert recipe.title and recipe.source and recipe.last_layer in (10, 28, 29, 31)


def test_the_2019_recipe_is_the_chapters():
    recipe = recipes.read("d2l-2019")
    assert [(s.size, s.epochs, s.lr, s.lr_decay, s.lr_decay_epoch, s.lr_decay_from) for s in recipe.stages] == [
        ((150, 225), 500, 0.01, 0.1, 200, 0),
        ((300, 450), 300, 0.01, 0.1, 100, 0),
    ]
    assert (recipe.content_weight, recipe.style_weight, recipe.tv_weight) == (1, 1e3, 10)
    assert (recipe.content_layers, recipe.style_layers) == ((25,), (0, 5, 10, 19, 28))


def test_the_2023_recipe_is_the_chapters():
    recipe = recipes.read("d2l-2023")
    assert [(s.size, s.epochs, s.lr, s.lr_decay, s.lr_decay_epoch, s.lr_decay_from) for s in recipe.stages] == [
        ((300, 450), 500, 0.9, 0.8, 50, 1)
    ]
    assert recipe.style_weight == 1e4


def test_udacitys_recipe_takes_features_after_the_relu():
    recipe = recipes.read("udacity")
    assert (recipe.content_layers, recipe.style_layers) == ((22,), (1, 6, 11, 20, 29))
    assert recipe.style_layer_weights == (1, 0.75, 0.2, 0.2, 0.2) and recipe.style_weight == 1e6
    assert (recipe.gram_divisor, recipe.style_reduction) == ("none", "mean/chw")
    assert [(s.size, s.epochs, s.lr, s.lr_decay) for s in recipe.stages] == [(400, 2000, 0.003, 1)]
    assert recipe.side == "shortest" and not recipe.enlarge


def test_the_posters_recipe_uses_the_first_five_convolutions():
    recipe = recipes.read("poster")
    assert (recipe.content_layers, recipe.style_layers) == ((7,), (0, 2, 5, 7, 10)) and recipe.style_weight == 1e5
    assert (recipe.optimizer, recipe.pixels, recipe.bounds, recipe.stages[0].size) == ("lbfgs", "unit", "step", (128, 128))


def test_tensorflows_recipe_is_of_caffes_scale_and_keeps_the_best():
    recipe = recipes.read("tensorflow")
    assert (recipe.content_layers, recipe.style_layers) == ((31,), (1, 6, 11, 20, 29))
    assert recipe.style_layer_weights == (0.2,) * 5 and (recipe.content_weight, recipe.style_weight) == (1e3, 1e-2)
    assert (recipe.activations, recipe.pixels, recipe.bounds, recipe.keep) == ("caffe", "bytes", "step", "best")
    assert (recipe.style_size, recipe.resize, recipe.stages[0].lr) == (1.0, "lanczos", 10)


def test_fast_minimises_the_losses_of_the_2019_recipe():
    fast, chapter = recipes.read("fast"), recipes.read("d2l-2019")
    for name in ("content_layers", "style_layers", "content_weight", "style_weight", "tv_weight", "init"):
        assert getattr(fast, name) == getattr(chapter, name)
    assert fast.stages[-1].size == chapter.stages[-1].size and len(fast.stages) >= 2
    assert (fast.optimizer, fast.precision) == ("lbfgs", "auto")


def test_the_chapters_recipes_stay_in_float32():
    for name in ("d2l-2019", "d2l-2023"):
        assert recipes.read(name).precision == recipes.customise(name, precision="auto").precision == "float32"
    assert recipes.customise("fast", precision="auto").precision == "auto"
    assert recipes.customise("fast", precision="float32").precision == "float32"


def test_a_recipe_that_is_printed_can_be_saved_and_read_again(tmp_path):
    for name in recipes.names():
        assert recipes.read(write(tmp_path, recipes.text(name))) == recipes.read(name)


def test_a_readers_own_recipe_names_layers_as_the_paper_does(tmp_path):
    path = write(tmp_path, f'content_layers = ["conv4_2"]\nstyle_layers = ["relu1_1", 5]\ntv_weight = 0\n{STAGE}')
    recipe = recipes.read(path)
    assert recipe.content_layers == (21,) and recipe.style_layers == (1, 5) and recipe.last_layer == 21
    assert recipe.tv_weight == 0 and recipe.stages[0].size == (32, 48)


@pytest.mark.parametrize(
    "text, message",
    [
        ("tv_weight = 3", "stages: at least one"),
        ("stages = 3", "stages: at least one"),
        ("size = 3", "size: unknown key; allowed are extends, stages, title"),
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
def test_a_bad_recipe_is_one_line_that_names_the_file_and_what_is_allowed(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as refused:
        recipes.read(path)
    assert "\n" not in str(refused.value) and str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["d2l-2020", "", "missing.toml"])
def test_a_recipe_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"{name}: (not one of d2l-2019, d2l-2023, fast, .*|no such file)"):
        recipes.read(name)


def test_sizes_take_the_stages_in_turn_and_then_the_last():
    recipe = recipes.customise("d2l-2019", sizes=[(40, 60), (80, 120), (160, 240)])
    assert [stage.size for stage in recipe.stages] == [(40, 60), (80, 120), (160, 240)]
    assert [stage.epochs for stage in recipe.stages] == [500, 300, 300]
    assert [stage.lr_decay_epoch for stage in recipe.stages] == [200, 100, 100]


def test_epochs_are_one_each_or_one_for_all():
    assert [stage.epochs for stage in recipes.customise("d2l-2019", epochs=[7, 8]).stages] == [7, 8]
    assert [stage.epochs for stage in recipes.customise("d2l-2019", epochs=9).stages] == [9, 9]
    with pytest.raises(InputError, match="epochs: 3 numbers for 2 sizes; give one each, or one for all"):
        recipes.customise("d2l-2019", epochs=[1, 2, 3])


def test_what_is_not_given_stays():
    recipe = recipes.customise("d2l-2019", lr=0.5, tv_weight=0, init="noise")
    assert [stage.lr for stage in recipe.stages] == [0.5, 0.5] and recipe.tv_weight == 0 and recipe.init == "noise"
    assert recipe.style_weight == 1e3 and recipes.customise(recipe) == recipe


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


def test_a_recipe_that_extends_another_says_only_what_differs(tmp_path):
    recipe = recipes.read(write(tmp_path, 'extends = "udacity"\ntv_weight = 3\nstyle_layers = ["conv1_1"]'))
    expected = dataclasses.replace(
        recipes.read("udacity"), tv_weight=3.0, style_layers=(0,), style_layer_weights=(1.0,)
    )
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
def test_what_a_recipe_can_not_be_is_one_line_that_names_the_file(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(f"tv_weight = -1\n{STAGE}")
    with pytest.raises(InputError, match=message) as refused:
        recipes.read(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_recipe_may_begin_with_an_editors_mark(tmp_path):
    (tmp_path / "my.toml").write_text(f"tv_weight = 7\n{STAGE}", encoding="utf-8-sig")
    assert recipes.read(tmp_path / "my.toml").tv_weight == 7


def test_layers_can_have_weights_and_come_in_the_networks_order(tmp_path):
    recipe = recipes.read(write(tmp_path, f"style_layers = {{relu4_1 = 0.5, conv1_1 = 2, 7 = 3}}\n{STAGE}"))
    assert (recipe.style_layers, recipe.style_layer_weights) == ((0, 7, 20), (2, 3, 0.5))
    assert recipe.loss_options["style_weight"] == [2e3, 3e3, 500]
    with pytest.raises(InputError, match="style_layer_weights: 1 weights for 2 layers"):
        dataclasses.replace(recipe, style_layers=(0, 2), style_layer_weights=(1.0,))


def test_layers_can_be_customised_by_name_index_or_weights():
    recipe = recipes.customise("udacity", content_layers=["conv2_2", 21], style_layers={"relu1_1": 4})
    assert (recipe.content_layers, recipe.content_layer_weights) == ((7, 21), (1, 1))
    assert (recipe.style_layers, recipe.style_layer_weights) == ((1,), (4,))
    with pytest.raises(InputError, match="content_layers: .'conv9_1'. is not different layers"):
        recipes.customise("udacity", content_layers=["conv9_1"])


def test_a_stage_of_a_longest_side_has_the_pictures_shape():
    fitted = [recipes.fit(recipes.customise("udacity", sizes=[400]), size).stages[0].size for size in ((800, 600), (300, 900))]
    assert fitted == [(400, 300), (133, 400)]
    small = dataclasses.replace(recipes.customise("udacity", sizes=[400]), enlarge=False)
    assert recipes.fit(small, (150, 200)).stages[0].size == (150, 200)
    assert recipes.fit(recipes.read("tensorflow"), (150, 200)).stages[0].size == (384, 512)
    assert recipes.fit(recipes.read("d2l-2019"), (150, 200)) == recipes.read("d2l-2019")
    with pytest.raises(InputError, match="size 4x400: too small for the network"):
        recipes.fit(recipes.customise("udacity", sizes=[400]), (9, 900))


def test_a_stage_of_a_shortest_side_is_as_torchvision_resizes():
    fitted = [recipes.fit(recipes.read("udacity"), size).stages[0].size for size in ((1365, 2048), (800, 600), (160, 240), (900, 900))]
    assert fitted == [(400, 600), (533, 400), (240, 360), (400, 400)]


def test_the_style_picture_is_squashed_or_keeps_its_shape():
    squashed, own = recipes.read("udacity"), recipes.customise("udacity", style_size=0.5)
    stage = recipes.Stage((200, 300), 1)
    assert recipes.style_size(squashed, stage, (900, 300)) == (200, 300)
    assert recipes.style_size(own, stage, (900, 300)) == (150, 50)
    assert recipes.style_size(own, stage, (900, 20)) == (720, 16)  # what the network needs, and its shape


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: recipes.Recipe(stages=()), r"stages: at least one \[\[stages\]\] table is needed"),
        (lambda: recipes.Recipe(stages=[(300, 450)]), "stages: at least one"),
        (lambda: recipes.Stage((300, 450), epochs=0), "epochs: 0 is not an integer of at least 1"),
        (lambda: recipes.Stage((300, 450), 1, lr=float("nan")), "lr: nan is not a number above 0"),
        (lambda: recipes.Stage("300x450", 1), "size: '300x450' is not two positive integers"),
        (lambda: recipes.Recipe(STAGES, style_reduction="median"), "style_reduction: 'median' is not one of mean, mean/chw"),
        (lambda: recipes.Recipe(STAGES, tv_weight=float("nan")), "tv_weight: nan is not a number of at least 0"),
        (lambda: recipes.Recipe(STAGES, content_layers=()), "content_layers: .* is not different layers of VGG-19"),
        (lambda: recipes.Recipe(STAGES, style_layers=(37,)), "style_layers: .* is not different layers of VGG-19"),
        (lambda: recipes.Recipe(STAGES, style_layers=(0,), style_layer_weights=(-1,)), "style_layer_weights: -1 is not a number"),
        (lambda: recipes.Recipe(STAGES, content_layer_weights=2.0), "content_layer_weights: 2.0 is not a list of numbers"),
        (lambda: recipes.Recipe((recipes.Stage((8, 64), 1),)), "size 8x64: too small for the network"),
        (lambda: dataclasses.replace(recipes.read("fast"), optimizer="sgd"), "optimizer: 'sgd' is not one of adam, lbfgs"),
    ],
)
def test_a_recipe_made_in_python_is_checked_as_a_file_is(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_table_of_layers_brings_its_own_weights():
    recipe = dataclasses.replace(recipes.read("udacity"), style_layers={name: 0.5 for name in ("conv1_1", "conv2_1")})
    assert (recipe.style_layers, recipe.style_layer_weights) == ((0, 5), (0.5, 0.5))


def test_a_longest_side_that_is_asked_for_is_what_is_made():
    assert recipes.fit(recipes.customise("udacity", sizes=[800]), (300, 450)).stages[0].size == (533, 800)


def test_the_sources_of_weights_are_those_that_a_recipe_knows():
    assert tuple(weights.SOURCES) == recipes.SOURCES


def test_a_recipe_made_in_python_may_name_its_layers():
    recipe = recipes.Recipe(STAGES, content_layers=["conv4_2"], style_layers={"relu2_1": 0.5, "conv1_1": 2})
    assert (recipe.content_layers, recipe.style_layers, recipe.style_layer_weights) == ((21,), (0, 6), (2, 0.5))


def test_what_a_recipe_does_not_say_is_as_in_the_default_recipe(tmp_path):
    default, bare = recipes.read(recipes.DEFAULT), recipes.read(write(tmp_path, STAGE))
    assert dataclasses.replace(bare, stages=default.stages, title=default.title, source=default.source) == default
    assert recipes.Stage(300, 1) == dataclasses.replace(default.stages[0], size=300, epochs=1)


def test_what_a_recipe_sets_stays_with_another_optimizer():
    recipe = recipes.customise("tensorflow", optimizer="lbfgs")
    assert (recipe.bounds, recipe.keep) == ("step", "best")
    assert (recipes.customise("gatys-2016", optimizer="adam").bounds, recipes.customise("gatys-2016", optimizer="adam").keep) == ("end", "best")


def test_bounds_and_what_is_kept_follow_another_optimizer():
    assert recipes.read("d2l-2019").keeps == "last" == recipes.customise("d2l-2019", optimizer="adam").keeps
    recipe = recipes.customise("d2l-2019", optimizer="lbfgs")
    assert (recipe.keeps, recipe.bounds) == ("best", "auto")
    assert recipes.customise("gatys-2016", optimizer="lbfgs").bounds == "end"


@pytest.fixture
def recipes_folder(tmp_path, monkeypatch):
    """A copy of the package's recipes, in the place of theirs."""
    folder = tmp_path / "recipes"
    shutil.copytree(recipes._FOLDER, folder)
    monkeypatch.setattr(recipes, "_FOLDER", folder)
    return folder


def test_to_add_a_recipe_is_to_add_a_file(recipes_folder, content, style, weights_file, tmp_path, capfd):
    (recipes_folder / "mine.toml").write_text(
        f'extends = "d2l-2019"\ntitle = "My own"\nsource = "https://example.org"\ncontent_layers = ["relu2_1"]\n{STAGE}'
    )
    assert cli.main(["recipes"]) == 0
    assert "mine           My own\n               https://example.org\n" in capfd.readouterr().out
    options = ["--recipe", "mine", "--output", str(tmp_path / "out.png"), "--weights", str(weights_file)]
    assert cli.main(["render", str(content), str(style), *options]) == 0
    assert Image.open(tmp_path / "out.png").size == (48, 32)
    options = ["--recipes", "d2l-2019,mine", "--out", str(tmp_path / "out"), "--weights", str(weights_file)]
    assert cli.main(["compare", str(content), str(style), *options, "--sizes", "32x48", "--epochs", "2"]) == 0
    assert (tmp_path / "out/mine.png").is_file()


def test_to_change_a_number_is_to_change_a_line(recipes_folder):
    path = recipes_folder / "d2l-2019.toml"
    lines = path.read_text().splitlines(keepends=True)
    (changed,) = [number for number, line in enumerate(lines) if line.startswith("content_weight")]
    lines[changed] = "content_weight = 5.0\n"
    before = {name: recipes.read(name) for name in recipes.names()}
    path.write_text("".join(lines))
    for name in ("d2l-2019", "d2l-2023", "fast"):  # the other two extend it
        assert recipes.read(name) == dataclasses.replace(before[name], content_weight=5.0)
    assert recipes.read("udacity") == before["udacity"]
