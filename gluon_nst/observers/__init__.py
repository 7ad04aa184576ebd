"""Observers: progress bar, lines, snapshots, film, window, notebook output."""

from gluon_nst.observers.film import FILMS, Film, check_film
from gluon_nst.observers.live import Live
from gluon_nst.observers.progress import Bar, Lines
from gluon_nst.observers.snapshots import Snapshots, snapshot_paths
from gluon_nst.observers.window import Window

__all__ = ["FILMS", "Bar", "Film", "Lines", "Live", "Snapshots", "Window", "check_film", "snapshot_paths"]
