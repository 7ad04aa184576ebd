"""Batches: what lists of jobs say, what makes a picture another one, who gets which job, and the report."""

import collections
import csv
import shutil
import types
from pathlib import Path

import gluon_nst as nst
from gluon_nst import batch
from gluon_nst.batch.folder import Folder
from gluon_nst.batch.payloads import pack
from gluon_nst.errors import NSTWarning
from gluon_nst.machine.files import file_name, natural_order
from gluon_nst.runs.checkpoint import Checkpoint
from gluon_nst.runs.checkpoint.generations import Generations
from gluon_nst.runs.inputs import style_files
from gluon_nst.runs.loop import carry_out, never
from gluon_nst.runs.run import prepare

import pytest
from PIL import Image

from commands import ended
from painting import paint


@pytest.fixture
def pictures(tmp_path):
    """Two folders of small pictures, beside each other."""
    for folder, number in (("contents", 2), ("styles", 2)):
        (tmp_path / folder).mkdir()
        for each in range(number):
            Image.fromarray(paint(40, 60, seed=each + len(folder))).save(tmp_path / folder / f"{folder[0]}{each}.png")
    return tmp_path


@pytest.fixture
def listed(pictures, weights_file):
    """The Entries of a list with that text."""

    def read(text, name="jobs.toml", **shared):
        path = pictures / name
        path.write_text(text, encoding="utf-8")
        return batch.read(path, **{"weights": str(weights_file), **shared})

    return read


ONE = 'content = "contents/c0.png"\nstyle = "styles/s0.png"\n'


# -- lists of jobs ----------------------------------------------------------------------------------------------------


def test_what_stands_above_the_tables_holds_for_all_jobs_that_do_not_say_otherwise(listed, pictures):
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
    assert [stage.size for stage in first.recipe.stages] == [60] and first.content == str(pictures / "contents/c0.png")
    assert [(stage.size, stage.epochs) for stage in large.recipe.stages] == [(40, 2), (80, 1)]
    assert [style.weight for style in large.style] == [3, 1] and large.seed == 5
    assert first.recipe.tv_weight == large.recipe.tv_weight == 7


def test_sizes_take_the_place_of_those_that_hold_for_all_in_whatever_way_they_are_given(listed):
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
    assert [stage.size for stage in first.stages] == [(32, 48)] and [stage.size for stage in own.stages] == [40]


def test_a_misspelt_keyword_is_refused_for_all_jobs_at_once(pictures):
    with pytest.raises(TypeError, match="epohcs: not a keyword of a job; .* did you mean epochs?"):
        batch.pairs(pictures / "contents", pictures / "styles", epohcs=3)


