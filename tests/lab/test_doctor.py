"""The doctor, on this machine as it is and on faults made on purpose."""

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

from gluon_nst import machine

import pytest

from commands import command_line, ended, namespace

CORES = machine.physical_cores()


@pytest.fixture
def doctor(user_environment, trunk_cache):
    """Run the doctor in a process of its own, whose environment is so; gives its status and its lines, by their second
    word."""

    def examine(before="", code=None, **environment):
        command = command_line("doctor") if code is None else [sys.executable, "-W", "ignore", "-c", code]
        if before:
            command = ["bash", "-c", f'{before}; exec "$@"', "bash", *command]
        environment = {**user_environment, "GLUON_NST_CACHE": str(trunk_cache), **environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert not done.stderr, done.stderr
        *lines, last = done.stdout.splitlines()
        return done.returncode, {re.split(r"\s+", line)[1]: line for line in lines}, last

    return examine


@pytest.mark.slow
def test_a_machine_that_is_ready_is_told_so_in_about_ten_lines(doctor):
    status, lines, last = doctor()
    assert status == 0
    assert last == "ready for the lab"
    order = "Python Jupyter threads disk MXNet precision memory weights speed recipes notebook"
    assert " ".join(lines) == order
    assert re.search(r"\d\.\d\d s for an epoch of the chapter at 150x225$", lines["speed"])
    assert re.search(r"d2l-2019 [\d.]+, d2l-2023 [\d.]+, fast [\d.]+, fine [\d.]+", lines["recipes"])
    assert re.search("takes about [0-9.]+ minutes", lines["notebook"])


@pytest.mark.slow
@pytest.mark.skipif(CORES < 2, reason="half of one core is none")
def test_fewer_threads_than_cores_are_slow(doctor):
    status, lines, last = doctor(OMP_NUM_THREADS="1")
    assert status == 0
    assert last == "ready for the lab"
    assert lines["threads"].startswith("slow")
    assert f"1 for {CORES} cores" in lines["threads"]
    assert lines["threads"].endswith("; unset OMP_NUM_THREADS")


@pytest.mark.slow
@pytest.mark.skipif(CORES < 2, reason="half of one core is none")
def test_mxnet_imported_first_is_slow(doctor):
    code = "import sys, mxnet; from gluon_nst.cli import main; sys.exit(main(['doctor']))"
    status, lines, _ = doctor(code=code)
    assert status == 0
    assert lines["threads"].startswith("slow")
    assert "mxnet was imported before gluon_nst" in lines["threads"]


def test_a_limit_of_a_gigabyte_of_memory_is_a_fault_and_mxnet_is_not_waited_for(doctor):
    status, lines, last = doctor(before="ulimit -v 1000000")
    assert status == 1
    assert last == "not ready: 2 faults, see above"
    assert lines["MXNet"].startswith("FAULT")
    assert "ulimit -v: 1.0 GB of address space are too few" in lines["MXNet"]
    assert lines["memory"].startswith("FAULT")
    assert "raise the limit" in lines["memory"]


def test_such_a_limit_is_told_by_the_other_commands_too(user_environment):
    command = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *command_line("info")]
    done = subprocess.run(command, env=user_environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ulimit -v: 1.0 GB of address space are too few")


def sources_of_this_test():
    """The cache and the servers that the fixtures have set, for a process of its own."""
    return {name: os.environ[name] for name in os.environ if re.match("MXNET_|KERAS|HF_|PIP_|GLUON", name)}


@pytest.mark.slow
def test_no_weights_and_nobody_to_have_them_from_is_a_fault(doctor, weights_folder):
    status, lines, last = doctor(**sources_of_this_test())
    assert status == 1
    assert last == "not ready: 1 fault, see above"
    assert lines["weights"].startswith("FAULT")
    assert "none here, and no source of them answers" in lines["weights"]
    assert "gluon-nst weights import FILE" in lines["weights"]


@pytest.mark.slow
def test_weights_that_can_be_fetched_are_no_fault(doctor, server):
    status, lines, last = doctor(**sources_of_this_test())
    assert status == 0
    assert last == "ready for a lab that has a network: the weights are still to be fetched"
    assert lines["weights"].startswith("slow")
    assert "none here; model-zoo answers; fetch them" in lines["weights"]
    assert lines["weights"].endswith(": gluon-nst weights fetch model-zoo")


@pytest.mark.slow
def test_a_full_disk_is_a_fault(capfd, trunk_cache, monkeypatch):
    monkeypatch.setenv("GLUON_NST_CACHE", str(trunk_cache))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    status, printed, _ = ended(capfd, "doctor")
    faults = [line for line in printed.splitlines() if line.startswith("FAULT")]
    assert status == 1
    assert len(faults) == 2
    assert all("has 0.01 GB to write in; free 0.2 GB" in line for line in faults)


def test_a_disk_on_which_nothing_can_be_written_is_a_fault(doctor):
    code = (
        "import sys, tempfile; from gluon_nst.cli import main; tempfile.tempdir = None;"
        " tempfile._candidate_tempdir_list = list"
    )
    status, lines, _ = doctor(before="ulimit -v 1000000", code=f"{code}; sys.exit(main(['doctor']))")
    assert status == 1
    assert "no folder for temporary files can be written in; free some space" in lines["disk"]


@pytest.mark.slow
def test_a_really_full_disk_is_a_fault(doctor, tmp_path):
    way = namespace("m")
    if not way:
        pytest.skip("no namespace to mount a small disk in")
    small = (
        f"mount -t tmpfs -o size=16k tmpfs {tmp_path} && cd {tmp_path} && (cat /dev/zero > full || true) 2>/dev/null"
    )
    command = [*way, "bash", "-c", f'{small}; exec "$@"', "bash", *command_line("doctor")]
    status, lines, _ = doctor(code=f"import os; os.execvp({way[0]!r}, {command!r})", TMPDIR=str(tmp_path))
    assert status == 1
    assert lines["disk"].startswith("FAULT")
    assert "0.00 GB to write in" in lines["disk"]


@pytest.mark.slow
def test_a_cache_that_is_a_file_and_too_many_threads_are_told(doctor, tmp_path):
    (tmp_path / "file").write_text("")
    status, lines, _ = doctor(GLUON_NST_CACHE=str(tmp_path / "file"), OMP_NUM_THREADS=str(CORES + 1))
    assert status == 1
    assert f"{tmp_path}/file: not a folder; set GLUON_NST_CACHE to another" in lines["weights"]
    assert lines["threads"].startswith("slow")
    assert f"{CORES + 1} for {CORES} cores" in lines["threads"]


def test_a_backend_that_is_none_and_a_number_of_threads_that_is_none_are_told(doctor):
    status, lines, _ = doctor(MPLBACKEND="nonsense")
    assert status == 1
    assert "MPLBACKEND=nonsense, which matplotlib does not know; unset it" in lines["MXNet"]
    status, lines, _ = doctor(OMP_NUM_THREADS="abc")
    assert status == 1
    assert "OMP_NUM_THREADS=abc: not a number of threads" in lines["MXNet"]
    assert "threads" not in lines


@pytest.mark.slow
def test_a_terminal_that_has_no_utf_8_gets_all_lines(doctor):
    status, lines, _ = doctor(PYTHONIOENCODING="ascii")
    assert status == 0
    assert "notebook" in lines


@pytest.mark.slow
def test_an_mxnet_that_does_not_load_is_a_fault(doctor, tmp_path):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    status, lines, _ = doctor(PYTHONPATH=str(tmp_path))
    assert status == 1
    assert lines["MXNet"].startswith("FAULT")
    assert "does not load: OSError: libgomp.so.1: cannot open" in lines["MXNet"]
    assert "libgomp1" in lines["MXNet"]
