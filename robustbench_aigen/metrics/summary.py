"""The summary table: one row per detector, pipeline and generator, all of it computed from the records."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from robustbench_aigen.data.samples import REAL_POOL
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.metrics.intervals import paired_drop_interval, wilson_interval
from robustbench_aigen.metrics.paired import mcnemar_p_value
from robustbench_aigen.scenario.cells import CLEAN, BoundPipeline
from robustbench_aigen.scenario.schema import Mode

ALL_GENERATORS = "all"
COLUMNS = [
    "detector", "pipeline", "stage_params", "generator", "n", "accuracy", "ci_low", "ci_high", "clean_accuracy",
    "drop", "drop_ci_low", "drop_ci_high", "p_value", "balanced_accuracy", "tpr", "tnr", "auroc", "ap", "f1",
    "attack_success", "linf_max", "trust",
]  # fmt: skip


def summarise(records: pd.DataFrame, pipelines: Sequence[BoundPipeline], mode: Mode) -> pd.DataFrame:
    """Compute the summary of a run.

    Parameters
    ----------
    records
        All records of the run, ``clean`` included.
    pipelines
        Its pipelines, for their parameters.
    mode
        In accuracy mode a score after a final attack is where the search happened to stop: AUROC and AP of such
        pipelines are empty.

    Returns
    -------
    DataFrame
        With :data:`COLUMNS`; fractions in 0…1, NaN where a cell has no meaning. ``trust`` is filled in by
        :func:`robustbench_aigen.trust.evidence.add_trust`.
    """
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    rows = []
    for (detector, name), cell in records.groupby(["detector", "pipeline"], sort=False, observed=True):
        pipeline = by_name[str(name)]
        stopped_early = mode == "accuracy" and bool(pipeline.stages) and pipeline.stages[-1].kind == "attack"
        for generator, part in _by_generator(cell):
            head = {"detector": detector, "pipeline": name, "stage_params": pipeline.stage_params}
            rows.append(
                {**head, "generator": generator, **_row(part, pipeline, with_scores=not stopped_early)}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_generator(cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all records, then each generator's fakes with the reals they belong to."""
    yield ALL_GENERATORS, cell
    is_fake = cell["label"] == 1
    for generator in sorted(cell.loc[is_fake, "generator"].unique()):
        reals = ~is_fake & cell["generator"].isin([generator, REAL_POOL])
        yield generator, cell[(is_fake & (cell["generator"] == generator)) | reals]


def _row(part: pd.DataFrame, pipeline: BoundPipeline, *, with_scores: bool) -> dict[str, Any]:
    before, after = part["correct_clean"].to_numpy(bool), part["correct"].to_numpy(bool)
    labels = torch.tensor(part["label"].to_numpy(np.int64))
    # The verdict from the record itself, so that it is the same whoever computes it.
    verdict = torch.tensor(np.where(after, part["label"], 1 - part["label"]).astype(np.int64))
    accuracy = wilson_interval(int(after.sum()), len(after))
    row: dict[str, Any] = {
        "n": len(part),
        "accuracy": after.mean(),
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "clean_accuracy": before.mean(),
        **rates(verdict, labels),
    }
    if pipeline.name != CLEAN:
        drop = paired_drop_interval(before, after)
        row |= {
            "drop": before.mean() - after.mean(),
            "drop_ci_low": drop.low,
            "drop_ci_high": drop.high,
            "p_value": mcnemar_p_value(before, after),
            "linf_max": part["linf"].max(),
        }
    if with_scores:
        row |= ranking(torch.tensor(part["score"].to_numpy(np.float32)), labels)
    tried = part["attacked"].to_numpy(bool) & before
    if pipeline.attack_positions and tried.any():
        row["attack_success"] = 1 - after[tried].mean()
    return row
