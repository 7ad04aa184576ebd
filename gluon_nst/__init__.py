"""The Neural Style Transfer chapter of Dive into Deep Learning, on MXNet/Gluon."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gluon_nst import machine, moved
from gluon_nst.version import __version__

if TYPE_CHECKING:  # what a type checker and an editor see; __getattr__ below gives the same
    from gluon_nst.api import SheetResult, compare, reconstruct, sweep, transfer
    from gluon_nst.batch.run import BatchResult, batch
    from gluon_nst.engine.composite import GeneratedImage, get_inits
    from gluon_nst.errors import InputError, KeywordError, NSTError, OutOfMemory, WeightsError
    from gluon_nst.losses.chapter import compute_loss, content_loss, gram, style_loss, tv_loss
    from gluon_nst.losses.records import Epoch, History, Losses, Status
    from gluon_nst.network.vgg import extract_features, get_contents, get_styles, truncated_vgg19
    from gluon_nst.pictures.decoding import read_image
    from gluon_nst.pictures.pixels import postprocess, preprocess
    from gluon_nst.recipes import Change, Recipe, Stage
    from gluon_nst.runs.estimates import Estimate, estimate
    from gluon_nst.runs.job import Job, Style
    from gluon_nst.runs.loop import steps
    from gluon_nst.runs.observer import Observer
    from gluon_nst.runs.result import Result
    from gluon_nst.runs.state import State
    from gluon_nst.runs.steering import steer
    from gluon_nst.runs.training import train

if TYPE_CHECKING:  # the modules of _SUBMODULES; batch, which can be called, is a function here
    from gluon_nst import cluster as cluster
    from gluon_nst import experiments as experiments
    from gluon_nst import observers as observers
    from gluon_nst import pictures as pictures
    from gluon_nst import weights as weights
    from gluon_nst.network import layers as layers
    from gluon_nst.pictures import decoding as _decoding
    from gluon_nst.pictures import optical_flow as _optical_flow
    from gluon_nst.runs import checkpoint as checkpoint
    from gluon_nst.runs import figures as figures
    from gluon_nst.runs import processes as _processes
    from gluon_nst.runs import rerun as _rerun

    apart, frames, images, rerunning = _processes, _optical_flow, _decoding, _rerun

machine.prepare_mxnet()  # before anything, here or elsewhere, imports mxnet
moved.keep_old_paths()

__all__ = [
    "BatchResult",
    "Change",
    "Epoch",
    "Estimate",
    "GeneratedImage",
    "History",
    "InputError",
    "Job",
    "KeywordError",
    "Losses",
    "NSTError",
    "Observer",
    "OutOfMemory",
    "Recipe",
    "Result",
    "SheetResult",
    "Stage",
    "State",
    "Status",
    "Style",
    "WeightsError",
    "__version__",
    "batch",
    "compare",
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
    "reconstruct",
    "steer",
    "steps",
    "style_loss",
    "sweep",
    "train",
    "transfer",
    "truncated_vgg19",
    "tv_loss",
]

# The module of each public name, which is imported when the name is first used: MXNet takes seconds to load, and
# `gluon-nst --help` needs none of it.
_MODULES = {
    "api": ("SheetResult", "compare", "reconstruct", "sweep", "transfer"),
    "batch": ("BatchResult",),
    "engine.composite": ("GeneratedImage", "get_inits"),
    "errors": ("InputError", "KeywordError", "NSTError", "OutOfMemory", "WeightsError"),
    "runs.estimates": ("Estimate", "estimate"),
    "pictures.decoding": ("read_image",),
    "pictures.pixels": ("postprocess", "preprocess"),
    "runs.job": ("Job", "Style"),
    "runs.loop": ("steps",),
    "losses.chapter": ("compute_loss", "content_loss", "gram", "style_loss", "tv_loss"),
    "runs.observer": ("Observer",),
    "recipes": ("Change", "Recipe", "Stage"),
    "losses.records": ("Epoch", "History", "Losses", "Status"),
    "runs.result": ("Result",),
    "runs.state": ("State",),
    "runs.steering": ("steer",),
    "runs.training": ("train",),
    "network.vgg": ("extract_features", "get_contents", "get_styles", "truncated_vgg19"),
}
# The modules that are used as `nst.NAME`, a public name whatever the module is called.
_SUBMODULES = {
    "apart": "runs.processes",
    "batch": "batch",
    "checkpoint": "runs.checkpoint",
    "cluster": "cluster",
    "experiments": "experiments",
    "figures": "runs.figures",
    "frames": "pictures.optical_flow",
    "images": "pictures.decoding",
    "layers": "network.layers",
    "observers": "observers",
    "pictures": "pictures",
    "rerunning": "runs.rerun",
    "weights": "weights",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # with it a type checker would take any misspelt name

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"gluon_nst.{_SUBMODULES[name]}")
        if name in moved.MOVED:
            return moved.import_moved(f"gluon_nst.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'gluon_nst' has no attribute {name!r}")
        return getattr(importlib.import_module(f"gluon_nst.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_SUBMODULES])
