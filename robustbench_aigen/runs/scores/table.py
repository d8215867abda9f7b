"""Tables of scores: CSV, Parquet and npz files, data frames and arrays, as columns with the place of each row."""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from robustbench_aigen.csv_text import SEPARATOR, decoded, header_line, separator_of
from robustbench_aigen.errors import UserError, first_line, shortened
from robustbench_aigen.file_reading import opened_file, read_file
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.scenario.scores_spec import SCORE_SUFFIXES

_MOST_BYTES = 4 * 1024**3
"""Largest CSV file."""
_COUNTERS = ("", "unnamed: 0", "__index_level_0__")
"""Names of columns that pandas writes for the index."""
_HEADER = -1
"""Number of the header among the rows of a CSV file."""
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class ScoreTable:
    """A table of text and numbers.

    Parameters
    ----------
    columns
        N values by column.
    count
        N.
    name
        Name of the file without its suffix.
    file
        The file; None for a table in memory.
    sha256
        Hash of the file, or of the columns in memory.
    separator
        What separates the columns of a CSV file; else None.
    left_out
        Columns that hold neither text nor numbers, such as encoded images.
    """

    columns: Mapping[str, pa.ChunkedArray]
    count: int
    name: str
    file: Path | None
    sha256: str
    separator: str | None = None
    left_out: tuple[str, ...] = ()
    _line: Callable[[int], int] | None = None

    def error(
        self, message: str, *, row: int | None = None, column: str | None = None, hint: str | None = None
    ) -> UserError:
        """Return an error at a row and a column; a line of a CSV file, as an editor counts."""
        line = None
        if row is not None and self._line is not None:
            line = self._line(row)
        elif row is not None:
            message = f"row {row} (the first is 0): {message}"
        elif self._line is not None:
            line = self._line(_HEADER)
        return UserError(message, file=self.file, line=line, key=column, hint=hint)

    def place(self, row: int) -> str:
        """Return the place of a row in words: ``line 3``."""
        return f"row {row}" if self._line is None else f"line {self._line(row)}"

    def text(self, row: int, column: str) -> str:
        """Return a cell as it is written."""
        return str(self.columns[column][row].as_py())


def open_table(source: object) -> ScoreTable:
    """Open a table of scores: a file, a data frame, or arrays by name.

    Raises
    ------
    UserError
        If it cannot be read, or is empty.
    """
    if isinstance(source, str | Path):
        table = _open_file(Path(source).expanduser())
    elif isinstance(source, pd.DataFrame):
        table = _of_frame(source, "scores", None)
    elif isinstance(source, Mapping):
        table = _of_arrays({str(key): value for key, value in source.items()}, "scores", None)
    else:
        raise UserError(
            f"scores are a {type(source).__name__}",
            hint="give a CSV, Parquet or npz file, a data frame, or a mapping from names to arrays",
        )
    if not table.columns:
        raise table.error("has no columns", hint="the first line names the columns: path,label,score")
    if not table.count:
        raise table.error("has no rows below the header" if table.separator else "has no rows")
    return table


