"""The house: its floors, its sizes, its names, as the code itself has them."""

import ast
import doctest
import importlib
import inspect
import typing
from pathlib import Path

import gluon_nst as nst

import pytest

PACKAGE = Path(nst.__file__).parent

# From the ground up: a module imports only from those on the floors below it. A package's own modules stand in order too.
FLOORS = """
    version errors files layers windows observer machine.system machine.cores machine.memory machine.instructions
    machine.device machine.arrays machine recipes.choices recipes.rules recipes.effects recipes.schema recipes.files
    recipes.changes recipes.written recipes.reference recipes job records colours pixels images encoding
    regions spectrum sums roots style_statistics vgg losses narrow canvas memory
    graph composite scratch objective lbfgs optimisers provenance state training weights.calibration weights.downloads weights.formats
    weights.conversion weights.cache weights.sources weights.finding weights inputs run steering estimates figures
    result targets loop checkpoint.container checkpoint.trees checkpoint.generations checkpoint.keeper checkpoint rerunning observers.progress observers.snapshots observers.film observers.window observers.live observers apart
    cluster.worker cluster.crew cluster.windows cluster.spread cluster frames batch.entries batch.parcels batch.making batch.overview
    batch.folder batch.carrying batch.report batch experiments.trials experiments.designs experiments pictures lab.check lab.by_hand lab.of_runs lab.checks lab.notebooks lab.probe
    lab.doctor lab.kit lab.web.limits lab.web.body lab.web.asked lab.web.line lab.web.expectation lab.web.doors lab.web.connections lab.web.news lab.web.words
    lab.web.tickets lab.web.store lab.web.processes lab.web.workshop lab.web.views lab.web.laboratory lab.web.base lab.web.handlers lab.web.uploads
    lab.web.teaching lab.web.server lab.web.looking lab.web.publishing lab.web.worker lab.web.filming lab.web lab cli.options cli.arguments cli.parser cli.outputs cli.weights cli.lab cli.info cli.stopping cli.following cli.records cli.pictures cli.sheets cli.batch cli.resuming cli.doing cli.main cli __main__
""".split()  # noqa: SIM905

WINGS = (
    "experiments.trials",
    "frames",
    "batch.entries",
    "pictures",
    "observers.snapshots",
    "observers.film",
    "observers.window",
    "observers.live",
)
"""These know nothing of each other."""

CHAPTERS_OWN = {"train": 11, "compute_loss": 8}
"""Functions whose arguments are the chapter's."""


