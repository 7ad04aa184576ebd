"""Several styles: their blend, weights, folders and scales."""

from pathlib import Path

import gluon_nst as nst
from gluon_nst.losses.style_statistics import style_statistic
from gluon_nst.runs.inputs import style_files
from gluon_nst.runs.run import prepare
from gluon_nst.runs.targets import targets_of

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from commands import SHALLOW, assert_one_line, ended, made
from painting import paint

STATISTICS = ("gram", "gram-mean-std", "wasserstein")
ONE_SIZE = {"sizes": [(32, 48)], "epochs": 2}


@pytest.fixture
def pictures(tmp_path):
    """Two very different styles: fine stripes, and dark blots."""
    down, across = np.mgrid[:70, :100]
    stripes = np.stack([(across + channel * down) % 6 * 50 for channel in range(3)], axis=2)
    arrays = {"stripes": stripes, "blots": paint(90, 60, seed=5) * 0.4}
    for name, array in arrays.items():
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in arrays]


def statistics(job, net, styles, **options):
    """Return the style targets of a job."""
    content, _ = job().content, job().style
    run = prepare(nst.Job(content, styles, weights=job().weights, **{"recipe": "d2l-2019", **CHOSEN, **options}))
    found = targets_of(run, run.recipe.stages[0], net, style_statistic(run.recipe)).styles_Y
    return [target.asnumpy().astype(float) for (target,) in found]


CHOSEN = {"content_layers": ["conv2_2"], "style_layers": ["conv1_1", "conv2_1"], **ONE_SIZE}


def off(found, expected):
    return max(np.abs(each - other).max() / np.abs(other).max() for each, other in zip(found, expected))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_statistics_of_several_styles_are_their_weighted_mean(job, net, pictures, statistic):
    first, second = (statistics(job, net, each, style_statistic=statistic) for each in pictures)
    both = [nst.Style(pictures[0], 3.0), nst.Style(pictures[1], 1.0)]
    blended = statistics(job, net, both, style_statistic=statistic)
    assert off(blended, [0.75 * one + 0.25 * other for one, other in zip(first, second)]) < 1e-5
    for one, other, blend in zip(first, second, blended):
        assert (blend >= np.minimum(one, other) - 1e-4).all()
        assert (blend <= np.maximum(one, other) + 1e-4).all()
    assert off(first, second) > 0.2


def test_weights_are_relative(job, net, pictures):
    for one, other in (((3, 1), (6, 2)), ((1, 1), (0.01, 0.01)), ((1, 1), (1e308, 1e308))):
        found = [statistics(job, net, [*map(nst.Style, pictures, weights)]) for weights in (one, other)]
        assert off(*found) < 1e-5
    assert off(*(statistics(job, net, [*map(nst.Style, pictures, weights)]) for weights in ((3, 1), (1, 3)))) > 0.1


def test_pictures_without_weights_count_equally(job, net, pictures):
    assert off(statistics(job, net, pictures), statistics(job, net, [*map(nst.Style, pictures, (2, 2))])) < 1e-6


def test_one_style_twice_is_that_style(job, net, pictures):
    assert off(statistics(job, net, [pictures[0]] * 2), statistics(job, net, pictures[0])) < 1e-6