def test_a_table_of_comma_separated_values_says_it_as_the_command_line_does(listed):
    text = (
        "name,content,style,style-weights,sizes,epochs,style-layers,flatten\n"
        'a,contents/c0.png,styles/s0.png;styles/s1.png,"3,1","32x48,48x64","4,3","conv1_1:0.5,conv2_1",true\n'
        "b,contents/c1.png,styles,,,,,\n"
        "\n"
    )
    a, b = listed(text, "jobs.csv")
    assert [style.weight for style in a.job.style] == [3, 1] and a.job.flatten
    assert [(stage.size, stage.epochs) for stage in a.job.recipe.stages] == [((32, 48), 4), ((48, 64), 3)]
    assert a.job.recipe.style_layers == {0: 0.5, 5: 1.0}
    assert len(b.job.style) == 1 and not b.error  # a folder, whose pictures are all meant


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ('style = "styles/s0.png"', "content: missing; name a picture"),
        ('content = "contents/c0.png"', "style: missing; name a picture"),
        (f"{ONE}colour = 3", "colour: unknown; there are name, content"),
        (f"{ONE}style-wieght = 3", "; did you mean style-weight?"),
        (f"{ONE}sizes = [48, 64]", "sizes: (48, 64) is either one size or two; write [[48, 64]]"),
        (f"{ONE}longest-side = 48\nsizes = [[48, 64]]", "sizes, longest_side: both say how large the stages are"),
        (
            'content = "https://example.com/a.png"\nstyle = "s.png"',
            "https://example.com/a.png: a URL, which is not fetched",
        ),
        (f"{ONE}epochs = 0", "epochs: 0 is not an integer of at least 1"),
        (f'{ONE}epochs = "many"', "epochs: 'many' is not an integer of at least 1"),
        (f"{ONE}style-weights = [1, 2]", "style-weights: 2 for 1 styles; give one each"),
        (f'{ONE}recipe = "nobody"', "recipe nobody: not one of"),
        (f'{ONE}recipe = "gone.toml"', "gone.toml: no such file"),
        (f'{ONE}name = "a\\nb"', "name: 'a\\nb' is not a text of one line"),
        ('content = 3\nstyle = "styles/s0.png"', "content: int is neither a path nor a PIL image"),
        (f"{ONE}epochs = 2020-01-01", "epochs: datetime.date(2020, 1, 1) is not an integer"),
    ],
)
def test_a_job_that_can_not_be_one_says_why_and_the_others_are_there(listed, said, error):
    bad, good = listed(f"[[job]]\n{said}\n[[job]]\n{ONE}")
    assert bad.job is None and error in bad.error and good.job is not None


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("jobs.toml", "job = 3", "job: each is a [[job]] table"),
        ("jobs.toml", "[[job]", "not TOML"),
        ("jobs.toml", "epochs = 3", "no jobs are in there"),
        ("jobs.toml", "epochz = 3\n[[job]]", "epochz: unknown key"),
        ("jobs.toml", 'name = "all"\n[[job]]', "name: unknown key"),
        ("jobs.csv", "content,style", "no jobs are in there"),
        ("jobs.csv", "", "no jobs are in there"),
        ("jobs.csv", "content,tone\na,b", "tone: unknown column"),
        ("jobs.csv", "content,style,\na,b,c", "a column with no name has values"),
        ("jobs.csv", 'content,style\n"a,b', "a quote in it is not closed"),
        ("jobs.csv", "content,style,tv-weight,tv_weight\na,b,1,2", "tv-weight: two columns of this name"),
    ],
)
def test_a_list_that_can_not_be_read_is_refused(listed, name, text, error):
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
def test_a_list_is_read_as_spreadsheets_write_it(listed, pictures, text):
    (entry,) = listed(text, "jobs.csv")
    assert entry.error == "" and entry.job.seed == 3 and entry.name == "c0-s0"
    assert (entry.job.content, entry.job.style[0].picture) == (
        str(pictures / "contents/c0.png"), str(pictures / "styles/s0.png"),
    )  # fmt: skip


def test_a_list_may_be_a_spreadsheets_unicode_text(pictures, weights_file):
    text = "content\tstyle\tseed\r\ncontents/c0.png\tstyles/s0.png\t3\r\n"
    (pictures / "jobs.csv").write_bytes(text.encode("utf-16"))
    (entry,) = batch.read(pictures / "jobs.csv", weights=str(weights_file))
    assert entry.error == "" and entry.job.seed == 3


def test_several_styles_of_a_list_with_semicolons_are_quoted(listed):
    (entry,) = listed('content;style\ncontents/c0.png;"styles/s0.png;styles/s1.png"\n', "jobs.csv")
    assert entry.error == "" and len(entry.job.style) == 2


def test_a_folder_that_is_not_there_is_told_of_once_and_begins_nothing(pictures, capfd):
    for arguments in (["contents", "nowhere"], ["nowhere", "styles"]):
        paths = [pictures / each for each in arguments]
        status, out, err = ended(capfd, "batch", *paths, "--out", pictures / "out")
        assert (status, out) == (2, "") and not (pictures / "out").exists()
        assert err == f"error: {pictures / 'nowhere'}: no such file; check the path\n"


