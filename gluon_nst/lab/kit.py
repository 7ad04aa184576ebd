"""The kit: a folder to carry to machines without a network, from which gluon-nst installs and runs its notebooks.

It has the packages as they are installed here, with which the tests passed, as wheels; so it is for this Python and this kind of machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

from gluon_nst import pictures, weights
from gluon_nst.errors import InputError, NSTError
from gluon_nst.files import check_writable, given
from gluon_nst.lab.notebooks import place_notebook
from gluon_nst.observer import Download
from gluon_nst.version import __version__

_EXTRA = "notebook"
_ROOT = Path(__file__).parents[2]
_SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "gluon_nst", "scripts", "img")
"""What the wheel of gluon-nst is built of, in a checkout."""
_STUDENTS = ("chapter", "exercises")
"""The notebooks in the kit: the answers are the teacher's."""


def make(
    folder: str | Path,
    *,
    notify: weights.Notify = weights.print_nothing,
    progress: weights.Progress | None = None,
    counting: weights.Progress | None = None,
) -> Path:
    """Make a kit in `folder`, which must not be there yet, or be empty; gives its path.

    It is made beside it and put in its place when it is whole. `notify` and `progress` are as in `weights.find`; `counting` is like
    `progress`, for packages in place of bytes. Raises InputError for another folder and where this is no checkout, NSTError where a
    package can't be had, and WeightsError.
    """
    folder = given(folder).absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a folder that is not, or an empty one")
    check_writable(folder.with_name(f"{folder.name}.kit"))
    if not (_ROOT / "setup.cfg").is_file():
        raise InputError(
            "kit: is made from a checkout of the repository, whose .venv has what it carries; run it there"
        )
    packages = sorted(_closure("gluon-nst", _EXTRA).items())
    trunk = weights.find(notify=notify, progress=progress)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            made = Path(temporary) / "kit"
            _fill(made, packages, trunk, notify, counting)
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise NSTError(
            f"{folder}: can't make it ({error.strerror or error}); free some space, or choose another place"
        ) from None
    return folder


def _fill(
    made: Path,
    packages: list[tuple[str, str]],
    trunk: weights.Trunk,
    notify: weights.Notify,
    counting: weights.Progress | None,
) -> None:
    for name in ("wheels", "weights", "pictures"):
        (made / name).mkdir(parents=True)
    requirements = "\n".join(f"{name}=={version}" for name, version in packages) + "\n"
    others = made / "others.txt"
    others.write_text("".join(f"{name}=={version}\n" for name, version in packages if name != "gluon-nst"))
    notify(f"{len(packages)} packages, as they are installed here, about 300 MB")
    bar = counting("packages", len(packages) - 1) if counting else None
    _wheels(["--requirement", str(others)], made / "wheels", bar)
    others.unlink()
    _own_wheel(made / "wheels")
    (made / "requirements.txt").write_text(requirements)
    for path in (trunk.path, trunk.path.with_suffix(".json")):
        shutil.copyfile(path, made / "weights" / path.name)
    for path in pictures.own_pictures():
        shutil.copyfile(path, made / "pictures" / path.name)
    for name in _STUDENTS:
        place_notebook(name, made / "notebooks")
    python = "{}.{}".format(*sys.version_info)
    for name, template in (("install", _INSTALL), ("README.txt", _README)):
        text = template.replace("@PYTHON@", python).replace("@VERSION@", __version__)
        (made / name).write_text(text.replace("@MACHINE@", f"{platform.system()} {platform.machine()}"))
    (made / "install").chmod(0o755)
    (made / "SHA256SUMS").write_text("".join(_sums(made)))


def _closure(package: str, extra: str = "") -> dict[str, str]:
    """{name: version} of an installed package and all that it needs here, with its `extra`."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    left, seen = [(package, extra)], set()
    while left:
        name, wanted = left.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise InputError(f"kit: {name} is not installed here; pip install 'gluon-nst[{_EXTRA}]' first") from None
        found[canonicalize_name(name)] = distribution.version
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": wanted}):
                left += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    return found


def _wheels(what: list[str], folder: Path, bar: Download | None = None) -> None:
    """Have pip put wheels into a folder, as the user has configured it."""
    command = [sys.executable, "-m", "pip", "wheel", *what, "--no-deps", f"--wheel-dir={folder}"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        lines = []
        assert pip.stdout
        for line in pip.stdout:
            lines.append(line.strip())
            if bar and line.startswith("Collecting "):
                bar.update(1)
    if bar:
        bar.close()
    if pip.returncode:
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines or ["no output"]
        raise NSTError(f"kit: pip wheel failed ({errors[-1]}); it needs a package index, and room for 1 GB")


def _own_wheel(folder: Path) -> None:
    """Build gluon-nst's from a copy: setuptools leaves its work in the folder that it builds in."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in _SOURCES:
            source, copy = _ROOT / name, Path(temporary) / name
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copyfile(source, copy)
        _wheels([temporary], folder)


