"""The parser of the command line: the commands and their arguments."""

from __future__ import annotations

import argparse
from typing import Any, Sequence

from gluon_nst import __doc__ as description
from gluon_nst.cli.arguments import (
    Parser,
    add_output,
    base_url,
    count,
    files,
    hours,
    interval_of_epochs,
    names,
    path,
    port,
)
from gluon_nst.cli.options import (
    add_device,
    add_options,
    default_text,
    parse_variation,
    rule_parser,
    setting_parser,
    style_settings,
    variable_options,
)
from gluon_nst.lab.notebooks import NOTEBOOKS
from gluon_nst.lab.web.limits import Limits
from gluon_nst.machine.files import given
from gluon_nst.machine.system import mxnet_build
from gluon_nst.recipes import (
    CHAPTER,
    COMPARED,
    DEFAULT,
    LONGEST_SIDE,
    RECONSTRUCTION,
    SOURCES,
    read,
    recipe_settings,
    settings,
)
from gluon_nst.recipes.rules import layers, number
from gluon_nst.runs.job import Job
from gluon_nst.version import __version__


def build_parser() -> Parser:
    """Return the parser of the command line, with the most used commands first."""
    parser = Parser(prog="gluon-nst", description=description)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of gluon-nst and MXNet")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, help, add in (
        ("demo", "run the recipe fine on two built-in pictures, then offer to run the chapter", _demo),
        ("render", "transfer the style of one picture to the content of another", _render),
        (
            "chapter",
            "run the chapter of Dive into Deep Learning, from coarse to fine, and print its progress lines",
            _chapter,
        ),
        ("notebook", "write the chapter, or its exercises, as a Jupyter notebook", _notebook),
        ("lab", "start a web server with a style transfer page for a class, and open the page in the browser", _lab),
        ("recipes", "list the built-in recipes, or print one as TOML", _recipes),
        ("compare", "run several recipes on the same two pictures, and show the results side by side", _compare),
        ("sweep", "vary one or two settings, and arrange the pictures in a grid", _sweep),
        ("reconstruct", "reconstruct a picture's content or style from noise, layer by layer", _reconstruct),
        ("batch", "run many jobs, on this machine's cores or on many machines", _batch),
        ("resume", "resume a run from its checkpoint", _resume),
        ("show", "print how a picture was made", _show),
        ("rerun", "reproduce a picture from the record in its file, and compare the two", _rerun),
        ("weights", "list, fetch, import or find VGG-19's parameters", _weights),
        (
            "doctor",
            "check whether this machine is ready for a lab, and estimate the duration of a run",
            lambda parser: None,
        ),
        ("kit", "create a folder from which gluon-nst can be installed and run offline", _kit),
        ("info", "print versions, device, cores, and the weights in the cache", lambda parser: None),
        ("completion", "print a shell completion script for commands, options and files", _completion),
        ("help", "print the help of a command", _help),
    ):
        add(commands.add_parser(name, help=help, description=sentence(help), examples=EXAMPLES[name]))
    parser.examples = (*EXAMPLES["render"][:1], "gluon-nst help render")
    return parser


class _Version(argparse.Action):
    """The action that prints the versions of gluon-nst and MXNet, and exits.

    MXNet is not loaded for it.
    """

    def __call__(self, parser: argparse.ArgumentParser, *ignored: Any) -> None:
        print(f"gluon-nst {__version__}\n{mxnet_build() or 'mxnet is not installed'}")
        parser.exit()


