"""Rules for the code as a whole that import-linter, ruff and mypy do not check."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing
import warnings
from pathlib import Path
from types import ModuleType

import gluon_nst as nst
from gluon_nst.moved import MOVED

import pytest

PACKAGE = Path(nst.__file__).parent
MODULES = {
    module.name: ast.parse(Path(module.module_finder.find_spec(module.name).origin).read_text(encoding="utf-8"))
    for module in pkgutil.walk_packages(nst.__path__, "gluon_nst.")
}
"""The syntax tree of each module, by its full name."""


@pytest.mark.parametrize("module", ["gluon_nst.recipes", "gluon_nst.cli", "gluon_nst.lab.web"])
def test_fast_commands_import_neither_mxnet_nor_numpy(module):
    heavy = "{'mxnet', 'numpy', 'PIL', 'matplotlib', 'tqdm'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


def test_only_the_command_line_and_the_lab_exit_and_only_the_former_catches_an_interrupt():
    for name, tree in MODULES.items():
        if name.split(".")[1] in ("cli", "lab", "__main__"):
            continue
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Attribute) and node.attr in ("exit", "_exit")), name
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                assert "KeyboardInterrupt" not in ast.dump(node.type), name


def test_only_one_module_opens_picture_files():
    def opens(tree):
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        return any(ast.dump(call) == ast.dump(ast.parse("Image.open", mode="eval").body) for call in calls)

    assert [name for name, tree in MODULES.items() if opens(tree)] == ["gluon_nst.pictures.decoding"]


# -- names ------------------------------------------------------------------------------------------------------------


def test_all_public_names_are_listed_and_available():
    assert set(nst.__all__) <= set(dir(nst))
    assert sorted(nst.__all__) == nst.__all__
    listed = {name for name in nst.__all__ if name != "__version__"}
    # Type checkers get the same objects as __getattr__ returns.
    seen = {
        getattr(node, "asname", None) or getattr(node, "name", None) or node.id
        for block in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name)  # if TYPE_CHECKING
        for each in block.body
        for node in ast.walk(each)
        if isinstance(node, (ast.alias, ast.Name))
    }
    modules = {name for name in seen - listed if not name.startswith("_")}
    assert seen > listed
    assert modules > set(PUBLIC)
    assert all(name in dir(nst) and inspect.ismodule(getattr(nst, name)) for name in modules)
    for name in listed:
        value = getattr(nst, name)
        if isinstance(value, ModuleType):  # a callable package
            assert callable(value)
        else:
            assert getattr(importlib.import_module(value.__module__), name) is value
    with pytest.raises(AttributeError, match="module 'gluon_nst' has no attribute 'transmogrify'"):
        nst.transmogrify  # noqa: B018


def test_the_chapters_names_are_public():
    chapter = "preprocess postprocess extract_features get_contents get_styles content_loss gram style_loss tv_loss"
    chapter += " compute_loss GeneratedImage get_inits train"
    assert set(chapter.split()) <= set(nst.__all__)


def test_the_list_of_a_packages_names_is_complete():
    for name, tree in MODULES.items():
        if "__main__" in name or not hasattr(importlib.import_module(name), "__all__"):
            continue
        bound = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module != "__future__"
            for alias in node.names
        }
        assert set(sys.modules[name].__all__) == {name for name in bound if not name.startswith("_")}


def test_the_parameters_of_public_functions_have_types():
    for name in nst.__all__:
        function = getattr(nst, name)
        if inspect.isfunction(function):
            parameters = inspect.signature(function).parameters.values()
            assert all(parameter.annotation is not parameter.empty for parameter in parameters), name


PUBLIC = ("apart", "checkpoint", "figures", "frames", "images", "layers", "rerunning")
"""Modules that are used as `nst.NAME`."""


@pytest.mark.parametrize("old", sorted(MOVED))
def test_the_old_path_of_a_module_works_with_a_warning(old):
    new = f"gluon_nst.{MOVED[old]}"
    for code in (f"import gluon_nst.{old} as module", f"import gluon_nst; module = gluon_nst.{old}"):
        sys.modules.pop(f"gluon_nst.{old}", None)
        vars(nst).pop(old, None)
        found = {}
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            exec(compile(code, "theirs.py", "exec"), found)
        assert found["module"] is importlib.import_module(new)
        assert found["module"].__spec__.name == new
        deprecations = [each for each in warned if "is now" in str(each.message)]
        if code.startswith("import gluon_nst;") and old in PUBLIC:
            assert not deprecations
        else:
            assert [(each.filename, str(each.message)) for each in deprecations] == [
                ("theirs.py", f"gluon_nst.{old} is now {new}")
            ]


def test_a_module_in_a_package_that_moved_is_the_same_by_both_paths():
    old = importlib.import_module("gluon_nst.checkpoint.keeper")
    assert old is importlib.import_module("gluon_nst.runs.checkpoint.keeper")


def test_the_old_module_of_the_losses_has_the_chapters_functions():
    from gluon_nst.losses import gram
    from gluon_nst.optimisers import CLASSES

    assert gram is nst.gram
    assert set(CLASSES) == {"adam", "lbfgs"}


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
    assert typing.get_type_hints(nst.NSTError.__init__) is not None


@pytest.mark.slow
def test_the_examples_in_the_docstrings_are_correct():
    results = {name: doctest.testmod(importlib.import_module(name)) for name in MODULES if "__main__" not in name}
    assert sum(result.failed for result in results.values()) == 0
    assert sum(result.attempted for result in results.values()) > 20


# -- plain English ----------------------------------------------------------------------------------------------------

ROOT = PACKAGE.parent
TEXTS = [
    *PACKAGE.rglob("*.py"),
    *PACKAGE.rglob("*.toml"),
    *PACKAGE.rglob("*.html"),
    *PACKAGE.rglob("*.js"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "scripts").rglob("*.py"),
    *ROOT.glob("*.md"),
]
"""The package, the lab page, the recipes and the pages of the documentation."""
NOT_PLAIN = (
    *(r"(is|are|was|were) told", "told of", "tells? of", "tells? that", "says? so", "hears? of", "whoever", "of whom"),
    *("of itself", "of its own accord", "go(es|ing|ne)? on (from|with|there|inside|then)", "(run|job|lab) goes on"),
    *("(to|can|could) be had", "(begin|made|done|written) anew", "made again", "come to (its|an) end", "is asked for"),
    *("(is|was) reached is", "gone lost", "parcels?", "crew", "mouth", "finds no room", "half-way", "as it comes"),
    *("where the picture is drawn from", "what is there of", "a picture of where", "other losses from there on"),
)
"""Phrases that a reader has to translate, as regular expressions."""


def test_texts_are_in_plain_english():
    wrong = re.compile(rf"\b({'|'.join(NOT_PLAIN)})\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := wrong.search(line))
    ]
    assert found == []


def test_a_docstring_begins_with_a_short_sentence():
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                first, *others = text.split("\n")
                assert len(first) <= 80, f"{module}: {first}"
                assert first.endswith((".", "?")), f"{module}: {first}"
                assert not others or others[0] == "", f"{module}: {first}"
