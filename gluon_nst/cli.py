"""The command gluon-nst: its arguments, and its exit status. What needs MXNet is imported when a command runs."""

import argparse
import contextlib
import os
import signal
import sys
import warnings

from gluon_nst import recipe as recipes
from gluon_nst.errors import InputError, Interrupted, NSTError, reason
from gluon_nst.files import given
from gluon_nst.version import __version__

# -- arguments --------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message}; see {self.prog} --help")


def _sizes(value):
    try:
        sizes = [tuple(map(int, size.lower().replace("×", "x").split("x"))) for size in value.split(",")]
        if any(len(size) != 2 for size in sizes):
            raise ValueError
        return sizes
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not HEIGHTxWIDTH,… such as 150x225,300x450") from None


def _integers(value, expected):
    try:
        return [int(number) for number in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not {expected}") from None


def _longest_sides(value):
    return _integers(value, "a number of pixels, or one for each stage: 225,450")


def _epochs(value):
    return _integers(value, "a number of epochs, or one for each size: 500,300")


def _layers(value):
    return [int(layer) if layer.isdecimal() else layer for layer in value.split(",")]


def _style_size(value):
    try:
        return value if value == "content" else float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not content, nor a number of times the composite's size") from None


def _interval_of_epochs(value):
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of epochs of at least 1")
    return int(value)


# What a run may change of its recipe, and the rest of what `transfer` takes. `sweep` varies any of them but the device.
_RECIPE_OPTIONS = {
    "sizes": dict(type=_sizes, metavar="HxW,...", help="one stage each, coarse to fine: 150x225,300x450"),
    "longest-side": dict(type=_longest_sides, dest="sizes", metavar="N,...", help="sizes of the content's own shape: 225,450"),
    "epochs": dict(type=_epochs, metavar="N,...", help="one number for each size, or one for all: 500,300"),
    "lr": dict(type=float, help="learning rate that each stage starts with"),
    "optimizer": dict(choices=list(recipes.OPTIMIZERS)),
    "precision": dict(choices=("auto", *recipes.PRECISIONS), help="of the convolutions (auto: what the recipe says)"),
    "tolerance": dict(type=float, help="end a stage whose loss falls by less than this share of it over ten epochs"),
    "init": dict(metavar="content|noise|style|FILE", help="what the first stage starts from"),
    "content-layers": dict(type=_layers, metavar="NAME,...", help="conv4_2 before its ReLU, relu4_2 after, or an index"),
    "style-layers": dict(type=_layers, metavar="NAME,...", help="the same, with a weight of 1 each"),
    "content-weight": dict(type=float),
    "style-weight": dict(type=float),
    "tv-weight": dict(type=float),
    "style-size": dict(type=_style_size, metavar="content|SCALE", help="squashed to the content's, or its longest side"),
    "seed": dict(type=int, help="for --init noise (default: 0)"),
    "weights": dict(
        metavar=f"auto|{'|'.join(recipes.SOURCES)}|FILE",
        help="where VGG-19's parameters come from (default: auto; see gluon-nst weights list)",
    ),
}


def _add_options(parser, without=()):
    """The options of every command that runs anything, but for those `without` which a command is."""
    if "recipe" not in without:
        help = "what to compute (see gluon-nst recipes)"
        parser.add_argument("--recipe", metavar="NAME|FILE.toml", help=help)
    either = parser.add_mutually_exclusive_group()
    for name, option in _RECIPE_OPTIONS.items():
        if name in without:
            continue
        (either if option.get("dest", name) == "sizes" else parser).add_argument(f"--{name}", **option)
    device_help = "default: the first GPU, else the CPU"
    parser.add_argument("--device", metavar="auto|cpu|gpu|gpu:N", default="auto", help=device_help)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_run_options(parser):
    """The options of the commands that make one run."""
    _add_options(parser)
    add = parser.add_argument
    add("--losses", type=given, metavar="FILE.csv", help="write the losses, one row an epoch")
    add("--save-every", type=_interval_of_epochs, metavar="N", help="keep the picture after every N epochs as well")
    add("--animate", type=given, metavar="FILE.gif|webp|mp4", help="make a film: the composite beside its losses")
    add("--show", action="store_true", help="show the run in a window, where there is a screen")


def _add_experiment_options(parser, out, without=()):
    """The options of the commands that make a sheet of many runs."""
    add = parser.add_argument
    add("--out", type=given, metavar="DIR", help=f"where each picture and its losses are kept (default: {out})")
    add("--figure", type=given, metavar="FILE.png|svg|pdf", help="the sheet (default: sheet.png in DIR)")
    _add_options(parser, without)


def _names(value):
    names = value.split(",")
    if not all(names):
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME,… such as d2l-2019,udacity")
    return names


def _varied(value):
    """(option, {label: value}) of NAME=VALUE,…; a + inside a value stands for the comma of an option with several."""
    name, _, values = value.partition("=")
    name = name if name in _VARIABLE or f"{name}s" not in _VARIABLE else f"{name}s"
    if name not in _VARIABLE or not values:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE,… where NAME is one of {', '.join(_VARIABLE)}")
    option, varied = _VARIABLE[name], {}
    for label in values.split(","):
        if label in varied:
            raise argparse.ArgumentTypeError(f"{value!r} has {label} twice")
        try:
            varied[label] = option.get("type", str)(label.replace("+", ",") if option.get("type") in _SEVERAL else label)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{name}={label}: not a number") from None
    return option.get("dest", name.replace("-", "_")), varied


_VARIABLE = {"recipe": {}, **_RECIPE_OPTIONS}
_SEVERAL = (_sizes, _longest_sides, _epochs, _layers)


def build_parser():
    parser = _Parser(prog="gluon-nst", description=sys.modules["gluon_nst"].__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gluon-nst {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name, help):
        return commands.add_parser(name, help=help, description=help, allow_abbrev=False)

    def add_pictures(added):
        added.add_argument("content", type=given, metavar="CONTENT")
        added.add_argument("style", type=given, metavar="STYLE")

    chapter = command("chapter", "run the book's chapter, coarse to fine, and print what it prints")
    chapter.add_argument("--edition", choices=("2019", "2023"), help="of the book (default: 2019)")
    chapter.add_argument("--out", type=given, default=given("neural-style"), metavar="DIR", help="default: %(default)s")
    chapter.add_argument("--content", type=given, metavar="FILE", help="default: the project's own picture of mountains")
    chapter.add_argument("--style", type=given, metavar="FILE", help="default: the project's own painting of oaks")
    chapter.add_argument("--book-images", action="store_true", help="fetch the book's own two pictures and use them")
    _add_run_options(chapter)

    render = command("render", "transfer the style of one picture to the content of another")
    add_pictures(render)
    render.add_argument("--output", type=given, required=True, metavar="OUT.png", help="PNG or JPEG")
    _add_run_options(render)

    sweep = command("sweep", "vary one thing or two of a run, and lay the pictures out in a grid")
    add_pictures(sweep)
    sweep.add_argument(
        "--vary", type=_varied, action="append", required=True, metavar="NAME=VALUE,...",
        help=f"an option and its values, once for the columns and perhaps again for the rows: {', '.join(_VARIABLE)}; "
        "a + inside a value stands for a comma: style-layers=conv1_1,conv1_1+conv2_1",
    )  # fmt: skip
    _add_experiment_options(sweep, "sweep-CONTENT-STYLE")

    compare = command("compare", "run several recipes on the same two pictures, and lay them side by side")
    add_pictures(compare)
    compare.add_argument(
        "--recipes", type=_names, default=list(recipes.PUBLISHED), metavar="NAME,...",
        help=f"names or .toml files (default: {','.join(recipes.PUBLISHED)})",
    )  # fmt: skip
    _add_experiment_options(compare, "compare-CONTENT-STYLE", without=["recipe"])

    reconstruct = command("reconstruct", "find a picture's content, or style, from noise, layer by layer")
    reconstruct.add_argument("kind", choices=("content", "style"), metavar="content|style")
    reconstruct.add_argument("content", type=given, metavar="IMAGE")
    reconstruct.add_argument(
        "--layers", type=_layers, metavar="NAME,...",
        help="content: from each alone; style: from the first one, two, … (default: those of Gatys et al. 2016, figure 1)",
    )  # fmt: skip
    fixed = ["content-layers", "style-layers", "content-weight", "style-weight", "style-size"]
    _add_experiment_options(reconstruct, "reconstruct-KIND-IMAGE", without=fixed)

    listing = command("recipes", "list the published programs' recipes, or print one as TOML")
    listing.add_argument("recipe", nargs="?", metavar="NAME")

    trunk = command("weights", "list, fetch, import or find VGG-19's parameters")
    actions = trunk.add_subparsers(dest="action", metavar="list|fetch|import|path", required=True, parser_class=_Parser)
    actions.add_parser("list", help="the sources, and which of them are here")
    fetch = actions.add_parser("fetch", help="get a source's parameters into the cache")
    fetch.add_argument("source", choices=list(recipes.SOURCES), metavar="SOURCE")
    carried = actions.add_parser("import", help="take a source's file that was carried here, on a machine with no network")
    carried.add_argument("file", type=given, metavar="FILE")
    path = actions.add_parser("path", help="print where the parameters are")
    path.add_argument("source", nargs="?", default="auto", choices=["auto", *recipes.SOURCES], metavar="SOURCE")

    command("info", "print versions, device, cores, and which weights are here")
    return parser


# -- running ----------------------------------------------------------------------------------------------------------


class _Pipe:
    """A standard stream whose reader may go away: what is written after that goes nowhere, and the command goes on.

    `ends` are the errors that end it; a closed stream is None, and ends before it begins.
    """

    def __init__(self, stream, ends):
        self._stream, self._ends = stream or open(os.devnull, "w"), ends

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        return self._unless_broken(self._stream.write, text)

    def flush(self):
        self._unless_broken(self._stream.flush)

    def _unless_broken(self, call, *arguments):
        try:
            return call(*arguments)
        except self._ends:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def _list_recipes(arguments):
    if arguments.recipe:
        print(recipes.text(arguments.recipe), end="")
        return 0
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        recipe = recipes.read(name)
        print(f"{name:<{width}} {recipe.title}\n{'':<{width}} {recipe.source}")
    print("A file of your own gets what it does not say from the recipe that it extends, or else from d2l-2019.")
    return 0


def _run(argv):
    arguments = build_parser().parse_args(argv)
    if arguments.command == "recipes":
        return _list_recipes(arguments)
    from gluon_nst import commands  # which loads MXNet

    names = {option.get("dest", name.replace("-", "_")) for name, option in _RECIPE_OPTIONS.items()}
    options = {name: getattr(arguments, name, None) for name in sorted(names)}
    return commands.run(arguments, {name: value for name, value in options.items() if value is not None})


def main(argv=None):
    """Run the command line and return its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    warnings.filterwarnings("ignore", "Glyph .* missing")  # a file's name in a script that matplotlib's font lacks
    warnings.filterwarnings("ignore", module="mxnet")  # remarks on NumPy that a user of the command can't act on
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop keeps as much as Ctrl-C does
    streams = sys.stdout, sys.stderr
    # A run is worth more than its progress bar, on whatever full disk that is logged.
    sys.stdout, sys.stderr = _Pipe(sys.stdout, BrokenPipeError), _Pipe(sys.stderr, OSError)
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except NSTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt as stopped:
        written = stopped.args[0] if stopped.args and not isinstance(stopped, Interrupted) else "nothing was written"
        print(f"interrupted: {written}", file=sys.stderr)
        return 130
    except (MemoryError, ImportError, OSError) as error:  # ImportError: no memory to load a library into
        print(f"error: the run failed: {reason(error)}", file=sys.stderr)
        return 1
    finally:
        sys.stdout, sys.stderr = streams


def command():
    """The command gluon-nst: `main`, and the end of the process."""
    status = main()
    if status == 1:
        # Where MXNet has failed, for want of memory for instance, what it does at the end of the process may crash.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
