"""The ladder: sizes from a recipe's smallest to its last stage's, each by the same factor."""

import dataclasses

import gluon_nst as nst
from gluon_nst import recipes
from gluon_nst.errors import InputError
from gluon_nst.runs.run import prepare

import pytest
from PIL import Image

from commands import SHALLOW, ended, made, names
from painting import paint

STAGES = (recipes.Stage("ladder", 9, lr=0.3), recipes.Stage("ladder", 7, lr=0.2), recipes.Stage(64, 5, lr=0.1))


def ladder(**options):
    """Return a ladder with factor √2 from 16 to 64 pixels, whose stages have different values."""
    chosen = {"size_factor": 2**0.5, "smallest_size": 16, "style_layers": ["conv1_1"], "content_layers": ["conv1_1"]}
    return recipes.Recipe(STAGES, **{**chosen, **options})


def sizes(recipe, picture_size):
    return [stage.size for stage in recipes.fit(recipe, picture_size).stages]


@pytest.mark.parametrize(
    "end, expected",
    [(362, [128, 181, 256, 362]), (512, [128, 181, 256, 362, 512]), (100, [100]), (128, [128]), (180, [180])],
)
def test_the_sizes_of_stp_are_those_of_its_program(end, expected):
    """From the end down by √2, each rounded from the end, while it is at least 128."""
    fitted = recipes.fit(recipes.customise("stp", sizes=end), (2000, 3000))
    assert [max(stage.size) for stage in fitted.stages] == expected
    assert fitted.size_factor == 1  # the ladder has been expanded


@pytest.mark.parametrize("picture_size", [(2000, 3000), (3000, 2000), (777, 777), (500, 1700)])
def test_each_size_has_the_pictures_shape(picture_size):
    for height, width in sizes(recipes.customise("stp", sizes=512), picture_size):
        shorter, longest = sorted((height, width))
        assert (height > width) == (picture_size[0] > picture_size[1])
        assert abs(shorter - longest * min(picture_size) / max(picture_size)) <= 1


def test_sizes_have_the_values_of_the_stages_in_turn_then_of_the_last():
    stages = recipes.fit(ladder(), (640, 640)).stages
    assert [max(stage.size) for stage in stages] == [16, 23, 32, 45, 64]
    assert [(stage.epochs, stage.lr) for stage in stages] == [(9, 0.3), (7, 0.2), (5, 0.1), (5, 0.1), (5, 0.1)]


def test_a_ladder_of_one_size_has_the_first_stages_values():
    assert [(stage.size, stage.epochs) for stage in recipes.fit(ladder(smallest_size=60), (640, 640)).stages] == [
        ((64, 64), 9)
    ]


def test_a_ladder_ends_with_the_pictures_own_size():
    recipe = recipes.customise("stp", sizes="own")
    assert sizes(recipe, (300, 450))[-1] == (300, 450)
    assert sizes(recipe, (450, 300))[-1] == (450, 300)
    assert [max(size) for size in sizes(recipe, (300, 450))] == [159, 225, 318, 450]


def test_a_ladder_ends_with_a_size_of_two_numbers():
    assert sizes(recipes.customise("stp", sizes=[(200, 400)]), (300, 450)) == [
        (70, 141),
        (100, 200),
        (142, 283),
        (200, 400),
    ]


def test_the_rule_of_the_shortest_side_applies_to_each_size():
    stages = sizes(ladder(side="shortest"), (600, 900))
    assert [min(size) for size in stages] == [16, 23, 32, 45, 64]
    assert stages[-1] == (64, 96)


def test_a_picture_is_not_enlarged_if_the_recipe_says_so():
    assert sizes(ladder(enlarge=False), (30, 50))[-1] == (30, 50)
    assert max(sizes(ladder(), (30, 50))[-1]) == 64


def test_several_sizes_switch_the_ladder_off():
    recipe = recipes.customise("stp", sizes=[200, 400])
    assert recipe.size_factor == 1
    assert sizes(recipe, (300, 450)) == [(133, 200), (267, 400)]
    assert [stage.epochs for stage in recipe.stages] == [1000, 500]


def test_a_factor_of_1_keeps_the_given_sizes():
    assert sizes(recipes.customise("stp", sizes=[200], size_factor=1.0), (300, 450)) == [(133, 200)]


