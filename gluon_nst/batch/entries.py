"""The jobs of a batch, from a TOML or CSV file, or from folders of pictures."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import itertools
import re
import warnings
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
_JOB_KEYS = ("name", "content", "style", "style-weights", "style-scale", "style-regions", "recipe", "device")
"""The keys of a job that are neither settings of a recipe nor of a Job."""
_SEPARATOR = ";"
"""Separator of several style pictures in a cell of a CSV."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One job of a batch, or the reason why it is invalid."""

    name: str
    """The name of its picture, without the suffix."""
    job: Job | None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Its settings as text, by the names of the command line's options."""
    error: str = ""
    after: str | None = None
    """In a sequence, the name of the frame before it."""

    @property
    def said(self) -> Mapping[str, str]:
        """The old name of `settings`."""
        warnings.warn("Entry.said is now Entry.settings", DeprecationWarning, stacklevel=2)
        return self.settings

    @property
    def file_name(self) -> str:
        """The name of its files, without their suffix."""
        return file_name(self.name)


def read(path: str | Path, **shared: Any) -> list[Entry]:
    """Return the jobs that a file lists.

    They are `[[job]]` tables in a .toml, or rows of a .csv below the column names. A job has the keys `content` and
    `style`, optionally `name`, and names of options of `gluon-nst render`. Keys above the tables of a .toml apply to
    all jobs. `shared` are options of `transfer` that apply where the file does not set them. Paths are relative to the
    file's folder. Raises InputError for a file that can't be read; an invalid job is an Entry with its error.
    """
    path = given(path)
    common, tables = _read_toml(path) if path.suffix.lower() == ".toml" else ({}, list(_read_csv(path)))
    if not tables:
        raise InputError(f"{path}: no jobs; add a [[job]] table, or a row below the column names")
    return _name_entries([_JobTable(table, path.parent, shared, common) for table in tables])


def pairs(contents: str | Path, styles: str | Path, **shared: Any) -> list[Entry]:
    """Return a job for each pair of a content picture and a style picture.

    `contents` and `styles` are folders, or the path of one picture each. `shared` are options of `transfer`. Warns of
    files in the folders that are skipped.
    """
    products = itertools.product(style_files(contents), style_files(styles))
    return _name_entries(
        [_JobTable({"content": str(content), "style": str(style)}, Path(), shared) for content, style in products]
    )


def sequence(frames: str | Path, styles: str | Path, **shared: Any) -> list[Entry]:
    """Return a job for each frame of a film in each style.

    The job of a frame starts from the result of the frame before it. Frames are in the natural order of their names.
    With several styles, the name of a job begins with that of its style. `shared` and warnings are as in `pairs`.
    """
    pictures, files = style_files(styles), style_files(frames)
    several = len(pictures) > 1
    entries = []
    for style, frame in itertools.product(pictures, files):
        read = _JobTable({"content": str(frame), "style": str(style)}, Path(), shared)
        stem = Path(str(frame)).stem
        entries.append(read.entry(f"{Path(str(style)).stem}-{stem}" if several else stem))
    entries = _with_distinct_names(entries, [False] * len(entries))
    before = [None, *(entry.name for entry in entries)]
    return [
        dataclasses.replace(entry, after=before[place] if place % len(files) else None)
        for place, entry in enumerate(entries)
    ]


# -- files ------------------------------------------------------------------------------------------------------------


