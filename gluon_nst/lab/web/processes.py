"""The lab's other processes, as the server's event loop sees them: what they are told, and what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any, AsyncIterator

from gluon_nst.machine.system import other_python

_LINE = 2**20
"""The longest line that a process may say, in bytes."""


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


class WorkerProcess:
    """The process of a run."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path, order: dict[str, Any], threads: int) -> WorkerProcess:
        """Start it in the `folder` of its run, with so many threads, and give it its `order` (see worker.Worker)."""
        with open(folder / "errors.txt", "wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *other_python("gluon_nst.lab.web.worker", "main"),
                str(folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=_environment(threads),
                limit=_LINE,
                start_new_session=True,  # Ctrl-C is the server's, which lets it save
            )
        worker = cls(process)
        worker.tell(**order)
        return worker

    def tell(self, **command: Any) -> None:
        """Send a command; the process may have ended."""
        assert self._process.stdin
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(f"{json.dumps(command)}\n".encode())

    def let_go(self) -> None:
        """Have it save what it has come to, and end."""
        assert self._process.stdin
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.close()

    async def said(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, until it ends."""
        assert self._process.stdout
        async for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    async def end(self) -> str:
        """Wait for its end, and say how that came."""
        status = await self._process.wait()
        return f"by signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"with status {status}"

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def answer(function: str, *arguments: str, threads: int = 1, seconds: float = 120) -> Any:
    """The JSON that `function`, as `module.function` of the lab's, puts out in a process of its own; None where it puts
    out none.

    It is ended after so many seconds.
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
        said, _ = await asyncio.wait_for(process.communicate(), seconds)
        return json.loads(said)
    except (asyncio.TimeoutError, ValueError):
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
