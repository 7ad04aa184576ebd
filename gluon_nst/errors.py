"""The errors that gluon-nst raises; each message is one line: what, which file or argument, what to do."""

import contextlib


class NSTError(Exception):
    """A run failed. The command line ends with `status`."""

    status = 1


class InputError(NSTError, ValueError):
    """An argument or a file that the caller gave can't be used; nothing was written."""

    status = 2


class WeightsError(NSTError):
    """VGG-19's parameters can't be had from any source that was tried."""


class Interrupted(KeyboardInterrupt):
    """A run was stopped; `result` is the Result so far, or None where the first epoch was not reached."""

    def __init__(self, result=None):
        super().__init__("interrupted")
        self.result = result


def reason(error):
    """Why an error of a library happened, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


@contextlib.contextmanager
def reading(path, what):
    """Turn the system's refusals to read the file at `path`, which should be `what`, into InputErrors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not {what}; name a file in it") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; check its mode and owner") from None
    except OSError as error:
        if error.errno is None:  # a library's own complaint about what is in the file
            raise
        raise InputError(f"{path}: can't read it ({error.strerror}); check the path") from None
