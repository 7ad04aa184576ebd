import errno
import os
import re
import resource
import tempfile
from pathlib import Path

import gluon_nst as nst
from gluon_nst.errors import InputError, NSTError
from gluon_nst.machine.scratch import Scratch

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def all_of(scratch):
    return scratch[:, :, :, :]


def test_written_values_are_read(folder):
    values, scratch = numbers(1, 5, 30, 40), Scratch((1, 5, 30, 40))
    scratch.write(values, slice(0, 30), slice(0, 40))
    read = all_of(scratch)
    assert read.dtype == np.float32
    assert np.array_equal(read, values)
    assert scratch.shape == values.shape


@pytest.mark.slow
def test_a_part_is_written_and_read(folder):
    values, scratch = numbers(1, 20, 300, 4000), Scratch((1, 20, 300, 4000))
    for rows in (slice(0, 170), slice(170, 300)):
        for columns in (slice(0, 800), slice(800, 4000)):
            scratch.write(values[:, :, rows, columns], rows, columns)
    assert np.array_equal(scratch[:, :, 100:200, 3:390], values[:, :, 100:200, 3:390])
    assert np.array_equal(all_of(scratch), values)


def test_the_array_is_0_before_it_is_written(folder):
    assert not all_of(Scratch((1, 2, 3, 4))).any()


def test_reading_returns_a_copy(folder):
    values, scratch = numbers(1, 2, 3, 4), Scratch((1, 2, 3, 4))
    scratch.write(values, slice(0, 3), slice(0, 4))
    read = all_of(scratch)
    read[:] = 0
    scratch.write(values[:, :, :1] + 1, slice(0, 1), slice(0, 4))
    assert not read.any()
    assert np.array_equal(scratch[:, :, 1:, :], values[:, :, 1:])


def test_the_file_has_no_name_and_is_deleted(folder):
    scratch = Scratch((1, 64, 100, 100))
    scratch.write(numbers(1, 64, 100, 100), slice(0, 100), slice(0, 100))
    assert os.listdir(folder) == []
    del scratch
    assert os.listdir(folder) == []


def test_the_space_on_the_disk_is_allocated_at_once_and_freed(folder, monkeypatch):
    asked, allocate = [], os.posix_fallocate
    open_files = len(os.listdir("/proc/self/fd"))

    def spy(descriptor, offset, length):
        asked.append((offset, length))
        allocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", spy)
    scratch = Scratch((1, 3, 50, 70))
    assert asked == [(0, 4 * 3 * 50 * 70)]
    del scratch
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.slow
def test_a_limit_on_the_address_space_does_not_include_it(folder):
    """A limit as by `ulimit -v`; the array is only on the disk."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(re.search(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, limits[1]))
    try:
        scratch = Scratch((1, 200, 1000, 1000))
        scratch.write(numbers(1, 200, 10, 20), slice(990, 1000), slice(0, 20))
        assert np.array_equal(scratch[:, :, 990:1000, 0:20], numbers(1, 200, 10, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _full(descriptor, offset, length):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(NSTError) as refused:
        Scratch((1, 512, 1000, 2000))
    line = str(refused.value)
    assert line.startswith(f"{folder}: no space for 4.1 GB of features (")
    assert "\n" not in line
    assert "No space left on device" in line
    assert "set TMPDIR to another folder" in line
    assert not isinstance(refused.value, InputError)
    assert os.listdir(folder) == []


def test_a_missing_folder_of_temporary_files_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    with pytest.raises(NSTError, match=r"nowhere: no space for 0\.0 GB of features \(.*No such file") as refused:
        Scratch((1, 2, 3, 4))
    assert "\n" not in str(refused.value)


def test_a_full_disk_ends_a_run_in_windows_with_one_line(job, folder, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(NSTError, match="no space for .* of features"):
        list(nst.steps(job(sizes=[(128, 160)], epochs=2, memory=0.51e9)))
