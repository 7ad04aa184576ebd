"""Progress: a bar with an estimate, and the lines that the chapter prints."""

from __future__ import annotations

import sys
from typing import Any, Callable, Mapping

from tqdm import tqdm

from gluon_nst.network.layers import multiplications
from gluon_nst.recipes import Recipe
from gluon_nst.runs.observer import Download, Observer
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

Say = Callable[[str], object]
"""What is given a line for people."""


def interval() -> float:
    """Seconds between two signs of life."""
    return 0.2 if sys.stderr.isatty() else 30  # a log needs no more than a sign of life


class Bar(Observer):
    """A bar on standard error over one run or several, and lines and downloads above it.

    `recipes` maps the names of the runs, in their order, to what they do; without, each run has a bar of its own.
    The bar's unit is a multiplication, so that the estimate holds across the sizes and the recipes. Where it is `quiet`
    there are only the lines.
    """

    def __init__(self, recipes: Mapping[str, Recipe] | None = None, quiet: bool = False) -> None:
        self._recipes, self._quiet, self._one = dict(recipes or {}), quiet, not recipes
        self._begun = -1
        self._bar: tqdm | None = None

    def note(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def download(self, description: str, size: int | None) -> Download | None:
        if self._quiet:
            return None
        return tqdm(desc=description, total=size, unit="B", unit_scale=True, mininterval=interval(), leave=False)

    def counting(self, description: str, count: int | None) -> Download | None:
        """The same as `download` of things that are counted."""
        return None if self._quiet else tqdm(desc=description, total=count, mininterval=interval(), leave=False)

    def begin(self, run: Run) -> None:
        if self._one:
            self.close()
            self._recipes, self._begun, self._bar = {"": run.recipe}, -1, None
        self._begun += 1
        if len(self._recipes) > 1:
            is_new = self._bar is None  # which tqdm shows by itself
            bar = self._show(self._count, self._before, "")
            if not is_new:
                bar.refresh()

    @property
    def _count(self) -> str:
        """Which of the runs is at work, where there are several."""
        names = list(self._recipes)
        return f"{self._begun + 1}/{len(names)} {names[self._begun]} " if len(names) > 1 else ""

    @property
    def _before(self) -> float:
        """The units of the runs before, which count as whole, though a tolerance may have ended them early."""
        return sum(map(units, list(self._recipes.values())[: self._begun]))

    def state(self, state: State) -> None:
        recipe, epoch = list(self._recipes.values())[self._begun], state.record[-1]
        stage = recipe.stages[epoch.stage - 1]
        height, width = stage.shape
        where = f"{self._count}{height}x{width} epoch {epoch.epoch + 1}/{stage.epochs}"
        done = self._before + units(recipe, epoch.stage - 1)
        done += (epoch.epoch + 1) * height * width * multiplications(recipe.last_layer)
        self._show(where, done, f"loss {epoch.losses.total:.4g}")

    def _show(self, where: str, done: float, loss: str) -> tqdm:
        if self._bar is None:  # of one run only after its first epoch: the warm-up is not in the estimate
            self._bar = tqdm(
                desc=where,
                total=sum(map(units, self._recipes.values())),
                initial=done,
                disable=self._quiet,
                mininterval=interval(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        else:
            self._bar.update(done - self._bar.n)
        self._bar.set_description_str(where, refresh=False)
        self._bar.set_postfix_str(loss, refresh=False)
        return self._bar

    def end(self, result: Result) -> None:
        if self._one:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is, and write below it."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def units(recipe: Recipe, stages: int | None = None) -> float:
    """The multiplications of the first `stages` of a recipe, or of all of them."""
    pixels = sum(stage.epochs * stage.shape[0] * stage.shape[1] for stage in recipe.stages[:stages])
    return pixels * multiplications(recipe.last_layer)


class Lines(Observer):
    """Says what the chapter prints, every so many epochs as the recipe has it."""

    def __init__(self, say: Say = tqdm.write) -> None:
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
