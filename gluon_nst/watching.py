"""Watching a run: pictures kept along the way, a film of it, a window that shows it. Each is a `watch` for `transfer`."""

import importlib.util
import itertools
import json
import time

from PIL import Image

from gluon_nst import figures
from gluon_nst.errors import InputError
from gluon_nst.files import check_ending, given, placed_whole
from gluon_nst.images import write_image

FILMS = (".gif", ".webp", ".mp4")

_MOST_SNAPSHOTS = 10_000
_MOMENTS = 90
_FRAMES_A_SECOND = 12
_REST = 2  # seconds that the last frame stays
_LONGEST_SIDE = 480  # of the composite in a film
_SECONDS_BETWEEN_TWO_DRAWINGS = 1


def snapshot_paths(path, every, recipe):
    """{(stage, epochs done): path} of the pictures that Snapshots writes: out-stage-1-epoch-050.png, …"""
    path, count = given(path), sum(stage.epochs // every for stage in recipe.stages)
    if count > _MOST_SNAPSHOTS:
        raise InputError(f"save every {every}: would keep {count} pictures; choose a larger number of epochs")
    return {
        (number, done): path.with_name(f"{path.stem}-stage-{number}-epoch-{done:0{len(str(stage.epochs))}}{path.suffix}")
        for number, stage in enumerate(recipe.stages, start=1)
        for done in range(every, stage.epochs + 1, every)
    }


class Snapshots:
    """Writes the composite after every so many epochs of each stage, beside `path`.

    `provenance` is the dictionary for their text chunk: that of the run.
    """

    def __init__(self, path, every, recipe, provenance):
        self._paths, self._provenance = snapshot_paths(path, every, recipe), provenance

    def __call__(self, epoch, picture):
        path = self._paths.get((epoch.stage, epoch.epoch + 1))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            provenance = {**self._provenance, "stage": epoch.stage, "epochs": epoch.epoch + 1}
            write_image(picture(), path, json.dumps(provenance, sort_keys=True))


class Film:
    """Collects about ninety moments of a run by `recipe`; `write` makes the film: the composite beside its losses."""

    def __init__(self, recipe):
        self._moments, self._losses = [], []
        self._every = -(-sum(stage.epochs for stage in recipe.stages) // _MOMENTS)

    def __call__(self, epoch, picture):
        self._losses.append(epoch)
        if (len(self._losses) - 1) % self._every == 0:
            self._keep(picture())

    def _keep(self, picture):
        smaller = picture.copy()
        smaller.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.LANCZOS)
        self._moments.append((len(self._losses), smaller))

    def write(self, path, picture, progress=lambda frames, total: frames):
        """Write the film to `path`; it ends with `picture`, the run's result. `progress(frames, total)` wraps its frames."""
        path = given(path)
        if not self._losses:  # stopped before it saw anything
            return
        if not self._moments or self._moments[-1][0] < len(self._losses):
            self._keep(picture)
        frames = iter(progress(figures.film(self._moments, self._losses), len(self._moments)))
        with placed_whole(path) as temporary:
            if path.suffix.lower() == ".mp4":
                _write_mp4(temporary, frames)
            else:
                _write_animation(temporary, frames, path.suffix.lower().lstrip("."))


def check_film(path):
    """Raise InputError unless `path` names a film that can be made: GIF, WebP or, with imageio-ffmpeg, MP4."""
    check_ending(path, FILMS)
    if given(path).suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(f"{path}: MP4 takes the package imageio-ffmpeg; install gluon-nst[film], or name a .gif or .webp")


def _write_animation(path, frames, kind):
    first, *others = frames
    milliseconds = [1000 // _FRAMES_A_SECOND] * len(others) + [1000 * _REST]
    first.save(path, format=kind, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _write_mp4(path, frames):
    import imageio_ffmpeg

    first = next(frames)
    # yuv420p and even sides, as figures.film gives them, play everywhere.
    writer = imageio_ffmpeg.write_frames(str(path), first.size, fps=_FRAMES_A_SECOND, macro_block_size=2, quality=7)
    writer.send(None)
    for last in itertools.chain([first], frames):
        writer.send(last.tobytes())
    for _ in range(_FRAMES_A_SECOND * _REST):
        writer.send(last.tobytes())
    writer.close()


class Window:
    """Shows the run by `recipe` in a window, where there is a screen; `opened` tells."""

    def __init__(self, recipe):
        self._losses, self._drawn, self._panel = [], 0.0, None
        self._recipe, self._figure = recipe, None
        try:  # without a screen matplotlib falls back to drawing into memory, or refuses
            from matplotlib import pyplot, rcsetup

            self._pyplot = pyplot
            if pyplot.get_backend().lower() in {backend.lower() for backend in rcsetup.interactive_bk}:
                self._figure = pyplot.figure("gluon-nst")
                self._figure.show()
        except Exception:  # each toolkit has its own error for a screen that can't be opened
            self._figure = None

    @property
    def opened(self):
        return self._figure is not None

    def __call__(self, epoch, picture):
        self._losses.append(epoch)
        if self.opened and time.monotonic() - self._drawn > _SECONDS_BETWEEN_TWO_DRAWINGS:
            self._draw(picture())
            self._drawn = time.monotonic()

    def _draw(self, picture):
        if not self._pyplot.fignum_exists(self._figure.number):  # closed by the user: the run goes on
            return
        if self._panel is None:
            num_epochs = sum(stage.epochs for stage in self._recipe.stages)
            self._panel = figures.Panel(self._figure, (picture.height, picture.width), num_epochs)
        self._panel.scale(self._losses)
        self._panel.draw(picture, self._losses)
        self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()

    def stay(self, picture):
        """Show the last `picture` until the window is closed."""
        if self.opened and self._losses:
            self._draw(picture)
            self._pyplot.show()
