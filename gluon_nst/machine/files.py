"""Files: reading, atomic writing, locks, and checks of a caller's paths."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import site
import stat
import sysconfig
import tempfile
import unicodedata
from pathlib import Path
from typing import IO, Any, Callable, Iterable, Iterator, Sequence

import platformdirs
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from gluon_nst.errors import InputError, NSTError, WeightsError, warn


def given(path: str | Path) -> Path:
    """Return the Path of a caller's `path`, with ~ expanded.

    Shells do not expand it after a =. Raises InputError for an empty name, which would be the working directory, and
    for a URL.
    """
    if not str(path):
        raise InputError("'': an empty name; name a file, or check whether a variable is empty")
    if is_url(path):
        url = re.sub("^([^/]*:)/+", r"\1//", str(path))  # a Path drops a slash
        raise InputError(f"{url}: URLs are not supported; download it, and name the file")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: a name without a special meaning, as in a shell
        return Path(path)


def is_url(path: str | Path) -> bool:
    """Return whether a path is a URL, as http://…, s3://… or file://….

    >>> is_url("https://example.com/a.png"), is_url(Path("https://example.com/a.png")), is_url("C:/a.png")
    (True, True, False)
    """
    return bool(re.match("[A-Za-z][A-Za-z0-9+.-]+://|(https?|ftp|s3|gs|file):/", str(path)))


_MAX_NAME = 100  # bytes; systems allow 255, including endings


def file_name(name: str) -> str:
    """Return a name as a valid file name, without ending.

    Letters of any script are kept, with their combining marks, in Unicode's composed form (NFC).

    >>> file_name("style-weight=1e3,size 300/450")
    'style-weight=1e3,size_300_450'
    """
    result = replace_symbols(name, "_.+=,-").replace(" ", "_")
    encoded = result.encode(errors="replace")
    if len(encoded) > _MAX_NAME:
        start = encoded[:_MAX_NAME].decode(errors="ignore")
        result = f"{start}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    return result


def replace_symbols(text: str, also: str) -> str:
    """Replace symbols by spaces, and normalise the text to NFC.

    Symbols are all characters but letters, marks and digits, of any script, and those in `also`.
    """
    return "".join(
        each if each.isalnum() or each in also or unicodedata.category(each)[0] == "M" else " "
        for each in unicodedata.normalize("NFC", text)
    )


def natural_order(path: Path) -> tuple[Any, ...]:
    """Return the sort key of natural order: frame2 before frame10.

    >>> sorted(map(Path, ["frame10.png", "Frame2.png", "frame1.png"]), key=natural_order)[1].name
    'Frame2.png'
    """
    parts = re.split(r"(\d+)", path.name.casefold())
    return ([(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part], path.name)


# -- reading ----------------------------------------------------------------------------------------------------------

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextlib.contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Read the file at `path`, described by `what`, in the block.

    Raise InputError if it can't be read. A file that is not regular is refused before it is opened: reading a pipe
    could block forever.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_IFMT(mode) in _KINDS:
            raise InputError(
                f"{path}: {_KINDS[stat.S_IFMT(mode)]}, not {what}; save its content to a file, and name that"
            )
        yield
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not {what}; name a file in it") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; check its mode and owner") from None
    except OSError as error:
        if error.errno is None:  # a library's error about the content of the file
            raise
        raise InputError(f"{path}: can't read it ({error.strerror}); check the path") from None


def cache_folder(name: str = "weights") -> Path:
    """Return the folder `name` in gluon-nst's cache.

    The cache is $GLUON_NST_CACHE, or in the user's cache folder.
    """
    try:
        return Path(os.environ.get("GLUON_NST_CACHE") or platformdirs.user_cache_dir("gluon-nst")).expanduser() / name
    except RuntimeError:
        raise WeightsError("no home folder for the cache; set HOME, or GLUON_NST_CACHE to a folder") from None


OWN_SIZE = (1000, 1500)
"""(height, width) of the project's own pictures, `img/mountains.jpg` and `img/autumn-oaks.jpg`."""


def shipped(path: str) -> Path:
    """Return the path of a file of the project outside of the package.

    `path` is one of `data_files` in setup.cfg. Raises InputError if it is not installed.
    """
    root = Path(__file__).parents[2]
    # In a checkout, or where pip installs it: in an environment, with --user, or with --target.
    folders = [Path(base, "share/gluon-nst") for base in (sysconfig.get_path("data"), site.getuserbase(), root)]
    if (root / "scripts/notebook_chapter.py").is_file():  # other packages, too, install a README.md in site-packages
        folders.insert(0, root)
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    raise InputError(f"{path}: this file of the project is not installed; reinstall gluon-nst")


