"""Cores, instructions, memory, device and array mode: what the machine has, and how MXNet is told of it.

MXNet reads its thread count as it loads, and its oneDNN the instructions that it may use at its first operator; so importing
gluon_nst, which imports no MXNet, arranges for both to be told when MXNet is loaded, by whomever (`prepare_mxnet`).
"""

import contextlib
import ctypes
import functools
import importlib.abc
import importlib.util
import os
import platform
import re
import resource
import sys
import warnings
from pathlib import Path

from gluon_nst.errors import InputError, reason


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


def address_space_is_limited():
    """Whether the process has a limit on its address space (`ulimit -v`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit != resource.RLIM_INFINITY


def available_memory(root="/"):
    """Bytes of memory that this process can have: what it has, and what is free; infinity where that is not known.

    Bounds are the system's, a control group's, and a limit on the process's address space (`ulimit -v`).
    """

    def bytes_of(name, path):
        return [int(number) * 1024 for number in re.findall(rf"^{name}:\s*(\d+)", _read(f"{root}/{path}"), re.M)]

    free = bytes_of("MemAvailable", "proc/meminfo")
    if address_space_is_limited():
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        # Threads that are still to start reserve more than they use, and memory comes back in pieces: measured.
        free += [0.9 * (limit - size) - 0.6e9 for size in bytes_of("VmSize", "proc/self/status")]
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


def _check_threads():
    """Raise InputError for a number of threads that would end the process as MXNet reads it, or be taken for another."""
    variables = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "MXNET_CPU_WORKER_NTHREADS", "MXNET_CPU_PRIORITY_NTHREADS")
    for name in variables:
        threads = os.environ.get(name, "1")
        if not re.fullmatch("0*[1-9][0-9]{0,3}", threads):
            raise InputError(
                f"{name}={threads}: not a number of threads from 1 to 9999; unset it, or set it to the cores to use, "
                f"{physical_cores()} at the most"
            )


def processor_flags(root="/"):
    """The instruction sets of the processor, as Linux names them: `avx512bw`, `avx512_bf16`, …"""
    flags = re.search(r"^flags\s*:(.*)", _read(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return set(flags.group(1).split()) if flags else set()


def processor_vendor(root="/"):
    """Who made the processor, as it says itself: `GenuineIntel`, `AuthenticAMD`, …"""
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", _read(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return vendor.group(1) if vendor else ""


# What oneDNN may use at the most (its variable DNNL_MAX_CPU_ISA), least first, and the flags that each level adds.
_LEVELS = {
    "SSE41": {"sse4_1"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX512_CORE": {"avx512bw"},
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16"},
    "AVX512_CORE_AMX": {"amx_tile", "amx_bf16"},
}
_VARIABLE = "DNNL_MAX_CPU_ISA"


def amx_permitted():
    """Ask Linux for AMX's tile registers, for this process and its threads; a process that uses them unasked is ended.

    arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), in Linux from 5.16 on.
    """
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0


class Instructions:
    """Which instructions MXNet's oneDNN may use. It is asked once, before its first operator, and keeps to the answer.

    oneDNN 2.4 has kernels for AMX and leaves them off unless its variable lets them in. The variable is in the
    environment only while oneDNN reads it: other programs that are started from this one have no permission for AMX,
    and those with an oneDNN of that age would die of it.
    """

    def __init__(self):
        self.amx = "MXNet is not loaded"
        """`used`, or why AMX is not."""
        self.highest = "AVX512_CORE_BF16"
        """The level that oneDNN keeps to: one of _LEVELS."""

    def decide(self):
        """The value that the variable is to have while oneDNN reads it, or None to leave it as it is; asks for AMX."""
        wanted = os.environ.get(_VARIABLE, "").strip().upper()
        if wanted in _LEVELS:
            self.highest = wanted
        if not processor_flags() >= _LEVELS["AVX512_CORE_AMX"]:
            self.amx = "the processor has none"
        elif wanted and wanted != "AVX512_CORE_AMX":  # so do ALL and DEFAULT
            self.amx = f"{_VARIABLE}={wanted} keeps it off"
        elif not amx_permitted():
            self.amx, self.highest = "the system does not permit it", "AVX512_CORE_BF16"
            return self.highest if wanted else None  # with what the user has set oneDNN would end the process
        else:
            self.amx, self.highest = "used", "AVX512_CORE_AMX"
            return self.highest
        return None

    def mxnet_came_first(self):
        """MXNet was imported before gluon_nst, so it may have asked already: it has AMX only where the user let it in."""
        self.decide()
        if self.amx == "used" and _VARIABLE not in os.environ:
            self.amx, self.highest = "mxnet was imported before gluon_nst", "AVX512_CORE_BF16"

    @contextlib.contextmanager
    def told(self):
        """Have MXNet run its first operator in the block; gives whether that is needed."""
        value, before = self.decide(), os.environ.get(_VARIABLE)
        if value is None:
            yield False
            return
        os.environ[_VARIABLE] = value
        try:
            yield True
        finally:
            os.environ.pop(_VARIABLE)
            if before is not None:
                os.environ[_VARIABLE] = before

    def flags(self):
        """The flags of the processor that oneDNN makes use of."""
        levels = list(_LEVELS)
        beyond = set().union(*(_LEVELS[level] for level in levels[levels.index(self.highest) + 1 :]))
        return processor_flags() - beyond


instructions = Instructions()
"""Those of this process."""


class _Loading(importlib.abc.MetaPathFinder):
    """Stands in the way of the first import of mxnet, to tell it of this machine."""

    def find_spec(self, name, path=None, target=None):
        if name != "mxnet":
            return None
        _check_threads()
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec("mxnet")
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._load(load, module)
        return spec

    def _load(self, load, module):
        instructions.decide()  # before MXNet's threads start
        load(module)
        with instructions.told() as needed:
            if needed:
                module.nd.FullyConnected(module.nd.ones((1, 1)), module.nd.ones((1, 1)), no_bias=True, num_hidden=1).wait_to_read()
        sys.meta_path.remove(self)


def prepare_mxnet():
    """Set what MXNet reads from the environment, or have it set when it is loaded; what the user has set wins."""
    set_threads()
    # Don't announce on standard error that graphs are fused.
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    if "mxnet" in sys.modules:
        instructions.mxnet_came_first()
    else:
        sys.meta_path.insert(0, _Loading())


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


def bfloat16_by(device):
    """What computes a convolution in bfloat16 on `device` (an MXNet context): `AMX`, `AVX512_BF16`, `AVX-512`, or nothing, ``.

    With AVX-512 alone MXNet emulates it, slower than float32.
    """
    flags = instructions.flags() if device.device_type == "cpu" else set()
    kinds = {"AMX": "amx_bf16", "AVX512_BF16": "avx512_bf16", "AVX-512": "avx512bw"}
    return next((kind for kind, flag in kinds.items() if flag in flags), "")


def choose_precision(name, device):
    """The precision of a run on `device` (an MXNet context) for `auto`, `float32` or `bfloat16`.

    `auto` is what is fastest, measured by scripts/benchmark.py: bfloat16 with AMX, and with AVX512_BF16 on AMD's processors
    (Zen 4 and 5: 1.7 times as fast as float32), not on Intel's (0.7 times).
    """
    kind = bfloat16_by(device)
    if name == "auto":
        wins = kind == "AMX" or (kind == "AVX512_BF16" and processor_vendor() == "AuthenticAMD")
        return "bfloat16" if wins else "float32"
    if name == "bfloat16" and not kind:
        raise InputError("precision bfloat16: MXNet has it only on processors with AVX-512; use --precision float32")
    return name


def is_out_of_memory(error):
    """Whether `error`, MXNet's or Python's own, says that there was no memory left to be had."""
    # In the last line only: MXNet's begin with a trace of C++, which is full of allocators.
    return isinstance(error, MemoryError) or bool(re.search("allocat|bad_alloc|out of memory|memory object", reason(error), re.I))


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
