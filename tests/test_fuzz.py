"""Damaged files end with one line and their status: a sample of scripts/fuzz.py, in a process of its own, since it forks."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"


@pytest.mark.slow
def test_damaged_files_end_with_one_line():
    counts = ["--pictures", "40", "--recipes", "15", "--checkpoints", "10", "--maps", "10", "--seed", "2026"]
    fuzzed = subprocess.run([sys.executable, SCRIPT, *counts], capture_output=True, text=True)
    assert fuzzed.returncode == 0, fuzzed.stdout
    assert fuzzed.stdout.splitlines()[-1].endswith(": 0 ended as they should not")


def test_the_fuzzer_sees_what_is_wrong():
    import fuzz

    case = fuzz.Case("a case", [])
    right = fuzz.Ended(2, "error: one line\n", 0.1, 10**8, [])
    assert (
        fuzz.complaint(case, right) == ""
        and fuzz.complaint(case, right._replace(status=0, err="", written=["out.png"])) == ""
    )
    for wrong in (
        right._replace(status=1),
        right._replace(err="error: one\nerror: two\n"),
        right._replace(err="Traceback (most recent call last):\n"),
        right._replace(written=[".out.abc.png"]),
        right._replace(seconds=11.0),
        right._replace(bytes=2 * 10**9),
        right._replace(status=0, err=""),
        right._replace(status=-11, err=""),
    ):
        assert fuzz.complaint(case, wrong)
