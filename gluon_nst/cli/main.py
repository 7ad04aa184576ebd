"""The command gluon-nst: its standard streams, its errors, its exit status."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import threading
import warnings
from typing import Any, Sequence, TextIO

from gluon_nst.cli.completion import completion
from gluon_nst.cli.options import given_options
from gluon_nst.cli.parser import build_parser
from gluon_nst.cli.recipes import list_recipes, print_recipe
from gluon_nst.errors import InputError, NSTError, one_line, reason, warnings_to


class _Pipe:
    """A standard stream that discards output after its reader has exited.

    The command continues. `errors` are the errors after which output is discarded; a closed stream is None.
    """

    def __init__(self, stream: TextIO | None, errors: type[OSError]) -> None:
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115 (as long as the command runs)
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        return self._unless_broken(self._stream.write, text)

    def flush(self) -> None:
        self._unless_broken(self._stream.flush)

    def _unless_broken(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._errors:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command in (None, "help"):
        topic = arguments.topic if arguments.command else []
        with contextlib.suppress(SystemExit):  # argparse's way to end after a help
            parser.parse_args([*topic, "--help"])
        return 0
    arguments.argv = list(sys.argv[1:] if argv is None else argv)
    if arguments.command == "completion":
        return completion(arguments, parser)
    if arguments.command == "recipes":
        return print_recipe(arguments.recipe) if arguments.recipe else list_recipes()
    if arguments.command in ("notebook", "doctor", "lab"):
        from gluon_nst.cli import lab

        return {"notebook": lab.notebook, "doctor": lab.doctor, "lab": lab.lab}[arguments.command](arguments)
    try:
        from gluon_nst.cli import dispatch  # which loads MXNet
    except ValueError as error:
        if "backend" not in str(error):
            raise
        backend = os.environ.get("MPLBACKEND")
        raise InputError(f"MPLBACKEND={backend}: matplotlib has no such backend; unset it, or set it to Agg") from None
    if not gc.get_freeze_count():
        # Exclude the imported modules from garbage collection: scanning them before each stage took longer than a small
        # stage.
        gc.freeze()
    return dispatch.run(arguments, given_options(arguments))


def _repeat_interrupt(ignored: Any) -> None:
    """Repeat an interrupt that Python ignored because it was raised in a `__del__`."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as under nohup: it was a SIGTERM
        threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM if is_ignored else signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(ignored)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    0: done; 1: failed; 2: bad input; 130: interrupted.
    """
    warnings.filterwarnings("ignore", "Glyph .* missing")  # a file's name in a script that matplotlib's font lacks
    warnings.filterwarnings("ignore", module="mxnet")  # remarks on NumPy that a user of the command can't act on
    if threading.current_thread() is threading.main_thread():  # in another thread there are no signals
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop keeps as much as Ctrl-C does
    streams, hook = (sys.stdout, sys.stderr), sys.unraisablehook
    sys.unraisablehook = _repeat_interrupt
    # A run is worth more than its progress bar, on whatever full disk that is logged.
    sys.stdout, sys.stderr = _Pipe(sys.stdout, BrokenPipeError), _Pipe(sys.stderr, OSError)  # type: ignore[assignment]
    try:
        with warnings_to(lambda line: print(f"warning: {one_line(line)}", file=sys.stderr)):
            status = _run(argv)
        sys.stdout.flush()
        return status
    except NSTError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt as error:
        print(f"interrupted: {error.args[0] if error.args else 'nothing was written'}", file=sys.stderr)
        return 130
    except (MemoryError, ImportError, OSError) as error:  # ImportError: no memory to load a library into
        print(f"error: the run failed: {reason(error)}", file=sys.stderr)
        return 1
    finally:
        sys.stdout, sys.stderr = streams
        sys.unraisablehook = hook


def command() -> None:
    """The command gluon-nst: `main`, and the end of the process."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no × shows a ? in its place
            stream.reconfigure(errors="replace")
    status = main()
    if status == 1:
        # Where MXNet has failed, for want of memory for instance, what it does at the end of the process may crash.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
