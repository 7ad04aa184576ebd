"""Estimates of how long a run takes."""

from gluon_nst.lab.web.estimates import DurationEstimator
from gluon_nst.lab.web.limits import Limits
from gluon_nst.lab.web.request_bodies import RunRequest

import pytest

TWO = {"content": "mountains", "styles": [["autumn-oaks", 1]]}


def test_an_estimate_grows_with_the_work():
    estimator = DurationEstimator()
    estimator.set_rates({"fine": 1e-8})
    requests = [RunRequest.from_json({**TWO, "side": side}) for side in (128, 512)]
    small, large = (request.fitted_recipe((600, 900), Limits()) for request in requests)
    assert 0 < estimator.estimate("fine", small) < estimator.estimate("fine", large)


def test_runs_with_the_same_estimate_do_not_compound_the_correction():
    estimator = DurationEstimator()
    for _ in range(30):  # all requested at the same moment, with the same estimate: each takes twice as long
        estimator.add_run(10, 20, 23)
    assert estimator.corrected(10) == pytest.approx(23)


def test_the_startup_of_a_process_is_limited():
    estimator = DurationEstimator()
    for _ in range(7):
        estimator.add_run(20.0, 20.0, 3600.0)
    assert estimator.corrected(20.0) == 20 + 20
    estimator.add_run(0.0, 1.0, 2.0)  # nothing was estimated
    assert estimator.correction == 1


def test_the_correction_is_a_limited_median_of_recent_runs():
    estimator = DurationEstimator()
    for computed in (11, 1000, 9, 10):  # one laptop was suspended
        estimator.add_run(10, computed, computed + 3)
    assert 9 <= estimator.corrected(10) - estimator.startup <= 11
    for computed, furthest in ((1000, 4), (0.1, 1 / 4)):
        for _ in range(10):
            estimator.add_run(10, computed, computed)
        assert estimator.corrected(10) == pytest.approx(10 * furthest)
    for _ in range(10):
        estimator.add_run(10, 15, 15)
    assert estimator.corrected(10) == pytest.approx(15)
    estimator.set_rates({})  # new rates invalidate the correction
    assert estimator.correction == 1
