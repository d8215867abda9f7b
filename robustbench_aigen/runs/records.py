"""The records of a run: their columns, and what must hold for them."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from robustbench_aigen.text import counted

RECORD_DTYPES = {
    "sample": "str",
    "generator": "str",
    "label": "int8",
    "clean_score": "float32",
    "score": "float32",
    "threshold": "float64",
    "attacked": "bool",
    "correct_clean": "bool",
    "correct": "bool",
    "correct_float": "boolean",
    "linf": "float32",
    "l2": "float32",
    "steps": "int32",
    "queries": "int32",
    "sha256": "str",
    "search_eps": "float32",
    "psnr": "float32",
    "ssim": "float32",
    "clean_log_odds": "float32",
    "log_odds": "float32",
    "threshold_log_odds": "float64",
}
"""Columns of the records of a shard; the run adds ``detector`` and ``pipeline`` before them.

``search_eps`` is the budget of the search that decided the image: smaller than the pipeline's own where a sweep
handed on what had fallen, empty where nothing was attacked. ``psnr`` (decibels, infinite where no pixel changed) and
``ssim`` are of the images that ``linf`` and ``l2`` are of; empty where nothing was attacked or perturbed. Of images
above 64×64 pixels, ``ssim`` is empty outside the run's sample (:mod:`robustbench_aigen.engine.ssim_sample`).
``log_odds`` are those of *fake*, logit of *fake* minus logit of *real* in nats: rankings and verdicts rest on them,
because the float32 ``score`` is 1.0 from 17 nats on. The verdict is *fake* where ``log_odds`` ≥ ``threshold_log_odds``.
"""
RUN_RECORD_DTYPES = {"detector": "str", "pipeline": "str", **RECORD_DTYPES}
"""Columns of the records of a run."""
_IMAGE = ["sample", "generator", "label", "sha256"]


LATER_COLUMNS = ("clean_log_odds", "log_odds", "threshold_log_odds")
"""Columns that records of older versions do not have; :func:`with_log_odds` adds them."""


def with_log_odds(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with log-odds; in those of older versions they come from the float32 scores, ties and all.

    A score of 1.0 counts as half-way to the next lower float32, one of 0.0 as the smallest above it.
    """
    if "log_odds" in records:
        return records
    found = {}
    for name in ("clean_score", "score", "threshold"):
        if name in records:
            score = records[name].to_numpy(float).clip(1e-45, 1 - 2.0**-25)
            column = f"{name}_log_odds" if name == "threshold" else name.replace("score", "log_odds")
            found[column] = np.log(score) - np.log1p(-score)
    return records.assign(**found)


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
