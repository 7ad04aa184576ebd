"""The instruction sets of MXNet's oneDNN, and MXNet's settings at its import.

MXNet reads its number of threads when it is loaded, and its oneDNN the allowed instruction sets at its first operator.
Importing gluon_nst does not import MXNet, but installs a finder that sets both when MXNet is imported
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
    """Return the processor's instruction sets by Linux's names, as `avx512bw`."""
    flags = re.search(r"^flags\s*:(.*)", read_text(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return set(flags.group(1).split()) if flags else set()


def processor_vendor(root: str | os.PathLike[str] = "/") -> str:
    """Return the processor's vendor, as `GenuineIntel` or `AuthenticAMD`."""
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", read_text(f"{root}/proc/cpuinfo"), re.MULTILINE)
    return vendor.group(1) if vendor else ""


# Values of oneDNN's variable DNNL_MAX_CPU_ISA in ascending order, each with the flags that it adds.
_LEVELS = {
    "SSE41": {"sse4_1"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX512_CORE": {"avx512bw"},
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16"},
    "AVX512_CORE_AMX": {"amx_tile", "amx_bf16"},
}
_ISA_VARIABLE = "DNNL_MAX_CPU_ISA"


def amx_permitted() -> bool:
    """Request AMX's tile registers for this process and its threads.

    Return whether Linux permits them. It calls arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), in Linux since
    5.16. A process that uses them without permission is killed.
    """
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0


class Instructions:
    """The instruction sets that MXNet's oneDNN may use.

    oneDNN reads them once, before its first operator. oneDNN 2.4 has kernels for AMX, which its variable has to enable.
    The variable is in the environment only while oneDNN reads it: child processes have no permission for AMX, and those
    with an old oneDNN would crash.
    """

    def __init__(self) -> None:
        self.amx = "MXNet is not loaded"
        """`used`, or the reason why AMX is not used."""
        self.mxnet_imported_first = False
        """Whether MXNet was imported before gluon_nst, so that its settings had no effect."""
        self.highest = "AVX512_CORE_BF16"
        """The highest level that oneDNN uses, one of _LEVELS."""

    def decide(self) -> str | None:
        """Request AMX, and return the value of the variable for oneDNN.

        It is set while oneDNN reads it; None leaves it unchanged.
        """
        user_value = os.environ.get(_ISA_VARIABLE, "").strip().upper()
        if user_value in _LEVELS:
            self.highest = user_value
        if not processor_flags() >= _LEVELS["AVX512_CORE_AMX"]:
            self.amx = "the processor has none"
        elif user_value and user_value != "AVX512_CORE_AMX":  # also ALL and DEFAULT
            self.amx = f"{_ISA_VARIABLE}={user_value} keeps it off"
        elif not amx_permitted():
            self.amx, self.highest = "the system does not permit it", "AVX512_CORE_BF16"
            return self.highest if user_value else None  # with the user's value oneDNN would crash
        else:
            self.amx, self.highest = "used", "AVX512_CORE_AMX"
            return self.highest
        return None

    def handle_early_import(self) -> None:
        """Record that MXNet was imported before gluon_nst.

        It then uses AMX only if the user's variable enables it.
        """
        self.decide()
        self.mxnet_imported_first = True
        if self.amx == "used" and _ISA_VARIABLE not in os.environ:
            self.amx, self.highest = "mxnet was imported before gluon_nst", "AVX512_CORE_BF16"

    @contextlib.contextmanager
    def isa_variable_set(self) -> Iterator[bool]:
        """Set the variable in the block, in which MXNet has to run its first operator.

        Yield whether that is needed.
        """
        value, before = self.decide(), os.environ.get(_ISA_VARIABLE)
        if value is None:
            yield False
            return
        os.environ[_ISA_VARIABLE] = value
        try:
            yield True
        finally:
            os.environ.pop(_ISA_VARIABLE)
            if before is not None:
                os.environ[_ISA_VARIABLE] = before

    def flags(self) -> set[str]:
        """Return the flags of the processor that oneDNN uses."""
        levels = list(_LEVELS)
        disabled: set[str] = set().union(*(_LEVELS[level] for level in levels[levels.index(self.highest) + 1 :]))
        return processor_flags() - disabled


instructions = Instructions()
"""The instruction sets of this process."""


def processor() -> str:
    """Return the processor's vendor and the highest level that oneDNN uses.

    For example, `GenuineIntel AVX512_CORE_AMX`.
    """
    levels = [level for level, flags in _LEVELS.items() if flags <= instructions.flags()]
    return " ".join([processor_vendor() or "unknown", *levels[-1:]])


class _MXNetFinder(importlib.abc.MetaPathFinder):
    """A finder that sets what MXNet reads while it is first imported."""

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
        with instructions.isa_variable_set() as needed:
            if needed:
                one = module.nd.ones((1, 1))
                module.nd.FullyConnected(one, one, no_bias=True, num_hidden=1).wait_to_read()
        sys.meta_path.remove(self)


def prepare_mxnet() -> None:
    """Set the environment variables of MXNet, some of them when it is imported.

    The user's values take precedence.
    """
    set_threads()
    # No messages on standard error about fused graphs.
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    # Caches of the code and buffers for each computed size. MXNet's own cache takes 0.2 GB per size and saves no time
    # in addition to oneDNN's, which is large enough for one size. One buffer, instead of four, for temporary memory of
    # operators.
    os.environ.setdefault("MXNET_MKLDNN_CACHE_NUM", "2")
    os.environ.setdefault("DNNL_PRIMITIVE_CACHE_CAPACITY", "256")
    os.environ.setdefault("MXNET_CPU_TEMP_COPY", "1")
    if "mxnet" in sys.modules:
        instructions.handle_early_import()
    else:
        sys.meta_path.insert(0, _MXNetFinder())
