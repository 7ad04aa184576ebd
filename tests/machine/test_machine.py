import os
import subprocess
import sys
import weakref

from gluon_nst import InputError, machine
from gluon_nst.machine.durations import format_duration

import mxnet as mx
import pytest


def file_tree(root, siblings, cgroup="0::/\n", limits=None):
    """Make a file tree like /proc and /sys: `siblings` maps a CPU to its thread_siblings_list, `limits` a path to its
    text."""
    for cpu, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, text in (limits or {}).items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


SET_FOR_MXNET = {"OMP_NUM_THREADS", "MXNET_SUBGRAPH_VERBOSE"}


def python(code, **environment):
    """Run `code` in a new interpreter, without the variables that gluon_nst sets, except those given."""
    inherited = {name: value for name, value in os.environ.items() if name not in SET_FOR_MXNET}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


# -- cores and threads ------------------------------------------------------------------------------------------------


@pytest.fixture
def affinity(monkeypatch):
    def set_affinity(*cpus):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cpus))

    return set_affinity


HYPERTHREADS = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}


def test_hyperthreads_of_one_core_count_once(tmp_path, affinity):
    affinity(*range(8))
    assert machine.physical_cores(file_tree(tmp_path, HYPERTHREADS)) == 4


def test_only_the_cores_of_the_affinity_count(tmp_path, affinity):
    affinity(0, 4, 1)
    assert machine.physical_cores(file_tree(tmp_path, HYPERTHREADS)) == 2


def test_every_cpu_counts_if_the_topology_is_not_known(tmp_path, affinity):
    affinity(0, 1, 2)
    assert machine.physical_cores(file_tree(tmp_path, {})) == 3


