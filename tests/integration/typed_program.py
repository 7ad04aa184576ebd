"""A user's program with types: test_wheel.py checks it with `mypy --strict`, and runs it.

python typed_program.py CONTENT STYLE FOLDER
"""

import sys
from pathlib import Path
from typing import Dict, List, Tuple, Union

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.runs.run import Run

from PIL import Image
from typing_extensions import assert_type


class Totals(nst.Observer):
    """Keeps the total losses."""

    def __init__(self) -> None:
        self.totals: List[float] = []
        self.size = (0, 0)

    def begin(self, run: Run) -> None:
        assert_type(run.recipe, nst.Recipe)
        self.size = run.recipe.stages[-1].shape

    def state(self, state: nst.State) -> None:
        self.totals.append(state.record[-1].losses.total)


def tiny(name: str) -> nst.Recipe:
    """Return a recipe of the project with two epochs at 48 pixels."""
    recipe = recipes.customise(name, longest_side=48, epochs=2)
    assert_type(recipe, nst.Recipe)
    assert_type(recipe.style_weight, float)
    assert_type(recipe.stages, Tuple[nst.Stage, ...])
    return recipe


def transfer(content: Path, style: Path, folder: Path) -> nst.Result:
    """Run `transfer` with two styles and an observer."""
    totals = Totals()
    styles: List[Union[nst.Style, Path]] = [nst.Style(style, weight=2), style]
    result = nst.transfer(content, styles, recipe=tiny("fine"), seed=1, observers=[totals, nst.observers.Bar()])
    assert_type(result, nst.Result)
    assert_type(result.image, Image.Image)
    assert_type(result.loss, float)
    assert_type(result.complete, bool)
    assert_type(result.status, nst.Status)
    assert_type(result.recipe, nst.Recipe)
    assert_type(result.losses, nst.History)
    assert_type(result.losses[-1].losses, nst.Losses)
    assert_type(result.losses[-1].losses["tv"], float)
    assert_type(result.losses[-1].losses.of("style"), Dict[str, float])
    result.save(folder / "out.png")
    assert totals.totals == [epoch.losses.total for epoch in result.losses]
    return result


def step(content: Path, style: Path) -> List[Image.Image]:
    """Step a job, and return the pictures of its stages."""
    job = nst.Job(str(content), Image.open(style), recipe=tiny("d2l-2019"), weights="auto")
    state = nst.State()
    for each in nst.steps(job, state):
        assert_type(each, nst.State)
        assert_type(each.record, List[nst.Epoch])
        print(each.stage, each.epoch, each.status)
    assert_type(state.images, List[Image.Image])
    return state.images


def main(content: Path, style: Path, folder: Path) -> None:
    """Run all of it, and handle an error."""
    print(transfer(content, style, folder).loss, len(step(content, style)))
    assert_type(nst.images.open_picture(content).size, Tuple[int, int])
    assert_type(nst.estimate(nst.Job(content, style)), nst.Estimate)
    try:
        nst.Job(content, style, seed=-1)
    except nst.InputError as error:
        assert_type(error.status, int)
    trunk = nst.weights.cached()
    if trunk is not None:
        assert_type(trunk.path, Path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
