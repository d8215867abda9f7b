"""The records of a run: their columns, and what must hold for them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigen.text import counted


def _log_odds_of(score: str) -> Callable[[pd.DataFrame], npt.NDArray[np.float64]]:
    """Return a function that computes log-odds from a column of float32 scores, including ties.

    A score of 1.0 counts as half-way to the next lower float32, a score of 0.0 as the smallest above it.
    """

    def computed(records: pd.DataFrame) -> npt.NDArray[np.float64]:
        scores = records[score].to_numpy(float).clip(1e-45, 1 - 2.0**-25)
        log_odds: npt.NDArray[np.float64] = np.log(scores) - np.log1p(-scores)
        return log_odds

    return computed


def _no_text(records: pd.DataFrame) -> npt.NDArray[np.str_]:
    return np.full(len(records), "")


def _empty(records: pd.DataFrame) -> npt.NDArray[np.float64]:
    return np.full(len(records), np.nan)


class Missing(NamedTuple):
    """The computation of a column that older folders lack: the other column, and a function of the records.

    If no other column determines the values, the column is empty, and ``source`` is None.
    """

    source: str | None = None
    compute: Callable[[pd.DataFrame], npt.NDArray[np.float64] | npt.NDArray[np.str_]] = _empty


class RecordColumn(NamedTuple):
    """A column of records: its dtype, its meaning, the format that introduced it, and how to compute a missing one.

    Columns without ``missing`` are required.
    """

    name: str
    dtype: str
    meaning: str
    since: int = 0
    missing: Missing | None = None


def _later(name: str, dtype: str, source: str, meaning: str) -> RecordColumn:
    return RecordColumn(name, dtype, meaning, 0, Missing(source, _log_odds_of(source)))


RECORDS: tuple[RecordColumn, ...] = (
    RecordColumn("sample", "str", "id of the image"),
    RecordColumn("generator", "str", "generator of an AI-generated image; `real` for a photograph"),
    RecordColumn("label", "int8", "0 real, 1 AI-generated"),
    RecordColumn("clean_score", "float32", "probability of *fake* on the original image"),
    RecordColumn("score", "float32", "probability of *fake* after the pipeline, on the 8-bit image"),
    RecordColumn("threshold", "float64", "score from which on the verdict is *fake*"),
    RecordColumn("attacked", "bool", "whether the last attack of the pipeline attacked the image"),
    RecordColumn("correct_clean", "bool", "whether the verdict on the original image is right"),
    RecordColumn("correct", "bool", "whether the verdict after the pipeline is right, on the 8-bit image"),
    RecordColumn(
        "correct_float",
        "boolean",
        "whether the verdict before the rounding to 8 bits is right; not computed, and false, where the attack succeeded on the 8-bit image; empty where the last stage is not an attack, or had nothing to search",
        missing=Missing(),
    ),
    RecordColumn(
        "linf",
        "float32",
        "largest change of a channel value by the last attack, in pixel units; without an attack, the distance to the source image, where the sizes agree",
    ),
    RecordColumn(
        "l2",
        "float32",
        "Euclidean length of the change by the last attack, in pixel units; without an attack, the distance to the source image, where the sizes agree",
    ),
    RecordColumn(
        "distance",
        "float32",
        "length of the smallest change with a wrong verdict that a final minimum-norm attack has found, in the unit of "
        "its budget: 0 where the verdict is wrong without a change, infinite where nothing was found within "
        "`distance_limit`; empty for other attacks",
        missing=Missing(),
    ),
    RecordColumn("distance_limit", "float32", "budget of a final minimum-norm attack", missing=Missing()),
    RecordColumn("steps", "int32", "steps of the attacks on the image"),
    RecordColumn("queries", "int32", "queries of the attacks on the image, where queries are counted"),
    RecordColumn("sha256", "str", "SHA-256 of the source file"),
    RecordColumn(
        "search_eps",
        "float32",
        "budget of the search that decided the image: smaller than the budget of the pipeline if a sweep shared the "
        "success of a smaller eps; empty where nothing was attacked",
        missing=Missing(),
    ),
    RecordColumn(
        "psnr",
        "float32",
        "PSNR of the images of `linf` and `l2` in decibels, infinite where no pixel changed; empty where nothing was "
        "attacked or perturbed",
        missing=Missing(),
    ),
    RecordColumn(
        "ssim",
        "float32",
        "SSIM of the same images; above 64×64 pixels, empty outside the sample of the run",
        missing=Missing(),
    ),
    RecordColumn(
        "masked_area",
        "float32",
        "share of the image that the masks of the pipeline let it change, the largest of several; empty without a mask",
        missing=Missing(),
    ),
    RecordColumn(
        "generated_area",
        "float32",
        "share of the image that is generated, where the data mix photographs with generated regions; empty elsewhere",
        missing=Missing(),
    ),
    RecordColumn(
        "chain",
        "str",
        "perturbations that the attack `postprocess` chose for the image, as stages of a scenario; empty elsewhere",
        missing=Missing(compute=_no_text),
    ),
    RecordColumn(
        "found_by",
        "str",
        "part of the attack `auto` that fooled the detector, or why no part was tried further; empty elsewhere",
        missing=Missing(compute=_no_text),
    ),
    _later("clean_log_odds", "float32", "clean_score", "log-odds of *fake* on the original image, nats"),
    _later(
        "log_odds",
        "float32",
        "score",
        "log-odds of *fake* after the pipeline, nats: logit of *fake* minus logit of *real*",
    ),
    _later("threshold_log_odds", "float64", "threshold", "log-odds from which on the verdict is *fake*"),
)
"""The one schema of the records of shards, runs and baselines; a run adds ``detector`` and ``pipeline`` before them.

