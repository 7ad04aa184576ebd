"""Build the kit, a folder from which machines without a network install gluon-nst.

It contains wheels of the packages at their installed versions, so it is specific to this version of Python and this
platform.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Sequence

from gluon_nst import weights
from gluon_nst.errors import InputError, NSTError
from gluon_nst.lab.notebooks import NOTEBOOKS, place_notebook
from gluon_nst.machine.files import check_folder, given, shipped
from gluon_nst.machine.progress import Download
from gluon_nst.version import __version__
from gluon_nst.weights import cache, downloads, pictures

_EXTRA = "notebook"
_PACKAGE = Path(__file__).parents[1]
_SOURCES = (
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
    *(f"img/{name}" for name in pictures.OWN),
    *(f"scripts/notebook_{name}.py" for name in sorted(set(NOTEBOOKS.values()))),
)
"""The files from which the wheel of gluon-nst is built, beside the package; they are installed with it."""
_NOTEBOOKS = ("chapter", "exercises")
"""The notebooks in the kit, without the answers."""


def make(
    folder: str | Path,
    *,
    notify: weights.Notify = weights.print_nothing,
    progress: weights.Progress | None = None,
    counting: weights.Progress | None = None,
) -> Path:
    """Create a kit in `folder`, which must be missing or empty; return its path.

    Files are moved into the folder when all are complete. `notify` and `progress` are as in `weights.find`; `counting`
    is like `progress`, for packages in place of bytes. Raises InputError for a folder with files, NSTError if a package
    is not available, and WeightsError.
    """
    folder = given(folder).absolute()
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists; name a new folder, or an empty one")
    check_folder(folder)
    packages = sorted(_closure("gluon-nst", _EXTRA).items())
    trunk = weights.find(notify=notify, progress=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as temporary:
            unfinished = Path(temporary)
            _fill(unfinished, packages, trunk, notify, counting)
            for path in unfinished.iterdir():
                path.rename(folder / path.name)
    except OSError as error:
        raise NSTError(
            f"{folder}: can't create the kit ({error.strerror or error}); free some space, or choose another folder"
        ) from None
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return folder


def _fill(
    kit: Path,
    packages: list[tuple[str, str]],
    trunk: weights.Trunk,
    notify: weights.Notify,
    counting: weights.Progress | None,
) -> None:
    for name in ("wheels", "weights", "pictures"):
        (kit / name).mkdir()
    requirements = kit / "requirements.txt"
    others = [f"{name}=={version}\n" for name, version in packages if name != "gluon-nst"]
    requirements.write_text("".join(others))
    notify(f"{len(packages)} packages at their installed versions, about 300 MB")
    bar = counting("packages", len(others)) if counting else None
    try:
        _make_wheels([f"--requirement={requirements}"], kit / "wheels", bar)
        _build_wheel(kit / "wheels")
    except downloads.Unavailable as error:
        raise NSTError(f"kit: {error}; a kit needs a package index, and 1 GB of disk space") from None
    finally:
        if bar:
            bar.close()
    requirements.write_text("".join([*others, f"gluon-nst=={__version__}\n"]))
    for path in (trunk.path, trunk.path.with_suffix(".json")):
        shutil.copyfile(path, kit / "weights" / path.name)
    for path in pictures.own_pictures():
        shutil.copyfile(path, kit / "pictures" / path.name)
    for name in _NOTEBOOKS:
        place_notebook(name, kit / "notebooks")
    python, libc = _oldest_versions(sorted((kit / "wheels").glob("*.whl")))
    substitutions = {
        "VERSION": __version__,
        "PYTHON": "{}.{}".format(*sys.version_info),
        "FIRST_PYTHON": ".".join(map(str, python)),
        "LIBC": ".".join(map(str, libc)),
        "MACHINE": f"{platform.system()} {platform.machine()}",
    }
    for name, template in (("install", _INSTALL), ("README.txt", _README)):
        (kit / name).write_text(re.sub("@([A-Z_]+)@", lambda match: substitutions[match[1]], template))
    (kit / "install").chmod(0o755)
    files = sorted(path for path in kit.rglob("*") if path.is_file())
    sums = [f"{cache.sha256_of(path)}  {path.relative_to(kit)}\n" for path in files]
    (kit / "SHA256SUMS").write_text("".join(sums))


def _make_wheels(packages: list[str], folder: Path, bar: Download | None = None) -> None:
    """Write wheels of the `packages` into a folder with pip.

    Their requirements are not included; `bar` counts the wheels.
    """

    def count(line: str) -> None:
        if bar and line.startswith("Collecting "):
            bar.update(1)

    downloads.pip("wheel", *packages, "--no-deps", f"--wheel-dir={folder}", "--progress-bar=off", on_line=count)


def _oldest_versions(wheels: Sequence[Path]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the oldest Python and glibc on which all of the wheels install.

    The Python has the same minor version as this one.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.utils import parse_wheel_filename
    from packaging.version import Version

    first, libc = Version("{}.{}.0".format(*sys.version_info)), (2, 17)  # manylinux2014, as MXNet's
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            requirement = re.search(r"(?m)^Requires-Python: *(.+?)\r?$", archive.read(name).decode())
        for specifier in SpecifierSet(requirement.group(1) if requirement else ""):
            if specifier.operator == ">=":
                first = max(first, Version(specifier.version))
        *_, tags = parse_wheel_filename(wheel.name)
        matches = [re.match(r"manylinux_(\d+)_(\d+)_", tag.platform) for tag in tags]
        versions = [(int(match[1]), int(match[2])) for match in matches if match]
        if versions and not any(tag.platform.startswith(("manylinux1", "manylinux2", "any")) for tag in tags):
            libc = max(libc, min(versions))
    return first.release, libc


def _closure(package: str, extra: str = "") -> dict[str, str]:
    """Return {name: version} of an installed package and all its requirements.

    Those of its `extra` are included.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    pending, seen = [(package, extra)], set()
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise InputError(f"kit: takes the package {name}; install gluon-nst[{_EXTRA}]") from None
        versions[canonicalize_name(name)] = distribution.version
        for line in distribution.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pending += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    return versions


