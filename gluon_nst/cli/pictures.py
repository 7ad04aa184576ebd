"""The commands that make one run: chapter and render."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import Any, Iterable

from tqdm import tqdm

from gluon_nst import recipes
from gluon_nst.cli.outputs import check_distinct, check_writable_with, place, tell_place, writing
from gluon_nst.errors import InputError, NSTError
from gluon_nst.estimates import tell_if_long
from gluon_nst.files import check_writable
from gluon_nst.images import check_picture_writable, open_picture
from gluon_nst.inputs import inputs
from gluon_nst.job import Job, Style, Styles
from gluon_nst.loop import carry_out
from gluon_nst.observer import Observer, Observers
from gluon_nst.observers import Bar, Film, Lines, Snapshots, Window, check_film, snapshot_paths
from gluon_nst.pictures import book_pictures, own_pictures
from gluon_nst.result import Result
from gluon_nst.run import prepare
from gluon_nst.state import State

_STATUS = {"complete": 0, "settled": 0, "interrupted": 130}
"""What the command ends with; 1 for the others."""


def render(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst render."""
    job = _job(arguments, options, recipes.DEFAULT, _styles(arguments))
    check_picture_writable(arguments.output)
    follow = _Following(arguments, arguments.output, job)
    outputs = [arguments.output, *follow.outputs, *filter(None, [arguments.losses])]
    for path in outputs:
        check_writable(path)
    _check_inputs(arguments, job, outputs)
    result = follow.carry_out(job)
    with writing(arguments.output.parent):
        picture = follow.place(arguments.output, result)
        result.save(picture)
        if arguments.losses:
            result.save_losses(follow.place(arguments.losses, result))
        follow.end(result, picture)
    return _STATUS.get(result.status, 1)


