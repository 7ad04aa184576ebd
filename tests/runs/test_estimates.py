"""Estimates of a run's memory and duration, and the note before a long run."""

import math

import gluon_nst as nst
from gluon_nst.engine.windows import work
from gluon_nst.experiments import sweep
from gluon_nst.machine.durations import format_duration
from gluon_nst.runs import estimates
from gluon_nst.runs.estimates import note_if_long
from gluon_nst.runs.run import prepare

import pytest
from mxnet import MXNetError

from commands import SHALLOW

FIXED, WHOLE, WINDOWED, EXTRA = 0.25, 2e-8, 3e-8, 1.5
"""A simulated machine: fixed seconds of an evaluation, seconds per unit of work whole and in windows, and extra seconds
of the first evaluation."""


class Notes(nst.Observer):
    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)


@pytest.fixture
def machine(monkeypatch):
    """Simulate a machine with known durations; return the list of timings."""
    timed = []

    def time(self, size, parts):
        timed.append((size, sum(part.number for part in parts)))
        factor = WINDOWED if any(part.number > 1 for part in parts) else WHOLE
        seconds = FIXED + factor * work(parts)
        return estimates.Timing(seconds + EXTRA, seconds)

    monkeypatch.setattr(estimates.Speed, "time", time)
    return timed


@pytest.fixture
def timing(monkeypatch):
    """Time runs of any size."""
    monkeypatch.setattr(estimates, "ALWAYS_SHORT", 0)


def test_the_estimate_sums_evaluations_features_and_setup_of_all_stages(job, machine):
    run = prepare(job(sizes=[(64, 96), (128, 192)], epochs=[500, 200]))
    estimate = nst.estimate(run)
    evaluations = seconds = 0
    for stage, epochs in zip(run.recipe.stages, (500, 200)):
        units = work(run.plan(stage).parts)
        evaluations += epochs * (FIXED + WHOLE * units)
        seconds += EXTRA + 2 * WHOLE * units / 3  # the content's features, and the style's
    assert estimate.seconds == pytest.approx(evaluations + seconds)
    assert estimate.memory == max(run.plan(stage).needed for stage in run.recipe.stages)


def test_windows_are_timed_in_windows(job, machine):
    size = (512, 768)
    whole = nst.estimate(job(sizes=[size], epochs=[100], memory=20e9))
    assert [number for _, number in machine] == [1, 1]
    run = prepare(job(sizes=[size], epochs=[100], memory=1.0e9))
    parts = run.plan(run.recipe.stages[0]).parts
    estimate = nst.estimate(run)
    assert machine[-1][1] > 2
    assert estimate.memory < 1.0e9 < whole.memory
    assert estimate.seconds - whole.seconds == pytest.approx(
        100
        * (
            WINDOWED * work(parts)
            - WHOLE * work(prepare(job(sizes=[size], epochs=[100])).plan(run.recipe.stages[0]).parts)
        ),
        rel=1e-3,
    )  # fmt: skip


def test_a_long_run_is_announced_with_its_duration_and_memory(job, machine, timing):
    run = prepare(job(sizes=[(64, 96)], epochs=[6000]))
    seconds, memory = nst.estimate(run)[::-1]
    notes = Notes()
    note_if_long([run], notes)
    assert seconds >= 25 * 60
    time = format_duration(seconds, about=True)
    assert notes.lines == [f"this will take about {time}, and up to {memory / 1e9:.1f} GB of memory"]


def test_several_runs_are_announced_together(job, machine, timing):
    runs = [prepare(job(sizes=[(64, 96)], epochs=[epochs])) for epochs in (1000, 1500, 2000)]
    notes = Notes()
    for run in runs[:2]:
        note_if_long([run], notes)
    assert notes.lines == []
    note_if_long(runs, notes)
    time = format_duration(sum(nst.estimate(run).seconds for run in runs), about=True)
    assert [line.split(",")[0] for line in notes.lines] == [f"this will take about {time}"]


def test_a_first_guess_is_announced_if_timing_takes_long(job, machine, timing, monkeypatch):
    now = [0.0]

    def slow(self, size, parts):
        now[0] += 1
        notes.lines.append(f"{now[0]:.0f} s of timing")
        return estimates.Timing(1.0, 1.0)

    monkeypatch.setattr(estimates.Speed, "time", slow)
    monkeypatch.setattr(estimates.time, "perf_counter", lambda: now[0])
    runs, notes = [prepare(job(epochs=[30000, 4], optimizer=name)) for name in ("adam", "lbfgs")], Notes()
    note_if_long(runs, notes)
    first, guess, *_, last = notes.lines
    assert first == "1 s of timing"
    assert guess.endswith(" (first guess); measuring the speed…")
    assert guess.startswith("about ")
    assert last.startswith("this will take about ")


