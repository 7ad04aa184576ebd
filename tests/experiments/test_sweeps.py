"""The command sweep: its trials, which of them are kept or repeated, and invalid arguments."""

from gluon_nst import recipes
from gluon_nst.cli import main
from gluon_nst.cli.parser import build_parser

import pytest
from PIL import Image

from commands import assert_one_line, made, names


@pytest.mark.slow
def test_a_sweep_writes_the_picture_and_the_losses_of_every_trial(experiment, started, tmp_path):
    status, out, err = experiment("sweep", "--vary", "style-weight=1e1,1e5")
    assert status == 0
    assert err == ""
    cells = ["style-weight=1e1", "style-weight=1e5"]
    assert names(tmp_path / "out") == ["sheet.png", *(f"{name}{end}" for name in cells for end in (".csv", ".png"))]
    assert [recipe.style_weight for recipe in started] == [10, 1e5]
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == cells
    assert "2 of 2 pictures" in out
    assert made(tmp_path / "out/style-weight=1e5.png")["recipe"]["style_weight"] == 1e5
    assert Image.open(tmp_path / "out/style-weight=1e5.png").size == (48, 32)
    assert len((tmp_path / "out/style-weight=1e5.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_plus_stands_for_a_comma_inside_a_value(experiment, started):
    status, *_ = experiment("sweep", "--vary", "style-layers=conv1_1,conv1_1:0.5+conv2_1", layers=())
    assert status == 0
    assert [recipe.style_layers for recipe in started] == [{0: 1}, {0: 0.5, 5: 1}]


@pytest.mark.parametrize(
    "name, value, field",
    [
        ("recipe", "d2l-2023", "style_weight"),
        ("content-layer", "conv2_1", "content_layers"),  # the singular, for one layer
        ("longest-side", "40", "stages"),
    ],
)
def test_options_that_set_several_fields_can_be_varied_too(name, value, field):
    ((option, values),) = build_parser().parse_args(["sweep", "a", "b", "--vary", f"{name}={value}"]).vary
    recipe = recipes.customise(**{"recipe": "d2l-2019", option: values[value]})
    assert getattr(recipe, field) != getattr(recipes.read("d2l-2019"), field)


# -- repeated calls ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_trial_is_not_repeated(experiment, started, tmp_path):
    experiment("sweep", "--vary", "style-weight=1e1,1e5")
    before = (tmp_path / "out/style-weight=1e1.png").stat().st_mtime_ns
    status, out, _ = experiment("sweep", "--vary", "style-weight=1e1,1e3")
    assert status == 0
    assert [recipe.style_weight for recipe in started] == [10, 1e5, 1e3]
    assert out.startswith("style-weight=1e1: kept from before")
    assert (tmp_path / "out/style-weight=1e1.png").stat().st_mtime_ns == before


def delete_the_losses(cell, style, start):
    cell.with_suffix(".csv").unlink()


def truncate_the_picture(cell, style, start):
    cell.write_bytes(cell.read_bytes()[:-40])


def change_the_style(cell, style, start):
    Image.new("RGB", (40, 40), "red").save(style)


def change_the_start(cell, style, start):
    Image.new("RGB", (48, 32), "blue").save(start)


def change_nothing(cell, style, start):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, options, runs",
    [
        (change_nothing, [], 1),
        (delete_the_losses, [], 2),
        (truncate_the_picture, [], 2),
        (change_the_style, [], 2),
        (change_the_start, [], 2),
        (change_nothing, ["--seed", "3"], 2),
        (change_nothing, ["--lr", "0.02"], 2),
        (change_nothing, ["--style-layers", "conv1_1:0.5,conv2_1"], 2),
    ],
)
def test_an_incomplete_or_outdated_trial_is_repeated(experiment, started, tmp_path, style, change, options, runs):
    start = tmp_path / "start.png"
    Image.new("RGB", (48, 32), "red").save(start)
    given = ["sweep", "--vary", "tv-weight=1", "--init", start]
    experiment(*given)
    change(tmp_path / "out/tv-weight=1.png", style, start)
    assert experiment(*given, *options)[0] == 0
    assert len(started) == runs


@pytest.mark.slow
def test_a_trial_is_kept_if_only_the_title_of_its_recipe_changes(experiment, started, tmp_path):
    recipe = tmp_path / "my.toml"
    for title in ("One", "Another"):
        recipe.write_text(f'extends = "d2l-2019"\ntitle = "{title}"\nreport_every = {len(title)}\n')
        assert experiment("compare", "--recipes", recipe)[0] == 0
    assert len(started) == 1


# -- failed trials ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failed_trial_is_reported_once_and_the_others_continue(experiment, tmp_path):
    memory = "memory=1e-6MB,8GB"  # too little for any run, and enough
    vary = ["--vary", "lr=1e30,0.01", "--vary", memory]
    status, out, err = experiment("sweep", *vary, "--figure", tmp_path / "sheet.svg")
    assert status == 1
    *first, last = err.splitlines()
    assert [line.partition(": size")[0] for line in first] == [
        f"error: lr={lr},memory=1e-6MB" for lr in ("1e30", "0.01")
    ]
    assert last.startswith("error: lr=1e30,memory=8GB: stage 1, epoch 1: the loss is")
    assert "1 of 4 pictures" in out
    assert "error" not in out
    assert (tmp_path / "sheet.svg").is_file()
    assert names(tmp_path / "out") == ["lr=0.01,memory=8GB.csv", "lr=0.01,memory=8GB.png"]


@pytest.mark.slow
def test_a_trial_whose_second_stage_diverges_leaves_no_files(experiment, tmp_path):
    two = ["--sizes", "16x24,16x24", "--epochs", "2"]
    status, out, err = experiment("sweep", "--vary", "lr=0.01+1e30,0.01", *two)
    assert status == 1
    assert "1 of 2 pictures" in out
    assert err.startswith("error: lr=0.01+1e30: stage 2, epoch 1: the loss is")
    assert err.count("\n") == 1
    assert names(tmp_path / "out") == ["lr=0.01.csv", "lr=0.01.png", "sheet.png"]


def test_a_sweep_of_invalid_trials_runs_nothing(experiment, tmp_path):
    before = names(tmp_path)
    status, out, err = experiment("sweep", "--vary", "lr=-1,-2")
    assert (status, out) == (2, "")
    assert "lr=-1: -1.0 is not a number above 0" in err
    assert names(tmp_path) == before


@pytest.mark.slow
def test_an_incomplete_sheet_does_not_replace_a_complete_one(experiment, tmp_path):
    sheet = tmp_path / "out/sheet.png"
    assert experiment("sweep", "--vary", "lr=0.1,0.2")[0] == 0
    whole = sheet.read_bytes()
    assert experiment("sweep", "--vary", "lr=0.1,1e30")[0] == 1
    assert sheet.read_bytes() == whole
    assert (tmp_path / "out/sheet-interrupted.png").exists()


@pytest.mark.slow
def test_a_sheet_replaces_one_with_more_failed_trials(experiment, tmp_path):
    assert experiment("sweep", "--vary", "lr=0.1,1e30,1e31")[0] == 1
    assert experiment("sweep", "--vary", "lr=0.1,0.2,1e31")[0] == 1
    assert "sheet-interrupted.png" not in names(tmp_path / "out")


# -- invalid arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        (["--vary", "colour=red"], "'colour=red' is not NAME=VALUE,… where NAME is one of recipe, sizes"),
        (["--vary", "lr"], "'lr' is not NAME=VALUE"),
        (["--vary", "lr="], "'lr=' is not NAME=VALUE"),
        (["--vary", "lr=1,1"], "has 1 twice"),
        (["--vary", "lr=1", "--vary", "lr=2"], "--vary lr: given twice"),
        (["--vary", "lr=1", "--vary", "seed=1", "--vary", "tv-weight=1"], "3 options; vary one or two at once"),
        (["--vary", "lr=1", "--lr", "2"], "lr: both varied and given"),
        (["--vary", "lr=1", "--figure", "sheet.bmp"], "sheet.bmp: the name must end with .png or .svg or .pdf"),
        ([], "the following arguments are required: --vary"),
    ],
)
def test_the_error_of_an_invalid_sweep_is_one_line(experiment, tmp_path, options, message):
    before = names(tmp_path)
    status, out, err = experiment("sweep", *options)
    assert status == 2
    assert out == ""
    assert message in err
    assert names(tmp_path) == before
    assert_one_line(err)


def test_an_experiment_does_not_overwrite_its_inputs(content, style, weights_file, tmp_path, capfd):
    content.rename(tmp_path / "lr=1.png")
    options = ["--vary", "lr=1", "--out", tmp_path, "--weights", weights_file]
    assert main(list(map(str, ["sweep", tmp_path / "lr=1.png", style, *options]))) == 2
    assert "is one of the run's inputs" in capfd.readouterr().err


def test_a_figure_does_not_overwrite_the_start_of_a_run(experiment, content, tmp_path):
    (tmp_path / "out").mkdir()
    taken = tmp_path / "out" / "init=start.png.png"
    Image.open(content).save(taken)
    recipe = tmp_path / "my.toml"
    recipe.write_text(f'extends = "d2l-2019"\ninit = "{taken}"\n')
    before = taken.read_bytes()
    status, _, err = experiment("sweep", "--recipe", recipe, "--vary", "lr=0.1", "--figure", taken)
    assert status == 2
    assert "is one of the run's inputs" in err
    assert taken.read_bytes() == before
