"""The errors that gluon-nst raises; each message is one line: what, which file or argument, what to do."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from typing import Any, Callable, Iterable, Iterator


class NSTError(Exception):
    """A run failed. The command line ends with `status`."""

    status = 1


class InputError(NSTError, ValueError):
    """An argument or a file that the caller gave can't be used; nothing was written."""

    status = 2


class DoesNotFit(InputError):
    """This machine has not the memory that a run would take."""


class WeightsError(NSTError):
    """VGG-19's parameters can't be had from any source that was tried."""


class OutOfMemory(NSTError):
    """The memory ran out before a run came to a picture."""


class NSTWarning(UserWarning):
    """What the caller gave has no effect, or not the one that it seems to have."""


def warn(line: str, *, stacklevel: int = 1) -> None:
    """Warn the user with an NSTWarning; `stacklevel` is that of `warnings.warn`, counted from the caller."""
    warnings.warn(line, NSTWarning, stacklevel=stacklevel + 1)


@contextlib.contextmanager
def warnings_to(say: Callable[[str], object]) -> Iterator[None]:
    """In the block, pass the text of each NSTWarning to `say`, once; other warnings are shown as before."""
    shown, said = warnings.showwarning, set()

    def show(message: Any, category: type[Warning], *place: Any, **others: Any) -> None:
        if not issubclass(category, NSTWarning):
            shown(message, category, *place, **others)
        elif str(message) not in said:
            said.add(str(message))
            say(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", NSTWarning)
        warnings.showwarning = show
        yield


def one_line(text: object) -> str:
    """A text as it can be printed in one line, whatever a file's name has in it: a line's end becomes \\n."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The end of an error about an unknown `word`: the names closest to it among those `known`, or nothing.

    >>> did_you_mean("ouput", ["output", "losses"])
    '; did you mean output?'
    """
    text, plain = _plain(str(word)), {_plain(name): name for name in known}
    if not text:
        return ""
    longer = [text] if text in plain else [name for name in plain if name.startswith(text)][:3]
    close = longer or difflib.get_close_matches(text, plain, n=1, cutoff=0.7)
    return f"; did you mean {' or '.join(plain[name] for name in close)}?" if close else ""


def check_keywords(given: Iterable[str], known: Iterable[str], complaint: str) -> None:
    """Raise TypeError for the first keyword that is not `known`: it says the `complaint`, the known ones, and the
    closest."""
    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(f"{name}: {complaint}; there are {', '.join(known)}{did_you_mean(name, known)}")


def _plain(name: str) -> str:
    """A name without what people mix up: dashes and underscores, capital letters."""
    return name.lower().strip("-").replace("_", "-")


def reason(error: BaseException) -> str:
    """Why an error of a library happened, in one line.

    >>> reason(OSError("a trace\\nof many lines\\nNo space left on device"))
    'No space left on device'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
