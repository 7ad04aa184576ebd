"""A film of a run: the composite beside its losses."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

from PIL import Image

from gluon_nst.errors import InputError
from gluon_nst.losses.records import Epoch
from gluon_nst.machine.files import check_ending, free_path, given, placed_whole
from gluon_nst.runs import figures
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

FILMS = (".gif", ".webp", ".mp4")

_MOMENTS = 90
_FRAMES_A_SECOND = 12
_REST = 2  # seconds that the last frame stays
_LONGEST_SIDE = 480  # of the composite in a film


def check_film(path: str | Path) -> None:
    """Raise InputError unless `path` names a film that can be made: GIF, WebP or, with imageio-ffmpeg, MP4."""
    check_ending(path, FILMS)
    if given(path).suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(
            f"{path}: MP4 takes the package imageio-ffmpeg; install gluon-nst[film], or name a .gif or .webp"
        )


def _frames_as_they_are(frames: Iterable[Any], total: int) -> Iterable[Any]:
    return frames


class Film(Observer):
    """Collects about ninety moments of a run, and makes a film of them at its end.

    It is written to `path`, or beside it where the run did not come to its end and something is there. `written` is
    where it is then, or None where the run came to nothing. `progress(frames, total)` wraps the frames as they are
    made.
    """

    def __init__(
        self, path: str | Path, progress: Callable[[Iterable[Any], int], Iterable[Any]] = _frames_as_they_are
    ) -> None:
        self.path, self._progress = given(path), progress
        self._moments: list[tuple[int, Image.Image]] = []
        self.written: Path | None = None

    def begin(self, run: Run) -> None:
        self._run, self._moments, self.written = run, [], None
        self._every = -(-sum(stage.epochs for stage in run.recipe.stages) // _MOMENTS)

    def state(self, state: State) -> None:
        done = len(state.record)
        if (done - 1) % self._every == 0:
            self._keep(done, state.picture(self._run))

    def _keep(self, done: int, picture: Image.Image) -> None:
        smaller = picture.copy()
        smaller.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        self._moments.append((done, smaller))

    def end(self, result: Result) -> None:
        if not self._moments or self._moments[-1][0] < len(result.losses):
            self._keep(len(result.losses), result.image)
        path = free_path(self.path, result.complete)
        write_film(path, self._moments, result.losses, self._progress)
        self.written = path


def write_film(
    path: Path,
    moments: Sequence[tuple[int, Image.Image]],
    record: Sequence[Epoch],
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = _frames_as_they_are,
) -> None:
    """Write a film of `moments`, each (number of epochs done, PIL image), beside the losses of a run whose record is
    given."""
    frames = iter(progress(figures.film(moments, record), len(moments)))
    with placed_whole(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames)
        else:
            _write_animation(temporary, frames, path.suffix.lower().lstrip("."))


def _write_animation(path: str, frames: Iterator[Image.Image], kind: str) -> None:
    first, *others = frames
    milliseconds = [1000 // _FRAMES_A_SECOND] * len(others) + [1000 * _REST]
    first.save(path, format=kind, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _write_mp4(path: str, frames: Iterator[Image.Image]) -> None:
    import imageio_ffmpeg

    first = next(frames)
    # yuv420p and even sides, as figures.film gives them, play everywhere.
    writer = imageio_ffmpeg.write_frames(str(path), first.size, fps=_FRAMES_A_SECOND, macro_block_size=2, quality=7)
    writer.send(None)
    last = first
    for last in itertools.chain([first], frames):
        writer.send(last.tobytes())
    for _ in range(_FRAMES_A_SECOND * _REST):
        writer.send(last.tobytes())
    writer.close()
