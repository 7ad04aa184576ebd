"""Which instructions MXNet's oneDNN may use, and how MXNet is told of this machine as it loads.

MXNet reads its thread count as it loads, and its oneDNN the instructions that it may use at its first operator; so
importing gluon_nst, which imports no MXNet, arranges for both to be told when MXNet is loaded, by whomever
(`prepare_mxnet`).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import platform
import re
import sys
from types import ModuleType
from typing import Any, Callable, Iterator, Sequence

from gluon_nst.machine.cores import check_threads, set_threads
from gluon_nst.machine.memory import check_address_space
from gluon_nst.machine.system import read_text


def processor_flags(root: str | os.PathLike[str] = "/") -> set[str]:
    """The instruction sets of the processor, as Linux names them: `avx512bw`, `avx512_bf16`, …"""
    flags = re.search(r"^flags\s*:(.*)", read_text(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return set(flags.group(1).split()) if flags else set()


def processor_vendor(root: str | os.PathLike[str] = "/") -> str:
    """Who made the processor, as it says itself: `GenuineIntel`, `AuthenticAMD`, …"""
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", read_text(f"{root}/proc/cpuinfo"), re.MULTILINE)
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


def amx_permitted() -> bool:
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

    def __init__(self) -> None:
        self.amx = "MXNet is not loaded"
        """`used`, or why AMX is not."""
        self.came_too_late = False
        """Whether MXNet was imported before gluon_nst, which could not tell it anything then."""
        self.highest = "AVX512_CORE_BF16"
        """The level that oneDNN keeps to: one of _LEVELS."""

    def decide(self) -> str | None:
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

    def mxnet_came_first(self) -> None:
        """MXNet was imported before gluon_nst, so it may have asked already: it has AMX only where the user let it
        in."""
        self.decide()
        self.came_too_late = True
        if self.amx == "used" and _VARIABLE not in os.environ:
            self.amx, self.highest = "mxnet was imported before gluon_nst", "AVX512_CORE_BF16"

    @contextlib.contextmanager
    def told(self) -> Iterator[bool]:
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

    def flags(self) -> set[str]:
        """The flags of the processor that oneDNN makes use of."""
        levels = list(_LEVELS)
        beyond: set[str] = set().union(*(_LEVELS[level] for level in levels[levels.index(self.highest) + 1 :]))
        return processor_flags() - beyond


instructions = Instructions()
"""Those of this process."""


def processor() -> str:
    """Who made the processor, and the highest level of instructions that oneDNN uses of it: `GenuineIntel
    AVX512_CORE_AMX`."""
    levels = [level for level, flags in _LEVELS.items() if flags <= instructions.flags()]
    return " ".join([processor_vendor() or "unknown", *levels[-1:]])


class _Loading(importlib.abc.MetaPathFinder):
    """Stands in the way of the first import of mxnet, to tell it of this machine."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "mxnet":
            return None
        check_threads()
        check_address_space()
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec("mxnet")
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            loader: Any = spec.loader
            load = loader.exec_module
            loader.exec_module = lambda module: self._load(load, module)
        return spec

    def _load(self, load: Callable[[ModuleType], None], module: Any) -> None:
        instructions.decide()  # before MXNet's threads start
        load(module)
        with instructions.told() as needed:
            if needed:
                one = module.nd.ones((1, 1))
                module.nd.FullyConnected(one, one, no_bias=True, num_hidden=1).wait_to_read()
        sys.meta_path.remove(self)


def prepare_mxnet() -> None:
    """Set what MXNet reads from the environment, or have it set when it is loaded; what the user has set wins."""
    set_threads()
    # Don't announce on standard error that graphs are fused.
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    # What is kept of every size that has been computed: code that was made for it, and what that works on. MXNet's own
    # store keeps 0.2 GB of each size and saves no time beside oneDNN's, which is large enough for one size. And one
    # buffer for what operators need for a moment, instead of four.
    os.environ.setdefault("MXNET_MKLDNN_CACHE_NUM", "2")
    os.environ.setdefault("DNNL_PRIMITIVE_CACHE_CAPACITY", "256")
    os.environ.setdefault("MXNET_CPU_TEMP_COPY", "1")
    if "mxnet" in sys.modules:
        instructions.mxnet_came_first()
    else:
        sys.meta_path.insert(0, _Loading())
