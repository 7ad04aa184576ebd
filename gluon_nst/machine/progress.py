"""Protocol of what reports the progress of a download."""

from __future__ import annotations

from typing import Callable, Optional, Protocol


class Download(Protocol):
    """What a download is reported to."""

    def update(self, size: int) -> object:
        """So many bytes more are here."""

    def close(self) -> object:
        """It has ended."""


Progress = Callable[[str, Optional[int]], Optional[Download]]
"""An Observer's `download`: takes a description and the size in bytes or None, and returns a progress bar or None."""


class Notifier(Protocol):
    """What is told about a run before it begins: an Observer, for instance."""

    def note(self, line: str) -> object:
        """Take a line for people."""

    def download(self, description: str, size: int | None) -> Download | None:
        """Take the beginning of a download, of `size` bytes if that is known; return what it is reported to."""
