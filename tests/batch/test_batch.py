"""Batches: lists of jobs, the hash of a job, the output folder, scheduling on workers, and the report."""

import collections
import contextlib
import csv
import os
import shutil
import signal
import threading
import time
import types
from pathlib import Path

import gluon_nst as nst
from gluon_nst import batch, cluster
from gluon_nst.batch import job_process
from gluon_nst.batch.folder import Folder
from gluon_nst.batch.job_process import run_job
from gluon_nst.batch.payloads import pack
from gluon_nst.cluster import Pool
from gluon_nst.cluster.worker import uploaded
from gluon_nst.errors import DoesNotFit, NSTWarning
from gluon_nst.machine.files import file_name, natural_order
from gluon_nst.runs.checkpoint import Checkpoint
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.inputs import style_files
from gluon_nst.runs.loop import carry_out, never
from gluon_nst.runs.run import prepare

import dask
import pytest
from distributed import Client, Event, KilledWorker, LocalCluster, Worker, get_worker
from PIL import Image

from commands import ended
from painting import paint


@pytest.fixture
def pictures(tmp_path):
    """Two folders of small pictures."""
    for folder, number in (("contents", 2), ("styles", 2)):
        (tmp_path / folder).mkdir()
        for each in range(number):
            Image.fromarray(paint(40, 60, seed=each + len(folder))).save(tmp_path / folder / f"{folder[0]}{each}.png")
    return tmp_path


@pytest.fixture
def listed(pictures, weights_file):
    """A function that returns the Entries of a list with a text."""

    def read(text, name="jobs.toml", **shared):
        path = pictures / name
        path.write_text(text, encoding="utf-8")
        return batch.read(path, **{"weights": str(weights_file), **shared})

    return read


ONE = 'content = "contents/c0.png"\nstyle = "styles/s0.png"\n'


# -- lists of jobs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_settings_above_the_tables_are_defaults_of_all_jobs(listed, pictures):
    text = f"""
        recipe = "d2l-2019"
        longest-side = 60
        [[job]]
        {ONE}
        [[job]]
        name = "large"
        content = "contents/c1.png"
        style = ["styles/s0.png", "styles/s1.png"]
        style-weights = [3, 1]
        longest_side = [40, 80]
        epochs = [2, 1]
        seed = 5
    """
    first, large = (entry.job for entry in listed(text, tv_weight=7.0))
    assert [stage.size for stage in first.recipe.stages] == [60]
    assert first.content == str(pictures / "contents/c0.png")
    assert [(stage.size, stage.epochs) for stage in large.recipe.stages] == [(40, 2), (80, 1)]
    assert [style.weight for style in large.style] == [3, 1]
    assert large.seed == 5
    assert first.recipe.tv_weight == large.recipe.tv_weight == 7


def test_the_sizes_of_a_job_replace_the_common_ones_in_any_form(listed):
    text = f"""
        sizes = [[32, 48]]
        [[job]]
        {ONE}
        [[job]]
        name = "own"
        longest-side = 40
        {ONE}
    """
    first, own = (entry.job.recipe for entry in listed(text, recipe="d2l-2019", longest_side=80))
    assert [stage.size for stage in first.stages] == [(32, 48)]
    assert [stage.size for stage in own.stages] == [40]


def test_a_misspelt_keyword_is_a_type_error(pictures):
    with pytest.raises(TypeError, match="epohcs: not a setting of a transfer; did you mean epochs?"):
        batch.pairs(pictures / "contents", pictures / "styles", epohcs=3)


