"""A State as a tree of plain values and arrays, and back."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst.engine.memory import Plan
from gluon_nst.engine.windows import Part, Span
from gluon_nst.errors import InputError
from gluon_nst.losses.records import Epoch, Losses
from gluon_nst.machine import nd_mode
from gluon_nst.optimisers.optimisers import CLASSES, moments_on
from gluon_nst.runs.run import Run
from gluon_nst.runs.state import State

_AS_THEY_ARE = ("seconds", "status", "note", "averaged", "lowest", "turned", "made", "before")
_ARRAYS = ("composite", "best", "average")


def as_tree(state: State) -> dict[str, Any]:
    """All of a State, which may be changed in place as soon as the tree is written."""
    tree: dict[str, Any] = {name: getattr(state, name) for name in (*_AS_THEY_ARE, *_ARRAYS)}
    tree["images"] = [np.asarray(image) for image in state.images]
    tree["record"] = [
        [epoch.stage, epoch.epoch, dict(epoch.losses), epoch.losses.total, epoch.lr, epoch.seconds]
        for epoch in state.record
    ]
    tree["optimiser"] = state.optimiser.as_tree() if state.optimiser else None
    tree["handed_on"] = state.handed_on
    tree["plans"] = [
        [[[each.layers.start, each.layers.stop, each.rows, each.columns] for each in plan.parts], *plan[1:]]
        for plan in state.plans
    ]
    return tree


@nd_mode
def of_tree(tree: Mapping[str, Any], run: Run) -> State:
    """The State of a run that `as_tree` gave. Raises InputError for a tree that is none."""
    try:
        state = State(**{name: tree[name] for name in _AS_THEY_ARE})
        for name in _ARRAYS:
            if tree[name] is not None:
                setattr(state, name, nd.array(tree[name], ctx=run.device))
        state.images = [Image.fromarray(image) for image in tree["images"]]
        state.record = [
            Epoch(stage, epoch, Losses(terms, total), lr, seconds)
            for stage, epoch, terms, total, lr, seconds in tree["record"]
        ]
        if tree["optimiser"]:
            kind = CLASSES[run.recipe.optimizer]
            state.optimiser = kind.of_tree(tree["optimiser"], run.recipe, run.device)
        if tree["handed_on"]:
            state.handed_on = moments_on(run.device, tree["handed_on"])
        state.plans = [Plan([_part(*part) for part in parts], *rest) for parts, *rest in tree["plans"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the checkpoint is of another version of gluon-nst ({error})") from None
    return state


def _part(start: int, stop: int, *sides: list[list[int]]) -> Part:
    rows, columns = ([Span(*span) for span in side] for side in sides)
    return Part(range(start, stop), rows, columns)