def _open_file(file: Path) -> ScoreTable:
    if not file.exists():
        raise UserError(f"no file '{file}'", hint="give a CSV, Parquet or npz file of scores")
    suffix = file.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            return _of_csv(file)
        if suffix == ".parquet":
            return _of_parquet(file)
        if suffix == ".npz":
            return _of_npz(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {first_line(error)}", file=file) from error
    raise UserError(
        f"'{file.name}' is not a table of scores", hint=f"known kinds: {', '.join(SCORE_SUFFIXES)}"
    )


# ---------------------------------------------------------------------------------------------------- Parquet, npz


def _of_parquet(file: Path) -> ScoreTable:
    with opened_file(file) as stream:
        parquet = pq.ParquetFile(stream)
        _refuse_twice(parquet.schema_arrow.names, file)
        # Encoded images and lists are no columns of scores, and may be large.
        wanted = [field.name for field in parquet.schema_arrow if _is_plain(field.type)]
        left_out = tuple(name for name in parquet.schema_arrow.names if name not in wanted)
        table = parquet.read(columns=wanted)
    columns = {name: _undictionaried(table.column(name)) for name in wanted}
    return _made(columns, file.stem, file, sha256_of_file(file), left_out)


def _is_plain(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return bool(is_text or is_number or pa.types.is_boolean(type_) or pa.types.is_null(type_))


def _refuse_twice(names: Iterable[str], file: Path | None, line: int | None = None) -> None:
    """Refuse names of columns that differ in case and outer spaces alone."""
    counts = Counter(name.strip().casefold() for name in names)
    twice = next((name for name, count in counts.items() if name and count > 1), None)
    if twice is not None:
        raise UserError(f"has the column '{twice}' twice", file=file, line=line, hint="rename one of the two")


def _undictionaried(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if pa.types.is_string_view(column.type) else column


def _of_npz(file: Path) -> ScoreTable:
    try:
        with opened_file(file) as stream, np.load(stream, allow_pickle=False) as content:
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise UserError("is a single array", file=file, hint="np.savez(file, label=…, score=…)")
            arrays = {name: content[name] for name in content.files}
    except (ValueError, EOFError, KeyError) as error:
        hint = "store plain arrays of numbers or text: np.savez(file, label=labels, score=scores)"
        raise UserError(f"cannot be read: {first_line(error)}", file=file, hint=hint) from error
    return _of_arrays(arrays, file.stem, file)


def _of_arrays(arrays: Mapping[str, object], name: str, file: Path | None) -> ScoreTable:
    made = {key: np.asarray(values) for key, values in arrays.items()}
    for key, values in made.items():
        if values.ndim == 2 and values.shape[1] == 2:
            hint = f"store the column of fake alone: {key}[:, 1]"
            raise UserError("has two columns, for real and fake", file=file, key=key, hint=hint)
        if values.ndim != 1:
            raise UserError(f"has the shape {values.shape}, not one value per sample", file=file, key=key)
    sizes = {key: len(values) for key, values in made.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise UserError(f"the arrays have different lengths: {listed}", file=file)
    return _of_frame(pd.DataFrame(made), name, file)


def _of_frame(frame: pd.DataFrame, name: str, file: Path | None) -> ScoreTable:
    _refuse_twice(map(str, frame.columns), file)
    columns, left_out = {}, []
    for place, key in enumerate(frame.columns):
        column = frame.iloc[:, place]
        try:
            array = pa.chunked_array([pa.array(column, from_pandas=True)])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            # Values of several types, labels such as 0 and "fake", or whole numbers beyond 64 bits.
            array = pa.chunked_array([pa.array([None if value is None else str(value) for value in column])])
        array = _as_text(array)
        if _is_plain(array.type):
            columns[str(key)] = _undictionaried(array)
        else:
            left_out.append(str(key))
    if file is not None:
        return _made(columns, name, file, sha256_of_file(file), tuple(left_out))
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _made(columns, name, None, sha256(sink.getvalue()).hexdigest(), tuple(left_out))


def _as_text(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return bytes as the text that they are in UTF-8, as NumPy stores text; other bytes as they are."""
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return array
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid:
        return array


def _made(
    columns: Mapping[str, pa.ChunkedArray],
    name: str,
    file: Path | None,
    digest: str,
    left_out: tuple[str, ...],
) -> ScoreTable:
    stripped = {key.strip(): column for key, column in columns.items()}
    kept = {key: column for key, column in stripped.items() if key.casefold() not in _COUNTERS}
    count = len(next(iter(stripped.values()))) if stripped else 0
    return ScoreTable(kept, count, name, file, digest, left_out=left_out)


# ------------------------------------------------------------------------------------------------------------ CSV


class _Csv(NamedTuple):
    """A CSV file in memory: its bytes in UTF-8, the lines above the rows, the separator."""

    file: Path
    content: bytes
    above: int
    separator: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line and the cells of every row that is not blank.

        Raises
        ------
        UserError
            If a quote is not closed.
        """
        stream = io.StringIO(self.content.decode(), newline="")
        for _ in range(self.above):
            stream.readline()
        reader = csv.reader(stream, delimiter=self.separator, strict=True)
        while True:
            first = reader.line_num + 1 + self.above
            try:
                cells = next(reader, None)
            except csv.Error as error:
                about, hint = "has a quote that is never closed", 'close it, or write it twice: ""'
                if "unexpected end of data" not in str(error):
                    about, hint = (
                        f"has a wrong quote: {first_line(error)}",
                        'write quotes in a value twice: ""',
                    )
                raise UserError(about, file=self.file, line=first, hint=hint) from error
            if cells is None:
                return
            if cells and not (len(cells) == 1 and not cells[0].strip()):
                yield first, cells


def _of_csv(file: Path) -> ScoreTable:
    original = read_file(file, _MOST_BYTES)
    content = _as_utf8(file, original)
    head = content[: 64 * 1024].decode(errors="replace")
    said = SEPARATOR.match(head)
    separator = separator_of(header_line(head)) if said is None else said[1]
    csv_file = _Csv(file, content, 0 if said is None else 1, separator)
    names = _names(csv_file)
    if b'"' in content:
        # Arrow takes what follows an open quote, rows included, for one value.
        deque(csv_file.rows(), maxlen=0)
    columns = _string_columns(csv_file, names)
    rows = np.arange(len(next(iter(columns.values()))))
    blank = np.ones(len(rows), dtype=bool)
    for column in columns.values():
        blank &= pc.equal(column, "").to_numpy()
        if not blank.any():
            break
    if blank.any():
        # Spreadsheets leave lines of separators behind.
        rows = np.flatnonzero(~blank)
        columns = {name: column.take(pa.array(rows)) for name, column in columns.items()}
    return ScoreTable(
        _without_counters(columns, csv_file, names),
        len(rows),
        file.stem,
        file,
        sha256(original).hexdigest(),
        separator,
        _line=lambda row: _line_of(csv_file, row if row == _HEADER else int(rows[row])),
    )


def _as_utf8(file: Path, content: bytes) -> bytes:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:2]:
        try:
            return decoded(content).encode()
        except UnicodeDecodeError as error:
            raise UserError(f"cannot be read as text: {error}", file=file, hint="save it as UTF-8") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError("is not UTF-8", file=file, line=line, hint="save the file as UTF-8") from error
    return content


def _names(csv_file: _Csv) -> list[str]:
    rows = csv_file.rows()
    line, cells = next(rows, (1, []))
    names = [_LINE_BREAK.sub(" ", cell).strip() for cell in cells]
    if not names:
        raise UserError("is empty", file=csv_file.file, line=1, hint="the first line is path,label,score")
    below = next(rows, (line, cells))
    if names[0].startswith("#") and (len(names) == 1 or len(below[1]) != len(names)):
        raise UserError(
            "has a comment in place of the names of the columns",
            file=csv_file.file,
            line=line,
            hint=f"delete comments above the header; line {below[0]} may be the header",
        )
    if any(_is_number(name) or PurePosixPath(name.lower()).suffix in _PICTURES for name in names):
        raise UserError(
            f"has no header: the first line is '{shortened(csv_file.separator.join(cells))}'",
            file=csv_file.file,
            line=line,
            hint="add a line above that names the columns, such as path,label,score",
        )
    _refuse_twice(names, csv_file.file, line)
    return names


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _string_columns(csv_file: _Csv, names: list[str]) -> dict[str, pa.ChunkedArray]:
    """Return every column as text without spaces around it; the place of a column without a name stands for it."""
    unique = [name or f"\0{place}" for place, name in enumerate(names)]

    def judge(row: pa_csv.InvalidRow) -> str:
        return "error" if row.text.strip() else "skip"

    first, header = next(csv_file.rows())
    # A quoted name may have line breaks.
    header_lines = first + sum(len(_LINE_BREAK.findall(name)) for name in header)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(csv_file.content),
            read_options=pa_csv.ReadOptions(column_names=unique, skip_rows=header_lines, block_size=2**24),
            parse_options=pa_csv.ParseOptions(
                delimiter=csv_file.separator, newlines_in_values=True, invalid_row_handler=judge
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(unique, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise _bad_row(csv_file, len(names), error) from error
    return {name: pc.utf8_trim_whitespace(table.column(name)) for name in unique}


def _bad_row(csv_file: _Csv, width: int, error: Exception) -> UserError:
    for line, cells in csv_file.rows():
        if len(cells) != width:
            hint = None
            if csv_file.separator == "," and len(cells) > width:
                hint = "separate columns with semicolons where numbers have decimal commas, or quote values with commas"
            return UserError(
                f"has {len(cells)} values for {width} columns", file=csv_file.file, line=line, hint=hint
            )
    return UserError(f"is not valid CSV: {first_line(error)}", file=csv_file.file)


def _without_counters(
    columns: Mapping[str, pa.ChunkedArray], csv_file: _Csv, names: list[str]
) -> dict[str, pa.ChunkedArray]:
    """Return the columns without those that number the rows or are empty and have no name."""
    kept = {}
    for name, column in columns.items():
        if name.startswith("\0") or name.casefold() in _COUNTERS:
            filled = pc.not_equal(column, "")
            is_counter = (
                pc.all(pc.match_substring_regex(column.filter(filled), r"^\d+$")).as_py() is not False
            )
            if is_counter:
                continue
            place = list(columns).index(name) + 1
            raise UserError(
                f"column {place} of {len(names)} has no name",
                file=csv_file.file,
                line=next(csv_file.rows())[0],
            )
        kept[name] = column
    return kept


def _line_of(csv_file: _Csv, row: int) -> int:
    """Return the line on which a row begins; the header is not a row."""
    for number, (line, _) in enumerate(csv_file.rows()):
        if number == row + 1:
            return line
    raise AssertionError("the row was read from the file")