def test_the_cells_of_a_csv_have_the_syntax_of_the_command_line(listed):
    text = (
        "name,content,style,style-weights,sizes,epochs,style-layers,flatten\n"
        'a,contents/c0.png,styles/s0.png;styles/s1.png,"3,1","32x48,48x64","4,3","conv1_1:0.5,conv2_1",true\n'
        "b,contents/c1.png,styles,,,,,\n"
        "\n"
    )
    a, b = listed(text, "jobs.csv")
    assert [style.weight for style in a.job.style] == [3, 1]
    assert a.job.flatten
    assert [(stage.size, stage.epochs) for stage in a.job.recipe.stages] == [((32, 48), 4), ((48, 64), 3)]
    assert a.job.recipe.style_layers == {0: 0.5, 5: 1.0}
    assert len(b.job.style) == 1
    assert not b.error


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ('style = "styles/s0.png"', "content: missing; name a picture"),
        ('content = "contents/c0.png"', "style: missing; name a picture"),
        (f"{ONE}colour = 3", "colour: unknown; allowed are name, content"),
        (f"{ONE}style-wieght = 3", "; did you mean style-weight?"),
        (f"{ONE}sizes = [48, 64]", "sizes: (48, 64) is either one size or two; write [[48, 64]]"),
        (f"{ONE}longest-side = 48\nsizes = [[48, 64]]", "sizes, longest_side: both set the sizes of the stages"),
        (
            'content = "https://example.com/a.png"\nstyle = "s.png"',
            "https://example.com/a.png: URLs are not supported",
        ),
        (f"{ONE}epochs = 0", "epochs: 0 is not an integer of at least 1"),
        (f'{ONE}epochs = "many"', "epochs: 'many' is not an integer of at least 1"),
        (f"{ONE}style-weights = [1, 2]", "style-weights: 2 values for 1 styles; give one for each style"),
        (f'{ONE}recipe = "nobody"', "recipe nobody: not one of"),
        (f'{ONE}recipe = "gone.toml"', "gone.toml: no such file"),
        (f'{ONE}name = "a\\nb"', "name: 'a\\nb' is not a text of one line"),
        ('content = 3\nstyle = "styles/s0.png"', "content: int is neither a path nor a PIL image"),
        (f"{ONE}epochs = 2020-01-01", "epochs: datetime.date(2020, 1, 1) is not an integer"),
    ],
)
def test_an_invalid_job_has_an_error_and_the_others_are_valid(listed, settings, error):
    bad, good = listed(f"[[job]]\n{settings}\n[[job]]\n{ONE}")
    assert bad.job is None
    assert error in bad.error
    assert good.job is not None


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("jobs.toml", "job = 3", "job: write each job as a [[job]] table"),
        ("jobs.toml", "[[job]", "not TOML"),
        ("jobs.toml", "epochs = 3", "no jobs; add a [[job]] table"),
        ("jobs.toml", "epochz = 3\n[[job]]", "epochz: unknown key"),
        ("jobs.toml", 'name = "all"\n[[job]]', "name: unknown key"),
        ("jobs.csv", "content,style", "no jobs; add a [[job]] table"),
        ("jobs.csv", "", "no jobs; add a [[job]] table"),
        ("jobs.csv", "content,tone\na,b", "tone: unknown column"),
        ("jobs.csv", "content,style,\na,b,c", "a column without a name has values"),
        ("jobs.csv", 'content,style\n"a,b', "a quote in it is not closed"),
        ("jobs.csv", "content,style,tv-weight,tv_weight\na,b,1,2", "tv-weight: two columns have this name"),
    ],
)
def test_an_invalid_list_is_refused(listed, name, text, error):
    with pytest.raises(nst.InputError, match="jobs") as raised:
        listed(text, name)
    assert error in str(raised.value)
    with pytest.raises(nst.InputError, match="no such file"):
        batch.read("nowhere.toml")


@pytest.mark.parametrize("text", [
    "content,style,seed,,\ncontents/c0.png,styles/s0.png,3,,\n,,,,\n",
    "content;style;seed\ncontents/c0.png;styles/s0.png;3\n",
    "content\tstyle\tseed\ncontents/c0.png\tstyles/s0.png\t3\n",
    "sep=;\r\ncontent;style;seed\r\ncontents/c0.png;styles/s0.png;3\r\n",
    "sep=|\ncontent|style|seed\ncontents/c0.png|styles/s0.png|3\n",
    "content,,style,seed\ncontents/c0.png,,styles/s0.png,3\n",
    '"SEP=;"\ncontent;style;seed\ncontents/c0.png;styles/s0.png;3\n',
    "\n\ncontent,style,seed\ncontents/c0.png,styles/s0.png,3\n",
])  # fmt: skip
def test_a_csv_is_read_as_spreadsheets_write_it(listed, pictures, text):
    (entry,) = listed(text, "jobs.csv")
    assert entry.error == ""
    assert entry.job.seed == 3
    assert entry.name == "c0-s0"
    assert (entry.job.content, entry.job.style[0].picture) == (
        str(pictures / "contents/c0.png"), str(pictures / "styles/s0.png"),
    )  # fmt: skip


def test_a_csv_may_be_the_unicode_text_of_a_spreadsheet(pictures, weights_file):
    text = "content\tstyle\tseed\r\ncontents/c0.png\tstyles/s0.png\t3\r\n"
    (pictures / "jobs.csv").write_bytes(text.encode("utf-16"))
    (entry,) = batch.read(pictures / "jobs.csv", weights=str(weights_file))
    assert entry.error == ""
    assert entry.job.seed == 3


