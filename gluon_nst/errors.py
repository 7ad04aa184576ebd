"""The errors that gluon-nst raises; each message is one line: what, which file or argument, what to do."""


class NSTError(Exception):
    """A run failed. The command line ends with `status`."""

    status = 1


class InputError(NSTError, ValueError):
    """An argument or a file that the caller gave can't be used; nothing was written."""

    status = 2


class NoRoom(InputError):
    """This machine has not the memory that a run would take."""


class WeightsError(NSTError):
    """VGG-19's parameters can't be had from any source that was tried."""


class OutOfMemory(NSTError):
    """The memory ran out before a run came to a picture."""


def one_line(text: object) -> str:
    """A text as it can be printed in one line, whatever a file's name has in it: a line's end becomes \\n."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))


def reason(error: BaseException) -> str:
    """Why an error of a library happened, in one line.

    >>> reason(OSError("a trace\\nof many lines\\nNo space left on device"))
    'No space left on device'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
