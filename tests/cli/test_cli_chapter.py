"""The command chapter: what it writes and prints, what it refuses."""

import re

from gluon_nst.weights import pictures

import pytest
from PIL import Image

from commands import SHALLOW, assert_one_line, names


@pytest.mark.slow
def test_chapter_writes_its_files(chapter, tmp_path):
    assert chapter()[0] == 0
    assert names(tmp_path / "out") == ["losses.csv", "losses.png", "neural-style-1.png", "neural-style-2.png"]
    sizes = [Image.open(tmp_path / f"out/neural-style-{number}.png").size for number in (1, 2)]
    assert sizes == [(48, 32), (64, 48)]
    assert Image.open(tmp_path / "out/losses.png").width > 400


@pytest.mark.slow
def test_chapter_prints_the_chapters_lines(chapter):
    status, out, _ = chapter("--epochs", "103,2", *SHALLOW)
    assert status == 0
    *lines, last = out.splitlines()
    number = r"\d+\.\d\d"
    expected = f"content loss {number}, style loss {number}, TV loss {number}, {number} sec"
    assert len(lines) == 2
    assert "total loss" in last
    for line, epoch in zip(lines, (" 50", "100")):
        assert re.fullmatch(f"epoch {epoch}, {expected}", line)


@pytest.mark.slow
def test_chapter_prints_where_the_learning_rate_changes(chapter, tmp_path):
    status, out, _ = chapter("--edition", "2023", "--sizes", "32x48", "--epochs", "53", *SHALLOW)
    lines = [line.split(",")[0] for line in out.splitlines()]
    assert status == 0
    assert lines[:6] == ["epoch  10", "epoch  20", "epoch  30", "epoch  40", "change lr to 7.2e-01", "epoch  50"]
    assert names(tmp_path / "out") == ["losses.csv", "losses.png", "neural-style-1.png"]


@pytest.mark.slow
def test_chapter_uses_the_projects_own_pictures(chapter):
    _, _, err = chapter("--epochs", "1", own=())
    assert "using the project's own pictures" in err
    assert all(path.is_file() for path in pictures.own_pictures())


@pytest.mark.slow
def test_chapter_writes_the_losses_to_the_given_file(chapter, tmp_path):
    assert chapter("--sizes", "16x16", "--epochs", "1", "--losses", tmp_path / "mine.csv")[0] == 0
    assert (tmp_path / "mine.csv").is_file()
    assert names(tmp_path / "out") == ["losses.png", "neural-style-1.png"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--content", "a.png"], "--content and --style go together"),
        (["--style", "a.png"], "--content and --style go together"),
        (["--content", "a.png", "--style", "b.png"], "a.png: no such file"),
        (["--content", "a.png", "--style", "b.png", "--book-images"], "--book-images is for a run without"),
        (["--edition", "2019", "--recipe", "d2l-2019"], "give one of them"),
        (["--edition", "1999"], "invalid choice: '1999'"),
    ],
)
def test_chapter_refuses_bad_arguments(chapter, tmp_path, options, message):
    status, _, err = chapter(*options, own=())
    assert status == 2
    assert message in err
    assert not (tmp_path / "out").exists()
    assert_one_line(err)


@pytest.mark.slow
def test_chapter_refuses_a_folder_that_can_not_be_made(chapter, content, tmp_path):
    status, _, err = chapter(out=content / "out")
    assert status == 2
    assert "there is no folder" in err
    (tmp_path / "dangling").symlink_to("nowhere")
    status, _, err = chapter(out=tmp_path / "dangling")
    assert status == 2
    assert "not a folder" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.png", "dangling", "style.png"]
