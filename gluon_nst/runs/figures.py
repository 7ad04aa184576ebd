"""Figures: the losses of a run, labelled sheets, and the frames of a film."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gluon_nst.losses.records import Epoch
from gluon_nst.machine.files import check_writable, given, placed_whole
from gluon_nst.recipes import Recipe

ENDINGS = (".png", ".svg", ".pdf")

_LONGEST_SIDE = 1200  # of a picture in a sheet, in pixels: enough for print, and the file stays small

_PLAIN = {"parse_math": False}  # a $ in a name or a title does not start a formula

_LINES = {
    "total": {"label": "total", "color": "black", "linewidth": 2},
    "content": {"label": "content", "color": "tab:blue", "linewidth": 1},
    "style": {"label": "style", "color": "tab:orange", "linewidth": 1},
    "tv": {"label": "TV", "color": "tab:green", "linewidth": 1},
}


def save(figure: Figure, path: str | Path, provenance: str = "") -> None:
    """Write a matplotlib Figure as PNG, SVG or PDF, by the ending of `path`.

    `provenance` goes into it as text.
    """
    path = given(path)
    check_writable(path, ENDINGS)
    kind = path.suffix.lower().lstrip(".")
    # No dates: the same figure gives the same bytes.
    kinds: dict[str, dict[str, Any]] = {
        "png": {"gluon-nst": provenance},
        "svg": {"Description": provenance, "Date": None},
        "pdf": {"Subject": provenance, "CreationDate": None},
    }
    metadata = {name: value for name, value in kinds[kind].items() if value != ""}
    if kind != "png":  # SVG and PDF embed the pictures at their own resolution
        for axes in figure.axes:
            for image in axes.images:
                image.set_interpolation("none")
    with placed_whole(path) as temporary, rc_context({"svg.hashsalt": "gluon-nst"}):
        figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)


# -- losses -----------------------------------------------------------------------------------------------------------


def _axis_floor(curves: Iterable[Sequence[float]]) -> float | None:
    """Return the lower limit of a logarithmic axis, or None for a linear axis.

    A start from the content picture has a content loss of almost 0, which would flatten the other curves.
    """
    medians = [sorted(curve)[len(curve) // 2] for curve in curves]
    return min((median / 5 for median in medians if median > 0), default=None)


def _curves(record: Sequence[Epoch]) -> dict[str, list[float]]:
    """Return the four losses of each epoch, by name."""
    return {name: [getattr(epoch.losses, name) for epoch in record] for name in _LINES}


def _term_curves(record: Sequence[Epoch]) -> Iterator[tuple[str, list[float], str, str]]:
    """Yield (label, losses, colour, line style) of each content and style loss."""
    for kind, line in (("content", "--"), ("style", "-")):
        for number, name in enumerate(record[0].losses.of(kind)):
            curve = [epoch.losses[f"{kind}/{name}"] for epoch in record]
            yield f"{kind} {name}", curve, f"C{number + 1}" if kind == "style" else "C0", line


def plot_losses(record: Sequence[Epoch], recipe: Recipe) -> Figure:
    """Plot the losses over the epochs, in total and by layer.

    Return a matplotlib Figure. Dashed lines are the starts of stages, dotted red ones changes of the weights of the
    losses. `record` has the epochs of a run by `recipe`.
    """
    figure = Figure(figsize=(8, 7), constrained_layout=True)
    sums, by_layer = figure.subplots(2, sharex=True)
    plot_totals(sums, record, recipe)
    terms = list(_term_curves(record))
    for label, curve, colour, line in terms:
        by_layer.plot(curve, line, label=label, color=colour, linewidth=1)
    _finish(by_layer, record, recipe, [curve for _, curve, *_ in terms])
    sums.set(xlabel="")
    by_layer.set(ylabel="weighted loss by layer")
    return figure


def plot_totals(axes: Axes, record: Sequence[Epoch], recipe: Recipe) -> None:
    """Plot the total loss and its three terms over the epochs into matplotlib Axes."""
    curves = _curves(record)
    for name, curve in curves.items():
        axes.plot(curve, **_LINES[name])
    _finish(axes, record, recipe, curves.values())
    for index, stage in _stage_starts(record):
        height, width = recipe.stages[stage - 1].shape
        axes.annotate(
            f"{height} × {width}", (index, 0), (3, 3), xycoords=("data", "axes fraction"),
            textcoords="offset points", color="grey", fontsize=9,
        )  # fmt: skip
    axes.set_title(recipe.title, **_PLAIN)


def _stage_starts(record: Sequence[Epoch]) -> list[tuple[int, int]]:
    """Return (index, stage) of each first epoch of a stage."""
    return [(index, epoch.stage) for index, epoch in enumerate(record) if epoch.epoch == 0]


def _finish(axes: Axes, record: Sequence[Epoch], recipe: Recipe, curves: Iterable[Sequence[float]]) -> None:
    """Add the starts of stages, the changes of weights, labels and a logarithmic axis."""
    for index, _ in _stage_starts(record):
        axes.axvline(index, color="grey", linestyle="--", linewidth=0.8)
    for index, epoch in enumerate(record):
        if epoch.epoch in recipe.changed_in(epoch.stage):
            axes.axvline(index, color="tab:red", linestyle=":", linewidth=1.2)
    floor = _axis_floor(curves)
    if floor:  # otherwise no loss is above 0, and the axis stays linear
        axes.set(yscale="log")
        axes.set_ylim(bottom=floor)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.set(xlabel="epoch", ylabel="weighted loss")


# -- sheets -----------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A cell of a sheet: a PIL image or a note, with a title and a row title."""

    picture: Image.Image | None
    title: str = ""
    note: str = ""
    side: str = ""


