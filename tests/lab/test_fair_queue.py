"""The fair queue: order by student, and forecasts of the start of runs."""

import random

from gluon_nst.lab.web.fair_queue import FairQueue

import pytest


def served(queue):
    """Return all runs in the order in which they are served."""
    order = []
    while True:
        run = queue.pop()
        if run is None:
            return order
        order.append(run)


@pytest.fixture
def queue():
    """A queue with three runs of one student."""
    queue = FairQueue()
    for number in range(3):
        queue.add(f"anna {number}", "anna", 60, number)
    return queue


def test_a_student_with_many_runs_waits_behind_students_with_few(queue):
    queue.add("ben", "ben", 60, 10)
    queue.add("cleo", "cleo", 60, 11)
    assert served(queue) == ["anna 0", "ben", "cleo", "anna 1", "anna 2"]


def test_equal_requests_are_served_in_order():
    queue = FairQueue()
    for number, student in enumerate(["anna", "ben", "cleo"]):
        queue.add(student, student, 60, number)
    assert served(queue) == ["anna", "ben", "cleo"]


def test_a_newcomer_has_no_credit_for_the_time_before():
    queue = FairQueue()
    for number in range(5):
        queue.add(f"anna {number}", "anna", 60, number)
    for _ in range(3):
        queue.pop()
    queue.add("ben 0", "ben", 60, 100)
    queue.add("ben 1", "ben", 60, 101)
    assert served(queue) == ["ben 0", "anna 3", "ben 1", "anna 4"]


def test_repeated_requests_do_not_delay_others():
    queue = FairQueue()
    queue.add("patient 0", "patient", 60, 0)
    queue.add("patient 1", "patient", 60, 1)
    order = []
    for number in range(4):
        queue.add(f"again {number}", "again", 60, 2 + number)
        order += [queue.pop()]
    assert order == ["patient 0", "again 0", "patient 1", "again 1"]


def test_long_runs_count_for_more_than_short_ones():
    queue = FairQueue()
    for number in range(2):
        queue.add(f"long {number}", "long", 300, number)
    for number in range(3):
        queue.add(f"short {number}", "short", 60, 10 + number)
    assert served(queue) == ["long 0", "short 0", "short 1", "short 2", "long 1"]


def test_removing_a_run_moves_up_the_others_of_the_student(queue):
    queue.add("ben 0", "ben", 60, 10)
    queue.add("ben 1", "ben", 60, 11)
    queue.remove("anna 0")
    queue.remove("nobody")
    assert served(queue) == ["anna 1", "ben 0", "anna 2", "ben 1"]


def test_seconds_that_were_not_used_are_refunded():
    queue = FairQueue()
    queue.add("anna 0", "anna", 600, 0)
    queue.pop()
    queue.finish("anna 0", 10)  # it was paused at once
    queue.add("ben 0", "ben", 100, 1)
    queue.add("ben 1", "ben", 100, 2)
    queue.add("anna 1", "anna", 100, 3)
    assert served(queue) == ["ben 0", "anna 1", "ben 1"]


def test_shares_of_students_stay_about_equal():
    chance, queue = random.Random(1), FairQueue()
    served_seconds = dict.fromkeys("abcdef", 0.0)
    costs = {}
    for student in served_seconds:
        for number in range(40):
            costs[f"{student}{number}"] = chance.uniform(5, 120)
            queue.add(f"{student}{number}", student, costs[f"{student}{number}"], number)
    for _ in range(120):  # as long as every student has a waiting run
        run = queue.pop()
        served_seconds[run[0]] += costs[run]
        assert max(served_seconds.values()) - min(served_seconds.values()) <= 2 * 120


def test_positions_and_times_are_forecast_by_the_workers():
    queue = FairQueue()
    for number, cost in enumerate([30, 40, 50]):
        queue.add(f"run {number}", f"student {number}", cost, number)
    now = {"run 0": 30, "run 1": 40, "run 2": 50}
    assert queue.forecast([20, 5], 2, now.get) == {"run 0": (1, 5), "run 1": (2, 20), "run 2": (3, 35)}
    assert queue.forecast([20], 2, now.get)["run 0"] == (1, 0)
    assert queue.forecast([20, 5], 2, lambda run: 2 * now[run])["run 2"] == (3, 65)  # estimates have changed since
    assert len(queue) == 3
