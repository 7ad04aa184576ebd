"""The rules of values: allowed values, refused values, and error messages."""

import dataclasses
import math

from gluon_nst import InputError
from gluon_nst.network.layers import LAYERS, PIXELS
from gluon_nst.recipes import rules

import numpy as np
import pytest

OWN = "".join(["o", "wn"])
"""A word that is equal to a rule's word, but a different object."""


def refusal(rule, value, where="x"):
    """Return the error that `rule` raises for `value`."""
    with pytest.raises(InputError) as error:
        rule.check(value, where)
    return str(error.value)


def accepted(rule, *values):
    """Return the `values` that `rule` accepts."""
    found = []
    for value in values:
        try:
            rule.check(value, "x")
        except InputError:
            continue
        found.append(value)
    return found


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_names_the_value_and_the_setting():
    assert refusal(rules.number(above=0), -1, "lr") == "lr: -1 is not a number above 0"
    assert refusal(rules.number(above=0), -1, "") == "-1 is not a number above 0"
    assert rules.number().complaint(3, "a word") == "3 is not a word"


def test_a_long_value_is_cut_after_100_characters():
    longest = "a" * 98  # and two quotation marks
    assert refusal(rules.boolean(), longest) == f"x: '{longest}' is not true or false"
    assert refusal(rules.boolean(), longest + "b") == f"x: '{longest}… is not true or false"


@pytest.mark.parametrize("value", ["adma", ["sgd", 3, "adma"], {"lbfgs": 1, "adma": 2}, (3, "adma")])
def test_the_first_misspelt_word_gets_a_suggestion(value):
    known = ("adam", "lbfgs", "sgd")
    assert refusal(rules.choice(*known), value).endswith(" is not one of adam, lbfgs, sgd; did you mean adam?")


def test_a_value_without_a_misspelt_word_gets_no_suggestion():
    for value in (3, ["adam"], "transmogrify"):
        assert refusal(rules.choice("adam", "lbfgs"), value).endswith(" is not one of adam, lbfgs")


@pytest.mark.parametrize("raised", [ValueError, TypeError, KeyError, OverflowError])
def test_errors_of_conversions_become_input_errors(raised):
    def convert(value):
        raise raised

    assert refusal(rules.Rule(convert, "a word"), 3) == "x: 3 is not a word"


def test_a_rule_is_one_argument_without_choices_by_default_and_cannot_be_changed():
    rule = rules.Rule(int, "a word")
    assert (rule.choices, rule.names, rule.several, rule.is_flag) == ((), (), False, False)
    assert rule.parse("3") == "3"
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.allowed = "a number"


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_an_integer_is_in_its_range_and_neither_a_float_nor_a_boolean():
    rule = rules.integer(2, 5)
    assert accepted(rule, 1, 2, 3, 5, 6, True, 3.0, "3", None, np.float32(3)) == [2, 3, 5]
    assert accepted(rules.integer(0), 10**30, -1, False) == [10**30]
    assert type(rule.check(np.int32(3), "x")) is int
    assert (rule.parse("7"), rule.metavar) == (7, "N")
    assert rule.allowed == "an integer of at least 2, 5 at the most"
    assert rules.integer(2).allowed == rules.integer(2, float("inf")).allowed == "an integer of at least 2"


def test_one_of_several_integers():
    rule = rules.one_of(1, 2, 8)
    assert accepted(rule, 0, 1, 2, 3, 8, True, "1", None) == [1, 2, 8]
    assert type(rule.check(np.int64(8), "x")) is int
    assert (rule.allowed, rule.metavar, rule.parse("8")) == ("1 or 2 or 8", "1|2|8", 8)


def test_a_number_is_finite_and_at_least_the_low_one_or_above_another():
    assert accepted(rules.number(), 0, -1e-9, 1e300, math.inf, math.nan, True, "1", None, 10**400) == [0, 1e300]
    assert accepted(rules.number(-1), -1, -1.1) == [-1]
    assert accepted(rules.number(above=0), 0, 1e-9, -1) == [1e-9]
    assert accepted(rules.number(above=2, most=3), 1, 2, 2.5, 3, 3.1) == [2.5, 3]
    assert accepted(rules.number(optional=True), None, 2, True, -1) == [None, 2]
    assert type(rules.number().check(np.float32(2), "x")) is float
    assert type(rules.number(optional=True).check(2, "x")) is float


