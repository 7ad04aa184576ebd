"""The command gluon-nst."""

import argparse
import contextlib
import functools
import inspect
import os
import platform
import signal
import sys
import warnings
from pathlib import Path

import mxnet as mx
from tqdm import tqdm

from gluon_nst import experiments, figures, pictures, recipe as recipes, runtime, watching, weights
from gluon_nst.errors import InputError, Interrupted, NSTError, reason
from gluon_nst.images import check_ending, check_folder, check_picture_writable, check_writable
from gluon_nst.transfer import prepare, transfer
from gluon_nst.version import __version__
from gluon_nst.vgg import multiplications

_CHANGES = inspect.signature(recipes.customise).parameters  # what a run may change of its recipe
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
    "seed": dict(type=int, default=_DEFAULTS["seed"], help="for --init noise (default: %(default)s)"),
    "weights": dict(
        metavar=f"auto|{'|'.join(weights.SOURCES)}|FILE",
        default=_DEFAULTS["weights"],
        help="where VGG-19's parameters come from (default: %(default)s; see gluon-nst weights list)",
    ),
}


def _add_options(parser, recipe_default=None, without=()):
    """The options of every command that runs anything, but for those `without` which a command is."""
    if "recipe" not in without:
        help = "what to compute (see gluon-nst recipes)"
        parser.add_argument("--recipe", metavar="NAME|FILE.toml", default=recipe_default, help=help)
    either = parser.add_mutually_exclusive_group()
    for name, option in _RECIPE_OPTIONS.items():
        if name in without:
            continue
        (either if option.get("dest", name) == "sizes" else parser).add_argument(f"--{name}", **option)
    device_help = "default: the first GPU, else the CPU"
    parser.add_argument("--device", metavar="auto|cpu|gpu|gpu:N", default=_DEFAULTS["device"], help=device_help)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_run_options(parser, recipe_default):
    """The options of the commands that make one run."""
    _add_options(parser, recipe_default)
    add = parser.add_argument
    add("--losses", type=Path, metavar="FILE.csv", help="write the losses, one row an epoch")
    add("--save-every", type=_interval_of_epochs, metavar="N", help="keep the picture after every N epochs as well")
    add("--animate", type=Path, metavar="FILE.gif|webp|mp4", help="make a film: the composite beside its losses")
    add("--show", action="store_true", help="show the run in a window, where there is a screen")


