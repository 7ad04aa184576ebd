"""Where VGG-19's parameters come from: sources (find, fetch, verify, cache), formats (read, convert), calibration."""

from gluon_nst.weights.sources import SOURCES, Source, Trunk, cached, fetch, find, import_file, print_nothing

__all__ = ["SOURCES", "Source", "Trunk", "cached", "fetch", "find", "import_file", "print_nothing"]
