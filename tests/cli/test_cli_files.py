"""The files that commands are given: what is no regular file, and names with a tilde."""

import os
import shutil
import socket

import gluon_nst as nst
from gluon_nst import cli

import pytest

from commands import names


def bind_socket(path):
    with socket.socket(socket.AF_UNIX) as unix, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # a socket's path is short
        unix.bind(path.name)


@pytest.mark.parametrize("make, kind", [(os.mkfifo, "a named pipe"), (bind_socket, "a socket")])
@pytest.mark.parametrize("place", ["content", "style", "--init", "--recipe", "--weights"])
def test_what_is_no_regular_file_is_refused_wherever_it_is_read(refuses, tmp_path, make, kind, place):
    name = {"--recipe": "odd.toml", "--weights": "odd.params"}.get(place, "odd.png")
    make(tmp_path / name)
    if place in ("content", "style"):
        refuses(f"{name}: {kind}, not a picture", **{place: tmp_path / name})
    else:
        refuses(f"{name}: {kind}, not a", place, tmp_path / name)


@pytest.mark.parametrize("place", ["content", "style", "--init", "--recipe", "--weights"])
def test_a_device_is_refused(refuses, tmp_path, place):
    device = tmp_path / {"--recipe": "device.toml"}.get(place, "device.png")
    device.symlink_to("/dev/null")
    if place in ("content", "style"):
        refuses(f"{device}: a device, not a picture", **{place: device})
    else:
        refuses(f"{device}: a device, not a", place, device)


# -- a tilde ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(content, style, converted, tmp_path, monkeypatch):
    """A home folder, with pictures, weights and a recipe in it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for path, name in ((content, "c.png"), (style, "s.png"), (content, "x.png"), (converted, "w.params")):
        shutil.copy(str(path), str(home / name))
    layers = 'content_layers = ["conv1_1"]\nstyle_layers = ["conv1_1"]\n'
    (home / "my.toml").write_text(f'extends = "d2l-2019"\n{layers}[[stages]]\nsize = [16, 24]\nepochs = 1\n')
    return home


OWN = ["--recipe=~/my.toml", "--weights=~/w.params", "--quiet"]


@pytest.mark.slow
def test_render_finds_the_home_folder(home):
    options = ["--output=~/o.png", "--init=~/x.png", "--losses=~/l.csv", "--animate=~/f.gif"]
    assert cli.main(["render", "~/c.png", "~/s.png", *options, *OWN]) == 0
    assert {"o.png", "l.csv", "f.gif"} <= set(names(home))


@pytest.mark.slow
def test_chapter_finds_the_home_folder(home):
    assert cli.main(["chapter", "--out=~/new/chapter", "--content=~/c.png", "--style=~/s.png", *OWN]) == 0
    assert (home / "new/chapter/neural-style-1.png").exists()


@pytest.mark.slow
def test_sweep_finds_the_home_folder(home):
    options = ["--vary", "lr=0.1", "--out=~/sweep", "--figure=~/sheet.svg"]
    assert cli.main(["sweep", "~/c.png", "~/s.png", *options, *OWN]) == 0
    assert (home / "sweep/lr=0.1.png").exists()
    assert (home / "sheet.svg").exists()


def test_recipes_finds_the_home_folder(home, capfd):
    assert cli.main(["recipes", "~/my.toml"]) == 0
    assert "size = [16, 24]" in capfd.readouterr().out


@pytest.mark.slow
def test_the_library_finds_the_home_folder(home):
    result = nst.transfer("~/c.png", "~/s.png", recipe="~/my.toml", weights="~/w.params", init="~/x.png")
    result.save("~/p.png")
    result.save_losses("~/p.csv")
    result.save_plot("~/p.svg")
    assert nst.read_image("~/p.png").shape == (16, 24, 3)
    assert {"p.csv", "p.svg"} <= set(names(home))


@pytest.mark.slow
def test_a_name_that_begins_with_a_tilde_is_a_name(render, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content.rename("~c.png")
    options = ["--sizes", "16x24", "--epochs", "1"]
    assert render(*options, content="~c.png", output="~o.png")[0] == 0
    assert (tmp_path / "~o.png").exists()
