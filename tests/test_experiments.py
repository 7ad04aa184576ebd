import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import gluon_nst as nst
from gluon_nst import apart, cli, experiments, job, weights
from gluon_nst import recipe as recipes

import pytest
from PIL import Image

SMALL = ["--sizes", "32x48", "--epochs", "3", "--quiet"]


@pytest.fixture
def command(content, style, weights_file, tmp_path, capfd):
    """Run one of the commands that make a sheet; gives the status, standard output and standard error."""
    weights.find(str(weights_file))  # so that its conversion is not told of in the test

    def run(name, *options):
        given = [content, style] if name != "reconstruct" else []
        capfd.readouterr()
        arguments = [name, *given, *options, "--out", tmp_path / "out", "--weights", weights_file, *SMALL]
        return (cli.main(list(map(str, arguments))), *capfd.readouterr())

    return run


@pytest.fixture
def started(monkeypatch):
    """The recipes of the runs that were started, as they start."""
    started, start = [], job.Run.start

    def spy(self, *arguments, **options):
        started.append(self.recipe)
        return start(self, *arguments, **options)

    monkeypatch.setattr(job.Run, "start", spy)
    monkeypatch.setattr(apart, "start", spy)  # what would have a process of its own runs here as well
    return started


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


# -- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_keeps_the_picture_and_the_losses_of_every_cell(command, started, tmp_path):
    status, out, err = command("sweep", "--vary", "style-weight=1e1,1e5")
    assert status == 0 and err == ""
    names = ["style-weight=1e1", "style-weight=1e5"]
    assert files(tmp_path / "out") == ["sheet.png", *(f"{name}{end}" for name in names for end in (".csv", ".png"))]
    assert [recipe.style_weight for recipe in started] == [10, 1e5]
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == names and "2 of 2 pictures" in out
    with Image.open(tmp_path / "out/style-weight=1e5.png") as picture:
        assert json.loads(picture.text["gluon-nst"])["recipe"]["style_weight"] == 1e5 and picture.size == (48, 32)
    assert len((tmp_path / "out/style-weight=1e5.csv").read_text().splitlines()) == 4


def test_two_things_varied_make_a_grid(content, style):
    vary = {
        "style_weight": {"1e1": 10.0, "1e3": 1e3},
        "content_layers": {"conv2_2": ["conv2_2"], "conv4_2": ["conv4_2"]},
    }
    experiment = experiments.sweep(content, style, vary)
    assert [[trial.options for trial in row] for row in experiment.rows] == [
        [{"style_weight": 10, "content_layers": ["conv2_2"]}, {"style_weight": 1e3, "content_layers": ["conv2_2"]}],
        [{"style_weight": 10, "content_layers": ["conv4_2"]}, {"style_weight": 1e3, "content_layers": ["conv4_2"]}],
    ]
    picture = Image.new("RGB", (48, 32))
    axes = experiment.sheet([experiments.Outcome(trial, picture) for trial in experiment.trials]).axes
    assert [a.get_title() for a in axes] == ["content", "style weight 1e1", "style weight 1e3", "style", "", ""]
    assert [a.get_ylabel() for a in axes] == ["", "content layers conv2_2", "", "", "content layers conv4_2", ""]


def test_a_plus_stands_for_a_comma_inside_a_value(command, started):
    status, *_ = command("sweep", "--vary", "style-layers=conv1_1,conv1_1+conv2_1")
    assert status == 0 and [recipe.style_layers for recipe in started] == [(0,), (0, 5)]


@pytest.mark.parametrize("name, value, field", [
    ("init", "noise", "init"), ("optimizer", "lbfgs", "optimizer"), ("recipe", "d2l-2023", "style_weight"),
    ("content-layer", "conv2_1", "content_layers"), ("style-size", "0.8", "style_size"), ("longest-side", "40", "stages"),
])  # fmt: skip
def test_any_option_can_be_varied(content, style, name, value, field):
    arguments = cli.build_parser().parse_args(["sweep", "a", "b", "--vary", f"{name}={value}"])
    ((option, values),) = arguments.vary
    recipe = nst.recipe.customise(**{"recipe": "d2l-2019", option: values[value]})
    assert getattr(recipe, field) != getattr(nst.recipe.read("d2l-2019"), field)


