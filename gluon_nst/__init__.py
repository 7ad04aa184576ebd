"""The Neural Style Transfer chapter of Dive into Deep Learning as a program, on Apache MXNet/Gluon."""

from gluon_nst import runtime

runtime.prepare_mxnet()  # before anything below imports mxnet

from gluon_nst.composite import GeneratedImage, get_inits  # noqa: E402
from gluon_nst.errors import InputError, Interrupted, NSTError, WeightsError  # noqa: E402
from gluon_nst.images import postprocess, preprocess, read_image  # noqa: E402
from gluon_nst.losses import compute_loss, content_loss, gram, style_loss, tv_loss  # noqa: E402
from gluon_nst.recipe import Recipe, Stage  # noqa: E402
from gluon_nst.training import Epoch, train  # noqa: E402
from gluon_nst.transfer import Result, transfer  # noqa: E402
from gluon_nst.version import __version__  # noqa: E402
from gluon_nst.vgg import extract_features, get_contents, get_styles, truncated_vgg19  # noqa: E402

__all__ = [
    "Epoch",
    "GeneratedImage",
    "InputError",
    "Interrupted",
    "NSTError",
    "Recipe",
    "Result",
    "Stage",
    "WeightsError",
    "__version__",
    "compute_loss",
    "content_loss",
    "extract_features",
    "get_contents",
    "get_inits",
    "get_styles",
    "gram",
    "postprocess",
    "preprocess",
    "read_image",
    "style_loss",
    "train",
    "transfer",
    "truncated_vgg19",
    "tv_loss",
]
