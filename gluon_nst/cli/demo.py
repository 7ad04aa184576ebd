"""The command demo: runs `fine` on the project's pictures, then the chapter.

The chapter runs if the user agrees.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator

from gluon_nst.cli import pictures
from gluon_nst.cli.options import given_options
from gluon_nst.cli.parser import build_parser
from gluon_nst.machine.files import check_folder
from gluon_nst.weights.pictures import own_pictures

_QUESTION = "Run the chapter as the book has it as well, in about five minutes? [y/N] "


def demo(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst demo."""
    folder, shared = arguments.out, {name: getattr(arguments, name) for name in ("weights", "device", "quiet")}
    picture = folder / "fine.png"
    render = _parse("render", *own_pictures(), "--output", picture, longest_side=arguments.longest_side, **shared)
    chapter = _parse("chapter", **shared)
    if folder != chapter.out:
        chapter = _parse("chapter", "--out", folder, **shared)
    with _folder(folder):
        status = pictures.render(render, given_options(render))
    if status:
        return status
    if _is_wanted(picture):
        return pictures.chapter(chapter, given_options(chapter))
    print(f"The chapter as the book has it: {shlex.join([_program(), *chapter.argv])}")
    return 0


def _parse(*words: object, **settings: object) -> argparse.Namespace:
    """Return the arguments of another command, with some parsed `settings`."""
    argv = list(map(str, words))
    arguments = build_parser().parse_args(argv)
    vars(arguments).update(settings, argv=argv)
    return arguments


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Create a folder for the block, and delete it afterwards if it is empty."""
    check_folder(path)
    is_new = not path.is_dir()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if is_new and not any(path.iterdir()):
            path.rmdir()


def _is_wanted(picture: Path) -> bool:
    """Ask on a terminal whether to run the chapter as well.

    The `picture` is written already.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    try:
        return input(_QUESTION).strip().lower().startswith("y")
    except EOFError:
        print()
        return False
    except KeyboardInterrupt:
        print()
        raise KeyboardInterrupt(f"{picture} is written") from None


def _program() -> str:
    """Return the name of this program for a shell.

    It includes the path if a different gluon-nst, or none, is on PATH.
    """
    own = Path(sys.executable).with_name("gluon-nst")
    return str(own) if own.is_file() and shutil.which("gluon-nst") != str(own) else "gluon-nst"
