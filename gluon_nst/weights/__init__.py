"""VGG-19's parameters: sources, downloads, formats, conversion, and the cache."""

from gluon_nst.weights.cache import Notify, Trunk, print_nothing
from gluon_nst.weights.downloads import Progress
from gluon_nst.weights.finding import cached, fetch, find, import_file
from gluon_nst.weights.sources import SOURCES, Source

__all__ = [
    "SOURCES",
    "Notify",
    "Progress",
    "Source",
    "Trunk",
    "cached",
    "fetch",
    "find",
    "import_file",
    "print_nothing",
]
