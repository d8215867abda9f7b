"""The summary table: one row per detector, pipeline and generator, all of it computed from the records."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aigen.data.samples import reals_of
from robustbench_aigen.metrics.bootstrap import clusters_of
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.metrics.intervals import auroc_interval, paired_drop_interval, wilson_interval
from robustbench_aigen.metrics.paired import holm, mcnemar_p_value
from robustbench_aigen.scenario.scenario import Mode
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline

ALL_GENERATORS = "all"
COLUMNS = [
    "detector", "pipeline", "family", "generator", "n", "accuracy", "ci_low", "ci_high", "clean_accuracy",
    "drop", "drop_ci_low", "drop_ci_high", "p_value", "balanced_accuracy", "tpr", "tnr", "auroc", "ap", "f1",
    "attack_success", "linf_max", "trust", "p_holm", "precision", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece",
    "auroc_ci_low", "auroc_ci_high", "linf_mean", "l2_mean", "l2_max", "psnr", "ssim",
]  # fmt: skip


def summarise(records: pd.DataFrame, pipelines: Sequence[Pipeline], mode: Mode) -> pd.DataFrame:
    """Compute the summary of a run.

    Parameters
    ----------
    records
        All records of the run, ``clean`` included.
    pipelines
        Its pipelines, for their parameters.
    mode
        In accuracy mode a score after a final attack is where the search happened to stop: the metrics of scores of
        such pipelines are empty.

    Returns
    -------
    DataFrame
        With :data:`COLUMNS`; fractions in 0…1, NaN where a cell has no meaning. ``trust`` is filled in by
        :func:`robustbench_aigen.trust.evidence.add_trust`. ``p_holm`` is ``p_value`` corrected for the other rows on
        all images, or for the other rows on single generators: each of the two is read as a table.
    """
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    rows = []
    for (detector, name), cell in records.groupby(["detector", "pipeline"], sort=False, observed=True):
        pipeline = by_name[str(name)]
        with_scores = scores_compare([stage.kind for stage in pipeline.stages], mode)
        for generator, part in by_generator(cell):
            head = {"detector": detector, "pipeline": name, "family": pipeline.family}
            row = _row(part, pipeline, with_scores=with_scores)
            if with_scores and generator == ALL_GENERATORS:
                row |= _auroc_interval(part)
            rows.append({**head, "generator": generator, **row})
    summary = pd.DataFrame(rows, columns=COLUMNS)
    overall = summary["generator"] == ALL_GENERATORS
    for table in (overall, ~overall):
        summary.loc[table, "p_holm"] = holm(summary.loc[table, "p_value"])
    return summary


def scores_compare(stages: Sequence[str], mode: str) -> bool:
    """Whether the scores of a pipeline's images compare with each other.

    In accuracy mode an attack that is the last stage leaves each image where the search happened to stop.

    Parameters
    ----------
    stages
        ``attack`` or ``perturb`` of each.
    mode
        Of the scenario.
    """
    return mode == "score" or not stages or stages[-1] != "attack"


def by_generator(cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all records of a cell, then each generator's fakes with the reals they belong to."""
    for generator in [ALL_GENERATORS, *sorted(cell.loc[cell["label"] == 1, "generator"].unique())]:
        yield generator, generator_part(cell, generator)


def generator_part(cell: pd.DataFrame, generator: str) -> pd.DataFrame:
    """Return all records of a cell for ``all``, or a generator's fakes with the reals they belong to."""
    if generator == ALL_GENERATORS:
        return cell
    is_fake = cell["label"] == 1
    images = cell[["generator", "label"]].drop_duplicates().itertuples(index=False, name=None)
    reals = ~is_fake & cell["generator"].isin(reals_of([generator], images))
    return cell[(is_fake & (cell["generator"] == generator)) | reals]


def verdict_metrics(part: pd.DataFrame) -> dict[str, float]:
    """Return :func:`~robustbench_aigen.metrics.classification.rates` of records."""
    after = part["correct"].to_numpy(bool)
    labels = part["label"].to_numpy(np.int64)
    # The verdict from the record itself, so that it is the same whoever computes it.
    return rates(np.where(after, labels, 1 - labels), labels)


def score_metrics(part: pd.DataFrame) -> dict[str, float]:
    """Return :func:`~robustbench_aigen.metrics.classification.ranking` of records."""
    return ranking(part["log_odds"].to_numpy(np.float32), part["label"].to_numpy(np.int64))


def _row(part: pd.DataFrame, pipeline: Pipeline, *, with_scores: bool) -> dict[str, Any]:
    before, after = part["correct_clean"].to_numpy(bool), part["correct"].to_numpy(bool)
    accuracy = wilson_interval(int(after.sum()), len(after))
    row: dict[str, Any] = {
        "n": len(part),
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "clean_accuracy": before.mean(),
        **verdict_metrics(part),
    }
    if pipeline.name != CLEAN:
        clusters = clusters_of(part["sha256"].to_numpy())
        drop = paired_drop_interval(before, after, clusters=clusters)
        row |= {
            "drop": before.mean() - after.mean(),
            "drop_ci_low": drop.low,
            "drop_ci_high": drop.high,
            "p_value": mcnemar_p_value(before, after, clusters=clusters),
            **_size_of_change(part, attacked=bool(pipeline.attack_positions)),
        }
    if with_scores:
        row |= score_metrics(part)
    tried = part["attacked"].to_numpy(bool) & before
    if pipeline.attack_positions and tried.any():
        row["attack_success"] = 1 - after[tried].mean()
    return row


def _size_of_change(part: pd.DataFrame, *, attacked: bool) -> dict[str, float]:
    """Return norms, PSNR and SSIM: of the attacked images where there are any, of all after a perturbation alone."""
    changed = part[part["attacked"]] if attacked else part
    psnr = changed["psnr"]
    return {
        "linf_max": part["linf"].max(),
        "linf_mean": changed["linf"].mean(),
        "l2_mean": changed["l2"].mean(),
        "l2_max": part["l2"].max(),
        # An image that an attack or a perturbation has left as it is has no finite one.
        "psnr": psnr[np.isfinite(psnr)].mean(),
        "ssim": changed["ssim"].mean(),
    }


def _auroc_interval(part: pd.DataFrame) -> dict[str, float]:
    interval = auroc_interval(
        part["label"].to_numpy(np.int64),
        part["log_odds"].to_numpy(np.float32),
        clusters=clusters_of(part["sha256"].to_numpy()),
    )
    return {"auroc_ci_low": interval.low, "auroc_ci_high": interval.high}
