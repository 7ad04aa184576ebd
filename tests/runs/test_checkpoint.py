"""Checkpoints: their file, damaged and missing files, and runs that resume with the same picture."""

import dataclasses
import errno
import fcntl
import hashlib
import io
import json
import os
import pickle
import random
import time
import zipfile

import gluon_nst as nst
from gluon_nst.errors import warnings_to
from gluon_nst.runs.checkpoint import Checkpoint, carry_out_kept, container
from gluon_nst.runs.loop import carry_out
from gluon_nst.runs.observer import Observers
from gluon_nst.runs.provenance import differences
from gluon_nst.runs.result import Result
from gluon_nst.runs.run import prepare

import mxnet as mx
import numpy as np
import pytest

from commands import names

TREE = {
    "floats": np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 3, 2, 4),
    "halves": np.arange(7, dtype=np.uint16),
    "numbers": [1, 2.5, float("inf"), None, True, "a text, with ü"],
    "nested": {"picture": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)},
}

RUNS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "lbfgs"},
        {"optimizer": "lbfgs", "preconditioner": "low-pass", "epochs": (5, 2), "upsampling": "cosine"},
        {"keep": "average", "average_decay": 0.5},
        {"keep": "best", "carry": "change"},
        {"carry_moments": True, "resize": "bicubic"},
        {"optimizer": "lbfgs", "tolerance": 0.5, "epochs": (14, 3), "init": "noise"},
    ],
    ids=["adam", "lbfgs", "preconditioned", "average", "best", "moments", "converging"],
)


@pytest.fixture
def job(job):
    """The small Job with a network of two layers."""
    shallow = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1", "conv1_2"]}
    return lambda **options: job(**{**shallow, **options})


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def open_checkpoint(folder, run, lines=None, **options):
    """Return a Checkpoint of a run, a context manager."""
    return Checkpoint(folder, say=(lines if lines is not None else []).append, **options)


def resume(folder, run, epochs=None, lines=None):
    """Return the Result of a run that resumes from a folder, and stops after this number of further epochs."""
    with open_checkpoint(folder, run, lines, every=0) as checkpoint:
        state = checkpoint.load(run)
        before = len(state.record)
        return carry_out(run, checkpoint, state, lambda: epochs is not None and len(state.record) == before + epochs)


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_tree_is_read_as_it_was_written(tmp_path):
    container.write(tmp_path / "tree", TREE)
    assert same(container.read(tmp_path / "tree"), TREE)
    assert names(tmp_path) == ["tree"]