def test_the_range_of_a_number_is_described():
    assert rules.number().allowed == rules.number(most=float("inf")).allowed == "a number of at least 0"
    assert rules.number(1, most=3).allowed == "a number of at least 1, 3 at the most"
    assert rules.number(above=0).allowed == "a number above 0"
    assert (rules.number().parse("1e3"), rules.number().metavar) == (1000.0, "NUMBER")


# -- amounts of bytes -------------------------------------------------------------------------------------------------

UNITS = {
    "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4,
}  # fmt: skip


@pytest.mark.parametrize("unit, size", UNITS.items())
def test_an_amount_has_a_unit_in_any_case(unit, size):
    for text in (f"2.5{unit}", f"2.5 {unit.lower()}", f"2.5{unit.upper()}"):
        assert rules.amount().parse(text) == rules.memory().parse(text) == 2.5 * size
        assert rules.amount().check(text, "x") == rules.memory().check(text, "x") == 2.5 * size


@pytest.mark.parametrize("rule", [rules.amount(), rules.memory()])
def test_an_amount_is_a_number_of_bytes_above_0_or_a_text_with_a_unit(rule):
    assert accepted(rule, 1, 2.5, 0, -1, True, "0B", "-1MB", "30", "MB", "30XB", "") == [1, 2.5]
    assert rule.check(30, "x") == 30.0
    for text in ("30", "MB", "30XB"):
        with pytest.raises(ValueError):  # noqa: PT011
            rule.parse(text)


def test_memory_may_be_automatic():
    rule = rules.memory()
    for value in (None, "auto", "AUTO", "".join(["au", "to"])):
        assert rule.check(value, "x") is None
    assert (rule.parse("auto"), rule.parse("Auto")) == ("auto", "auto")
    assert accepted(rule, "aut", "autos", ["auto"]) == []
    assert accepted(rules.amount(), None, "auto") == []


# -- words, texts and paths -------------------------------------------------------------------------------------------


def test_a_choice_is_one_of_its_words():
    rule = rules.choice("adam", "lbfgs")
    assert accepted(rule, "adam", "lbfgs", "sgd", "", None, 3) == ["adam", "lbfgs"]
    assert rule.check("adam", "x") == "adam"
    assert rule.choices == rule.names == ("adam", "lbfgs")


def test_a_boolean_is_true_or_false_and_not_a_number():
    rule = rules.boolean()
    assert (rule.check(True, "x"), rule.check(False, "x")) == (True, False)
    assert accepted(rule, 0, 1, "true", None) == []
    assert [rule.parse(text) for text in ("true", "True", "false", "FALSE")] == [True, True, False, False]
    for text in ("yes", "1", "a", "z"):
        with pytest.raises(ValueError):  # noqa: PT011
            rule.parse(text)
    assert (rules.flag().is_flag, rule.is_flag) == (True, False)


def test_a_path_is_a_text_a_path_or_a_picture_but_not_empty(tmp_path):
    class Picture:
        def convert(self, mode):
            return self

    picture, rule = Picture(), rules.path("the picture")
    assert accepted(rule, "a.png", "", tmp_path, picture, None, 3, b"a.png") == ["a.png", tmp_path, picture, None]
    assert rule.check(picture, "x") is picture
    assert rule.allowed == "the picture's path"


def test_a_line_is_printable_and_may_be_empty_if_that_is_allowed():
    assert accepted(rules.line(), "a b", "ü", "", "a\nb", "\x00", None, 3) == ["a b", "ü"]
    assert accepted(rules.line(empty=True), "", "a", "\n", None) == ["", "a"]


def test_a_name_or_a_path_is_text_of_one_line(tmp_path):
    rule = rules.named_or_path("content", "noise")
    assert accepted(rule, "content", "a.png", tmp_path, "", "a\nb", None, 3) == ["content", "a.png", tmp_path]
    assert rule.check(tmp_path, "x") == str(tmp_path)
    assert (rule.allowed, rule.metavar) == ("one of content, noise, or a file's path", "content|noise|FILE")