def test_a_finished_cell_is_not_run_again(command, started, tmp_path):
    command("sweep", "--vary", "style-weight=1e1,1e5")
    before = (tmp_path / "out/style-weight=1e1.png").stat().st_mtime_ns
    status, out, _ = command("sweep", "--vary", "style-weight=1e1,1e3")
    assert status == 0 and [recipe.style_weight for recipe in started] == [10, 1e5, 1e3]
    assert out.startswith("style-weight=1e1: kept from before")
    assert (tmp_path / "out/style-weight=1e1.png").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    ["losses gone", "half a picture", "another style", "another seed", "another learning rate", "another start"],
)
def test_a_cell_that_is_not_what_would_be_made_is_run_again(command, started, tmp_path, style, change):
    start = tmp_path / "start.png"
    Image.new("RGB", (48, 32), "red").save(start)
    options = ["--init", start] if change == "another start" else []
    command("sweep", "--vary", "tv-weight=1", *options)
    cell = tmp_path / "out/tv-weight=1.png"
    if change == "losses gone":
        cell.with_suffix(".csv").unlink()
    elif change == "half a picture":
        cell.write_bytes(cell.read_bytes()[:-40])
    elif change == "another style":
        Image.new("RGB", (40, 40), "red").save(style)
    elif change == "another start":
        Image.new("RGB", (48, 32), "blue").save(start)
    else:
        options = {"another seed": ["--seed", 3], "another learning rate": ["--lr", 0.02]}[change]
    assert command("sweep", "--vary", "tv-weight=1", *options)[0] == 0 and len(started) == 2


def test_a_cell_is_kept_where_only_its_recipes_words_have_changed(command, started, tmp_path):
    recipe = tmp_path / "my.toml"
    for title in ("One", "Another"):
        recipe.write_text(f'extends = "d2l-2019"\ntitle = "{title}"\nreport_every = {len(title)}\n')
        assert command("compare", "--recipes", recipe)[0] == 0
    assert len(started) == 1


def test_a_cell_with_a_long_name_has_files_with_a_short_one(content, style):
    layers = ["conv1_1+" * count + "conv2_1" for count in (40, 41)]
    experiment = experiments.sweep(content, style, {"style_layers": {name: ["conv1_1"] for name in layers}})
    names = [trial.file_name for trial in experiment.trials]
    assert len(set(names)) == 2 and all(len(name) < 120 for name in names)


def test_values_to_vary_can_be_a_list(content, style):
    experiment = experiments.sweep(content, style, {"style_weight": [1, 2.5]})
    assert [trial.name for trial in experiment.trials] == ["style-weight=1", "style-weight=2.5"]
    for vary, message in (
        ({"colour": [1]}, "vary: colour: not one of recipe, sizes"),
        ({}, "0 things"),
        ({"lr": []}, "lr: at least one"),
    ):
        with pytest.raises(nst.InputError, match=message):
            experiments.sweep(content, style, vary)


def test_a_bad_cell_is_marked_and_told_at_the_end(command, tmp_path):
    status, out, err = command("sweep", "--vary", "lr=1e30,-1,0.01", "--figure", tmp_path / "sheet.svg")
    assert status == 1
    lines = err.splitlines()
    assert lines[0] == "lr=-1: can't be run, lr: -1.0 is not a number above 0; the others go on"
    assert lines[1].startswith("error: lr=1e30: stage 1, epoch 1: the loss is") and lines[2].startswith(
        "error: lr=-1: lr: -1.0"
    )
    assert len(lines) == 3 and "1 of 3 pictures" in out
    assert files(tmp_path / "out") == ["lr=0.01.csv", "lr=0.01.png"] and (tmp_path / "sheet.svg").is_file()


