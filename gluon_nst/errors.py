"""The errors that gluon-nst raises; each message is one line: what, which file or argument, what to do."""


class NSTError(Exception):
    """A run failed. The command line ends with `status`."""

    status = 1


class InputError(NSTError, ValueError):
    """An argument or a file that the caller gave can't be used; nothing was written."""

    status = 2


class WeightsError(NSTError):
    """VGG-19's parameters can't be had from any source that was tried."""


class OutOfMemory(NSTError):
    """The memory ran out in a run; `result` is the Result so far, or None where the first epoch was not reached."""

    def __init__(self, message, result=None):
        super().__init__(message)
        self.result = result


class Interrupted(KeyboardInterrupt):
    """A run was stopped; `result` is the Result so far, or None where the first epoch was not reached."""

    def __init__(self, result=None):
        super().__init__("interrupted")
        self.result = result


def reason(error):
    """Why an error of a library happened, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
