"""Optical flow between the frames of a film, its consistency, and the start of a frame."""

import gluon_nst as nst
from gluon_nst.pictures import optical_flow

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 144, 192


def landscape(height=HEIGHT, width=WIDTH + 40, seed=1):
    """Return a picture with structure everywhere: h × w × 3, uint8."""
    small = np.random.default_rng(seed).uniform(0, 255, (height // 12, width // 12, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def moved(pixels, right):
    """Return the picture of a camera that has moved to the right by this number of pixels."""
    return np.ascontiguousarray(pixels[:, right : right + WIDTH])


def test_the_flow_is_the_displacement():
    scene = landscape()
    flow = optical_flow.flow(moved(scene, 0), moved(scene, 5))
    assert flow.shape == (HEIGHT, WIDTH, 2)
    inner = flow[16:-16, 16:-16]
    assert np.abs(inner - (-5, 0)).mean() < 0.2


def test_warping_moves_pixels_to_their_new_position():
    scene = landscape()
    before, now = moved(scene, 0), moved(scene, 5)
    back = optical_flow.flow(now, before)
    unmoved, warped = (
        np.abs(each.astype(float) - now)[:, :-8].mean() for each in (before, optical_flow.warped(before, back))
    )
    assert warped < unmoved / 10


def test_occluded_pixels_and_those_from_outside_are_not_consistent():
    scene, thing = landscape(), landscape(48, 48, seed=9)

    def frame(at, right):
        pixels = moved(scene, right).copy()
        pixels[48:96, at : at + 48] = thing
        return pixels

    before, now = frame(30, 0), frame(40, 4)
    trusted = optical_flow.consistent(optical_flow.flow(now, before), optical_flow.flow(before, now))
    assert trusted.mean() > 0.7
    assert not trusted[:, -3:].any()  # outside the previous frame
    assert trusted[56:88, 29:37].mean() < 0.4  # behind the object
    assert trusted[56:88, 50:80].mean() > 0.8  # the object itself


def test_a_frame_starts_from_the_warped_result_or_from_its_content_in_the_results_colours(tmp_path):
    scene = landscape()
    before, now = (Image.fromarray(moved(scene, right)) for right in (0, 10))
    result = Image.fromarray(255 - np.asarray(before)[..., ::-1])  # a style with different colours everywhere
    start = optical_flow.start(before, now, result, (HEIGHT, WIDTH))
    wanted = 255 - np.asarray(now)[..., ::-1].astype(float)
    assert start.size == (WIDTH, HEIGHT)
    assert np.abs(np.asarray(start) - wanted)[:, :-16].mean() < 6
    edge = np.asarray(start).astype(float)[:, -6:]
    assert np.abs(edge.mean((0, 1)) - np.asarray(result).mean((0, 1))).max() < 40


def test_hidden_colours_of_transparent_frames_do_not_influence_the_start():
    """Only the result's visible colours count for occluded content."""
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


def test_frames_of_different_sizes_are_refused(tmp_path):
    one, two = Image.new("RGB", (40, 30)), Image.new("RGB", (41, 30))
    with pytest.raises(nst.InputError, match="30 x 40 and 30 x 41; all frames of a film must have one size"):
        optical_flow.start(one, two, one, (30, 40))


def test_without_opencv_the_error_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(nst.InputError, match=r"install gluon-nst\[film\]"):
        optical_flow.check_frames()
