"""The device of a run, and its fastest precision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gluon_nst.errors import InputError
from gluon_nst.machine.instructions import instructions, processor_vendor

if TYPE_CHECKING:
    import mxnet


def choose_device(name: str = "auto") -> mxnet.Context:
    """Return the MXNet context for `auto`, `cpu`, `gpu` or `gpu:N`.

    `auto` is d2l.try_gpu(): the first GPU, else the CPU. Raises InputError for another name, and for a GPU that MXNet
    does not find.
    """
    import mxnet as mx

    if name == "auto":
        from d2l import mxnet as d2l

        return d2l.try_gpu()
    kind, _, number = str(name).partition(":")
    if kind == "cpu" and not number:
        return mx.cpu()
    if kind != "gpu" or not re.fullmatch("[0-9]*", number):
        raise InputError(f"device {name}: not auto, cpu, gpu or gpu:N")
    index, num_gpus = int(number or 0), mx.context.num_gpus()
    if index >= num_gpus:
        raise InputError(
            f"device {name}: MXNet finds {num_gpus} GPUs; use --device cpu, or install a GPU build of MXNet"
        )
    return mx.gpu(index)


def bfloat16_by(device: mxnet.Context) -> str:
    """Return the instruction set of convolutions in bfloat16 on a device.

    It is AMX, AVX512_BF16, AVX-512, or "" for none. With only AVX-512 MXNet emulates bfloat16, slower than float32.
    """
    flags = instructions.flags() if device.device_type == "cpu" else set()
    kinds = {"AMX": "amx_bf16", "AVX512_BF16": "avx512_bf16", "AVX-512": "avx512bw"}
    return next((kind for kind, flag in kinds.items() if flag in flags), "")


def choose_precision(name: str, device: mxnet.Context) -> str:
    """Return the precision of a run on `device` for `auto`, `float32` or `bfloat16`.

    `auto` is the fastest one, measured by scripts/benchmark.py: bfloat16 with AMX, and with AVX512_BF16 on AMD
    processors (Zen 4 and 5: 1.7 times as fast as float32), but not on Intel's (0.7 times). Raises InputError for
    bfloat16 if MXNet does not support it on this processor.
    """
    kind = bfloat16_by(device)
    if name == "auto":
        is_faster = kind == "AMX" or (kind == "AVX512_BF16" and processor_vendor() == "AuthenticAMD")
        return "bfloat16" if is_faster else "float32"
    if name == "bfloat16" and not kind:
        raise InputError("precision bfloat16: MXNet supports it only with AVX-512; use --precision float32")
    return name
