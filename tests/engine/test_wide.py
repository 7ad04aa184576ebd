"""Pictures wider than what oneDNN's kernels for AMX come to an end on."""

import subprocess
import sys

import pytest

from training_inputs import needs_bfloat16


@needs_bfloat16
@pytest.mark.slow
def test_a_wide_picture_comes_to_an_end_in_bfloat16(tmp_path, content, style, converted):
    """In a process of its own, which can be stopped: what does not come to an end does not in C."""
    options = ["--sizes", "32x800", "--size-factor", "1", "--epochs", "2", "--precision", "bfloat16", "--quiet"]
    command = [sys.executable, "-m", "gluon_nst", "render", content, style, "--output", tmp_path / "out.png"]
    subprocess.run([*command, "--weights", converted, *options], check=True, timeout=60)
    assert (tmp_path / "out.png").exists()
