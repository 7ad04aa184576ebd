"""A run in a process of its own.

MXNet keeps what it has made for every size that it has computed, and never lets it go: 33 MB for a new size at 128 pixels, 80 to
100 MB at 300. A process that ends gives it all back.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

from gluon_nst.errors import NSTError, reason


def start(run, report=None):
    """`run.start(report)`, a Result, in another process. Errors are as there, and NSTError where the process was ended.

    On Ctrl-C the other process is ended with this one, and what it was at is lost.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-W", "ignore", "-m", "gluon_nst.apart"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    ) as other:
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
        except (EOFError, BrokenPipeError):
            status = other.wait()
            ended = f"by signal {-status}; was there memory enough?" if status < 0 else f"with status {status}"
            raise NSTError(f"the process of this run ended {ended}") from None
        finally:
            other.kill()


def _main():
    # What anything prints is not to come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(kind, value):
        pickle.dump((kind, value), answers)
        answers.flush()

    try:
        run = pickle.load(sys.stdin.buffer)
        answer("result", run.start(lambda epoch: answer("epoch", epoch)))
    except NSTError as error:
        answer("error", type(error)(str(error)))
    except Exception as error:  # MXNet's own
        answer("error", NSTError(reason(error)))


if __name__ == "__main__":
    _main()
