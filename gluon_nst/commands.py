"""What the commands of gluon-nst do, once their arguments are read (cli.py); `run` gives the exit status."""

import contextlib
import functools
import inspect
import json
import os
import platform
import sys
from pathlib import Path

import mxnet as mx
from tqdm import tqdm

from gluon_nst import experiments, figures, pictures, recipe as recipes, runtime, watching, weights
from gluon_nst.errors import InputError, Interrupted, NSTError, OutOfMemory, reason
from gluon_nst.files import beside, check_ending, check_folder, check_writable, given
from gluon_nst.images import check_picture_writable, read_provenance
from gluon_nst.job import prepare
from gluon_nst.layers import multiplications
from gluon_nst.version import __version__


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
        self.close()

    def close(self):
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


# Each is given its arguments, and those of its options that `transfer` takes and that were given.


def _customised(arguments, options, default=recipes.DEFAULT):
    changes = {name: value for name, value in options.items() if name in inspect.signature(recipes.customise).parameters}
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
            self._film = watching.Film(run.recipe)
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
            path = _place(self._animate, result)
            bar = functools.partial(tqdm, desc=str(path), disable=self._quiet, leave=False)
            self._film.write(path, result.image, lambda frames, total: bar(frames, total=total))
            print(f"{path}: the film of the run")
        if self._window:
            self._window.stay(result.image)


def _run(arguments, options, content, style, recipe, watchers, *followers):
    """(Result, status) of a run; where it was stopped, or the memory ran out, of as much of it as was done."""
    run = prepare(
        content,
        style,
        recipe=recipe,
        device=arguments.device,
        notify=_say,
        progress=None if arguments.quiet else _download_bar,
        **{name: options[name] for name in ("seed", "weights") if name in options},
    )
    watchers.begin(run)
    with _RunBar({"": run.recipe}, arguments.quiet) as bar:

        def report(epoch):
            for follower in (bar, *followers):
                follower.update(epoch)

        try:
            return run.start(report, watchers.watch), 0
        except (Interrupted, OutOfMemory) as stopped:
            if stopped.result is None:
                raise
            bar.close()
            if isinstance(stopped, OutOfMemory):
                _say(f"error: {stopped}")
            return stopped.result, getattr(stopped, "status", 130)


def _place(path, result):
    """Where to write of `result` what was to be written to `path`: beside what is there, unless the run came to its end."""
    place = path if result.complete else beside(path, "interrupted")
    if place != path:
        _say(f"{path}: left as it was; the run that did not end is in {place}")
    return place


def _tell(result, written):
    """Say what was written."""
    height, width = result.image.height, result.image.width
    print(f"{written}: {height} x {width}, total loss {result.loss:.2f}, {result.seconds:.0f} s")
    if not result.complete:
        stopped = result.provenance["interrupted"]
        epochs = result.recipe.stages[stopped["stage"] - 1].epochs
        _say(f"interrupted: stage {stopped['stage']}, {stopped['epochs']} of {epochs} epochs; {written} is what there was")


def _check_distinct(outputs, *inputs):
    """Refuse an output that would overwrite another one, or a file that the run reads."""
    paths = [given(path) for path in inputs if path]
    taken = {os.path.realpath(path) for path in paths if os.path.isfile(path)}
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


def _render(arguments, options):
    recipe = _customised(arguments, options)
    check_picture_writable(arguments.output)
    watchers = _Watchers(arguments, arguments.output, recipe)
    outputs = [arguments.output, *watchers.outputs, *filter(None, [arguments.losses])]
    for path in outputs:
        check_writable(path)
    _check_distinct(outputs, arguments.content, arguments.style, arguments.init, arguments.recipe, arguments.weights)
    result, status = _run(arguments, options, arguments.content, arguments.style, recipe, watchers)
    with _writing(arguments.output.parent):
        picture = _place(arguments.output, result)
        result.save(picture)
        if arguments.losses:
            result.save_losses(_place(arguments.losses, result))
        _tell(result, picture)
        watchers.end(result)
    return status