def _sums(made: Path) -> Iterator[str]:
    """The lines of SHA256SUMS, as sha256sum checks them."""
    for path in sorted(made.rglob("*")):
        if path.is_file():
            name = re.sub(r"\\", "/", str(path.relative_to(made)))
            yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


_README = """gluon-nst @VERSION@: a kit for a lab without a network, for Python @PYTHON@ on @MACHINE@

    bash install              installs into ~/gluon-nst-lab, and says whether the machine is ready
    bash install FOLDER       the same into another folder
    ~/gluon-nst-lab/start     opens JupyterLab there

wheels     the packages, at the versions that were tested; requirements.txt names them
weights    VGG-19's parameters; they go into the user's cache
pictures   the project's own two pictures
notebooks  the chapter, and its exercises
"""

_INSTALL = r"""#!/usr/bin/env bash
# Installs gluon-nst @VERSION@ from this folder, with no network: bash install [FOLDER], by default ~/gluon-nst-lab.
# PYTHON=/path/to/python@PYTHON@ chooses the Python.
set -euo pipefail
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=${1:-$HOME/gluon-nst-lab}

stop() {
    echo "error: $1" >&2
    exit 1
}

is_right() {
    "$1" -c 'import sys; sys.exit("{}.{}".format(*sys.version_info) != "@PYTHON@")' 2>/dev/null
}

[ "$(uname -sm)" = "@MACHINE@" ] || stop "this kit is for @MACHINE@, and here is $(uname -sm)"
python=
for candidate in ${PYTHON:+"$PYTHON"} python@PYTHON@ python3 python; do
    if is_right "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || stop "no Python @PYTHON@ here, for which this kit is (PYTHON=... names one); install it, or make a kit with the Python that is here"
echo "checking that the kit is whole"
(cd "$kit" && sha256sum --check --quiet SHA256SUMS) >&2 || stop "files of the kit are damaged (see above); copy it anew"

mkdir -p "$lab"
lab=$(cd "$lab" && pwd)
environment=$lab/.venv
stamp=$(sha256sum < "$kit/SHA256SUMS")
if [ "$(cat "$environment/installed" 2>/dev/null)" != "$stamp" ]; then
    echo "installing into $environment (a minute or two)"
    rm -rf "$environment"
    "$python" -m venv "$environment" || stop "$python can't make a virtual environment; on Debian: apt-get install python@PYTHON@-venv"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
        --find-links "$kit/wheels" --requirement "$kit/requirements.txt" || stop "the packages can't be installed (see above); is the disk full?"
    "$environment/bin/python" -m pip check --disable-pip-version-check >/dev/null || stop "the packages do not fit together; make the kit anew"
    echo "$stamp" > "$environment/installed"
fi

cache=${GLUON_NST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gluon-nst}/weights
mkdir -p "$cache"
for file in "$kit"/weights/*.params "$kit"/weights/*.json; do  # the record last: without it the parameters are not there
    cp "$file" "$cache/.${file##*/}.new"
    mv "$cache/.${file##*/}.new" "$cache/${file##*/}"
done
for file in "$kit"/notebooks/* "$kit"/pictures/*; do  # what somebody has worked in stays
    [ -e "$lab/${file##*/}" ] || cp "$file" "$lab/"
done
cat > "$lab/start" <<'END'
#!/usr/bin/env bash
# Opens JupyterLab in this folder.
cd "$(dirname "${BASH_SOURCE[0]}")"
. .venv/bin/activate
exec jupyter lab "$@"
END
chmod +x "$lab/start"

echo "installed; is the machine ready?"
(cd "$lab" && .venv/bin/gluon-nst doctor) || stop "installed, and not ready: see the faults above"
echo "open the notebooks:  $lab/start"
echo "or in a shell:       . $lab/.venv/bin/activate"
"""
