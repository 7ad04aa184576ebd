"""The pictures that the chapter runs on when none are given: the project's own, or the book's."""

import sysconfig
from pathlib import Path

from gluon_nst.errors import InputError

OWN = ("mountains.jpg", "autumn-oaks.jpg")


def own_pictures():
    """The paths of the project's own content and style pictures."""
    # In a checkout they are in img/; setup.cfg installs them below share/ for everyone else.
    for folder in (Path(__file__).parents[1] / "img", Path(sysconfig.get_path("data")) / "share/gluon-nst/img"):
        if all((folder / name).is_file() for name in OWN):
            return tuple(folder / name for name in OWN)
    raise InputError("the project's own pictures are not installed; give --content and --style, or --book-images")
