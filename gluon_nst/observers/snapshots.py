"""Writes pictures of a run after some of its epochs."""

from __future__ import annotations

from pathlib import Path

from gluon_nst.errors import InputError
from gluon_nst.machine.files import given
from gluon_nst.pictures.encoding import write_image
from gluon_nst.recipes import Recipe
from gluon_nst.runs.observer import Observer
from gluon_nst.runs.provenance import as_text
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State, loss_of

_MAX_PICTURES = 10_000


def snapshot_paths(path: str | Path, every: int, recipe: Recipe) -> dict[tuple[int, int], Path]:
    """Return the paths of Snapshots, {(stage, finished epochs): path}.

    The names are `out-stage-1-epoch-050.png`, ….
    """
    path, count = given(path), sum(stage.epochs // every for stage in recipe.stages)
    if count > _MAX_PICTURES:
        raise InputError(f"save every {every}: would write {count} pictures; choose a larger number of epochs")
    return {
        (number, done): path.with_name(
            f"{path.stem}-stage-{number}-epoch-{done:0{len(str(stage.epochs))}}{path.suffix}"
        )
        for number, stage in enumerate(recipe.stages, start=1)
        for done in range(every, stage.epochs + 1, every)
    }


class Snapshots(Observer):
    """Writes the composite after every `every` epochs of each stage, next to `path`."""

    def __init__(self, path: str | Path, every: int) -> None:
        self._path, self._every = path, every

    def begin(self, run: Run) -> None:
        self._run, self._paths = run, snapshot_paths(self._path, self._every, run.recipe)

    def state(self, state: State) -> None:
        epoch = state.record[-1]
        path = self._paths.get((epoch.stage, epoch.epoch + 1))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            loss = loss_of(state.record, self._run.recipe, epoch.stage)
            record = {**self._run.provenance, "stage": epoch.stage, "epochs": epoch.epoch + 1, "loss": loss}
            picture = state.picture(self._run) if self._run.encoding.bits == 8 else state.deep(self._run)
            write_image(picture, path, as_text(record), self._run.encoding)
