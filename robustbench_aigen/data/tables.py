"""Tables in Hugging Face form, as Parquet or Arrow files: encoded images and labels, a row each."""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.data.columns import Columns, TableMeaning, find_columns, qualified, read_samples
from robustbench_aigen.data.dataset_card import class_names_in_readme, class_names_in_schema
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.vocabulary import split_in, split_of
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError, first_line

NO_MEANING = TableMeaning()


class _Rows(Protocol):
    """The rows of one file."""

    schema: pa.Schema

    def facts(self, columns: list[str]) -> pa.Table:
        """Return some columns, or their fields (``image.path``), of all rows."""
        ...

    def image(self, row: int, column: str) -> Any:
        """Return the value of one row."""
        ...


class _ParquetRows:
    """Rows of a Parquet file. Row groups are read when a row of theirs is asked for, and one is held at a time."""

    def __init__(self, file: Path) -> None:
        self._parquet = pq.ParquetFile(file)
        self.schema = self._parquet.schema_arrow
        groups = range(self._parquet.metadata.num_row_groups)
        sizes = [self._parquet.metadata.row_group(group).num_rows for group in groups]
        self._first_rows = [sum(sizes[:group]) for group in groups]
        self._held: tuple[int, pa.ChunkedArray] | None = None

    def facts(self, columns: list[str]) -> pa.Table:
        return self._parquet.read(columns=columns)

    def image(self, row: int, column: str) -> Any:
        group = bisect_right(self._first_rows, row) - 1
        if self._held is None or self._held[0] != group:
            self._held = None
            self._held = (group, self._parquet.read_row_group(group, columns=[column])[column])
        return self._held[1][row - self._first_rows[group]].as_py()


class _ArrowRows:
    """Rows of an Arrow stream or file, as ``save_to_disk`` writes them, mapped into memory and read on demand."""

    def __init__(self, file: Path) -> None:
        mapped = pa.memory_map(str(file))
        try:
            self._table = pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            self._table = pa.ipc.open_file(mapped).read_all()
        self.schema = self._table.schema

    def facts(self, columns: list[str]) -> pa.Table:
        return self._table.select(sorted({name.partition(".")[0] for name in columns}))

    def image(self, row: int, column: str) -> Any:
        return self._table[column][row].as_py()


_READERS: dict[str, Callable[[Path], _Rows]] = {".parquet": _ParquetRows, ".arrow": _ArrowRows}


class TableSource:
    """One Parquet or Arrow file, or all of a folder; files and folders called ``train…``, ``val…``, ``test…`` are splits.

    Parameters
    ----------
    path
        A ``.parquet`` or ``.arrow`` file, or a folder with some.
    suffix
        Which of the two are taken from a folder.
    meaning
        What the user says of labels and columns. Otherwise the files' own metadata (ClassLabel names), the README
        beside them, or class folders in ``image.path`` do.

    Raises
    ------
    UserError
        If a file cannot be read or a column is missing, or the meaning of the labels cannot be told.
    """

    def __init__(self, path: Path, suffix: str = ".parquet", meaning: TableMeaning = NO_MEANING) -> None:
        self.name = path.stem if path.is_file() else path.resolve().name
        root = path.parent if path.is_file() else path
        files = [path] if path.is_file() else files_below(path, {suffix})
        self._described = class_names_in_readme(root)
        self.notices: list[str] = []
        self._files: list[tuple[_Rows, Columns]] = []
        self._first_rows: list[int] = []
        self._lock = Lock()
        samples: list[Sample] = []
        for file in files:
            self._first_rows.append(len(samples))
            samples += self._read(file, root, meaning)
        if not samples:
            raise UserError(f"no images in {path}")
        self.samples = qualified(samples)
        kind = "Arrow" if suffix == ".arrow" else "Parquet"
        self.layout = f"{len(files)} {kind} file{'s' if len(files) > 1 else ''}"

    def _read(self, file: Path, root: Path, meaning: TableMeaning) -> list[Sample]:
        try:
            rows = _READERS[file.suffix.lower()](file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"cannot be read as {file.suffix[1:].title()}: {first_line(error)}", file=file
            ) from error
        own_names = class_names_in_schema(rows.schema) or self._described
        meaning = meaning._replace(class_names=meaning.class_names or own_names)
        columns = find_columns(rows.schema, meaning, file)
        wanted = [columns.label, columns.generator, columns.split, columns.sample]
        wanted += [f"{columns.image}.path"] if columns.has_path else []
        facts = rows.facts([column for column in wanted if column is not None] or [columns.image])
        self._files.append((rows, columns))
        return read_samples(facts, columns, meaning, file, _split_of_file(file, root))

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of a row; one thread at a time reads."""
        file = bisect_right(self._first_rows, index) - 1
        rows, columns = self._files[file]
        try:
            with self._lock:
                value = rows.image(index - self._first_rows[file], columns.image)
        except pa.ArrowException as error:
            raise OSError(first_line(error)) from error
        return bytes((value["bytes"] if isinstance(value, dict) else value) or b"")


def _split_of_file(file: Path, root: Path) -> str | None:
    """Return the split that a file's name or one of its folders tells."""
    folders = file.relative_to(root).parts[:-1]
    return split_in(file.stem) or next((split for part in folders if (split := split_of(part))), None)
