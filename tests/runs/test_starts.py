"""The start of the first stage: a picture, noise, or a mix of both."""

import gluon_nst as nst
from gluon_nst.errors import NSTWarning
from gluon_nst.runs.run import prepare

import numpy as np
import pytest
from PIL import Image

from commands import SHALLOW, made


@pytest.fixture
def job(job):
    """The small Job with a network of one layer."""
    shallow = {"content_layers": ["conv1_1"], "style_layers": ["conv1_1"]}
    return lambda **options: job(**{**shallow, **options})


def start(job, **options):
    run = prepare(job(sizes=[(32, 48)], epochs=1, **options))
    content_X = run.canvas(run.recipe.stages[0]).place(nst.preprocess(run.content.array, (48, 32)))
    return run.start_of(1, content_X, None).asnumpy()


def test_without_noise_the_start_is_the_content(job, content):
    expected = nst.preprocess(nst.read_image(content), (48, 32)).asnumpy()
    assert np.array_equal(start(job), expected)
    assert np.array_equal(start(job, noise=0.0), expected)


@pytest.mark.parametrize("init", ["content", "style"])
def test_with_a_share_of_1_the_start_is_exactly_the_noise(job, init):
    assert np.array_equal(start(job, init=init, noise=1.0, seed=5), start(job, init="noise", seed=5))
    assert not np.array_equal(start(job, init=init, noise=1.0, seed=5), start(job, init="noise", seed=6))


@pytest.mark.parametrize("init", ["content", "style"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_of_noise_interpolates_linearly(job, init, share):
    picture, noise = (start(job, init=init, noise=each, seed=3).astype(float) for each in (0.0, 1.0))
    found = start(job, init=init, noise=share, seed=3)
    assert np.allclose(found, (1 - share) * picture + share * noise, atol=1e-5)
    assert (found >= np.minimum(picture, noise) - 1e-5).all()
    assert (found <= np.maximum(picture, noise) + 1e-5).all()


def test_the_noise_has_the_variance_of_standardised_pictures(job):
    noise = start(job, init="noise")
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_a_margin_does_not_change_the_noise_inside(job):
    plain, framed = start(job, init="noise", seed=2), start(job, init="noise", seed=2, margin=16)
    assert framed.shape == (1, 3, 64, 80)
    assert np.array_equal(framed[:, :, 16:48, 16:64], plain)


def test_the_second_stage_adds_no_noise(job):
    """It starts from the final composite of the first one."""
    run = prepare(job(noise=0.5, lr=1e-7, epochs=1))
    *_, state = nst.steps(run)
    small = np.asarray(state.images[0], float)
    large = np.asarray(state.images[1].resize((48, 32)), float)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_a_run_from_all_noise_is_the_run_from_noise(run):
    options = {"sizes": [(32, 48)], "epochs": 2, "seed": 4}
    first, second, third = (
        run(**options, **each).image.tobytes() for each in ({"noise": 1.0}, {"init": "noise"}, {"noise": 0.5})
    )
    assert first == second != third


@pytest.mark.slow
def test_the_command_takes_a_share_of_noise(render, refuses, tmp_path):
    assert render("--noise", "0.25", *SHALLOW)[0] == 0
    assert made(tmp_path / "out.png")["recipe"]["noise"] == 0.25
    (tmp_path / "out.png").unlink()
    refuses("noise: 1.5 is not a number of at least 0, 1 at the most", "--noise", "1.5")


def test_the_start_picture_must_have_the_contents_shape(job, content, style, tmp_path):
    with pytest.raises(nst.InputError, match="style.png: 80 x 70 pixels do not have the aspect ratio of the content"):
        prepare(job(init=str(style)))
    Image.open(content).resize((45, 30)).save(tmp_path / "small.png")
    prepare(job(init=str(tmp_path / "small.png")))
    Image.open(content).resize((96, 32)).save(tmp_path / "wide.png")  # the shape of a size that stretches the content
    prepare(job(init=str(tmp_path / "wide.png"), sizes=[(32, 96)], epochs=1))


def test_a_stretched_style_as_the_start_is_reported(job):
    stretched = "init style: the style picture, 80 x 70, is stretched to the shape of the content picture, 60 x 90"
    with pytest.warns(NSTWarning, match=stretched):
        prepare(job(init="style", sizes=[(40, 60)], epochs=1))
