"""Optional packages by extra, and the error if one is not installed."""

from __future__ import annotations

import importlib.util
from typing import Mapping, NamedTuple

from gluon_nst.errors import InputError


class Extra(NamedTuple):
    """An extra for users, as defined in setup.cfg."""

    modules: Mapping[str, str]
    """{package: its module}."""
    purpose: str

    @property
    def is_installed(self) -> bool:
        """Whether all of its packages are installed."""
        return not any(is_missing(module) for module in self.modules.values())


EXTRAS = {
    "cluster": Extra({"distributed": "distributed"}, "batches, and many machines for one picture"),
    "film": Extra({"imageio-ffmpeg": "imageio_ffmpeg", "opencv-python-headless": "cv2"}, "films as MP4, and frames"),
    "heif": Extra({"pillow-heif": "pillow_heif"}, "pictures as HEIC and AVIF"),
    "hub": Extra({"huggingface_hub": "huggingface_hub"}, "the weights torchvision, from the Hugging Face hub"),
    "notebook": Extra(
        {"jupytext": "jupytext", "nbclient": "nbclient", "packaging": "packaging"}, "notebooks, and the kit"
    ),
    "print": Extra({"pyvips": "pyvips"}, "16 bits a channel, and TIFFs that Pillow can't read"),
    "torch": Extra({"torch": "torch"}, "weights as PyTorch's .pth"),
}
"""The extras by name; those of developers (`test`, `benchmark`) are not among them."""


def is_missing(module: str) -> bool:
    """Return whether an optional module is not installed, without importing it."""
    return importlib.util.find_spec(module) is None


def missing(what: str, package: str, advice: str = "") -> str:
    """Return the error if `what` needs a package that is not installed.

    `advice` is an alternative.

    >>> missing("bits 16:", "pyvips", "leave it at 8")
    'bits 16: needs the package pyvips; install gluon-nst[print], or leave it at 8'
    """
    extra = next(name for name, extra in EXTRAS.items() if package in extra.modules)
    return f"{what} needs the package {package}; install gluon-nst[{extra}]{f', or {advice}' if advice else ''}"


def require(what: str, package: str, advice: str = "") -> None:
    """Raise InputError with the message of `missing` unless the package is installed."""
    module = next(extra.modules[package] for extra in EXTRAS.values() if package in extra.modules)
    if is_missing(module):
        raise InputError(missing(what, package, advice))
