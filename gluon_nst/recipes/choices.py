"""The allowed words of a recipe's fields, and their properties without MXNet."""

from typing import Callable, Dict, NamedTuple

SOURCES = ("model-zoo", "caffe", "torchvision", "pypi")
"""The sources of VGG-19's parameters, in the order in which `auto` tries them."""
TRAINED = ("model-zoo", "torchvision", "caffe")
"""The sources that published programs used."""
ACTIVATION_SCALES = ("model-zoo", "caffe", "mean-one")
"""The scale of the model zoo and of torchvision; that of the original Caffe network, tens of times larger; and the one
with a mean activation of 1 after each convolution's ReLU (Gatys et al. 2016, section 2). A ReLU network computes the
same function at each of them, up to scale."""
STYLE_STATISTICS = ("gram", "gram-mean-std", "wasserstein")
TV_NORMS = ("l1", "l2")
PRECISIONS = ("float32", "bfloat16")
PIXEL_UNITS = ("standardised", "unit", "bytes")
CLIP_AT = ("end", "step")
KEEP = ("last", "best", "average")


class OptimizerFacts(NamedTuple):
    """Properties of an optimiser: its values for `auto`, and its memory in bytes."""

    clip_at: str
    keep: str
    bytes_per_pixel: float = 0
    bytes_per_remembered_step: float = 0
    """Per pixel, for each stored step."""


OPTIMIZERS = {
    "adam": OptimizerFacts("end", "last", 60),
    "lbfgs": OptimizerFacts("step", "best", 60, 12),  # 12: two pictures in bfloat16
}
"""The optimisers; their classes are in optimisers.CLASSES."""

PRECONDITIONERS = ("none", "low-pass")
"""Initial inverse Hessians of L-BFGS: a multiple of the identity, or of a low-pass filter."""

INITS = ("content", "noise", "style")
CARRIES = ("picture", "change")
UPSAMPLINGS = ("resize", "cosine")
"""Methods of resampling a composite to the size of the next stage: the recipe's `resize`, or the cosine transform."""
RESIZES = ("bilinear", "antialiased", "bicubic", "lanczos")
SIDES = ("longest", "shortest")
PRESERVE_COLORS = ("no", "luminance", "histogram")
CONTENT_COLORS = ("own", "style")

# The divisors of Gram matrices of c × hw features in the published programs, and their factors of the mean of squares.
_Factors = Dict[str, Callable[[int, int], float]]
GRAM_DIVISORS: _Factors = {"chw": lambda c, hw: c * hw, "hw": lambda c, hw: hw, "none": lambda c, hw: 1}
CONTENT_REDUCTIONS: _Factors = {"mean": lambda c, hw: 1, "sum": lambda c, hw: c * hw, "sum/2": lambda c, hw: c * hw / 2}
STYLE_REDUCTIONS: _Factors = {
    "mean": lambda c, hw: 1,
    "mean/c^2": lambda c, hw: 1 / c**2,
    "mean/chw": lambda c, hw: 1 / (c * hw),
    "sum": lambda c, hw: c * c,
    "sum/(2chw)^2": lambda c, hw: c * c / (2 * c * hw) ** 2,
    "relative": lambda c, hw: 1,  # and divided by the mean square of the style picture's Gram matrix
}