# -- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def placed_whole(path: str | Path, sync: bool = False) -> Iterator[str]:
    """Yield a temporary file's path, renamed to `path` if the block succeeds.

    With `sync` it is flushed to the disk first, so that it survives a power failure.
    """
    path = given(path)
    try:
        with _replaced_file(path, sync) as temporary:
            yield temporary
    except OSError as error:
        raise NSTError(
            f"{path}: can't write it ({error.strerror or error}); free some space or choose another place"
        ) from None


@contextlib.contextmanager
def _replaced_file(path: Path, sync: bool) -> Iterator[str]:
    # With the ending of `path`, by which some writers choose the format.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(descriptor)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's mode is 0600
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
        if sync:
            _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _sync(path: str | Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_whole(path: str | Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file, renamed to `path` if the block ends without an error."""
    with placed_whole(path) as temporary, open(temporary, mode, **options) as file:
        yield file


def check_ending(path: str | Path, suffixes: Sequence[str] | None) -> None:
    """Raise InputError unless `path` ends with one of `suffixes`, if there are any."""
    if suffixes and given(path).suffix.lower() not in suffixes:
        raise InputError(f"{path}: the name must end with {' or '.join(suffixes)}")


def check_writable(path: str | Path, suffixes: Sequence[str] | None = None) -> None:
    """Raise InputError unless a file can be written at `path`; leaves no file there."""
    path = given(path)
    check_ending(path, suffixes)
    # os.path's tests, unlike Path's, are False where permission is denied.
    if os.path.isdir(path):
        raise InputError(f"{path}: a folder; name a file in it")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: not a regular file; choose another name")
    if not os.path.isdir(path.parent):
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise InputError(f"{path}: can't write there ({error.strerror}); choose another folder") from None


def check_folder(path: str | Path) -> None:
    """Raise InputError unless `path` is a folder, or can be created as one.

    Its parents may be created, too.
    """
    path = given(path)
    if os.path.isdir(path):
        return
    if os.path.lexists(path):
        raise InputError(f"{path}: not a folder; choose another")
    while not os.path.lexists(path.parent):
        path = path.parent
    check_writable(path)


def lock_folder(folder: Path, name: str, written: str) -> BaseFileLock:
    """Create `folder` and lock it for this process.

    Return the lock, which the caller has to release. `name` is the lock's file in it, `written` the name of a file that
    will be written there. Raises InputError if the folder can't be written to, is locked by another process, or has a
    file `name` that is not a lock.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / written)
        return lock(folder / name)
    except Timeout as error:
        stale = (
            f" (if there is no such process, delete {error.lock_file})" if error.lock_file != str(folder / name) else ""
        )
        raise InputError(
            f"{folder}: another process is using this folder; wait until it ends, or name another folder{stale}"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: can't be written to ({error.strerror}); name another folder") from None


def lock(path: Path, timeout: float = 0) -> BaseFileLock:
    """Acquire the lock in the file `path`; return it. The caller has to release it.

    It waits for at most `timeout` seconds, with -1 without a limit. If the file system has no flock (Lustre, some
    network drives), the lock is a file `path`.soft that exists while the lock is held, with a warning. Raises
    filelock.Timeout if another process has the lock, and InputError if `path` is a file with content, which is not a
    lock, and which some versions of filelock would erase.
    """
    if os.path.lexists(path) and (os.path.isdir(path) or os.path.getsize(path)):
        raise InputError(f"{path}: not a lock file of gluon-nst; move it, or name another folder")
    if _has_flock(path):
        file_lock: BaseFileLock = FileLock(path)
    else:
        warn("this file system has no flock; lock files are used instead, which a killed process leaves behind")
        file_lock = SoftFileLock(f"{path}.soft")
    file_lock.acquire(timeout=timeout)
    return file_lock


def _has_flock(path: Path) -> bool:
    """Return whether the file system of `path`, a lock file, supports flock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
    finally:
        os.close(descriptor)
    return True


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, then numbered names beside it.

    They are out.png, out-2.png, out-3.png and so on.
    """
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def interrupted(path: Path) -> Iterator[Path]:
    """Yield the paths for an output that is not complete.

    They are out.png, out-interrupted.png, out-interrupted-2.png and so on.
    """
    yield path
    yield from numbered(path.with_name(f"{path.stem}-interrupted{path.suffix}"))


def free_path(path: str | Path, complete: bool) -> Path:
    """Return the path for an output that replaces no file if it is not `complete`.

    It is `path`, or the first free name of out-interrupted.png, out-interrupted-2.png and so on.
    """
    path = given(path)
    return path if complete else next(each for each in interrupted(path) if not os.path.lexists(each))


def move_to_first(file: Path, paths: Iterable[Path], replaceable: Callable[[Path], bool]) -> Path:
    """Move a complete `file` to the first of `paths` that is free or `replaceable`.

    Return that path. The new name is flushed to the disk. It is safe if several processes do so at the same time.
    """
    for path in paths:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # an empty file reserves the name
        except FileExistsError:
            if not replaceable(path):
                continue
        os.replace(file, path)
        _sync(path.parent)
        return path
    raise ValueError("no path is free")
