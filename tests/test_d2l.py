"""d2l's own plotting, as readers' scripts have it: with the IPython that is required, outside of Jupyter too."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import gluon_nst as nst
from d2l import mxnet as d2l
from mxnet import np, npx

npx.set_np()
d2l.set_figsize()
d2l.plt.imshow(nst.read_image(nst.pictures.own_pictures()[0]).asnumpy())
animator = d2l.Animator(xlabel="epoch", legend=["content", "style"], xlim=[1, 3])
for epoch in range(1, 4):
    animator.add(epoch, (1 / epoch, 2 / epoch))
d2l.plt.savefig("figure.png")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", [None, "Agg", "svg", "module://matplotlib_inline.backend_inline"])
def test_d2ls_figures_can_be_drawn_in_a_script(backend, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment.update({"MPLBACKEND": backend} if backend else {})
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").stat().st_size > 1000