def test_the_error_of_a_job_is_told_once(pictures, weights_file, capfd):
    (pictures / "jobs.toml").write_text(f"[[job]]\n{ONE}epochs = 0\n")
    status, out, err = ended(capfd, "batch", pictures / "jobs.toml", "--out", pictures / "out")
    assert (
        status == 1 and err == "error: c0-s0: epochs: 0 is not an integer of at least 1\n" and "0 of 1 pictures" in out
    )


def test_a_row_with_too_many_cells_is_a_job_that_can_not_be_one(listed):
    (bad,) = listed("content,style\ncontents/c0.png,styles/s0.png,3\n", "jobs.csv")
    assert bad.job is None and bad.error == "3 cells for 2 names"


def test_jobs_on_the_same_pictures_are_called_by_their_own_settings(listed):
    text = f"epochs = 3\n[[job]]\n{ONE}\n[[job]]\n{ONE}style-weight = 1e4\n[[job]]\n{ONE}style-weight = 1e4\n"
    first, second, third = listed(text)
    assert [first.name, second.name] == ["c0-s0", "c0-s0,style-weight=10000"]
    assert third.job is None and "another job is called c0-s0,style-weight=10000 already" in third.error
    assert len({entry.file_name for entry in (first, second, third)}) == 3


def test_names_that_are_taken_are_told_of_and_no_good_job_goes_with_them(listed):
    entries = listed("".join(f'[[job]]\nname = "{name}"\n{ONE}' for name in ("x", "x", "x (2)", "X")))
    assert [(entry.name, entry.job is None) for entry in entries] == [
        ("x", False), ("x (3)", True), ("x (2)", False), ("X (4)", True),
    ]  # fmt: skip


def test_pictures_whose_names_differ_in_their_endings_alone_are_called_by_those_too(pictures):
    Image.open(pictures / "contents/c0.png").save(pictures / "contents/c0.jpg")
    names = [entry.name for entry in batch.pairs(pictures / "contents", pictures / "styles/s0.png")]
    assert names == ["c0.jpg-s0.png", "c0.png-s0.png", "c1-s0"]


@pytest.fixture
def frames(tmp_path):
    """A folder of frames as people number them."""
    (tmp_path / "frames").mkdir()
    for number in (1, 2, 10, 11):
        Image.fromarray(paint(40, 60, seed=number)).save(tmp_path / "frames" / f"frame{number}.png")
    return tmp_path / "frames"


def test_digits_that_are_no_numbers_are_letters_in_the_natural_order():
    for names in (["f²9.png", "f²10.png"], ["①1.png", "①2.png"], ["f٢.png", "f١٠.png"]):
        assert [path.name for path in sorted(map(Path, reversed(names)), key=natural_order)] == names


def test_frames_come_in_the_order_of_their_numbers(frames, pictures):
    entries = batch.sequence(frames, pictures / "styles/s0.png")
    assert [entry.name for entry in entries] == ["frame1", "frame2", "frame10", "frame11"]
    assert [entry.after for entry in entries] == [None, "frame1", "frame2", "frame10"]
    assert [entry.name for entry in batch.pairs(pictures / "contents/c0.png", frames)][1:3] == [
        "c0-frame2",
        "c0-frame10",
    ]
    assert [Path(file).stem for file in style_files(frames)] == ["frame1", "frame2", "frame10", "frame11"]


@pytest.mark.parametrize("names", [
    ("कि", "की"),  # which differ in a combining mark
    ("é", "e\u0301"),  # the same letter, composed and not
    ("a b", "a_b"),
    ("STRASSE", "straße"),
])  # fmt: skip
def test_each_picture_has_a_file_of_its_own_whatever_its_name(frames, pictures, names):
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
    assert file_name("कि") != file_name("की") and file_name("é") == file_name("e\u0301") == "é"


def test_what_is_left_out_of_a_folder_is_reported_with_the_reason(pictures, monkeypatch):
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


def test_folders_are_paired_each_with_each(pictures):
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


# -- what makes a picture ---------------------------------------------------------------------------------------------


