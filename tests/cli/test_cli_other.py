"""The commands that run nothing: recipes, info, weights, and the options of the command itself."""

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

import gluon_nst as nst
from gluon_nst import cli, recipes
from gluon_nst.machine.extras import EXTRAS

import mxnet as mx
import pytest


def test_no_command_prints_the_help(capfd):
    assert cli.main([]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.startswith("usage: gluon-nst [options] COMMAND ...\n")
    commands = re.findall(r"^    ([a-z]+)\b", out, re.MULTILINE)
    assert commands[:2] == ["demo", "render"]  # what people need first
    with pytest.raises(SystemExit) as done:
        cli.main(["--help"])
    assert done.value.code == 0
    assert capfd.readouterr().out == out


@pytest.mark.parametrize("command", ["render", "recipes", "weights", "weights fetch"])
def test_help_prints_the_help_of_a_command(capfd, command):
    assert cli.main(["help", *command.split()]) == 0
    out = capfd.readouterr().out
    assert out.startswith(f"usage: gluon-nst {command} [options] ")
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    assert capfd.readouterr().out == out


def test_help_of_a_misspelt_command_gets_a_suggestion(capfd):
    assert cli.main(["help", "rendr"]) == 2
    assert "did you mean render?" in capfd.readouterr().err


def test_version(capfd):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capfd.readouterr().out == f"gluon-nst {nst.__version__}\nmxnet {mx.__version__}\n"


@pytest.mark.parametrize(
    "installed, told",
    [
        ({"numpy": "1.23.5", "mxnet-cu112": "1.9.1"}, "mxnet-cu112 1.9.1"),
        ({"mxnet_tools_of_others": "3"}, "mxnet is not installed"),
    ],
)
def test_version_of_another_build_of_mxnet_or_of_none(capfd, monkeypatch, tmp_path, installed, told):
    for name, version in installed.items():
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    distributions = importlib.metadata.distributions(path=[str(tmp_path)])
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: distributions)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capfd.readouterr().out.splitlines()[1] == told


def test_recipes_lists_them_with_their_sources(capfd):
    assert cli.main(["recipes"]) == 0
    out = capfd.readouterr().out
    assert "d2l-2019" in out
    assert "d2l-2023" in out
    assert out.count("https://d2l.ai/") == 2
    for source in ("udacity/deep-learning-v2-pytorch", "symoon94", "blog.tensorflow.org", "10.1109/CVPR.2016.265"):
        assert source in out


def test_recipes_marks_the_default_and_says_what_each_is_good_for(capfd):
    assert cli.main(["recipes"]) == 0
    out = capfd.readouterr().out
    assert re.findall(r"^(\S+) .* \(the default\)$", out, re.MULTILINE) == [recipes.DEFAULT]
    texts = [recipes.read(name).good_for for name in recipes.names()]
    assert len({*texts, ""}) == len(recipes.names()) + 1  # each has its own
    assert all(f"good for {text}\n" in out for text in texts)
    assert out.count(" 341 x 512\n") == sum(
        recipes.fit(recipes.read(name), (1000, 1500)).stages[-1].shape == (341, 512) for name in recipes.names()
    )
    assert out.endswith("parameters are here: after a run, or gluon-nst weights fetch.\n")


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """A cache with weights, and the recipes that are timed, which take 90 s each, or do not fit."""
    names = []

    def measured(recipe_names):
        for name in recipe_names:
            names.append(name)
            yield name, None if name == "udacity" else 90.0

    monkeypatch.setenv("GLUON_NST_CACHE", str(tmp_path))
    monkeypatch.setattr("gluon_nst.runs.estimates.seconds_of_recipes", measured)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/vgg19-pypi.json").write_text("{}")
    return names


def test_recipes_are_timed_by_the_first_call_and_the_times_are_kept(timed, capfd):
    assert cli.main(["recipes"]) == 0
    first, err = capfd.readouterr()
    assert "timing the recipes on this machine, once" in err
    assert timed == recipes.names()
    assert first.count(", about 2 min here\n") == len(timed) - 1
    assert " 400 x 600, more than fits into the memory here\n" in first
    assert cli.main(["recipes"]) == 0
    assert capfd.readouterr() == (first, "")
    assert timed == recipes.names()  # once


@pytest.mark.parametrize("change", ["threads", "version", "recipe", "damage"])
def test_recipes_are_timed_again_where_something_has_changed(timed, capfd, monkeypatch, tmp_path, change):
    assert cli.main(["recipes"]) == 0
    if change == "threads":
        monkeypatch.setenv("OMP_NUM_THREADS", "37")
    elif change == "version":
        monkeypatch.setattr("gluon_nst.cli.recipes.mxnet_build", lambda: "mxnet 1.9.2")
    elif change == "recipe":
        kept = (tmp_path / "recipe-times.json").read_text()
        hashes = json.loads(kept)["recipes"]
        (tmp_path / "recipe-times.json").write_text(kept.replace(hashes["fine"]["recipe"], "0"))
    else:
        (tmp_path / "recipe-times.json").write_text("[")
    del timed[:]
    assert cli.main(["recipes"]) == 0
    assert timed == (["fine"] if change == "recipe" else recipes.names())


def test_an_interrupt_of_the_timing_keeps_and_shows_what_was_timed(timed, capfd, monkeypatch):
    def measured(names):
        yield "d2l-2019", 60.0
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gluon_nst.runs.estimates.seconds_of_recipes", measured)
        assert cli.main(["recipes"]) == 130
    out, err = capfd.readouterr()
    assert out.count("about 1 min here") == 1
    assert err.endswith("interrupted: the recipes that have no time yet are timed by the next call\n")
    assert cli.main(["recipes"]) == 0
    assert timed == [name for name in recipes.names() if name != "d2l-2019"]