def _build_wheel(folder: Path) -> None:
    """Build the wheel of gluon-nst from a copy of its files.

    setuptools writes files into the source folder.
    """
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(_PACKAGE, Path(temporary, _PACKAGE.name), ignore=shutil.ignore_patterns("__pycache__"))
        for name in _SOURCES:
            copy = Path(temporary, name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(shipped(name), copy)
        _make_wheels([temporary], folder)


_README = """gluon-nst @VERSION@: a kit for a lab without a network

For Python @PYTHON@ (from @FIRST_PYTHON@ on) on @MACHINE@ with glibc @LIBC@ or newer.

    bash install              installs into ~/gluon-nst-lab, and checks whether the machine is ready
    bash install FOLDER       installs into another folder
    ~/gluon-nst-lab/start     opens JupyterLab there

wheels     the packages; requirements.txt lists their versions
weights    VGG-19's parameters, which are copied into the user's cache
pictures   the two example pictures
notebooks  the chapter, and its exercises
"""

# A single backslash at the end of a line joins lines in Python; a backslash of the shell script is doubled.
_INSTALL = """#!/usr/bin/env bash
# Installs gluon-nst @VERSION@ from this folder, with no network: bash install [FOLDER], by default ~/gluon-nst-lab.
# PYTHON=/path/to/python@PYTHON@ chooses the Python.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
unset CDPATH

stop() {
    echo "error: $1" >&2
    exit 1
}

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "${1:-${HOME:-}}" ] || stop "HOME is not set; name a folder to install into: bash install FOLDER"
lab=${1:-${HOME:-}/gluon-nst-lab}
cache=${GLUON_NST_CACHE:-${XDG_CACHE_HOME:-${HOME:-$lab}/.cache}/gluon-nst}/weights

is_right() {
    "$1" -c '
import sys
here, first = sys.version_info[:3], tuple(map(int, "@FIRST_PYTHON@".split(".")))
sys.exit(here[:2] != first[:2] or here < first)' 2>/dev/null
}

[ "$(uname -sm)" = "@MACHINE@" ] || stop "this kit is for @MACHINE@, and this machine is $(uname -sm)"
python=
if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else candidates=(python@PYTHON@ python3 python); fi
for candidate in "${candidates[@]}"; do
    if is_right "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || stop "this kit needs Python @PYTHON@ (@FIRST_PYTHON@ or newer), \
not found (tried: ${candidates[*]}); install it, set PYTHON=/path/to/python@PYTHON@, \
or make a kit with the Python of this machine"
"$python" -c '
import platform, sys
_, here = platform.libc_ver()
sys.exit(tuple(map(int, here.split(".")[:2])) < tuple(map(int, "@LIBC@".split("."))))' ||
    stop "this kit needs glibc @LIBC@ or newer, and this system has an older one; \
make a kit on a machine like this one"

echo "checking the files of the kit"
(cd "$kit" && sha256sum --check --quiet SHA256SUMS) >&2 || stop "files of the kit are damaged (see above); copy the kit"

mkdir -p "$lab" || stop "can't create $lab (see above); name another folder"
lab=$(cd "$lab" && pwd)
environment=$lab/.venv
stamp=$(sha256sum < "$kit/SHA256SUMS")
if [ "$(cat "$environment/gluon-nst-kit" 2>/dev/null)" != "$stamp" ]; then
    [ ! -e "$environment" ] || [ -e "$environment/gluon-nst-kit" ] || \
stop "$environment exists, and is not of a kit; name another folder"
    echo "installing into $environment (a minute or two)"
    rm -rf "$environment"
    mkdir "$environment" && touch "$environment/gluon-nst-kit" || stop "can't write in $lab; name another folder"
    "$python" -m venv "$environment" || \
stop "$python can't create a virtual environment (see above); on Debian: apt-get install python@PYTHON@-venv"
    "$environment/bin/python" -m pip --isolated install --quiet --disable-pip-version-check --no-index --no-deps \\
        --find-links "$kit/wheels" --requirement "$kit/requirements.txt" || \
stop "the packages can't be installed (see above)"
    problems=$("$environment/bin/python" -m pip --isolated check --disable-pip-version-check 2>&1) || \
stop "the packages are incompatible: $problems"
    echo "$stamp" > "$environment/gluon-nst-kit"
fi

place() {  # atomically
    cp "$1" "$2/.new-${1##*/}" && mv "$2/.new-${1##*/}" "$2/${1##*/}" && return
    rm -f "$2/.new-${1##*/}"
    stop "can't write ${1##*/} into $2 (see above); free some space"
}

mkdir -p "$cache" || stop "can't create $cache (see above); set GLUON_NST_CACHE to another folder"
for file in "$kit"/weights/*.params "$kit"/weights/*.json; do  # the record last: \
parameters without a record are ignored
    place "$file" "$cache"
done
for file in "$kit"/notebooks/* "$kit"/pictures/*; do  # existing files may contain work, and are kept
    [ -e "$lab/${file##*/}" ] || place "$file" "$lab"
done
cat > "$lab/start" <<'END'
#!/usr/bin/env bash
# Opens JupyterLab in this folder.
cd "$(dirname "${BASH_SOURCE[0]}")"
. .venv/bin/activate
exec jupyter lab "$@"
END
chmod +x "$lab/start"

echo "installed; checking the machine"
(cd "$lab" && .venv/bin/gluon-nst doctor) || stop "installed, but the machine is not ready: see the faults above"
printf 'open the notebooks:  %q\\nor in a shell:       . %q\\n' "$lab/start" "$environment/bin/activate"
"""
