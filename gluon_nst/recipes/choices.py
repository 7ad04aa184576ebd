"""The words that a recipe's fields may hold, by field, with what little is known of each without a network."""

from typing import Callable, Dict, NamedTuple

SOURCES = ("model-zoo", "caffe", "torchvision", "pypi")
"""Where VGG-19's parameters can come from, in the order in which they are tried."""
TRAINED = ("model-zoo", "torchvision", "caffe")
"""Those of them that published programs ran on."""
ACTIVATION_SCALES = ("model-zoo", "caffe", "mean-one")
"""The model zoo's, which is torchvision's too; the original Caffe network's, tens of times larger; and the one at which
each convolution's mean activation is one, after its ReLU (Gatys et al. 2016, section 2). A ReLU network computes the
same at all of them, but for the unit."""
STYLE_STATISTICS = ("gram", "gram-mean-std", "wasserstein")
TV_NORMS = ("l1", "l2")
PRECISIONS = ("float32", "bfloat16")
PIXEL_UNITS = ("standardised", "unit", "bytes")
CLIP_AT = ("end", "step")
KEEP = ("last", "best", "average")


class OptimizerFacts(NamedTuple):
    """What is known of an optimiser before it runs: what suits it, where a recipe says auto, and the memory it
    takes."""

    clip_at: str
    keep: str
    bytes_per_pixel: float = 0
    bytes_per_remembered_step: float = 0
    """For each pixel too."""


OPTIMIZERS = {
    "adam": OptimizerFacts("end", "last", 60),
    "lbfgs": OptimizerFacts("step", "best", 60, 12),  # 12: two pictures in bfloat16
}
"""Their classes are in optimisers.CLASSES."""

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

# What the published programs divide a Gram matrix of c × hw features by, and by what they multiply the mean of squares.
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
