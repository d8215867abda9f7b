"""Parquet files in Hugging Face form: an ``image`` column of encoded bytes and a ``label`` column."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.data.samples import REAL_POOL, Sample
from robustbench_aigen.data.vocabulary import label_of, split_of
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError, first_line


class ParquetSource:
    """One Parquet file, or all of a folder; files called ``train…``, ``val…``, ``test…`` are splits.

    Row groups are read when a row of theirs is asked for, and one is held at a time.

    Parameters
    ----------
    path
        A ``.parquet`` file or a folder with some.
    label_names
        What labels 0 and 1 mean where the file itself does not say (Hugging Face's ClassLabel names, or class
        folders in ``image.path``).

    Raises
    ------
    UserError
        If a file is not Parquet or a column is missing, or the meaning of the labels cannot be told.
    """

    def __init__(self, path: Path, label_names: Sequence[str] | None = None) -> None:
        self.name = path.stem if path.is_file() else path.resolve().name
        files = [path] if path.is_file() else files_below(path, {".parquet"})
        self.samples: list[Sample] = []
        self.notices: list[str] = []
        self._files: list[pq.ParquetFile] = []
        self._first_rows: list[int] = []
        self._held: tuple[int, int, pa.ChunkedArray] | None = None
        for file in files:
            self._first_rows.append(len(self.samples))
            self.samples += self._read_samples(file, label_names)
        if not self.samples:
            raise UserError(f"no images in {path}")
        self._make_unique()

    def _read_samples(self, file: Path, label_names: Sequence[str] | None) -> list[Sample]:
        try:
            parquet = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"cannot be read as Parquet: {first_line(error)}", file=file) from error
        self._files.append(parquet)
        schema = parquet.schema_arrow
        if not {"image", "label"} <= set(schema.names):
            raise UserError(
                f"needs the columns image and label; it has {', '.join(sorted(schema.names))}", file=file
            )
        image = schema.field("image").type
        inside = (
            {image.field(n).name: image.field(n).type for n in range(image.num_fields)}
            if pa.types.is_struct(image)
            else {}
        )
        stored = inside.get("bytes", image)
        if not (pa.types.is_binary(stored) or pa.types.is_large_binary(stored)):
            hint = "store encoded images: binary, or Hugging Face's struct of bytes and path"
            raise UserError(f"the image column holds {image}, not images", file=file, hint=hint)
        optional = [column for column in ("generator", "sample", "split") if column in schema.names]
        has_path = "path" in inside
        table = parquet.read(columns=["label", *optional, *(["image.path"] if has_path else [])])
        paths = (
            table["image"].combine_chunks().field("path").to_pylist() if has_path else [None] * table.num_rows
        )
        labels = _meanings(parquet, table["label"].to_pylist(), paths, label_names, file)
        columns = {
            name: table[name].to_pylist() if name in optional else [None] * table.num_rows
            for name in ("generator", "sample", "split")
        }
        file_split = next(
            (s for part in file.stem.replace("-", "_").split("_") if (s := split_of(part))), None
        )
        return [
            Sample(
                str(name or path or f"{file.stem}#{row}"),
                label,
                str(generator or ("fake" if label else REAL_POOL)),
                str(split) if split else file_split,
            )
            for row, (label, path, generator, name, split) in enumerate(
                zip(labels, paths, columns["generator"], columns["sample"], columns["split"], strict=True)
            )
        ]

    def _make_unique(self) -> None:
        """Qualify ids by split where two splits use the same file names, and by row where that is not enough."""
        if len({sample.id for sample in self.samples}) < len(self.samples):
            self.samples = [sample._replace(id=f"{sample.split}/{sample.id}") for sample in self.samples]
        if len({sample.id for sample in self.samples}) < len(self.samples):
            self.samples = [
                sample._replace(id=f"{sample.id}#{row}") for row, sample in enumerate(self.samples)
            ]

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of a row."""
        file = bisect_right(self._first_rows, index) - 1
        row, parquet = index - self._first_rows[file], self._files[file]
        group = 0
        while row >= parquet.metadata.row_group(group).num_rows:
            row -= parquet.metadata.row_group(group).num_rows
            group += 1
        if self._held is None or self._held[:2] != (file, group):
            self._held = (file, group, parquet.read_row_group(group, columns=["image"])["image"])
        value = self._held[2][row].as_py()
        return bytes((value["bytes"] if isinstance(value, dict) else value) or b"")


def _meanings(
    parquet: pq.ParquetFile,
    labels: list[Any],
    paths: list[str | None],
    label_names: Sequence[str] | None,
    file: Path,
) -> list[int]:
    """Translate a file's own labels into 0 real and 1 fake, or say which row cannot be."""
    names = label_names or _class_names(parquet)
    if names is not None and (len(names) != 2 or {label_of(name) for name in names} != {0, 1}):
        raise UserError(
            f"cannot tell which of the classes {', '.join(names)} is real and which fake", file=file
        )
    meanings = []
    for row, (label, path) in enumerate(zip(labels, paths, strict=True)):
        meaning = _meaning(label, path, names)
        if meaning is None:
            hint = "store Hugging Face features with ClassLabel names such as real and fake"
            raise UserError(
                f"row {row}: cannot tell whether label {label!r} is real or fake", file=file, hint=hint
            )
        meanings.append(meaning)
    return meanings


def _meaning(label: object, path: str | None, names: Sequence[str] | None) -> int | None:
    if isinstance(label, str):
        return label_of(label)
    if isinstance(label, bool) or not isinstance(label, int):
        return None
    if names is not None:
        return label_of(names[label]) if label in (0, 1) else None
    return next((m for part in Path(path or "").parts[:-1] if (m := label_of(part)) is not None), None)


def _class_names(parquet: pq.ParquetFile) -> list[str] | None:
    """Return the ClassLabel names that Hugging Face's writer leaves in a file; None where there are none."""
    metadata = (parquet.schema_arrow.metadata or {}).get(b"huggingface", b"")
    try:
        names = json.loads(metadata)["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None
