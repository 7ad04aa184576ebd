"""The Neural Style Transfer chapter of Dive into Deep Learning as a program, on Apache MXNet/Gluon."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gluon_nst import machine
from gluon_nst.version import __version__

if TYPE_CHECKING:  # what a type checker and an editor see; __getattr__ below gives the same
    from gluon_nst.composite import GeneratedImage, get_inits
    from gluon_nst.errors import InputError, NSTError, OutOfMemory, WeightsError
    from gluon_nst.estimates import Estimate, estimate
    from gluon_nst.images import read_image
    from gluon_nst.job import Job, Style
    from gluon_nst.loop import steps, transfer
    from gluon_nst.losses import compute_loss, content_loss, gram, style_loss, tv_loss
    from gluon_nst.observer import Observer
    from gluon_nst.pixels import postprocess, preprocess
    from gluon_nst.recipes import Change, Recipe, Stage
    from gluon_nst.records import Epoch, Losses
    from gluon_nst.result import Result
    from gluon_nst.state import State
    from gluon_nst.steering import steer
    from gluon_nst.training import train
    from gluon_nst.vgg import extract_features, get_contents, get_styles, truncated_vgg19

machine.prepare_mxnet()  # before anything, here or elsewhere, imports mxnet

__all__ = [
    "Change",
    "Epoch",
    "Estimate",
    "GeneratedImage",
    "InputError",
    "Job",
    "Losses",
    "NSTError",
    "Observer",
    "OutOfMemory",
    "Recipe",
    "Result",
    "Stage",
    "State",
    "Style",
    "WeightsError",
    "__version__",
    "compute_loss",
    "content_loss",
    "estimate",
    "extract_features",
    "get_contents",
    "get_inits",
    "get_styles",
    "gram",
    "postprocess",
    "preprocess",
    "read_image",
    "steer",
    "steps",
    "style_loss",
    "train",
    "transfer",
    "truncated_vgg19",
    "tv_loss",
]

# The module of each public name, which is imported when the name is asked for: MXNet takes seconds to load, and
# `gluon-nst --help` needs none of it.
_MODULES = {
    "composite": ("GeneratedImage", "get_inits"),
    "errors": ("InputError", "NSTError", "OutOfMemory", "WeightsError"),
    "estimates": ("Estimate", "estimate"),
    "images": ("read_image",),
    "pixels": ("postprocess", "preprocess"),
    "job": ("Job", "Style"),
    "loop": ("steps", "transfer"),
    "losses": ("compute_loss", "content_loss", "gram", "style_loss", "tv_loss"),
    "observer": ("Observer",),
    "recipes": ("Change", "Recipe", "Stage"),
    "records": ("Epoch", "Losses"),
    "result": ("Result",),
    "state": ("State",),
    "steering": ("steer",),
    "training": ("train",),
    "vgg": ("extract_features", "get_contents", "get_styles", "truncated_vgg19"),
    # and those that are used as modules
    "apart": (),
    "batch": (),
    "checkpoint": (),
    "cluster": (),
    "experiments": (),
    "figures": (),
    "frames": (),
    "layers": (),
    "observers": (),
    "pictures": (),
    "rerunning": (),
    "weights": (),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"gluon_nst.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gluon_nst' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gluon_nst.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_MODULES])
