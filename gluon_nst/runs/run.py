"""Run: a job whose inputs are here."""

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
from gluon_nst.runs.inputs import Open, StylePicture, open_styles, told, with_regions, with_style_colors, within
from gluon_nst.runs.job import Job
from gluon_nst.runs.provenance import Provenance, key, provenance
from gluon_nst.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Run:
    """A job that can start: its pictures are decoded, its recipe is fitted to them, its trunk is here. It can be
    pickled."""

    recipe: Recipe
    """Every stage's size is known, and nothing is auto any more."""
    content: Picture
    styles: tuple[StylePicture, ...]
    reference: Picture
    """Target of the content loss: the content picture, in the styles' colours with `content_colors = "style"`."""
    start: Picture | None
    """What the first stage starts from, or None for noise."""
    mask: np.ndarray | None
    """Where the picture is stylised: h × w from 0 to 1, as large as the content picture."""
    regions: np.ndarray | None
    """Which pixels of the content picture are of each region: R × h × w."""
    seed: int
    trunk: trunks.Trunk
    device: Any
    memory: float | None
    """Bytes that it may take at most, or None for what is free."""
    provenance: Provenance
    """What the picture will say of how it was made."""
    encoding: Encoding
    """How the picture will be written."""

    @property
    def key(self) -> str:
        """The key of what the run will make: that of two runs is the same where their recipes and their inputs are."""
        return key({**self.provenance, "stage": len(self.recipe.stages)})

    @property
    def sizes(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """(height, width) of each stage's canvas, and of the style pictures in it: all the sizes that the network will
        see."""
        return tuple(
            (self.canvas(stage).size, *(self.style_shape(style, stage) for style in self.styles))
            for stage in self.recipe.stages
        )

    def canvas(self, stage: Stage) -> Canvas:
        """The canvas of a stage."""
        return canvas(stage.shape, self.recipe.margin)

    def style_shape(self, style: StylePicture, stage: Stage) -> tuple[int, int]:
        """(height, width) of a style picture in a stage."""
        return style_shape(self.recipe, stage.shape, style.picture.size, style.scale)

    def net(self) -> Any:
        """The truncated network, a Sequential, with the trunk's parameters on the device."""
        recipe = self.recipe
        parameters = self.trunk.parameters(recipe.last_layer, recipe.activation_scale)
        return truncated_vgg19(parameters, recipe.last_layer, self.device, recipe.pooling, recipe.padding)

    def check_memory(self) -> None:
        """Raise InputError where the run can't fit into the memory that this process can have."""
        check_memory(self.recipe, self._inputs, self.device, self.memory)

    @property
    def _inputs(self) -> Inputs:
        return _inputs(self.recipe, self.content, self.styles, self.start, self.mask, self.regions)

    @property
    def allowed_memory(self) -> float:
        """The bytes that it may take, of those that are free now."""
        return allowed_memory(self.memory, self.device)

    def plan(self, stage: Stage) -> Plan:
        """How a stage is computed in the memory that there is."""
        # What is free may have become less since it was checked, by little: then the run is as small as can be.
        wanted = self.recipe, stage.shape, self._inputs
        return plan(*wanted, self.allowed_memory) or smallest_plan(*wanted)

    def check_seen(self) -> None:
        """Raise InputError if in a stage the deepest style layer sees nothing.

        The mask, the regions and the styles' transparency may leave too little.
        """
        restricted = [self.mask, self.regions, *(style.regions for style in self.styles)]
        if not self.recipe.style_layers or all(each is None for each in restricted):
            return
        regions = 1 if self.regions is None else len(self.regions)
        layer = max(self.recipe.style_layers)  # those below see as much, or more
        for stage in self.recipe.stages:
            if not any(self._is_drawn(number, stage, layer) for number in range(regions)):
                height, width = stage.shape
                raise InputError(
                    f"size {height}x{width}: {NAMES[layer]} sees nothing of what the mask and the regions leave, or of"
                    " what of the styles is not transparent; make that larger, or the size"
                )

    def warn_of_enlarged_styles(self) -> None:
        """Warn of a style picture that is larger than its size of the style says, as the network sees nothing
        smaller."""
        stage = self.recipe.stages[-1]
        for style in self.styles:
            scale = self.recipe.style_size if style.scale is None else style.scale
            height, width = self.style_shape(style, stage)
            if isinstance(scale, float) and max(height, width) > scale * max(stage.shape) + 1:
                warn(
                    f"a style size of {scale:g} is too small for the network, whose layer"
                    f" {NAMES[self.recipe.last_layer]} needs {smallest_side(self.recipe.last_layer)} pixels:"
                    f" the style picture has {height} × {width} of them"
                )

    def _is_drawn(self, number: int, stage: Stage, layer: int) -> bool:
        """Whether a layer sees the region of this `number`, from 0, in the content and in a style."""
        where = np.ones(stage.shape, np.float32) if self.mask is None else resized(self.mask, stage.shape)
        if self.regions is not None:
            where = where * resized(self.regions[number], stage.shape)
        if not sees(layer, where, self.canvas(stage)):
            return False
        shapes = [(style.regions, self.style_shape(style, stage)) for style in self.styles]
        return any(
            regions is None or sees(layer, resized(regions[number], shape), canvas(shape, 0))
            for regions, shape in shapes
        )

    def start_of(self, number: int, content_X: NDArray, before: NDArray | None) -> NDArray:
        """What the stage of this `number`, from 1, starts from: 1 × 3 × h × w on its canvas, on the run's device.

        `content_X` is the run's reference on that canvas, `before` the composite that the stage before ended with.
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
        else:  # as in the chapter, the picture is resized, clipped to what can be shown
            X = preprocess(postprocess(before) * 255, (width, height), resize)
        return place(X).as_in_context(self.device)

    def _start(self, height: int, width: int) -> NDArray:
        """What the first stage starts from: a picture, noise, or something between."""
        share = 1.0 if self.start is None else self.recipe.noise
        random = np.random.default_rng(self.seed)
        noise = nd.array(random.standard_normal((1, 3, height, width), dtype=np.float32)) if share else None
        if self.start is None:
            return noise
        X = self.start.preprocessed((width, height), self.recipe.resize)
        return X if noise is None else X * (1 - share) + noise * share

    @nd_mode
    def develop(self, X: NDArray, number: int) -> tuple[NDArray, Image.Image]:
        """What is in the frame of a composite of the stage of this `number` (1 × 3 × h × w, standardised), and its
        picture."""
        X = self.in_frame(X, number)
        return X, Image.fromarray(self.pixels(X))

    def in_frame(self, X: NDArray, number: int) -> NDArray:
        """What is in the frame of a composite of the stage of this `number`."""
        return self.canvas(self.recipe.stages[number - 1]).crop(X)

    @nd_mode
    def pixels(self, X: NDArray, bits: int = 8) -> np.ndarray:
        """The pixels of the picture of what is in the frame, `X`: h × w × 3 of so many `bits`, or × 4 with its
        transparency.

        It has the content's colours, the content beyond the mask, and is transparent where that is.
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
    """What the memory of a run depends on, beside its recipe; the arguments are the Run's fields."""
    pictures = [content, *(style.picture for style in styles), *([start] if start else [])]
    pixels = [math.prod(size) for size in {picture.sha256: picture.size for picture in pictures}.values()]
    arrays = [mask, regions, *(style.regions for style in styles)]
    if recipe.content_colors == "style":
        pixels.append(math.prod(content.size))
    held = 4 * sum(pixels) + sum(array.nbytes for array in arrays if array is not None)
    if RESIZES[recipe.resize] is None:
        held += 9 * max(pixels)  # the whole picture as an array, on its way to MXNet
    guides = 0.0
    if mask is not None or regions is not None:
        of_layers = sum(smallest_side(layer) ** -2 for layer in recipe.style_layers)
        guides = 4 * (1 + of_layers) * (1 if regions is None else len(regions)) + 16
    return Inputs([(style.picture.size, style.scale) for style in styles], held, guides)


def fitted(recipe: Recipe, size: tuple[int, int], device: Any) -> Recipe:
    """The recipe of a run on a content picture of a `size` (height, width) on a device: nothing in it is auto any
    more."""
    recipe = follow_optimizer(fit(recipe, size))
    return dataclasses.replace(recipe, precision=choose_precision(recipe.precision, device))


def _check_start(recipe: Recipe, start: Picture | None, content: Picture) -> None:
    """Refuse a picture to start from that would be stretched to the content's shape; warn of a style picture that is.

    It may have the shape of the first stage instead, as the result of a recipe that stretches the content has.
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
    """The Run of a job: all that can be wrong with its inputs is told here.

    `observer` hears of the weights, and of their download; `open` decodes the pictures; `trunk` is there where it was
    found before. Raises InputError, and WeightsError where no parameters can be had.
    """
    check_bits(job.bits)
    note = observer.note if observer else trunks.print_nothing
    progress = observer.download if observer else None
    recipe, original = read(job.recipe), open(job.content)
    content = original.flattened() if job.flatten else original
    if original.alpha is not None and not original.alpha.getbbox():
        warn(f"content {job.content}: transparent everywhere; there is nothing to see in it")
    styles = open_styles(job, content, recipe, open)
    own = {"content": content, "style": styles[0].picture, "noise": None}
    try:
        start = own[recipe.init] if recipe.init in own else open(recipe.init)
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
    found = {"source": trunk.source, "sha256": trunk.sha256}
    said = told(job, recipe, {"content": original, "init": start}, styles, open)
    made = provenance(recipe, said, found, job.seed, device)
    if job.keep_profile and not content.profile:
        note("--keep-profile: the content picture has no profile for RGB of its own; sRGB it is")
    encoding = Encoding(job.bits, job.quality, job.dpi, content.profile if job.keep_profile else None)
    reference = content
    if recipe.content_colors == "style":
        recolored = with_style_colors(content, styles, mask, regions)
        start = recolored if recipe.init == "content" else start
        # What the network sees of a masked composite is the content picture itself beyond the mask.
        reference = recolored if mask is None else within(mask, recolored, content)
    run = Run(
        recipe, content, styles, reference, start, mask, regions, job.seed, trunk, device, job.memory, made, encoding
    )
    run.check_seen()
    run.warn_of_enlarged_styles()
    if job.memory is not None and any(run.plan(stage).windowed for stage in recipe.stages):
        made["memory"] = job.memory  # other windows round other sums
    return run