@contextlib.contextmanager
def _writing(folder):
    """Tell whoever stops the program while it writes into `folder` that what is there is whole."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {folder} is whole, the rest is not written") from None


def _chapter(arguments, options):
    if arguments.recipe and arguments.edition:
        raise InputError("--edition names a recipe as --recipe does; give one of them")
    recipe = _customised(arguments, options, default=f"d2l-{arguments.edition or 2019}")
    out = arguments.out
    losses = arguments.losses or out / "losses.csv"
    images = [out / f"neural-style-{number}.png" for number in range(1, len(recipe.stages) + 1)]
    watchers = _Watchers(arguments, out / "neural-style.png", recipe)
    outputs = [*images, losses, out / "losses.png", *watchers.outputs]
    _check_writable_with(out, outputs)
    content, style = _chapter_pictures(arguments)
    _check_distinct(outputs, content, style, arguments.init, arguments.recipe, arguments.weights)
    result, status = _run(arguments, options, content, style, recipe, watchers, _ChapterLines(recipe))
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(images[: len(result.images)], start=1):
            path = _place(path, result)
            result.save(path, stage=number)
        result.save_losses(_place(losses, result))
        result.save_plot(_place(out / "losses.png", result))
        _tell(result, path)
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


def _sweep(arguments, options):
    vary = {}
    for name, values in arguments.vary:
        if name in vary:
            raise InputError(f"--vary {name.replace('_', '-')}: given twice; put all its values into one")
        vary[name] = values
    experiment = experiments.sweep(arguments.content, arguments.style, vary, **_with_recipe(arguments, options))
    return _experiment(arguments, experiment, f"sweep-{arguments.content.stem}-{arguments.style.stem}")


def _compare(arguments, options):
    options = {**options, "device": arguments.device}
    experiment = experiments.compare(arguments.content, arguments.style, arguments.recipes, **options)
    return _experiment(arguments, experiment, f"compare-{arguments.content.stem}-{arguments.style.stem}")


def _reconstruct(arguments, options):
    options = _with_recipe(arguments, options)
    experiment = experiments.reconstruct(arguments.kind, arguments.content, arguments.layers, **options)
    return _experiment(arguments, experiment, f"reconstruct-{arguments.kind}-{arguments.content.stem}")


def _with_recipe(arguments, options):
    recipe = {"recipe": arguments.recipe} if arguments.recipe else {}
    return {**options, **recipe, "device": arguments.device}


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
            # A sheet with holes takes the place of none but one that says it had no fewer.
            before = (read_provenance(figure) or {}).get("pictures", len(outcomes))
            if whole < len(outcomes) and whole < before:
                figure = beside(figure, "interrupted")
            figures.save(experiment.sheet(outcomes), figure, json.dumps({"pictures": whole}))
        print(f"{figure}: {whole} of {len(outcomes)} pictures; each with its losses in {folder}")
    for outcome in outcomes:
        if outcome.failed:
            print(f"error: {outcome.trial.name}: {outcome.note}", file=sys.stderr)
            status = status or 1
    if status == 130:
        _say(f"interrupted: {whole} of {len(outcomes)} are done and kept in {folder}; the same command goes on from there")
    return status


def _weights(arguments, options):
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


def _info(arguments, options):
    versions = {"gluon-nst": __version__, "mxnet": mx.__version__, "python": platform.python_version()}
    device = runtime.choose_device()
    print(" ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"device {device}; cores {runtime.physical_cores()}; threads {os.environ.get('OMP_NUM_THREADS', 'as MXNet takes them')}")
    by = runtime.bfloat16_by(device)
    print(f"precision, where a recipe says auto: {runtime.choose_precision('auto', device)}; bfloat16 by {by or 'nothing'}; AMX: {runtime.instructions.amx}")
    _print_weights()
    return 0


_COMMANDS = {
    "chapter": _chapter,
    "render": _render,
    "sweep": _sweep,
    "compare": _compare,
    "reconstruct": _reconstruct,
    "weights": _weights,
    "info": _info,
}


def run(arguments, options):
    """Do what `arguments` ask for, and give the exit status; `options` are those of them that `transfer` takes."""
    try:
        return _COMMANDS[arguments.command](arguments, options)
    except (mx.MXNetError, MemoryError) as error:
        raise NSTError(f"the run failed: {reason(error)}") from None
