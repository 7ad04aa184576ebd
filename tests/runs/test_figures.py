import dataclasses
import io

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.runs import figures

import numpy as np
import pytest
from PIL import Image

from painting import paint


def epochs(count, stage=1):
    """A record of `count` epochs whose losses fall."""
    return [nst.Epoch(stage, n, losses(1 / (n + 1), 0.5), 0.01, 1.0) for n in range(count)]


def losses(loss, tv):
    """Losses of one content layer and five style layers, each `loss`."""
    terms = {"content/conv4_4": loss, **{f"style/conv{block}_1": loss for block in range(1, 6)}, "tv": tv}
    return nst.Losses(terms, sum(terms.values()))


def drawn(figure):
    """Return the pixels of a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


@pytest.fixture
def picture():
    return Image.fromarray(paint(40, 60, seed=3))


# -- losses -----------------------------------------------------------------------------------------------------------


def test_the_losses_are_drawn_together_and_layer_by_layer():
    recipe = recipes.customise("d2l-2019", sizes=[(32, 48), (48, 64)])
    sums, layers = figures.plot_losses(epochs(4) + epochs(3, stage=2), recipe).axes
    for axes, labels in (
        (sums, ["total", "content", "style", "TV"]),
        (
            layers,
            ["content conv4_4", "style conv1_1", "style conv2_1", "style conv3_1", "style conv4_1", "style conv5_1"],
        ),
    ):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
        assert sum(len(line.get_ydata()) == 7 for line in axes.get_lines()) == len(labels)
    assert [text.get_text() for text in sums.texts] == ["32 × 48", "48 × 64"]


# -- sheets -----------------------------------------------------------------------------------------------------------


def test_a_sheet_shows_every_picture_with_its_title_and_aspect_ratio(picture):
    square, tall = picture.resize((40, 40)), picture.resize((30, 60))
    sheet = figures.sheet([[figures.Cell(picture, "wide"), figures.Cell(square, "square"), figures.Cell(tall, "tall")]])
    drawn(sheet)
    for axes, shown, title in zip(sheet.axes, (picture, square, tall), ("wide", "square", "tall")):
        box = axes.get_window_extent()
        assert axes.get_title() == title
        assert box.height / box.width == pytest.approx(shown.height / shown.width, rel=0.02)


def test_a_sheet_shows_why_a_picture_is_missing(picture):
    sheet = figures.sheet(
        [[figures.Cell(picture, "a", side="row"), None], [figures.Cell(None, "b", "failed: too small"), None]]
    )
    assert [axes.get_ylabel() for axes in sheet.axes] == ["row", "", "", ""]
    assert [text.get_text() for text in sheet.axes[2].texts] == ["failed: too small"]
    assert not sheet.axes[2].images


@pytest.mark.slow
@pytest.mark.parametrize("ending, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_is_written_by_its_ending_with_its_provenance(picture, tmp_path, ending, magic):
    for name in ("1", "2"):
        figures.save(figures.sheet([[figures.Cell(picture, "a")]]), tmp_path / f"{name}.{ending}", '{"seed": 3}')
    written = (tmp_path / f"1.{ending}").read_bytes()
    assert written.startswith(magic)
    assert written == (tmp_path / f"2.{ending}").read_bytes()
    if ending == "png":
        assert Image.open(tmp_path / "1.png").text["gluon-nst"] == '{"seed": 3}'
    else:
        assert b"seed" in written


def test_an_unknown_ending_is_refused(picture, tmp_path):
    with pytest.raises(nst.InputError, match="sheet.tiff: the name must end with .png or .svg or .pdf"):
        figures.save(figures.sheet([[figures.Cell(picture)]]), tmp_path / "sheet.tiff")


def test_pictures_in_an_svg_keep_their_resolution(picture, tmp_path):
    sheet = figures.sheet([[figures.Cell(picture)]])
    figures.save(sheet, tmp_path / "sheet.svg")
    assert 'width="60"' in (tmp_path / "sheet.svg").read_text().split("<image")[1]


# -- films ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_film_has_the_composite_beside_the_losses_so_far(picture):
    black = Image.new("RGB", picture.size)
    first, last = map(np.asarray, figures.film([(2, picture), (8, black)], epochs(8)))
    assert first.shape == last.shape
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    changed = np.abs(first.astype(int) - last).sum(axis=2) > 60
    left, right = np.array_split(changed, 2, axis=1)
    assert left.mean() > 0.3
    assert 0 < right.mean() < 0.1
    assert (last[100:300, 100:300] == 0).all()


@pytest.mark.slow
def test_losses_of_0_are_plotted():
    recipe = recipes.customise("d2l-2019", sizes=[(32, 48)])
    nothing = [nst.Epoch(1, number, losses(0, 0), 0.01, 1.0) for number in range(3)]
    assert drawn(figures.plot_losses(nothing, recipe)).std() > 0
    assert len(list(figures.film([(1, Image.new("RGB", (30, 20)))], nothing))) == 1


@pytest.mark.slow
def test_a_dollar_in_a_name_is_not_a_formula(picture):
    name = "a $^$ b"
    sheet = figures.sheet([[figures.Cell(picture, name, side=name), figures.Cell(None, name, name)]], title=name)
    assert drawn(sheet).std() > 0
    recipe = dataclasses.replace(recipes.customise("d2l-2019", sizes=[(32, 48)]), title=name)
    assert drawn(figures.plot_losses(epochs(3), recipe)).std() > 0


def test_a_film_of_a_very_wide_picture_is_no_wider_than_a_screen():
    (frame,) = figures.film([(1, Image.new("RGB", (480, 5)))], epochs(1))
    assert frame.width < 1400
    assert frame.height < 500
