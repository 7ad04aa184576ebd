"""The memory that this process can have, and the errors that say that there is none left."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import resource
from pathlib import Path

from gluon_nst.errors import InputError, reason
from gluon_nst.machine.system import cgroup_folders, read_text


def address_space_is_limited() -> bool:
    """Whether the process has a limit on its address space (`ulimit -v`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit != resource.RLIM_INFINITY


_LEAST_ADDRESS_SPACE = 1.3e9
"""Of address space MXNet and its libraries take 1.1 GB to load; in less they wait without an end (measured, two
threads)."""


def check_address_space() -> None:
    """Raise InputError for a limit on the address space (`ulimit -v`) in which MXNet does not load."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space_is_limited() and limit < _LEAST_ADDRESS_SPACE:
        raise InputError(
            f"ulimit -v: {limit / 1e9:.1f} GB of address space are too few for MXNet to load; allow"
            f" {_LEAST_ADDRESS_SPACE / 1e9:.1f} GB, and what the run takes"
        )


def _bytes_of(name: str, path: str) -> list[int]:
    """What the lines `name: … kB` of the file at `path` say, in bytes."""
    return [int(number) * 1024 for number in re.findall(rf"^{name}:\s*(\d+)", read_text(path), re.MULTILINE)]


def _free_in_cgroup(folder: Path) -> list[int]:
    """Bytes that are left to the control group at `folder`, for each version of control groups that limits it."""
    free = []
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, used = read_text(folder / limit_file), read_text(folder / used_file)
        if limit.isdigit() and used.isdigit():
            # Files that are kept in memory count as used, and give way.
            files = re.findall(r"^(?:in)?active_file (\d+)", read_text(folder / "memory.stat"), re.MULTILINE)
            free.append(int(limit) - int(used) + sum(map(int, files)))
    return free


def available_memory(root: str | os.PathLike[str] = "/") -> float:
    """Bytes of memory that this process can have: what it has, and what is free; infinity where that is not known.

    Bounds are the system's, a control group's, and a limit on the process's address space (`ulimit -v`).
    """
    status = f"{root}/proc/self/status"
    free: list[float] = [*_bytes_of("MemAvailable", f"{root}/proc/meminfo")]
    if address_space_is_limited():
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        # Threads that are still to start reserve more than they use, and memory comes back in pieces: measured.
        free += [0.9 * (limit - size) - 0.9e9 for size in _bytes_of("VmSize", status)]
    for folder in cgroup_folders("memory", root):
        free += _free_in_cgroup(folder)
    return min(free, default=float("inf")) + sum(_bytes_of("VmRSS", status))


def release_memory() -> None:
    """Give back to the system what the C library keeps of memory that is free: hundreds of MB after a stage."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # of other C libraries than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, MXNet's or Python's own, says that there was no memory left to be had."""
    if isinstance(error, MemoryError):
        return True
    # In the last line only: MXNet's begin with a trace of C++, which is full of allocators.
    return bool(re.search("allocat|bad_alloc|out of memory|memory object", reason(error), re.IGNORECASE))
