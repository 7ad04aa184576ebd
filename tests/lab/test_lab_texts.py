"""The texts of the page, and the data of its controls."""

import re

from gluon_nst.errors import InputError
from gluon_nst.lab.web.limits import Limits
from gluon_nst.lab.web.texts import ENGLISH, PAGE_FOLDER, load_texts, page_controls

import pytest


def test_every_text_that_the_page_uses_exists_and_every_text_is_used():
    known = load_texts()
    sources = "".join(path.read_text() for path in PAGE_FOLDER.rglob("*") if path.suffix in (".js", ".html"))
    used = set(re.findall(r'say\(\s*"(\w+)"', sources)) | set(re.findall(r'text\[[\'"](\w+)[\'"]\]', sources))
    assert used <= set(known)
    # Others have composed names, or are used by the server.
    prefixes = ("status_", "init_", "preserve_colors_", "curve_", "download_", "pair_", "recipe_")
    unused = [name for name in known if f'"{name}"' not in sources and f"'{name}'" not in sources]
    used_by_server = {"guest", "stopped_by_teacher", "join_wrong"}
    weights = {f"{weight}{end}" for weight in page_controls(Limits())["weights"] for end in ("", "_help")}
    assert [name for name in unused if not name.startswith(prefixes) and name not in used_by_server | weights] == []


def test_every_choice_of_the_schema_has_a_text():
    made = page_controls(Limits())
    for name, choices in made["choices"].items():
        assert {f"{name}_{choice}" for choice in choices} <= set(load_texts())


def test_a_translation_may_be_incomplete(tmp_path):
    file = tmp_path / "deutsch.toml"
    file.write_text('language = "de"\nstart = "Los"\n', encoding="utf-8")
    assert load_texts(file)["start"] == "Los"
    assert load_texts(file)["pause"] == "Pause"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('begin = "Los"', "begin: the page has no such text; see"),
        ("start = 3", "start: not a string"),
        ("start", "not TOML"),
    ],
)
def test_an_invalid_translation_is_refused(tmp_path, text, message):
    file = tmp_path / "deutsch.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_texts(file)
    with pytest.raises(InputError, match="no such file"):
        load_texts(tmp_path / "none.toml")


def test_controls_are_derived_from_the_schema():
    made = page_controls(Limits(side=256))
    assert made["sides"] == [128, 192, 256]
    assert made["recipes"]["d2l-2019"]["weights"] == {"content_weight": 1, "style_weight": 1000, "tv_weight": 10}
    assert made["choices"]["preserve_colors"] == ["no", "luminance", "histogram"]
    assert ENGLISH.is_file()
