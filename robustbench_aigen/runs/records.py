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
    """A column of records: its dtype, the format that introduced it, and how to compute a missing one.

    Columns without ``missing`` are required.
    """

    name: str
    dtype: str
    since: int = 0
    missing: Missing | None = None


def _later(name: str, dtype: str, source: str) -> RecordColumn:
    return RecordColumn(name, dtype, 0, Missing(source, _log_odds_of(source)))


RECORDS: tuple[RecordColumn, ...] = (
    RecordColumn("sample", "str"),
    RecordColumn("generator", "str"),
    RecordColumn("label", "int8"),
    RecordColumn("clean_score", "float32"),
    RecordColumn("score", "float32"),
    RecordColumn("threshold", "float64"),
    RecordColumn("attacked", "bool"),
    RecordColumn("correct_clean", "bool"),
    RecordColumn("correct", "bool"),
    RecordColumn("correct_float", "boolean", missing=Missing()),
    RecordColumn("linf", "float32"),
    RecordColumn("l2", "float32"),
    RecordColumn("distance", "float32", missing=Missing()),
    RecordColumn("distance_limit", "float32", missing=Missing()),
    RecordColumn("steps", "int32"),
    RecordColumn("queries", "int32"),
    RecordColumn("sha256", "str"),
    RecordColumn("search_eps", "float32", missing=Missing()),
    RecordColumn("psnr", "float32", missing=Missing()),
    RecordColumn("ssim", "float32", missing=Missing()),
    RecordColumn("masked_area", "float32", missing=Missing()),
    RecordColumn("generated_area", "float32", missing=Missing()),
    RecordColumn("chain", "str", missing=Missing(compute=_no_text)),
    RecordColumn("found_by", "str", missing=Missing(compute=_no_text)),
    _later("clean_log_odds", "float32", "clean_score"),
    _later("log_odds", "float32", "score"),
    _later("threshold_log_odds", "float64", "threshold"),
)
"""The one schema of the records of shards, runs and baselines; a run adds ``detector`` and ``pipeline`` before them.

``search_eps`` is the budget of the search that decided the image: smaller than the pipeline's own if a sweep
shared the successes of a smaller eps, empty where nothing was attacked. ``psnr`` (decibels, infinite where no pixel changed) and
``ssim`` are of the images that ``linf`` and ``l2`` are of; empty where nothing was attacked or perturbed. Of images
above 64×64 pixels, ``ssim`` is empty outside the run's sample (:mod:`robustbench_aigen.engine.ssim_sample`).
``distance`` is the length of the smallest change that a minimum-norm attack at the end of the pipeline has found to make
the verdict wrong, in the unit of its budget: zero where the verdict is wrong without a change, infinite where nothing was
found within ``distance_limit``, the budget; both are empty elsewhere. ``masked_area`` is the share of the image that the masks of the pipeline let it change, the largest of several; empty
without a mask. ``generated_area`` is the share of the image that is generated, where the data mix photographs with
generated regions; empty elsewhere. ``chain`` has the perturbations that the attack ``postprocess`` chose for the
image, as stages of a scenario; empty elsewhere. ``found_by`` names the part of the attack ``auto`` that fooled the
detector, or why no part was tried on; empty elsewhere. ``log_odds`` are those of *fake*, logit of *fake* minus logit of *real* in nats: rankings and verdicts rest on them,
because the float32 ``score`` is 1.0 from 17 nats on. The verdict is *fake* where ``log_odds`` ≥ ``threshold_log_odds``.
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
