"""Cores, device and array mode: what the machine has, and how MXNet is told of it.

MXNet reads its thread count once, as it loads, so `set_threads` runs before the first import of mxnet;
that is why this module imports mxnet inside its functions only.
"""

import functools
import os
import re
import sys
import warnings
from pathlib import Path

from gluon_nst.errors import InputError


def _read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cgroup_folders(controller, root):
    """The folders of the process's control group and of those above it, for a `controller` (cpu, memory)."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = Path(f"{root}/sys/fs/cgroup/{controllers}")
        folder = base / group.strip("/")
        # A limit on any group above binds too, and in a container the path may be the host's: the
        # folders that are not there are skipped on the way up to the mount.
        for folder in (folder, *folder.parents):
            yield folder
            if folder == base:
                break


def _cgroup_limit(root="/"):
    """CPUs that the process's control group allows it (a float), or None where there is no limit."""
    limits = []
    for folder in _cgroup_folders("cpu", root):
        quota, _, period = _read(folder / "cpu.max").partition(" ")          # version 2
        if not quota:                                                        # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def available_memory(root="/"):
    """Bytes of memory that this process can have: what it has, and what is free; infinity where that is not known."""

    def bytes_of(name, path):
        return [int(number) * 1024 for number in re.findall(rf"^{name}:\s*(\d+)", _read(f"{root}/{path}"), re.M)]

    free = bytes_of("MemAvailable", "proc/meminfo")
    for folder in _cgroup_folders("memory", root):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _read(folder / limit), _read(folder / used)
            if limit.isdigit() and used.isdigit():
                # Files that are kept in memory count as used, and give way.
                files = re.findall(r"^(?:in)?active_file (\d+)", _read(folder / "memory.stat"), re.M)
                free.append(int(limit) - int(used) + sum(map(int, files)))
    return min(free, default=float("inf")) + sum(bytes_of("VmRSS", "proc/self/status"))


def physical_cores(root="/"):
    """Physical cores that this process may use: its CPU affinity, hyper-threads counted once, its cgroup's limit.

    (joblib and psutil count two hyper-threads of one core as two where the affinity is narrower than the machine.)
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:
        cpus = range(os.cpu_count() or 1)
    topology = f"{root}/sys/devices/system/cpu/cpu%d/topology"
    cores = {_read(f"{topology % cpu}/thread_siblings_list") or cpu for cpu in cpus}
    limit = _cgroup_limit(root)
    return max(1, min(len(cores), len(cores) if limit is None else int(limit)))


def set_threads():
    """Let MXNet use every physical core; OMP_NUM_THREADS, where the user has set it, wins.

    As it comes, MXNet 1.9.1 takes half of the CPUs it finds (src/engine/openmp.cc), which halves the speed wherever
    they are not hyper-threads. Nothing but the variable, set before MXNet loads, changes that.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = physical_cores()
    if "mxnet" not in sys.modules:
        os.environ["OMP_NUM_THREADS"] = str(cores)
        return
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    taken = max(1, cpus // 2)
    if taken < cores:
        warnings.warn(
            f"mxnet was imported before gluon_nst and runs on {taken} of {cores} cores: import gluon_nst first, "
            f"or set OMP_NUM_THREADS={cores} in the environment",
            stacklevel=4,
        )


def prepare_mxnet():
    """Set what MXNet reads from the environment; what the user has set wins."""
    set_threads()
    # Don't announce on standard error that graphs are fused.
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")


def choose_device(name="auto"):
    """The MXNet context for `auto` (d2l.try_gpu(): the first GPU, else the CPU), `cpu`, `gpu` or `gpu:N`."""
    import mxnet as mx

    if name == "auto":
        from d2l import mxnet as d2l

        return d2l.try_gpu()
    kind, _, number = str(name).partition(":")
    if kind == "cpu" and not number:
        return mx.cpu()
    if kind != "gpu" or not re.fullmatch("[0-9]*", number):
        raise InputError(f"device {name}: not auto, cpu, gpu or gpu:N")
    index, found = int(number or 0), mx.context.num_gpus()
    if index >= found:
        raise InputError(
            f"device {name}: MXNet sees {found} GPUs here; use --device cpu, or install a GPU build of MXNet"
        )
    return mx.gpu(index)


def processor_flags(root="/"):
    """The instruction sets of the processor, as Linux names them: `avx512bw`, `avx512_bf16`, …"""
    flags = re.search(r"^flags\s*:(.*)", _read(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return set(flags.group(1).split()) if flags else set()


def choose_precision(name, device):
    """The precision of a run on `device` (an MXNet context) for `auto`, `float32` or `bfloat16`."""
    flags = processor_flags() if device.device_type == "cpu" else set()
    if name == "auto":
        return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"
    if name == "bfloat16" and "avx512bw" not in flags:  # with AVX-512 alone MXNet emulates it, slower than float32
        raise InputError("precision bfloat16: MXNet has it only on processors with AVX-512; use --precision float32")
    return name


def _converted(value, kind, convert):
    if isinstance(value, kind):
        return convert(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_converted(item, kind, convert) for item in value)
    if isinstance(value, dict):
        return {key: _converted(item, kind, convert) for key, item in value.items()}
    return value


def nd_mode(function):
    """Run `function` with MXNet's classic NDArray, whatever array mode the caller is in.

    After `npx.set_np()`, which every notebook of d2l 1.0 calls, blocks written for NDArray break. So the function
    runs with np mode off, gets NDArrays for the caller's mxnet.np arrays, and gives such a caller np arrays back.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        import mxnet as mx

        if not (mx.util.is_np_array() or mx.util.is_np_shape()):
            return function(*args, **kwargs)
        to_np = mx.util.is_np_array()
        with mx.util.np_array(False), mx.util.np_shape(False):
            args = _converted(args, mx.np.ndarray, lambda array: array.as_nd_ndarray())
            kwargs = _converted(kwargs, mx.np.ndarray, lambda array: array.as_nd_ndarray())
            output = function(*args, **kwargs)
            if to_np:
                output = _converted(output, mx.nd.NDArray, lambda array: array.as_np_ndarray())
            return output

    return run
