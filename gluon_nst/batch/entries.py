"""The jobs of a batch, from a TOML or CSV file in which each has its own settings, or from folders of pictures."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import itertools
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from gluon_nst.errors import InputError, NSTError, did_you_mean
from gluon_nst.machine.files import file_name, given, reading
from gluon_nst.recipes import INITS, LONGEST_SIDE, SOURCES, Setting, recipe_settings, settings
from gluon_nst.recipes.files import table_of
from gluon_nst.recipes.rules import line
from gluon_nst.runs.inputs import style_files
from gluon_nst.runs.job import Job, Style, check_settings

ENDINGS = (".toml", ".csv")
"""Suffixes of files that list jobs."""
_OWN = ("name", "content", "style", "style-weights", "style-scale", "style-regions", "recipe", "device")
"""The keys of a job other than the settings of a recipe and of a Job."""
_SEVERAL = ";"
"""Separator of several style pictures in a cell of a CSV."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One job of a batch, or the reason why it is invalid."""

    name: str
    """The name of its picture, without the suffix."""
    job: Job | None
    said: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Its settings as text, by the names of the command line's options."""
    error: str = ""
    after: str | None = None
    """In a sequence, the name of the frame before it."""

    @property
    def file_name(self) -> str:
        """The name of its files, without their suffix."""
        return file_name(self.name)


def read(path: str | Path, **shared: Any) -> list[Entry]:
    """Return the jobs that a file lists: `[[job]]` tables in a .toml, or the rows of a .csv below a row of names.

    Each has a `content` and a `style`, optionally a `name`, and options of `gluon-nst render` by their names. Keys
    above the tables of a .toml apply to all of them. The `shared` options, those of `transfer`, apply where the file
    does not set them. Paths are relative to the file's folder. Raises InputError for a file that can't be read; an
    invalid job is an Entry with its error.
    """
    path = given(path)
    all_have, tables = _of_toml(path) if path.suffix.lower() == ".toml" else ({}, list(_of_csv(path)))
    if not tables:
        raise InputError(f"{path}: no jobs are in there; add a [[job]] table, or a row below the names")
    return _named([_Read(table, path.parent, shared, all_have) for table in tables])


def pairs(contents: str | Path, styles: str | Path, **shared: Any) -> list[Entry]:
    """Return a job for each pair of a picture in the folder `contents` and one in the folder `styles`.

    Either may also be the path of one picture. `shared` are options of `transfer`. Warns of files in the folders that
    are skipped.
    """
    both = itertools.product(style_files(contents), style_files(styles))
    return _named([_Read({"content": str(content), "style": str(style)}, Path(), shared) for content, style in both])


def sequence(frames: str | Path, styles: str | Path, **shared: Any) -> list[Entry]:
    """Return the frames of a film in each of the styles: each starts from the result of the frame before it.

    Frames are in the natural order of their names. With several styles, the name of a job begins with that of its
    style. `shared` and warnings are as in `pairs`.
    """
    pictures, files = style_files(styles), style_files(frames)
    several = len(pictures) > 1
    entries = []
    for style, frame in itertools.product(pictures, files):
        read = _Read({"content": str(frame), "style": str(style)}, Path(), shared)
        stem = Path(str(frame)).stem
        entries.append(read.entry(f"{Path(str(style)).stem}-{stem}" if several else stem))
    entries = _distinct(entries, [False] * len(entries))
    before = [None, *(entry.name for entry in entries)]
    return [
        dataclasses.replace(entry, after=before[place] if place % len(files) else None)
        for place, entry in enumerate(entries)
    ]


# -- files ------------------------------------------------------------------------------------------------------------


