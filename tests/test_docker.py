"""The Dockerfile: its steps that need neither Debian's packages nor a different user run as a script."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPLICATION = "/gluon-nst"
"""The folder of the clone in the image."""

_STUB = """#!/usr/bin/env bash
echo "$(basename "$0")" "$@" >> "$CALLS"
if [ "$1 ${2:-}" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/gluon-nst"; fi
"""
"""A Python that writes its arguments into a file; its virtual environments have copies of it."""


def instructions():
    """The (instruction, arguments) of the Dockerfile, each in one line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def arguments(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_systems_packages_are_those_that_the_installation_names():
    (install,) = re.findall(r"apt-get install (.*?) &&", " ".join(arguments("RUN")))
    named = re.search(
        r"a library is missing, on Debian: apt-get install ([\w ]+)", (ROOT / "scripts/environment").read_text()
    )
    assert [word for word in install.split() if not word.startswith("-")] == named[1].split()


def test_the_image_is_debian_slim_with_a_python_that_runs_mxnet_and_a_user_without_rights():
    assert re.fullmatch(r"python:3\.(8|9|10|11)-slim-\w+", arguments("FROM")[0])
    (user,) = arguments("USER")
    assert f"useradd --create-home {user} " in " ".join(arguments("RUN"))
    order = [name for name, _ in instructions()]
    assert order.index("USER") < order.index("COPY")
    assert arguments("COPY") == [f"--chown={user} . {APPLICATION}"]


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A folder in place of the image's root, with the clone in it, and Pythons that only write what they are called
    with. Gives a function that runs a line of the Dockerfile there, and returns the calls."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    names = [pattern[len("**/") :] if pattern.startswith("**/") else pattern for pattern in ignored]
    shutil.copytree(ROOT, f"{tmp_path}{APPLICATION}", ignore=shutil.ignore_patterns(*names))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.11").write_text(_STUB)
    (tmp_path / "bin/python3.11").chmod(0o755)
    (tmp_path / "pictures").mkdir()
    for name in ("CI", "PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def run(line):
        (tmp_path / "calls").write_text("")
        line = line.replace(f"{APPLICATION}/", f"{tmp_path}{APPLICATION}/")
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path / "pictures", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "calls").read_text().splitlines()

    return run


@pytest.mark.slow
def test_the_steps_install_the_clone_and_the_two_commands_of_readme_run(image):
    (install,) = (step for step in arguments("RUN") if APPLICATION in step and "scripts/" in step)
    calls = image(install)
    assert "python3.11 -m venv .venv" in calls
    assert calls[-3].endswith("--editable .[test]")
    assert calls[-1] == "python -c import mxnet"
    (command,) = map(json.loads, arguments("CMD"))
    assert image(" ".join(command)) == ["gluon-nst demo"]
    assert image(" ".join([*command, "--epochs 100"])) == ["gluon-nst chapter --epochs 100"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    others = re.findall(r"docker run .* gluon-nst (\S+/scripts/\S+)", readme)
    assert others == [f"{APPLICATION}/scripts/test"]
    calls = image(f"{others[0]} -k gram")
    assert any("--editable .[torch]" in call for call in calls)
    assert calls[-1] == "python -m pytest -k gram"


@pytest.mark.parametrize("name", ["sh", "bash"])
def test_every_step_is_a_script_that_the_shell_reads(name):
    for step in arguments("RUN"):
        assert subprocess.run([name, "-n", "-c", step]).returncode == 0