@pytest.mark.parametrize(
    "cgroup, limits, cores",
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/not/here\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            "4:memory:/\n3:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("3:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_the_control_group_limits_the_cores(tmp_path, affinity, cgroup, limits, cores):
    affinity(*range(8))
    assert machine.physical_cores(file_tree(tmp_path, HYPERTHREADS, cgroup, limits)) == cores


def test_importing_sets_the_threads():
    code = "import gluon_nst, os; print(os.environ['OMP_NUM_THREADS'])"
    assert python(code).stdout.strip() == str(machine.physical_cores())


def test_importing_loads_neither_mxnet_nor_numpy():
    assert (
        python("import sys, gluon_nst.machine; print({'mxnet', 'numpy'} & set(sys.modules))").stdout.strip() == "set()"
    )


@pytest.mark.slow
def test_importing_changes_no_more_than_importing_mxnet():
    code = """
import os, locale, random, signal, sys, threading, warnings
import numpy, requests, mxnet, matplotlib, PIL.Image

def state():
    return {
        "environment": dict(os.environ), "warnings": list(warnings.filters), "path": list(sys.path),
        "signals": [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)], "folder": os.getcwd(),
        "random": random.getstate(), "numpy": numpy.random.get_state()[1].tolist(), "errors": numpy.geterr(),
        "np mode": (mxnet.util.is_np_array(), mxnet.util.is_np_shape()), "backend": dict(matplotlib.rcParams),
        "limit": PIL.Image.MAX_IMAGE_PIXELS, "threads": threading.active_count(), "hook": sys.excepthook,
        "locale": locale.setlocale(locale.LC_ALL),
    }

before = state()
import gluon_nst
after = state()
print([name for name in before if before[name] != after[name]])
"""
    assert python(code, **dict.fromkeys(SET_FOR_MXNET, "2")).stdout.strip() == "[]"


def test_importing_sets_two_variables_for_mxnet_unless_the_user_has():
    code = (
        "import os; before = set(os.environ); import gluon_nst;"
        " print(sorted(set(os.environ) - before - {'KMP_INIT_AT_FORK'}))"
    )
    assert python(code).stdout.strip() == str(sorted(SET_FOR_MXNET))
    code = "import os, gluon_nst; print(os.environ['MXNET_SUBGRAPH_VERBOSE'])"
    assert python(code, MXNET_SUBGRAPH_VERBOSE="2").stdout.strip() == "2"


def test_the_users_number_of_threads_takes_precedence():
    code = "import gluon_nst, os; print(os.environ['OMP_NUM_THREADS'])"
    assert python(code, OMP_NUM_THREADS="7").stdout.strip() == "7"


@pytest.mark.slow
@pytest.mark.skipif(machine.physical_cores() < 2, reason="on one core MXNet takes all there is")
def test_one_warning_if_mxnet_was_imported_first():
    run = python("import mxnet, gluon_nst; import gluon_nst.runs.job")
    if machine.physical_cores() > max(1, len(os.sched_getaffinity(0)) // 2):
        assert run.stderr.count("UserWarning: mxnet was imported before gluon_nst") == 1
        assert "set OMP_NUM_THREADS=" in run.stderr
        assert "<string>:1: UserWarning" in run.stderr
    else:
        assert "mxnet was imported before" not in run.stderr


@pytest.mark.slow
def test_no_warning_if_mxnet_was_imported_first_with_all_cores():
    run = python("import mxnet, gluon_nst", OMP_NUM_THREADS="2")
    assert "mxnet was imported before" not in run.stderr


def test_mxnets_other_numbers_of_threads_are_checked():
    with pytest.raises(subprocess.CalledProcessError) as refused:
        python("from gluon_nst.cli import main; raise SystemExit(main(['info']))", MXNET_CPU_WORKER_NTHREADS="many")
    assert refused.value.returncode == 2
    assert refused.value.stderr.startswith("error: MXNET_CPU_WORKER_NTHREADS=many: not a number")


@pytest.mark.parametrize("threads", ["abc", "", "0", "-1", "2,4", "99999999999"])
def test_an_invalid_number_of_threads_is_refused_in_one_line(threads):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        python("from gluon_nst.cli import main; raise SystemExit(main(['info']))", OMP_NUM_THREADS=threads)
    assert refused.value.returncode == 2
    assert refused.value.stdout == ""
    assert refused.value.stderr.startswith(
        f"error: OMP_NUM_THREADS={threads}: not a number of threads from 1 to 9999; unset it"
    )
    assert refused.value.stderr.count("\n") == 1


# -- memory -----------------------------------------------------------------------------------------------------------


MEMINFO = "MemTotal:  25000000 kB\nMemFree:  100 kB\nMemAvailable:  20000000 kB\n"


@pytest.mark.parametrize(
    "cgroup, files, expected",
    [
        ("0::/\n", {}, 20000000 * 1024),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 20000000 * 1024),
        ("0::/\n", {"memory.max": "9000\n", "memory.current": "5000\n"}, 4000),
        (
            "0::/\n",
            {
                "memory.max": "9000",
                "memory.current": "5000",
                "memory.stat": "anon 1\ninactive_file 700\nactive_file 300\n",
            },
            5000,
        ),
        (
            "0::/a/b\n",
            {"a/memory.max": "9000", "a/memory.current": "1000", "a/b/memory.max": "max", "a/b/memory.current": "7"},
            8000,
        ),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "900", "memory/a/memory.usage_in_bytes": "400"}, 500),
    ],
)
def test_the_free_memory_is_that_of_the_system_or_the_control_group(tmp_path, cgroup, files, expected):
    root = file_tree(tmp_path, {}, cgroup, files)
    (root / "proc/meminfo").write_text(MEMINFO)
    assert machine.available_memory(root) == expected
    (root / "proc/self/status").write_text("VmHWM:\t 9 kB\nVmRSS:\t 3 kB\n")
    assert machine.available_memory(root) == expected + 3 * 1024


def test_the_memory_is_unlimited_if_it_is_not_known(tmp_path):
    assert machine.available_memory(tmp_path) == float("inf")