def test_several_styles_in_a_csv_with_semicolons_are_quoted(listed):
    (entry,) = listed('content;style\ncontents/c0.png;"styles/s0.png;styles/s1.png"\n', "jobs.csv")
    assert entry.error == ""
    assert len(entry.job.style) == 2


@pytest.mark.slow
def test_a_missing_folder_is_reported_once_and_nothing_is_written(pictures, capfd):
    for arguments in (["contents", "nowhere"], ["nowhere", "styles"]):
        paths = [pictures / each for each in arguments]
        status, out, err = ended(capfd, "batch", *paths, "--out", pictures / "out")
        assert (status, out) == (2, "")
        assert not (pictures / "out").exists()
        assert err == f"error: {pictures / 'nowhere'}: no such file; check the path\n"


def test_the_error_of_a_job_is_printed_once(pictures, weights_file, capfd):
    (pictures / "jobs.toml").write_text(f"[[job]]\n{ONE}epochs = 0\n")
    status, out, err = ended(capfd, "batch", pictures / "jobs.toml", "--out", pictures / "out")
    assert status == 1
    assert err == "error: c0-s0: epochs: 0 is not an integer of at least 1\n"
    assert "0 of 1 pictures" in out


def test_a_row_with_too_many_cells_is_an_invalid_job(listed):
    (bad,) = listed("content,style\ncontents/c0.png,styles/s0.png,3\n", "jobs.csv")
    assert bad.job is None
    assert bad.error == "3 cells for 2 columns"


def test_jobs_with_the_same_pictures_are_named_by_their_own_settings(listed):
    text = f"epochs = 3\n[[job]]\n{ONE}\n[[job]]\n{ONE}style-weight = 1e4\n[[job]]\n{ONE}style-weight = 1e4\n"
    first, second, third = listed(text)
    assert [first.name, second.name] == ["c0-s0", "c0-s0,style-weight=10000"]
    assert third.job is None
    assert "another job is already named c0-s0,style-weight=10000" in third.error
    assert len({entry.file_name for entry in (first, second, third)}) == 3


def test_duplicate_names_are_errors_of_the_later_jobs_only(listed):
    entries = listed("".join(f'[[job]]\nname = "{name}"\n{ONE}' for name in ("x", "x", "x (2)", "X")))
    assert [(entry.name, entry.job is None) for entry in entries] == [
        ("x", False), ("x (3)", True), ("x (2)", False), ("X (4)", True),
    ]  # fmt: skip


def test_pictures_that_differ_only_in_their_suffixes_are_named_with_them(pictures):
    Image.open(pictures / "contents/c0.png").save(pictures / "contents/c0.jpg")
    names = [entry.name for entry in batch.pairs(pictures / "contents", pictures / "styles/s0.png")]
    assert names == ["c0.jpg-s0.png", "c0.png-s0.png", "c1-s0"]


@pytest.fixture
def frames(tmp_path):
    """A folder of frames with numbers of one and two digits."""
    (tmp_path / "frames").mkdir()
    for number in (1, 2, 10, 11):
        Image.fromarray(paint(40, 60, seed=number)).save(tmp_path / "frames" / f"frame{number}.png")
    return tmp_path / "frames"


def test_the_natural_order_treats_non_decimal_digits_as_letters():
    for names in (["f²9.png", "f²10.png"], ["①1.png", "①2.png"], ["f٢.png", "f١٠.png"]):
        assert [path.name for path in sorted(map(Path, reversed(names)), key=natural_order)] == names


def test_frames_are_in_the_order_of_their_numbers(frames, pictures):
    entries = batch.sequence(frames, pictures / "styles/s0.png")
    assert [entry.name for entry in entries] == ["frame1", "frame2", "frame10", "frame11"]
    assert [entry.after for entry in entries] == [None, "frame1", "frame2", "frame10"]
    assert [entry.name for entry in batch.pairs(pictures / "contents/c0.png", frames)][1:3] == [
        "c0-frame2",
        "c0-frame10",
    ]
    assert [Path(file).stem for file in style_files(frames)] == ["frame1", "frame2", "frame10", "frame11"]


@pytest.mark.parametrize("names", [
    ("कि", "की"),  # differ in a combining mark
    ("é", "e\u0301"),  # the same letter, composed and not
    ("a b", "a_b"),
    ("STRASSE", "straße"),
])  # fmt: skip
def test_each_picture_has_a_distinct_file_whatever_its_name(frames, pictures, names):
    for path in frames.iterdir():
        path.unlink()
    for number, name in enumerate(names):
        Image.fromarray(paint(40, 60, seed=number)).save(frames / f"{name}.png")
    for entries in (
        batch.pairs(frames, pictures / "styles/s0.png"),
        batch.sequence(frames, pictures / "styles/s0.png"),
    ):
        assert [entry.error for entry in entries] == ["", ""]
        assert len({entry.file_name.casefold() for entry in entries}) == 2
        assert entries[1].after in (None, entries[0].name)
    assert file_name("कि") != file_name("की")
    assert file_name("é") == file_name("e\u0301") == "é"


