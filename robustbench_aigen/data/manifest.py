"""A CSV file that lists images: ``path,label[,generator,split]``."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from robustbench_aigen.data.arranging import PREPARED
from robustbench_aigen.data.columns import TableMeaning, generator_or_default, meaning_of
from robustbench_aigen.data.file_reading import read_file
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.vocabulary import split_of
from robustbench_aigen.errors import UserError

_USUAL = {
    "image": ("path", "file", "file_name", "filename", "image", "image_path", "img_path"),
    "label": ("label", "class", "target"),
    "generator": ("generator",),
    "split": ("split",),
}

_EXCESS = "\0"
"""The key of what a row has beyond the header."""


class ManifestSource:
    """Images that a CSV file lists, a row each; relative paths start at its folder.

    Parameters
    ----------
    file
        A CSV file with a header, separated by commas, semicolons or tabs.
    meaning
        What the user says of labels and columns.

    Raises
    ------
    UserError
        With the line, if a row cannot be read or the meaning of its label cannot be told.
    """

    def __init__(self, file: Path, meaning: TableMeaning) -> None:
        self.name, self.layout = file.stem, "a CSV manifest"
        self.notices: list[str] = []
        self.samples: list[Sample] = []
        self._files: list[Path] = []
        columns, rows = _read(file, meaning)
        first_lines: dict[str, int] = {}
        for line, row in rows:
            sample = _sample(row, columns, meaning, file, line)
            if sample.id in first_lines:
                raise UserError(
                    f"'{sample.id}' is listed twice, first in line {first_lines[sample.id]}",
                    file=file,
                    line=line,
                )
            first_lines[sample.id] = line
            self.samples.append(sample)
            self._files.append(file.parent / row[columns["image"]].strip())
        if not self.samples:
            raise UserError("lists no images", file=file)

    def encoded(self, index: int) -> bytes:
        """Return the listed file's bytes."""
        return read_file(self._files[index])


def is_manifest(file: Path) -> bool:
    """Whether a CSV file's header names a path and a label; the list that ``data prepare`` leaves is none."""
    if file.name == PREPARED:
        return False
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            names = {
                name.strip().casefold()
                for name in stream.readline().replace(";", ",").replace("\t", ",").split(",")
            }
    except (OSError, UnicodeDecodeError):
        return False
    return all(names & set(_USUAL[role]) for role in ("image", "label"))


def _read(file: Path, meaning: TableMeaning) -> tuple[dict[str, str], list[tuple[int, dict[str, str]]]]:
    """Return the names of the columns and every row with its line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline()
            stream.seek(0)
            separator = max(",;\t", key=head.count)
            reader = csv.DictReader(stream, delimiter=separator, strict=True, restkey=_EXCESS, restval="")
            columns = _columns([name or "" for name in reader.fieldnames or []], meaning, file)
            return columns, [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"not valid CSV: {error}", file=file, line=reader.line_num) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read as text: {error}", file=file) from error


def _columns(names: list[str], meaning: TableMeaning, file: Path) -> dict[str, str]:
    said_twice = [
        name for name, count in Counter(n.strip().casefold() for n in names).items() if name and count > 1
    ]
    if said_twice:
        raise UserError(f"has the column '{said_twice[0]}' twice", file=file, line=1)
    by_name = {name.strip().casefold(): name for name in reversed(names)}
    found = {}
    for role, usual in _USUAL.items():
        said = meaning.columns.get(role)
        if said is not None and said.casefold() not in by_name:
            raise UserError(f"has no column '{said}'; it has {', '.join(names)}", file=file, line=1)
        candidates = usual if said is None else (said.casefold(),)
        match = next((by_name[name] for name in candidates if name in by_name), None)
        if match is not None:
            found[role] = match
    if "image" not in found or ("label" not in found and meaning.label is None):
        raise UserError(
            f"needs a header with path and label; it has {', '.join(names) or 'nothing'}",
            file=file,
            line=1,
            hint="the first line is path,label or path,label,generator,split; others: columns: {image: …, label: …}",
        )
    return found


def _sample(
    row: Mapping[str, str],
    columns: Mapping[str, str],
    meaning: TableMeaning,
    file: Path,
    line: int,
) -> Sample:
    values = {role: row[name].strip() for role, name in columns.items()}
    if _EXCESS in row or not values["image"]:
        raise UserError(
            "has more values than the header" if _EXCESS in row else "names no path", file=file, line=line
        )
    label = meaning.label if meaning.label is not None else meaning_of(values["label"], meaning.labels)
    if label is None:
        raise UserError(
            f"cannot tell whether label '{values['label']}' is real or fake",
            file=file,
            line=line,
            hint="write real or fake, or say what the labels mean: labels: {0: fake, 1: real}, whichever is true",
        )
    split = values.get("split")
    generator = generator_or_default(values.get("generator"), label)
    return Sample(values["image"], label, generator, (split_of(split) or split) if split else None)
