"""A film of a run: the composite beside its losses."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

from PIL import Image

from gluon_nst.losses.records import Epoch
from gluon_nst.machine.extras import require
from gluon_nst.machine.files import check_ending, free_path, given, placed_whole
from gluon_nst.runs import figures
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

FILMS = (".gif", ".webp", ".mp4")

_SNAPSHOTS = 90
_FRAMES_PER_SECOND = 12
_LAST_FRAME_SECONDS = 2  # duration of the last frame
_LONGEST_SIDE = 480  # of the composite in a film


def check_film(path: str | Path) -> None:
    """Raise InputError unless `path` names a film in a supported format.

    The formats are GIF, WebP and, with imageio-ffmpeg, MP4.
    """
    check_ending(path, FILMS)
    if given(path).suffix.lower() == ".mp4":
        require(f"{path}: MP4", "imageio-ffmpeg", "name a .gif or .webp")


def _without_progress(frames: Iterable[Any], total: int) -> Iterable[Any]:
    return frames


class Film(Observer):
    """An observer that writes a film of about ninety snapshots of a run.

    The film is written to `path`, or next to it if the run did not finish and `path` exists. `written` is then its
    path, or None if no film was written. `progress(frames, total)` wraps the frames, to show progress.
    """

    def __init__(
        self, path: str | Path, progress: Callable[[Iterable[Any], int], Iterable[Any]] = _without_progress
    ) -> None:
        self.path, self._progress = given(path), progress
        self._snapshots: list[tuple[int, Image.Image]] = []
        self.written: Path | None = None

    def begin(self, run: Run) -> None:
        self._run, self._snapshots, self.written = run, [], None
        self._interval = -(-sum(stage.epochs for stage in run.recipe.stages) // _SNAPSHOTS)

    def state(self, state: State) -> None:
        done = len(state.record)
        if (done - 1) % self._interval == 0:
            self._add(done, state.picture(self._run))

    def _add(self, done: int, picture: Image.Image) -> None:
        small = picture.copy()
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        self._snapshots.append((done, small))

    def end(self, result: Result) -> None:
        if not self._snapshots or self._snapshots[-1][0] < len(result.losses):
            self._add(len(result.losses), result.image)
        path = free_path(self.path, result.complete)
        write_film(path, self._snapshots, result.losses, self._progress)
        self.written = path


def write_film(
    path: Path,
    snapshots: Sequence[tuple[int, Image.Image]],
    record: Sequence[Epoch],
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = _without_progress,
) -> None:
    """Write a film of `snapshots` and of the losses in a run's `record`.

    A snapshot is (number of finished epochs, PIL image).
    """
    frames = iter(progress(figures.film(snapshots, record), len(snapshots)))
    with placed_whole(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames)
        else:
            _write_animation(temporary, frames, path.suffix.lower().lstrip("."))


def _write_animation(path: str, frames: Iterator[Image.Image], kind: str) -> None:
    first, *others = frames
    milliseconds = [1000 // _FRAMES_PER_SECOND] * len(others) + [1000 * _LAST_FRAME_SECONDS]
    first.save(path, format=kind, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _write_mp4(path: str, frames: Iterator[Image.Image]) -> None:
    import imageio_ffmpeg

    first = next(frames)
    # yuv420p and even sides, as figures.film gives them, play everywhere.
    writer = imageio_ffmpeg.write_frames(str(path), first.size, fps=_FRAMES_PER_SECOND, macro_block_size=2, quality=7)
    writer.send(None)
    last = first
    for last in itertools.chain([first], frames):
        writer.send(last.tobytes())
    for _ in range(_FRAMES_PER_SECOND * _LAST_FRAME_SECONDS):
        writer.send(last.tobytes())
    writer.close()
