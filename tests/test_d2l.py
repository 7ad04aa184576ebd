"""d2l's plotting in readers' scripts, with the required IPython and outside of Jupyter."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import gluon_nst as nst
from d2l import mxnet as d2l
from mxnet import np, npx

npx.set_np()
for number, backend in enumerate([None, "Agg", "svg", "module://matplotlib_inline.backend_inline"]):
    if backend:
        d2l.plt.switch_backend(backend)
    d2l.set_figsize()
    d2l.plt.imshow(nst.read_image(nst.pictures.own_pictures()[0]).asnumpy())
    animator = d2l.Animator(xlabel="epoch", legend=["content", "style"], xlim=[1, 3])
    for epoch in range(1, 4):
        animator.add(epoch, (1 / epoch, 2 / epoch))
    d2l.plt.savefig(f"figure-{number}.png")
"""


@pytest.mark.slow
def test_d2ls_figures_can_be_drawn_in_a_script_with_each_backend(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("figure-*.png"))]
    assert len(sizes) == 4
    assert min(sizes) > 1000
