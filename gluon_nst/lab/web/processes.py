"""Subprocesses of the server: runs, and functions called in a subprocess."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any, AsyncIterator

from gluon_nst.machine.system import other_python

_MAX_LINE = 2**20
"""Maximum length of a message, in bytes."""


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


class WorkerProcess:
    """The process of a run, which exchanges JSON lines with the server.

    See the module `worker`.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path, task: dict[str, Any], threads: int) -> WorkerProcess:
        """Start the process in the `folder` of its run, and send it its `task`.

        See `worker.Worker`.
        """
        with open(folder / "errors.txt", "wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *other_python("gluon_nst.lab.web.worker", "main"),
                str(folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=_environment(threads),
                limit=_MAX_LINE,
                start_new_session=True,  # Ctrl-C is for the server, which lets the process save first
            )
        worker = cls(process)
        worker.send(**task)
        return worker

    def send(self, **message: Any) -> None:
        """Send a message, if the process still runs."""
        assert self._process.stdin
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(f"{json.dumps(message)}\n".encode())

    def request_shutdown(self) -> None:
        """Close its input: the process saves the run and exits."""
        assert self._process.stdin
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.close()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield its messages until it exits."""
        assert self._process.stdout
        async for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    async def wait(self) -> str:
        """Wait until it exits; return its exit status, in words."""
        status = await self._process.wait()
        return f"by signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"with status {status}"

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def call_in_subprocess(function: str, *arguments: str, threads: int = 1, timeout: float = 120) -> Any:
    """Call a function of gluon_nst.lab in a subprocess, and return the JSON it prints.

    `function` is `module.function`. The subprocess is killed after the `timeout`. Returns None if it prints no JSON.
    """
    module, _, name = function.rpartition(".")
    process = await asyncio.create_subprocess_exec(
        *other_python(f"gluon_nst.lab.{module}", name),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(threads),
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
        return json.loads(output)
    except (asyncio.TimeoutError, ValueError):
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