def test_skipped_files_of_a_folder_are_reported_with_the_reason(pictures, monkeypatch):
    monkeypatch.setattr("gluon_nst.runs.inputs.register_heif", lambda: None)
    endings = {each: name for each, name in Image.registered_extensions().items() if name != "HEIF"}
    monkeypatch.setattr(Image, "registered_extensions", lambda: endings)
    for name in ("photo.HEIC", "raw.CR2", "notes.txt", ".hidden"):
        (pictures / "contents" / name).write_bytes(b"")
    (pictures / "contents" / "more").mkdir()
    with pytest.warns(NSTWarning) as warned:
        assert len(batch.pairs(pictures / "contents", pictures / "styles/s0.png")) == 2
    assert [str(each.message) for each in warned] == [
        f"{pictures / 'contents'}: left out: more (a folder), notes.txt (not a picture), photo.HEIC"
        " (install gluon-nst[heif]), raw.CR2 (raw: convert it to JPEG or TIFF)"
    ]
    for name in ("c0.png", "c1.png"):
        (pictures / "contents" / name).unlink()
    with pytest.raises(nst.InputError, match=r"no pictures in this folder \(more \(a folder\), notes.txt"):
        batch.pairs(pictures / "contents", pictures / "styles/s0.png")
    with pytest.warns(NSTWarning, match="left out: notes.txt"):
        (pictures / "styles" / "notes.txt").write_bytes(b"")
        batch.pairs(pictures / "styles/s0.png", pictures / "styles")


def test_two_folders_give_all_pairs(pictures):
    entries = batch.pairs(pictures / "contents", pictures / "styles", recipe="d2l-2019")
    assert [entry.name for entry in entries] == ["c0-s0", "c0-s1", "c1-s0", "c1-s1"]
    assert [entry.name for entry in batch.pairs(pictures / "contents", pictures / "styles/s1.png")] == [
        "c0-s1",
        "c1-s1",
    ]
    with pytest.raises(nst.InputError, match="no pictures in this folder"):
        batch.pairs(pictures, pictures / "styles")


def test_the_frames_of_a_sequence_follow_each_other_in_each_style(pictures):
    entries = batch.sequence(pictures / "contents", pictures / "styles")
    assert [(entry.name, entry.after) for entry in entries] == [
        ("s0-c0", None), ("s0-c1", "s0-c0"), ("s1-c0", None), ("s1-c1", "s1-c0"),
    ]  # fmt: skip
    assert [entry.name for entry in batch.sequence(pictures / "contents", pictures / "styles/s0.png")] == ["c0", "c1"]


# -- payloads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(listed, trunk):
    """A function that returns the payload of a job with additional settings."""

    def pack_it(settings="", **shared):
        (entry,) = listed(f"[[job]]\n{ONE}{settings}", **{"recipe": "d2l-2019", **shared})
        return pack(entry, lambda spec, preferred: trunk)

    return pack_it


@pytest.fixture
def trunk(weights_file):
    return nst.weights.find(str(weights_file))


@pytest.mark.slow
def test_the_hash_depends_on_everything_that_affects_the_picture_and_nothing_else(packed, pictures):
    plain = packed("epochs = 3").sha256
    changes = ("seed = 2", "bits = 16", "flatten = true", 'mask = "contents/c1.png"')
    others = [packed("epochs = 4").sha256, *(packed(f"epochs = 3\n{change}").sha256 for change in changes)]
    assert len({plain, *others}) == 6
    assert packed('epochs = 3\nname = "other"\ndevice = "cpu"\nmemory = "4GB"').sha256 == plain
    (pictures / "styles/s0.png").rename(pictures / "styles/renamed.png")
    shutil.copy(pictures / "styles/renamed.png", pictures / "styles/s0.png")
    assert packed("epochs = 3").sha256 == plain
    shutil.copy(pictures / "styles/s1.png", pictures / "styles/s0.png")
    assert packed("epochs = 3").sha256 != plain


