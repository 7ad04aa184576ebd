"""The Neural Style Transfer chapter of Dive into Deep Learning as a program, on Apache MXNet/Gluon."""

import importlib

from gluon_nst import runtime
from gluon_nst.version import __version__

runtime.prepare_mxnet()  # before anything, here or elsewhere, imports mxnet

# Public names by the module that they are from, which is imported when one of them is asked for: MXNet takes seconds to
# load, and `gluon-nst --help` needs none of it.
_NAMES = {
    "composite": ("GeneratedImage", "get_inits"),
    "errors": ("InputError", "Interrupted", "NSTError", "OutOfMemory", "WeightsError"),
    "images": ("postprocess", "preprocess", "read_image"),
    "job": ("Result", "transfer"),
    "losses": ("compute_loss", "content_loss", "gram", "style_loss", "tv_loss"),
    "recipe": ("Recipe", "Stage"),
    "training": ("Epoch", "train"),
    "vgg": ("extract_features", "get_contents", "get_styles", "truncated_vgg19"),
}
_MODULES = (
    "apart",
    "composite",
    "errors",
    "experiments",
    "figures",
    "images",
    "job",
    "layers",
    "losses",
    "pictures",
    "recipe",
    "training",
    "vgg",
    "watching",
    "weights",
)
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"gluon_nst.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gluon_nst' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gluon_nst.{_HOME[name]}"), name)


def __dir__():
    return sorted([*globals(), *_HOME, *_MODULES])
