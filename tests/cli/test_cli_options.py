"""The options of the command line: each setting is one, its value reaches the run, and a wrong one is one line."""

import contextlib
import inspect
import re
import shlex
from pathlib import Path

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.cli import main
from gluon_nst.cli.options import default_text, given_options
from gluon_nst.cli.options import options as all_options
from gluon_nst.cli.parser import EXAMPLES, build_parser

import PIL.Image
import pytest

from commands import SHALLOW, assert_one_line, ended, made, names

SETTINGS = {setting.name: setting for setting in (*recipes.recipe_settings(), *recipes.settings(nst.Job))}

# By the metavar of a setting: a text, and what it stands for. None of them is a value of d2l-2019.
VALUES = {
    "N": ("3", 3),
    "NUMBER": ("0.25", 0.25),
    "HxW": ("48x64", (48, 64)),
    "true|false": ("false", False),
    "LAYER[:WEIGHT],...": ("conv1_1:0.5,conv2_1", {0: 0.5, 5: 1.0}),
    "content|SCALE": ("0.25", 0.25),
    "content|noise|style|FILE": ("start.png", "start.png"),
    "auto|model-zoo|caffe|torchvision|pypi|FILE": ("my.params", "my.params"),
    "FILE": ("map.png", "map.png"),
    "4GB|auto": ("4GB", 4e9),
    "8|16": ("16", 16),
}


BY_NAME = {
    "size_factor": ("2", 2.0),
    "carry_moments": ("true", True),
    "flatten": ("true", True),
    "keep_profile": ("true", True),
    "dpi": ("300", 300.0),
}
"""The same of settings that take other values than their metavar's."""


def value_of(job, name):
    """What stands in a job for a setting, as a list: that of each stage where the stages have it."""
    if hasattr(job, name):
        return [getattr(job, name)]
    if hasattr(job.recipe, name):
        return [getattr(job.recipe, name)]
    return [getattr(stage, "size" if name == "sizes" else name) for stage in job.recipe.stages]


def other_value(setting):
    """A text for a setting, and what it stands for, that is not what d2l-2019 says."""
    before = value_of(nst.Job("a.png", "b.png", recipes.CHAPTER), setting.name)
    if not setting.rule.choices:
        return BY_NAME.get(setting.name) or VALUES[setting.rule.metavar]
    return next((choice, choice) for choice in setting.rule.choices if choice not in before)


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_an_option_whose_value_reaches_the_job(name):
    text, value = other_value(SETTINGS[name])
    option = f"--{name.replace('_', '-')}" + ("" if SETTINGS[name].rule.is_flag else f"={text}")
    options = given_options(build_parser().parse_args(["render", "a.png", "b.png", "--output", "c.png", option]))
    assert list(options) == [name]
    found = value_of(nst.Job("a.png", "b.png", recipe=recipes.CHAPTER, **options), name)
    assert found == [value] * len(found) != value_of(nst.Job("a.png", "b.png", recipes.CHAPTER), name)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "regions" and not SETTINGS[name].words])
def test_each_setting_can_be_varied(name):
    text, value = other_value(SETTINGS[name])
    label = text.replace(",", "+")
    vary = f"{name.replace('_', '-')}={label}"
    ((destination, values),) = build_parser().parse_args(["sweep", "a.png", "b.png", "--vary", vary]).vary
    found = value_of(nst.Job("a.png", "b.png", recipe=recipes.CHAPTER, **{destination: values[label]}), name)
    assert destination == name
    assert found == [value] * len(found)


def help_of(capfd, *arguments):
    """What an option such as --help prints."""
    with pytest.raises(SystemExit) as done:
        build_parser().parse_args(list(arguments))
    assert done.value.code == 0
    return capfd.readouterr().out


