"""The wheel of gluon-nst, and a new environment with it installed; conftest.py imports the fixtures."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NOT_COPIED = (".*", "__pycache__", "*.egg-info", "build", "dist", "neural-style")


def _run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel, from a copy because setuptools writes files into the folder; return its path."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*_NOT_COPIED))
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, folder / "copy")
    shutil.rmtree(folder / "copy")
    (path,) = folder.glob("*.whl")
    return path


class Installed:
    """A virtual environment with the wheel; its other packages are those of the environment that runs the tests."""

    def __init__(self, folder, wheel, environment):
        _run(sys.executable, "-m", "venv", "--without-pip", folder)
        self.folder, self.python, self.program = folder, folder / "bin/python", folder / "bin/gluon-nst"
        self._environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
        packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        # Python does not process .pth files, such as that of an editable installation, in a folder of a .pth file.
        shared = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        (packages / "shared.pth").write_text("".join(f"{path}\n" for path in shared))
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--no-deps", "--no-index"]
        _run(*pip, wheel, env=self._environment)
        assert (packages / "gluon_nst/__init__.py").is_file()
        self.packages = packages

    def run(self, *arguments, program=None, folder=os.sep):
        """Run Python, or another `program`, in a working directory; raise if it fails."""
        return _run(program or self.python, *arguments, cwd=folder, env=self._environment, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def installed(wheel, user_environment, tmp_path_factory):
    """Return the Installed of the wheel."""
    return Installed(tmp_path_factory.mktemp("installed") / "environment", wheel, user_environment)
