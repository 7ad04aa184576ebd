"""The command gluon-nst."""

import argparse
import inspect
import os
import platform
import signal
import sys
import warnings
from pathlib import Path

import mxnet as mx
from tqdm import tqdm

from gluon_nst import pictures, recipe as recipes, runtime, weights
from gluon_nst.errors import InputError, Interrupted, NSTError
from gluon_nst.images import check_folder, check_picture_writable, check_writable
from gluon_nst.transfer import transfer
from gluon_nst.version import __version__

_OPTIONS = inspect.signature(recipes.customise).parameters  # what a run may change of its recipe
_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(transfer).parameters.items()}


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


def _epochs(value):
    try:
        return [int(number) for number in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of epochs, or one for each size: 500,300") from None


def _add_run_options(parser, recipe_default):
    add = parser.add_argument
    add("--recipe", metavar="NAME|FILE.toml", default=recipe_default, help="what to compute (see gluon-nst recipes)")
    add("--sizes", type=_sizes, metavar="HxW,...", help="one stage each, coarse to fine: 150x225,300x450")
    add("--epochs", type=_epochs, metavar="N,...", help="one number for each size, or one for all: 500,300")
    add("--lr", type=float, help="learning rate that each stage starts with")
    add("--optimizer", choices=recipes.OPTIMIZERS)
    add("--precision", choices=("auto", *recipes.PRECISIONS), help="of the convolutions (auto: what the recipe says)")
    add("--tolerance", type=float, help="end a stage whose loss falls by less than this share of it over ten epochs")
    add("--init", metavar="content|noise|style|FILE", help="what the first stage starts from")
    add("--seed", type=int, default=_DEFAULTS["seed"], help="for --init noise (default: %(default)s)")
    add("--content-weight", type=float)
    add("--style-weight", type=float)
    add("--tv-weight", type=float)
    add(
        "--weights",
        metavar=f"auto|{'|'.join(weights.SOURCES)}|FILE",
        default=_DEFAULTS["weights"],
        help="where VGG-19's parameters come from (default: %(default)s; see gluon-nst weights list)",
    )
    add("--device", metavar="auto|cpu|gpu|gpu:N", default=_DEFAULTS["device"], help="default: the first GPU, else the CPU")
    add("--losses", type=Path, metavar="FILE.csv", help="write the losses, one row an epoch")
    add("--quiet", action="store_true", help="no progress bar")


def build_parser():
    parser = _Parser(prog="gluon-nst", description=sys.modules["gluon_nst"].__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gluon-nst {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name, function, help):
        added = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        added.set_defaults(function=function)
        return added

    chapter = command("chapter", _chapter, "run the book's chapter, coarse to fine, and print what it prints")
    chapter.add_argument("--edition", choices=("2019", "2023"), help="of the book (default: 2019)")
    chapter.add_argument("--out", type=Path, default=Path("neural-style"), metavar="DIR", help="default: %(default)s")
    chapter.add_argument("--content", metavar="FILE", help="default: the project's own picture of mountains")
    chapter.add_argument("--style", metavar="FILE", help="default: the project's own painting of oaks")
    chapter.add_argument("--book-images", action="store_true", help="fetch the book's own two pictures and use them")
    _add_run_options(chapter, recipe_default=None)

    render = command("render", _render, "transfer the style of one picture to the content of another")
    render.add_argument("content", metavar="CONTENT")
    render.add_argument("style", metavar="STYLE")
    render.add_argument("--output", type=Path, required=True, metavar="OUT.png", help="PNG or JPEG")
    _add_run_options(render, recipe_default=_DEFAULTS["recipe"])

    listing = command("recipes", _recipes, "list the published programs' recipes, or print one as TOML")
    listing.add_argument("recipe", nargs="?", metavar="NAME")

    trunk = command("weights", _weights, "list, fetch, import or find VGG-19's parameters")
    actions = trunk.add_subparsers(dest="action", metavar="list|fetch|import|path", required=True, parser_class=_Parser)
    actions.add_parser("list", help="the sources, and which of them are here")
    fetch = actions.add_parser("fetch", help="get a source's parameters into the cache")
    fetch.add_argument("source", choices=list(weights.SOURCES), metavar="SOURCE")
    carried = actions.add_parser("import", help="take a source's file that was carried here, on a machine with no network")
    carried.add_argument("file", metavar="FILE")
    path = actions.add_parser("path", help="print where the parameters are")
    path.add_argument("source", nargs="?", default="auto", choices=["auto", *weights.SOURCES], metavar="SOURCE")

    command("info", _info, "print versions, device, cores, and which weights are here")
    return parser


# -- progress ---------------------------------------------------------------------------------------------------------


def _say(line):
    tqdm.write(line, file=sys.stderr)


def _download_bar(description, size):
    return tqdm(desc=description, total=size, unit="B", unit_scale=True, mininterval=_interval(), leave=False)


def _interval():
    return 0.2 if sys.stderr.isatty() else 30  # a log needs no more than a sign of life


class _RunBar:
    """A bar over the whole run; its unit is a pixel's epoch, so that the estimate holds across the sizes."""

    def __init__(self, recipe, quiet):
        self._stages, self._quiet, self._bar = recipe.stages, quiet, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def update(self, epoch):
        stage = self._stages[epoch.stage - 1]
        height, width = stage.size
        where = f"{height}x{width} epoch {epoch.epoch + 1}/{stage.epochs}"
        # The stages before count as whole, though a tolerance may have ended them early.
        done = sum(map(self._units, self._stages[: epoch.stage - 1])) + (epoch.epoch + 1) * height * width
        if self._bar is None:  # only now: a run that is refused shows none, and the warm-up is not in the estimate
            self._bar = tqdm(
                desc=where,
                total=sum(map(self._units, self._stages)),
                initial=done,
                disable=self._quiet,
                mininterval=_interval(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        else:
            self._bar.update(done - self._bar.n)
        self._bar.set_description_str(where, refresh=False)
        self._bar.set_postfix_str(f"loss {epoch.total:.2f}", refresh=False)

    @staticmethod
    def _units(stage):
        return stage.epochs * stage.size[0] * stage.size[1]


class _ChapterLines:
    """Prints what the chapter prints."""

    def __init__(self, recipe):
        self._every, self._lr = recipe.report_every, None

    def update(self, epoch):
        if epoch.epoch and self._lr != epoch.lr:
            tqdm.write(f"change lr to {epoch.lr:.1e}")
        self._lr = epoch.lr
        if epoch.epoch and epoch.epoch % self._every == 0:
            tqdm.write(
                f"epoch {epoch.epoch:3d}, content loss {epoch.content:.2f}, style loss {epoch.style:.2f}, "
                f"TV loss {epoch.tv:.2f}, {epoch.seconds:.2f} sec"
            )


# -- commands ---------------------------------------------------------------------------------------------------------


def _customised(arguments, default=None):
    changes = {name: getattr(arguments, name) for name in _OPTIONS if name != "recipe"}
    return recipes.customise(arguments.recipe or default, **changes)


def _run(arguments, content, style, recipe, *followers):
    """The Result of a run, or of as much of it as was done when it was interrupted."""
    with _RunBar(recipe, arguments.quiet) as bar:

        def report(epoch):
            for follower in (bar, *followers):
                follower.update(epoch)

        try:
            return transfer(
                content,
                style,
                recipe=recipe,
                seed=arguments.seed,
                weights=arguments.weights,
                device=arguments.device,
                report=report,
                notify=_say,
                progress=None if arguments.quiet else _download_bar,
            )
        except Interrupted as stopped:
            if stopped.result is None:
                raise
            return stopped.result


def _finish(result, written):
    """Say what was written, and give the exit status."""
    height, width = result.image.height, result.image.width
    print(f"{written}: {height} x {width}, total loss {result.loss:.2f}, {result.seconds:.0f} s")
    if result.complete:
        return 0
    stopped = result.provenance["interrupted"]
    epochs = result.recipe.stages[stopped["stage"] - 1].epochs
    _say(f"interrupted: stage {stopped['stage']}, {stopped['epochs']} of {epochs} epochs; {written} is what there was")
    return 130


def _check_distinct(outputs, *inputs):
    """Refuse an output that would overwrite another one, or a file that the run reads."""
    taken = {os.path.realpath(given) for given in inputs if given and os.path.isfile(given)}
    for output in map(os.path.realpath, outputs):
        if output in taken:
            raise InputError(f"{output}: is one of the run's inputs, or another output; choose another name")
        taken.add(output)


def _render(arguments):
    recipe = _customised(arguments)
    check_picture_writable(arguments.output)
    outputs = [arguments.output]
    if arguments.losses:
        check_writable(arguments.losses)
        outputs.append(arguments.losses)
    _check_distinct(outputs, arguments.content, arguments.style, arguments.init, arguments.recipe, arguments.weights)
    result = _run(arguments, arguments.content, arguments.style, recipe)
    result.save(arguments.output)
    if arguments.losses:
        result.save_losses(arguments.losses)
    return _finish(result, arguments.output)


def _chapter(arguments):
    if arguments.recipe and arguments.edition:
        raise InputError("--edition names a recipe as --recipe does; give one of them")
    recipe = _customised(arguments, default=f"d2l-{arguments.edition or 2019}")
    content, style = _chapter_pictures(arguments)
    out = arguments.out
    losses = arguments.losses or out / "losses.csv"
    images = [out / f"neural-style-{number}.png" for number in range(1, len(recipe.stages) + 1)]
    outputs = [*images, losses, out / "losses.png"]
    check_folder(out)
    for path in outputs:
        if path.parent != out or out.is_dir():
            check_writable(path)
    _check_distinct(outputs, content, style, arguments.init, arguments.recipe, arguments.weights)
    result = _run(arguments, content, style, recipe, _ChapterLines(recipe))
    out.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(images[: len(result.images)], start=1):
        result.save(path, stage=number)
    result.save_losses(losses)
    result.save_plot(out / "losses.png")
    return _finish(result, images[len(result.images) - 1])


def _chapter_pictures(arguments):
    if (arguments.content is None) != (arguments.style is None):
        raise InputError("--content and --style go together; give both, or neither for the project's own pictures")
    if arguments.content:
        if arguments.book_images:
            raise InputError("--book-images is for a run without --content and --style; leave one of them out")
        return arguments.content, arguments.style
    if arguments.book_images:
        return pictures.book_pictures(progress=None if arguments.quiet else _download_bar)
    _say("using the project's own pictures; --book-images fetches the book's, --content and --style take yours")
    return pictures.own_pictures()


def _recipes(arguments):
    if arguments.recipe:
        print(recipes.text(arguments.recipe), end="")
        return 0
    for name in recipes.names():
        recipe = recipes.read(name)
        print(f"{name:<12} {recipe.title}\n{'':<12} {recipe.source}")
    return 0


def _weights(arguments):
    if arguments.action == "list":
        _print_weights()
        return 0
    if arguments.action == "path":
        trunk = weights.cached(arguments.source)
        if trunk is None:
            raise NSTError(f"weights {arguments.source}: not here; run gluon-nst weights fetch, or import a file")
    elif arguments.action == "fetch":
        trunk = weights.fetch(arguments.source, notify=_say, progress=_download_bar)
    else:
        trunk = weights.import_file(arguments.file, notify=_say)
    print(trunk.path)
    return 0


def _print_weights():
    for source in weights.SOURCES.values():
        here = weights.cached(source.name)
        print(f"{source.name:<12} {source.size / 1e6:4.0f} MB  {'here' if here else '-':<5} {source.title}, {source.licence}")
        print(f"{'':<12} {source.best_for}")


def _info(arguments):
    versions = {"gluon-nst": __version__, "mxnet": mx.__version__, "python": platform.python_version()}
    device = runtime.choose_device()
    print(" ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"device {device}; cores {runtime.physical_cores()}; threads {os.environ.get('OMP_NUM_THREADS', 'as MXNet takes them')}")
    _print_weights()
    return 0


def main(argv=None):
    """Run the command line and return its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    warnings.filterwarnings("ignore", module="mxnet")  # remarks on NumPy that a user of the command can't act on
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop keeps as much as Ctrl-C does
    try:
        arguments = build_parser().parse_args(argv)
        return arguments.function(arguments)
    except NSTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    except (mx.MXNetError, MemoryError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        print(f"error: the run failed: {reason}", file=sys.stderr)
        return 1
