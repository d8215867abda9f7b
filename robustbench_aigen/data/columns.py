"""Columns of a table with images, labels, generators and splits, and the samples of its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pyarrow as pa

from robustbench_aigen.data.generators import read_generators
from robustbench_aigen.data.label_values import LabelMeaning, plain_text, read_labels
from robustbench_aigen.data.samples import CLASS_NAMES, Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.data_spec import NAMED_LAYOUTS, SourceSpec, is_roles
from robustbench_aigen.words import NO_LABELS, Labels, label_of, split_in, split_of

PATH_NAMES = ("path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "img_path")
"""Usual names of columns with file names."""
USUAL = {
    "image": ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes"),
    "label": ("label", "labels", "class", "target"),
    "generator": ("generator", "generator_name", "model", "model_name"),
    "split": ("split", "subset", "partition", "phase", "set", "usage"),
    "sample": ("sample",),
}
"""Usual names of columns in order of preference, in any case."""


class TableMeaning(NamedTuple):
    """Declared meaning of tables, by the user and by the data set's description.

    ``labels`` and ``columns`` are the scenario's, ``class_names`` the ClassLabel names of every column, ``roles`` what
    each level of folders in the images' paths is.
    """

    labels: Labels = NO_LABELS
    label: int | None = None
    columns: Mapping[str, str] = {}
    class_names: Mapping[str, Sequence[str]] = {}
    roles: tuple[str, ...] | None = None


def meaning_of(spec: SourceSpec) -> TableMeaning:
    """Return the declaration of a source from a scenario."""
    labels = {name: CLASS_NAMES.index(meaning) for name, meaning in (spec.labels or {}).items()}
    label = None if spec.label is None else CLASS_NAMES.index(spec.label)
    columns = {str(role): name for role, name in (spec.columns or {}).items()}
    roles = NAMED_LAYOUTS.get(spec.layout or "", spec.layout or "")
    return TableMeaning(labels, label, columns, roles=tuple(roles.split("/")) if is_roles(roles) else None)


class Columns(NamedTuple):
    """Names of a table's columns, dotted inside a struct; None for a missing column.

    ``path`` is where the images' file names stand, inside the image column or beside it. ``notices`` say what was
    chosen.
    """

    image: str
    label: str | None
    generator: str | None
    split: str | None
    sample: str | None
    path: str | None
    notices: tuple[str, ...] = ()


def find_columns(
    schema: pa.Schema, meaning: TableMeaning, file: Path, holds_image: Callable[[str], bool]
) -> Columns:
    """Find the columns of a table.

    Parameters
    ----------
    schema
        Schema of the table.
    meaning
        The user's keys on the source.
    file
        File of the table.
    holds_image
        Whether the first value of a column is an image, or the path of one: asked of text and of lists of numbers.

    Raises
    ------
    UserError
        If the image or label column is missing or ambiguous, or the image column has no encoded images.
    """
    types = dict(_leaves(schema))
    found = {role: _named(role, types, meaning, file) for role in USUAL}
    classes = [name for name, names in meaning.class_names.items() if {label_of(n) for n in names} == {0, 1}]
    if found["label"] is None and len(classes) == 1 and classes[0] in types:
        found["label"] = classes[0]
    label, image = found["label"], None
    notices: tuple[str, ...] = ()
    if label is not None or meaning.label is not None:
        image, notices = _image_column(types, meaning, file, holds_image)
    if image is None:
        raise UserError(
            f"the columns image and label are missing; found {', '.join(sorted(types))}",
            file=file,
            hint="for other names of columns, write columns: {image: …, label: …}"
            + (
                ""
                if label or meaning.label is not None
                else "; for images of one class, write label: real or label: fake"
            ),
        )
    path: str | None = None
    if pa.types.is_struct(types[image]):
        path = f"{image}.path" if types[image].get_field_index("path") >= 0 else None
    elif is_text(types[image]):
        path = image
    return Columns(image, label, found["generator"], found["split"], found["sample"], path, notices)


def may_hold_samples(schema: pa.Schema, meaning: TableMeaning) -> bool:
    """Whether a table has images, or a path and a label, by the types and names of its columns."""
    types = dict(_leaves(schema))
    names = {name.casefold().rpartition(".")[2] for name in types}
    has_label = meaning.label is not None or not names.isdisjoint(USUAL["label"])
    has_path = not names.isdisjoint((*USUAL["image"], *PATH_NAMES))
    return bool(meaning.columns) or any(map(_holds_images, types.values())) or (has_label and has_path)


def _leaves(fields: Any, above: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """Yield the columns of a table with their types; those inside a struct by dotted names, after the others."""
    inner = []
    for field in fields:
        name, type_ = f"{above}{field.name}", _stored_type(field.type)
        yield name, type_
        if pa.types.is_struct(type_) and not _holds_images(type_):
            inner.append((type_, f"{name}."))
    for type_, prefix in inner:
        yield from _leaves([type_.field(place) for place in range(type_.num_fields)], prefix)


def _stored_type(type_: pa.DataType) -> pa.DataType:
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _image_column(
    types: Mapping[str, pa.DataType], meaning: TableMeaning, file: Path, holds_image: Callable[[str], bool]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the column of the images, and a line where it was chosen among several."""
    said = "image" in meaning.columns
    named = _named("image", types, meaning, file)
    if not said:
        holding = [name for name, type_ in types.items() if _holds_images(type_)]
        usual = [name for name in holding if name.casefold() in USUAL["image"]]
        if len(holding) > 1 and (named not in holding or named.casefold() != "image") and len(usual) != 1:
            raise UserError(
                f"several columns hold images: {', '.join(holding)}",
                file=file,
                hint=" or ".join(f"columns: {{image: {name}}}" for name in holding),
            )
        if len(holding) > 1:
            chosen = named if named in holding else usual[0]
            others = ", ".join(name for name in holding if name != chosen)
            note = f"images are read from column '{chosen}', not from {others}: columns: {{image: …}} selects another column"
            return chosen, (note,)
        if holding:
            return holding[0], ()
        paths = {name.casefold(): name for name in reversed([*types])}
        candidates = [] if named is None else [named]
        candidates += [paths[name] for name in PATH_NAMES if name in paths]
        for name in candidates:
            if _may_hold_images(types[name]) and holds_image(name):
                return name, ()
    if named is None or _holds_images(types[named]):
        return named, ()
    if not (_may_hold_images(types[named]) and holds_image(named)):
        raise UserError(
            f"the {named} column holds {types[named]}, not images",
            file=file,
            hint="store encoded images: binary, base64, or Hugging Face's struct of bytes and path; or paths of files",
        )
    return named, ()


