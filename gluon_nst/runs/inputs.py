"""The inputs of a run: styles with their weights, regions, and their record."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError, warn
from gluon_nst.machine.files import given, natural_order, reading
from gluon_nst.pictures.colours import blended, matched, moments, transported
from gluon_nst.pictures.decoding import Picture, register_heif
from gluon_nst.pictures.regions import read_regions
from gluon_nst.recipes import INITS, Recipe
from gluon_nst.runs.job import Job, Source, Style

Open = Callable[[Source], Picture]


class StylePicture(NamedTuple):
    """A style picture of a run, with its weight, scale and regions."""

    picture: Picture
    weight: float
    scale: float | None = None
    regions: np.ndarray | None = None
    """The weights of its pixels in each region, R × h × w from 0 to 1; of a transparent style without regions R is
    1."""

    def as_record(self) -> dict[str, Any]:
        """Return its fields in the record of the result."""
        return {"sha256": self.picture.sha256, "weight": self.weight, "scale": self.scale}


def style_files(path: Source) -> list[Source]:
    """Return the pictures of a `path`: a picture, or those in a folder.

    They are in natural order. Warns of files and folders in it that are left out.
    """
    # os.path's tests, unlike Path's, are False where permission is denied.
    if isinstance(path, Image.Image) or not os.path.isdir(given(path)):
        return [path]
    register_heif()
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    with reading(path, "a folder of pictures"):
        entries = sorted((file for file in given(path).iterdir() if not file.name.startswith(".")), key=natural_order)
    files = [file for file in entries if file.suffix.lower() in endings and not os.path.isdir(file)]
    left_out = _left_out([file for file in entries if file not in set(files)])
    if not files:
        why = f" ({left_out})" if left_out else ""
        raise InputError(f"{path}: no pictures in this folder{why}; name one that has some, or a picture")
    if left_out:
        warn(f"{path}: left out: {left_out}")
    return list(files)


_HEIF = (".heic", ".heif", ".hif", ".avif")
_RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".pef", ".srw")
_MAX_NAMES = 5
"""Maximum number of names of left-out files for each reason."""


def _left_out(paths: Sequence[Path]) -> str:
    """Return the skipped files of a folder, by reason, as one text."""
    names_by_reason: dict[str, list[str]] = {}
    for path in paths:
        ending = path.suffix.lower()
        reason = (
            "a folder"
            if os.path.isdir(path)
            else "install gluon-nst[heif]"
            if ending in _HEIF
            else "raw: convert it to JPEG or TIFF"
            if ending in _RAW
            else "not a picture"
        )
        names_by_reason.setdefault(reason, []).append(path.name)
    texts = []
    for reason, names in names_by_reason.items():
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        texts.append(f"{', '.join(names[:_MAX_NAMES])}{more} ({reason})")
    return ", ".join(texts)


def expanded(styles: Sequence[Style]) -> Iterator[tuple[Source, Style, float]]:
    """Yield each picture of the `styles` with its Style and its weight.

    The pictures of a folder share their weight.
    """
    for style in styles:
        files = style_files(style.picture)
        for file in files:
            yield file, style, style.weight / len(files)


def open_styles(job: Job, content: Picture, recipe: Recipe, open: Open) -> tuple[StylePicture, ...]:
    """Return the style pictures of a job.

    They have the content's colours if the `recipe` preserves them. Transparent pixels do not count in the style
    statistics.
    """
    assert isinstance(job.style, tuple)
    styles = []
    for file, style, weight in expanded(job.style):
        picture = open(file)
        if recipe.preserve_colors == "histogram":
            image = matched(picture.image, content.image, picture.visible, content.visible)
            picture = picture._replace(image=image)
        regions = None if picture.visible is None else picture.visible[None]
        styles.append(StylePicture(picture, weight, style.scale, regions))
    return tuple(styles)


def with_regions(
    job: Job, content: Picture, styles: tuple[StylePicture, ...]
) -> tuple[np.ndarray | None, tuple[StylePicture, ...]]:
    """Return the regions of the content, and the styles with their regions.

    The content's regions are an array R × h × w, or None.
    """
    assert isinstance(job.style, tuple)
    num_maps = sum(style.regions is not None for style in job.style)
    if job.regions is None:
        if num_maps:
            raise InputError("--style-regions: the content has no region map; give it one with --regions")
        return None, styles
    if num_maps < len(job.style):
        raise InputError(
            f"--regions: {num_maps} maps for {len(job.style)} style pictures; give one for each with --style-regions"
        )
    maps = [style.regions for _, style, _ in expanded(job.style) if style.regions is not None]
    regions = read_regions(job.regions, maps, content.size, [style.picture.size for style in styles])
    return regions.content, tuple(
        style._replace(regions=weights if style.regions is None else weights * style.regions)
        for style, weights in zip(styles, regions.styles)
    )


def with_style_colors(
    content: Picture, styles: Sequence[StylePicture], mask: np.ndarray | None, regions: np.ndarray | None
) -> Picture:
    """Return the content picture in the styles' colours, region by region.

    Transparent pixels and those outside the mask do not count in its own mean and covariance. A region that no style
    has keeps its colours.
    """
    visible, image = content.visible, content.image
    for number, region in enumerate([None] if regions is None else regions):
        target = _colors(styles, number)
        if target is not None:
            factors = [each for each in (visible, mask, region) if each is not None]
            weights = functools.reduce(np.multiply, factors) if factors else None
            recolored = transported(content.image, target, weights)
            image = recolored if region is None else _blended(recolored, image, region)
    return content._replace(image=image)


def within(mask: np.ndarray, above: Picture, below: Picture) -> Picture:
    """Blend two pictures by a mask (h × w, 0 to 1): `above` where it is 1."""
    return above._replace(image=_blended(above.image, below.image, mask))


def _blended(above: Image.Image, below: Image.Image, shares: np.ndarray) -> Image.Image:
    return Image.fromarray(blended(np.asarray(above), np.asarray(below), shares))


def _colors(styles: Sequence[StylePicture], number: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mean and covariance of the styles' colours in a region, or None.

    `number` is the region's; None means that no style has it.
    """
    total, mean, products = 0.0, np.zeros(3), np.zeros((3, 3))
    largest = max(style.weight for style in styles)  # sums of shares of it do not overflow
    for style in styles:
        region, share = None if style.regions is None else style.regions[number], style.weight / largest
        if region is None or region.any():
            style_mean, covariance = moments(style.picture.image, region)
            total, mean = total + share, mean + share * style_mean
            products += share * (covariance + np.outer(style_mean, style_mean))
    if not total:
        return None
    mean = mean / total
    return mean, products / total - np.outer(mean, mean)


