"""Checks of what a command is to write, and the places where it writes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Callable, Iterable, Iterator

from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import check_folder, check_writable, given, place_of
from gluon_nst.observers.progress import Say
from gluon_nst.runs.result import Result


def check_distinct(outputs: Iterable[Path], *inputs: object) -> None:
    """Refuse an output that would overwrite another one, or a file that the run reads."""
    paths = [given(str(path)) for path in inputs if path]
    taken = {os.path.realpath(path) for path in paths if os.path.isfile(path)}
    for output in map(os.path.realpath, outputs):
        if output in taken:
            raise InputError(f"{output}: is one of the run's inputs, or another output; choose another name")
        taken.add(output)


def check_writable_with(folder: Path, outputs: Iterable[Path]) -> None:
    """Refuse outputs that can't be written once `folder` is there, and a folder that can't be made."""
    check_folder(folder)
    for path in outputs:
        if path.parent != folder or folder.is_dir():
            check_writable(path)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell whoever stops the program while it writes into `folder` that what is there is whole."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {folder} is whole, the rest is not written") from None


class Attempts:
    """What is to be written at the end of a run, one after the other: what can't be, on a full disk for instance, keeps
    nothing else."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._failed: list[NSTError] = []

    def write(self, write: Callable[[Path], object], path: Path, elsewhere: bool = False) -> Path | None:
        """Have `write` write to `path`, or, where it can't and that is wanted, to the folder for temporary files; gives
        where it went."""
        try:
            write(path)
            return path
        except NSTError as error:
            self._failed.append(error)
        if elsewhere:
            with contextlib.suppress(NSTError, OSError):
                other = Path(tempfile.mkdtemp(prefix="gluon-nst-"), path.name)
                write(other)
                return other
        return None

    def end(self, advice: str = "") -> None:
        """Raise an NSTError where something could not be written; the `advice` is what to do then."""
        for error in self._failed[:-1]:
            self._say(f"error: {error}")
        if self._failed:
            raise NSTError(f"{self._failed[-1]}{advice}")


def place(path: Path, result: Result, say: Say) -> Path:
    """Where to write of `result` what was to be written to `path`: beside what is there, unless the run came to its
    end."""
    found = place_of(path, result.complete)
    tell_place(path, found, say)
    return found


def tell_place(path: Path, found: Path, say: Say) -> None:
    """Say so where something is written to `found` that was to be written to `path`."""
    if found != path:
        say(f"{path}: left as it was; the run that did not end is in {found}")