def _add_experiment_options(parser, out, recipe_default=None, without=()):
    """The options of the commands that make a sheet of many runs."""
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help=f"where each picture and its losses are kept (default: {out})")
    add("--figure", type=Path, metavar="FILE.png|svg|pdf", help="the sheet (default: sheet.png in DIR)")
    _add_options(parser, recipe_default, without)


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

    def command(name, function, help):
        added = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        added.set_defaults(function=function)
        return added

    def add_pictures(added):
        added.add_argument("content", metavar="CONTENT")
        added.add_argument("style", metavar="STYLE")

    chapter = command("chapter", _chapter, "run the book's chapter, coarse to fine, and print what it prints")
    chapter.add_argument("--edition", choices=("2019", "2023"), help="of the book (default: 2019)")
    chapter.add_argument("--out", type=Path, default=Path("neural-style"), metavar="DIR", help="default: %(default)s")
    chapter.add_argument("--content", metavar="FILE", help="default: the project's own picture of mountains")
    chapter.add_argument("--style", metavar="FILE", help="default: the project's own painting of oaks")
    chapter.add_argument("--book-images", action="store_true", help="fetch the book's own two pictures and use them")
    _add_run_options(chapter, recipe_default=None)

    render = command("render", _render, "transfer the style of one picture to the content of another")
    add_pictures(render)
    render.add_argument("--output", type=Path, required=True, metavar="OUT.png", help="PNG or JPEG")
    _add_run_options(render, recipe_default=_DEFAULTS["recipe"])

    sweep = command("sweep", _sweep, "vary one thing or two of a run, and lay the pictures out in a grid")
    add_pictures(sweep)
    sweep.add_argument(
        "--vary", type=_varied, action="append", required=True, metavar="NAME=VALUE,...",
        help=f"an option and its values, once for the columns and perhaps again for the rows: {', '.join(_VARIABLE)}; "
        "a + inside a value stands for a comma: style-layers=conv1_1,conv1_1+conv2_1",
    )  # fmt: skip
    _add_experiment_options(sweep, "sweep-CONTENT-STYLE", _DEFAULTS["recipe"])

    compare = command("compare", _compare, "run several recipes on the same two pictures, and lay them side by side")
    add_pictures(compare)
    compare.add_argument(
        "--recipes", type=_names, default=list(experiments.PUBLISHED), metavar="NAME,...",
        help=f"names or .toml files (default: {','.join(experiments.PUBLISHED)})",
    )  # fmt: skip
    _add_experiment_options(compare, "compare-CONTENT-STYLE", without=["recipe"])

    reconstruct = command("reconstruct", _reconstruct, "find a picture's content, or style, from noise, layer by layer")
    reconstruct.add_argument("kind", choices=("content", "style"), metavar="content|style")
    reconstruct.add_argument("content", metavar="IMAGE")
    reconstruct.add_argument(
        "--layers", type=_layers, metavar="NAME,...",
        help="content: from each alone; style: from the first one, two, … (default: those of Gatys et al. 2016, figure 1)",
    )  # fmt: skip
    fixed = ["content-layers", "style-layers", "content-weight", "style-weight", "style-size"]
    _add_experiment_options(reconstruct, "reconstruct-KIND-IMAGE", "reconstruction", without=fixed)

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
    """A bar over one run or several: `recipes` maps their names to what they do.

    Its unit is a multiplication, so that the estimate holds across the sizes and the recipes.
    """

    def __init__(self, recipes, quiet):
        self._recipes, self._quiet, self._bar = recipes, quiet, None
        if recipes:
            self.begin(next(iter(recipes)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def begin(self, name):
        """The run of that name begins; those before it count as whole."""
        names = list(self._recipes)
        before = names[: names.index(name)]
        self._recipe, self._before = self._recipes[name], sum(self._units(self._recipes[other]) for other in before)
        self._where = f"{len(before) + 1}/{len(names)} {name} " if len(names) > 1 else ""

    def update(self, epoch):
        recipe = self._recipe
        stage = recipe.stages[epoch.stage - 1]
        height, width = stage.size
        where = f"{self._where}{height}x{width} epoch {epoch.epoch + 1}/{stage.epochs}"
        # The stages before count as whole, though a tolerance may have ended them early.
        done = self._before + self._units(recipe, epoch.stage - 1)
        done += (epoch.epoch + 1) * height * width * self._cost(recipe)
        if self._bar is None:  # only now: a run that is refused shows none, and the warm-up is not in the estimate
            self._bar = tqdm(
                desc=where,
                total=sum(map(self._units, self._recipes.values())),
                initial=done,
                disable=self._quiet,
                mininterval=_interval(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        else:
            self._bar.update(done - self._bar.n)
        self._bar.set_description_str(where, refresh=False)
        self._bar.set_postfix_str(f"loss {epoch.total:.4g}", refresh=False)

    @staticmethod
    def _cost(recipe):
        return multiplications(recipe.last_layer)

    def _units(self, recipe, stages=None):
        return sum(stage.epochs * stage.size[0] * stage.size[1] for stage in recipe.stages[:stages]) * self._cost(recipe)


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


def _options(arguments):
    """The options that were given, as `transfer` takes them."""
    names = {option.get("dest", name.replace("-", "_")) for name, option in _RECIPE_OPTIONS.items()}
    options = {name: getattr(arguments, name, None) for name in sorted(names)}
    return {name: value for name, value in options.items() if value is not None}


def _customised(arguments, default=None):
    changes = {name: value for name, value in _options(arguments).items() if name in _CHANGES}
    return recipes.customise(arguments.recipe or default, **changes)


class _Watchers:
    """What --save-every, --animate and --show ask for; their files are checked before anything is begun."""

    def __init__(self, arguments, base, recipe):
        self._every, self._animate, self._show, self._base = arguments.save_every, arguments.animate, arguments.show, base
        self._quiet, self._film, self._window, self._watching = arguments.quiet, None, None, []
        if self._animate:
            watching.check_film(self._animate)
        snapshots = watching.snapshot_paths(base, self._every, recipe).values() if self._every else []
        self.outputs = [*snapshots, *filter(None, [self._animate])]

    def begin(self, run):
        if self._every:
            self._watching.append(watching.Snapshots(self._base, self._every, run.recipe, run.provenance))
        if self._animate:
            self._film = watching.Film(self._animate, run.recipe)
            self._watching.append(self._film)
        if self._show:
            self._window = watching.Window(run.recipe)
            if self._window.opened:
                self._watching.append(self._window)
            else:
                _say("no screen: --show shows nothing here")

    def watch(self, epoch, picture):
        for one in list(self._watching):
            try:
                one(epoch, picture)
            except NSTError as error:  # a full disk: the run is worth more than its snapshots
                _say(f"{error}; the run goes on without")
                self._watching.remove(one)

    def end(self, result):
        """After the result is saved."""
        if self._film:
            description = str(self._animate)
            bar = functools.partial(tqdm, desc=description, disable=self._quiet, leave=False)
            self._film.write(result.image, lambda frames, total: bar(frames, total=total))
            print(f"{self._animate}: the film of the run")
        if self._window:
            self._window.stay(result.image)


def _run(arguments, content, style, recipe, watchers, *followers):
    """The Result of a run, or of as much of it as was done when it was interrupted."""
    run = prepare(
        content,
        style,
        recipe=recipe,
        seed=arguments.seed,
        weights=arguments.weights,
        device=arguments.device,
        notify=_say,
        progress=None if arguments.quiet else _download_bar,
    )
    watchers.begin(run)
    with _RunBar({"": run.recipe}, arguments.quiet) as bar:

        def report(epoch):
            for follower in (bar, *followers):
                follower.update(epoch)

        try:
            return run.start(report, watchers.watch)
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


def _check_writable_with(folder, outputs):
    """Refuse outputs that can't be written once `folder` is there, and a folder that can't be made."""
    check_folder(folder)
    for path in outputs:
        if path.parent != folder or folder.is_dir():
            check_writable(path)


def _render(arguments):
    recipe = _customised(arguments)
    check_picture_writable(arguments.output)
    watchers = _Watchers(arguments, arguments.output, recipe)
    outputs = [arguments.output, *watchers.outputs, *filter(None, [arguments.losses])]
    for path in outputs:
        check_writable(path)
    _check_distinct(outputs, arguments.content, arguments.style, arguments.init, arguments.recipe, arguments.weights)
    result = _run(arguments, arguments.content, arguments.style, recipe, watchers)
    with _writing(arguments.output.parent):
        result.save(arguments.output)
        if arguments.losses:
            result.save_losses(arguments.losses)
        status = _finish(result, arguments.output)
        watchers.end(result)
    return status


@contextlib.contextmanager
def _writing(folder):
    """Tell whoever stops the program while it writes into `folder` that what is there is whole."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {folder} is whole, the rest is not written") from None


def _chapter(arguments):
    if arguments.recipe and arguments.edition:
        raise InputError("--edition names a recipe as --recipe does; give one of them")
    recipe = _customised(arguments, default=f"d2l-{arguments.edition or 2019}")
    out = arguments.out
    losses = arguments.losses or out / "losses.csv"
    images = [out / f"neural-style-{number}.png" for number in range(1, len(recipe.stages) + 1)]
    watchers = _Watchers(arguments, out / "neural-style.png", recipe)
    outputs = [*images, losses, out / "losses.png", *watchers.outputs]
    _check_writable_with(out, outputs)
    content, style = _chapter_pictures(arguments)
    _check_distinct(outputs, content, style, arguments.init, arguments.recipe, arguments.weights)
    result = _run(arguments, content, style, recipe, watchers, _ChapterLines(recipe))
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(images[: len(result.images)], start=1):
            result.save(path, stage=number)
        result.save_losses(losses)
        result.save_plot(out / "losses.png")
        status = _finish(result, images[len(result.images) - 1])
        watchers.end(result)
    return status


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


def _sweep(arguments):
    vary = {}
    for name, values in arguments.vary:
        if name in vary:
            raise InputError(f"--vary {name.replace('_', '-')}: given twice; put all its values into one")
        vary[name] = values
        if name in ("recipe", "seed", "weights"):  # these have a default, which is not what was given
            setattr(arguments, name, None)
    options = {"recipe": arguments.recipe, **_options(arguments)}
    options = {name: value for name, value in options.items() if value is not None}
    experiment = experiments.sweep(arguments.content, arguments.style, vary, **options, device=arguments.device)
    return _experiment(arguments, experiment, f"sweep-{Path(arguments.content).stem}-{Path(arguments.style).stem}")


def _compare(arguments):
    options = {**_options(arguments), "device": arguments.device}
    experiment = experiments.compare(arguments.content, arguments.style, arguments.recipes, **options)
    return _experiment(arguments, experiment, f"compare-{Path(arguments.content).stem}-{Path(arguments.style).stem}")


def _reconstruct(arguments):
    options = {"recipe": arguments.recipe, **_options(arguments), "device": arguments.device}
    experiment = experiments.reconstruct(arguments.kind, arguments.content, arguments.layers, **options)
    return _experiment(arguments, experiment, f"reconstruct-{arguments.kind}-{Path(arguments.content).stem}")


def _experiment(arguments, experiment, folder):
    """Run what isn't finished of an Experiment, and draw its sheet; gives the exit status."""
    folder = arguments.out or Path(folder)
    figure = arguments.figure or folder / "sheet.png"
    check_ending(figure, figures.ENDINGS)
    outputs = [*experiment.paths(folder), figure]
    _check_writable_with(folder, outputs)
    _check_distinct(outputs, experiment.content, experiment.style, arguments.init, arguments.weights)
    prepared = experiment.prepare(notify=_say, progress=None if arguments.quiet else _download_bar)
    to_run = {}
    for trial in experiment.trials:
        run = prepared[trial.name]
        if isinstance(run, NSTError):
            _say(f"{trial.name}: can't be run, {run}; the others go on")
        elif not experiments.finished(trial.path(folder), run):
            to_run[trial.name] = run.recipe

    def done(outcome):
        tqdm.write(f"{outcome.trial.name}: {'failed, ' if outcome.failed else ''}{outcome.note}")

    status = 0
    with _RunBar(to_run, arguments.quiet) as bar:
        try:
            outcomes = experiment.run(folder, prepared, begin=bar.begin, report=bar.update, done=done)
        except Interrupted as stopped:
            outcomes, status = stopped.result, 130
    whole = sum(outcome.picture is not None for outcome in outcomes)
    if whole:
        with _writing(folder):
            figures.save(experiment.sheet(outcomes), figure)
        print(f"{figure}: {whole} of {len(outcomes)} pictures; each with its losses in {folder}")
    for outcome in outcomes:
        if outcome.failed:
            print(f"error: {outcome.trial.name}: {outcome.note}", file=sys.stderr)
            status = status or 1
    if status == 130:
        _say(f"interrupted: {whole} of {len(outcomes)} are done and kept in {folder}; the same command goes on from there")
    return status


def _recipes(arguments):
    if arguments.recipe:
        print(recipes.text(arguments.recipe), end="")
        return 0
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        recipe = recipes.read(name)
        print(f"{name:<{width}} {recipe.title}\n{'':<{width}} {recipe.source}")
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
    warnings.filterwarnings("ignore", "Glyph .* missing")  # a file's name in a script that matplotlib's font lacks
    warnings.filterwarnings("ignore", module="mxnet")  # remarks on NumPy that a user of the command can't act on
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop keeps as much as Ctrl-C does
    try:
        arguments = build_parser().parse_args(argv)
        return arguments.function(arguments)
    except NSTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt as stopped:
        written = stopped.args[0] if stopped.args and not isinstance(stopped, Interrupted) else "nothing was written"
        print(f"interrupted: {written}", file=sys.stderr)
        return 130
    except (mx.MXNetError, MemoryError, OSError) as error:
        print(f"error: the run failed: {reason(error)}", file=sys.stderr)
        return 1