@pytest.fixture
def packed(listed, trunk):
    """A job with that text, packed."""

    def pack_it(said="", **shared):
        (entry,) = listed(f"[[job]]\n{ONE}{said}", **{"recipe": "d2l-2019", **shared})
        return pack(entry, lambda spec, preferred: trunk)

    return pack_it


@pytest.fixture
def trunk(weights_file):
    return nst.weights.find(str(weights_file))


def test_all_that_makes_a_picture_another_one_counts_and_nothing_else(packed, pictures):
    plain = packed("epochs = 3").asked
    others = [packed(said).asked for said in ("epochs = 4", "epochs = 3\nseed = 2", "epochs = 3\nbits = 16")]
    assert len({plain, *others}) == 4
    assert packed('epochs = 3\nname = "other"\ndevice = "cpu"\nmemory = "4GB"').asked == plain
    (pictures / "styles/s0.png").rename(pictures / "styles/renamed.png")
    shutil.copy(pictures / "styles/renamed.png", pictures / "styles/s0.png")
    assert packed("epochs = 3").asked == plain
    shutil.copy(pictures / "styles/s1.png", pictures / "styles/s0.png")
    assert packed("epochs = 3").asked != plain


def test_a_parcel_has_all_that_the_job_is_made_of_and_speaks_of_it_by_its_names_here(packed, pictures, tmp_path):
    mask = 'mask = "contents/c1.png"\ninit = "styles/s1.png"\nweights = "auto"'
    payload = packed(mask).payload()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    job = payload.unpacked(elsewhere)
    paths = [job.content, job.style[0].picture, job.mask, job.recipe.init]
    originals = ["contents/c0.png", "styles/s0.png", "contents/c1.png", "styles/s1.png"]
    for path, original in zip(map(str, paths), originals):
        assert path.startswith(str(elsewhere))
        with open(path, "rb") as there, open(pictures / original, "rb") as here:
            assert there.read() == here.read()
        assert payload.in_words(f"{path}: bad", elsewhere) == f"{pictures / original}: bad"


def test_a_picture_in_the_memory_is_not_sent(pictures, trunk):
    job = nst.Job(Image.fromarray(paint(40, 60, 1)), str(pictures / "styles/s0.png"))
    with pytest.raises(nst.InputError, match="save it, and name its file"):
        pack(batch.Entry("memory", job), lambda spec, preferred: trunk)


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_is_one_batchs_at_a_time(tmp_path):
    with Folder(tmp_path / "out", print), pytest.raises(nst.InputError, match="another process is using this folder"):
        Folder(tmp_path / "out", print).__enter__()
    with Folder(tmp_path / "out", print):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(nst.InputError, match="not a folder"):
        Folder(tmp_path / "file", print).__enter__()


def test_checkpoints_from_elsewhere_are_kept_and_the_newest_that_is_whole_is_given(packed, tmp_path, job):
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
        assert folder.checkpoint(one) == sent[-1] and not said
        newest = max(tmp_path.glob("out/.c0-s0.checkpoint/state-*"))
        assert len(list(newest.parent.iterdir())) == 2
        newest.write_bytes(b"damaged")
        assert folder.checkpoint(one) == sent[-2] and "is taken instead" in said[0]


def test_a_batch_killed_after_a_picture_was_written_leaves_no_checkpoint_to_the_next(listed, tmp_path, monkeypatch):
    left = Generations(tmp_path / "out/.c0-s0.checkpoint", print)
    left.folder.mkdir(parents=True)
    left.write({"epoch": 1})
    monkeypatch.setattr(Folder, "is_made", lambda folder, packed: True)
    with batch.Batch(listed(f"[[job]]\n{ONE}"), tmp_path / "out") as jobs:
        assert jobs.outcomes["c0-s0"].note == "kept from before"
    assert not left.folder.exists()


# -- who gets which job -----------------------------------------------------------------------------------------------