def modules():
    """{name: tree} of the package's modules; a package has its own name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree):
    """The modules of the package that a tree imports, but for what only a type checker reads."""
    nodes = list(ast.walk(tree))
    unread = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node not in unread and (node.module or "").split(".")[0] == "gluon_nst":
            base = node.module[len("gluon_nst.") :]
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                yield name if name in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (alias.name[len("gluon_nst.") :] for alias in node.names if alias.name.startswith("gluon_nst."))


def test_every_module_has_its_floor():
    assert sorted(FLOORS) == sorted(name for name in MODULES if name) and len(set(FLOORS)) == len(FLOORS)


@pytest.mark.parametrize("name", FLOORS)
def test_a_module_imports_only_from_the_floors_below(name):
    for other in imported(MODULES[name]):
        # The package itself stands for the lazy names in its __init__, which any floor may ask for its version or its words.
        assert other == "" or FLOORS.index(other) < FLOORS.index(name), f"{name} imports {other}"


def test_the_wings_know_nothing_of_each_other():
    for name in WINGS:
        assert not set(imported(MODULES[name])) & set(WINGS)


def test_what_the_command_line_needs_to_answer_at_once_imports_no_mxnet():
    heavy = ("mxnet", "numpy", "PIL", "matplotlib", "tqdm")
    light = FLOORS[: FLOORS.index("records")] + [
        "lab",
        "lab.notebooks",
        "lab.doctor",
        *FLOORS[FLOORS.index("lab.web.limits") : FLOORS.index("lab.web.looking")],
        "lab.web",
        "cli.arguments",
        "cli.options",
        "cli.parser",
        "cli.lab",
        "cli.main",
    ]
    for name in light:
        for node in MODULES[name].body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [getattr(node, "module", None)]
            )
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not {str(found).split(".")[0] for found in names} & set(heavy), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("name", FLOORS)
def test_no_function_has_many_parameters_but_the_chapters_own(name):
    for function in functions(MODULES[name]):
        arguments = function.args
        count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
        assert count <= CHAPTERS_OWN.get(function.name, 9), function.name


def test_only_the_command_line_and_the_lab_print_or_exit_and_only_the_former_catches_an_interrupt():
    for name, tree in MODULES.items():
        if name.split(".")[0] in ("cli", "lab", "__main__"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit"), name
            assert not (isinstance(node, ast.Attribute) and node.attr in ("exit", "_exit")), name
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                assert "KeyboardInterrupt" not in ast.dump(node.type), name


def test_only_one_module_opens_picture_files():
    def opens(tree):
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        return any(ast.dump(call) == ast.dump(ast.parse("Image.open", mode="eval").body) for call in calls)

    assert [name for name, tree in MODULES.items() if opens(tree)] == ["images"]


def test_there_is_one_loop():
    loops = [
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "evaluate"
    ]
    # What a kit has to carry depends on the markers of its packages, which are evaluated too.
    assert set(loops) - {"lab.kit"} == {"training"}


# -- names ------------------------------------------------------------------------------------------------------------


def test_all_public_names_are_listed_and_can_be_had():
    assert set(nst.__all__) <= set(dir(nst)) and sorted(nst.__all__) == nst.__all__
    listed = {name for name in nst.__all__ if name != "__version__"}
    # What a type checker sees is what __getattr__ gives.
    seen = {
        alias.name
        for node in ast.walk(MODULES[""])
        if isinstance(node, ast.If)
        for inner in ast.walk(node)
        if isinstance(inner, ast.ImportFrom)
        for alias in inner.names
    }
    assert seen == listed
    for name in listed:
        home = importlib.import_module(getattr(nst, name).__module__)
        assert getattr(home, name) is getattr(nst, name)
    with pytest.raises(AttributeError, match="module 'gluon_nst' has no attribute 'transmogrify'"):
        nst.transmogrify  # noqa: B018


def test_the_chapters_names_are_public():
    chapter = "preprocess postprocess extract_features get_contents get_styles content_loss gram style_loss tv_loss"
    chapter += " compute_loss GeneratedImage get_inits train"
    assert set(chapter.split()) <= set(nst.__all__)


@pytest.mark.parametrize("name", [name for name in MODULES if name and name != "__main__"])
def test_the_list_of_a_packages_names_is_complete(name):
    module = importlib.import_module(f"gluon_nst.{name}")
    if hasattr(module, "__all__"):
        bound = {
            alias.asname or alias.name
            for node in MODULES[name].body
            if isinstance(node, ast.ImportFrom) and node.module != "__future__"
            for alias in node.names
        }
        assert set(module.__all__) == {name for name in bound if not name.startswith("_")}


def test_public_functions_say_what_they_take_and_what_they_do():
    for name, tree in MODULES.items():
        for node in tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            assert not public or ast.get_docstring(node), f"{name}.{node.name}"
    for name in nst.__all__:
        function = getattr(nst, name)
        if inspect.isfunction(function):
            parameters = inspect.signature(function).parameters.values()
            assert all(parameter.annotation is not parameter.empty for parameter in parameters), name


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
    assert typing.get_type_hints(nst.NSTError.__init__) is not None


@pytest.mark.parametrize("name", [name for name in FLOORS if name != "__main__"])
def test_the_examples_in_the_docstrings_give_what_they_say(name):
    assert doctest.testmod(importlib.import_module(f"gluon_nst.{name}")).failed == 0


def test_there_are_examples_in_docstrings():
    for name in ("recipes.rules", "recipes.changes", "records"):
        assert doctest.testmod(importlib.import_module(f"gluon_nst.{name}")).attempted


# -- the tests themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("test_*.py")), ids=lambda path: path.name)
def test_no_test_reaches_into_what_is_private(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            assert not private or own, f"line {node.lineno}: {node.attr}"
            modules = isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("sys", "modules")
            assert not modules, f"line {node.lineno}: sys.modules"