def sentence(text: str) -> str:
    """Return a text as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


EXAMPLES = {
    "demo": ("gluon-nst demo",),
    "render": (
        "gluon-nst render photo.jpg painting.jpg",
        "gluon-nst render photo.jpg painting.jpg -o out.png --longest-side 1024 --preserve-colors luminance",
    ),
    "chapter": ("gluon-nst chapter", "gluon-nst chapter --content photo.jpg --style painting.jpg --edition 2023"),
    "notebook": ("gluon-nst notebook", "gluon-nst notebook exercises"),
    "lab": ("gluon-nst lab", "gluon-nst lab --host 0.0.0.0 --password oaks --preload"),
    "recipes": ("gluon-nst recipes", "gluon-nst recipes fine > my.toml"),
    "compare": (
        "gluon-nst compare photo.jpg painting.jpg",
        "gluon-nst compare photo.jpg painting.jpg --recipes fine,stp --longest-side 300",
    ),
    "sweep": (
        "gluon-nst sweep photo.jpg painting.jpg --vary style-weight=1e2,1e3,1e4",
        "gluon-nst sweep photo.jpg painting.jpg --recipe fine --vary content-weight=0.1,0.3,1 --longest-side 300",
    ),
    "reconstruct": (
        "gluon-nst reconstruct content photo.jpg",
        "gluon-nst reconstruct style painting.jpg --layers relu1_1,relu3_1",
    ),
    "batch": (
        "gluon-nst batch contents styles -o painted",
        "gluon-nst batch jobs.toml -o painted --workers 2",
    ),
    "resume": ("gluon-nst resume run", "gluon-nst resume run --style-weight 3e3"),
    "show": ("gluon-nst show out.png", "gluon-nst show out.png --json"),
    "rerun": ("gluon-nst rerun out.png -o again.png --inputs pictures",),
    "weights": ("gluon-nst weights list", "gluon-nst weights fetch caffe"),
    "doctor": ("gluon-nst doctor",),
    "kit": ("gluon-nst kit gluon-nst-kit",),
    "info": ("gluon-nst info",),
    "completion": (
        'eval "$(gluon-nst completion bash)"',
        "gluon-nst completion zsh > ~/.zsh/completions/_gluon-nst",
    ),
    "help": ("gluon-nst help render",),
}
"""Examples of each command, for its help."""


# -- one run ----------------------------------------------------------------------------------------------------------


def _demo(parser: Parser) -> None:
    add = parser.add_argument
    help = "output folder for the pictures (default: %(default)s)"
    add_output(parser, help, dest="out", default=given("neural-style"))
    size, weights = LONGEST_SIDE, _WEIGHTS_OF_JOB
    help = "longest side of the picture in pixels (default: %(default)s)"
    add("--longest-side", type=rule_parser(size.rule), default=400, metavar=size.rule.metavar, help=help)
    add("--weights", type=setting_parser(weights), metavar=weights.rule.metavar, help=weights.help)
    add_device(parser)
    add("--quiet", action="store_true", help="no progress bar")


def _chapter(parser: Parser) -> None:
    add = parser.add_argument
    help = "output folder for pictures and losses (default: %(default)s)"
    add_output(parser, help, dest="out", default=given("neural-style"))
    add("--edition", choices=("2019", "2023"), help="edition of the book (default: 2019)")
    add("--content", type=path, metavar="FILE", help="the photo (default: the project's own picture of mountains)")
    add("--style", type=path, metavar="FILE", help="the painting (default: the project's own painting of oaks)")
    add("--book-images", action="store_true", help="fetch the book's own two pictures and use them")
    add("--plain", action="store_true", help="run the book's own loop (gluon_nst/chapter.py): slower, the same losses")
    add_options(parser, CHAPTER, without=["regions"])  # which go with --style-regions
    _add_watching(parser)


def _render(parser: Parser) -> None:
    _add_defaults(parser, DEFAULT)
    _add_pictures(parser, several=True)
    help = (
        "output file, PNG, TIFF, WebP or JPEG (default: CONTENT-STYLE.png in the folder of CONTENT; "
        "CONTENT-STYLE-2.png if that name is used by a different picture)"
    )
    add_output(parser, help, metavar="OUT.png")
    help = "without --output: overwrite an existing CONTENT-STYLE.png"
    parser.add_argument("--overwrite", action="store_true", help=help)
    add_options(parser, DEFAULT)
    styles = parser.add_argument_group("the styles (one value for each, or one for all)")
    for name, setting in style_settings().items():
        metavar = f"{setting.rule.metavar},..."
        option = styles.add_argument(
            f"--style-{name}", type=setting_parser(setting), metavar=metavar, help=setting.help
        )
        if name != "weights":
            parser.only_in_help_all(option)
    help = "region maps of the styles; requires --regions, the region map of the content"
    parser.only_in_help_all(styles.add_argument("--style-regions", type=files, metavar="FILE,...", help=help))
    _add_watching(parser)
    parser.only_in_help_all(
        _add_scheduler(parser, "address of a Dask scheduler whose workers compute the windows of large pictures")
    )


def _add_defaults(parser: Parser, recipe: str) -> None:
    """Add to the description which recipe and which size are the defaults."""
    side = default_text(LONGEST_SIDE, read(recipe))
    defaults = f"the recipe {recipe} and a longest side of {side} pixels"
    parser.description = f"{parser.description} By default, it uses {defaults}."


_WEIGHTS_OF_JOB = next(each for each in settings(Job) if each.name == "weights")

WEIGHTS = ("content_weight", "style_weight", "tv_weight")
"""The weights that can be changed during a run."""


def _resume(parser: Parser) -> None:
    add = parser.add_argument
    add("folder", type=path, metavar="DIR", help="checkpoint folder: the DIR that was passed to --checkpoint")
    for setting in recipe_settings():
        if setting.name in WEIGHTS:
            name = setting.name.replace("_", "-")
            add(f"--{name}", type=setting_parser(setting), metavar="W", help=f"{setting.help}, from here on")
    help = "output picture (chapter: output folder) to use instead of that of the original command"
    add_output(parser, help, metavar="OUT")
    add(
        "--checkpoint",
        type=path,
        metavar="DIR",
        help="write further checkpoints to this folder, and keep the original checkpoint unchanged",
    )
    add("--quiet", action="store_true", help="no progress bar")


def _rerun(parser: Parser) -> None:
    add = parser.add_argument
    add("picture", type=path, metavar="PICTURE", help="a picture that gluon-nst wrote")
    add_output(parser, "PNG, TIFF, WebP or JPEG", metavar="OUT.png", required=True)
    help = "additional folders to search for the inputs, which are identified by their hashes"
    add("--inputs", type=path, nargs="+", action="extend", default=[], metavar="DIR", help=help)
    add(
        "--weights",
        type=setting_parser(_WEIGHTS_OF_JOB),
        metavar=_WEIGHTS_OF_JOB.rule.metavar,
        help="source of VGG-19's parameters, if not the one in the record",
    )
    add_device(parser)
    add("--quiet", action="store_true", help="no progress bar")


def _show(parser: Parser) -> None:
    parser.add_argument("picture", type=path, metavar="PICTURE", help="a picture that gluon-nst wrote")
    parser.add_argument("--json", action="store_true", help="print the whole record as JSON, for programs")


def _add_pictures(parser: Parser, several: bool = False) -> None:
    """Add the two pictures of a run, of which there may be `several` styles."""
    parser.add_argument("content", type=path, metavar="CONTENT", help="the photo or drawing whose content is kept")
    help, nargs = "the painting whose style is transferred, or a folder of paintings", None
    if several:
        help = "the painting whose style is transferred; several paintings or folders of paintings are combined"
        nargs = "+"
    parser.add_argument("style", type=path, nargs=nargs, metavar="STYLE", help=help)


def _add_watching(parser: Parser) -> None:
    add = parser.add_argument_group("monitoring and checkpoints").add_argument
    help = "write the losses, one row per epoch, or a plot of them"
    add("--losses", type=path, metavar="FILE.csv|png|svg|pdf", help=help)
    help = "also write the composite every N epochs"
    save_every = add("--save-every", type=interval_of_epochs, metavar="N", help=help)
    help = "make a film: the composite beside its losses"
    animate = add("--animate", type=path, metavar="FILE.gif|webp|mp4", help=help)
    show = add("--show", action="store_true", help="show the run in a window, if a display is available")
    help = "folder in which the run is saved; the same command, or gluon-nst resume DIR, resumes it"
    add("--checkpoint", type=path, metavar="DIR", help=help)
    help = "seconds between two checkpoints (default: 60, or more if writing is slow)"
    every = add("--checkpoint-every", type=rule_parser(number(0)), metavar="SECONDS", help=help)
    fresh = add("--fresh", action="store_true", help="restart, and discard the checkpoint")
    parser.only_in_help_all(save_every, animate, show, every, fresh)
    parser.set_defaults(resumed=None, scheduler=None)


# -- many runs --------------------------------------------------------------------------------------------------------


def _sweep(parser: Parser) -> None:
    _add_pictures(parser)
    options = ", ".join(variable_options())
    help = (
        "option to vary and its values, one per column; a second --vary defines the rows. "
        f"Options: {options}. Use + for a comma inside a value: style-layers=conv1_1,conv1_1+conv2_1"
    )
    parser.add_argument(
        "--vary", type=parse_variation, action="append", required=True, metavar="NAME=VALUE,...", help=help
    )
    _add_sheet(parser, "sweep-CONTENT-STYLE", CHAPTER)


def _compare(parser: Parser) -> None:
    _add_pictures(parser)
    help = f"recipes to compare: names, .toml files, or all (default: {','.join(COMPARED)})"
    parser.add_argument("--recipes", type=names, default=list(COMPARED), metavar="NAME,...|all", help=help)
    _add_sheet(parser, "compare-CONTENT-STYLE", None, without=["recipe"])


def _reconstruct(parser: Parser) -> None:
    help = "whether to reconstruct the content or the style"
    parser.add_argument("kind", choices=("content", "style"), metavar="content|style", help=help)
    parser.add_argument("content", type=path, metavar="IMAGE", help="the picture to reconstruct")
    help = (
        "layers to reconstruct from; for content, one picture per layer; for style, one per prefix of "
        "the list: the first layer, the first two, … (default: as in Gatys et al. 2016, figure 1)"
    )
    parser.add_argument("--layers", type=rule_parser(layers()), metavar="NAME,...", help=help)
    fixed = ["content-layers", "style-layers", "content-weight", "style-weight", "style-size"]
    _add_sheet(parser, "reconstruct-KIND-IMAGE", RECONSTRUCTION, fixed)


def _add_sheet(parser: Parser, out: str, recipe: str | None, without: Sequence[str] = ()) -> None:
    add_output(parser, f"output folder for the pictures and their losses (default: {out})", dest="out")
    help = "file for the sheet of all results (default: sheet.png in DIR)"
    parser.add_argument("--figure", type=path, metavar="FILE.png|svg|pdf", help=help)
    add_options(parser, recipe, ["regions", *without])


def _batch(parser: Parser) -> None:
    add = parser.add_argument
    help = "a list of jobs, each with its own settings; or a folder of content pictures; or one content picture"
    add("jobs", type=path, metavar="JOBS.toml|JOBS.csv|CONTENTS_DIR", help=help)
    help = "a folder of style pictures, or one style picture; every content is combined with every style"
    add("styles", type=path, nargs="?", metavar="STYLES_DIR", help=help)
    add_output(parser, "output folder for pictures, losses and the report", dest="out", required=True)
    help = (
        "treat the contents as frames of a film: each run starts from the previous result, warped by the optical flow"
    )
    add("--sequence", action="store_true", help=help)
    help = "number of processes that share this machine's cores (default: one per GPU, or else per core)"
    add("--workers", type=count, metavar="N", help=help)
    _add_scheduler(parser, "address of a Dask scheduler whose workers run the jobs")
    add_options(parser, DEFAULT, ["mask", "regions"])  # which are those of one picture


def _add_scheduler(parser: Parser, help: str) -> argparse.Action:
    return parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help=help)


# -- no runs ----------------------------------------------------------------------------------------------------------


def _notebook(parser: Parser) -> None:
    help = "chapter (the default), exercises, or answers: the exercises with their solutions"
    parser.add_argument("name", nargs="?", choices=list(NOTEBOOKS), default="chapter", metavar="NAME", help=help)
    add_output(parser, "output folder (default: the current folder)", dest="out", default=given("."))


def _kit(parser: Parser) -> None:
    help = "the new folder; same as the argument DIR"
    parser.add_argument("folder", type=path, nargs="?", metavar="DIR", help=help)
    add_output(parser, "the same")


def _lab(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 accepts connections from other machines (default: %(default)s, "
        "this machine only)",
    )
    add("--port", type=port, default=7860, help="port to listen on (default: %(default)s)")
    add(
        "--base-url",
        type=base_url,
        default="/",
        metavar="PATH",
        help="URL path of the lab behind a reverse proxy, such as /lab/ (default: %(default)s)",
    )
    add(
        "--password",
        metavar="WORD",
        help="password of the class; by default a token is generated if other machines can connect",
    )
    help = "maximum number of concurrent runs (default: depends on the number of cores and the memory)"
    add("--workers", type=count, metavar="N", help=help)
    add_output(parser, "folder for pictures and runs (default: gluon-nst's cache)", dest="dir")
    add(
        "--keep",
        type=hours,
        default=24.0,
        metavar="HOURS",
        help="delete the files of students who have been inactive for this number of hours (default: 24)",
    )
    add(
        "--preload",
        action="store_true",
        help="download the parameters and measure the recipes' run times before the lab opens",
    )
    add("--no-browser", action="store_true", help="do not open a browser (implied by --host)")
    add("--texts", type=path, metavar="FILE.toml", help="texts of the page in a different language")
    weights = _WEIGHTS_OF_JOB
    add("--weights", type=setting_parser(weights), default="auto", metavar=weights.rule.metavar, help=weights.help)
    limits = parser.add_argument_group("limits")
    for limit in settings(Limits):
        help = f"{limit.help} (default: {limit.default})"
        limits.add_argument(f"--max-{limit.name}", type=setting_parser(limit), metavar=limit.rule.metavar, help=help)


def _recipes(parser: Parser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="NAME", help="recipe to print as TOML")


def _completion(parser: Parser) -> None:
    shells = "bash", "zsh", "fish", "tcsh"
    parser.add_argument("shell", choices=shells, metavar="|".join(shells), help="the shell")
    parser.description = f"{parser.description} Source it in the shell's startup file, for example ~/.bashrc."


def _help(parser: Parser) -> None:
    parser.add_argument("topic", nargs="*", metavar="COMMAND", help="the command (default: an overview of all)")


def _weights(parser: Parser) -> None:
    actions = parser.add_subparsers(
        title="actions", dest="action", metavar="list|fetch|import|path", required=True, parser_class=Parser
    )
    actions.add_parser("list", help="list the sources, and which of them are in the cache")
    fetch = actions.add_parser("fetch", help="download a source's parameters to the cache")
    fetch.add_argument("source", choices=list(SOURCES), metavar="SOURCE", help=f"one of {', '.join(SOURCES)}")
    help = "import a file downloaded on a different machine; no network is needed"
    import_file = actions.add_parser("import", help=help)
    import_file.add_argument("file", type=path, metavar="FILE", help="the downloaded file")
    find = actions.add_parser("path", help="print the path of the parameters")
    help = f"one of {', '.join(SOURCES)} (default: the first one in the cache)"
    find.add_argument("source", nargs="?", default="auto", choices=["auto", *SOURCES], metavar="SOURCE", help=help)
