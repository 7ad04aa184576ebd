"""The main job: coarse to fine, from two pictures to one."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import platform
import time
from typing import Any, Dict, Optional, Tuple

import mxnet
import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst import figures, recipe as recipes
from gluon_nst import weights as trunks
from gluon_nst.errors import InputError, Interrupted, OutOfMemory
from gluon_nst.files import given, reading, written_whole
from gluon_nst.images import flatten, open_picture, postprocess, preprocess, to_picture, write_image
from gluon_nst.layers import smallest_side
from gluon_nst.recipe import Recipe
from gluon_nst.runtime import address_space_is_limited, available_memory, bfloat16_by, choose_device, choose_precision, is_out_of_memory, nd_mode
from gluon_nst.training import Epoch, estimate_memory, train
from gluon_nst.version import __version__
from gluon_nst.vgg import get_contents, get_styles, truncated_vgg19

LOSSES = ("stage", "epoch", "content", "style", "tv", "total", "lr", "seconds")
"""The columns of a file of losses."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What `transfer` gives: the composite, how it came about, and what it took."""

    images: Tuple[Image.Image, ...]
    """The composite at the end of every stage that was begun."""
    losses: Tuple[Epoch, ...]
    """The record of every epoch, all stages in turn."""
    recipe: Recipe
    seconds: float
    provenance: Dict[str, Any]
    """How the picture was made: recipe, inputs, weights, versions, seed, sizes."""

    @property
    def image(self):
        """The composite image, a PIL image."""
        return self.images[-1]

    @property
    def loss(self):
        """The total loss: of the best composite where the recipe keeps it, else the last recorded, before the last step."""
        last = [epoch.total for epoch in self.losses if epoch.stage == len(self.images)]
        return min(last) if self.recipe.keeps == "best" else last[-1]

    @property
    def complete(self):
        """Whether the run came to its end."""
        return "interrupted" not in self.provenance

    def save(self, path, stage=None):
        """Write the composite (of `stage`, counted from 1; by default the last one) with its provenance in it."""
        number = len(self.images) if stage is None else stage
        if number not in range(1, len(self.images) + 1):
            raise InputError(f"stage {number}: there are pictures of the stages 1 to {len(self.images)}")
        provenance = {**self.provenance, "stage": number}
        write_image(self.images[number - 1], path, json.dumps(provenance, sort_keys=True))

    def save_losses(self, path):
        """Write the record as CSV, one row an epoch."""
        with written_whole(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(LOSSES)
            rows.writerows([getattr(epoch, name) for name in LOSSES] for epoch in self.losses)

    def plot(self):
        """The losses over the epochs, together and layer by layer, as a matplotlib Figure."""
        return figures.plot_losses(self.losses, self.recipe)

    def save_plot(self, path):
        """Write `plot()` as PNG, SVG or PDF, by the ending of `path`."""
        figures.save(self.plot(), path, json.dumps(self.provenance, sort_keys=True))


def transfer(
    content,
    style,
    *,
    recipe=recipes.DEFAULT,
    seed=0,
    weights="auto",
    device="auto",
    report=None,
    watch=None,
    notify=trunks.print_nothing,
    progress=None,
    **changes,
):
    """Transfer the style of one picture to the content of another, coarse to fine.

    `content` and `style` are paths or PIL images. `recipe` is a name, the path of a .toml file or a Recipe, and `changes`
    are those that `recipe.customise` takes: sizes, epochs, lr, init, content_weight and so on. `seed` (for the start from
    noise), `weights` and `device` are as on the command line. `report` is called with the Epoch after each epoch, `watch`
    with the Epoch and a function that gives the picture that the run has come to. `notify` is called with a line about
    the weights, `progress(description, bytes)` makes a bar for a download.

    Returns a Result. Raises InputError before anything is begun, WeightsError where no parameters can be had, NSTError
    where the losses are not finite any more, OutOfMemory where the memory ran out in mid-run, and Interrupted on Ctrl-C;
    these two have the Result so far.
    """
    run = prepare(
        content,
        style,
        recipe=recipe,
        seed=seed,
        weights=weights,
        device=device,
        notify=notify,
        progress=progress,
        **changes,
    )
    return run.start(report, watch)


def prepare(
    content,
    style,
    *,
    recipe=recipes.DEFAULT,
    seed=0,
    weights="auto",
    device="auto",
    notify=trunks.print_nothing,
    progress=None,
    **changes,
):
    """The Run that `transfer` starts, with the same arguments: all that can be wrong with them is told here."""
    recipe = recipes.customise(recipe, **changes)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed {seed}: not an integer of at least 0")
    content_picture, style_picture = _picture(content), _picture(style)
    start_picture = {"content": content_picture, "style": style_picture, "noise": None}.get(recipe.init, recipe.init)
    if isinstance(start_picture, str):
        start_picture = _picture(start_picture)
    device = choose_device(device)
    recipe = recipes.fit(recipe, content_picture.size[::-1])
    bounds, keep = recipes.resolve(recipe.optimizer, recipe.bounds, recipe.keep)
    precision = choose_precision(recipe.precision, device)
    recipe = dataclasses.replace(recipe, bounds=bounds, keep=keep, precision=precision)
    _check_memory(recipe, style_picture.size[::-1], device)
    trunk = trunks.find(weights, preferred=recipe.trunk, notify=notify, progress=progress)
    if recipe.activations == "caffe" and not trunk.record["scales"]:
        notify(f"weights {trunk.source}: not of Caffe's scale, for which the recipe's weights of the losses were chosen")
    provenance = {
        "recipe": dataclasses.asdict(recipe),
        "content_sha256": _sha256(content),
        "style_sha256": _sha256(style),
        "weights": {"source": trunk.source, "sha256": trunk.sha256},
        "versions": {
            "gluon-nst": __version__,
            "mxnet": mxnet.__version__,
            "numpy": np.__version__,
            "pillow": Image.__version__,
            "python": platform.python_version(),
        },
        "seed": seed,
        "sizes": [stage.size for stage in recipe.stages],
    }
    if recipe.precision == "bfloat16":
        provenance["instructions"] = bfloat16_by(device)
    if recipe.init not in recipes.INITS:
        provenance["init_sha256"] = _sha256(recipe.init)
    return Run(recipe, content_picture, style_picture, start_picture, seed, trunk, device, provenance)


@dataclasses.dataclass(frozen=True)
class Run:
    """A transfer that can start: its inputs are checked, its recipe is fitted to them, its trunk is here."""

    recipe: Recipe
    content: Image.Image
    style: Image.Image
    start_picture: Optional[Image.Image]
    """What the first stage starts from, or None for noise."""
    seed: int
    trunk: trunks.Trunk
    device: mxnet.Context
    provenance: Dict[str, Any]
    """What the picture will say of how it was made."""

    @property
    def sizes(self):
        """(height, width) of each stage, and of the style picture in it: all the sizes that the network will see."""
        style = self.style.size[::-1]
        return tuple((stage.size, recipes.style_size(self.recipe, stage, style)) for stage in self.recipe.stages)

    def check_memory(self):
        """Raise InputError where the run can't fit into the memory that this process can have."""
        _check_memory(self.recipe, self.style.size[::-1], self.device)

    @nd_mode
    def start(self, report=None, watch=None):
        """The Result of the run; arguments and errors are as in `transfer`."""
        recipe, device, start = self.recipe, self.device, time.perf_counter()
        images, losses, stage = [], [], recipe.stages[0]

        def record(epoch):
            losses.append(epoch)
            if report:
                report(epoch)

        def result(**interrupted):
            seconds = time.perf_counter() - start
            return Result(tuple(images), tuple(losses), recipe, seconds, {**self.provenance, **interrupted})

        X = content_X = None
        try:
            parameters = self.trunk.parameters(recipe.last_layer, recipe.activations)
            net = truncated_vgg19(parameters, recipe.last_layer, device, recipe.pooling)
            for number, stage in enumerate(recipe.stages, start=1):
                change = X - content_X if X is not None and recipe.carry == "change" else None
                content_X, contents_Y = get_contents(
                    _array(self.content), stage.size[::-1], device, net, recipe.content_layers, recipe.resize
                )
                styles_Y = self._styles_Y(stage, net)
                X = train(
                    self._stage_start(stage, X, content_X, change).as_in_context(device),
                    contents_Y,
                    styles_Y,
                    net,
                    device,
                    stage.lr,
                    stage.epochs,
                    stage.lr_decay_epoch,
                    lr_decay=stage.lr_decay,
                    lr_decay_from=stage.lr_decay_from,
                    content_layers=recipe.content_layers,
                    style_layers=recipe.style_layers,
                    optimizer=recipe.optimizer,
                    corrections=recipe.corrections,
                    precision=recipe.precision,
                    pixels=recipe.pixels,
                    bounds=recipe.bounds,
                    keep=recipe.keep,
                    tolerance=recipe.tolerance,
                    stage=number,
                    report=record,
                    watch=watch and (lambda epoch, composite: watch(epoch, lambda: to_picture(composite()))),
                    **recipe.loss_options,
                )
                images.append(to_picture(X))
        except (KeyboardInterrupt, OutOfMemory, MemoryError, mxnet.MXNetError) as stopped:  # in training, or between two stages
            reached = None
            if losses:
                last = losses[-1]
                if len(images) < last.stage:
                    with contextlib.suppress(MemoryError, mxnet.MXNetError):  # not enough for that either
                        images.append(to_picture(getattr(stopped, "result", X)))
                if images:
                    reached = result(interrupted={"stage": last.stage, "epochs": last.epoch + 1})
            if isinstance(stopped, KeyboardInterrupt):
                raise Interrupted(reached) from None
            if isinstance(stopped, OutOfMemory) or is_out_of_memory(stopped):
                raise OutOfMemory(self._no_memory(stage), reached) from None
            raise
        return result()

    def _no_memory(self, stage):
        height, width = stage.size
        return f"size {height}x{width}: the memory ran out; choose a smaller size, or {_more_memory()}"

    def _styles_Y(self, stage, net):
        """The style features; an iterator lets the large ones go as soon as their Gram matrices are made."""
        height, width = recipes.style_size(self.recipe, stage, self.style.size[::-1])
        image_shape = (width, height)
        _, styles_Y = get_styles(
            _array(self.style), image_shape, self.device, net, self.recipe.style_layers, self.recipe.resize
        )
        return iter(styles_Y)

    def _stage_start(self, stage, X, content_X, change):
        """What `stage` starts from: `X` is the composite of the stage before, or None in the first stage."""
        height, width = stage.size
        if change is not None:
            return content_X + nd.contrib.BilinearResize2D(change, height=height, width=width, align_corners=False)
        if X is not None:  # as in the chapter, the picture is resized, clipped to what can be shown
            return preprocess(postprocess(X) * 255, (width, height), self.recipe.resize)
        if self.start_picture is not None:
            return preprocess(_array(self.start_picture), (width, height), self.recipe.resize)
        return nd.array(np.random.default_rng(self.seed).standard_normal((1, 3, height, width), dtype=np.float32))


def _more_memory():
    """What to do for more of it, in words."""
    return "raise the limit of ulimit -v" if address_space_is_limited() else "end other programs"


def _needed_memory(recipe, size, style_picture_size):
    """The peak memory, in bytes, of a stage of `recipe` at `size`."""
    style_size = recipes.style_size(recipe, dataclasses.replace(recipe.stages[0], size=size), style_picture_size)
    return estimate_memory(size, recipe.last_layer, recipe.optimizer, recipe.corrections, style_size)


def _check_memory(recipe, style_picture_size, device):
    """Raise InputError where a stage of `recipe` can't fit into the memory that is free; of a GPU's nothing is known."""
    free = available_memory() if device.device_type == "cpu" else float("inf")
    for stage in recipe.stages:
        needed = _needed_memory(recipe, stage.size, style_picture_size)
        if needed > free:
            smaller = (tuple(int(side * percent / 100) for side in stage.size) for percent in range(99, 0, -1))
            large_enough = (size for size in smaller if min(size) >= smallest_side(recipe.last_layer))
            fitting = (size for size in large_enough if _needed_memory(recipe, size, style_picture_size) <= free)
            such_as = next((" such as {}x{},".format(*size) for size in fitting), "")
            raise InputError(
                "size {}x{}: ".format(*stage.size) + f"needs about {needed / 1e9:.1f} GB of memory, and {max(free, 0) / 1e9:.1f} GB "
                f"are free; choose a smaller size,{such_as} or {_more_memory()}"
            )


def _picture(source):
    return flatten(source, "the picture") if isinstance(source, Image.Image) else open_picture(source)


def _array(picture):
    return nd.array(np.asarray(picture), dtype=np.uint8)


def _sha256(source):
    """The hash of a file's bytes, or of a PIL image's RGB pixels."""
    if isinstance(source, Image.Image):
        return hashlib.sha256(source.convert("RGB").tobytes()).hexdigest()
    path = given(source)
    with reading(path, "a picture"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
