"""Which columns of a table hold the images and what is known of them, and what its labels mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from robustbench_aigen.data.samples import REAL_POOL, Sample
from robustbench_aigen.data.vocabulary import NO_LABELS, Labels, label_of, split_of
from robustbench_aigen.errors import UserError

_USUAL = {
    "image": ("image", "img", "picture", "photo", "jpg", "png", "webp"),
    "label": ("label", "labels", "class", "target"),
    "generator": ("generator",),
    "split": ("split",),
    "sample": ("sample",),
}
"""What columns are called where the user does not say it, in order of preference, in any case."""
_NO_GENERATOR = {"", "none", "nan", "real", "-"}


class TableMeaning(NamedTuple):
    """What the user and the data set's own description say of tables.

    ``labels`` and ``columns`` are the scenario's, ``class_names`` the ClassLabel names of every column.
    """

    labels: Labels = NO_LABELS
    label: int | None = None
    columns: Mapping[str, str] = {}
    class_names: Mapping[str, Sequence[str]] = {}


class Columns(NamedTuple):
    """The names of a table's columns; None for one that it has not. ``path`` is the file name inside ``image``."""

    image: str
    label: str | None
    generator: str | None
    split: str | None
    sample: str | None
    has_path: bool


def find_columns(schema: pa.Schema, meaning: TableMeaning, file: Path) -> Columns:
    """Find the columns of a table.

    Raises
    ------
    UserError
        If the image or label column is missing or cannot be told, or does not hold encoded images.
    """
    found = {role: _named(role, schema, meaning, file) for role in _USUAL}
    holding = [field.name for field in schema if _holds_images(field.type)]
    if found["image"] is None and len(holding) == 1:
        found["image"] = holding[0]
    classes = [name for name, names in meaning.class_names.items() if {label_of(n) for n in names} == {0, 1}]
    if found["label"] is None and len(classes) == 1 and classes[0] in schema.names:
        found["label"] = classes[0]
    image, label = found["image"], found["label"]
    if image is None or (label is None and meaning.label is None):
        raise UserError(
            f"needs the columns image and label; it has {', '.join(sorted(schema.names))}",
            file=file,
            hint="if others hold them: columns: {image: …, label: …}",
        )
    type_ = schema.field(image).type
    if not _holds_images(type_):
        raise UserError(
            f"the {image} column holds {type_}, not images",
            file=file,
            hint="store encoded images: binary, or Hugging Face's struct of bytes and path",
        )
    has_path = pa.types.is_struct(type_) and type_.get_field_index("path") >= 0
    return Columns(image, label, found["generator"], found["split"], found["sample"], has_path)


def _named(role: str, schema: pa.Schema, meaning: TableMeaning, file: Path) -> str | None:
    if role in meaning.columns:
        name = meaning.columns[role]
        if name not in schema.names:
            raise UserError(f"has no column '{name}'; it has {', '.join(sorted(schema.names))}", file=file)
        return name
    by_name = {name.casefold(): name for name in reversed(schema.names)}
    return next((by_name[usual] for usual in _USUAL[role] if usual in by_name), None)


def _holds_images(type_: pa.DataType) -> bool:
    if pa.types.is_struct(type_):
        place = type_.get_field_index("bytes")
        return place >= 0 and _holds_images(type_.field(place).type)
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def read_samples(
    table: pa.Table, columns: Columns, meaning: TableMeaning, file: Path, file_split: str | None
) -> list[Sample]:
    """Turn the rows of a table into samples.

    Parameters
    ----------
    table
        Without the encoded images: of the image column only ``path``.
    columns, meaning
        What its columns hold.
    file, file_split
        Where it is from, and the split that it belongs to as a whole.

    Raises
    ------
    UserError
        If the meaning of a label cannot be told; it names the row.
    """
    paths = _paths(table, columns)
    labels = _labels(table, columns, meaning, paths, file)
    generators, splits, names = (
        table[name].to_pylist() if name is not None else [None] * table.num_rows
        for name in (columns.generator, columns.split, columns.sample)
    )
    return [
        Sample(
            str(name or path or f"{file.stem}#{row}"),
            label,
            generator_or_default(generator, label),
            (split_of(str(split)) or str(split)) if split else file_split,
        )
        for row, (label, path, generator, split, name) in enumerate(
            zip(labels, paths, generators, splits, names, strict=True)
        )
    ]


def generator_or_default(generator: object, label: int) -> str:
    """Return a generator's name; where there is none, ``fake`` for fakes and for reals the pool of all."""
    text = "" if generator is None else str(generator).strip()
    if text.casefold() in _NO_GENERATOR:
        return "fake" if label else REAL_POOL
    return text


def _paths(table: pa.Table, columns: Columns) -> list[str | None]:
    if not columns.has_path:
        return [None] * table.num_rows
    return [path for chunk in table[columns.image].chunks for path in chunk.field("path").to_pylist()]


def _labels(
    table: pa.Table, columns: Columns, meaning: TableMeaning, paths: list[str | None], file: Path
) -> list[int]:
    if meaning.label is not None:
        return [meaning.label] * table.num_rows
    assert columns.label is not None
    names = meaning.class_names.get(columns.label)
    if names is not None and not meaning.labels and {label_of(name) for name in names} != {0, 1}:
        raise UserError(
            f"cannot tell which of the classes {', '.join(names)} is real and which fake",
            file=file,
            hint=f"say it: labels: {{{names[0]}: fake, {names[-1]}: real}}, whichever is true",
        )
    found, known = [], {}
    for row, (value, path) in enumerate(zip(table[columns.label].to_pylist(), paths, strict=True)):
        key = (type(value), str(value), None if path is None else str(PurePosixPath(path).parent))
        if key not in known:
            known[key] = meaning_of(value, meaning.labels, names, path)
        label = known[key]
        if label is None:
            raise UserError(
                f"row {row}: cannot tell whether label {value!r} is real or fake",
                file=file,
                hint="say what the labels mean: labels: {0: fake, 1: real}, whichever is true",
            )
        found.append(label)
    return found


def meaning_of(
    value: object, labels: Labels = NO_LABELS, names: Sequence[str] | None = None, path: str | None = None
) -> int | None:
    """Tell 0 real, 1 fake or None from a label, by the user's word, its class name or the image's folder."""
    if value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, float) and value.is_integer() and labels:
        value = int(value)
    if labels and (said := labels.get(str(value).strip().casefold())) is not None:
        return said
    if isinstance(value, str):
        return label_of(value, labels)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if names is not None:
        return label_of(names[value], labels) if 0 <= value < len(names) else None
    folders = PurePosixPath(path or "").parts[:-1]
    return next((label for part in folders if (label := label_of(part, labels)) is not None), None)


def qualified(samples: list[Sample]) -> list[Sample]:
    """Make ids unique: by split where two splits use the same file names, and by row where that is not enough."""
    if len({sample.id for sample in samples}) < len(samples):
        samples = [sample._replace(id=f"{sample.split}/{sample.id}") for sample in samples]
    if len({sample.id for sample in samples}) < len(samples):
        samples = [sample._replace(id=f"{sample.id}#{row}") for row, sample in enumerate(samples)]
    return samples


def as_classes(value: Any) -> list[str] | None:
    """Read ClassLabel names as they stand in metadata: a list, or a mapping from numbers."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=int)]
    return [str(name) for name in value] if isinstance(value, list) and value else None