def test_a_payload_has_the_contents_of_all_pictures_and_their_original_paths(packed, pictures, tmp_path):
    mask = 'mask = "contents/c1.png"\ninit = "styles/s1.png"\nweights = "auto"'
    payload = packed(mask).with_contents()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    job = payload.unpacked(elsewhere)
    paths = [job.content, job.style[0].picture, job.mask, job.recipe.init]
    originals = ["contents/c0.png", "styles/s0.png", "contents/c1.png", "styles/s1.png"]
    for path, original in zip(map(str, paths), originals):
        assert path.startswith(str(elsewhere))
        with open(path, "rb") as there, open(pictures / original, "rb") as here:
            assert there.read() == here.read()
        assert payload.with_original_paths(f"{path}: bad", elsewhere) == f"{pictures / original}: bad"


def test_a_picture_in_memory_is_refused(pictures, trunk):
    job = nst.Job(Image.fromarray(paint(40, 60, 1)), str(pictures / "styles/s0.png"))
    with pytest.raises(nst.InputError, match="save it, and pass its path"):
        pack(batch.Entry("memory", job), lambda spec, preferred: trunk)


# -- the folder -------------------------------------------------------------------------------------------------------


def test_only_one_batch_at_a_time_can_use_a_folder(tmp_path):
    with Folder(tmp_path / "out", print), pytest.raises(nst.InputError, match="another process is using this folder"):
        Folder(tmp_path / "out", print).__enter__()
    with Folder(tmp_path / "out", print):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(nst.InputError, match="not a folder"):
        Folder(tmp_path / "file", print).__enter__()


@pytest.mark.slow
def test_received_checkpoints_are_saved_and_the_newest_valid_one_is_returned(packed, tmp_path, job):
    run = prepare(job())
    sent = []
    with Checkpoint(tmp_path / "elsewhere", every=0) as checkpoint:
        state = checkpoint.load(run)
        carry_out(run, checkpoint, state, lambda: len(state.record) == 2)
    for path in sorted((tmp_path / "elsewhere").glob("state-*.checkpoint")):
        sent.append(path.read_bytes())
    said = []
    with Folder(tmp_path / "out", said.append) as folder:
        one = packed()
        assert folder.checkpoint(one) is None
        for each in sent * 2:
            folder.keep(one, each)
        assert folder.checkpoint(one) == sent[-1]
        assert not said
        newest = max(tmp_path.glob("out/.c0-s0.checkpoint/state-*"))
        assert len(list(newest.parent.iterdir())) == 2
        newest.write_bytes(b"damaged")
        assert folder.checkpoint(one) == sent[-2]
        assert "is used instead" in said[0]
        for path in newest.parent.iterdir():
            path.write_bytes(b"damaged")
        assert folder.checkpoint(one) is None
        assert said[1:] == [f"c0-s0: {newest}: not a checkpoint of gluon-nst; the job restarts"]


def test_checkpoints_left_by_a_killed_batch_are_removed(listed, tmp_path, monkeypatch):
    left = Generations(tmp_path / "out/.c0-s0.checkpoint", print)
    left.folder.mkdir(parents=True)
    left.write({"epoch": 1})
    monkeypatch.setattr(Folder, "is_made", lambda folder, payload: True)
    with batch.Batch(listed(f"[[job]]\n{ONE}"), tmp_path / "out") as jobs:
        assert jobs.outcomes["c0-s0"].note == "kept from before"
    assert not left.folder.exists()


# -- scheduling -------------------------------------------------------------------------------------------------------


class Process:
    """Stand-in for the process of a job; `acts` has a generator of messages for the name of each job."""

    acts, started = {}, []

    def __init__(self, function, payload, folder, checkpoint, pixels, threads):
        self.worker, self.checkpoint, self.is_stopped = get_worker(), checkpoint, False
        self.started.append((payload.entry.name, self.worker.address))
        self.messages = self.acts[payload.entry.name](self)

    def get(self):
        return next(self.messages)

    def stop(self):
        self.is_stopped = True

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def clusters(monkeypatch):
    """A function that starts a LocalCluster with a number of workers, in threads of this process."""
    monkeypatch.setattr("gluon_nst.batch.job_process.Subprocess", Process)
    monkeypatch.setattr(Process, "acts", {})
    monkeypatch.setattr(Process, "started", [])
    with contextlib.ExitStack() as stack:

        def make(number):
            options = {"threads_per_worker": 1, "processes": False, "protocol": "tcp", "dashboard_address": None}
            return stack.enter_context(LocalCluster(n_workers=number, **options))

        yield make


@pytest.fixture
def workers(clusters):
    """A function that starts such a cluster, and returns the address of its scheduler."""
    return lambda number: clusters(number).scheduler_address


