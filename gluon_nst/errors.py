"""The errors of gluon-nst.

Each message is one line: the file or argument, what is wrong, and what to do.
"""

from __future__ import annotations

import contextlib
import difflib
import warnings
from typing import Any, Callable, Iterable, Iterator


class NSTError(Exception):
    """A run failed. The command line exits with `status`."""

    status = 1


class InputError(NSTError, ValueError):
    """An argument or a file that the caller gave can't be used; nothing was written."""

    status = 2


class KeywordError(InputError, TypeError):
    """A function was called with a keyword that it does not have."""


class DoesNotFit(InputError):
    """This machine does not have enough memory for a run."""


class WeightsError(NSTError):
    """VGG-19's parameters are not available from any source that was tried."""


class OutOfMemory(NSTError):
    """The memory ran out before a run had a picture."""


class NSTWarning(UserWarning):
    """An argument has no effect, or an unexpected one."""


def warn(line: str, *, stacklevel: int = 1) -> None:
    """Warn the user with an NSTWarning.

    `stacklevel` is that of `warnings.warn`, counted from the caller.
    """
    warnings.warn(line, NSTWarning, stacklevel=stacklevel + 1)


@contextlib.contextmanager
def warnings_to(say: Callable[[str], object]) -> Iterator[None]:
    """In the block, pass the text of each NSTWarning to `say`, once.

    Other warnings are shown as before.
    """
    original, shown = warnings.showwarning, set()

    def show(message: Any, category: type[Warning], *location: Any, **options: Any) -> None:
        if not issubclass(category, NSTWarning):
            original(message, category, *location, **options)
        elif str(message) not in shown:
            shown.add(str(message))
            say(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", NSTWarning)
        warnings.showwarning = show
        yield


def one_line(text: object) -> str:
    """Return a text in one line: characters that can't be printed become escapes."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the suggestion at the end of an error about an unknown `word`, or "".

    It has the closest of the `known` names.

    >>> did_you_mean("ouput", ["output", "losses"])
    '; did you mean output?'
    """
    text, normalised = _normalised(str(word)), {_normalised(name): name for name in known}
    if not text:
        return ""
    matches = [text] if text in normalised else [name for name in normalised if name.startswith(text)][:3]
    suggestions = matches or difflib.get_close_matches(text, normalised, n=1, cutoff=0.7)
    return f"; did you mean {' or '.join(normalised[name] for name in suggestions)}?" if suggestions else ""


def check_keywords(given: Iterable[str], known: Iterable[str], complaint: str) -> None:
    """Raise KeywordError for the first keyword that is not `known`.

    Its message has the `complaint` and the names that are similar, or all known ones.
    """
    known = list(known)
    for name in given:
        if name not in known:
            advice = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise KeywordError(f"{name}: {complaint}{advice}")


def _normalised(name: str) -> str:
    """Return a name in lower case, with dashes for underscores."""
    return name.lower().strip("-").replace("_", "-")


def reason(error: BaseException) -> str:
    """Return the last line of a library's error message, which states the reason.

    >>> reason(OSError("a trace\\nof many lines\\nNo space left on device"))
    'No space left on device'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
