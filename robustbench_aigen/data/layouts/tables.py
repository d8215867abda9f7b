"""Tables in Hugging Face form, as Parquet or Arrow files: encoded images and labels, a row each."""

import re
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustbench_aigen.data.columns import (
    Columns,
    TableMeaning,
    find_columns,
    may_hold_samples,
    meaning_of,
    qualified,
    read_samples,
)
from robustbench_aigen.data.dataset_card import class_names_in_readme, class_names_in_schema
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.label_values import left_out, plain_text
from robustbench_aigen.data.layout import layout
from robustbench_aigen.data.layouts.folder import in_class_folders
from robustbench_aigen.data.listed_paths import (
    below_what_all_share,
    folder_of,
    generator_of_file,
    split_of_folders,
    told_by_paths,
)
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.stored_values import encoded_image, is_image, path_in
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.file_reading import RefusedFileError, refuse_size
from robustbench_aigen.parquet.footer import column_chunks
from robustbench_aigen.parquet.pages import PageSizes, page_sizes
from robustbench_aigen.scenario.data_spec import SourceSpec
from robustbench_aigen.text import counted
from robustbench_aigen.words import split_in, split_of

NO_MEANING = TableMeaning()
_HELD = 512 * 1024**2
"""Largest size of a column in a row group in memory, in bytes; a larger column is read some rows at a time.

Also of a single page that is far smaller before it is unpacked, and of images no page is: it is not read.
"""
_ROWS = 16
"""Rows of a large row group in memory at a time; fewer if its pages are large."""
_MOST_ROWS = 1024
"""Rows that are unpacked at a time."""
_FIRST_ROWS = 32
"""Rows read to recognise the content of a column of text."""
_UNREADABLE = (pa.ArrowException, OSError, RuntimeError, UnicodeDecodeError)
"""What pyarrow raises for a damaged file."""
_NUMBERED = re.compile(r"(?P<name>.*?)-?\d+-of-(?P<count>\d+)")
"""Names of the files of one table: ``train-00000-of-00003``."""


