"""The doctor on this machine, without and with simulated faults."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

from gluon_nst import machine
from gluon_nst.lab import probe

import pytest

from commands import assert_one_line, command_line, ended, namespace

CORES = machine.physical_cores()

TIMES = {
    "epoch": {"seconds": 0.3},
    "minutes": {"recipes": {"d2l-2019": 8.9, "d2l-2023": 10.5, "fast": 2.0, "fine": 1.5}, "notebook": 1.8},
}
"""The output of the probe after timing the recipes."""


def report_of(status, printed):
    """Return the exit status, the lines by the name of the finding, and the last line."""
    *lines, last = printed.splitlines()
    return status, {re.split(r"\s+", line)[1]: line for line in lines}, last


@pytest.fixture
def doctor(user_environment, trunk_cache):
    """Run the doctor in a process with an environment, after a shell command."""

    def examine(before="", code=None, **environment):
        command = command_line("doctor") if code is None else [sys.executable, "-W", "ignore", "-c", code]
        if before:
            command = ["bash", "-c", f'{before}; exec "$@"', "bash", *command]
        environment = {**user_environment, "GLUON_NST_CACHE": str(trunk_cache), **environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert not done.stderr, done.stderr
        return report_of(done.returncode, done.stdout)

    return examine


@pytest.fixture
def measured(tmp_path, trunk_cache, monkeypatch):
    """Return a function that writes a stand-in for Python, which prints a report like that of the probe.

    The times are constants; everything else is measured by the functions of the probe, in this process.
    """
    monkeypatch.setenv("GLUON_NST_CACHE", str(trunk_cache))

    def program():
        report = {"software": probe.software(), "memory": {"free": 8e9, "needed": 1e9}, "weights": probe.parameters()}
        path = tmp_path / "python"
        lines = "\n".join(json.dumps({name: values}) for name, values in {**report, **TIMES}.items())
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
        path.chmod(0o755)
        return str(path)

    return program


@pytest.fixture
def examine(measured, capfd, monkeypatch):
    """Run the doctor in this process, with `measured`."""

    def run(**environment):
        for name, value in {"OMP_NUM_THREADS": str(CORES), **environment}.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", measured())
            status, printed, errors = ended(capfd, "doctor")
        assert not errors
        return report_of(status, printed)

    return run


@pytest.mark.slow
def test_a_machine_that_is_ready_is_reported_in_about_ten_lines(doctor):
    status, lines, last = doctor()
    assert status == 0
    assert last == "ready for the lab"
    order = "Python Jupyter threads disk MXNet precision memory weights speed recipes notebook"
    assert " ".join(lines) == order
    assert re.search(r"\d\.\d\d s for an epoch of the chapter at 150x225$", lines["speed"])
    assert re.search(r"d2l-2019 [\d.]+, d2l-2023 [\d.]+, fast [\d.]+, fine [\d.]+", lines["recipes"])
    assert re.search("takes about [0-9.]+ minutes", lines["notebook"])


@pytest.mark.slow
@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_fewer_threads_than_cores_are_slow(examine):
    status, lines, last = examine(OMP_NUM_THREADS="1")
    assert status == 0
    assert last == "ready for the lab"
    assert lines["threads"].startswith("slow")
    assert f"1 for {CORES} cores" in lines["threads"]
    assert lines["threads"].endswith("; unset OMP_NUM_THREADS")


@pytest.mark.slow
@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_mxnet_imported_first_is_slow(doctor, measured):
    code = "import sys, mxnet; from gluon_nst.cli import main"
    status, lines, _ = doctor(code=f"{code}; sys.executable = {measured()!r}; sys.exit(main(['doctor']))")
    assert status == 0
    assert lines["threads"].startswith("slow")
    assert "mxnet was imported before gluon_nst" in lines["threads"]


def test_a_memory_limit_of_one_gigabyte_is_a_fault_and_mxnet_is_not_loaded(doctor):
    status, lines, last = doctor(before="ulimit -v 1000000")
    assert status == 1
    assert last == "not ready: 2 faults, see above"
    assert lines["MXNet"].startswith("FAULT")
    assert "ulimit -v: 1.0 GB of address space are too few" in lines["MXNet"]
    assert lines["memory"].startswith("FAULT")
    assert "raise the limit" in lines["memory"]


def test_the_other_commands_report_such_a_limit_too(user_environment):
    command = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *command_line("info")]
    done = subprocess.run(command, env=user_environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ulimit -v: 1.0 GB of address space are too few")
    assert_one_line(done.stderr)


@pytest.mark.slow
def test_missing_weights_without_a_reachable_source_are_a_fault(examine, weights_folder):
    status, lines, last = examine()
    assert status == 1
    assert last == "not ready: 1 fault, see above"
    assert lines["weights"].startswith("FAULT")
    assert "not cached, and no source of them is reachable" in lines["weights"]
    assert "gluon-nst weights import FILE" in lines["weights"]


@pytest.mark.slow
def test_weights_that_can_be_fetched_are_not_a_fault(examine, server):
    status, lines, last = examine()
    assert status == 0
    assert last == "ready for a lab that has a network: the weights are still to be fetched"
    assert lines["weights"].startswith("slow")
    assert "not cached; model-zoo is reachable; fetch them" in lines["weights"]
    assert lines["weights"].endswith(": gluon-nst weights fetch model-zoo")


def test_a_full_disk_is_a_fault(examine, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    status, lines, last = examine()
    assert status == 1
    assert last == "not ready: 2 faults, see above"
    assert lines["disk"].startswith("FAULT")
    assert "has 0.01 GB free to write; free 0.2 GB" in lines["disk"]


def test_a_read_only_disk_is_a_fault(doctor):
    code = (
        "import sys, tempfile; from gluon_nst.cli import main; tempfile.tempdir = None;"
        " tempfile._candidate_tempdir_list = list"
    )
    status, lines, _ = doctor(before="ulimit -v 1000000", code=f"{code}; sys.exit(main(['doctor']))")
    assert status == 1
    assert "no writable folder for temporary files; free some space" in lines["disk"]


def test_a_full_file_system_is_a_fault(doctor, measured, tmp_path):
    way = namespace("m")
    if not way:
        pytest.skip("no namespace to mount a small disk in")
    program = measured()
    disk = tmp_path / "disk"
    disk.mkdir()
    place = shlex.quote(str(disk))
    small = f"mount -t tmpfs -o size=16k tmpfs {place} && cd {place} && (cat /dev/zero > full || true) 2>/dev/null"
    code = f"import sys; from gluon_nst.cli import main; sys.executable = {program!r}; sys.exit(main(['doctor']))"
    command = [*way, "bash", "-c", f'{small}; exec "$@"', "bash", sys.executable, "-W", "ignore", "-c", code]
    status, lines, _ = doctor(code=f"import os; os.execvp({way[0]!r}, {command!r})", TMPDIR=str(disk))
    assert status == 1
    assert lines["disk"].startswith("FAULT")
    assert "0.00 GB free to write" in lines["disk"]


@pytest.mark.slow
def test_a_cache_that_is_a_file_and_too_many_threads_are_reported(examine, weights_folder, tmp_path):
    (tmp_path / "file").write_text("")
    status, lines, _ = examine(GLUON_NST_CACHE=str(tmp_path / "file"), OMP_NUM_THREADS=str(CORES + 1))
    assert status == 1
    assert f"{tmp_path}/file: not a folder; set GLUON_NST_CACHE to a folder" in lines["weights"]
    assert lines["threads"].startswith("slow")
    assert f"{CORES + 1} for {CORES} cores" in lines["threads"]


@pytest.mark.slow
def test_an_unknown_backend_is_reported(doctor):
    status, lines, _ = doctor(MPLBACKEND="nonsense")
    assert status == 1
    assert "MPLBACKEND=nonsense, which is not a backend of matplotlib; unset it" in lines["MXNet"]


def test_an_invalid_number_of_threads_is_reported(doctor):
    status, lines, _ = doctor(OMP_NUM_THREADS="abc")
    assert status == 1
    assert "OMP_NUM_THREADS=abc: not a number of threads" in lines["MXNet"]
    assert "threads" not in lines


def test_a_terminal_without_utf_8_gets_all_lines(doctor, measured):
    code = "import sys; from gluon_nst.cli.main import command; sys.argv = ['gluon-nst', 'doctor']"
    status, lines, _ = doctor(code=f"{code}; sys.executable = {measured()!r}; command()", PYTHONIOENCODING="ascii")
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