def test_any_recipe_can_have_a_ladder():
    recipe = recipes.customise("udacity", sizes=[64], size_factor=2.0, smallest_size=16)
    assert [max(size) for size in sizes(recipe, (400, 450))] == [32, 64]  # and 14 x 16 is too small for its layers


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ladder(size_factor=1.0), "stage 1: size: ladder is for stages before the last one of a recipe with"),
        (
            lambda: dataclasses.replace(ladder(), stages=STAGES[:2]),
            "stage 2: size: ladder is for stages before the last one of a recipe with a size_factor",
        ),
        (
            lambda: recipes.customise("d2l-2019", sizes=["ladder"]),
            "stage 1: size: ladder is for stages before the last",
        ),
        (lambda: recipes.customise("stp", sizes="ladder"), "stage 2: size: ladder is for stages before the last one"),
        (
            lambda: recipes.customise("stp", sizes=["ladder", 300]),
            "stage 1: size: ladder is for stages before the last",
        ),
        (lambda: ladder(size_factor=1.01), "size_factor: 1.01 is neither 1, for no ladder, nor at least 1.05"),
        (
            lambda: recipes.customise("fine", sizes=[40, 96], size_factor=2),
            "size_factor: a ladder has one final size, and 2 are given; give only the last one, or no factor",
        ),
        (lambda: ladder(size_factor=0.5), "size_factor: 0.5 is not a number of at least 1, 100 at the most"),
        (lambda: ladder(smallest_size=0), "smallest_size: 0 is not an integer of at least 1"),
    ],
)
def test_an_impossible_ladder_is_refused(make, message):
    with pytest.raises(InputError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_picture_too_narrow_for_the_network_is_refused_before_the_run(weights_file, style):
    job = nst.Job(Image.fromarray(paint(2000, 40)), style, recipe="stp", sizes=512, weights=str(weights_file))
    with pytest.raises(
        InputError, match="too small for the network, whose layer relu5_1 needs at least 16x16"
    ) as refused:
        prepare(job)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("picture_size", [(1000, 80), (80, 1000)])
def test_sizes_too_small_for_the_network_are_left_out(picture_size):
    """The last size is large enough, so that there is a picture."""
    found = sizes(recipes.customise("stp", sizes=512), picture_size)
    assert [sorted(size) for size in found] == [[20, 256], [29, 362], [41, 512]]


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_has_a_stage_for_each_size(run):
    result = run(recipe=ladder(), sizes=48, epochs=1, content_layers=None, style_layers=None)
    assert [picture.size for picture in result.images] == [(17, 11), (24, 16), (34, 23), (48, 32)]
    assert result.status == "complete"
    assert result.provenance["sizes"] == [(11, 17), (16, 24), (23, 34), (32, 48)]


@pytest.mark.slow
def test_longest_side_sets_the_end_of_the_ladder(render, tmp_path):
    options = ["--longest-side", "48", "--size-factor", "2", "--smallest-size", "20", "--epochs", "1", *SHALLOW]
    status, out, _ = render(*options, small=False)
    assert status == 0
    assert "32 x 48" in out
    assert made(tmp_path / "out.png")["sizes"] == [[16, 24], [32, 48]]


@pytest.mark.slow
def test_the_command_takes_the_pictures_own_size(render, tmp_path):
    status, out, _ = render("--longest-side", "own", "--epochs", "1", *SHALLOW, small=False)
    assert status == 0
    assert "60 x 90" in out


@pytest.mark.slow
def test_the_command_refuses_a_factor_close_to_1(refuses):
    refuses("size_factor: 1.01 is neither 1, for no ladder, nor at least 1.05", "--size-factor", "1.01")


@pytest.mark.slow
def test_the_chapter_writes_a_picture_of_each_size(content, style, converted, tmp_path, capfd):
    options = ["--longest-side", "96", "--size-factor", "2", "--smallest-size", "20", "--epochs", "1", *SHALLOW]
    own = ["--content", content, "--style", style, "--weights", converted, "--out", tmp_path / "out"]
    status, out, _ = ended(capfd, "chapter", *own, *options)
    pictures = [name for name in names(tmp_path / "out") if name.startswith("neural-style")]
    assert status == 0
    assert pictures == [f"neural-style-{number}.png" for number in (1, 2, 3)]
    assert f"{pictures[-1]}: 64 x 96" in out
    assert made(tmp_path / "out" / pictures[-1])["stage"] == 3


@pytest.mark.slow
def test_snapshots_are_kept_of_each_size(render, tmp_path):
    options = ["--longest-side", "96", "--size-factor", "2", "--smallest-size", "20", "--epochs", "2", *SHALLOW]
    assert render(*options, "--save-every", "1", small=False)[0] == 0
    kept = [name for name in names(tmp_path) if name.startswith("out-")]
    assert kept == [f"out-stage-{stage}-epoch-{epoch}.png" for stage in (1, 2, 3) for epoch in (1, 2)]