def test_a_sheet_marks_what_failed_and_what_was_not_run(content, style):
    experiment = experiments.sweep(content, style, {"lr": {"1": 1.0, "2": 2.0}})
    first, second = experiment.trials
    outcomes = [
        experiments.Outcome(first, None, "too hot", failed=True),
        experiments.Outcome(second, None, "not run yet"),
    ]
    axes = experiment.sheet(outcomes).axes
    assert [text.get_text() for a in axes for text in a.texts] == ["failed: too hot", "not run yet"]


def test_where_every_cell_is_bad_nothing_is_begun(command, tmp_path):
    before = files(tmp_path)
    status, out, err = command("sweep", "--vary", "lr=-1,-2")
    assert (status, out) == (2, "") and err == "error: lr: -1.0 is not a number above 0\n" and files(tmp_path) == before


@pytest.mark.parametrize(
    "options, message",
    [
        (["--vary", "colour=red"], "'colour=red' is not NAME=VALUE,… where NAME is one of recipe, sizes"),
        (["--vary", "lr"], "'lr' is not NAME=VALUE"),
        (["--vary", "lr="], "'lr=' is not NAME=VALUE"),
        (["--vary", "lr=fast"], "lr=fast: not a number"),
        (["--vary", "sizes=32"], "'32' is not HEIGHTxWIDTH"),
        (["--vary", "lr=1,1"], "has 1 twice"),
        (["--vary", "lr=1", "--vary", "lr=2"], "--vary lr: given twice"),
        (["--vary", "lr=1", "--vary", "seed=1", "--vary", "tv-weight=1"], "3 things; one or two can be varied at once"),
        (["--vary", "lr=1", "--lr", "2"], "lr: both varied and given"),
        (["--vary", "lr=1", "--figure", "sheet.bmp"], "sheet.bmp: the name must end with .png or .svg or .pdf"),
        ([], "the following arguments are required: --vary"),
    ],
)
def test_a_bad_sweep_is_one_line(command, tmp_path, options, message):
    before = files(tmp_path)
    status, out, err = command("sweep", *options)
    assert status == 2 and out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1
    assert files(tmp_path) == before


def test_an_experiment_does_not_overwrite_its_inputs(content, style, weights_file, tmp_path, capfd):
    Path(content).rename(tmp_path / "lr=1.png")
    arguments = [
        "sweep",
        tmp_path / "lr=1.png",
        style,
        "--vary",
        "lr=1",
        "--out",
        tmp_path,
        "--weights",
        weights_file,
        *SMALL,
    ]
    assert cli.main(list(map(str, arguments))) == 2
    assert "is one of the run's inputs" in capfd.readouterr().err


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_an_interrupt_keeps_what_is_finished_and_says_how_to_go_on(command, started, tmp_path, monkeypatch):
    train, calls = job.train, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", stop)
        status, _, err = command("sweep", "--vary", "lr=0.1,0.2,0.3")
    folder = tmp_path / "out"
    assert status == 130
    assert err == f"interrupted: 1 of 3 are done and kept in {folder}; the same command goes on from there\n"
    assert files(folder) == ["lr=0.1.csv", "lr=0.1.png", "sheet.png"]
    status, out, err = command("sweep", "--vary", "lr=0.1,0.2,0.3")
    assert status == 0 and err == "" and "3 of 3 pictures" in out
    assert [recipe.stages[0].lr for recipe in started] == [0.1, 0.2, 0.2, 0.3]