def _named(role: str, types: Mapping[str, pa.DataType], meaning: TableMeaning, file: Path) -> str | None:
    if role in meaning.columns:
        name = meaning.columns[role]
        if name not in types:
            raise UserError(f"has no column '{name}'; it has {', '.join(sorted(types))}", file=file)
        return name
    outer = {name.casefold(): name for name in reversed([*types]) if "." not in name}
    if (match := next((outer[usual] for usual in USUAL[role] if usual in outer), None)) is not None:
        return match
    for usual in USUAL[role]:
        inner = [name for name in types if name.casefold().rpartition(".")[2] == usual]
        if len(inner) == 1:
            return inner[0]
    return None


def is_text(type_: pa.DataType) -> bool:
    """Whether a column holds text."""
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def _holds_images(type_: pa.DataType) -> bool:
    """Whether values of a type are encoded images, or structs of one and its path."""
    type_ = _stored_type(type_)
    if pa.types.is_struct(type_):
        place, path = type_.get_field_index("bytes"), type_.get_field_index("path")
        if place < 0:
            return bool(path >= 0 and type_.num_fields == 1 and is_text(type_.field(path).type))
        # Where no row has bytes, their type is null.
        has_none = pa.types.is_null(type_.field(place).type) and path >= 0
        return has_none or _holds_images(type_.field(place).type) or _may_hold_images(type_.field(place).type)
    return bool(
        pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)
    )


