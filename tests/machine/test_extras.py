"""The extras: their table agrees with setup.cfg, and the error for a missing package."""

import configparser
import re
from pathlib import Path

from gluon_nst import InputError
from gluon_nst.machine import extras

import pytest

SETUP = Path(__file__).parents[2] / "setup.cfg"


def test_the_table_of_extras_agrees_with_setup_cfg():
    config = configparser.ConfigParser()
    config.read(SETUP, encoding="utf-8")
    defined = {
        name: set(re.findall(r"(?m)^[A-Za-z][\w-]*", lines))
        for name, lines in config["options.extras_require"].items()
        if name not in ("test", "benchmark", "docs")
    }
    assert {name: set(extra.modules) for name, extra in extras.EXTRAS.items()} == defined
    test = config["options.extras_require"]["test"]
    assert set(re.findall(r"gluon-nst\[(\w+)\]", test)) == {*defined, "docs"} - {"torch"}  # a gigabyte


def test_the_error_for_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for extra in extras.EXTRAS.values():
        assert not extra.is_installed
    with pytest.raises(InputError) as raised:
        extras.require("a film", "opencv-python-headless")
    assert str(raised.value) == "a film needs the package opencv-python-headless; install gluon-nst[film]"


def test_an_installed_package_is_accepted():
    extras.require("notebook:", "jupytext")
    assert extras.EXTRAS["notebook"].is_installed


def test_readme_names_every_extra():
    text = (SETUP.parent / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"(?s)Extras\*\* add packages (.*?)\n\n", text)
    assert {name for name in extras.EXTRAS if f"`{name}`" in listed} == set(extras.EXTRAS)