# -- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [False, True])
def test_layers_are_names_or_indices_with_weights_in_the_networks_order(pixels):
    rule = rules.layers(pixels=pixels)
    assert rule.check(["conv2_1", "relu1_1", 25, "3"], "x") == {1: 1.0, 3: 1.0, 5: 1.0, 25: 1.0}
    found = rule.check({"conv4_2": 0, 5: 2, "0": 0.5}, "x")
    assert list(found.items()) == [(0, 0.5), (5, 2.0), (21, 0.0)]
    assert rule.check((36,), "x") == {36: 1.0}
    for value in (
        [37],
        [38],
        [-2],
        {37: 1},
        "conv1_1",
        ["conv1_1", 0],
        {"conv1_1": 1, 0: 2},
        {0: -1},
        [1.0],
        [True],
        3,
    ):
        assert accepted(rule, value) == []


def test_pixels_are_a_layer_only_if_allowed_and_minus_1_is_not_the_last_layer():
    rule = rules.layers(pixels=True)
    assert rule.check({PIXELS: 2, "conv1_1": 1}, "x") == {PIXELS: 2.0, 0: 1.0}
    assert rule.check(["conv1_1", "pixels"], "x") == {PIXELS: 1.0, 0: 1.0}
    assert accepted(rule, [PIXELS], ["pixels", PIXELS], {"pixels": 1, PIXELS: 1}, "pixels") == []
    assert accepted(rules.layers(), ["pixels"], {"pixels": 1}, [PIXELS], {PIXELS: 1}) == []


def test_layers_on_a_command_line_have_weights_after_colons():
    parse = rules.layers().parse
    assert parse("conv1_1,5") == ["conv1_1", "5"]
    assert parse("conv1_1:2,5,7:0.5") == {"conv1_1": 2.0, "5": 1.0, "7": 0.5}
    assert parse("5,5") == ["5", "5"]  # refused by the check
    for text in ("conv1_1:1,conv1_1:2", "5,5:1", "5:", "5:much"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse(text)


def test_layers_are_described_with_their_last_index():
    plain, pixels = rules.layers(), rules.layers(pixels=True)
    first = "different layers of VGG-19, by name (conv4_2, relu4_2) or index (0 to 36)"
    assert plain.allowed == f"{first}, or a table of their weights"
    assert plain.written == f"{first}, with a weight of at least 0 each or none: conv1_1:0.5,conv2_1"
    assert pixels.allowed == plain.allowed.replace("relu4_2", "relu4_2, pixels")
    assert plain.names == tuple(LAYERS)
    assert pixels.names == (*LAYERS, "pixels")
    assert (plain.several, pixels.several) == (True, True)
    assert refusal(plain, ["conv1_1", "cnov2_1"]).endswith("; did you mean conv2_1?")


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_size_is_one_side_or_two_or_a_word():
    rule = rules.size()
    assert accepted(rule, 1, 0, -1, True, 2.5, None) == [1]
    assert accepted(rule, OWN, "ladder", "other", "zz", "aa", "12") == ["own", "ladder"]
    assert accepted(rule, (1, 1), [2, 3], (0, 1), (1, 0), (1,), (1, 2, 3), (1.5, 2), []) == [(1, 1), [2, 3]]
    assert rule.check([np.int64(2), 3], "x") == (2, 3)
    assert type(rule.check(np.int64(7), "x")) is int
    for text in ("150x225", "150X225", "150×225"):
        assert rule.parse(text) == (150, 225)
    for text in ("150", "1x2x3", "axb"):
        with pytest.raises(ValueError):  # noqa: PT011
            rule.parse(text)


def test_a_side_is_a_positive_integer_or_own():
    rule = rules.side()
    assert accepted(rule, 1, 0, 2.5, OWN, "ladder", "aa", "zz", None) == [1, "own"]
    assert (rule.parse("12"), rule.parse(OWN)) == (12, "own")
    for text in ("aa", "zz", "2.5"):
        with pytest.raises(ValueError):  # noqa: PT011
            rule.parse(text)


def test_a_style_size_is_content_or_a_number_up_to_100():
    rule, word = rules.style_size(), "".join(["con", "tent"])
    assert accepted(rule, word, 1e-3, 100, 100.5, 101, 0, -1, "contents", "aa", None) == ["content", 1e-3, 100]
    assert type(rule.check(2, "x")) is float
    assert (rule.parse(word), rule.parse("0.5")) == ("content", 0.5)
    for text in ("aa", "zz"):
        with pytest.raises(ValueError):  # noqa: PT011
            rule.parse(text)
    assert rule.allowed == "content, or a number above 0, 100 at the most"