def _may_hold_images(type_: pa.DataType) -> bool:
    """Whether values of a type can be images written otherwise: text, or lists of numbers from 0 to 255."""
    type_ = _stored_type(type_)
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return is_text(type_) or (is_list and bool(pa.types.is_integer(type_.value_type)))


def read_samples(
    values: Mapping[str, Sequence[object]],
    count: int,
    columns: Columns,
    meaning: TableMeaning,
    file: Path,
    file_split: str | None,
) -> tuple[list[int], list[Sample]]:
    """Turn the rows of a table into samples.

    Parameters
    ----------
    values
        The columns without the images themselves.
    count
        The number of rows.
    columns, meaning
        The columns, and the meaning of the labels.
    file, file_split
        The file, and the split of the whole file.

    Returns
    -------
    rows, samples
        The rows that have a label, and their samples.

    Raises
    ------
    UserError
        If the meaning of a label is unknown; the error names the row.
    """

    def refusal(row: int, message: str, hint: str) -> UserError:
        return UserError(f"row {row}: {message}", file=file, hint=hint)

    def of(name: str | None) -> Sequence[object]:
        return [None] * count if name is None else _by_names(values[name], meaning.class_names.get(name))

    paths = [plain_text(path) or None for path in of(columns.path)]
    labels: Sequence[LabelMeaning | None] = [LabelMeaning(meaning.label or 0, None)] * count
    if meaning.label is None:
        assert columns.label is not None
        names = meaning.class_names.get(columns.label)
        labels = read_labels(values[columns.label], paths, meaning.labels, names, refusal)
    generators = read_generators(of(columns.generator), labels, refusal)
    splits = read_splits(of(columns.split), is_sure=columns.split in ("split", meaning.columns.get("split")))
    rows = [row for row, label in enumerate(labels) if label is not None]
    ids = of(columns.sample)
    # Once for all rows: resolving a folder asks the file system about each folder above it.
    folder = file.parent.resolve()
    return rows, [
        Sample(
            plain_text(ids[row]) or _inside(paths[row], folder) or f"{file.stem}#{row}",
            label.label,
            generators[row],
            splits[row] or file_split,
        )
        for row, label in enumerate(labels)
        if label is not None
    ]


def read_splits(values: Sequence[object], *, is_sure: bool) -> list[str | None]:
    """Return the split that each cell names; none of a column that only may be one and names no usual split."""
    told = {value: _split(value) for value in {plain_text(value) for value in values}}
    if not is_sure and not any(split is not None and split_of(split) for split in told.values()):
        return [None] * len(values)
    return [told[plain_text(value)] for value in values]


def _split(text: str) -> str | None:
    return (split_of(text) or split_in(text) or text) if text else None


def _by_names(values: Sequence[object], names: Sequence[str] | None) -> Sequence[object]:
    """Put ClassLabel names in place of their numbers; -1 stands for none."""
    if names is None:
        return values
    known: dict[float, str | None] = {-1: None, **dict(enumerate(names))}
    return [known.get(value, value) if isinstance(value, int | float) else value for value in values]


def _inside(path: str | None, folder: Path) -> str | None:
    """Return a path relative to a resolved folder that it is inside of: an id does not say where a data set stands."""
    if path is None:
        return None
    written = PurePath(path)
    # Most paths are relative, and cheaper to tell than to compare.
    if not (written.is_absolute() and written.is_relative_to(folder)):
        return path
    return written.relative_to(folder).as_posix()


def qualified(samples: list[Sample]) -> list[Sample]:
    """Make ids unique: by split where two splits use the same file names, and by row where that is not enough."""
    if len({sample.id for sample in samples}) < len(samples):
        samples = [sample._replace(id=f"{sample.split}/{sample.id}") for sample in samples]
    if len({sample.id for sample in samples}) < len(samples):
        samples = [sample._replace(id=f"{sample.id}#{row}") for row, sample in enumerate(samples)]
    return samples


def as_classes(value: Any) -> list[str] | None:
    """Read ClassLabel names from metadata: a list, or a mapping from numbers."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=int)]
    return [str(name) for name in value] if isinstance(value, list) and value else None
