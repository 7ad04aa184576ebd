"""The experiments: sweeps, comparisons of recipes, and reconstructions."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from gluon_nst.errors import InputError, did_you_mean
from gluon_nst.experiments.trials import Experiment, Pathlike, Trial
from gluon_nst.machine.files import given
from gluon_nst.network.layers import NAMES
from gluon_nst.recipes import (
    CHAPTER,
    COMPARED,
    LONGEST_SIDE,
    RECONSTRUCTION,
    RecipeName,
    customise,
    recipe_settings,
    rules,
    settings,
)
from gluon_nst.runs.job import Job, split

FIGURE_1 = {
    "content": ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2"),
    "style": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
}
"""The layers of Gatys et al. 2016, figure 1, that a picture's content and style are reconstructed from."""

VARIABLE = (
    "recipe",
    *(each.name for each in (*recipe_settings(), *settings(Job)) if each.name != "regions" and not each.words),
    LONGEST_SIDE.name,
)
"""The options of `transfer` that can be varied: those that affect the picture, except `regions`."""


def sweep(content: Pathlike, style: Pathlike, vary: Mapping[str, Any], **options: Any) -> Experiment:
    """Return the Experiment that varies one or two options of a run.

    `vary` maps one or two options of `transfer` to lists of values, or to dictionaries {label: value}. The first varies
    by column of the sheet, the second by row. `options` are common to all runs; the default recipe is the chapter's.
    """
    if "recipe" not in vary:
        options = {"recipe": CHAPTER, **options}
    if len(vary) not in (1, 2):
        raise InputError(f"vary: {len(vary)} options; vary one or two at once")
    varied = {name: v if isinstance(v, dict) else {str(value): value for value in v} for name, v in vary.items()}
    for name, values in varied.items():
        if name not in VARIABLE:
            raise InputError(f"vary: {name}: not one of {', '.join(VARIABLE)}{did_you_mean(name, VARIABLE)}")
        if not values:
            raise InputError(f"vary: {name}: at least one value is needed")
        if name in options:
            raise InputError(f"{name}: both varied and given; remove one of the two")
    note = _NOT_COMPARABLE if len(varied.get("recipe", ())) > 1 else ""
    axes = [[(name, label, value) for label, value in values.items()] for name, values in varied.items()]
    if len(axes) == 1:
        rows: tuple[tuple[Trial, ...], ...] = (tuple(_trial(setting) for setting in axes[0]),)
        return Experiment(_title(content, style), given(content), given(style), rows, options, note=note)
    across, down = axes
    rows = tuple(tuple(_trial(column, row) for column in across) for row in down)
    titles, row_titles = (tuple(f"{name.replace('_', ' ')} {label}" for name, label, _ in axis) for axis in axes)
    return Experiment(_title(content, style), given(content), given(style), rows, options, titles, row_titles, note)


def _trial(*settings: tuple[str, str, Any]) -> Trial:
    """Return the Trial of one or two settings (option, label, value)."""
    name = ",".join(f"{name.replace('_', '-')}={label}" for name, label, _ in settings)
    return Trial(name, {name: value for name, _, value in settings})


def compare(
    content: Pathlike, style: Pathlike, recipe_names: Sequence[RecipeName] = COMPARED, **options: Any
) -> Experiment:
    """Return the Experiment that runs several recipes on the same two pictures.

    `recipes` are names or paths.
    """
    rows = (tuple(Trial(str(name), {"recipe": name}) for name in recipe_names),)
    note = _NOT_COMPARABLE if len(recipe_names) > 1 else ""
    return Experiment(_title(content, style), given(content), given(style), rows, options, note=note)


_NOT_COMPARABLE = "losses of different recipes can't be compared: each has its own terms and weights"


def _title(content: Pathlike, style: Pathlike) -> str:
    return f"{given(content).name} in the style of {given(style).name}"


def reconstruct(
    kind: str,
    picture: Pathlike,
    layers: Sequence[str | int] | Mapping[str | int, float] | None = None,
    *,
    recipe: RecipeName = RECONSTRUCTION,
    **options: Any,
) -> Experiment:
    """Return the Experiment that reconstructs content or style from several layers.

    Content: from the features of each of `layers`. Style: from the Gram matrices of the first layer, the first two, and
    so on (Gatys et al. 2016, figure 1, whose layers are the default). A mapping {layer: weight} sets weights.
    The other keywords are those of `transfer`.
    """
    if kind not in FIGURE_1:
        raise InputError(f"reconstruct {kind}: not one of {', '.join(FIGURE_1)}{did_you_mean(kind, FIGURE_1)}")
    job_options, changes, _ = split(options)
    layers = FIGURE_1[kind] if layers is None else layers
    rules.layers().check(layers, "layers")
    weighted = layers if isinstance(layers, dict) else dict.fromkeys(layers, 1.0)
    other_kind = {"content": "style", "style": "content"}[kind]
    disabled = {f"{other_kind}_weight": 0.0, f"{other_kind}_layers": {}}
    recipe = customise(recipe, **{**changes, **disabled})
    trials = []
    for count in range(1, len(weighted) + 1):
        chosen_layers = list(weighted.items())[count - 1 if kind == "content" else 0 : count]
        customised = customise(recipe, **{f"{kind}_layers": dict(chosen_layers)})
        first, *_, last = [_layer_name(layer) for layer, _ in chosen_layers] * 2
        trials.append(Trial(last if len(chosen_layers) == 1 else f"{first} to {last}", {"recipe": customised}))
    title = f"{given(picture).name}: {kind} reconstructed from noise"
    return Experiment(title, given(picture), given(picture), (tuple(trials),), job_options)


def _layer_name(layer: str | int) -> str:
    (index,) = rules.layers().check([layer], "layers")
    return NAMES[index]
