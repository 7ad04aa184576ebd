"""The lab's line is fair by student, and says when a turn comes."""

import random

from gluon_nst.lab.web.fair_queue import Line


def served(line):
    """All tickets in the order in which they are served."""
    order = []
    while True:
        ticket = line.serve()
        if ticket is None:
            return order
        order.append(ticket)


def test_whoever_asks_for_much_waits_behind_whoever_asks_for_little():
    line = Line()
    for number in range(3):
        line.join(f"anna {number}", "anna", 60, number)
    line.join("ben", "ben", 60, 10)
    line.join("cleo", "cleo", 60, 11)
    assert served(line) == ["anna 0", "ben", "cleo", "anna 1", "anna 2"]


def test_those_who_ask_for_as_much_are_served_as_they_came():
    line = Line()
    for number, student in enumerate(["anna", "ben", "cleo"]):
        line.join(student, student, 60, number)
    assert served(line) == ["anna", "ben", "cleo"]


def test_a_newcomer_has_no_credit_for_the_time_before():
    line = Line()
    for number in range(5):
        line.join(f"anna {number}", "anna", 60, number)
    for _ in range(3):
        line.serve()
    line.join("ben 0", "ben", 60, 100)
    line.join("ben 1", "ben", 60, 101)
    assert served(line) == ["ben 0", "anna 3", "ben 1", "anna 4"]


def test_nobody_is_kept_waiting_by_one_who_comes_again_and_again():
    line = Line()
    line.join("patient 0", "patient", 60, 0)
    line.join("patient 1", "patient", 60, 1)
    order = []
    for number in range(4):
        line.join(f"again {number}", "again", 60, 2 + number)
        order += [line.serve()]
    assert order == ["patient 0", "again 0", "patient 1", "again 1"]


def test_long_runs_count_for_more_than_short_ones():
    line = Line()
    for number in range(2):
        line.join(f"long {number}", "long", 300, number)
    for number in range(3):
        line.join(f"short {number}", "short", 60, 10 + number)
    assert served(line) == ["long 0", "short 0", "short 1", "short 2", "long 1"]


def test_who_leaves_lets_the_others_of_the_same_student_move_up():
    line = Line()
    for number in range(3):
        line.join(f"anna {number}", "anna", 60, number)
    line.join("ben 0", "ben", 60, 10)
    line.join("ben 1", "ben", 60, 11)
    line.leave("anna 0")
    line.leave("nobody")
    assert served(line) == ["anna 1", "ben 0", "anna 2", "ben 1"]


def test_seconds_that_were_not_computed_are_given_back():
    line = Line()
    line.join("anna 0", "anna", 600, 0)
    line.serve()
    line.ended("anna 0", 10)  # it was paused at once
    line.join("ben 0", "ben", 100, 1)
    line.join("ben 1", "ben", 100, 2)
    line.join("anna 1", "anna", 100, 3)
    assert served(line) == ["ben 0", "anna 1", "ben 1"]


def test_everybody_has_about_as_much_as_the_others_at_any_time():
    chance, line = random.Random(1), Line()
    had = dict.fromkeys("abcdef", 0.0)
    costs = {}
    for student in had:
        for number in range(40):
            costs[f"{student}{number}"] = chance.uniform(5, 120)
            line.join(f"{student}{number}", student, costs[f"{student}{number}"], number)
    for _ in range(120):  # as long as all of them wait for something
        ticket = line.serve()
        had[ticket[0]] += costs[ticket]
        assert max(had.values()) - min(had.values()) <= 2 * 120


def test_places_and_times_are_those_of_the_workers():
    line = Line()
    for number, cost in enumerate([30, 40, 50]):
        line.join(f"run {number}", f"student {number}", cost, number)
    now = {"run 0": 30, "run 1": 40, "run 2": 50}
    assert line.expected([20, 5], 2, now.get) == {"run 0": (1, 5), "run 1": (2, 20), "run 2": (3, 35)}
    assert line.expected([20], 2, now.get)["run 0"] == (1, 0)
    assert line.expected([20, 5], 2, lambda ticket: 2 * now[ticket])["run 2"] == (3, 65)  # estimates have changed since
    assert len(line) == 3
