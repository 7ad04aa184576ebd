"""Run: a prepared job."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from mxnet import nd
from PIL import Image

from gluon_nst import weights as trunks
from gluon_nst.engine.memory import Inputs, Plan, allowed_memory, check_memory, plan, smallest_plan
from gluon_nst.engine.padding import Canvas, canvas, resized, sees
from gluon_nst.errors import InputError, did_you_mean, warn
from gluon_nst.machine import choose_device, choose_precision, nd_mode
from gluon_nst.machine.progress import Notifier
from gluon_nst.network.layers import NAMES, smallest_side
from gluon_nst.network.vgg import truncated_vgg19
from gluon_nst.optimisers.preconditioner import enlarged
from gluon_nst.pictures.colours import blended, with_luminance_of
from gluon_nst.pictures.decoding import Picture, check_shape, is_stretched, open_picture
from gluon_nst.pictures.encoding import Encoding, check_bits
from gluon_nst.pictures.masks import read_mask
from gluon_nst.pictures.pixels import RESIZES, postprocess, preprocess, shown_range, to_pixels
from gluon_nst.recipes import INITS, Recipe, Stage, fit, follow_optimizer, read, style_shape
from gluon_nst.runs.inputs import (
    Open,
    StylePicture,
    inputs_record,
    open_styles,
    with_regions,
    with_style_colors,
    within,
)
from gluon_nst.runs.job import Job
from gluon_nst.runs.provenance import Provenance, key, provenance
from gluon_nst.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Run:
    """A prepared job: decoded pictures, the recipe fitted to them, the trunk.

    It can be pickled.
    """

    recipe: Recipe
    """The recipe with the size of every stage and without `auto`."""
    content: Picture
    styles: tuple[StylePicture, ...]
    reference: Picture
    """Target of the content loss: the content picture, in the styles' colours with `content_colors = "style"`."""
    start: Picture | None
    """The picture that the first stage starts from, or None for noise."""
    mask: np.ndarray | None
    """The share of the composite at each pixel of the content picture: h × w, from 0 to 1."""
    regions: np.ndarray | None
    """The weights of the content picture's pixels in each region: R × h × w, from 0 to 1."""
    seed: int
    trunk: trunks.Trunk
    device: Any
    memory: float | None
    """Maximum bytes of memory, or None for the free memory."""
    provenance: Provenance
    """The record that the picture will contain."""
    encoding: Encoding
    """The encoding of the picture's file."""

    @property
    def key(self) -> str:
        """The key of the run's picture.

        Two runs with the same recipe and inputs have the same key.
        """
        return key({**self.provenance, "stage": len(self.recipe.stages)})

    @property
    def sizes(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Return the (height, width) of all inputs of the network.

        They are those of each stage's padded canvas and style pictures.
        """
        return tuple(
            (self.canvas(stage).size, *(self.style_shape(style, stage) for style in self.styles))
            for stage in self.recipe.stages
        )

    def canvas(self, stage: Stage) -> Canvas:
        """Return the padded canvas of a stage."""
        return canvas(stage.shape, self.recipe.margin)

    def style_shape(self, style: StylePicture, stage: Stage) -> tuple[int, int]:
        """Return the (height, width) of a style picture in a stage."""
        return style_shape(self.recipe, stage.shape, style.picture.size, style.scale)

    def net(self) -> Any:
        """Return the truncated network, a Sequential, with the trunk's parameters."""
        recipe = self.recipe
        parameters = self.trunk.parameters(recipe.last_layer, recipe.activation_scale)
        return truncated_vgg19(parameters, recipe.last_layer, self.device, recipe.pooling, recipe.padding)

    def check_memory(self) -> None:
        """Raise InputError if the run does not fit into the available memory."""
        check_memory(self.recipe, self._inputs, self.device, self.memory)

    @property
    def _inputs(self) -> Inputs:
        return _inputs(self.recipe, self.content, self.styles, self.start, self.mask, self.regions)

    @property
    def allowed_memory(self) -> float:
        """The bytes of memory that the run may use, at most those that are free now."""
        return allowed_memory(self.memory, self.device)

    def plan(self, stage: Stage) -> Plan:
        """Return the Plan of a stage for the allowed memory."""
        # The free memory may have shrunk a little since it was checked: then use the plan that needs the least.
        arguments = self.recipe, stage.shape, self._inputs
        return plan(*arguments, self.allowed_memory) or smallest_plan(*arguments)

    def check_seen(self) -> None:
        """Raise InputError if no position of the deepest style layer has a weight.

        The mask, the regions and the styles' transparency may leave too few pixels.
        """
        weights = [self.mask, self.regions, *(style.regions for style in self.styles)]
        if not self.recipe.style_layers or all(each is None for each in weights):
            return
        regions = 1 if self.regions is None else len(self.regions)
        layer = max(self.recipe.style_layers)  # the layers below have as many positions, or more
        for stage in self.recipe.stages:
            if not any(self._has_positions(number, stage, layer) for number in range(regions)):
                height, width = stage.shape
                raise InputError(
                    f"size {height}x{width}: the mask, the regions or the styles' transparency leave no position of"
                    f" {NAMES[layer]}; make them larger, or the size"
                )

    def warn_of_enlarged_styles(self) -> None:
        """Warn of style pictures enlarged to the network's minimum size."""
        stage = self.recipe.stages[-1]
        for style in self.styles:
            scale = self.recipe.style_size if style.scale is None else style.scale
            height, width = self.style_shape(style, stage)
            if isinstance(scale, float) and max(height, width) > scale * max(stage.shape) + 1:
                warn(
                    f"a style size of {scale:g} is too small for the network, whose layer"
                    f" {NAMES[self.recipe.last_layer]} needs {smallest_side(self.recipe.last_layer)} pixels:"
                    f" the style picture is enlarged to {height} × {width}"
                )

    def _has_positions(self, number: int, stage: Stage, layer: int) -> bool:
        """Return whether a region has positions of a layer in the content and in a style.

        Regions are numbered from 0.
        """
        weights = np.ones(stage.shape, np.float32) if self.mask is None else resized(self.mask, stage.shape)
        if self.regions is not None:
            weights = weights * resized(self.regions[number], stage.shape)
        if not sees(layer, weights, self.canvas(stage)):
            return False
        shapes = [(style.regions, self.style_shape(style, stage)) for style in self.styles]
        return any(
            regions is None or sees(layer, resized(regions[number], shape), canvas(shape, 0))
            for regions, shape in shapes
        )

    def start_of(self, number: int, content_X: NDArray, before: NDArray | None) -> NDArray:
        """Return the start of a stage, by number from 1.

        It is 1 × 3 × h × w on the stage's canvas, on the run's device. `content_X` is the run's reference on that
        canvas, `before` the final composite of the previous stage.
        """
        stage = self.recipe.stages[number - 1]
        (height, width), resize, place = stage.shape, self.recipe.resize, self.canvas(stage).place
        if before is None:
            X = self._start(height, width)
        elif self.recipe.carry == "change":
            before_height, before_width = before.shape[2:]
            small = self.reference.preprocessed((before_width, before_height), resize)
            change = before - small.as_in_context(before.context)
            change = nd.contrib.BilinearResize2D(change, height=height, width=width, align_corners=False)
            return content_X + place(change)
        elif self.recipe.upsampling == "cosine" and before.shape[2:] != (height, width):
            X = nd.array(np.clip(enlarged(before.asnumpy(), (height, width)), *shown_range("standardised")))
        else:  # as in the chapter, the clipped picture is resized
            X = preprocess(postprocess(before) * 255, (width, height), resize)
        return place(X).as_in_context(self.device)

    def _start(self, height: int, width: int) -> NDArray:
        """Return the start of the first stage: a picture, noise, or a mix of both."""
        share = 1.0 if self.start is None else self.recipe.noise
        random = np.random.default_rng(self.seed)
        noise = nd.array(random.standard_normal((1, 3, height, width), dtype=np.float32)) if share else None
        if self.start is None:
            return noise
        X = self.start.preprocessed((width, height), self.recipe.resize)
        return X if noise is None else X * (1 - share) + noise * share

    @nd_mode
    def develop(self, X: NDArray, number: int) -> tuple[NDArray, Image.Image]:
        """Return the composite of a stage without padding, and its picture.

        `X` and the result are 1 × 3 × h × w, standardised. `number` is that of the stage, from 1.
        """
        X = self.in_frame(X, number)
        return X, Image.fromarray(self.pixels(X))

    def in_frame(self, X: NDArray, number: int) -> NDArray:
        """Return the composite of the stage of this number, without padding."""
        return self.canvas(self.recipe.stages[number - 1]).crop(X.as_in_context(self.device))

    @nd_mode
    def pixels(self, X: NDArray, bits: int = 8) -> np.ndarray:
        """Return the pixels of a composite `X` without padding.

        They are h × w × 3, or × 4 with alpha, with `bits` per channel. They have the content's colours if the recipe
        preserves them, and its pixels outside the mask and its alpha.
        """
        pixels = to_pixels(X, bits)
        height, width, _ = pixels.shape
        if self.mask is not None or self.recipe.preserve_colors == "luminance":
            content = to_pixels(self.content.preprocessed((width, height), self.recipe.resize), bits)
            if self.recipe.preserve_colors == "luminance":
                pixels = with_luminance_of(pixels, content)
            if self.mask is not None:
                pixels = blended(pixels, content, resized(self.mask, (height, width)).clip(0, 1))
        alpha = self.content.alpha
        if alpha is not None:
            alpha = alpha if alpha.size == (width, height) else alpha.resize((width, height), Image.Resampling.BICUBIC)
            levels = np.asarray(alpha).astype(pixels.dtype) * (np.iinfo(pixels.dtype).max // 255)
            pixels = np.dstack([pixels, levels])
        return pixels


def _inputs(
    recipe: Recipe,
    content: Picture,
    styles: tuple[StylePicture, ...],
    start: Picture | None,
    mask: np.ndarray | None,
    regions: np.ndarray | None,
) -> Inputs:
    """Return the sizes of the inputs for the memory plan.

    The arguments are fields of a Run.
    """
    pictures = [content, *(style.picture for style in styles), *([start] if start else [])]
    pixels = [math.prod(size) for size in {picture.sha256: picture.size for picture in pictures}.values()]
    arrays = [mask, regions, *(style.regions for style in styles)]
    if recipe.content_colors == "style":
        pixels.append(math.prod(content.size))
    picture_bytes = 4 * sum(pixels) + sum(array.nbytes for array in arrays if array is not None)
    if RESIZES[recipe.resize] is None:
        picture_bytes += 9 * max(pixels)  # the whole picture as an array, on its way to MXNet
    guide_bytes = 0.0
    if mask is not None or regions is not None:
        positions_per_pixel = sum(smallest_side(layer) ** -2 for layer in recipe.style_layers)
        guide_bytes = 4 * (1 + positions_per_pixel) * (1 if regions is None else len(regions)) + 16
    return Inputs([(style.picture.size, style.scale) for style in styles], picture_bytes, guide_bytes)


def fitted(recipe: Recipe, size: tuple[int, int], device: Any) -> Recipe:
    """Return a recipe for a content picture's `size` (height, width) and a device.

    Every `auto` is replaced by its value.
    """
    recipe = follow_optimizer(fit(recipe, size))
    return dataclasses.replace(recipe, precision=choose_precision(recipe.precision, device))


def _check_start(recipe: Recipe, start: Picture | None, content: Picture) -> None:
    """Raise InputError for a start picture of a different shape than the content's.

    A style picture as the start gives a warning. It may have the shape of the first stage instead: the result of a
    recipe that stretches the content has that shape.
    """
    init = recipe.init
    if start is None or not is_stretched(start.size, recipe.stages[0].shape):
        return
    if init == "style" and is_stretched(start.size, content.size):
        sizes = ["{} x {}".format(*picture.size) for picture in (start, content)]
        warn(f"init style: the style picture, {sizes[0]}, is stretched to the shape of the content picture, {sizes[1]}")
    elif init not in INITS:
        check_shape(f"init {init}", start.size, content.size, "the content picture", "crop it to that shape")


def prepare(
    job: Job, observer: Notifier | None = None, open: Open = open_picture, trunk: trunks.Trunk | None = None
) -> Run:
    """Prepare a job: open and check its inputs, and return its Run.

    `observer` is notified of the weights and their download; `open` decodes the pictures; `trunk` is the result of an
    earlier `weights.find`. Raises InputError, and WeightsError if no parameters are available.
    """
    check_bits(job.bits)
    note = observer.note if observer else trunks.print_nothing
    progress = observer.download if observer else None
    recipe, original = read(job.recipe), open(job.content)
    content = original.flattened() if job.flatten else original
    if original.alpha is not None and not original.alpha.getbbox():
        warn(f"content {job.content}: transparent everywhere; there is nothing to see in it")
    styles = open_styles(job, content, recipe, open)
    start_pictures = {"content": content, "style": styles[0].picture, "noise": None}
    try:
        start = start_pictures[recipe.init] if recipe.init in start_pictures else open(recipe.init)
    except InputError as error:
        raise InputError(f"{error}{did_you_mean(recipe.init, INITS)}") from None
    device = choose_device(job.device)
    recipe = fitted(recipe, content.size, device)
    _check_start(recipe, start, content)
    mask = None if job.mask is None else read_mask(job.mask, content.size)
    regions, styles = with_regions(job, content, styles)
    check_memory(recipe, _inputs(recipe, content, styles, start, mask, regions), device, job.memory)
    trunk = trunk or trunks.find(job.weights, preferred=recipe.trunk, notify=note, progress=progress)
    if recipe.activation_scale == "caffe" and not trunk.record["scales"]:
        note(f"weights {trunk.source}: not of Caffe's scale, for which the recipe's weights of the losses were chosen")
    weights_record = {"source": trunk.source, "sha256": trunk.sha256}
    inputs_values = inputs_record(job, recipe, {"content": original, "init": start}, styles, open)
    record = provenance(recipe, inputs_values, weights_record, job.seed, device)
    if job.keep_profile and not content.profile:
        note("--keep-profile: the content picture has no RGB profile of its own; sRGB is used")
    encoding = Encoding(job.bits, job.quality, job.dpi, content.profile if job.keep_profile else None)
    reference = content
    if recipe.content_colors == "style":
        recolored = with_style_colors(content, styles, mask, regions)
        start = recolored if recipe.init == "content" else start
        # Outside the mask, the network's input is the content picture itself.
        reference = recolored if mask is None else within(mask, recolored, content)
    run = Run(
        recipe, content, styles, reference, start, mask, regions, job.seed, trunk, device, job.memory, record, encoding
    )
    run.check_seen()
    run.warn_of_enlarged_styles()
    if job.memory is not None and any(run.plan(stage).windowed for stage in recipe.stages):
        record["memory"] = job.memory  # different windows round differently
    return run