@pytest.fixture
def carried(listed, trunk, tmp_path):
    """A function that runs named jobs, each an act of a Process, on the workers of a scheduler.

    It returns the Batch and its notes.
    """

    def carry(address, halt=never, **acts):
        Process.acts.update(acts)
        entries = listed("".join(f'[[job]]\nname = "{name}"\n{ONE}seed = {n}\n' for n, name in enumerate(acts)))
        notes, overview = [], batch.Overview()
        overview.note = notes.append
        with batch.Batch(entries, tmp_path / "out", overview) as jobs, Pool(address) as pool:
            list(jobs.run(pool, halt))
        return jobs, notes

    return carry


@pytest.mark.slow
def test_each_worker_has_one_job_at_a_time(workers, carried):
    at_work, most = collections.Counter(), []

    def act(process):
        at_work[process.worker.address] += 1
        most.append((at_work[process.worker.address], sum(at_work.values())))
        time.sleep(0.3)
        at_work[process.worker.address] -= 1
        raise nst.NSTError("as it should")
        yield

    jobs, _ = carried(workers(2), **dict.fromkeys("abcd", act))
    assert {name: outcome.note for name, outcome in jobs.outcomes.items()} == dict.fromkeys("abcd", "as it should")
    assert max(most) == (1, 2)


@pytest.mark.slow
def test_a_job_that_does_not_fit_on_one_worker_runs_on_another_or_fails(workers, carried):
    def act(process):
        raise DoesNotFit("too little here")
        yield

    def other(process):
        if len([name for name, _ in Process.started if name == "mid"]) == 1:
            raise DoesNotFit("too little here")
        raise nst.NSTError("as it should")
        yield

    jobs, _ = carried(workers(2), big=act, mid=other)
    for name, note in (("big", "too little here"), ("mid", "as it should")):
        assert len({worker for each, worker in Process.started if each == name}) == 2
        assert jobs.outcomes[name].failed
        assert jobs.outcomes[name].note == note


