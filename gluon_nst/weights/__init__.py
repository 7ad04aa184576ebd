"""VGG-19's parameters, from the top down: finding them, their sources, the cache of converted trunks, the conversion,
the file formats, and the downloads."""

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
