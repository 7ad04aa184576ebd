import pytest

from gluon_nst import InputError, recipe as recipes


def write(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


STAGE = "[[stages]]\nsize = [32, 48]\nepochs = 3\n"


def test_every_recipe_of_the_package_can_be_read():
    assert recipes.names() == ["d2l-2019", "d2l-2023", "fast"]
    for name in recipes.names():
        recipe = recipes.read(name)
        assert recipe.title and recipe.source and recipe.last_layer == 28


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


def test_fast_minimises_the_losses_of_the_2019_recipe():
    fast, chapter = recipes.read("fast"), recipes.read("d2l-2019")
    for name in ("content_layers", "style_layers", "content_weight", "style_weight", "tv_weight", "init"):
        assert getattr(fast, name) == getattr(chapter, name)
    assert fast.stages[-1].size == chapter.stages[-1].size and len(fast.stages) >= 3
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
        (f"tv_weight = 1{'0' * 400}\n{STAGE}", "tv_weight: 10+ is not a number"),
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
    with pytest.raises(InputError, match=f"{name}: (not one of d2l-2019, d2l-2023, fast|no such file)"):
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