SSIM of images above 64×64 pixels is measured on a sample (:mod:`robustbench_aigen.engine.ssim_sample`). Rankings and
verdicts rest on the log-odds, because the float32 ``score`` is 1.0 from 17 nats on.
"""
_WIDER = {"float32": ("float64",), "int32": ("Int32",)}
"""Dtypes that a column may have instead: float64 scores of imported runs, and whole numbers that may be empty."""
RECORD_DTYPES = {column.name: column.dtype for column in RECORDS}
"""Columns of the records of a shard."""
RUN_RECORD_DTYPES = {"detector": "str", "pipeline": "str", **RECORD_DTYPES}
"""Columns of the records of a run."""
LATER_COLUMNS = tuple(column.name for column in RECORDS if column.missing)
"""Columns that records of older versions may lack; :func:`with_later_columns` adds them."""
_IMAGE = ["sample", "generator", "label", "sha256"]


def with_later_columns(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with the columns that older versions did not write.

    Log-odds are computed from the float32 scores, including ties; values that no column determines are empty.
    """
    computed = {
        column.name: column.missing.compute(records)
        for column in RECORDS
        if column.missing and column.name not in records and column.missing.source in (None, *records)
    }
    return records.assign(**computed)


def as_records(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a run's stored records with the columns and dtypes of :data:`RUN_RECORD_DTYPES`.

    Columns of later versions are left out, and missing ones are computed. Wider dtypes stay: runs of imported scores
    store float64 scores, and no steps and queries.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a required column is missing or does not have values of its dtype.
    """
    return typed(with_later_columns(frame), RUN_RECORD_DTYPES)


def typed(frame: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return the columns of some dtypes, in their order; the wider dtypes of imported scores stay."""
    kept = {
        name: frame[name].dtype if str(frame[name].dtype) in _WIDER.get(dtype, ()) else dtype
        for name, dtype in dtypes.items()
    }
    return frame.astype(kept)[list(dtypes)]


def images_in(cell: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    """Yield id, label, generator and hash of each image of a cell, which the fingerprint of a run is of."""
    columns = ("sample", "label", "generator", "sha256")
    # Lists: one by one, the values of an Arrow column take microseconds each.
    return zip(*(cell[name].tolist() for name in columns), strict=True)


def check_cells(records: pd.DataFrame, cells: Iterable[tuple[str, str]], images: int) -> None:
    """Check that records are those of some cells on the same images.

    Parameters
    ----------
    records
        Records with ``detector``, ``pipeline``, ``sample``, ``generator``, ``label`` and ``sha256``.
    cells
        Detectors and pipelines that they must be of.
    images
        Rows that every cell must have.

    Raises
    ------
    ValueError
        With what does not hold.
    """
    expected = list(cells)
    if len(records) != images * len(expected):
        raise ValueError(
            f"expected {counted(images * len(expected), 'row')} ({counted(len(expected), 'cell')} on {counted(images, 'image')}), found {len(records)}"
        )
    parts = dict(iter(records.groupby(["detector", "pipeline"], sort=False, observed=True)))
    for cell in expected:
        if len(parts.get(cell, ())) != images:
            raise ValueError(
                f"expected {counted(images, 'row')} of {' · '.join(cell)}, found {len(parts.get(cell, ()))}"
            )
    first = parts[expected[0]][_IMAGE].reset_index(drop=True)
    if first["sample"].duplicated().any():
        raise ValueError("a cell has an image twice")
    if not first["label"].isin([0, 1]).all():
        raise ValueError("a label is neither 0 nor 1")
    for cell in expected[1:]:
        if not parts[cell][_IMAGE].reset_index(drop=True).equals(first):
            raise ValueError(f"{' · '.join(cell)} has other images than {' · '.join(expected[0])}")