def test_a_limit_on_the_address_space_bounds_the_memory():
    limit = 3_000_000 * 1024
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from gluon_nst import machine
print(machine.available_memory())
"""
    assert 0.5 * limit < float(python(code).stdout) <= limit


@pytest.mark.parametrize(
    "error, expected",
    [
        (MemoryError(), True),
        (mx.MXNetError("Failed to allocate CPU Memory"), True),
        (mx.MXNetError("std::bad_alloc"), True),
        (mx.MXNetError("cudaMalloc retry failed: out of memory"), True),
        (mx.MXNetError("Shape inconsistent"), False),
        (
            mx.MXNetError("Stack trace:\n  [bt] (1) std::vector<std::allocator<int> >\nMXNetError: Shape inconsistent"),
            False,
        ),
    ],
)
def test_out_of_memory_errors_are_detected(error, expected):
    assert machine.is_out_of_memory(error) == expected


# -- instructions -----------------------------------------------------------------------------------------------------


AMX = {"avx512bw", "avx512_bf16", "amx_tile", "amx_bf16"}


@pytest.fixture
def processor(monkeypatch):
    """Simulate a processor before MXNet is loaded; return the Instructions of the process."""

    def find(flags, vendor="GenuineIntel", permitted=True):
        monkeypatch.setattr("gluon_nst.machine.instructions.processor_flags", lambda: flags)
        monkeypatch.setattr("gluon_nst.machine.instructions.amx_permitted", lambda: permitted)
        monkeypatch.setattr("gluon_nst.machine.device.processor_vendor", lambda: vendor)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
        instructions = machine.Instructions()
        monkeypatch.setattr("gluon_nst.machine.device.instructions", instructions)
        return instructions

    return find


def test_the_processors_flags_are_read(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t\t: none\n")
    assert machine.processor_flags(tmp_path) == {"fpu", "avx2", "avx512_bf16"}
    assert machine.processor_flags(tmp_path / "nowhere") == set()


@pytest.mark.parametrize(
    "flags, permitted, wanted, while_it_reads, amx",
    [
        (AMX, True, None, "AVX512_CORE_AMX", "used"),
        (AMX, True, "AVX512_CORE_AMX", "AVX512_CORE_AMX", "used"),
        (AMX, True, "avx512_core", "avx512_core", "DNNL_MAX_CPU_ISA=AVX512_CORE keeps it off"),
        (AMX, True, "ALL", "ALL", "DNNL_MAX_CPU_ISA=ALL keeps it off"),
        (AMX, False, None, None, "the system does not permit it"),
        (AMX, False, "AVX512_CORE_AMX", "AVX512_CORE_BF16", "the system does not permit it"),
        ({"avx512bw"}, True, None, None, "the processor has none"),
    ],
)
def test_the_variable_for_amx_is_set_only_while_it_is_read(
    processor, monkeypatch, flags, permitted, wanted, while_it_reads, amx
):
    instructions = processor(flags, permitted=permitted)
    if wanted:
        monkeypatch.setenv("DNNL_MAX_CPU_ISA", wanted)
    with instructions.isa_variable_set():
        assert os.environ.get("DNNL_MAX_CPU_ISA") == while_it_reads
    assert os.environ.get("DNNL_MAX_CPU_ISA") == wanted
    assert instructions.amx == amx


def test_amx_is_not_used_if_mxnet_was_imported_first(processor, monkeypatch):
    instructions = processor(AMX)
    instructions.handle_early_import()
    assert instructions.amx == "mxnet was imported before gluon_nst"
    assert machine.choose_precision("auto", mx.cpu()) == "float32"
    instructions = processor(AMX)
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_AMX")  # the user's value, which MXNet may have read
    instructions.handle_early_import()
    assert instructions.amx == "used"
    assert machine.choose_precision("auto", mx.cpu()) == "bfloat16"


needs_amx = pytest.mark.skipif(
    not machine.processor_flags() >= AMX or not machine.amx_permitted(),
    reason="the processor has no AMX, or the system keeps it",
)

CONVOLVE = """
import mxnet as mx
from mxnet.contrib.amp.amp import bfloat16
X = mx.nd.amp_cast(mx.nd.ones((1, 32, 8, 8)), dtype=bfloat16)
W = mx.nd.amp_cast(mx.nd.ones((32, 32, 3, 3)), dtype=bfloat16)
mx.nd.amp_cast(mx.nd.Convolution(X, W, no_bias=True, kernel=(3, 3), num_filter=32), dtype="float32").asnumpy()
"""


@pytest.mark.slow
@needs_amx
@pytest.mark.parametrize(
    "before, variable, amx",
    [
        ("import gluon_nst", {}, True),
        ("import gluon_nst", {"DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16"}, False),
        ("import mxnet, gluon_nst", {}, False),
        (
            "from gluon_nst.machine import instructions; instructions.amx_permitted = lambda: False",
            {"DNNL_MAX_CPU_ISA": "AVX512_CORE_AMX"},
            False,
        ),
    ],
)
def test_convolutions_use_amx_if_it_is_enabled(before, variable, amx):
    # oneDNN logs the kernel that it uses; a process that used AMX without permission would have been killed.
    run = python(f"{before}\n{CONVOLVE}", DNNL_VERBOSE="1", OMP_NUM_THREADS="2", **variable)
    kernels = [line for line in run.stdout.splitlines() if ",convolution," in line]
    assert kernels
    assert all(("amx" in kernel) == amx for kernel in kernels)


@pytest.mark.slow
@needs_amx
def test_subprocesses_of_a_run_do_not_inherit_the_variable_for_amx():
    code = (
        f"import gluon_nst, os, subprocess, sys\n{CONVOLVE}\n"
        f"subprocess.run([sys.executable, '-c', {CONVOLVE!r}], check=True)"
    )
    assert python(code, DNNL_VERBOSE="1").stdout.count("amx") > 0


# -- device and precision ---------------------------------------------------------------------------------------------


def test_auto_is_the_first_gpu_or_the_cpu():
    assert machine.choose_device("auto") == (mx.gpu(0) if mx.context.num_gpus() else mx.cpu())


def test_cpu_can_be_chosen():
    assert machine.choose_device("cpu") == mx.cpu()


def test_a_gpu_that_exists_is_chosen(monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    assert machine.choose_device("gpu") == mx.gpu(0)
    assert machine.choose_device("gpu:1") == mx.gpu(1)


@pytest.mark.parametrize("name", ["tpu", "gpu:x", "cpu:1", "gpu:-1", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="not auto, cpu, gpu or gpu:N"):
        machine.choose_device(name)


def test_a_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    with pytest.raises(InputError, match="gpu:1: MXNet finds 1 GPUs"):
        machine.choose_device("gpu:1")


@pytest.mark.parametrize(
    "flags, vendor, permitted, precision, by",
    [
        ({"avx2"}, "AuthenticAMD", True, "float32", ""),
        ({"avx2", "avx512bw"}, "GenuineIntel", True, "float32", "AVX-512"),
        ({"avx512bw", "avx512_bf16"}, "AuthenticAMD", True, "bfloat16", "AVX512_BF16"),
        ({"avx512bw", "avx512_bf16"}, "GenuineIntel", True, "float32", "AVX512_BF16"),
        (AMX, "GenuineIntel", True, "bfloat16", "AMX"),
        (AMX, "GenuineIntel", False, "float32", "AVX512_BF16"),
    ],
)
def test_auto_is_bfloat16_only_if_it_is_faster(processor, flags, vendor, permitted, precision, by):
    with processor(flags, vendor, permitted).isa_variable_set():
        pass
    assert machine.choose_precision("auto", mx.cpu()) == precision
    assert machine.bfloat16_by(mx.cpu()) == by
    assert machine.choose_precision("float32", mx.cpu()) == machine.choose_precision("auto", mx.gpu()) == "float32"


@pytest.mark.parametrize("device, flags", [(mx.cpu(), {"avx2"}), (mx.gpu(), AMX)])
def test_bfloat16_is_refused_if_mxnet_does_not_support_it(processor, device, flags):
    processor(flags)
    with pytest.raises(InputError, match="precision bfloat16: MXNet supports it only with AVX-512; use --precision"):
        machine.choose_precision("bfloat16", device)


# -- array mode -------------------------------------------------------------------------------------------------------


def test_nd_mode_returns_np_arrays_to_a_caller_in_np_mode(np_mode):
    seen = []

    @machine.nd_mode
    def twice(arrays, scale):
        seen.append((type(arrays[0]), mx.util.is_np_array(), mx.util.is_np_shape()))
        return [array * scale for array in arrays]

    output = twice([mx.np.ones((2, 3))], scale=2)
    assert seen == [(mx.nd.NDArray, False, False)]
    assert isinstance(output[0], mx.np.ndarray)
    assert output[0].sum() == 12
    assert mx.util.is_np_array()
    assert mx.util.is_np_shape()


def test_nd_mode_keeps_gradients_of_np_arrays(np_mode):
    square = machine.nd_mode(lambda X: X.square().sum())
    X = mx.np.array([1.0, 2.0])
    X.attach_grad()
    with mx.autograd.record():
        loss = square(X)
    loss.backward()
    assert X.grad.tolist() == [2, 4]


def modes():
    return mx.util.is_np_array(), mx.util.is_np_shape()


def doubled(arrays):
    """Yield twice each array, and record in a list what each step gets and its array mode, also at the end."""
    seen = []

    @machine.nd_mode_steps
    def steps(arrays):
        try:
            for array in arrays:
                seen.append((type(array), *modes()))
                yield array * 2
            return "all"
        finally:
            seen.append(("closed", *modes()))

    return steps(arrays), seen


def test_nd_mode_steps_turns_np_mode_off_only_in_steps(np_mode):
    steps, seen = doubled([mx.np.ones((2, 3)), mx.np.zeros((1,))])
    assert seen == []
    assert modes() == (True, True)
    for total in (12, 0):
        array = next(steps)
        assert type(array) is mx.nd.NDArray
        assert modes() == (True, True)
        assert array.asnumpy().sum() == total
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "all"
    assert modes() == (True, True)
    assert seen == [(mx.nd.NDArray, False, False)] * 2 + [("closed", False, False)]


def test_nd_mode_steps_lets_the_caller_change_the_mode_between_steps(np_mode):
    steps, seen = doubled([mx.np.ones((1,))] * 2)
    next(steps)
    with mx.util.np_array(False), mx.util.np_shape(False):
        next(steps)
        assert modes() == (False, False)
    assert modes() == (True, True)
    assert seen == [(mx.nd.NDArray, False, False)] * 2


def test_a_generator_with_nd_mode_steps_closes_the_inner_one(np_mode):
    steps, seen = doubled([mx.np.ones((1,))] * 2)
    next(steps)
    steps.close()
    assert seen[1:] == [("closed", False, False)]
    assert modes() == (True, True)
    with pytest.raises(StopIteration):
        next(steps)


def test_nd_mode_steps_passes_errors_on_and_restores_the_mode(np_mode):
    @machine.nd_mode_steps
    def failing():
        yield 1
        raise ValueError("the second step")

    steps = failing()
    assert next(steps) == 1
    with pytest.raises(ValueError, match="the second step"):
        next(steps)
    assert modes() == (True, True)


def test_nd_mode_steps_works_if_np_mode_is_off():
    steps, seen = doubled([mx.nd.ones((1,)), mx.nd.zeros((1,))])
    assert [array.asnumpy().tolist() for array in steps] == [[2], [0]]
    assert modes() == (False, False)
    assert seen == [(mx.nd.NDArray, False, False)] * 2 + [("closed", False, False)]


def test_nd_mode_steps_keeps_no_reference_to_yielded_items():
    class Item:
        pass

    @machine.nd_mode_steps
    def items():
        yield Item()
        yield "second"

    steps = items()
    first = weakref.ref(next(steps))
    assert first() is None
    assert next(steps) == "second"


@pytest.mark.slow
def test_a_process_may_exit_with_a_suspended_generator_of_nd_mode_steps():
    code = """
from gluon_nst.machine import nd_mode_steps

@nd_mode_steps
def steps():
    yield

at_rest = steps()
next(at_rest)
"""
    assert python(code).stderr == ""


# -- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds, text, about",
    [
        (0.04, "0.0 s", "0.0 s"),
        (9.94, "9.9 s", "9.9 s"),
        (9.96, "10 s", "10 s"),
        (59.4, "59 s", "59 s"),
        (59.6, "1 min", "1 min"),
        (83, "1 min 23 s", "1 min"),
        (754, "12 min 34 s", "13 min"),
        (3599.7, "1 h", "1 h"),
        (9030, "2 h 30 min", "2 h 30 min"),
        (90000, "25 h", "25 h"),
    ],
)
def test_a_duration_has_two_units_and_an_estimate_whole_minutes(seconds, text, about):
    assert format_duration(seconds) == text
    assert format_duration(seconds, about=True) == about
