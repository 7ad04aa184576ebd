"""The scripts that people copy are short, use only public names, and run."""

import ast
import contextlib
import shlex
import subprocess
from pathlib import Path

import gluon_nst as nst
from gluon_nst import cluster

import film
import folder_overnight
import four_resolutions
import imageio_ffmpeg
import numpy as np
import pytest
import ten_styles
from PIL import Image

from painting import paint

COPIED = (film, folder_overnight, four_resolutions, ten_styles)
TINY = {"recipe": "d2l-2019", "epochs": 2, "content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}


@pytest.fixture
def options(weights_file):
    return {**TINY, "weights": str(weights_file)}


@pytest.fixture
def styles(tmp_path):
    folder = tmp_path / "styles"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(paint(40, 40, seed=number)).save(folder / f"style-{number}.png")
    return folder


@pytest.mark.parametrize("script", COPIED, ids=lambda script: script.__name__)
def test_a_script_is_short_and_uses_public_names(script):
    text = Path(script.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "gluon_nst":
            assert node.module == "gluon_nst"
            assert all(alias.name in dir(nst) for alias in node.names)
        assert not (isinstance(node, ast.Attribute) and node.attr.startswith("_"))


def test_a_picture_at_several_resolutions(content, style, tmp_path, options, capsys):
    four_resolutions.main(content, style, tmp_path / "out", sides=(40, 60), **options)
    assert [Image.open(tmp_path / f"out/content-{side}.png").width for side in (40, 60)] == [40, 60]
    assert "content-60.png: total loss" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_by_morning(content, styles, tmp_path, options, capsys):
    folder_overnight.main(content, styles, tmp_path / "out", workers=1, sizes=40, **options)
    assert len(list(tmp_path.glob("out/content-style-*.png"))) == 2
    folder_overnight.main(content, styles, tmp_path / "out", sizes=40, **options)
    assert capsys.readouterr().out.count("kept from before") == 2


@pytest.fixture(scope="module")
def pool():
    with cluster.Pool(workers=1) as pool:
        yield pool


@pytest.fixture
def shared_pool(pool, monkeypatch):
    """Let the scripts share a Pool of one worker, which takes seconds to start."""
    monkeypatch.setattr(cluster, "Pool", lambda scheduler=None, workers=None: contextlib.nullcontext(pool))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_pool")
def test_one_content_in_several_styles_as_a_sheet(content, styles, tmp_path, options, capsys):
    (styles / "style-1.png").unlink()
    (styles / "damaged.png").write_bytes(b"no picture")
    ten_styles.main(content, styles, tmp_path / "out", columns=2, workers=1, sizes=40, **options)
    out, err = capsys.readouterr()
    assert err.count("error: content-damaged: ") == 1
    assert f"look at {tmp_path / 'out/sheet.png'}" in out
    assert min(Image.open(tmp_path / "out/sheet.png").size) > 300


@pytest.mark.slow
@pytest.mark.usefixtures("shared_pool")
def test_a_film_is_stylised(tmp_path, style, options):
    path, size = tmp_path / "in.mp4", (64, 48)
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=10, macro_block_size=2)
    writer.send(None)
    wide = paint(48, 80, seed=1)
    for number in range(2):
        writer.send(np.ascontiguousarray(wide[:, 4 * number : 4 * number + 64]).tobytes())
    writer.close()
    film.main(path, style, tmp_path / "kept", tmp_path / "out.mp4", **{**options, "sizes": 64})
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "out.mp4"))
    about = next(reader)
    assert about["size"] == size
    assert about["fps"] == 10
    assert len(list(reader)) == 2
    assert not list((tmp_path / "kept").glob("painted-*/.*start*"))


@pytest.mark.slow
def test_an_environment_of_the_user_is_not_deleted(tmp_path, user_environment):
    script = Path(__file__).parents[1] / "scripts" / "environment"
    for path in ("scripts/environment", "setup.cfg", ".venv/notes"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(script.read_text() if path.startswith("scripts") else "mine")
    environment = {name: value for name, value in user_environment.items() if name != "CI"}
    command = ["bash", "-c", f"source {shlex.quote(str(tmp_path / 'scripts/environment'))}"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 1
    assert f"{tmp_path}/.venv was not created by this script" in ended.stderr
    assert (tmp_path / ".venv/notes").read_text() == "mine"
