"""The memory available to this process, and detection of out-of-memory errors."""

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
    """Return whether the process has a limit on its address space (`ulimit -v`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit != resource.RLIM_INFINITY


_MIN_ADDRESS_SPACE = 1.3e9
"""Bytes of address space. MXNet and its libraries need 1.1 GB to load, and hang with less (measured, two threads)."""


def check_address_space() -> None:
    """Raise InputError if `ulimit -v` leaves MXNet too little address space to load."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space_is_limited() and limit < _MIN_ADDRESS_SPACE:
        raise InputError(
            f"ulimit -v: {limit / 1e9:.1f} GB of address space are too few for MXNet to load; allow"
            f" {_MIN_ADDRESS_SPACE / 1e9:.1f} GB plus the memory of the run"
        )


def _read_bytes(name: str, path: str) -> list[int]:
    """Return the values of the lines `name: … kB` of the file at `path`, in bytes."""
    return [int(number) * 1024 for number in re.findall(rf"^{name}:\s*(\d+)", read_text(path), re.MULTILINE)]


def _free_in_cgroup(folder: Path) -> list[int]:
    """Return the free bytes of the control group at `folder`.

    One number for each version of control groups that limits it.
    """
    free = []
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, used = read_text(folder / limit_file), read_text(folder / used_file)
        if limit.isdigit() and used.isdigit():
            # The page cache counts as used, but can be evicted.
            files = re.findall(r"^(?:in)?active_file (\d+)", read_text(folder / "memory.stat"), re.MULTILINE)
            free.append(int(limit) - int(used) + sum(map(int, files)))
    return free


def available_memory(root: str | os.PathLike[str] = "/") -> float:
    """Return the bytes of memory of this process plus the free ones.

    It is infinite if they are not known. The limits of the system, the control group and the address space (`ulimit
    -v`) apply.
    """
    status = f"{root}/proc/self/status"
    free: list[float] = [*_read_bytes("MemAvailable", f"{root}/proc/meminfo")]
    if address_space_is_limited():
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        # Measured: later threads reserve more than they use, and freed memory is fragmented.
        free += [0.9 * (limit - size) - 0.9e9 for size in _read_bytes("VmSize", status)]
    for folder in cgroup_folders("memory", root):
        free += _free_in_cgroup(folder)
    return min(free, default=float("inf")) + sum(_read_bytes("VmRSS", status))


def release_memory() -> None:
    """Return freed memory from the C library to the system.

    After a stage it is hundreds of MB.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # C libraries other than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error`, of MXNet or Python, is an out-of-memory error."""
    if isinstance(error, MemoryError):
        return True
    # Only in the last line, because MXNet's errors begin with a C++ trace, which names allocators.
    return bool(re.search("allocat|bad_alloc|out of memory|memory object", reason(error), re.IGNORECASE))