def test_ndarrays_are_read_as_numpy_arrays_also_in_np_mode(tmp_path, np_mode):
    X = mx.np.arange(24).reshape((1, 3, 2, 4)).as_nd_ndarray()
    container.write(tmp_path / "tree", [X])
    (array,) = container.read(tmp_path / "tree")
    assert array.dtype == np.float32
    assert np.array_equal(array, X.asnumpy())


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "tree"
    container.write(path, TREE)
    whole = path.read_bytes()
    for length in {*range(100), *range(0, len(whole), 7), *range(len(whole) - 100, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(nst.InputError, match="damaged|not a checkpoint"):
            container.read(path)


def test_a_file_with_flipped_bits_is_refused(tmp_path):
    path, chance = tmp_path / "tree", random.Random(15)
    container.write(path, TREE)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(nst.InputError, match="damaged|not a checkpoint"):
            assert bytes(damaged) == whole or container.read(path)


def sealed(path, members, compression=zipfile.ZIP_STORED):
    """Write a zip archive with the checksum of a checkpoint."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.comment = bytes(64)
        for name, content in members.items():
            archive.writestr(name, content)
    content = file.getvalue()[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


def saved(descr, shape, content=b""):
    """Return the bytes of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


@pytest.mark.parametrize(
    "header, array",
    [
        ("[]", b""),
        ("{", b""),
        ('{"format": 2}', b""),
        ('{"format": 2, "tree": {"$array": "1"}}', b""),
        ('{"format": 2, "tree": {"$array": "0"}}', saved("<f4", (1000000000, 9))),
        ('{"format": 2, "tree": {"$array": "0"}}', saved("<f4", (2,), b"1234")),
        ('{"format": 2, "tree": [{"$array": "0"}, {"$array": "0"}]}', saved("<f4", (2,), bytes(8))),
        ('{"format": 2, "tree": {"$array": "0"}}', saved("|O", (1,), pickle.dumps([print]))),
        ('{"format": 2, "tree": {"$array": "0"}}', b"\x93NUMPY\1\0\x40\0" + b"(" * 64),
    ],
)
def test_a_malformed_file_with_a_correct_checksum_is_refused(tmp_path, header, array):
    sealed(tmp_path / "tree", {"gluon-nst.json": header, "0.npy": array})
    with pytest.raises(nst.InputError, match="not a checkpoint of gluon-nst, although"):
        container.read(tmp_path / "tree")


def test_compressed_members_are_refused(tmp_path):
    header = '{"format": 2, "tree": {"$array": "0"}}'
    members = {"gluon-nst.json": header, "0.npy": saved("<f4", (1000000,), bytes(4000000))}
    sealed(tmp_path / "tree", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(nst.InputError, match="not a checkpoint of gluon-nst, although"):
        container.read(tmp_path / "tree")


def test_a_checkpoint_without_a_state_is_refused(job, tmp_path):
    run = prepare(job())
    made = {"made": run.provenance}
    (tmp_path / "kept").mkdir()
    container.write(tmp_path / "kept" / "state-00000001.checkpoint", {"state": made, "command": []})
    with pytest.raises(nst.InputError, match="it has no State"):
        resume(tmp_path / "kept", run)


def test_numpy_reads_a_checkpoint_without_pickle(tmp_path):
    container.write(tmp_path / "tree", TREE)
    with np.load(tmp_path / "tree", allow_pickle=False) as found:
        tree = json.loads(found["gluon-nst.json"])["tree"]
        assert np.array_equal(found[tree["halves"]["$array"]], TREE["halves"])
        assert np.array_equal(found[tree["nested"]["picture"]["$array"]], TREE["nested"]["picture"])


def old_checkpoint(path):
    """Write a checkpoint of format 1."""
    content = b"gluon-nst checkpoint 1\n" + b'{"gluon-nst": "0.14", "tree": {"state": {}, "command": []}}\n'
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


def of_another_format(path):
    sealed(path, {"gluon-nst.json": '{"format": 3, "tree": 1}'})


@pytest.mark.slow
@pytest.mark.parametrize("write", [old_checkpoint, of_another_format])
def test_a_checkpoint_of_another_format_is_refused_and_replaced_by_a_new_run(job, tmp_path, write):
    (tmp_path / "kept").mkdir()
    path, run = tmp_path / "kept" / "state-00000005.checkpoint", prepare(job())
    write(path)
    message = "00005.checkpoint: a checkpoint of another version of gluon-nst, .* command again with --fresh$"
    with pytest.raises(nst.InputError, match=message):
        resume(tmp_path / "kept", run)
    with open_checkpoint(tmp_path / "kept", run, every=0) as checkpoint:
        result = carry_out(run, checkpoint, checkpoint.load(run, fresh=True))
    assert result.complete
    assert path not in states(tmp_path / "kept")
    for each in states(tmp_path / "kept"):
        each.unlink()
    write(path)
    assert carry_out_kept(run, None, tmp_path / "kept").complete
    assert path not in states(tmp_path / "kept")


def test_a_file_is_synced_before_it_is_renamed_and_the_folder_after(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        done.append("folder" if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)) else "file")
        fsync(descriptor)

    def renamed(*paths):
        done.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    container.write(tmp_path / "tree", TREE)
    assert done == ["file", "name", "folder"]


# -- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@RUNS
def test_a_run_that_is_stopped_repeatedly_gives_the_same_result(job, tmp_path, options):
    run = prepare(job(**options))
    whole, stops = carry_out(run), 0
    while True:
        result = resume(tmp_path / "kept", run, epochs=2 if run.recipe.tolerance else 1)
        if result.complete:
            break
        stops += 1
    assert stops >= 4
    assert result.status == whole.status
    assert [image.tobytes() for image in result.images] == [image.tobytes() for image in whole.images]
    assert [epoch[:4] for epoch in result.losses] == [epoch[:4] for epoch in whole.losses]
    assert result.provenance == whole.provenance


@pytest.mark.parametrize("options", [{"keep": "average", "carry_moments": True}, {"optimizer": "lbfgs"}])
def test_a_state_is_restored_with_its_types(job, tmp_path, options):
    run, state = prepare(job(**options, epochs=(2, 5))), nst.State()
    for _ in nst.steps(run, state):
        if len(state.record) == 4:
            break
    container.write(tmp_path / "tree", {"state": state})
    found = container.restored(container.read(tmp_path / "tree")["state"], nst.State)
    assert type(found) is nst.State
    assert type(found.status) is type(state.status)
    for field in dataclasses.fields(state):
        assert alike(getattr(found, field.name), getattr(state, field.name)), field.name


def alike(one, other):
    """Whether two trees have the same types and values; the first has NumPy arrays."""
    if hasattr(other, "asnumpy"):
        other = other.asnumpy()
    if type(one) is not type(other) and {type(one), type(other)} != {list, tuple}:
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return alike(vars(one), vars(other)) if dataclasses.is_dataclass(one) else one == other


@pytest.mark.slow
def test_a_finished_run_resumes_with_its_result(job, tmp_path):
    run = prepare(job())
    first, again = resume(tmp_path / "kept", run), resume(tmp_path / "kept", run, epochs=0)
    assert again.status == "complete"
    assert again.image.tobytes() == first.image.tobytes()
    assert again.seconds == first.seconds


@pytest.mark.slow
def test_two_checkpoints_are_kept_and_temporary_files_deleted(job, tmp_path):
    run = prepare(job())
    resume(tmp_path / "kept", run)
    assert len([name for name in names(tmp_path / "kept") if name.startswith("state-")]) == 2
    (tmp_path / "kept" / ".state-00000009.abc.checkpoint").write_bytes(b"half")
    (tmp_path / "kept" / ".state-mine").write_bytes(b"mine")
    resume(tmp_path / "kept", run)
    assert [name for name in names(tmp_path / "kept") if name.startswith(".")] == [".state-mine"]


def test_checkpoints_are_written_at_intervals(job, tmp_path, monkeypatch):
    run, now, written = prepare(job()), [0.0], []

    class Clock(nst.Observer):
        def state(self, state):
            now[0] += 25

    with open_checkpoint(tmp_path / "kept", run) as checkpoint:
        state = checkpoint.load(run)
        write = container.write

        def noted(path, tree):
            written.append(len(tree["state"].record))
            write(path, tree)

        monkeypatch.setattr("gluon_nst.runs.checkpoint.container.write", noted)
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        carry_out(run, Observers([Clock(), checkpoint]), state)
    assert written == [0, 3, 6, 7]  # at the start, every 75 seconds, at the end


@pytest.mark.slow
def test_checkpoints_are_written_less_often_if_writing_takes_long(job, tmp_path, monkeypatch):
    run, now, written = prepare(job(epochs=(30, 1))), [0.0], []

    class Clock(nst.Observer):
        def state(self, state):
            now[0] += 100

    def slow(path, tree):
        written.append(len(tree["state"].record))
        now[0] += 10
        write(path, tree)

    write = container.write
    with open_checkpoint(tmp_path / "kept", run) as checkpoint:
        state = checkpoint.load(run)
        monkeypatch.setattr("gluon_nst.runs.checkpoint.container.write", slow)
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        carry_out(run, Observers([Clock(), checkpoint]), state)
    assert written == [0, 5, 10, 15, 20, 25, 30, 31]


# -- what can go wrong ------------------------------------------------------------------------------------------------


def states(folder):
    return sorted(folder.glob("state-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: whole[:40] + b"?" + whole[41:], lambda whole: b""]
)
def test_the_previous_checkpoint_is_used_if_the_newest_is_damaged(job, tmp_path, damage):
    run, lines = prepare(job()), []
    resume(tmp_path / "kept", run, epochs=3)
    before, newest = states(tmp_path / "kept")
    newest.write_bytes(damage(newest.read_bytes()))
    result = resume(tmp_path / "kept", run, lines=lines)
    (line,) = lines
    assert newest.name in line
    assert f"the previous one, {before.name}, is used instead" in line
    assert result.image.tobytes() == carry_out(run).image.tobytes()
    assert newest not in states(tmp_path / "kept") or newest.read_bytes() != damage(newest.read_bytes())


def test_damaged_checkpoints_are_refused_and_replaced_with_fresh(job, tmp_path):
    run = prepare(job())
    resume(tmp_path / "kept", run, epochs=3)
    for path in states(tmp_path / "kept"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(nst.InputError, match="no checkpoint in .* is intact; restart with --fresh"):
        resume(tmp_path / "kept", run)
    with open_checkpoint(tmp_path / "kept", run) as checkpoint:
        assert checkpoint.load(run, fresh=True).record == []
        assert len(states(tmp_path / "kept")) == 2  # until there is a new one
        checkpoint.begin(run)
        (only,) = states(tmp_path / "kept")
        assert container.read(only)["state"]["record"] == []


@pytest.mark.slow
def test_the_largest_number_is_the_newest_regardless_of_times(job, tmp_path, monkeypatch):
    run = prepare(job())
    resume(tmp_path / "kept", run, epochs=2)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    resume(tmp_path / "kept", run, epochs=2)
    older, newer = states(tmp_path / "kept")
    os.utime(newer, (0, 0))
    with open_checkpoint(tmp_path / "kept", run) as checkpoint:
        assert len(checkpoint.load(run).record) == 4


@pytest.mark.slow
def test_the_folder_is_locked(job, tmp_path):
    run = prepare(job())
    with open_checkpoint(tmp_path / "kept", run), pytest.raises(
        nst.InputError, match="another process is using this folder"
    ):
        resume(tmp_path / "kept", run)
    assert resume(tmp_path / "kept", run).complete


MANY = (
    "content_weight",
    "style_weight",
    "tv_weight",
    "noise",
    "beta2",
    "tolerance",
    "style_size",
    "average_decay",
    "lr",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed, difference",
    [
        ({"style_weight": 5e3}, "style_weight: 1000.0 there, 5000.0 here"),
        ({"content": "other.png"}, "the content picture differs"),
        ({"seed": 4}, "seed: 0 there, 4 here"),
        ({"optimizer": "lbfgs"}, "optimizer: adam there, lbfgs here"),
        ({"epochs": [4, 30]}, "another run (stage 2: epochs: 3 there, 30 here); name"),
        ({"sizes": [(32, 48)], "epochs": 4}, "another run (stages: 2 there, 1 here); name"),
        ({"style_layers": ["conv1_1"]}, "another run (style_layers: conv1_2: 1.0 there, nothing here); name"),
        ({"seed": 4, **dict.fromkeys(("tv_weight", "style_weight"), 7.0)}, "seed: 0 there, 4 here); name"),
        (dict.fromkeys(MANY, 0.5), "style_weight: 1000.0 there, 0.5 here; and 2 more); name"),
    ],
    ids=["recipe", "content", "seed", "optimiser", "stage", "stages", "layer", "three", "many"],
)
def test_the_checkpoint_of_a_different_run_is_refused_and_kept(job, style, tmp_path, changed, difference):
    resume(tmp_path / "kept", prepare(job()), epochs=2)
    before = [path.read_bytes() for path in states(tmp_path / "kept")]
    changed = dict(changed)
    other = dataclasses.replace(job(), content=style) if changed.pop("content", None) else job(**changed)
    with pytest.raises(nst.InputError) as refused:
        resume(tmp_path / "kept", prepare(other))
    assert difference in str(refused.value)
    assert "name another folder, or restart with --fresh" in str(refused.value)
    assert [path.read_bytes() for path in states(tmp_path / "kept")] == before


@pytest.mark.slow
def test_a_checkpoint_of_another_version_is_refused_or_with_replace_restarts_the_run(job, tmp_path):
    run = prepare(job())
    resume(tmp_path / "kept", run, epochs=2)
    for path in states(tmp_path / "kept"):
        tree = container.read(path)
        del tree["state"]["lowest"]
        container.write(path, tree)
    with pytest.raises(nst.InputError, match=r"kept: the checkpoint is of another version .*with --fresh"):
        resume(tmp_path / "kept", run)
    result = carry_out_kept(run, None, tmp_path / "kept")
    assert result.complete
    assert result.losses[0].epoch == 0


def test_the_differing_style_is_named():
    one, two = {"sha256": "a", "weight": 1.0, "scale": None}, {"sha256": "b", "weight": 1.0, "scale": 0.5}
    kinds = [{"style_sha256": "a"}, {"styles": [one, two]}, {"styles": [one, {**two, "weight": 3.0}]}]
    single, several, weighted = ({"recipe": {}, "sizes": [], **each} for each in kinds)
    assert differences(single, several) == ["styles: 1 there, 2 here"]
    assert differences(several, weighted) == ["style 2: weight: 1.0 there, 3.0 here"]
    assert differences(several, several) == []


@pytest.mark.slow
def test_a_different_machine_is_reported(job, tmp_path):
    run, lines = prepare(job()), []
    resume(tmp_path / "kept", run, epochs=2)
    versions = {**run.provenance["versions"], "mxnet": "2.0"}
    elsewhere = dataclasses.replace(run, provenance={**run.provenance, "threads": 64, "versions": versions})
    assert resume(tmp_path / "kept", elsewhere, lines=lines).complete
    assert len(lines) == 1
    assert "mxnet 1.9.1 there, 2.0 here; threads" in lines[0]
    assert "64 here" in lines[0]


@pytest.mark.slow
def test_windows_do_not_change_with_the_free_memory(job, tmp_path, monkeypatch):
    run = prepare(job(sizes=[(192, 288)], epochs=3, precision="float32"))
    needed = run.plan(run.recipe.stages[0]).needed
    monkeypatch.setattr("gluon_nst.engine.memory.available_memory", lambda: 0.8 * needed)
    assert run.plan(run.recipe.stages[0]).windowed
    whole = carry_out(run)
    resume(tmp_path / "kept", run, epochs=2)
    monkeypatch.undo()
    result = resume(tmp_path / "kept", run)
    assert result.image.tobytes() == whole.image.tobytes()


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_a_full_disk_the_run_warns_once_continues_and_retries(job, tmp_path, monkeypatch):
    run, lines, tried = prepare(job(epochs=(6, 3))), [], []
    write = container.write

    def full(path, tree):
        tried.append(len(tree["state"].record))
        if 2 <= tried[-1] <= 5:
            raise nst.NSTError(f"{path}: can't write it (No space left on device); free some space")
        write(path, tree)

    monkeypatch.setattr("gluon_nst.runs.checkpoint.container.write", full)
    result = resume(tmp_path / "kept", run, lines=lines)
    assert result.image.tobytes() == carry_out(run).image.tobytes()
    assert tried == list(range(10))
    first, second = lines
    assert first.startswith("no checkpoint: ")
    assert "No space left" in first
    assert "the run continues and will try again" in first
    assert second.endswith("checkpoints are written again")


@pytest.mark.slow
def test_older_checkpoints_survive_a_full_disk(job, tmp_path, monkeypatch):
    run = prepare(job())
    resume(tmp_path / "kept", run, epochs=3)
    before = [path.read_bytes() for path in states(tmp_path / "kept")]
    with monkeypatch.context() as full:

        def fail(descriptor):
            raise OSError(28, "No space left on device")

        full.setattr(os, "fsync", fail)
        stopped = resume(tmp_path / "kept", run, epochs=2)
    assert not stopped.complete
    assert [path.read_bytes() for path in states(tmp_path / "kept")] == before
    assert resume(tmp_path / "kept", run).image.tobytes() == carry_out(run).image.tobytes()


def test_without_flock_lock_files_are_used_with_one_warning(job, tmp_path, monkeypatch):
    def no_flock(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    run = prepare(job(sizes=[(32, 48)], epochs=1))
    monkeypatch.setattr(fcntl, "flock", no_flock)
    lines = []
    with warnings_to(lines.append):
        for _ in range(2):
            assert resume(tmp_path / "kept", run).status == "complete"
    assert lines == ["this file system has no flock; lock files are used instead, which a killed process leaves behind"]
    with open_checkpoint(tmp_path / "kept", run), pytest.raises(nst.InputError) as refused:
        resume(tmp_path / "kept", run)
    assert f"if there is no such process, delete {tmp_path / 'kept/lock.soft'}" in str(refused.value)


# -- a loss that is not finite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [0, 1e9])
def test_the_last_state_with_a_finite_loss_is_kept(job, tmp_path, every):
    run = prepare(job(lr=[0.01, 1e38], epochs=(2, 5)))
    with open_checkpoint(tmp_path / "kept", run, every=every) as checkpoint:
        result = carry_out(run, checkpoint, checkpoint.load(run))
    assert result.status == "diverged"
    assert len(result.losses) > 2
    calm = prepare(job(lr=[0.01, 1e38], epochs=(2, 5)))
    with open_checkpoint(tmp_path / "kept", calm, every=every) as checkpoint:
        state = checkpoint.load(calm)
        assert state.status == "running"
        assert len(state.record) <= 2
        picture = state.picture(calm) if state.images else None
    if every == 0:
        assert len(state.record) == 2
        assert picture.tobytes() == result.images[0].tobytes()


MINE = [".hidden", "state-00000000.checkpoint", "state-1.checkpoint", "state-mine.checkpoint", "thesis.txt"]
"""Files of the user, some with names like those of checkpoints."""


@pytest.mark.parametrize("folder_is_new", [True, False])
def test_only_checkpoints_are_deleted_if_the_loss_diverges(job, tmp_path, folder_is_new):
    folder, run = tmp_path / "kept", prepare(job(lr=[0.01, 1e38], epochs=(2, 5)))
    if not folder_is_new:
        folder.mkdir()
        for name in MINE:
            (folder / name).write_text("mine")
    result = carry_out_kept(run, None, folder)
    assert result.status == "diverged"
    assert names(folder) == ([] if folder_is_new else MINE)
    assert folder.exists() is not folder_is_new


def test_an_empty_folder_of_the_user_is_kept_if_the_loss_diverges(job, tmp_path):
    carry_out_kept(prepare(job(lr=[0.01, 1e38], epochs=(2, 5))), None, tmp_path)
    assert tmp_path.is_dir()
    assert not any(name.startswith("state-") for name in names(tmp_path))


def test_a_file_of_the_user_named_lock_is_not_deleted(job, tmp_path):
    (tmp_path / "lock").write_text("my own")
    with pytest.raises(nst.InputError, match="lock: not a lock file of gluon-nst"):
        carry_out_kept(prepare(job()), None, tmp_path)
    assert (tmp_path / "lock").read_text() == "my own"
    assert names(tmp_path).count("state-00000001.checkpoint") == 0


def test_a_composite_that_is_not_finite_is_not_written(job, tmp_path):
    run = prepare(job())
    with open_checkpoint(tmp_path / "kept", run, every=1e9) as checkpoint:
        state = checkpoint.load(run)
        for _ in nst.steps(run, state):
            if len(state.record) == 2:
                break
        checkpoint.begin(run)
        before = names(tmp_path / "kept")
        state.optimiser.X[:] = float("nan")
        assert not checkpoint.save(state)
        assert names(tmp_path / "kept") == before
        state.status = "failed"


def test_a_checkpoint_gives_a_result(job, tmp_path):
    run = prepare(job())
    stopped = resume(tmp_path / "kept", run, epochs=2)
    with open_checkpoint(tmp_path / "kept", run) as checkpoint:
        again = Result.of(run, checkpoint.load(run))
    assert again.image.tobytes() == stopped.image.tobytes()
    assert again.status == "interrupted"
