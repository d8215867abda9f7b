"""The records of a run: their columns, and what must hold for them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigen.text import counted


def _log_odds_of(score: str) -> Callable[[pd.DataFrame], npt.NDArray[np.float64]]:
    """Return what computes log-odds from a column of float32 scores, ties and all.

    A score of 1.0 counts as half-way to the next lower float32, a score of 0.0 as the smallest above it.
    """

    def computed(records: pd.DataFrame) -> npt.NDArray[np.float64]:
        scores = records[score].to_numpy(float).clip(1e-45, 1 - 2.0**-25)
        log_odds: npt.NDArray[np.float64] = np.log(scores) - np.log1p(-scores)
        return log_odds

    return computed


class Missing(NamedTuple):
    """How a column that older folders lack is computed: from which column, and by which function of the records."""

    source: str
    compute: Callable[[pd.DataFrame], npt.NDArray[np.float64]]


class Column(NamedTuple):
    """A column of records: its dtype, the format that it came with, and how to compute it where it is missing."""

    name: str
    dtype: str
    since: int = 0
    missing: Missing | None = None


def _later(name: str, dtype: str, source: str) -> Column:
    return Column(name, dtype, 0, Missing(source, _log_odds_of(source)))


RECORDS: tuple[Column, ...] = (
    Column("sample", "str"),
    Column("generator", "str"),
    Column("label", "int8"),
    Column("clean_score", "float32"),
    Column("score", "float32"),
    Column("threshold", "float64"),
    Column("attacked", "bool"),
    Column("correct_clean", "bool"),
    Column("correct", "bool"),
    Column("correct_float", "boolean"),
    Column("linf", "float32"),
    Column("l2", "float32"),
    Column("steps", "int32"),
    Column("queries", "int32"),
    Column("sha256", "str"),
    Column("search_eps", "float32"),
    Column("psnr", "float32"),
    Column("ssim", "float32"),
    _later("clean_log_odds", "float32", "clean_score"),
    _later("log_odds", "float32", "score"),
    _later("threshold_log_odds", "float64", "threshold"),
)
"""The one schema of the records of shards, runs and baselines; a run adds ``detector`` and ``pipeline`` before them.

``search_eps`` is the budget of the search that decided the image: smaller than the pipeline's own where a sweep
handed on what had fallen, empty where nothing was attacked. ``psnr`` (decibels, infinite where no pixel changed) and
``ssim`` are of the images that ``linf`` and ``l2`` are of; empty where nothing was attacked or perturbed. Of images
above 64×64 pixels, ``ssim`` is empty outside the run's sample (:mod:`robustbench_aigen.engine.ssim_sample`).
``log_odds`` are those of *fake*, logit of *fake* minus logit of *real* in nats: rankings and verdicts rest on them,
because the float32 ``score`` is 1.0 from 17 nats on. The verdict is *fake* where ``log_odds`` ≥ ``threshold_log_odds``.
"""
RECORD_DTYPES = {column.name: column.dtype for column in RECORDS}
"""Columns of the records of a shard."""
RUN_RECORD_DTYPES = {"detector": "str", "pipeline": "str", **RECORD_DTYPES}
"""Columns of the records of a run."""
LATER_COLUMNS = tuple(column.name for column in RECORDS if column.missing)
"""Columns that records of older versions may lack; :func:`with_log_odds` adds them."""
_IMAGE = ["sample", "generator", "label", "sha256"]


def with_log_odds(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with log-odds; in those of older versions they come from the float32 scores, ties and all."""
    if "log_odds" in records:
        return records
    return records.assign(
        **{
            column.name: column.missing.compute(records)
            for column in RECORDS
            if column.missing and column.missing.source in records
        }
    )


def check_cells(records: pd.DataFrame, cells: Iterable[tuple[str, str]], images: int) -> None:
    """Check that records are those of some cells on the same images.

    Parameters
    ----------
    records
        With ``detector``, ``pipeline``, ``sample``, ``generator``, ``label`` and ``sha256``.
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
            f"{counted(len(records), 'row')}, and not {images * len(expected)} ({counted(len(expected), 'cell')} on {counted(images, 'image')})"
        )
    parts = dict(iter(records.groupby(["detector", "pipeline"], sort=False, observed=True)))
    for cell in expected:
        if len(parts.get(cell, ())) != images:
            raise ValueError(
                f"{counted(len(parts.get(cell, ())), 'row')}, and not {images}, of {' · '.join(cell)}"
            )
    first = parts[expected[0]][_IMAGE].reset_index(drop=True)
    if first["sample"].duplicated().any():
        raise ValueError("an image stands twice in a cell")
    if not first["label"].isin([0, 1]).all():
        raise ValueError("a label is neither 0 nor 1")
    for cell in expected[1:]:
        if not parts[cell][_IMAGE].reset_index(drop=True).equals(first):
            raise ValueError(f"{' · '.join(cell)} has other images than {' · '.join(expected[0])}")
