"""Where VGG-19's parameters come from, from the top down: finding them, their sources, the cache they are kept in once
converted, and below those the conversion, the formats of files and the downloads."""

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