class Crew:
    """A crew whose workers do what a test has them say."""

    def __init__(self, *names):
        self.names, self.said, self.given = list(names), collections.deque(), []
        self.futures, self.asked, self.attempts, self.cancelled = {}, False, {}, []

    def workers(self):
        return list(self.names)

    def bring(self, worker, sha256, path):
        pass

    def start(self, worker, function, attempt, payload, checkpoint, pixels):
        self.given.append((worker, payload.name, checkpoint))
        self.attempts[payload.name] = attempt
        future = types.SimpleNamespace(
            status="pending",
            done=lambda: future.status != "pending",
            cancel=lambda: self.cancelled.append(payload.name),
        )
        self.futures[payload.name] = future
        return future

    def say(self, name, kind, value, attempt=None):
        self.said.append((name, self.attempts[name] if attempt is None else attempt, kind, value))

    def heard(self):
        while self.said:
            yield self.said.popleft()

    def ask_to_stop(self):
        self.asked = True


@pytest.fixture
def stepped(listed, tmp_path, monkeypatch):
    """Carry out jobs of these names, and call `step(crew, number)` at each look; gives the crew, the Batch and its
    notes."""

    def carry(names, crew, step, halt=never):
        entries = listed("".join(f'[[job]]\nname = "{name}"\n{ONE}seed = {n}\n' for n, name in enumerate(names)))
        looks, notes = iter(range(50)), []

        def look(seconds):
            step(crew, next(looks))

        monkeypatch.setattr("gluon_nst.batch.scheduler.time.sleep", look)
        overview = batch.Overview()
        overview.note = notes.append
        with batch.Batch(entries, tmp_path / "out", overview) as jobs:
            list(jobs.run(crew, halt))
        return jobs, notes

    return carry


def test_each_worker_has_one_job_at_a_time(stepped):
    at_work, ended = [], []

    def step(crew, number):
        busy = [worker for worker, name, _ in crew.given if name not in ended]
        assert len(busy) == len(set(busy))
        at_work.append(len(busy))
        if number < 4:
            ended.append("abcd"[number])
            crew.say(ended[-1], "failed", "as it should")

    jobs, _ = stepped(list("abcd"), Crew("one", "two"), step)
    assert {name: outcome.note for name, outcome in jobs.outcomes.items()} == dict.fromkeys("abcd", "as it should")
    assert max(at_work) == 2


def test_what_one_worker_has_no_room_for_another_gets_and_what_none_has_is_told(stepped):
    def step(crew, number):
        for worker, name, _ in crew.given[step.seen :]:
            crew.say(name, "no room" if name == "big" or worker == "small" else "failed", f"too little at {worker}")
        step.seen = len(crew.given)

    step.seen = 0
    crew = Crew("small", "other")
    jobs, _ = stepped(["big", "mid"], crew, step)
    assert [worker for worker, name, _ in crew.given if name == "big"] in (["small", "other"], ["other", "small"])
    assert [worker for worker, name, _ in crew.given if name == "mid"][-1] == "other"
    assert jobs.outcomes["big"].failed and "too little at" in jobs.outcomes["big"].note


def test_a_job_whose_worker_is_lost_goes_on_elsewhere_but_not_for_ever(stepped):
    def step(crew, number):
        crew.names = [f"worker {number}"]

    crew = Crew("worker")
    jobs, notes = stepped(["fatal"], crew, step)
    assert len(crew.given) == 3 and len({worker for worker, _, _ in crew.given}) == 3
    assert jobs.outcomes["fatal"].failed and "3 workers were lost over it" in jobs.outcomes["fatal"].note
    assert any("is lost; another goes on from its last checkpoint" in note for note in notes)


def test_a_task_that_ends_without_a_word_is_a_failure(stepped):
    def step(crew, number):
        crew.futures["a"].status, crew.futures["a"].exception = "error", lambda: ValueError("no gluon_nst here")

    jobs, _ = stepped(["a"], Crew("one"), step)
    assert jobs.outcomes["a"].note == "no gluon_nst here"