def _read_toml(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings of all jobs, and the table of each."""
    table = table_of(path, "a list of jobs")
    jobs = table.pop("job", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise InputError(f"{path}: job: write each job as a [[job]] table")
    for name in table:
        if name.replace("_", "-") not in _allowed_keys() or name in ("name",):
            meant = did_you_mean(name, (*_allowed_keys(), "job"))
            raise InputError(
                f"{path}: {name}: unknown key; write each job as a [[job]] table, below the common settings{meant}"
            )
    return table, jobs


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with reading(path, "a list of jobs"):
            content = path.read_bytes()
        is_utf_16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # a spreadsheet's "Unicode text"
        delimiter, text = _delimited(content.decode("utf-16" if is_utf_16 else "utf-8-sig").lstrip("\r\n"))
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(rows, [])]
        normalised = [name.replace("_", "-") for name in names if name]
        for name in normalised:
            if normalised.count(name) > 1:
                raise InputError(f"{path}: {name}: two columns have this name; remove one")
            if name not in _allowed_keys():
                meant = did_you_mean(name, _allowed_keys())
                raise InputError(f"{path}: {name}: unknown column; allowed are {', '.join(_allowed_keys())}{meant}")
        for row in rows:
            cells = [cell.strip() for cell in row]
            values: dict[str, Any] = {name: cell for name, cell in zip(names, cells) if name and cell}
            if any(cells[len(names) :]):
                values[""] = f"{len(row)} cells for {len(names)} columns"
            elif any(cell and not name for name, cell in zip(names, cells)):
                raise InputError(f"{path}: a column without a name has values; name it, or clear it")
            if values:
                yield values
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8 or UTF-16, or a quote in it is not closed ({error})") from None


def _delimited(text: str) -> tuple[str, str]:
    """Return the delimiter of a CSV, and its text from the names of the columns on.

    Spreadsheets write commas, tabs, or, where the decimal separator is a comma, semicolons; a first line `sep=;`
    specifies the delimiter.
    """
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r"\"?sep=(.)\"?", first.strip("\r"), re.IGNORECASE)
    if declared:
        return declared[1], rest
    return max(",;\t", key=first.count), text


# -- one job ----------------------------------------------------------------------------------------------------------


def _allowed_keys() -> dict[str, Setting | None]:
    """Return the allowed keys of a job, with the setting of each if it has one."""
    known: dict[str, Setting | None] = dict.fromkeys(_JOB_KEYS)
    known["longest-side"] = LONGEST_SIDE
    known.update({each.name.replace("_", "-"): each for each in (*recipe_settings(), *settings(Job))})
    return known


class _JobTable:
    """The settings of a job: its `table`, its file's `common` ones, and `shared`.

    Earlier ones take precedence; `shared` are the caller's. Paths in the first two are relative to `folder`.
    """

    def __init__(
        self,
        table: Mapping[str, Any],
        folder: Path,
        shared: Mapping[str, Any],
        common: Mapping[str, Any] | None = None,
    ) -> None:
        own, others = (
            {name.replace("_", "-"): value for name, value in each.items()} for each in (table, common or {})
        )
        check_settings(shared, also=["recipe"])
        self.values, self._own_keys = {**_without_sizes(others, own), **own}, set(own)
        self._folder, self._shared = folder, _without_sizes(shared, self.values)
        content, styles = self.values.get("content", ""), self._styles()
        paths = [Path(str(each)) for each in [content, *styles]]
        self.name = str(self.values.get("name") or "-".join(path.stem for path in paths))
        self.full_name = "-".join(path.name for path in paths)

    def _styles(self) -> list[Any]:
        style = self.values.get("style", "")
        return (
            style.split(_SEPARATOR) if isinstance(style, str) else list(style) if isinstance(style, list) else [style]
        )

    @property
    def is_pair(self) -> bool:
        """Whether its pictures are its only settings."""
        return set(self.values) == {"content", "style"}

    @property
    def own_settings(self) -> str:
        """The settings in its own table, as part of a name."""
        own = {name: value for name, value in self.values.items() if name in self._own_keys - {"content", "style", ""}}
        return ",".join(f"{name}={_as_text(value)}" for name, value in own.items())

    def entry(self, name: str) -> Entry:
        """Return the Entry with this name."""
        shared = {name.replace("_", "-"): value for name, value in self._shared.items()}
        texts = {each: _as_text(value) for each, value in {**shared, **self.values}.items() if each != "name"}
        try:
            line().check(name, "name")
            return Entry(name, self._job(), texts)
        except NSTError as error:
            return Entry(name, None, texts, str(error))
        except TypeError as error:
            return Entry(name, None, texts, f"invalid value: {error}")

    def _job(self) -> Job:
        options, known = dict(self._shared), _allowed_keys()
        for name, value in self.values.items():
            if name not in known:
                raise InputError(
                    value if not name else f"{name}: unknown; allowed are {', '.join(known)}{did_you_mean(name, known)}"
                )
            setting = known[name]
            if setting:
                parsed = self._located(setting.name, _parsed(setting, name, value))
                # TOML has no tuples: a pair of integers could be one size or two, as a pair in Python could.
                options[setting.name] = tuple(parsed) if name == "sizes" and isinstance(parsed, list) else parsed
        for name in ("content", "style"):
            if not self.values.get(name):
                raise InputError(f"{name}: missing; name a picture")
        for name in ("recipe", "device"):
            if name in self.values:
                options[name] = self._located(name, self.values[name])
        return Job(self._located("content", self.values["content"]), self._job_styles(), **options)

    def _job_styles(self) -> list[Style]:
        pictures = [self._located("style", style) for style in self._styles()]
        values: dict[str, Sequence[Any]] = {}
        own = {each.name: each for each in settings(Style)}
        for field, name in (("weight", "style-weights"), ("scale", "style-scale"), ("regions", "style-regions")):
            value = self.values.get(name)
            if value is None:
                continue
            if field == "regions":
                sources = value.split(_SEPARATOR) if isinstance(value, str) else value
                each = [self._located("regions", source) for source in sources]
            else:
                parsed = _parsed(own[field]._replace(staged=True), name, value)
                each = list(parsed) if isinstance(parsed, (list, tuple)) else [parsed]
            if len(each) == 1 and field != "regions":
                each *= len(pictures)
            if len(each) != len(pictures):
                raise InputError(f"{name}: {len(each)} values for {len(pictures)} styles; give one for each style")
            values[field] = each
        return [
            Style(picture, **{name: value[n] for name, value in values.items()}) for n, picture in enumerate(pictures)
        ]

    def _located(self, name: str, value: Any) -> Any:
        """Return a path relative to the folder as a full path; other values unchanged."""
        if not isinstance(value, str) or not value:
            return value
        words = {"init": INITS, "weights": ("auto", *SOURCES)}
        if name in ("content", "style", "mask", "regions") or (name in words and value not in words[name]):
            return str(self._folder / given(value))
        return str(self._folder / given(value)) if name == "recipe" and value.endswith(".toml") else value


def _without_sizes(general: Mapping[str, Any], special: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `general` options, without sizes if `special` has any.

    The `special` options take precedence.
    """
    size_options = {"sizes", "longest-side", "longest_side"}
    return {
        name: value for name, value in general.items() if not (name in size_options and size_options & set(special))
    }


def _parsed(setting: Setting, name: str, value: Any) -> Any:
    """Parse text as on the command line; return other values unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return setting.parse(value)
    except ValueError:
        raise InputError(f"{name}: {value!r} is not {setting.rule.written or setting.rule.allowed}") from None


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(
            "x".join(map(str, each)) if isinstance(each, (list, tuple)) else _as_text(each) for each in value
        )
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- names ------------------------------------------------------------------------------------------------------------


def _name_entries(jobs: Sequence[_JobTable]) -> list[Entry]:
    """Return the Entries of jobs.

    Unnamed jobs with the same pictures are named by their settings.
    """
    names = [job.name for job in jobs]
    entries = []
    for job in jobs:
        name = job.name
        if "name" not in job.values and names.count(name) > 1:
            name = f"{name},{job.own_settings}" if job.own_settings else job.full_name if job.is_pair else name
        entries.append(job.entry(name))
    return _with_distinct_names(entries, ["name" in job.values for job in jobs])


def _with_distinct_names(entries: Sequence[Entry], are_named: Sequence[bool]) -> list[Entry]:
    """Return the Entries, with a number added to names that are already taken.

    A name is taken if its files would be those of an earlier Entry. The later Entry also gets an error if the user gave
    the name (`are_named`), or if its settings are those of the earlier one.
    """
    names = {_file_key(entry.name) for entry in entries}
    taken: dict[str, Entry] = {}
    for entry, is_named in zip(entries, are_named):
        before = taken.get(_file_key(entry.name))
        if before:
            free = (f"{entry.name} ({number})" for number in itertools.count(2))
            name = next(name for name in free if _file_key(name) not in names and _file_key(name) not in taken)
            if is_named or entry.settings == before.settings:
                error = entry.error or f"another job is already named {entry.name}; give each job a different name"
                entry = dataclasses.replace(entry, job=None, error=error)
            entry = dataclasses.replace(entry, name=name)
        taken[_file_key(entry.name)] = entry
    return list(taken.values())


def _file_key(name: str) -> str:
    """Return the name of the files, with case ignored as some file systems do."""
    return file_name(name).casefold()
