"""Request bodies are validated by the schema of recipes, and the equivalent program describes the same job."""

import dataclasses
import shlex

from gluon_nst import recipes
from gluon_nst.cli.options import given_options
from gluon_nst.cli.parser import build_parser
from gluon_nst.errors import InputError
from gluon_nst.lab.web.limits import Limits
from gluon_nst.lab.web.models import safe_label
from gluon_nst.lab.web.request_bodies import RECIPES, RunRequest, equivalent_program, is_id
from gluon_nst.runs.job import Job, Style

import pytest

TWO = {"content": "mountains", "styles": [["autumn-oaks", 1]]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"content": "../../etc/passwd"}, "content: choose a picture on the page"),
        ({"content": 3}, "content: choose a picture"),
        ({"styles": []}, "styles: choose one to 4 pictures"),
        ({"styles": [["a", 1]] * 5}, "styles: choose one to 4 pictures"),
        ({"styles": [["/tmp/a.png", 1]]}, "styles: choose pictures on the page"),
        ({"styles": ["a"]}, "styles: choose pictures on the page"),
        ({"styles": [["a", 0]]}, "style weight: 0 is not a number above 0"),
        ({"styles": [["a", float("inf")]]}, "style weight: inf is not a number above 0"),
        ({"recipe": "/tmp/mine.toml"}, "recipe: '/tmp/mine.toml' is not one of fine, fast"),
        ({"recipe": "reconstruction"}, "recipe: 'reconstruction' is not one of"),
        ({"init": "/etc/passwd"}, "init: '/etc/passwd' is not one of content, noise, style"),
        ({"style_weight": -1}, "style_weight: -1 is not a number of at least 0"),
        ({"style_weight": "1e3"}, "style_weight: '1e3' is not a number"),
        ({"epochs": 0}, "epochs: 0 is not an integer of at least 1"),
        ({"side": 5}, "side: 5 is not an integer of at least 32"),
        ({"preserve_colors": "yes"}, "preserve_colors: 'yes' is not one of no, luminance, histogram"),
        ({"weights": "/tmp/x"}, "weights: not a field of this request, which has the fields content, styles, recipe"),
    ],
)
def test_an_invalid_value_is_refused_in_one_line(values, message):
    with pytest.raises(InputError) as error:
        RunRequest.from_json({**TWO, **values})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "the request is not a JSON object with the fields content, styles"),
        ([], "the request is not a JSON object"),
        ({}, "content: missing in this request"),
        ({"content": "mountains"}, "styles: missing in this request"),
    ],
)
def test_an_invalid_body_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        RunRequest.from_json(values)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RunRequest)])
def test_a_value_of_any_type_is_accepted_or_raises_input_error(name):
    values = [None, True, -1, 1.5, 10**300, float("inf"), "x", "\ud800", [], ["stop"], [["a"]], {}, {"a": [1]}]
    refused = 0
    for value in values:
        try:
            RunRequest.from_json({**TWO, name: value}).fitted_recipe((100, 100), Limits())
        except InputError:
            refused += 1
    assert refused > len(values) / 2


def test_sizes_are_the_sizes_of_the_recipe_scaled():
    assert RunRequest.from_json({**TWO, "recipe": "d2l-2019", "side": 300}).sizes == [150, 300]
    assert RunRequest.from_json({**TWO, "recipe": "fine", "side": 300}).sizes == [300]  # the last size of its ladder
    assert RunRequest.from_json({**TWO, "recipe": "udacity", "side": 300}).sizes == [300]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_every_shape(name):
    for size in ((1000, 1500), (1500, 1000), (640, 640)):
        recipe = RunRequest.from_json({**TWO, "recipe": name, "side": 256}).fitted_recipe(size, Limits())
        assert max(recipe.stages[-1].shape) == 256


def test_requests_beyond_the_limits_are_refused():
    with pytest.raises(InputError, match="size: the lab allows 512 pixels"):
        RunRequest.from_json({**TWO, "side": 640}).fitted_recipe((100, 100), Limits())
    with pytest.raises(InputError, match="epochs: the lab allows 2500 in all"):
        RunRequest.from_json({**TWO, "recipe": "d2l-2019", "epochs": 3000}).fitted_recipe((100, 100), Limits())
    with pytest.raises(InputError, match="jobs: 0 is not an integer of at least 1"):
        Limits(jobs=0)


@pytest.mark.parametrize(
    "values",
    [
        {"recipe": "fine", "side": 192},
        {"recipe": "d2l-2019", "side": 192, "style_weight": 5e3, "tv_weight": 0, "epochs": 40},
        {"recipe": "gatys-2016", "seed": 3, "preserve_colors": "luminance"},
        {"styles": [["autumn-oaks", 2], ["mountains", 0.5]], "init": "style"},
    ],
)
def test_the_command_and_the_python_program_describe_the_same_job(values):
    request = RunRequest.from_json({**TWO, **values})
    paths = {"mountains": "my picture.jpg", "autumn-oaks": "oaks's.jpg"}
    shown = equivalent_program(request, paths, 2, steered=False)
    job = Job(paths[request.content], request.job_styles(paths), request.customised_recipe(), seed=request.seed)
    environment, *words = shlex.split(shown["command"])
    assert environment == "OMP_NUM_THREADS=2"
    assert words[0] == "gluon-nst"
    arguments = build_parser().parse_args(words[1:])
    weights = arguments.style_weights or [1.0] * len(arguments.style)
    styles = [Style(str(path), weight=weight) for path, weight in zip(arguments.style, weights)]
    given = Job(str(arguments.content), styles, recipe=arguments.recipe, **given_options(arguments))
    assert given == job
    made = []
    names = {
        "nst": type(
            "nst", (), {"transfer": lambda *pictures, **options: made.append((pictures, options)), "Style": Style}
        )
    }
    line = next(line for line in shown["python"].splitlines() if line.startswith("result ="))
    exec(line, names)
    (((content, style), options),) = made
    assert Job(content, style, **options) == job


def test_the_program_of_a_steered_run_uses_its_recipe():
    shown = equivalent_program(
        RunRequest.from_json({**TWO, "style_weight": 3, "seed": 2}),
        {"mountains": "a.jpg", "autumn-oaks": "b.jpg"},
        1,
        True,
    )
    assert shown["command"].endswith("render a.jpg b.jpg --output picture.png --seed 2 --recipe recipe.toml")
    assert 'recipe="recipe.toml", seed=2)' in shown["python"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.png", "x.png"),
        ("C:\\me\\a b.JPG", "a_b.JPG"),
        ("<script>.svg", "script_.svg"),
        ("", "picture"),
        ("é.png", "é.png"),
        ("की.png", "की.png"),
    ],
)
def test_a_label_has_harmless_characters_only(name, shown):
    assert safe_label(name, "picture") == shown


def test_a_path_is_not_an_id():
    assert is_id("mountains")
    assert is_id("0a1b")
    assert not any(map(is_id, ["", "../a", "a/b", "a.b", "A", "a" * 41, None, 3, ["a"]]))


def test_recipes_have_the_weights_that_the_page_changes():
    assert all(recipes.read(name).style_weight is not None for name in RECIPES)
