"""The frames of a film: what moves, what can be trusted of it, and what a frame starts from."""

import gluon_nst as nst
from gluon_nst.pictures import optical_flow

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 144, 192


def landscape(height=HEIGHT, width=WIDTH + 40, seed=1):
    """Something with structure at every place: h × w × 3, uint8."""
    small = np.random.default_rng(seed).uniform(0, 255, (height // 12, width // 12, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def moved(pixels, right):
    """What a camera sees that has turned so many pixels to the right."""
    return np.ascontiguousarray(pixels[:, right : right + WIDTH])


def test_the_flow_is_how_far_things_have_gone():
    scene = landscape()
    flow = optical_flow.flow(moved(scene, 0), moved(scene, 5))
    assert flow.shape == (HEIGHT, WIDTH, 2)
    inner = flow[16:-16, 16:-16]
    assert np.abs(inner - (-5, 0)).mean() < 0.2


def test_what_is_warped_comes_to_where_it_has_gone():
    scene = landscape()
    before, now = moved(scene, 0), moved(scene, 5)
    back = optical_flow.flow(now, before)
    unmoved, warped = (
        np.abs(each.astype(float) - now)[:, :-8].mean() for each in (before, optical_flow.warped(before, back))
    )
    assert warped < unmoved / 10


def test_what_was_uncovered_or_comes_from_beyond_the_edge_is_not_trusted():
    scene, thing = landscape(), landscape(48, 48, seed=9)

    def frame(at, right):
        pixels = moved(scene, right).copy()
        pixels[48:96, at : at + 48] = thing
        return pixels

    before, now = frame(30, 0), frame(40, 4)
    trusted = optical_flow.consistent(optical_flow.flow(now, before), optical_flow.flow(before, now))
    assert trusted.mean() > 0.7
    assert not trusted[:, -3:].any()  # what the camera did not see
    assert trusted[56:88, 29:37].mean() < 0.4  # behind the thing
    assert trusted[56:88, 50:80].mean() > 0.8  # the thing itself


def test_a_frame_starts_from_the_result_before_it_and_where_there_is_none_in_its_colours(tmp_path):
    scene = landscape()
    before, now = (Image.fromarray(moved(scene, right)) for right in (0, 10))
    result = Image.fromarray(255 - np.asarray(before)[..., ::-1])  # a style in which all colours are others
    start = optical_flow.start(before, now, result, (HEIGHT, WIDTH))
    wanted = 255 - np.asarray(now)[..., ::-1].astype(float)
    assert start.size == (WIDTH, HEIGHT)
    assert np.abs(np.asarray(start) - wanted)[:, :-16].mean() < 6
    edge = np.asarray(start).astype(float)[:, -6:]
    assert np.abs(edge.mean((0, 1)) - np.asarray(result).mean((0, 1))).max() < 40


def test_a_frame_starts_without_the_colours_that_transparent_frames_hide():
    """The result's visible colours alone count where something was uncovered."""
    starts = []
    for hidden in (0, 255):
        frame, result = (
            np.full((HEIGHT, WIDTH, 4), (*colour, 255), np.uint8) for colour in ((90, 90, 90), (180, 40, 40))
        )
        for pixels in (frame, result):
            pixels[:, : WIDTH // 2] = (hidden, hidden, hidden, 0)
        before, now, made = map(Image.fromarray, (frame, frame, result))
        starts.append(np.asarray(optical_flow.start(before, now, made, (HEIGHT, WIDTH)), int))
    assert np.array_equal(*starts)
    assert np.abs(starts[0] - (180, 40, 40)).max() <= 2


def test_the_frames_of_a_film_are_of_one_size(tmp_path):
    one, two = Image.new("RGB", (40, 30)), Image.new("RGB", (41, 30))
    with pytest.raises(nst.InputError, match="the frames are 30 x 40 and 30 x 41; a film's are all of one size"):
        optical_flow.start(one, two, one, (30, 40))


def test_without_opencv_that_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(nst.InputError, match=r"install gluon-nst\[film\]"):
        optical_flow.check_frames()