def test_a_batch_that_is_stopped_leaves_its_jobs_for_another_time(stepped):
    asked = []

    def step(crew, number):
        if number == 0:
            crew.say("a", "begun", (1, 0, None))
        else:
            asked.append(True)
        if crew.asked:
            crew.say("a", "halted", "")

    crew = Crew("one", "two")
    jobs, _ = stepped(["a", "b", "c"], crew, step, halt=lambda: bool(asked))
    assert not jobs.outcomes and jobs.left == ["a", "b", "c"]
    assert crew.cancelled == ["b"]  # which may have waited behind what others do there


def test_what_a_worker_says_that_was_thought_to_be_lost_is_not_taken_for_the_next_ones(stepped):
    def step(crew, number):
        if number == 0:
            crew.names = ["other"]
        elif number == 2:
            crew.say("a", "failed", "late", attempt=1)
        elif number == 4:
            crew.say("a", "failed", "in time")

    crew = Crew("one")
    jobs, _ = stepped(["a"], crew, step)
    assert [worker for worker, _, _ in crew.given] == ["one", "other"] and jobs.outcomes["a"].note == "in time"


def test_a_picture_that_would_overwrite_an_input_is_refused(pictures, weights_file):
    (pictures / "contents/c0-s0.png").write_bytes((pictures / "contents/c0.png").read_bytes())
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    with batch.Batch(entries, pictures / "contents") as jobs:
        assert "is one of the batch's inputs" in jobs.outcomes["c0-s0"].note
        assert jobs.left == ["c0-s0-s0", "c1-s0"]


@pytest.mark.parametrize("ending", [".png", ".csv"])
def test_a_file_of_the_users_in_the_way_of_a_picture_stays_and_the_job_is_refused(
    pictures, weights_file, tmp_path, ending
):
    (tmp_path / "out").mkdir()
    own = tmp_path / "out" / f"c0-s0{ending}"
    own.write_bytes((pictures / "contents/c0.png").read_bytes())
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    before = own.read_bytes()
    with batch.Batch(entries, tmp_path / "out") as jobs:
        assert f"{own}: exists, and " in jobs.outcomes["c0-s0"].note and jobs.left == ["c1-s0"]
    assert own.read_bytes() == before


@pytest.mark.parametrize("name", ["report.html", "report.csv", "thumbnails"])
def test_a_report_of_the_users_stays(pictures, weights_file, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("my own report")
    entries = batch.pairs(pictures / "contents", pictures / "styles/s0.png", weights=str(weights_file))
    with pytest.raises(nst.InputError, match=f"{name}: exists, and is not the report of a batch"):
        batch.Batch(entries, tmp_path / "out").__enter__()
    assert (tmp_path / "out" / name).read_text() == "my own report"


# -- the report -------------------------------------------------------------------------------------------------------


def test_a_job_called_as_the_report_is_refused(listed, tmp_path):
    with batch.Batch(listed(f'[[job]]\nname = "Report"\n{ONE}'), tmp_path / "out") as jobs:
        assert "give the job another name" in jobs.outcomes["Report"].note


def test_the_report_shows_what_differed_and_what_became_of_each_job(listed, tmp_path):
    text = (
        f'seed = 3\n[[job]]\nname = "<b>&"\n{ONE}\n[[job]]\nname = "b"\n{ONE}tv-weight = 0\n'
        f'[[job]]\nname = "c"\n{ONE}epochs = 0\n'
    )
    with batch.Batch(listed(text), tmp_path / "out") as jobs:
        page = batch.write_report(jobs).read_text(encoding="utf-8")
    assert "<h1>3 jobs: 1 failed, 2 left</h1>" in page and "seed 3." in page and "<p>All with weights " in page
    assert "&lt;b&gt;&amp;" in page and "<b><b>" not in page
    assert page.count('<th scope="col">') == 7  # result, content, style, tv-weight, epochs, total loss, seconds
    for place in ("content", "style"):
        assert page.count(f'alt="{place[0]}0.png"') == 2
    assert len(list((tmp_path / "out/thumbnails").iterdir())) == 2
    with open(tmp_path / "out/report.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == ["left", "left", "failed"] and table[1]["tv-weight"] == "0"
    assert "not an integer" in table[2]["note"]