def _of_toml(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings of all jobs, and the table of each."""
    table = table_of(path, "a list of jobs")
    jobs = table.pop("job", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise InputError(f"{path}: job: each is a [[job]] table")
    for name in table:
        if name.replace("_", "-") not in _known() or name in ("name",):
            meant = did_you_mean(name, (*_known(), "job"))
            raise InputError(f"{path}: {name}: unknown key; a job is a [[job]] table, below what all have{meant}")
    return table, jobs


def _of_csv(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with reading(path, "a list of jobs"):
            content = path.read_bytes()
        is_utf_16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # a spreadsheet's "Unicode text"
        delimiter, text = _delimited(content.decode("utf-16" if is_utf_16 else "utf-8-sig").lstrip("\r\n"))
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(rows, [])]
        alike = [name.replace("_", "-") for name in names if name]
        for name in alike:
            if alike.count(name) > 1:
                raise InputError(f"{path}: {name}: two columns of this name; leave one")
            if name not in _known():
                meant = did_you_mean(name, _known())
                raise InputError(f"{path}: {name}: unknown column; there are {', '.join(_known())}{meant}")
        for row in rows:
            cells = [cell.strip() for cell in row]
            said: dict[str, Any] = {name: cell for name, cell in zip(names, cells) if name and cell}
            if any(cells[len(names) :]):
                said[""] = f"{len(row)} cells for {len(names)} names"
            elif any(cell and not name for name, cell in zip(names, cells)):
                raise InputError(f"{path}: a column with no name has values; name it, or empty it")
            if said:
                yield said
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8 or UTF-16, or a quote in it is not closed ({error})") from None


def _delimited(text: str) -> tuple[str, str]:
    """Return the delimiter of a CSV, and its text from the names of the columns on.

    Spreadsheets write commas, tabs, or, where the decimal separator is a comma, semicolons; a first line `sep=;`
    specifies the delimiter.
    """
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r"\"?sep=(.)\"?", first.strip("\r"), re.IGNORECASE)
    if said:
        return said[1], rest
    return max(",;\t", key=first.count), text


# -- one job ----------------------------------------------------------------------------------------------------------


def _known() -> dict[str, Setting | None]:
    """Return the allowed keys of a job, with the setting of each if it has one."""
    known: dict[str, Setting | None] = dict.fromkeys(_OWN)
    known["longest-side"] = LONGEST_SIDE
    known.update({each.name.replace("_", "-"): each for each in (*recipe_settings(), *settings(Job))})
    return known


class _Read:
    """The settings of a job: those of its `table`, those of all jobs of its file (`all_have`), and the caller's
    (`shared`). Paths of the first two are relative to `folder`."""

    def __init__(
        self,
        table: Mapping[str, Any],
        folder: Path,
        shared: Mapping[str, Any],
        all_have: Mapping[str, Any] | None = None,
    ) -> None:
        own, others = (
            {name.replace("_", "-"): value for name, value in each.items()} for each in (table, all_have or {})
        )
        check_settings(shared, also=["recipe"])
        self.said, self._own = {**_without_sizes(others, own), **own}, set(own)
        self._folder, self._shared = folder, _without_sizes(shared, self.said)
        content, styles = self.said.get("content", ""), self._styles()
        paths = [Path(str(each)) for each in [content, *styles]]
        self.name = str(self.said.get("name") or "-".join(path.stem for path in paths))
        self.full_name = "-".join(path.name for path in paths)

    def _styles(self) -> list[Any]:
        style = self.said.get("style", "")
        return style.split(_SEVERAL) if isinstance(style, str) else list(style) if isinstance(style, list) else [style]

    @property
    def is_pair(self) -> bool:
        """Whether its pictures are its only settings."""
        return set(self.said) == {"content", "style"}

    @property
    def differs(self) -> str:
        """The settings of its own table, as part of a name."""
        own = {name: value for name, value in self.said.items() if name in self._own - {"content", "style", ""}}
        return ",".join(f"{name}={_text(value)}" for name, value in own.items())

    def entry(self, name: str) -> Entry:
        """Return the Entry with this name."""
        all_said = {name.replace("_", "-"): value for name, value in self._shared.items()}
        said = {each: _text(value) for each, value in {**all_said, **self.said}.items() if each != "name"}
        try:
            line().check(name, "name")
            return Entry(name, self._job(), said)
        except NSTError as error:
            return Entry(name, None, said, str(error))
        except TypeError as error:
            return Entry(name, None, said, f"a value that can't be read: {error}")

    def _job(self) -> Job:
        options, known = dict(self._shared), _known()
        for name, value in self.said.items():
            if name not in known:
                raise InputError(
                    value if not name else f"{name}: unknown; there are {', '.join(known)}{did_you_mean(name, known)}"
                )
            setting = known[name]
            if setting:
                parsed = self._located(setting.name, _parsed(setting, name, value))
                # A TOML has no tuples: its pair of integers could be one size or two, as Python's pair could.
                options[setting.name] = tuple(parsed) if name == "sizes" and isinstance(parsed, list) else parsed
        for name in ("content", "style"):
            if not self.said.get(name):
                raise InputError(f"{name}: missing; name a picture")
        for name in ("recipe", "device"):
            if name in self.said:
                options[name] = self._located(name, self.said[name])
        return Job(self._located("content", self.said["content"]), self._of_styles(), **options)

    def _of_styles(self) -> list[Style]:
        pictures = [self._located("style", style) for style in self._styles()]
        values: dict[str, Sequence[Any]] = {}
        own = {each.name: each for each in settings(Style)}
        for field, name in (("weight", "style-weights"), ("scale", "style-scale"), ("regions", "style-regions")):
            value = self.said.get(name)
            if value is None:
                continue
            if field == "regions":
                given_ones = value.split(_SEVERAL) if isinstance(value, str) else value
                each = [self._located("regions", one) for one in given_ones]
            else:
                parsed = _parsed(own[field]._replace(staged=True), name, value)
                each = list(parsed) if isinstance(parsed, (list, tuple)) else [parsed]
            if len(each) == 1 and field != "regions":
                each *= len(pictures)
            if len(each) != len(pictures):
                raise InputError(f"{name}: {len(each)} for {len(pictures)} styles; give one each")
            values[field] = each
        return [
            Style(picture, **{name: value[n] for name, value in values.items()}) for n, picture in enumerate(pictures)
        ]

    def _located(self, name: str, value: Any) -> Any:
        """Return a value that is a path relative to the folder as a full path, and any other unchanged."""
        if not isinstance(value, str) or not value:
            return value
        words = {"init": INITS, "weights": ("auto", *SOURCES)}
        if name in ("content", "style", "mask", "regions") or (name in words and value not in words[name]):
            return str(self._folder / given(value))
        return str(self._folder / given(value)) if name == "recipe" and value.endswith(".toml") else value


def _without_sizes(general: Mapping[str, Any], special: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `general` options, without sizes if the `special` ones, which take precedence, have any."""
    ways = {"sizes", "longest-side", "longest_side"}
    return {name: value for name, value in general.items() if not (name in ways and ways & set(special))}


def _parsed(setting: Setting, name: str, value: Any) -> Any:
    """Return the value of a setting: text is parsed as on the command line, other values are unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return setting.parse(value)
    except ValueError:
        raise InputError(f"{name}: {value!r} is not {setting.rule.written or setting.rule.allowed}") from None


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join("x".join(map(str, each)) if isinstance(each, (list, tuple)) else _text(each) for each in value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- names ------------------------------------------------------------------------------------------------------------


def _named(jobs: Sequence[_Read]) -> list[Entry]:
    """Return the Entries of jobs; unnamed ones with the same pictures are named by their settings."""
    names = [job.name for job in jobs]
    entries = []
    for job in jobs:
        name = job.name
        if "name" not in job.said and names.count(name) > 1:
            name = f"{name},{job.differs}" if job.differs else job.full_name if job.is_pair else name
        entries.append(job.entry(name))
    return _distinct(entries, ["name" in job.said for job in jobs])


def _distinct(entries: Sequence[Entry], are_named: Sequence[bool]) -> list[Entry]:
    """Return the Entries, with a number added to the name of each whose files would be those of an earlier one.

    It also gets an error if the user gave the name (`are_named`), or if its settings are those of the earlier one.
    """
    names = {_file(entry.name) for entry in entries}
    taken: dict[str, Entry] = {}
    for entry, is_named in zip(entries, are_named):
        before = taken.get(_file(entry.name))
        if before:
            free = (f"{entry.name} ({number})" for number in itertools.count(2))
            name = next(name for name in free if _file(name) not in names and _file(name) not in taken)
            if is_named or entry.said == before.said:
                error = entry.error or f"another job is called {entry.name} already; give each a name of its own"
                entry = dataclasses.replace(entry, job=None, error=error)
            entry = dataclasses.replace(entry, name=name)
        taken[_file(entry.name)] = entry
    return list(taken.values())


def _file(name: str) -> str:
    """Return the name of the files, with case ignored as some file systems do."""
    return file_name(name).casefold()