@pytest.mark.slow
def test_a_job_whose_worker_is_lost_resumes_on_others_a_limited_number_of_times(listed, tmp_path, monkeypatch):
    def kill(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    def run(*arguments):
        job_process.Subprocess = kill
        return run_job(*arguments)

    monkeypatch.setattr("gluon_nst.batch.scheduler.run_job", run)  # pickled by value
    notes, overview = [], batch.Overview()
    overview.note = notes.append
    entries = listed(f"[[job]]\n{ONE}")
    with batch.Batch(entries, tmp_path / "out", overview) as jobs, Pool(workers=2) as pool:
        list(jobs.run(pool))
    assert jobs.outcomes["c0-s0"].failed
    assert "3 workers were lost in a row" in jobs.outcomes["c0-s0"].note
    lost = [note for note in notes if "is lost; the job resumes elsewhere from its last checkpoint" in note]
    assert len(set(lost)) == len(lost) == 2


@pytest.mark.slow
def test_a_job_that_kills_its_workers_before_it_starts_fails(workers, carried, monkeypatch):
    def run(*arguments):
        raise KilledWorker("a", types.SimpleNamespace(address="tcp://gone"), 0)

    monkeypatch.setattr("gluon_nst.batch.scheduler.run_job", run)
    jobs, _ = carried(workers(1), a=None)
    assert "3 workers were lost in a row" in jobs.outcomes["a"].note


@pytest.mark.slow
def test_a_task_with_an_unexpected_exception_fails(workers, carried):
    def act(process):
        raise ValueError("no gluon_nst here")
        yield

    jobs, _ = carried(workers(1), a=act)
    assert jobs.outcomes["a"].note == "no gluon_nst here"


@pytest.mark.slow
def test_an_interrupted_batch_has_no_outcomes_for_its_jobs(workers, carried):
    def act(process):
        while not process.is_stopped:
            time.sleep(0.1)
            yield "epoch", (1, 1, 2.0)
        yield "result", None

    jobs, notes = carried(workers(1), lambda: bool(Process.started), a=act, b=act, c=act)
    assert not jobs.outcomes
    assert jobs.left == ["a", "b", "c"]
    assert not notes
    assert [name for name, _ in Process.started] == ["a"]


@pytest.mark.slow
def test_messages_of_a_worker_that_was_considered_lost_are_ignored(workers, carried, monkeypatch, tmp_path):
    late, present = threading.Event(), Pool.workers

    def act(process):
        if len(Process.started) == 1:
            while len(Process.started) == 1:
                time.sleep(0.1)
            yield "note", "late"
            yield "checkpoint", b"late"
            late.set()
            yield "result", None
        late.wait(20)
        yield "note", "in time"
        kept.extend(tmp_path.glob("out/.a.checkpoint/*"))
        raise nst.NSTError("as it should")

    kept = []
    # The pool loses sight of the first worker, which continues.
    monkeypatch.setattr(Pool, "workers", lambda pool: [sorted(present(pool))[bool(Process.started)]])
    monkeypatch.setattr("gluon_nst.cluster.worker.StopRequest.is_cancelled", lambda stop: False)
    jobs, notes = carried(workers(2), a=act)
    assert len(set(Process.started)) == 2
    assert jobs.outcomes["a"].note == "as it should"
    assert not kept
    assert len(notes) == 2
    assert "is lost; the job resumes elsewhere" in notes[0]
    assert notes[1] == "a: in time"


@pytest.mark.slow
def test_a_lost_scheduler_ends_a_batch_with_an_error_of_one_line(clusters, carried, monkeypatch):
    monkeypatch.setattr("gluon_nst.cluster.pool._CONNECT_TIMEOUT", 1)
    ended, cluster = threading.Event(), clusters(1)

    def act(process):
        ended.wait(20)
        yield "result", None

    def halt():
        if Process.started:
            ended.set()
            cluster.close()
        return bool(Process.started)  # the pool stops the jobs after the scheduler is closed

    with pytest.raises(nst.NSTError, match=r"the scheduler is lost \(.*\); finished work is kept"):
        carried(cluster.scheduler_address, halt, a=act)


@pytest.mark.slow
def test_a_scheduler_lost_while_a_pool_waits_is_an_error(clusters, monkeypatch):
    monkeypatch.setattr("gluon_nst.cluster.pool._CONNECT_TIMEOUT", 1)
    cluster = clusters(1)
    with Pool(cluster.scheduler_address) as pool:
        future = pool.submit(time.sleep, 1, workers=pool.workers())
        threading.Timer(0.3, cluster.close).start()
        with pytest.raises(nst.NSTError, match="the scheduler is lost"):
            while True:
                pool.done([future], 5)


@pytest.mark.slow
def test_a_job_stops_when_its_client_disconnects(workers, packed, trunk):
    stopped = threading.Event()

    def act(process):
        while not process.is_stopped:
            time.sleep(0.1)
            yield "epoch", (1, 1, 2.0)
        stopped.set()
        yield "result", None

    one = packed()
    Process.acts["c0-s0"] = act
    with Pool(workers(1)) as pool:
        ready = pool.upload(trunk.path, trunk.sha256, pool.workers())
        future = pool.submit(run_job, pool.context, one.with_contents(), None, None, workers=ready)
        while not Process.started:
            assert future.status == "pending", future.exception()
            time.sleep(0.1)
    assert stopped.wait(20)


@pytest.mark.slow
def test_a_worker_does_not_send_back_the_checkpoint_that_it_resumes_from(packed, trunk, tmp_path):
    payload = packed('sizes = "32x48"\nepochs = 3').with_contents()
    (tmp_path / "begun").mkdir()
    run = prepare(payload.unpacked(tmp_path / "begun"), trunk=trunk)
    with Checkpoint(tmp_path / "checkpoint") as checkpoint:
        carry_out(run, checkpoint, checkpoint.load(run), lambda: True)
    begun = Generations(tmp_path / "checkpoint", print).content()
    with Pool(workers=1) as pool:
        future = pool.submit(run_job, pool.context, payload, begun, None, workers=pool.workers())
        while not future.done():
            pool.done([future], 1)
        messages = [(kind, value) for _, kind, value in pool.messages()]
    assert [value[:2] for kind, value in messages if kind == "epoch"] == [(1, 0), (1, 2), (1, 3)]
    sent = [value for kind, value in messages if kind == "checkpoint"]
    assert len(sent) == 1
    assert sent[0] != begun


def test_the_old_name_of_a_pool_still_works():
    with pytest.warns(DeprecationWarning, match="Crew is now gluon_nst.cluster.Pool"):
        assert issubclass(cluster.Crew, Pool)
    with pytest.warns(DeprecationWarning):
        assert isinstance(cluster.Crew(say=print), Pool)


def test_a_worker_with_a_different_version_is_left_out(workers, monkeypatch):
    monkeypatch.setattr("gluon_nst.cluster.pool.__version__", "0.1")
    notes = []
    with Pool(workers(1), notify=notes.append) as pool:
        assert pool.workers() == [] == pool.workers()
    assert len(notes) == 1
    assert f"left out, it has gluon-nst {nst.__version__}, not 0.1" in notes[0]


@pytest.mark.slow
def test_a_worker_restarted_at_the_same_address_gets_the_files_again(clusters, trunk):
    cluster = clusters(1)
    port = cluster.workers[0].port

    async def restart():
        await cluster.workers[0].close()
        cluster.workers[1] = await Worker(cluster.scheduler_address, host="127.0.0.1", port=port, nthreads=1)

    def content(dask_worker):
        return uploaded(trunk.sha256, dask_worker).read_bytes()

    with Pool(cluster.scheduler_address) as pool:
        (address,) = pool.upload(trunk.path, trunk.sha256, pool.workers())
        cluster.sync(restart)
        assert pool.upload(trunk.path, trunk.sha256, pool.workers()) == [address]
        assert pool.run(content, workers=[address]) == {address: trunk.path.read_bytes()}


@pytest.mark.slow
def test_a_dead_worker_is_different_from_a_failing_one(workers):
    with Pool(workers(1)) as pool, dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert pool.run(int, workers=["tcp://127.0.0.1:1"]) == {}


@pytest.mark.slow
def test_a_closed_pool_leaves_no_events_on_the_scheduler(workers, carried):
    def act(process):
        keys.append(process.worker.get_current_task())
        raise nst.NSTError("as it should")
        yield

    address, keys = workers(1), []
    carried(address, a=act)
    with Client(address, set_as_default=False) as client:
        assert len(keys) == 1
        assert not Event(keys[0], client=client).is_set()


def test_a_picture_that_would_overwrite_an_input_is_refused(pictures, weights_file):
    (pictures / "contents/c0-s0.png").write_bytes((pictures / "contents/c0.png").read_bytes())
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    with batch.Batch(entries, pictures / "contents") as jobs:
        assert "is one of the batch's inputs" in jobs.outcomes["c0-s0"].note
        assert jobs.left == ["c0-s0-s0", "c1-s0"]


@pytest.mark.parametrize("ending", [".png", ".csv"])
def test_a_job_that_would_overwrite_a_users_file_is_refused(pictures, weights_file, tmp_path, ending):
    (tmp_path / "out").mkdir()
    own = tmp_path / "out" / f"c0-s0{ending}"
    own.write_bytes((pictures / "contents/c0.png").read_bytes())
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    before = own.read_bytes()
    with batch.Batch(entries, tmp_path / "out") as jobs:
        assert f"{own}: exists, and " in jobs.outcomes["c0-s0"].note
        assert jobs.left == ["c1-s0"]
    assert own.read_bytes() == before


@pytest.mark.parametrize("name", ["report.html", "report.csv", "thumbnails"])
def test_a_users_report_is_not_overwritten(pictures, weights_file, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("my own report")
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    with pytest.raises(nst.InputError, match=f"{name}: exists, and is not the report of a batch"):
        batch.Batch(entries, tmp_path / "out").__enter__()
    assert (tmp_path / "out" / name).read_text() == "my own report"


# -- the report -------------------------------------------------------------------------------------------------------


def test_a_job_with_the_name_of_the_report_is_refused(listed, tmp_path):
    with batch.Batch(listed(f'[[job]]\nname = "Report"\n{ONE}'), tmp_path / "out") as jobs:
        assert "give the job another name" in jobs.outcomes["Report"].note


def test_the_report_shows_differing_settings_and_the_status_of_each_job(listed, tmp_path):
    text = (
        f'seed = 3\n[[job]]\nname = "<b>&"\n{ONE}\n[[job]]\nname = "b"\n{ONE}tv-weight = 0\n'
        f'[[job]]\nname = "c"\n{ONE}epochs = 0\n'
    )
    with batch.Batch(listed(text), tmp_path / "out") as jobs:
        page = batch.write_report(jobs).read_text(encoding="utf-8")
    assert "<h1>3 jobs: 1 failed, 2 left</h1>" in page
    assert "seed 3." in page
    assert "<p>All with weights " in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b><b>" not in page
    assert page.count('<th scope="col">') == 7  # result, content, style, tv-weight, epochs, total loss, seconds
    for place in ("content", "style"):
        assert page.count(f'alt="{place[0]}0.png"') == 2
    assert len(list((tmp_path / "out/thumbnails").iterdir())) == 2
    with open(tmp_path / "out/report.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == ["left", "left", "failed"]
    assert table[1]["tv-weight"] == "0"
    assert "not an integer" in table[2]["note"]


def test_the_old_name_of_the_settings_of_an_entry_still_works():
    entry = batch.Entry("a", None, {"epochs": "3"})
    with pytest.warns(DeprecationWarning, match="Entry.said is now Entry.settings"):
        assert entry.said == {"epochs": "3"}