def chapter(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst chapter."""
    if arguments.recipe and arguments.edition:
        raise InputError("--edition names a recipe as --recipe does; give one of them")
    # What chapter is not given it chooses later.
    job = _job(arguments, options, f"d2l-{arguments.edition or 2019}", arguments.style or "")
    out, losses = arguments.out, arguments.losses or arguments.out / "losses.csv"
    check_writable_with(out, [losses, out / "losses.png"])
    content, style = _chapter_pictures(arguments)
    job = dataclasses.replace(job, content=content, style=style)
    follow = _Following(arguments, out / "neural-style.png", job, [Lines()])
    images = [out / f"neural-style-{number}.png" for number in range(1, len(follow.recipe.stages) + 1)]
    outputs = [*images, losses, out / "losses.png", *follow.outputs]
    check_writable_with(out, outputs)
    _check_inputs(arguments, job, outputs)
    result = follow.carry_out(job)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        places = [follow.place(path, result) for path in images[: len(result.images)]]
        for number, path in enumerate(places, start=1):
            result.save(path, stage=number)
        result.save_losses(follow.place(losses, result))
        result.save_plot(follow.place(out / "losses.png", result))
        follow.end(result, places[-1])
    return _STATUS.get(result.status, 1)


def _job(arguments: argparse.Namespace, options: dict[str, Any], default: str, styles: Styles) -> Job:
    recipe = arguments.recipe or default
    return Job.customised(arguments.content or "", styles, recipe=recipe, device=arguments.device, **options)


def _styles(arguments: argparse.Namespace) -> list[Style]:
    """The styles of `render`, each with its own of what is given for them."""
    pictures = arguments.style
    values: dict[str, Any] = {}
    for name, given, option in (
        ("weight", arguments.style_weights, "--style-weights"),
        ("scale", arguments.style_scale, "--style-scale"),
        ("regions", arguments.style_regions, "--style-regions"),
    ):
        alike = name != "regions" and given is not None and len(given) == 1
        if given is not None and len(given) != len(pictures) and not alike:
            raise InputError(f"{option}: {len(given)} for {len(pictures)} styles; give one each")
        values[name] = (given * len(pictures) if alike else given) or []
    each = [{name: value[number] for name, value in values.items() if value} for number in range(len(pictures))]
    return [Style(picture, **own) for picture, own in zip(pictures, each)]


def _check_inputs(arguments: argparse.Namespace, job: Job, outputs: Iterable[Path]) -> None:
    read = recipes.paths(arguments.recipe) if arguments.recipe else []
    check_distinct(outputs, *inputs(job), recipes.read(job.recipe).init, job.weights, *read)


def _chapter_pictures(arguments: argparse.Namespace) -> tuple[Path, Path]:
    bar = Bar(quiet=arguments.quiet)
    if (arguments.content is None) != (arguments.style is None):
        raise InputError("--content and --style go together; give both, or neither for the project's own pictures")
    if arguments.content:
        if arguments.book_images:
            raise InputError("--book-images is for a run without --content and --style; leave one of them out")
        return arguments.content, arguments.style
    if arguments.book_images:
        return book_pictures(bar.download)
    bar.note("using the project's own pictures; --book-images fetches the book's, --content and --style take yours")
    return own_pictures()


class _Following:
    """What follows a run: the bar, `others`, and what --save-every, --animate and --show ask for, beside `base`.

    Their files are checked as it is made, before anything is begun; `outputs` are these, and `recipe` is the job's, fitted to its
    content picture.
    """

    def __init__(self, arguments: argparse.Namespace, base: Path, job: Job, others: Iterable[Observer] = ()) -> None:
        self.bar = Bar(quiet=arguments.quiet)
        self.recipe = recipes.fit(recipes.read(job.recipe), open_picture(job.content).size)
        self.outputs: list[Path] = []
        observers: list[Observer] = [self.bar, *others]
        self._film = None
        if arguments.save_every:
            self.outputs += snapshot_paths(base, arguments.save_every, self.recipe).values()
            observers.append(Snapshots(base, arguments.save_every))
        if arguments.animate:
            check_film(arguments.animate)
            self.outputs.append(arguments.animate)
            frames = functools.partial(tqdm, desc=str(arguments.animate), disable=arguments.quiet, leave=False)
            self._film = Film(arguments.animate, lambda made, total: frames(made, total=total))
            observers.append(self._film)
        if arguments.show:
            observers.append(Window(self.bar.note))
        self._observer = Observers(observers)

    def carry_out(self, job: Job) -> Result:
        """The Result of a job; where it was stopped, or could not go on, of as much of it as there is a picture of."""
        run, state = prepare(job, self.bar), State()
        tell_if_long([run], self.bar)
        with self.bar:
            try:
                result = carry_out(run, self._observer, state)
            except KeyboardInterrupt:
                if not state.record:
                    raise
                result = Result.of(run, state)
        if result.note:
            self.bar.note(f"error: {result.note}")
        return result

    def place(self, path: Path, result: Result) -> Path:
        """Where to write of `result` what was to be written to `path`."""
        return place(path, result, self.bar.note)

    def end(self, result: Result, written: Path) -> None:
        """The result is kept, its picture in `written`: say so, and let the observers end."""
        height, width = result.image.height, result.image.width
        print(f"{written}: {height} x {width}, total loss {result.loss:.2f}, {result.seconds:.0f} s")
        if not result.complete:
            self.bar.note(f"{result.status}: {_reached(result)}; {written} is {_what_it_is(result)}")
        self._observer.end(result)
        if self._film:
            if self._film.written is None:  # the observers have said why
                raise NSTError(f"{self._film.path}: there is no film")
            tell_place(self._film.path, self._film.written, self.bar.note)
            print(f"{self._film.written}: the film of the run")


def _reached(result: Result) -> str:
    """How far a run has come that did not come to its end."""
    last = result.losses[-1]
    return f"stage {last.stage}, {last.epoch + 1} of {result.recipe.stages[last.stage - 1].epochs} epochs"


def _what_it_is(result: Result) -> str:
    """What picture it has left."""
    stage = len(result.images)
    return "what there was" if stage == result.losses[-1].stage else f"the picture of stage {stage}"
