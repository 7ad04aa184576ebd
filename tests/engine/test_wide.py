"""Pictures that are too wide for oneDNN's kernels for AMX, which never return."""

import subprocess
import sys

import pytest

from training_inputs import needs_bfloat16


@needs_bfloat16
@pytest.mark.slow
def test_a_wide_picture_is_computed_in_bfloat16(tmp_path, content, style, converted):
    """In a subprocess, which can be killed: the endless loop would be in C."""
    options = ["--sizes", "32x800", "--size-factor", "1", "--epochs", "2", "--precision", "bfloat16", "--quiet"]
    command = [sys.executable, "-m", "gluon_nst", "render", content, style, "--output", tmp_path / "out.png"]
    subprocess.run([*command, "--weights", converted, *options], check=True, timeout=60)
    assert (tmp_path / "out.png").exists()
