"""A folder with the last two checkpoints of a run.

The previous one is used if the newest is damaged.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, Callable

from filelock import BaseFileLock

from gluon_nst.machine.files import given, lock_folder, written_whole
from gluon_nst.runs.checkpoint import container

KEPT = 2
_NAME, _LOCK = "state-{:08}.checkpoint", "lock"
_PATTERN = re.compile(r"state-(\d{8,18})\.checkpoint")


def pattern() -> str:
    """Return the glob pattern of checkpoints' names.

    In alphabetical order the newest is the last.
    """
    return "state-????????.checkpoint"


def first() -> str:
    """Return the name of the first checkpoint."""
    return _NAME.format(1)


class Generations:
    """The checkpoints in a `folder`.

    `say` is called with a line for the user if one is damaged. They are numbered, and the one with the largest number
    is the newest, whatever the files' times.
    """

    def __init__(self, folder: str | Path, say: Callable[[str], object]) -> None:
        self.folder, self._say = given(folder), say
        self._lock: BaseFileLock | None = None
        self._is_new = False
        """Whether the folder was made by `open`."""
        self._good: list[Path] = []
        """Those that this process has read or written, the newest first."""

    def open(self) -> None:
        """Create the folder and lock it.

        Raises InputError if that fails, or if another process has locked it.
        """
        self._is_new = not self.folder.exists()
        self._lock = lock_folder(self.folder, _LOCK, _NAME.format(0))
        self._remove_unfinished()

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock:
            self._lock.release()

    def remove(self, *, folder: bool = False) -> None:
        """Delete the checkpoints and nothing else.

        The folder is deleted too if it is then empty and was made by `open`, or with `folder`. What can't be deleted
        stays. No other process may have the folder open.
        """
        self._good = []
        with contextlib.suppress(OSError):
            self._remove_unfinished()
            for _, path in self._numbered():
                if container.is_checkpoint(path):
                    path.unlink()
            lock = self.folder / _LOCK
            if lock.is_file() and not lock.stat().st_size:
                lock.unlink()
            if folder or self._is_new:
                self.folder.rmdir()

    def _remove_unfinished(self) -> None:
        """Delete the temporary files of a process that was killed while it wrote."""
        for path in self.folder.glob(".state-????????.*.checkpoint"):
            path.unlink()

    def _numbered(self) -> list[tuple[int, Path]]:
        """Return (number, path) of all checkpoints in the folder, the newest first."""
        if not self.folder.is_dir():
            return []
        matches = ((_PATTERN.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted(((int(match.group(1)), path) for match, path in matches if match), reverse=True)

    def newest(self) -> Any:
        """Return the tree in the newest intact checkpoint, or None without checkpoints.

        Raises Damaged if none is intact, and InputError if one can't be read.
        """
        damaged, paths = [], [path for _, path in self._numbered()]
        for place, path in enumerate(paths):
            try:
                tree = container.read(path)
            except container.Damaged as error:
                damaged.append(str(error))
                continue
            self._good = paths[place:]
            for line in damaged:
                self._say(f"{line}; the previous one, {path.name}, is used instead")
            return tree
        if damaged:
            raise container.Damaged(f"{damaged[0]}; no checkpoint in {self.folder} is intact; restart with --fresh")
        return None

    @property
    def is_empty(self) -> bool:
        """Whether the folder has no checkpoint."""
        return not self._numbered()

    def write(self, tree: Any) -> None:
        """Write a checkpoint, and delete older ones.

        The previous one is kept if this process has read or written it.

        Raises NSTError if it can't be written.
        """
        self._add(lambda path: container.write(path, tree))

    def keep(self, content: bytes) -> None:
        """Write the bytes of a checkpoint that another process made.

        The previous one is assumed to be intact.
        """

        def write(path: Path) -> None:
            with written_whole(path) as file:
                file.write(content)

        self._good = self._good or [path for _, path in self._numbered()[:1]]
        self._add(write)

    def content(self) -> bytes | None:
        """Return the bytes of the newest intact checkpoint, or None if there is none.

        Raises the errors of `newest`.
        """
        return None if self.newest() is None else self._good[0].read_bytes()

    def _add(self, write: Callable[[Path], None]) -> None:
        numbered = self._numbered()
        path = self.folder / _NAME.format(numbered[0][0] + 1 if numbered else 1)
        write(path)
        self._good = [path, *self._good][:KEPT]
        for _, other in numbered:
            if other not in self._good and container.is_checkpoint(other):
                with contextlib.suppress(OSError):
                    other.unlink()

    def take_back(self) -> None:
        """Delete the newest checkpoint, if there is a previous one."""
        if len(self._good) > 1:
            self._good.pop(0).unlink()
