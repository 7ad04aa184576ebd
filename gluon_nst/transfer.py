"""The main job: coarse to fine, from two pictures to one."""

import csv
import dataclasses
import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any, Dict, Tuple

import mxnet
import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst import recipe as recipes
from gluon_nst import weights as trunks
from gluon_nst.errors import InputError, Interrupted
from gluon_nst.images import flatten, open_picture, postprocess, preprocess, to_picture, write_image, written_whole
from gluon_nst.recipe import Recipe
from gluon_nst.runtime import available_memory, choose_device, choose_precision, nd_mode
from gluon_nst.training import Epoch, estimate_memory, train
from gluon_nst.version import __version__
from gluon_nst.vgg import get_contents, get_styles, truncated_vgg19


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
        """The total loss: of the best composite, which L-BFGS keeps; with Adam the last recorded, before its last step."""
        last = [epoch.total for epoch in self.losses if epoch.stage == len(self.images)]
        return min(last) if self.recipe.optimizer == "lbfgs" else last[-1]

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
            rows.writerow(Epoch._fields)
            rows.writerows(self.losses)

    def plot(self):
        """The losses over the epochs as a matplotlib Figure; dashed lines where a stage begins."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), constrained_layout=True)
        axes = figure.subplots()
        lowest = []
        for name, label in (("total", "total"), ("content", "content"), ("style", "style"), ("tv", "TV")):
            curve = [getattr(epoch, name) for epoch in self.losses]
            axes.plot(curve, label=label, linewidth=2 if name == "total" else 1)
            lowest.append(sorted(curve)[len(curve) // 2] / 5)
        for at, epoch in enumerate(self.losses):
            if epoch.epoch == 0:
                height, width = self.recipe.stages[epoch.stage - 1].size
                axes.axvline(at, color="grey", linestyle="--", linewidth=0.8)
                axes.annotate(
                    f"{height} × {width}", (at, 0), (3, 3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", color="grey", fontsize=9,
                )  # fmt: skip
        axes.set(xlabel="epoch", ylabel="weighted loss", yscale="log", title=self.recipe.title)
        # A start from the content picture has a content loss of next to nothing, which would flatten all the rest.
        axes.set_ylim(bottom=min((low for low in lowest if low > 0), default=None))
        axes.legend()
        return figure

    def save_plot(self, path):
        """Write `plot()` as a picture."""
        kind = Path(path).suffix.lstrip(".").lower() or "png"
        metadata = {"gluon-nst": json.dumps(self.provenance, sort_keys=True)} if kind == "png" else None
        with written_whole(path) as file:
            self.plot().savefig(file, format=kind, dpi=120, metadata=metadata)


@nd_mode
def transfer(
    content,
    style,
    *,
    recipe="d2l-2019",
    seed=0,
    weights="auto",
    device="auto",
    report=None,
    notify=trunks.print_nothing,
    progress=None,
    **changes,
):
    """Transfer the style of one picture to the content of another, coarse to fine.

    `content` and `style` are paths or PIL images. `recipe` is a name, the path of a .toml file or a Recipe, and `changes`
    are those that `recipe.customise` takes: sizes, epochs, lr, init, content_weight and so on. `seed` (for the start from
    noise), `weights` and `device` are as on the command line. `report` is called with the Epoch after each epoch, `notify`
    with a line about the weights, `progress(description, bytes)` makes a bar for a download.

    Returns a Result. Raises InputError before anything is begun, WeightsError where no parameters can be had, NSTError
    where the losses are not finite any more, and Interrupted, with the Result so far, on Ctrl-C.
    """
    recipe = recipes.customise(recipe, **changes)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed {seed}: not an integer of at least 0")
    content_picture, style_picture = _picture(content), _picture(style)
    start_picture = {"content": content_picture, "style": style_picture, "noise": None}.get(recipe.init, recipe.init)
    if isinstance(start_picture, str):
        start_picture = _picture(start_picture)
    device = choose_device(device)
    recipe = dataclasses.replace(recipe, precision=choose_precision(recipe.precision, device))
    if device.device_type == "cpu":
        _check_memory(recipe)

    trunk = trunks.find(weights, notify=notify, progress=progress)
    start = time.perf_counter()
    net = truncated_vgg19(trunk.parameters(recipe.last_layer, recipe.rescaled), recipe.last_layer, device)
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
    images, losses = [], []

    def record(epoch):
        losses.append(epoch)
        if report:
            report(epoch)

    def result():
        return Result(tuple(images), tuple(losses), recipe, time.perf_counter() - start, provenance)

    X = content_X = None
    try:
        for number, stage in enumerate(recipe.stages, start=1):
            image_shape = stage.size[::-1]
            change = X - content_X if X is not None and recipe.carry == "change" else None
            content_X, contents_Y = get_contents(_array(content_picture), image_shape, device, net, recipe.content_layers)
            # An iterator lets the large style features go as soon as their Gram matrices are made.
            styles_Y = iter(get_styles(_array(style_picture), image_shape, device, net, recipe.style_layers)[1])
            if change is not None:
                height, width = stage.size
                X = content_X + nd.contrib.BilinearResize2D(change, height=height, width=width, align_corners=False)
            elif X is not None:  # as in the chapter, the picture is resized, clipped to what can be shown
                X = preprocess(postprocess(X) * 255, image_shape)
            elif start_picture is not None:
                X = preprocess(_array(start_picture), image_shape)
            else:
                X = nd.array(np.random.default_rng(seed).standard_normal((1, 3, *stage.size), dtype=np.float32))
            X = train(
                X.as_in_context(device),
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
                content_weight=recipe.content_weight,
                style_weight=recipe.style_weight,
                tv_weight=recipe.tv_weight,
                optimizer=recipe.optimizer,
                precision=recipe.precision,
                tolerance=recipe.tolerance,
                stage=number,
                report=record,
            )
            images.append(to_picture(X))
    except KeyboardInterrupt as stopped:  # in training (Interrupted) or between two stages
        if not losses:
            raise Interrupted() from None
        last = losses[-1]
        if len(images) < last.stage:
            images.append(to_picture(stopped.result if isinstance(stopped, Interrupted) else X))
        provenance["interrupted"] = {"stage": last.stage, "epochs": last.epoch + 1}
        raise Interrupted(result()) from None
    return result()


def _check_memory(recipe):
    """Raise InputError where a stage of `recipe` can't fit into the memory that is free."""
    free = available_memory()
    for stage in recipe.stages:
        needed = estimate_memory(stage.size, recipe.last_layer, recipe.optimizer)
        if needed > free:
            height, width = stage.size
            raise InputError(
                f"size {height}x{width}: needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
                "choose a smaller size, or end other programs"
            )


def _picture(source):
    return flatten(source, "the picture") if isinstance(source, Image.Image) else open_picture(source)


def _array(picture):
    return nd.array(np.asarray(picture), dtype=np.uint8)


def _sha256(source):
    """The hash of a file's bytes, or of a PIL image's RGB pixels."""
    data = source.convert("RGB").tobytes() if isinstance(source, Image.Image) else Path(source).read_bytes()
    return hashlib.sha256(data).hexdigest()
