"""A data frame that lists images, a row each."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustbench_aigen.data.dataset_source import words_of
from robustbench_aigen.data.memory import MemorySource, label_text, memory_source
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.words import label_of


def frame_source(
    frame: Any,
    *,
    image: str = "path",
    label: str = "label",
    generator: str | None = None,
    split: str | None = None,
    folder: str | Path = ".",
    labels: Mapping[Any, str] | None = None,
) -> MemorySource:
    """Make a source of the rows of a data frame.

    Parameters
    ----------
    frame
        A pandas data frame.
    image, label
        The columns of paths (or images in memory) and of labels.
    generator, split
        The columns of generators and splits; by default those of these names, where there are some.
    folder
        The folder that relative paths start at.
    labels
        The user's own meaning of labels.

    Raises
    ------
    UserError
        If a column is missing, or a cell makes no sense.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
        hint = "frame.to_pandas()" if hasattr(frame, "to_pandas") else "ImageData.from_images takes lists"
        raise UserError(f"{type(frame).__name__} is not a pandas data frame", hint=hint)
    columns = [str(name) for name in frame.columns]
    for role, name in {"image": image, "label": label, "generator": generator, "split": split}.items():
        if name is not None and name not in columns:
            raise UserError(
                f"the frame has no column '{name}'", hint=f"{did_you_mean(name, columns)} ({role}=…)"
            )
    twice = [
        name for name in (image, label, generator, split) if name is not None and columns.count(name) > 1
    ]
    if twice:
        raise UserError(f"the frame has the column '{twice[0]}' twice", hint="rename one of the two columns")
    cells = {
        name: [_cell(value) for value in frame[name]]
        for name in (image, label, generator, split)
        if name is not None
    }
    for name in (image, label):
        empty = [row for row, value in enumerate(cells[name]) if value is None]
        if empty:
            raise UserError(
                f"{len(empty)} of {len(frame)} rows have no value in '{name}'",
                key=f"{name}[{empty[0]}]",
                hint=f"frame.dropna(subset=['{name}']) leaves them out",
            )
    words = {
        label_text(value): meaning
        for value in {value for value in cells[label] if isinstance(value, str)}
        if (meaning := label_of(value)) is not None
    }
    return memory_source(
        cells[image],
        cells[label],
        name="frame",
        generators=_optional(cells, frame, generator, "generator"),
        splits=_optional(cells, frame, split, "split"),
        folder=folder,
        words={**words, **words_of(labels)},
        called=(image, label),
    )


def _optional(
    cells: Mapping[str, list[object]], frame: Any, name: str | None, usual: str
) -> list[object] | None:
    """Return a column's cells: of the name that is given, or of the usual one where there is such a column."""
    if name is not None:
        return cells[name]
    return [_cell(value) for value in frame[usual]] if list(frame.columns).count(usual) == 1 else None


def _cell(value: object) -> object:
    """Return a cell, None where it is missing: NaN, NA and NaT are the values that do not equal themselves."""
    if (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    return value