def test_a_short_run_is_timed_at_the_smallest_size_only(job, machine, timing):
    notes = Notes()
    note_if_long([prepare(job(sizes=[(64, 96)], epochs=[300]))], notes)
    assert notes.lines == []
    assert [size for size, _ in machine] == [(128, 128)]


def test_a_tiny_run_is_not_timed(job, machine):
    note_if_long([prepare(job(sizes=[(64, 96)], epochs=[300]))], Notes())
    assert machine == []


def test_many_tiny_runs_are_timed_together(job, machine):
    run = prepare(job(sizes=[(64, 96)], epochs=[600]))
    notes = Notes()
    note_if_long([run] * 20, notes)
    assert len(notes.lines) == 1


@pytest.mark.slow
def test_only_the_remaining_epochs_of_a_resumed_run_count(job, machine):
    run, state = prepare(job(sizes=[(32, 48), (32, 48)], epochs=[2, 4])), nst.State()
    whole = estimates.Speed(run).seconds(run, nst.State())
    for _ in nst.steps(run, state):
        if len(state.record) == 4:
            break
    left = estimates.Speed(run).seconds(run, state)
    assert 0 < left < 0.5 * whole
    for _ in nst.steps(run, state):
        pass
    assert estimates.Speed(run).seconds(run, state) == 0


def test_without_memory_for_timing_there_is_no_note(job, timing, monkeypatch):
    def fail(*_):
        raise MXNetError("std::bad_alloc")

    monkeypatch.setattr(estimates.Speed, "time", fail)
    notes = Notes()
    note_if_long([prepare(job(sizes=[(64, 96)], epochs=[3000]))], notes)
    assert notes.lines == []


def test_timed_sizes_fit_into_the_allowed_memory(job, machine):
    nst.estimate(job(sizes=[(512, 768)], epochs=[100], memory=0.95e9))
    assert max(size for size, _ in machine) < (384, 384)


@pytest.mark.slow
def test_the_estimate_of_a_job_is_measured(job):
    small, large = (nst.estimate(job(sizes=[(side, side)], epochs=[50])).seconds for side in (64, 512))
    assert 0 < small < large < math.inf


# -- of recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_recipes_of_the_same_speed_are_timed_once(machine, timing, converted, monkeypatch):
    trunk = nst.weights.find(str(converted))
    monkeypatch.setattr("gluon_nst.weights.cached", lambda: trunk)
    num_before = len(machine)
    first = dict(estimates.seconds_of_recipes(["d2l-2019"]))
    num_timings = len(machine) - num_before
    both = dict(estimates.seconds_of_recipes(["d2l-2019", "d2l-2023"]))
    assert len(machine) - num_before == 2 * num_timings > 0
    assert both["d2l-2019"] == first["d2l-2019"]
    assert both["d2l-2023"] > both["d2l-2019"]  # it has 500 epochs at 300 x 450, the other one 300 there


def test_without_weights_in_the_cache_recipes_are_not_timed(monkeypatch):
    monkeypatch.setattr("gluon_nst.weights.cached", lambda: None)
    with pytest.raises(nst.WeightsError, match="no parameters of VGG-19 in the cache"):
        list(estimates.seconds_of_recipes(["fine"]))


# -- the callers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def long(monkeypatch, machine, timing):
    """Make every run count as long."""
    monkeypatch.setattr(estimates, "LONG", 0)


def test_transfer_notifies_its_observers_of_a_long_run(run, long):
    notes = Notes()
    run(observers=[notes], content_layers=["conv1_1"], style_layers=["conv1_1"])
    assert len([line for line in notes.lines if line.startswith("this will take about ")]) == 1


@pytest.mark.slow
def test_the_command_announces_a_long_run_once(render, long):
    status, _, err = render(*SHALLOW)
    assert status == 0
    assert err.count("this will take about ") == 1


@pytest.mark.slow
def test_a_sweep_announces_its_remaining_cells_once(content, style, weights_file, tmp_path, monkeypatch):
    announced = []
    monkeypatch.setattr("gluon_nst.experiments.trials.note_if_long", lambda runs, observer: announced.append(len(runs)))
    options = {
        "recipe": "d2l-2019", "weights": str(weights_file), "sizes": [(32, 48)], "epochs": [2],
        "content_layers": ["conv1_1"], "style_layers": ["conv1_1"],
    }  # fmt: skip
    for values in ([1.0, 2.0], [1.0, 2.0, 3.0]):
        experiment = sweep(content, style, {"style_weight": values}, **options)
        assert not any(outcome.failed for outcome in experiment.run(tmp_path))
    assert announced == [2, 1]