def test_recipes_that_can_not_be_timed_are_listed_with_the_reason(timed, capfd, monkeypatch):
    def measured(names):
        raise nst.InputError("img/mountains.jpg: the project's own file is not installed")
        yield

    monkeypatch.setattr("gluon_nst.runs.estimates.seconds_of_recipes", measured)
    assert cli.main(["recipes"]) == 0
    assert capfd.readouterr().out.endswith(
        "Times on this machine could not be measured: img/mountains.jpg: the project's own file is not installed\n"
    )


def test_recipes_prints_one_that_can_be_run(tmp_path, capfd):
    assert cli.main(["recipes", "d2l-2023"]) == 0
    (tmp_path / "my.toml").write_text(capfd.readouterr().out)
    assert recipes.read(tmp_path / "my.toml") == recipes.read("d2l-2023")


def test_info_prints_versions_device_and_cores(capfd):
    assert cli.main(["info"]) == 0
    out = capfd.readouterr().out
    assert f"gluon-nst {nst.__version__}" in out
    assert "mxnet 1.9.1" in out
    assert "device " in out
    assert "cores " in out
    for source in ("model-zoo", "caffe", "torchvision", "pypi"):
        assert source in out


def test_info_lists_the_installed_extras_and_how_to_install_the_others(capfd, monkeypatch):
    there = {"distributed", "imageio_ffmpeg"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in there or None)
    assert cli.main(["info"]) == 0
    lines = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert lines["cluster"] == "cluster      installed batches, and many machines for one picture"
    assert lines["film"].startswith("film         -         ")  # one of its two packages is missing
    assert lines["film"].endswith("; pip install 'gluon-nst[film]'")
    assert set(EXTRAS) <= set(lines)


def test_weights_list_shows_every_source(capfd):
    assert cli.main(["weights", "list"]) == 0
    out = capfd.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[::2]] == ["model-zoo", "caffe", "torchvision", "pypi"]


def test_weights_path_refuses_an_unknown_source(capfd):
    assert cli.main(["weights", "path", "caffeine"]) == 2
    assert "invalid choice: 'caffeine'" in capfd.readouterr().err


def test_weights_path_says_what_to_do_where_there_are_none(capfd):
    assert cli.main(["weights", "path", "caffe"]) == 1
    assert capfd.readouterr().err == "error: weights caffe: not here; run gluon-nst weights fetch, or import a file\n"


@pytest.mark.parametrize(
    "arguments, message",
    [([], "no folder"), (["one", "-o", "two"], "two folders"), (["-o", "one", "two"], "two folders")],
)
def test_a_kit_takes_one_folder(capfd, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["kit", *arguments]) == 2
    assert capfd.readouterr().err == f"error: kit: {message}; name the one in which it is made\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["made"], ["-o", "made"], ["--output=made"]])
def test_the_folder_of_a_kit_is_an_argument_or_an_output(capfd, monkeypatch, arguments):
    folders = []
    monkeypatch.setattr("gluon_nst.lab.kit.make", lambda folder, **_: folders.append(folder) or folder)
    assert cli.main(["kit", *arguments]) == 0
    assert folders == [Path("made")]


# -- completion -------------------------------------------------------------------------------------------------------


@pytest.fixture
def complete(capfd, tmp_path):
    """What bash completes the last word of a command to, in a folder with some files."""
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capfd.readouterr().out)
    folder = tmp_path / "here"
    (folder / "photos").mkdir(parents=True)
    for name in ("photo.jpg", "my.toml"):
        (folder / name).touch()
    program = """
        source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p gluon-nst | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function gluon-nst "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def words(*command):
        arguments = ["bash", "-c", program, "bash", script, "gluon-nst", *command]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
        assert done.stderr == ""
        return sorted(done.stdout.split())

    return words


@pytest.mark.slow
def test_bash_completes_commands_options_values_and_files(complete):
    assert complete("re") == ["recipes", "reconstruct", "render", "rerun", "resume"]
    assert complete("render", "--longest") == ["--longest-side"]
    assert complete("render", "a", "b", "--optimizer", "l") == ["lbfgs"]
    assert complete("render", "pho") == ["photo.jpg", "photos"]
    assert complete("render", "a", "b", "-o", "pho") == ["photo.jpg", "photos"]
    assert complete("sweep", "a", "b", "-o", "pho") == ["photos"]
    assert complete("render", "a", "b", "--recipe", "f") == ["fast", "fine"]
    assert complete("render", "a", "b", "--recipe", "m") == ["my.toml"]
    assert complete("weights", "fetch", "c") == ["caffe"]
    assert complete("recipes", "d") == ["d2l-2019", "d2l-2023"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_has_a_script_for_other_shells(capfd, shell):
    assert cli.main(["completion", shell]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "longest-side" in out
    assert "gatys-2016" in out


def test_a_shell_that_an_old_shtab_does_not_have_is_one_line(capfd, monkeypatch):
    monkeypatch.setattr("shtab.SUPPORTED_SHELLS", ["bash", "zsh", "tcsh"])
    assert cli.main(["completion", "fish"]) == 2
    assert capfd.readouterr().err.startswith("error: completion fish: takes a newer shtab than ")
    assert cli.main(["completion", "csh"]) == 2
    assert "did you mean tcsh?" in capfd.readouterr().err