@pytest.mark.parametrize("name", ["sweep", "compare", "reconstruct"])
def test_each_command_can_be_stopped_with_ctrl_c(content, style, weights_file, tmp_path, name):
    given = {
        "sweep": ["sweep", content, style, "--vary", "epochs=2,100000"],
        "compare": ["compare", content, style, "--recipes", "one.toml,two.toml"],
        "reconstruct": ["reconstruct", "content", content, "--layers", "conv1_1,conv5_1", "--epochs", "400"],
    }[name]
    for recipe, count in (("one", 2), ("two", 100000)):
        (tmp_path / f"{recipe}.toml").write_text(
            f'extends = "d2l-2019"\n[[stages]]\nsize = [32, 48]\nepochs = {count}\n'
        )
    size = [] if name == "compare" else ["--sizes", "32x48" if name == "sweep" else "64x96"]
    run = subprocess.Popen(
        [sys.executable, "-m", "gluon_nst", *map(str, given), *size, "--out", "out", "--weights", str(weights_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not list((tmp_path / "out").glob("*.png")):  # the first is done
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and b"Traceback" not in err
    assert b"interrupted: 1 of 2 are done and kept in out; the same command goes on from there" in err
    assert len(files(tmp_path / "out")) == 3 and "sheet.png" in files(tmp_path / "out")


def test_an_interrupt_while_the_sheet_is_drawn_keeps_the_cells(command, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gluon_nst.figures.save", stop)
        status, _, err = command("sweep", "--vary", "lr=0.1")
    assert (status, err) == (130, f"interrupted: what is in {tmp_path / 'out'} is whole, the rest is not written\n")
    assert files(tmp_path / "out") == ["lr=0.1.csv", "lr=0.1.png"]


# -- memory -----------------------------------------------------------------------------------------------------------


def test_runs_of_several_sizes_have_processes_of_their_own_and_give_the_same(content, style, weights_file, tmp_path):
    options = {"epochs": 3, "weights": str(weights_file)}
    experiment = experiments.sweep(content, style, {"sizes": {"32": [(32, 48)], "48": [(48, 64)]}}, **options)
    seen, inside = [], []
    outcomes = experiment.run(tmp_path / "out", report=lambda epoch: seen.append((epoch.stage, epoch.epoch)))
    assert seen == [(1, 0), (1, 1), (1, 2)] * 2 and not any(outcome.failed for outcome in outcomes)
    for trial, outcome in zip(experiment.trials, outcomes):
        inside.append(nst.transfer(content, style, **options, **trial.options).image.tobytes())
        assert outcome.picture.tobytes() == inside[-1]


def test_runs_of_one_size_stay_in_this_process(command, monkeypatch):
    monkeypatch.setattr(apart, "start", lambda *_: pytest.fail("another process"))
    assert command("sweep", "--vary", "lr=0.1,0.2")[0] == 0


def test_an_error_in_another_process_is_the_same_line(command):
    status, _, err = command("sweep", "--vary", "style-size=0.5,1", "--lr", "1e30")
    assert status == 1 and err.count("error: style-size") == 2 and "stage 1, epoch 1: the loss is" in err


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started for runs."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(apart.subprocess, "Popen", Popen)
    return started


def test_a_process_that_is_ended_is_told_of(content, style, weights_file, processes):
    run = job.prepare(content, style, sizes=[(32, 48)], epochs=10**6, weights=str(weights_file))
    with pytest.raises(nst.NSTError, match="the process of this run ended by signal 9; was there memory enough"):
        apart.start(run, lambda _: processes[0].kill())


def test_a_run_that_is_stopped_ends_its_process(content, style, weights_file, processes):
    run = job.prepare(content, style, sizes=[(32, 48)], epochs=10**6, weights=str(weights_file))

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apart.start(run, stop)
    assert processes[0].poll() == -signal.SIGKILL


def test_the_pictures_are_held_once_for_all_runs(content, style, weights_file):
    experiment = experiments.sweep(content, style, {"lr": [0.1, 0.2, 0.3]}, weights=str(weights_file))
    first, *others = experiment.prepare().values()
    assert all(run.content is first.content is run.start_picture and run.style is first.style for run in others)


def test_a_sheet_with_holes_leaves_a_whole_one_where_it_is(command, tmp_path):
    sheet = tmp_path / "out/sheet.png"
    assert command("sweep", "--vary", "lr=0.1,0.2")[0] == 0
    whole = sheet.read_bytes()
    assert command("sweep", "--vary", "lr=0.1,1e30")[0] == 1
    assert sheet.read_bytes() == whole and (tmp_path / "out/sheet-interrupted.png").exists()


def test_a_sheet_takes_the_place_of_one_with_more_holes(command, tmp_path):
    assert command("sweep", "--vary", "lr=0.1,1e30,1e31")[0] == 1
    assert command("sweep", "--vary", "lr=0.1,0.2,1e31")[0] == 1
    assert "sheet-interrupted.png" not in files(tmp_path / "out")


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_compare_runs_the_published_recipes_on_the_same_pictures(command, started, tmp_path):
    status, out, _ = command("compare")
    assert status == 0 and "5 of 5 pictures" in out
    assert [recipe.content_layers for recipe in started] == [(25,), (22,), (7,), (31,), (22,)]
    assert {recipe.stages[0].size for recipe in started} == {(32, 48)}
    assert files(tmp_path / "out") == sorted(
        ["sheet.png", *(f"{name}{end}" for name in recipes.PUBLISHED for end in (".csv", ".png"))]
    )


def test_compare_takes_the_recipes_it_is_told_and_marks_what_is_none(command, started, tmp_path):
    status, _, err = command("compare", "--recipes", "d2l-2023,d2l-1066")
    assert status == 1 and [recipe.style_weight for recipe in started] == [1e4]
    assert "error: d2l-1066: recipe d2l-1066: not one of d2l-2019" in err
    assert "give each value once" in command("compare", "--recipes", "fast,fast")[2]
    status, out, err = command("compare", "--recipes", "fast,")
    assert (status, out) == (2, "") and "'fast,' is not NAME,… such as d2l-2019,udacity" in err


# -- reconstructions --------------------------------------------------------------------------------------------------


def test_content_is_reconstructed_from_each_layer_alone(command, started, content, tmp_path):
    status, out, _ = command("reconstruct", "content", content, "--layers", "conv1_2,conv4_2")
    assert status == 0 and "2 of 2 pictures" in out
    assert [(recipe.content_layers, recipe.style_layers, recipe.init) for recipe in started] == [
        ((2,), (), "noise"),
        ((21,), (), "noise"),
    ]
    assert [recipe.last_layer for recipe in started] == [2, 21]  # nothing above is computed
    assert files(tmp_path / "out") == ["conv1_2.csv", "conv1_2.png", "conv4_2.csv", "conv4_2.png", "sheet.png"]


def test_style_is_reconstructed_from_growing_subsets(command, started, content):
    assert command("reconstruct", "style", content)[0] == 0
    layers = (0, 5, 10, 19, 28)
    assert [recipe.style_layers for recipe in started] == [layers[:count] for count in range(1, 6)]
    assert {recipe.content_layers for recipe in started} == {()}


def test_a_reconstruction_comes_near_its_picture(content, weights_file):
    options = {"sizes": [(32, 48)], "epochs": 60, "weights": str(weights_file)}
    recipe = experiments.reconstruct("content", content, ["conv1_1"], **options).trials[0].options["recipe"]
    losses = nst.transfer(content, content, recipe=recipe, weights=str(weights_file)).losses
    assert min(row.content for row in losses) < 0.01 * losses[0].content and losses[0].style == 0


def test_a_reconstructions_sheet_begins_with_the_original(content):
    experiment = experiments.reconstruct("style", content, ["conv1_1", "conv2_1"])
    outcomes = [experiments.Outcome(trial, Image.new("RGB", (48, 32))) for trial in experiment.trials]
    assert [axes.get_title() for axes in experiment.sheet(outcomes).axes] == [
        "original",
        "conv1_1",
        "conv1_1 to conv2_1",
    ]


@pytest.mark.parametrize("options, message", [
    (["contents", "a.png"], "invalid choice: 'contents'"),
    (["content", "a.png", "--style-layers", "conv1_1"], "unrecognized arguments: --style-layers conv1_1"),
    (["content", "nowhere.png"], "nowhere.png: no such file"),
    (["content", "nowhere.png", "--layers", "conv9_1"], "content_layers: ['conv9_1'] is not different layers"),
])  # fmt: skip
def test_a_bad_reconstruction_is_one_line(command, tmp_path, options, message):
    before = files(tmp_path)
    status, out, err = command("reconstruct", *options)
    assert status == 2 and out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1
    assert files(tmp_path) == before
