"""Protocols for the progress of a download, and for messages to the user."""

from __future__ import annotations

from typing import Callable, Optional, Protocol


class Download(Protocol):
    """The progress bar of a download."""

    def update(self, size: int) -> object:
        """Called when `size` more bytes are downloaded."""

    def close(self) -> object:
        """Called at the end of the download."""


Progress = Callable[[str, Optional[int]], Optional[Download]]
"""An Observer's `download`: takes a description and the size in bytes or None, and returns a progress bar or None."""


class Notifier(Protocol):
    """The protocol of objects that are notified while a run is prepared.

    An Observer is one of them.
    """

    def note(self, line: str) -> object:
        """Called with a line for the user."""

    def download(self, description: str, size: int | None) -> Download | None:
        """Called when a download starts, with its size in bytes if known.

        Returns its progress bar, or None.
        """
