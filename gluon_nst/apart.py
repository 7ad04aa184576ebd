"""A run in a process of its own.

MXNet keeps what it has made for every size that it has computed, and never lets it go: 33 MB for a new size at 128 pixels, 80 to
100 MB at 300. A process that ends gives it all back.
"""

import os
import pickle
import subprocess
import sys

from gluon_nst.errors import NSTError, reason


def start(run, report=None):
    """`run.start(report)`, a Result, in another process. Errors are as there, and NSTError where the process was ended.

    On Ctrl-C the other process is ended with this one, and what it was at is lost; so it is where the memory runs out.
    """
    # With the same path, and so without the working folder, which may hold a random.py of the user's.
    code = f"import sys; sys.path[:] = {sys.path!r}; from gluon_nst import apart; apart.answer()"
    command = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as other:
        try:
            with other.stdin:
                pickle.dump(run, other.stdin)
            while True:
                kind, value = pickle.load(other.stdout)
                if kind == "result":
                    return value
                if kind == "error":
                    raise value
                if report:
                    report(value)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = other.wait()
            ended = f"by signal {-status}; was there memory enough?" if status < 0 else f"with status {status}"
            raise NSTError(f"the process of this run ended {ended}") from None
        finally:
            other.kill()


def answer():
    """In the other process: take the run from standard input, and put its epochs and its result on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is not to come between them

    def put(kind, value):
        pickle.dump((kind, value), answers)
        answers.flush()

    try:
        run = pickle.load(sys.stdin.buffer)
        run.check_memory()  # anew: what the other process has this one can't have
        put("result", run.start(lambda epoch: put("epoch", epoch)))
    except NSTError as error:
        put("error", type(error)(str(error)))
    except Exception as error:  # MXNet's own
        put("error", NSTError(reason(error)))