class _Rows(Protocol):
    """The rows of one file."""

    schema: pa.Schema
    count: int

    def facts(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """Return some columns, or their fields (``image.path``), of all rows."""
        ...

    def value(self, row: int, column: str) -> pa.Scalar:
        """Return the value of one row."""
        ...


class _Part(NamedTuple):
    """Consecutive values of a column and the row of the first."""

    first: int
    values: pa.ChunkedArray

    def has(self, row: int) -> bool:
        """Whether a row is among them."""
        return self.first <= row < self.first + len(self.values)


class _ParquetRows:
    """Rows of a Parquet file. Row groups are read on demand, and at most one is in memory."""

    def __init__(self, file: Path) -> None:
        # With a buffer a row group is read page by page; otherwise all of it would be in memory before its first row.
        self._file = file
        self._parquet = pq.ParquetFile(file, buffer_size=2**20)
        self.schema = self._parquet.schema_arrow
        self.count = self._parquet.metadata.num_rows
        groups = range(self._parquet.metadata.num_row_groups)
        sizes = [self._parquet.metadata.row_group(group).num_rows for group in groups]
        self._first_rows = [sum(sizes[:group]) for group in groups]
        self._chunks = column_chunks(file)
        if len(self._chunks) != len(sizes):
            raise RefusedFileError("the footer is damaged: its row groups cannot be counted")
        self._held: _Part | None = None
        self._following: Iterator[_Part] = iter(())
        self._reading: tuple[int, str] | None = None

    def facts(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        for group, column in product(range(len(self._first_rows)), columns):
            try:
                refuse_size(self._sizes(group, column).inflated, _HELD)
            except RefusedFileError as error:
                raise UserError(f"column '{column}' has a page of {error}", file=self._file) from error
        table = self._parquet.read(columns=[*columns])
        return {name: _column(table, name).to_pylist() for name in columns}

    def value(self, row: int, column: str) -> pa.Scalar:
        group = bisect_right(self._first_rows, row) - 1
        is_there = self._reading == (group, column) and self._held is not None and self._held.has(row)
        if not is_there:
            self._seek(row, group, column)
        if self._held is None:
            raise RefusedFileError(f"row {row} is missing: its row group has fewer rows than it declares")
        return self._held.values[row - self._held.first]

    def _seek(self, row: int, group: int, column: str) -> None:
        if self._reading != (group, column) or self._held is None or row < self._held.first:
            self._following, self._reading = self._parts(group, column), (group, column)
        self._held = None  # The old rows go before the new ones come.
        for part in self._following:
            if part.has(row):
                self._held = part
                return

    def _parts(self, group: int, column: str) -> Iterator[_Part]:
        sizes = self._sizes(group, column)
        try:
            refuse_size(sizes.inflated, _HELD)
            refuse_size(sizes.largest // self._parquet.metadata.row_group(group).num_rows)
        except RefusedFileError as error:
            raise RefusedFileError(f"row group {group} has a page of {error}") from error
        first = self._first_rows[group]
        # Every row may have the same value of a dictionary: no more rows than such values fit into memory.
        fitting = max(1, _HELD // max(1, sizes.largest))
        is_large = sizes.total > _HELD
        held: list[pa.Array] = []
        for batch in self._parquet.iter_batches(
            min(fitting, _ROWS if is_large else _MOST_ROWS), row_groups=[group], columns=[column]
        ):
            values = _column(pa.Table.from_batches([batch]), column).combine_chunks()
            if held and (is_large or sum(part.nbytes for part in held) + values.nbytes > _HELD):
                part, held = _Part(first, pa.chunked_array(held)), []
                first += len(part.values)
                yield part
                del part
            held.append(values)
        if held:
            yield _Part(first, pa.chunked_array(held))

    def _sizes(self, group: int, column: str) -> PageSizes:
        sizes = [
            page_sizes(self._file, chunk)
            for chunk in self._chunks[group]
            if f"{chunk.path}.".startswith(f"{column}.")
        ]
        return PageSizes(
            max((each.largest for each in sizes), default=0),
            max((each.inflated for each in sizes), default=0),
            sum(each.total for each in sizes),
        )


class _ArrowRows:
    """Rows of an Arrow stream or file, as ``save_to_disk`` writes them, mapped into memory and read on demand."""

    def __init__(self, file: Path) -> None:
        mapped = pa.memory_map(str(file))
        try:
            self._table = pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            self._table = pa.ipc.open_file(mapped).read_all()
        # Arrow ends the process at an offset outside its buffer, unless the offsets were checked before.
        self._table.validate(full=True)
        self.schema = self._table.schema
        self.count = self._table.num_rows

    def facts(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        return {name: _column(self._table, name).to_pylist() for name in columns}

    def value(self, row: int, column: str) -> pa.Scalar:
        return _column(self._table, column)[row]


_READERS: dict[str, Callable[[Path], _Rows]] = {".parquet": _ParquetRows, ".arrow": _ArrowRows}


class _File(NamedTuple):
    """One file of a table: which of its rows are samples, and where its relative paths may start."""

    rows: _Rows
    columns: Columns
    kept: "array[int]"
    folders: tuple[Path, ...]


class TableSource:
    """One Parquet or Arrow file, or all of a folder; files and folders called ``train…``, ``val…``, ``test…`` are splits.

    Parameters
    ----------
    path
        A ``.parquet`` or ``.arrow`` file, or a folder with some.
    suffix
        Which of the two are taken from a folder.
    meaning
        The user's keys on labels and columns. Otherwise the files' own metadata (ClassLabel names), the README
        beside them, or class folders in ``image.path`` do.
    files
        Which files below the folder, if not all.

    Raises
    ------
    UserError
        If a file cannot be read or a column is missing, or the meaning of the labels is unknown.
    """

    def __init__(
        self,
        path: Path,
        suffix: str = ".parquet",
        meaning: TableMeaning = NO_MEANING,
        files: Sequence[Path] | None = None,
    ) -> None:
        self.name = path.stem if path.is_file() else path.resolve().name
        self._root = path.parent if path.is_file() else path
        files = files or ([path] if path.is_file() else files_below(path, {suffix}))
        self._described = class_names_in_readme(self._root)
        self.notices = _missing_files(files)
        self._files: list[_File] = []
        self._first_samples: list[int] = []
        self._lock = Lock()
        samples: list[Sample] = []
        folders: list[PurePosixPath] = []
        for file in files:
            self._first_samples.append(len(samples))
            own, inner = self._read(file, meaning)
            samples += own
            above = _folder_of_table(file, self._root, alone=len(files) == 1)
            folders += [above / folder for folder in inner]
        if not samples:
            raise UserError(f"no images with a label in {path}")
        samples, told = told_by_paths(samples, folders, meaning)
        self.samples = qualified(samples)
        self.notices = list(dict.fromkeys([*self.notices, *told]))
        kind = "Arrow" if suffix == ".arrow" else "Parquet"
        self.layout = f"{counted(len(files), f'{kind} file')}"

    def _read(self, file: Path, meaning: TableMeaning) -> tuple[list[Sample], list[PurePosixPath]]:
        """Return the samples of one file, and the folder in the path of each."""
        try:
            return self._samples(_READERS[file.suffix.lower()](file), file, meaning)
        except _UNREADABLE as error:
            raise UserError(
                f"cannot be read as {file.suffix[1:].title()}: {first_line(error)}", file=file
            ) from error

    def _samples(
        self, rows: _Rows, file: Path, meaning: TableMeaning
    ) -> tuple[list[Sample], list[PurePosixPath]]:
        own_names = class_names_in_schema(rows.schema) or self._described
        meaning = meaning._replace(class_names=meaning.class_names or own_names)
        # As the library 'datasets' does, paths are tried in the current folder, too.
        folders = tuple(dict.fromkeys((file.parent, self._root, Path())))

        def holds_image(name: str) -> bool:
            value = _first_value(rows, name)
            return value is not None and is_image(value, folders)

        columns = find_columns(rows.schema, meaning, file, holds_image)
        if columns.path == columns.image:
            value = _first_value(rows, columns.image)
            columns = columns._replace(path=None if value is None or path_in(value) is None else columns.path)
        wanted = [columns.label, columns.generator, columns.split, columns.sample, columns.path]
        facts = rows.facts(list(dict.fromkeys(column for column in wanted if column is not None)))
        split = _split_of_file(file, self._root)
        kept, samples = read_samples(facts, rows.count, columns, meaning, file, split)
        self._files.append(_File(rows, columns, array("q", kept), folders))
        paths = facts[columns.path] if columns.path is not None else [None] * rows.count
        inner = below_what_all_share([folder_of(plain_text(paths[row])) for row in kept], file.parent)
        samples = [
            sample if sample.split else sample._replace(split=split_of_folders(folder))
            for sample, folder in zip(samples, inner, strict=True)
        ]
        unlabelled = sorted({*range(rows.count)} - {*kept}) if len(kept) < rows.count else []
        self.notices += [*columns.notices, *left_out(unlabelled, f"{file.name}, row")]
        return samples, inner

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of a row; one thread at a time reads."""
        place = bisect_right(self._first_samples, index) - 1
        file = self._files[place]
        try:
            with self._lock:
                value = file.rows.value(file.kept[index - self._first_samples[place]], file.columns.image)
                return encoded_image(value, file.folders)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise RefusedFileError(first_line(error)) from error


def _why(kind: str, path: Path, spec: SourceSpec) -> str | None:
    """Return the number of files of a kind as text; beside images in class folders, other tables are notes."""
    if path.is_file():
        return f"1 {kind} file" if path.suffix.lower() == f".{kind}" else None
    files = files_below(path, {f".{kind}"})
    if files and in_class_folders(path, spec):
        meaning = meaning_of(spec)
        files = [file for file in files if may_be_data(file, meaning)]
    return counted(len(files), f"{kind} file") if files else None


def _why_parquet(path: Path, spec: SourceSpec) -> str | None:
    return _why("parquet", path, spec)


def _why_arrow(path: Path, spec: SourceSpec) -> str | None:
    return _why("arrow", path, spec)


@layout("parquet", recognise=_why_parquet, order=1)
def open_parquet(path: Path, spec: SourceSpec) -> TableSource:
    """Open a Parquet file, or all of a folder."""
    return _opened(path, ".parquet", spec)


@layout("arrow", recognise=_why_arrow, order=2)
def open_arrow(path: Path, spec: SourceSpec) -> TableSource:
    """Open an Arrow file, or all of a folder."""
    return _opened(path, ".arrow", spec)


def _opened(path: Path, suffix: str, spec: SourceSpec) -> TableSource:
    if path.is_dir() and not files_below(path, {suffix}):
        raise UserError(f"no {suffix} files in {path}")
    return TableSource(path, suffix, meaning_of(spec))


def may_be_data(file: Path, meaning: TableMeaning) -> bool:
    """Whether a Parquet or Arrow file may list images: one of embeddings or prompts does not, a broken one may."""
    try:
        schema = _READERS[file.suffix.lower()](file).schema
    except _UNREADABLE:
        return True
    return may_hold_samples(schema, meaning)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column, or by a dotted name a field inside one."""
    outer, inner = name, list[str]()
    while outer not in table.column_names:
        outer, _, field = outer.rpartition(".")
        inner.insert(0, field)
    column = table[outer]
    return pc.struct_field(column, inner) if inner else column


def _first_value(rows: _Rows, column: str) -> pa.Scalar | None:
    """Return the first value of a column that is not null, None where none of the first is."""
    values = (rows.value(row, column) for row in range(min(rows.count, _FIRST_ROWS)))
    return next((value for value in values if value.is_valid), None)


def _missing_files(files: Sequence[Path]) -> list[str]:
    """Return notices on tables with missing numbered files."""
    present: dict[tuple[Path, str, int], int] = defaultdict(int)
    for file in files:
        if (match := _NUMBERED.fullmatch(file.stem)) is not None:
            present[file.parent, match["name"], int(match["count"])] += 1
    return [
        f"{name or folder.name}: found {found} of {count} files"
        for (folder, name, count), found in present.items()
        if found < count
    ]


def _folder_of_table(file: Path, root: Path, *, alone: bool) -> PurePosixPath:
    """Return the folders between a root and a file, and the generator after which one of several files is called."""
    above = PurePosixPath(file.relative_to(root).parent.as_posix())
    return above if alone else above / generator_of_file(file.stem)


def _split_of_file(file: Path, root: Path) -> str | None:
    """Return the split that a file's name or one of its folders tells."""
    folders = file.relative_to(root).parts[:-1]
    return split_in(file.stem) or next((split for part in folders if (split := split_of(part))), None)
