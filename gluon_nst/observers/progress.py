"""Progress: a bar with an estimate, and the lines that the chapter prints."""

from __future__ import annotations

import sys
from typing import Any, Callable, Mapping

from tqdm.auto import tqdm  # in a notebook, the bar is a widget

from gluon_nst.network.layers import multiplications
from gluon_nst.recipes import Recipe
from gluon_nst.runs.observer import Download, Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

Notify = Callable[[str], object]
"""Prints a line for the user."""


def interval() -> float:
    """Return the seconds between two updates of the bar."""
    return 0.2 if sys.stderr.isatty() else 30  # fewer lines in a log


def is_watched() -> bool:
    """Return whether a bar is visible: in a notebook, or on a terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {}) or sys.stderr.isatty()


class Bar(Observer):
    """A progress bar on standard error, with lines and downloads above it.

    `recipes` maps the names of several runs, in order, to their recipes; without it, each run has a bar.
    The bar's unit is a multiplication, so that the estimate holds across sizes and recipes. If `quiet`, only lines are
    printed.
    """

    def __init__(self, recipes: Mapping[str, Recipe] | None = None, quiet: bool = False) -> None:
        self._recipes, self._quiet, self._is_single = dict(recipes or {}), quiet, not recipes
        self._current = -1
        self._bar: tqdm | None = None

    def note(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def download(self, description: str, size: int | None) -> Download | None:
        if self._quiet:
            return None
        return tqdm(desc=description, total=size, unit="B", unit_scale=True, mininterval=interval(), leave=False)

    def counting(self, description: str, count: int | None) -> Download | None:
        """Like `download`, for a number of objects."""
        return None if self._quiet else tqdm(desc=description, total=count, mininterval=interval(), leave=False)

    def begin(self, run: Run) -> None:
        if self._is_single:
            self.close()
            self._recipes, self._current, self._bar = {"": run.recipe}, -1, None
        self._current += 1
        if len(self._recipes) > 1:
            is_new = self._bar is None  # tqdm shows a new bar itself
            bar = self._show(self._numbering, self._units_before, "")
            if not is_new:
                bar.refresh()

    @property
    def _numbering(self) -> str:
        """The number and the name of the current run, if there are several."""
        names = list(self._recipes)
        return f"{self._current + 1}/{len(names)} {names[self._current]} " if len(names) > 1 else ""

    @property
    def _units_before(self) -> float:
        """The units of the earlier runs, as if all of their epochs had been computed."""
        return sum(map(units, list(self._recipes.values())[: self._current]))

    def state(self, state: State) -> None:
        recipe, epoch = list(self._recipes.values())[self._current], state.record[-1]
        stage = recipe.stages[epoch.stage - 1]
        height, width = stage.shape
        description = f"{self._numbering}{height}x{width} epoch {epoch.epoch + 1}/{stage.epochs}"
        done = self._units_before + units(recipe, epoch.stage - 1)
        done += (epoch.epoch + 1) * height * width * multiplications(recipe.last_layer)
        self._show(description, done, f"loss {epoch.losses.total:.4g}")

    def _show(self, description: str, done: float, loss: str) -> tqdm:
        if self._bar is None:  # for a single run after its first epoch: the warm-up is not in the estimate
            self._bar = tqdm(
                desc=description,
                total=sum(map(units, self._recipes.values())),
                initial=done,
                disable=self._quiet,
                mininterval=interval(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        else:
            self._bar.update(done - self._bar.n)
        self._bar.set_description_str(description, refresh=False)
        self._bar.set_postfix_str(loss, refresh=False)
        return self._bar

    def end(self, result: Result) -> None:
        if self._is_single:
            self.close()

    def close(self) -> None:
        """Close the bar, which stays on the screen."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def units(recipe: Recipe, stages: int | None = None) -> float:
    """Return the multiplications of the first `stages` of a recipe, by default of all."""
    pixels = sum(stage.epochs * stage.shape[0] * stage.shape[1] for stage in recipe.stages[:stages])
    return pixels * multiplications(recipe.last_layer)


class Lines(Observer):
    """Prints the chapter's lines, every `report_every` epochs of the recipe."""

    def __init__(self, say: Notify = tqdm.write) -> None:
        self._say = say
        self._lr: float | None = None

    def begin(self, run: Run) -> None:
        self._every, self._lr = run.recipe.report_every, None

    def state(self, state: State) -> None:
        epoch = state.record[-1]
        if epoch.epoch and self._lr not in (None, epoch.lr):
            self._say(f"change lr to {epoch.lr:.1e}")
        self._lr = epoch.lr
        if epoch.epoch and epoch.epoch % self._every == 0:
            losses = epoch.losses
            self._say(
                f"epoch {epoch.epoch:3d}, content loss {losses.content:.2f}, style loss {losses.style:.2f}, "
                f"TV loss {losses.tv:.2f}, {epoch.seconds:.2f} sec"
            )
