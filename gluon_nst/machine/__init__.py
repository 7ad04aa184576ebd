"""The machine: cores, memory, instruction sets, devices, MXNet's settings."""

from gluon_nst.machine.arrays import nd_mode, nd_mode_steps
from gluon_nst.machine.cores import check_threads, physical_cores, set_threads, threads
from gluon_nst.machine.device import bfloat16_by, choose_device, choose_precision
from gluon_nst.machine.instructions import (
    Instructions,
    amx_permitted,
    prepare_mxnet,
    processor,
    processor_flags,
    processor_vendor,
)
from gluon_nst.machine.memory import (
    address_space_is_limited,
    available_memory,
    is_out_of_memory,
    release_memory,
)

# `machine.instructions` is the module; the Instructions of this process are `machine.instructions.instructions`.

__all__ = [
    "Instructions",
    "address_space_is_limited",
    "amx_permitted",
    "available_memory",
    "bfloat16_by",
    "check_threads",
    "choose_device",
    "choose_precision",
    "is_out_of_memory",
    "nd_mode",
    "nd_mode_steps",
    "physical_cores",
    "prepare_mxnet",
    "processor",
    "processor_flags",
    "processor_vendor",
    "release_memory",
    "set_threads",
    "threads",
]
