"""Checks and writing of a command's output files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Callable, Iterable, Iterator, Sequence

from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import (
    check_folder,
    check_writable,
    file_name,
    free_path,
    given,
    interrupted,
    move_to_first,
    numbered,
)
from gluon_nst.observers.progress import Notify
from gluon_nst.pictures.decoding import read_made
from gluon_nst.pictures.encoding import check_picture_writable
from gluon_nst.recipes import Recipe
from gluon_nst.runs.provenance import job_key
from gluon_nst.runs.result import Result


def check_distinct(outputs: Iterable[Path], *inputs: object) -> None:
    """Raise InputError if an output would overwrite another one, or an input."""
    paths = [given(str(path)) for path in inputs if path]
    used = {os.path.realpath(path) for path in paths if os.path.isfile(path)}
    for output in map(os.path.realpath, outputs):
        if output in used:
            raise InputError(f"{output}: is one of the run's inputs, or another output; choose another name")
        used.add(output)


def check_writable_with(folder: Path, outputs: Iterable[Path]) -> None:
    """Raise InputError if `folder` can't be created, or outputs can't be written.

    The outputs are written once the folder exists.
    """
    check_folder(folder)
    for path in outputs:
        if path.parent != folder or folder.is_dir():
            check_writable(path)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Replace the message of an interrupt while files are written into `folder`."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {folder} is whole, the rest is not written") from None


class OutputWriter:
    """A writer of the files of a finished run.

    After an error, such as a full disk, it still writes the others.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._errors: list[NSTError] = []

    def write(self, write: Callable[[Path], Path | None], path: Path, fallback: bool = False) -> Path | None:
        """Write a file, and return its path.

        It is `path`, or, after an error and with `fallback`, one in a temporary folder. `write` returns it where it
        chooses another one.
        """
        try:
            return write(path) or path
        except NSTError as error:
            self._errors.append(error)
        if fallback:
            with contextlib.suppress(NSTError, OSError):
                temporary = Path(tempfile.mkdtemp(prefix="gluon-nst-"), path.name)
                return write(temporary) or temporary
        return None

    def raise_errors(self, advice: str = "") -> None:
        """Raise NSTError if a file could not be written.

        Its message ends with the `advice`.
        """
        for error in self._errors[:-1]:
            self._notify(f"error: {error}")
        if self._errors:
            raise NSTError(f"{self._errors[-1]}{advice}")


def free_output_path(path: Path, result: Result, notify: Notify) -> Path:
    """Return the path for an output of `result`.

    It is `path`, or a free one next to it if the run did not finish.
    """
    free = free_path(path, result.complete)
    report_path(path, free, notify)
    return free


def report_path(path: Path, written: Path, notify: Notify) -> None:
    """Report if an output is `written` to another path than `path`."""
    if written != path:
        notify(f"{path}: left as it was; the run that did not end is in {written}")


# -- the name of a picture, where the user gave none ------------------------------------------------------------------

_MAX_NAME = 180
"""Bytes of a chosen name: systems allow 255, and there are endings and temporary names."""


def default_output(content: Path, styles: Sequence[Path]) -> Path:
    """Return the default path of a picture, CONTENT-STYLE.png beside the content.

    >>> default_output(Path("pictures/photo.jpg"), [Path("oaks.png"), Path("ink.tif")])
    PosixPath('pictures/photo-oaks-ink.png')
    """
    styles = [Path(os.path.abspath(style)) for style in styles]
    names = [content.stem, *((style.name if style.is_dir() else style.stem) or "style" for style in styles)]
    name = "-".join(names)
    return content.with_name(f"{name if len(os.fsencode(name)) <= _MAX_NAME else file_name(name)}.png")


def check_default_output(path: Path, bits: int, quality: int) -> None:
    """Raise InputError if no picture can be written beside `path`, the default path."""
    try:
        check_picture_writable(next(each for each in numbered(path) if not os.path.lexists(each)), bits, quality)
    except InputError as error:
        raise InputError(f"{error} with --output") from None


def save_beside(result: Result, notify: Notify, path: Path) -> Path:
    """Write the picture of a result beside existing ones, and return its path.

    The path is the first of out.png, out-2.png, … that is free or of the same job. The picture of a run that did not
    finish replaces none. Reports if it is written to another path than `path`.
    """
    same_job = job_key(result.provenance)

    def is_replaceable(existing: Path) -> bool:
        made = read_made(existing) if result.complete else None
        return made is not None and job_key(made[1]) == same_job

    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
            temporary = Path(folder, path.name)
            result.save(temporary)
            written = move_to_first(temporary, (numbered if result.complete else interrupted)(path), is_replaceable)
    except OSError as error:
        raise NSTError(f"{path}: can't write it ({error.strerror or error}); free some space or name another") from None
    if not result.complete:
        report_path(path, written, notify)
    elif written != path:
        notify(f"{path}: something else, left as it was; --overwrite would replace it")
    return written


def larger_option(recipe: Recipe, fitted: Recipe) -> str:
    """Return the option for a picture of twice the size.

    `fitted` is the `recipe` with the sizes of its run.

    >>> from gluon_nst import recipes
    >>> recipe = recipes.read("fine")
    >>> larger_option(recipe, recipes.fit(recipe, (1000, 1500)))
    '--longest-side 1024'
    """
    count = 1 if recipe.size_factor != 1 else len(recipe.stages)  # a ladder is given by its last size
    shapes = [(2 * height, 2 * width) for height, width in (stage.shape for stage in fitted.stages[-count:])]
    if all(isinstance(stage.size, tuple) for stage in recipe.stages):
        return f"--sizes {','.join(f'{height}x{width}' for height, width in shapes)}"
    return f"--longest-side {','.join(str(max(shape)) for shape in shapes)}"