def test_the_pictures_of_a_folder_share_its_weight(job, net, pictures, style, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in pictures:
        path.rename(folder / path.name)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture either")
    found = statistics(job, net, [nst.Style(folder, 2.0), nst.Style(style, 1.0)])
    singly = [nst.Style(folder / path.name, 1.0) for path in pictures]
    assert off(found, statistics(job, net, [*singly, nst.Style(style, 1.0)])) < 1e-6


def test_a_folder_without_pictures_is_refused(job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(nst.InputError, match="empty: no pictures in this folder; name one that has some, or a picture"):
        prepare(nst.Job(job().content, tmp_path / "empty", **ONE_SIZE))


def test_other_files_in_a_folder_are_left_out(tmp_path, pictures):
    folder = tmp_path / "folder"
    folder.mkdir()
    pictures[0].rename(folder / "stripes.png")
    (folder / "catalogue.pdf").write_text("a format that Pillow only writes")
    (folder / "more.png").mkdir()
    (folder / "itself").symlink_to(folder)
    assert style_files(folder) == [folder / "stripes.png"]


def test_an_unreadable_folder_is_refused(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # the tests may run as root, which may read everything
    with pytest.raises(nst.InputError, match="no permission to read it; check its mode and owner"):
        style_files(tmp_path)


def test_a_name_that_is_too_long_is_refused(refuses):
    refuses("File name too long", style="x" * 300)


def test_an_empty_name_is_refused_and_is_not_the_current_folder(job, refuses, pictures, monkeypatch):
    monkeypatch.chdir(pictures[0].parent)
    with pytest.raises(nst.InputError, match="'': an empty name"):
        prepare(nst.Job(job().content, "", **ONE_SIZE))
    refuses("argument STYLE: '': an empty name; name a file", style="")


def test_no_style_at_all_is_refused(content):
    with pytest.raises(nst.InputError, match="style: at least one style picture is needed"):
        nst.Job(content, [])


@pytest.mark.parametrize(
    "value, message",
    [
        ({"weight": 0}, "^style weight: 0 is not a number above 0"),
        ({"scale": -1}, "^style scale: -1 is not a number above 0"),
    ],
)
def test_a_style_checks_its_fields(style, value, message):
    with pytest.raises(nst.InputError, match=message):
        nst.Style(style, **value)


def test_a_scale_sets_the_size_of_a_style(job, pictures):
    both = [nst.Style(pictures[0], scale=0.5), nst.Style(pictures[1], scale=2), pictures[0]]
    run = prepare(nst.Job(job().content, both, recipe="d2l-2019", weights=job().weights, **CHOSEN))
    ((_, *shapes),) = run.sizes
    assert shapes == [(17, 24), (96, 64), (32, 48)]  # in their own shapes, and stretched as the recipe says


def test_the_statistics_of_a_scaled_style_are_those_at_its_size(job, net, pictures):
    found = statistics(job, net, nst.Style(pictures[1], scale=0.5))
    small = nst.preprocess(nst.read_image(pictures[1]), (16, 24))
    _, features = nst.extract_features(small, net, (), (0, 5))
    assert off(found, [nst.gram(Y).asnumpy() for Y in features]) < 1e-5
    assert off(found, statistics(job, net, pictures[1])) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["gram", "wasserstein"])
def test_a_picture_of_two_styles_is_nearer_to_the_blend_than_to_either(run, net, pictures, content, statistic):
    options = {
        "style_statistic": statistic, "content_weight": 0, "tv_weight": 0, "optimizer": "lbfgs",
        "style_weight": 1e3 if statistic == "gram" else 1, "sizes": [(32, 48)], "epochs": 25,
    }  # fmt: skip
    image = run(content, pictures, **options).image
    distance, targets = nst.Recipe((nst.Stage((32, 48), 1),), style_statistic=statistic), []
    chosen = style_statistic(distance)
    _, features = nst.extract_features(nst.preprocess(mx.nd.array(np.asarray(image)), (48, 32)), net, (), (0, 5))
    for path in pictures:
        X = nst.preprocess(nst.read_image(path), (48, 32))
        targets.append([chosen.of(Y) for Y in nst.extract_features(X, net, (), (0, 5))[1]])
    for layer, Y in enumerate(features):
        one, other = (each[layer] for each in targets)
        to_one, to_other, to_blend = (
            chosen.distance(chosen.of(Y), chosen.target(target), Y.shape).asscalar()
            for target in (one, other, (one + other) / 2)
        )
        assert to_blend < 0.5 * min(to_one, to_other)


@pytest.mark.slow
def test_the_record_lists_the_styles(run, content, pictures):
    result = run(content, [nst.Style(pictures[0], 3, scale=0.5), pictures[1]], **ONE_SIZE)
    assert [(style["weight"], style["scale"]) for style in result.provenance["styles"]] == [(3, 0.5), (1, None)]
    assert len({style["sha256"] for style in result.provenance["styles"]}) == 2
    alone = run(content, pictures[0], **ONE_SIZE)
    assert alone.provenance["style_sha256"] == result.provenance["styles"][0]["sha256"]


def test_different_weights_give_a_different_key(job, pictures):
    content, weights = job().content, job().weights
    keys = {
        prepare(nst.Job(content, [*map(nst.Style, pictures, each)], weights=weights, **CHOSEN)).key
        for each in ((1, 1), (3, 1), (1, 3))
    }
    assert len(keys) == 3


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def render_both(content, pictures, converted, tmp_path, capfd):
    """Run `gluon-nst render` with the two styles; return the styles in the picture's record, and the picture."""

    def run(*options):
        output = tmp_path / "out.png"
        arguments = [
            "render",
            content,
            *pictures,
            "--output",
            output,
            "--weights",
            converted,
            "--recipe",
            "d2l-2019",
            *SHALLOW,
        ]
        status, _, _ = ended(capfd, *arguments, "--sizes", "32x48", "--epochs", "2", *options)
        assert status == 0
        with Image.open(output) as picture:
            return made(output)["styles"], picture.tobytes()

    return run


@pytest.mark.slow
def test_the_command_takes_several_styles_with_weights_and_scales(render_both, run, content, pictures):
    records, picture = render_both("--style-weights", "3,1", "--style-scale", "0.5,1")
    assert [(style["weight"], style["scale"]) for style in records] == [(3, 0.5), (1, 1)]
    styles = [nst.Style(pictures[0], 3, scale=0.5), nst.Style(pictures[1], 1, scale=1)]
    expected = run(content, styles, **{**ONE_SIZE, "content_layers": ["conv1_1"], "style_layers": ["conv1_1"]})
    assert picture == expected.image.tobytes()


def test_the_command_takes_one_value_for_all_styles(render_both):
    records, _ = render_both("--style-scale", "0.5")
    assert [style["scale"] for style in records] == [0.5, 0.5]


@pytest.fixture
def refuses_both(content, pictures, converted, tmp_path, capfd):
    """Check that the command with the two styles exits with status 2 and one line that contains a message."""

    def check(message, *options):
        arguments = ["render", content, *pictures, "--output", tmp_path / "out.png", "--weights", converted]
        status, out, err = ended(capfd, *arguments, "--sizes", "32x48", "--epochs", "2", *options)
        assert status == 2
        assert out == ""
        assert message in err
        assert_one_line(err)
        assert not (tmp_path / "out.png").exists()

    return check


@pytest.mark.parametrize(
    "options, message",
    [
        (["--style-weights", "3,1,2"], "--style-weights: 3 for 2 styles; give one each"),
        (["--style-scale", "0.5,1,1,1"], "--style-scale: 4 for 2 styles; give one each"),
        (["--style-regions", "map.png"], "--style-regions: 1 for 2 styles; give one each"),
        (["--style-weights", "3,0"], "--style-weights: 0.0 is not a number above 0"),
        (["--style-weights", "3,heavy"], "'3,heavy' is not a number above 0"),
        (["--style-scale", "0.5,200"], "scale: 200.0 is not a number above 0, 100 at the most"),
        (["--style-regions", "map.png,"], "'map.png,' is not FILE,…"),
    ],
)
def test_bad_options_for_styles_are_refused_in_one_line(refuses_both, options, message):
    refuses_both(message, *options)


def test_the_command_refuses_to_overwrite_a_picture_in_a_folder_of_styles(refuses, pictures, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.png").write_bytes(pictures[0].read_bytes())
    refuses("one.png", *SHALLOW, style=folder, output=folder / "one.png")


@pytest.mark.slow
def test_a_sheet_of_a_folder_of_styles_shows_the_first(content, pictures, converted, tmp_path, capfd):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in pictures:
        path.rename(folder / path.name)
    own = ["--out", tmp_path / "out", "--weights", converted, "--sizes", "16x24", "--epochs", "1", "--quiet", *SHALLOW]
    status, out, _ = ended(capfd, "sweep", content, folder, "--vary", "lr=0.1,0.2", *own)
    assert status == 0
    assert "2 of 2 pictures" in out
    assert (tmp_path / "out/sheet.png").exists()
