"""Parquet files in Hugging Face form: an ``image`` column of encoded bytes and a ``label`` column."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.data.samples import REAL_POOL, Sample
from robustbench_aigen.data.vocabulary import label_of, split_of
from robustbench_aigen.errors import UserError


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
        files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
        self.samples: list[Sample] = []
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
            raise UserError(f"cannot be read as Parquet: {str(error).splitlines()[0]}", file=file) from error
        self._files.append(parquet)
        columns = set(parquet.schema_arrow.names)
        if not {"image", "label"} <= columns:
            raise UserError(
                f"needs the columns image and label; it has {', '.join(sorted(columns))}", file=file
            )
        wanted = ["label"] + [column for column in ("generator", "sample", "split") if column in columns]
        has_path = pa.types.is_struct(parquet.schema_arrow.field("image").type)
        table = parquet.read(columns=[*wanted, *(["image.path"] if has_path else [])])
        rows = table.num_rows
        paths = table["image"].combine_chunks().field("path").to_pylist() if has_path else [None] * rows
        labels = _meanings(parquet, table["label"].to_pylist(), paths, label_names, file)
        generators = table["generator"].to_pylist() if "generator" in columns else [None] * rows
        names = table["sample"].to_pylist() if "sample" in columns else paths
        file_split = next(
            (s for part in file.stem.replace("-", "_").split("_") if (s := split_of(part))), None
        )
        splits = table["split"].to_pylist() if "split" in columns else [file_split] * rows
        return [
            Sample(
                str(name or f"{file.stem}#{row}"), label, generator or ("fake" if label else REAL_POOL), split
            )
            for row, (name, label, generator, split) in enumerate(
                zip(names, labels, generators, splits, strict=True)
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
    labels: list[int],
    paths: list[str | None],
    label_names: Sequence[str] | None,
    file: Path,
) -> list[int]:
    """Translate a file's own labels into 0 real and 1 fake."""
    names = label_names or _class_names(parquet)
    if names is not None:
        meanings = [label_of(name) for name in names]
        if sorted(meaning for meaning in meanings if meaning is not None) == [0, 1] and len(meanings) == 2:
            return [meanings[label] for label in labels]  # type: ignore[misc]
        raise UserError(
            f"cannot tell which of the classes {', '.join(names)} is real and which fake", file=file
        )
    from_paths = [
        next((m for part in Path(p or "").parts[:-1] if (m := label_of(part)) is not None), None)
        for p in paths
    ]
    if any(meaning is None for meaning in from_paths):
        raise UserError(
            "cannot tell which label is real and which fake: the file has no class names",
            file=file,
            hint="store Hugging Face features with ClassLabel names such as real and fake",
        )
    return [meaning for meaning in from_paths if meaning is not None]


def _class_names(parquet: pq.ParquetFile) -> list[str] | None:
    metadata = (parquet.schema_arrow.metadata or {}).get(b"huggingface")
    if metadata is None:
        return None
    names = json.loads(metadata).get("info", {}).get("features", {}).get("label", {}).get("names")
    return [str(name) for name in names] if names else None