def test_the_full_help_has_each_setting_and_no_words(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = help_of(capfd, "render", "--help-all")
    for name, setting in SETTINGS.items():
        assert f"  --{name.replace('_', '-')} " in out
        assert name == "sizes" or setting.help in out  # which are said in words of their own, as text
    words = [setting.name for setting in recipes.settings(nst.Recipe) if setting.words]
    assert words
    assert not any(f"--{name.replace('_', '-')} " in out for name in words)


@pytest.mark.parametrize("columns", [40, 120])
@pytest.mark.parametrize("command", ["chapter", "render", "sweep", "compare", "reconstruct"])
def test_the_help_can_be_shown_at_any_width(capfd, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))  # argparse breaks lines by the brackets in them
    assert "--content" in help_of(capfd, command, "--help-all")


# -- the short help ---------------------------------------------------------------------------------------------------

COMMANDS = list(EXAMPLES)


def test_the_short_help_of_render_fits_a_screen(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = help_of(capfd, "render", "--help")
    assert out.startswith("usage: gluon-nst render [options] ")
    assert out.splitlines()[0].endswith("CONTENT STYLE [STYLE ...]")
    assert "By default, it uses the recipe fine and a longest side of 512 pixels." in " ".join(out.split())
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", out, re.MULTILINE)
    assert len(options) < 18
    assert len(out.splitlines()) < 50
    assert {"--longest-side", "--recipe", "--style-weight", "--output", "--checkpoint", "--help-all"} <= set(options)
    assert "--gram-divisor" not in out
    assert out.splitlines()[-1] == "gluon-nst render --help-all shows all options, in groups."


@pytest.mark.parametrize("command", ["render", "chapter", "sweep", "compare", "reconstruct", "batch"])
def test_the_short_help_shows_the_everyday_settings_and_the_full_help_all(capfd, command):
    short, full = (
        set(re.findall(r"^  (--[a-z0-9-]+)", help_of(capfd, command, option), re.MULTILINE))
        for option in ("--help", "--help-all")
    )
    settings = {f"--{each.name.replace('_', '-')}": each for each in SETTINGS.values()}
    assert {name for name in short if name in settings} == {
        name for name in full if name in settings and settings[name].everyday
    }
    assert short < full


def test_the_defaults_in_the_help_are_those_of_the_commands_recipe(capfd):
    defaults = {
        command: re.findall(r"--style-weight NUMBER\s.*?\(default:\s+(\S+)\)", help_of(capfd, command, "--help"), re.S)
        for command in ("render", "chapter", "sweep", "reconstruct", "batch")
    }
    recipe = {"chapter": recipes.CHAPTER, "sweep": recipes.CHAPTER}
    assert defaults.pop("reconstruct") == []  # it has none
    for command, found in defaults.items():
        assert found == [f"{recipes.read(recipe.get(command, recipes.DEFAULT)).style_weight:g}"]
    compared = help_of(capfd, "compare", "--help")
    assert re.search(r"--style-weight NUMBER +weight of the style loss\n", compared)  # each recipe has its own


@pytest.mark.parametrize("name", SETTINGS)
def test_a_default_in_the_help_is_what_can_be_typed(name):
    setting, recipe = SETTINGS[name], recipes.read("fine")
    text = default_text(setting, recipe)
    if text:
        options = {each.destination: each for each in all_options()}
        value = options[name].parse(text)
        job = nst.Job("a.png", "b.png", recipe="fine", **{name: value})
        default = value_of(nst.Job("a.png", "b.png", "fine"), name)
        is_rounded = name == "size_factor"  # whose root of 2 is shown with six digits
        assert value_of(job, name) == (pytest.approx(default, rel=1e-5) if is_rounded else default)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_command_are_in_its_help_and_are_commands(capfd, command):
    out = help_of(capfd, command, "--help")
    assert 1 <= len(EXAMPLES[command]) <= 2
    for example in EXAMPLES[command]:
        assert f"\n  {example}\n" in out
        in_shell = re.fullmatch(r'eval "\$\((.*)\)"', example)
        program, *words = shlex.split(in_shell[1] if in_shell else example.partition(" > ")[0])
        assert program == "gluon-nst"
        assert build_parser().parse_args(words).command == command


def test_what_is_not_given_is_left_to_transfer():
    arguments = build_parser().parse_args(["render", "a", "b", "--output", "c.png"])
    assert given_options(arguments) == {}
    assert arguments.recipe is None
    defaults = {name: parameter.default for name, parameter in inspect.signature(nst.transfer).parameters.items()}
    assert (defaults["recipe"], defaults["seed"], defaults["weights"]) == (recipes.DEFAULT, 0, "auto")  # as --help says
    assert arguments.device == defaults["device"]


# -- in the picture ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_options_reach_the_recipe_of_the_picture(render, tmp_path):
    numbers = "--lr 0.5 --tolerance 1e-9 --content-weight 2 --style-weight 30 --tv-weight 4 --seed 7 --history-size 3"
    words = "--recipe d2l-2023 --optimizer lbfgs --precision float32 --init style --device cpu"
    assert render(*numbers.split(), *words.split())[0] == 0
    said = made(tmp_path / "out.png")
    recipe = said["recipe"]
    assert (recipe["content_weight"], recipe["style_weight"], recipe["tv_weight"]) == (2, 30, 4)
    assert recipe["init"] == "style"
    assert said["seed"] == 7
    assert recipe["history_size"] == 3
    assert (recipe["optimizer"], recipe["precision"], recipe["tolerance"]) == ("lbfgs", "float32", 1e-9)
    assert [(s["size"], s["epochs"], s["lr"], s["lr_decay"]) for s in recipe["stages"]] == [
        ([32, 48], 3, 0.5, 0.8),
        ([48, 64], 2, 0.5, 0.8),
    ]


@pytest.mark.slow
def test_layers_with_weights_reach_the_recipe_of_the_picture(render, tmp_path):
    assert render("--style-layers", "conv1_1:0.5,conv2_1", "--content-layers", "conv2_2:3")[0] == 0
    recipe = made(tmp_path / "out.png")["recipe"]
    assert recipe["style_layers"] == {"conv1_1": 0.5, "conv2_1": 1}
    assert recipe["content_layers"] == {"conv2_2": 3}


@pytest.mark.slow
def test_what_a_recipe_file_alone_could_say_before_reaches_the_recipe_of_the_picture(render, tmp_path):
    words = "--enlarge false --keep best --carry change --clip-at step --resize lanczos --pooling average"
    assert render(*words.split())[0] == 0
    recipe = made(tmp_path / "out.png")["recipe"]
    assert recipe["enlarge"] is False
    assert recipe["keep"] == "best"
    assert recipe["carry"] == "change"
    assert (recipe["clip_at"], recipe["resize"], recipe["pooling"]) == ("step", "lanczos", "average")


@pytest.mark.slow
def test_each_stage_can_have_values_of_its_own(render, tmp_path):
    assert render("--lr", "0.1,0.2", "--lr-decay", "0.5", "--lr-decay-epoch", "1,2")[0] == 0
    stages = made(tmp_path / "out.png")["recipe"]["stages"]
    assert [(s["lr"], s["lr_decay"], s["lr_decay_epoch"]) for s in stages] == [(0.1, 0.5, 1), (0.2, 0.5, 2)]


@pytest.mark.slow
def test_sizes_of_one_side_are_not_enlarged_where_that_is_said(render, tmp_path):
    assert render("--longest-side", "120", "--enlarge", "false", "--epochs", "1", small=False)[0] == 0
    assert made(tmp_path / "out.png")["sizes"] == [[60, 90]]  # the content picture's own


@pytest.mark.slow
def test_precision_auto_asks_for_the_faster_on_this_machine(render, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("gluon_nst.runs.run.choose_precision", lambda name, device: asked.append(name) or "float32")
    assert render("--precision", "auto")[0] == 0
    assert asked == ["auto"]
    assert made(tmp_path / "out.png")["recipe"]["precision"] == "float32"


# -- wrong values -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, message",
    [
        (["--sizes", "32x48,15x48", "--style-layers", "conv5_1"], "size 15x48: too small for the network"),
        (["--sizes", "32x48,"], "'32x48,' is not "),
        (["--sizes", "-32x48"], "size"),
        (["--sizes", "32xwide"], "argument --sizes: '32xwide' is not "),
        (["--sizes", "0x48"], "sizes: (0, 48) is not two positive integers"),
        (["--sizes", "30000x40000,32x48"], "size 30000x40000: needs at least "),
        (["--longest-side", "100"], "not allowed with argument --sizes"),
        (["--epochs", "0"], "epochs: 0 is not an integer of at least 1"),
        (["--epochs", "many"], "argument --epochs: 'many' is not an integer of at least 1"),
        (["--epochs", "2.5"], "argument --epochs: '2.5' is not an integer of at least 1"),
        (["--epochs", "1,2,3"], "epochs: 3 numbers for 2 sizes"),
        (["--lr", "-1"], "lr: -1.0 is not a number above 0"),
        (["--lr", "fast"], "argument --lr: 'fast' is not a number above 0"),
        (["--lr", ""], "argument --lr: '' is not a number above 0"),
        (["--style-weight", "nan"], "argument --style-weight: nan is not a number"),
        (["--tolerance", "-1"], "tolerance: -1.0 is not a number of at least 0"),
        (["--seed", "-1"], "seed: -1 is not an integer of at least 0"),
        (["--seed", "x"], "argument --seed: 'x' is not an integer of at least 0"),
        (["--optimizer", "magic"], "invalid choice: 'magic'"),
        (["--precision", "float16"], "invalid choice: 'float16'"),
        (["--enlarge", "perhaps"], "argument --enlarge: 'perhaps' is not true or false"),
        (["--content-layers", "conv9_1"], "argument --content-layers: ['conv9_1'] is not different layers of VGG-19"),
        (["--content-layers", "conv1_1,conv1_1"], "is not different layers of VGG-19"),
        (["--style-layers", ""], "argument --style-layers: [''] is not different layers"),
        (
            ["--style-layers", "conv1_1:much"],
            "argument --style-layers: 'conv1_1:much' is not different layers of VGG-19",
        ),
        (
            ["--style-layers", "conv1_1:-1"],
            "argument --style-layers: {'conv1_1': -1.0} is not different layers of VGG-19",
        ),
        (["--style-size", "big"], "argument --style-size: 'big' is not content, or a number above 0"),
        (["--style-size", "0"], "argument --style-size: 0.0 is not content, or a number above 0"),
        (["--init", ""], "init: '' is not one of content, noise, style, or a picture's path"),
        (["--init", "nowhere.png"], "nowhere.png: no such file; check the path\n"),
        (["--init", "nosie"], "nosie: no such file; check the path; did you mean noise?"),
        (["--weights", ""], "weights: '' is not one of auto, model-zoo"),
        (["--weights", "nowhere.params"], "nowhere.params"),
        (["--weights", "cafe"], "check the path; did you mean caffe?"),
        (["--weights", "n" * 300], "no such file"),
        (["--device", "tpu"], "device tpu: not auto, cpu, gpu or gpu:N"),
        (["--device", "gpu:²"], "device gpu:²: not auto"),
        (["--device", "gpu:99"], "device gpu:99: MXNet finds"),
        (["--recipe", "d2l-1066"], "recipe d2l-1066: not one of d2l-2019, d2l-2023"),
        (["--recipe", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--recipe", f"{__file__}/x.toml"], "no such file"),
        (["--losses", "/nowhere/losses.csv"], "/nowhere/losses.csv: there is no folder /nowhere"),
        (["--what"], "unrecognized arguments: --what"),
        (["--title", "Mine"], "unrecognized arguments: --title Mine"),
    ],
)
def test_a_bad_argument_is_refused(refuses, options, message):
    refuses(message, *options)


def test_a_size_of_one_number_is_refused_in_words_that_do_not_offer_it(render):
    status, _, err = render("--sizes", "48", "--epochs", "1", small=False)
    assert status == 2
    assert "'48' is not HEIGHTxWIDTH,… such as 150x225,300x450" in err


@pytest.mark.parametrize(
    "vary, message",
    [
        ("epochs=many", "epochs=many: 'many' is not an integer of at least 1"),
        ("lr=fast", "lr=fast: 'fast' is not a number above 0"),
        ("optimizer=magic", "optimizer=magic: 'magic' is not one of adam, lbfgs"),
        ("enlarge=perhaps", "enlarge=perhaps: 'perhaps' is not true or false"),
        ("style-layers=conv1_1:much", "style-layers=conv1_1:much: 'conv1_1:much' is not different layers"),
        ("style-layers=conv9_1", "style-layers=conv9_1: ['conv9_1'] is not different layers"),
        ("style-size=big", "style-size=big: 'big' is not content, or a number above 0"),
        ("sizes=32xwide", "sizes=32xwide: '32xwide' is not "),
        ("init=nowhere.png", "nowhere.png: no such file"),
        ("seed=-1", "seed=-1: -1 is not an integer of at least 0"),
        ("title=Mine", "'title=Mine' is not NAME=VALUE"),
    ],
)
def test_a_wrong_value_to_vary_is_one_line(content, style, converted, tmp_path, capfd, vary, message):
    before = names(tmp_path)
    sizes = [] if vary.startswith("sizes") else ["--sizes", "16x24"]
    options = ["--out", tmp_path / "out", "--weights", converted, *sizes]
    assert main(list(map(str, ["sweep", content, style, "--vary", vary, *options]))) == 2
    err = capfd.readouterr().err
    assert_one_line(err)
    assert message in err
    assert names(tmp_path) == before


@pytest.fixture
def refused(capfd):
    """The line that refuses a command."""

    def run(*arguments):
        status, out, err = ended(capfd, *arguments)
        assert (status, out) == (2, "")
        assert_one_line(err)
        return err

    return run


TEXTS = {"--recipe", "--device", "--scheduler", "--host", "--password"}
"""Options that take any text, which is looked at later."""


@pytest.mark.parametrize("command", ["chapter", "render", "resume", "rerun", "sweep", "compare", "batch", "lab"])
def test_a_bad_value_is_refused_under_the_name_that_its_option_was_typed_with(capfd, command):
    parser = build_parser()
    full = help_of(capfd, command, "--help-all")
    options = re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+) \S", full, re.MULTILINE)  # those that take a value
    assert options
    for option in set(options) - TEXTS:
        with pytest.raises(nst.InputError, match=f"^argument (-o/)?{option}: "):
            parser.parse_args([command, f"{option}="])


@pytest.mark.parametrize(
    "option, value", [("--longest-side", "0"), ("--style-scale", "0"), ("--epochs", "2,0"), ("--max-pixels", "0")]
)
def test_a_value_out_of_range_is_refused_under_its_options_name(refuses, option, value):
    small = option != "--longest-side"  # which goes with no --sizes
    refuses(f"argument {option}: 0", option, value, small=small)


@pytest.mark.slow
def test_an_option_without_effect_is_reported_once(render, tmp_path):
    options = ["--optimizer", "lbfgs", "--lr", "0.1", "--style-scale", "0.01", "--quality", "5", *SHALLOW, "--quiet"]
    status, _, err = render(*options, "--style-layers", "conv3_1", "--style-weights", "2")
    assert status == 0
    assert err.splitlines() == [
        "warning: --style-weights has no effect on one style",
        "warning: lr has no effect without optimizer adam",
        "warning: quality has no effect on a PNG, which is lossless",
        "warning: a style size of 0.01 is too small for the network, whose layer conv3_1 needs 4 pixels:"
        " the style picture is enlarged to 5 × 4",
    ]
    assert render("--quality", "5", *SHALLOW, "--quiet", output=tmp_path / "out.jpg")[::2] == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sweep", "chapter", "batch"])
def test_a_quality_is_warned_of_where_a_command_writes_png_alone(
    experiment, chapter, content, style, tmp_path, capfd, command
):
    if command == "sweep":
        _, _, err = experiment("sweep", "--vary", "lr=0.1", "--quality", "5", *SHALLOW)
    elif command == "chapter":
        _, _, err = chapter("--quality", "5", *SHALLOW)
    else:
        _, _, err = ended(
            capfd, "batch", content, style, "--quality", "5", "--out", tmp_path / "out", "--weights", "no"
        )
    assert err.count("warning: quality has no effect on a PNG, which is lossless\n") == 1


# -- the output -------------------------------------------------------------------------------------------------------

WITH_OUTPUT = {
    "demo": "",
    "chapter": "",
    "notebook": "",
    "lab": "",
    "kit": "",
    **dict.fromkeys(["render", "compare", "batch"], "a b"),
    "sweep": "a b --vary seed=1",
    "reconstruct": "content a",
    **dict.fromkeys(["resume", "rerun"], "a"),
}
"""The commands with an output, and their other arguments."""


@pytest.mark.parametrize("command", WITH_OUTPUT)
def test_the_output_of_each_command_has_the_same_spellings(capfd, command):
    def output(*arguments):
        return vars(build_parser().parse_args([command, *WITH_OUTPUT[command].split(), *arguments]))

    found = [
        output(*each.split()) for each in ("-o x", "-ox", "-o=x", "--output x", "--output=x", "--out x", "--dir=x")
    ]
    assert found == [found[0]] * len(found)
    assert Path("x") in found[0].values()
    out = help_of(capfd, command, "--help-all")
    assert "  -o, --output " in out
    assert not re.search(r"--(out|dir)\b", out)


@pytest.mark.slow
def test_the_commands_with_an_output_are_all_of_those():
    with_output = set()
    for command in EXAMPLES:
        with contextlib.suppress(nst.InputError):
            build_parser().parse_args([command, *WITH_OUTPUT.get(command, "").split(), "-o", "x"])
            with_output.add(command)
    assert with_output == set(WITH_OUTPUT)


# -- misspelt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, message",
    [
        (
            "render a b --ouput c.png",
            "unrecognized arguments: --ouput c.png; did you mean --output? See gluon-nst render ",
        ),
        ("render a b --output c --longest-sid 9", "--longest-sid 9; did you mean --longest-side? See gluon-nst render"),
        ("render a b --output c --style_weight=9", "--style_weight=9; did you mean --style-weight? See"),
        ("render a b --output c --opt adam", "--opt adam; did you mean --optimizer? See"),  # never guessed
        ("render a b --output c --optimizer adan", "invalid choice: 'adan'"),
        ("render a b --output c --optimizer adan", "did you mean adam? See"),
        ("render a b --output c --style-layers conv1_1,rleu3_1", "did you mean relu3_1? See gluon-nst render --help"),
        ("render a b --output c --recipe fien", "not one of d2l-2019, "),
        ("render a b --output c --recipe fien", "did you mean fine?"),
        ("resume a --style-wieght 3", "did you mean --style-weight? See gluon-nst resume --help"),
        ("rendr a b", "did you mean render? See gluon-nst --help"),
        ("weights fecth caffe", "did you mean fetch? See gluon-nst weights --help"),
        ("weights fetch cafe", "did you mean caffe? See gluon-nst weights fetch --help"),
        ("notebook exercise", "did you mean exercises?"),
        ("recipes fsat", "did you mean fast?"),
        ("sweep a b --vary styl-weight=1", "did you mean style-weight?"),
        ("sweep a b --vary optimizer=lbgfs", "optimizer=lbgfs: 'lbgfs' is not one of adam, lbfgs; did you mean lbfgs?"),
        ("rerun a --ouput c.png", "unrecognized arguments: --ouput; did you mean --output? See gluon-nst rerun --help"),
        ("rerun a", "the following arguments are required: -o/--output; see gluon-nst rerun --help"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion_and_the_help_of_its_command(refused, command, message):
    assert message in refused(*command.split())


def test_a_word_that_is_like_none_gets_no_suggestion(refused):
    assert "did you mean" not in refused("render", "a", "b", "--output", "c", "--what")


# -- URLs -------------------------------------------------------------------------------------------------------------

URL = "https://example.com/a%20b.png"


@pytest.mark.parametrize(
    "options",
    [
        {"content": URL},
        {"style": URL},
        {"output": URL},
        *(["--mask", URL], ["--init", URL], ["--weights", URL], ["--recipe", URL], ["--losses", URL]),
        *(["--recipe", "FILE"], ["--regions", URL, "--style-regions", "c.png"], ["--style-regions", URL]),
    ],
)
def test_a_url_is_refused_as_it_was_typed(refuses, tmp_path, options):
    recipe = tmp_path / "my.toml"
    recipe.write_text(f'extends = "d2l-2019"\ninit = "{URL}"\n')
    named, others = (options, []) if isinstance(options, dict) else ({}, options)
    others = [recipe if each == "FILE" else each for each in others]
    refuses(f"{URL}: URLs are not supported; download it, and name the file", *others, **named)


# -- names of before --------------------------------------------------------------------------------------------------

RENAMED = {
    "activations": "activation_scale",
    "bounds": "clip_at",
    "corrections": "history_size",
    "pixels": "pixel_unit",
}


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_in_a_recipe_gets_one_line_with_the_new_name(refuses, tmp_path, old):
    recipe, new = tmp_path / "my.toml", RENAMED[old]
    recipe.write_text(f'extends = "d2l-2019"\n{old} = 5\n')
    refuses(f"error: {recipe}: {old}: was renamed to {new}; write {new} = …\n", "--recipe", recipe)


def test_an_old_name_in_a_recipe_that_another_extends_gets_that_line_too(refuses, tmp_path):
    (tmp_path / "base.toml").write_text("corrections = 5\n")
    (tmp_path / "my.toml").write_text('extends = "base.toml"\n')
    refuses("base.toml: corrections: was renamed to history_size", "--recipe", tmp_path / "my.toml")


@pytest.mark.parametrize("option", ["--corrections=5", "--pixels=unit", "--content-layer-weights=1"])
def test_an_old_name_is_no_option(refuses, option):
    refuses(f"unrecognized arguments: {option}", option)


def test_a_plus_in_an_exponent_is_no_comma():
    arguments = build_parser().parse_args(["sweep", "a", "b", "--vary", "lr=1e+1,1e-1+2e+0", "--vary", "seed=1"])
    assert arguments.vary[0] == ("lr", {"1e+1": [10.0], "1e-1+2e+0": [0.1, 2.0]})


def test_a_layer_that_is_named_twice_is_refused(refuses):
    for layers in ("conv1_1,conv1_1", "conv1_1:1,conv1_1:2"):
        refuses("is not different layers of VGG-19", "--style-layers", layers)


def test_a_side_of_one_pixel_is_refused(refuses):
    refuses("size 1x48: too small", "--sizes", "1x48", "--epochs", "1", *SHALLOW, small=False)


@pytest.mark.slow
def test_a_picture_of_more_pixels_than_are_allowed_is_refused_and_the_limit_can_be_raised(render, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    status, _, err = render()
    assert status == 2
    assert "more pixels than the limit of 1000; scale it down first, or raise the limit with --max-pixels" in err
    assert render("--max-pixels", "1000000")[0] == 0
    assert render("--max-pixels", "5399")[0] == 2
    assert render("--max-pixels", "0")[0] == 2
    assert PIL.Image.MAX_IMAGE_PIXELS == 1000
