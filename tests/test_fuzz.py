"""Damaged files give one line and their exit status: a sample of scripts/dev/fuzz.py, in a subprocess as it forks."""

import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "dev" / "fuzz.py"


@pytest.mark.slow
def test_damaged_files_give_one_line():
    counts = ["--pictures", "9", "--recipes", "4", "--checkpoints", "3", "--maps", "3", "--seed", "2026"]
    fuzzed = subprocess.run([sys.executable, SCRIPT, *counts], capture_output=True, text=True)
    assert fuzzed.returncode == 0, fuzzed.stdout
    assert fuzzed.stdout.splitlines()[-1].endswith(": 0 ended as they should not")


def test_the_fuzzer_detects_failures():
    right = {"status": 2, "err": "error: one line\n", "seconds": 0.1, "bytes": 10**8, "written": []}

    def complaint(**changed):
        return fuzz.complaint(fuzz.Case("a case", []), fuzz.Ended(**{**right, **changed}))

    assert complaint() == ""
    assert complaint(status=0, err="", written=["out.png"]) == ""
    for wrong in (
        {"status": 1},
        {"err": "error: one\nerror: two\n"},
        {"err": "Traceback (most recent call last):\n"},
        {"written": [".out.abc.png"]},
        {"seconds": 11.0},
        {"bytes": 2 * 10**9},
        {"status": 0, "err": ""},
        {"status": -11, "err": ""},
    ):
        assert complaint(**wrong)