def sheet(rows: Sequence[Sequence[Cell | None]], *, title: str = "", note: str = "") -> Figure:
    """Draw a labelled contact sheet; return a matplotlib Figure.

    `rows` are lists of Cells, or None for an empty cell. Each picture keeps its aspect ratio. The `note` is below
    them.
    """
    cells = [cell for row in rows for cell in row if cell]
    shapes = [cell.picture.height / cell.picture.width for cell in cells if cell.picture]
    tallest = min(max(shapes, default=1), 2)
    columns = max(map(len, rows))
    figure = Figure(figsize=(3 * columns + 0.3, (3 * tallest + 0.4) * len(rows) + 0.4), constrained_layout=True)
    for axes_row, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows):
        for axes, cell in zip(axes_row, [*row, *[None] * columns]):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if cell is None:
                continue
            axes.set_title(cell.title, fontsize=11, **_PLAIN)
            axes.set_ylabel("\n".join(textwrap.wrap(cell.side, 30)), fontsize=11, **_PLAIN)
            if cell.picture:
                picture = cell.picture.copy()
                picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
                axes.imshow(picture)
            else:
                axes.set(facecolor="0.92", xlim=(0, 1), ylim=(tallest, 0), aspect="equal")
                reason = "\n".join(textwrap.wrap(cell.note, 34))
                axes.text(0.5, tallest / 2, reason, ha="center", va="center", fontsize=9, color="darkred", **_PLAIN)
    figure.suptitle(title, fontsize=12, **_PLAIN)
    if note:
        figure.supxlabel(note, fontsize=9, color="grey", **_PLAIN)
    return figure


# -- the panel of a film ----------------------------------------------------------------------------------------------


class Panel:
    """The composite beside its loss curves, redrawn for each snapshot.

    `figure` is a matplotlib Figure, `shape` the (height, width) of the composite, `num_epochs` that of the whole run.
    """

    def __init__(self, figure: Figure, shape: tuple[int, int], num_epochs: int) -> None:
        height, width = shape
        picture_width = min(max(4 * width / height, 2), 8)  # inches; wider or taller pictures do not fill them
        figure.set_size_inches(picture_width + 4.6, 4.4)
        self._picture, self._curve = figure.subplots(1, 2, gridspec_kw={"width_ratios": (picture_width, 4.2)})
        figure.subplots_adjust(left=0.01, right=0.98, top=0.92, bottom=0.13, wspace=0.16)
        self._curve.set(xlabel="epoch", xlim=(0, num_epochs))
        self._curve.set_title("weighted losses", fontsize=11)
        self._lines = {name: self._curve.plot([], [], **line)[0] for name, line in _LINES.items()}
        self._curve.legend(fontsize=8, loc="upper center", ncol=4, columnspacing=1, handlelength=1.5)

    def scale(self, record: Sequence[Epoch]) -> None:
        """Fit the axis to all of the losses in `record`."""
        curves = _curves(record).values()
        bottom, top = _axis_floor(curves), max(map(max, curves))
        if bottom and bottom < top:
            self._curve.set(yscale="log", ylim=(bottom, top * (top / bottom) ** 0.15))

    def draw(self, picture: Image.Image, record: Sequence[Epoch]) -> None:
        """Show `picture`, a PIL image, and the curves of the `record` so far."""
        self._picture.clear()
        self._picture.set_axis_off()
        self._picture.imshow(picture)
        last = record[-1]
        self._picture.set_title(f"{picture.height} × {picture.width}, epoch {last.epoch + 1}", fontsize=11)
        for name, curve in _curves(record).items():
            self._lines[name].set_data(range(len(record)), curve)


def film(snapshots: Sequence[tuple[int, Image.Image]], record: Sequence[Epoch]) -> Iterator[Image.Image]:
    """Yield the frames of a film: the composite of each snapshot beside the losses.

    The frames are PIL images of one even size. A snapshot is (number of finished epochs, PIL image); `record` has the
    epochs of the whole run.
    """
    figure = Figure(dpi=100)
    canvas = FigureCanvasAgg(figure)
    _, last = snapshots[-1]
    panel = Panel(figure, (last.height, last.width), len(record))
    panel.scale(record)
    for done, picture in snapshots:
        panel.draw(picture, record[:done])
        canvas.draw()
        frame = np.asarray(canvas.buffer_rgba())[:, :, :3]
        yield Image.fromarray(frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2])  # codecs require even sides
