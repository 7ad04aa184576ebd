"""The cores that this process may use, and the number of MXNet's threads."""

from __future__ import annotations

import os
import re
import sys
import warnings

from gluon_nst.errors import InputError
from gluon_nst.machine.system import cgroup_folders, read_text


def _cgroup_limit(root: str | os.PathLike[str]) -> float | None:
    """Return the number of CPUs that the process's control group allows.

    None if there is no limit.
    """
    limits = []
    for folder in cgroup_folders("cpu", root):
        quota, _, period = read_text(folder / "cpu.max").partition(" ")  # version 2
        if not quota:  # version 1
            quota, period = read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _usable_cpus() -> set[int]:
    """Return the CPUs of the process's affinity, or all if it is not available."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(root: str | os.PathLike[str] = "/") -> int:
    """Return the number of physical cores that this process may use.

    Its CPU affinity and its cgroup limit them. Hyper-threads of a core count once. (joblib and psutil count both if the
    affinity is narrower than the machine.)
    """
    topology = f"{root}/sys/devices/system/cpu/cpu%d/topology"
    cores = {read_text(f"{topology % cpu}/thread_siblings_list") or cpu for cpu in _usable_cpus()}
    limit = _cgroup_limit(root)
    return max(1, min(len(cores), len(cores) if limit is None else int(limit)))


def threads() -> int:
    """Return the number of threads with which MXNet computes on the CPU."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() else max(1, len(_usable_cpus()) // 2)


def set_threads() -> None:
    """Let MXNet use every physical core, unless the user has set OMP_NUM_THREADS.

    By default MXNet 1.9.1 uses half of the CPUs (src/engine/openmp.cc), which halves the speed if they are not
    hyper-threads. Only the variable, set before MXNet is loaded, changes that.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = physical_cores()
    if "mxnet" not in sys.modules:
        os.environ["OMP_NUM_THREADS"] = str(cores)
        return
    current = threads()
    if current < cores:
        warnings.warn(
            f"mxnet was imported before gluon_nst and runs on {current} of {cores} cores: import gluon_nst first, "
            f"or set OMP_NUM_THREADS={cores} in the environment",
            stacklevel=4,  # the import of gluon_nst, which calls prepare_mxnet
        )


def check_threads() -> None:
    """Raise InputError for a number of threads with which MXNet does not work.

    MXNet would crash, or misread the number.
    """
    variables = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "MXNET_CPU_WORKER_NTHREADS", "MXNET_CPU_PRIORITY_NTHREADS")
    for name in variables:
        threads = os.environ.get(name, "1")
        if not re.fullmatch("0*[1-9][0-9]{0,3}", threads):
            raise InputError(
                f"{name}={threads}: not a number of threads from 1 to 9999; unset it, or set it to the cores to use, "
                f"at most {physical_cores()}"
            )