def inputs_record(
    job: Job, recipe: Recipe, pictures: dict[str, Picture | None], styles: Sequence[StylePicture], open: Open
) -> dict[str, Any]:
    """Return the record of the inputs: the SHA-256 of each, by kind.

    `pictures` are the content and the start, if there is one. Several styles, or one with its own scale, are listed
    under `styles`.
    """
    record: dict[str, Any] = {}
    for name, picture in pictures.items():
        if picture is not None and (name != "init" or recipe.init not in INITS):
            record[f"{name}_sha256"] = picture.sha256
    if len(styles) == 1 and styles[0].scale is None:
        record["style_sha256"] = styles[0].picture.sha256
    else:
        record["styles"] = [style.as_record() for style in styles]
    assert isinstance(job.style, tuple)
    if job.mask is not None:
        record["mask_sha256"] = open(job.mask).sha256
    if job.regions is not None:
        maps = [open(style.regions).sha256 for _, style, _ in expanded(job.style) if style.regions is not None]
        record["regions_sha256"] = [open(job.regions).sha256, *maps]
    content = pictures["content"]
    if job.flatten and content is not None and content.alpha is not None:
        record["flattened"] = True
    if job.file:
        record["file"] = job.file
    return record


def inputs(job: Job) -> list[Path]:
    """Return the files that a job reads, except those of its recipe and its trunk."""
    assert isinstance(job.style, tuple)
    sources = [job.content, job.mask, job.regions, *(style.regions for style in job.style)]
    sources += [file for file, _, _ in expanded(job.style)]
    return [given(source) for source in sources if isinstance(source, (str, Path)) and source]
