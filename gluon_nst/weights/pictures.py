"""The default pictures of the chapter: the project's own, or the book's."""

from __future__ import annotations

from pathlib import Path

from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.files import shipped
from gluon_nst.weights import Progress, cache, downloads

OWN = ("mountains.jpg", "autumn-oaks.jpg")

# The book's repository, at a commit with the pictures of both editions (CC BY-SA 4.0).
BOOK = "https://raw.githubusercontent.com/d2l-ai/d2l-en/23d7a5aecceee57d1292c56e90cce307f183bb0a/img"
BOOK_HASHES = {
    "rainier.jpg": "sha256:014381e94081625e5e5279fd81f50d01b75ebf10f1e85189d66e2fc93adbc768",
    "autumn-oak.jpg": "sha256:a277e6926333bcb06f8fa7e68d24e4d3027ecb87802227ed4b514ab1906af557",
}


def own_pictures() -> tuple[Path, Path]:
    """Return the paths of the project's own content and style pictures."""
    try:
        content, style = (shipped(f"img/{name}") for name in OWN)
    except InputError as error:
        raise InputError(f"{error}; or give --content and --style, or --book-images") from None
    return content, style


def book_pictures(progress: Progress | None = None) -> tuple[Path, Path]:
    """Return the paths of the book's content and style pictures.

    They are downloaded once into the cache and verified. `progress` is as in `weights.find`. Raises NSTError if they
    are not available.
    """
    folder = cache.cache_folder("pictures")
    for name, published in BOOK_HASHES.items():
        try:
            downloads.verified(f"{BOOK}/{name}", published, folder / name, progress)
        except downloads.Unavailable as error:
            raise NSTError(
                f"{error}; copy the book's pictures to this machine, and name them with --content and --style"
            ) from None
    content, style = (folder / name for name in BOOK_HASHES)
    return content, style
