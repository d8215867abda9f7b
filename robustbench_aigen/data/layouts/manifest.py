"""A CSV or JSON Lines file that lists images: ``path,label[,generator,split]``."""

import csv
import io
import json
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigen.csv_text import SEPARATOR, decoded, header_line, separator_of
from robustbench_aigen.data.arranging import PREPARED
from robustbench_aigen.data.columns import PATH_NAMES, USUAL, TableMeaning, meaning_of, read_splits
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.generators import read_generators
from robustbench_aigen.data.image_files import SUFFIXES
from robustbench_aigen.data.label_values import LabelMeaning, left_out, plain_text, read_labels
from robustbench_aigen.data.layout import layout
from robustbench_aigen.data.listed_paths import (
    below_what_all_share,
    folder_of,
    split_of_folders,
    told_by_paths,
)
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.file_reading import located_file, opened_file, read_file
from robustbench_aigen.scenario.data_spec import SourceSpec
from robustbench_aigen.text import counted
from robustbench_aigen.words import split_in

JSON_LINES = (".jsonl", ".ndjson")
MANIFESTS = (".csv", ".tsv", *JSON_LINES)
_ROLES = ("image", "label", "generator", "split")
_PATHS = (*PATH_NAMES, "image", "image_file", "image_name", "img")
_HEAD = 64 * 1024
"""Bytes read to recognise a manifest."""


class _Row(NamedTuple):
    """Values of one line by column, and the number of the line."""

    line: int
    values: dict[str, object]


class ManifestSource:
    """Images that a CSV or JSON Lines file lists, a row each; relative paths start at its folder.

    Parameters
    ----------
    file
        A CSV file with a header, separated by commas, semicolons, tabs or bars; or an object with the same keys on
        each line.
    meaning
        The user's keys on labels and columns.

    Raises
    ------
    UserError
        With the line, if a row cannot be read or the meaning of its label is unknown.
    """

    def __init__(self, file: Path, meaning: TableMeaning) -> None:
        self.name = file.stem
        is_json = file.suffix.lower() in JSON_LINES
        self.layout = "a JSON Lines manifest" if is_json else "a CSV manifest"
        self._folder = file.parent
        text = _text(file)
        names, rows = _json_lines(text, file) if is_json else _csv_rows(text, file)
        columns = _columns(names, meaning, file)
        paths = _paths(rows, columns["image"], file)

        def refusal(row: int, message: str, hint: str) -> UserError:
            return UserError(message, file=file, line=rows[row].line, hint=hint)

        def of(role: str) -> list[object]:
            return [row.values.get(columns[role]) if role in columns else None for row in rows]

        labels: Sequence[LabelMeaning | None] = [LabelMeaning(meaning.label or 0, None)] * len(rows)
        if meaning.label is None:
            labels = read_labels(of("label"), paths, meaning.labels, None, refusal)
        generators = read_generators(of("generator"), labels, refusal)
        is_sure = columns.get("split") in ("split", meaning.columns.get("split"))
        splits = read_splits(of("split"), is_sure=is_sure)
        folders = below_what_all_share([folder_of(path) for path in paths], file.parent)
        if not any(splits):
            splits = [split_of_folders(folder) or split_in(file.stem) for folder in folders]
        kept = [row for row, label in enumerate(labels) if label is not None]
        samples = [
            Sample(paths[row], label.label, generators[row], splits[row])
            for row, label in enumerate(labels)
            if label is not None
        ]
        self.samples, told = told_by_paths(samples, [folders[row] for row in kept], meaning)
        self._paths = [paths[row] for row in kept]
        if not self.samples:
            raise UserError("lists no images with a label" if rows else "lists no images", file=file)
        unlabelled = [row.line for row, label in zip(rows, labels, strict=True) if label is None]
        self.notices = [*told, *left_out(unlabelled, "line")]

    def encoded(self, index: int) -> bytes:
        """Return the listed file's bytes."""
        return read_file(located_file(self._paths[index], (self._folder,)))


def _why(path: Path) -> str | None:
    if (path / "export.json").is_file():  # An exported set, whose files are checked against its manifest.
        return None
    if path.is_file():
        return "1 csv file" if path.suffix.lower() in MANIFESTS else None
    found = manifests_below(path)
    return counted(len(found), "csv file") if found else None


@layout("csv", recognise=_why, order=4)
def open_manifest(path: Path, spec: SourceSpec) -> ManifestSource:
    """Open a CSV or JSON Lines file, or the only such file of a folder.

    Raises
    ------
    UserError
        If the folder has no such file or several, or as :class:`ManifestSource` does.
    """
    found = [path] if path.is_file() else manifests_below(path)
    if not found:
        raise UserError(f"no CSV or JSON Lines file in {path} has the columns path and label")
    if len(found) > 1:
        listed = ", ".join(str(file.relative_to(path)) for file in found[:3])
        raise UserError(
            f"{path} has {len(found)} manifests: {listed}",
            hint="name one of them, or several under 'sources'",
        )
    return ManifestSource(found[0], meaning_of(spec))


def manifests_below(folder: Path) -> list[Path]:
    """Return the CSV and JSON Lines files of a folder that list images."""
    return [file for file in files_below(folder, MANIFESTS) if is_manifest(file)]


def is_manifest(file: Path) -> bool:
    """Whether the first line of a file names a path and a label; the list of ``data prepare`` is not a manifest."""
    if file.name == PREPARED:
        return False
    try:
        with opened_file(file) as stream:
            # A line of UTF-16 or with the line ends of old Macs is no line to the stream.
            head = header_line(decoded(stream.read(_HEAD), is_cut_off=True))
        if file.suffix.lower() in JSON_LINES:
            names = set(_flat(json.loads(head)))
        else:
            names = set(next(csv.reader([head], delimiter=separator_of(head)), []))
    except (OSError, ValueError, RecursionError, csv.Error, AttributeError):
        return False
    found = {name.strip().casefold() for name in names}
    return bool(found & set(_PATHS)) and bool(found & set(USUAL["label"]))


def _text(file: Path) -> str:
    try:
        return decoded(read_file(file))
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8"
        raise UserError(f"cannot be read as text: {error}", file=file, hint=hint) from error
    except OSError as error:
        raise UserError(f"cannot be read as text: {error}", file=file) from error


def _csv_rows(text: str, file: Path) -> tuple[list[str], list[_Row]]:
    """Return the names of the columns and every row that holds something."""
    said = SEPARATOR.match(text)
    separator = separator_of(header_line(text)) if said is None else said[1]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[_Row] = []
    try:
        if said is not None:
            next(reader)
        names = next(reader, [])
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if any(cell.strip() for cell in cells[len(names) :]):
                raise UserError("has more values than the header", file=file, line=reader.line_num)
            rows.append(_Row(reader.line_num, dict(zip(names, cells, strict=False))))
    except csv.Error as error:
        raise UserError(f"not valid CSV: {error}", file=file, line=reader.line_num) from error
    return names, rows


def _json_lines(text: str, file: Path) -> tuple[list[str], list[_Row]]:
    """Return the keys of all objects and every object; the keys inside an inner one are dotted."""
    rows = []
    # Inside a string JSON has characters at which other texts end a line.
    for line, content in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not content.strip():
            continue
        try:
            rows.append(_Row(line, _flat(json.loads(content))))
        except (ValueError, RecursionError, AttributeError) as error:
            raise UserError("is not a JSON object", file=file, line=line) from error
    return list(dict.fromkeys(name for row in rows for name in row.values)), rows


def _flat(content: dict[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in content.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def _columns(names: list[str], meaning: TableMeaning, file: Path) -> dict[str, str]:
    counts = Counter(name.strip().casefold() for name in names)
    said_twice = [name for name, count in counts.items() if name and count > 1]
    if said_twice:
        raise UserError(f"has the column '{said_twice[0]}' twice", file=file, line=1)
    by_name = {name.strip().casefold(): name for name in reversed(names)}
    found = {}
    for role in _ROLES:
        said = meaning.columns.get(role)
        if said is not None and said.casefold() not in by_name:
            raise UserError(f"has no column '{said}'; it has {', '.join(names)}", file=file, line=1)
        usual = _PATHS if role == "image" else USUAL[role]
        candidates = usual if said is None else (said.casefold(),)
        match = next((by_name[name] for name in candidates if name in by_name), None)
        if match is None and said is None:
            match = _inner(usual, by_name)
        if match is not None:
            found[role] = match
    if "image" not in found or ("label" not in found and meaning.label is None):
        hint = "the first line is path,label or path,label,generator,split; others: columns: {image: …, label: …}"
        if any(PurePosixPath(name.strip().lower()).suffix in SUFFIXES for name in names):
            hint = "the first line lists an image: add the header path,label above this line"
        shown = shortened(", ".join(names), 200) or "nothing"
        raise UserError(f"needs a header with path and label; it has {shown}", file=file, line=1, hint=hint)
    return found


def _inner(usual: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    """Return the one key inside an inner object that has a usual name, ``meta.generator``."""
    for name in usual:
        inner = [full for known, full in by_name.items() if known.rpartition(".")[2] == name]
        if len(inner) == 1:
            return inner[0]
    return None


def _paths(rows: Sequence[_Row], column: str, file: Path) -> list[str]:
    first_lines: dict[str, int] = {}
    paths: list[str] = []
    for line, values in rows:
        path = plain_text(values.get(column))
        if not path:
            raise UserError("has no path", file=file, line=line)
        place = posixpath.normpath(path.removeprefix("file://").replace("\\", "/"))
        if place in first_lines:
            raise UserError(
                f"'{shortened(path)}' is listed twice, first in line {first_lines[place]}",
                file=file,
                line=line,
            )
        first_lines[place] = line
        paths.append(path)
    return paths
