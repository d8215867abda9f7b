"""The summary table: one row per detector, pipeline and generator, all of it computed from the records."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from robustbench_aigen.data.samples import belongs_to
from robustbench_aigen.metrics.bootstrap import clusters_of
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.metrics.intervals import auroc_interval, paired_drop_interval, wilson_interval
from robustbench_aigen.metrics.metric import METRICS, Metric, OneClassError
from robustbench_aigen.metrics.paired import holm, mcnemar_p_value
from robustbench_aigen.metrics.robustness_curve import radii
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.text import counted

ALL_GENERATORS = "all"
COLUMNS = [
    "detector", "pipeline", "family", "generator", "n", "accuracy", "ci_low", "ci_high", "clean_accuracy",
    "drop", "drop_ci_low", "drop_ci_high", "p_value", "balanced_accuracy", "tpr", "tnr", "auroc", "ap", "f1",
    "attack_success", "linf_max", "trust", "p_holm", "precision", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece",
    "auroc_ci_low", "auroc_ci_high", "linf_mean", "l2_mean", "l2_max", "psnr", "ssim",
]  # fmt: skip


Cell = tuple[tuple[str, str], pd.DataFrame]
"""Detector and pipeline, and their records."""


class Summarised(Protocol):
    """The properties of a pipeline that a summary needs, before or after a run."""

    @property
    def name(self) -> str:
        """Unique in the run."""
        ...

    @property
    def family(self) -> str:
        """The name that the pipelines of one sweep share."""
        ...

    @property
    def kinds(self) -> list[str]:
        """``attack`` or ``perturb`` of each stage."""
        ...


def summarise(
    records: pd.DataFrame | Iterable[Cell],
    pipelines: Sequence[Summarised],
    mode: str,
    tell: Callable[[Notice], None] = lambda _: None,
    optional: Sequence[str] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compute the summary of a run.

    Parameters
    ----------
    records
        All records of the run, ``clean`` included; or detector and pipeline of each cell with its records, of which
        one at a time is needed.
    pipelines
        Its pipelines.
    mode
        In accuracy mode a search stops at a success, so that scores after a final attack are not comparable: the
        metrics of scores of such pipelines are empty.
    tell
        Called once for each metric whose plugin function fails on images of one class; these values are empty.
    optional
        Names of the optional metrics to add.
    confidence
        Of the intervals.

    Returns
    -------
    DataFrame
        With :data:`COLUMNS` and a column for each of :func:`added_metrics`; fractions in 0…1, NaN where a cell has no meaning. ``trust`` is filled in by
        :func:`robustbench_aigen.trust.evidence.add_trust`. ``p_holm`` is ``p_value`` corrected for the other rows on
        all images, or for the other rows on single generators: each of the two is read as a table.
    """
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    added = added_metrics(optional)
    failures: dict[str, list[str]] = {}
    rows = []
    for (detector, name), cell in by_cell(records):
        pipeline = by_name[str(name)]
        with_scores = scores_compare(pipeline.kinds, mode)
        for generator, part in by_generator(cell):
            head = {"detector": detector, "pipeline": name, "family": pipeline.family}
            row = _row(part, pipeline, with_scores=with_scores, confidence=confidence)
            for each in added:
                if with_scores or not each.of_scores:
                    try:
                        row[each.name] = each(*_answers(each, part))
                    except OneClassError as error:
                        failures.setdefault(each.name, []).append(f"{detector}, {name}, {generator}: {error}")
            if with_scores and generator == ALL_GENERATORS:
                row |= _auroc_interval(part, confidence)
            rows.append({**head, "generator": generator, **row})
    for metric, groups in failures.items():
        more = f", and in {counted(len(groups) - 1, 'more group')}" if len(groups) > 1 else ""
        tell(warning(f"the metric {metric} is empty where it fails: {groups[0]}{more}"))
    summary = pd.DataFrame(rows, columns=[*COLUMNS, *(each.name for each in added)])
    overall = summary["generator"] == ALL_GENERATORS
    for table in (overall, ~overall):
        summary.loc[table, "p_holm"] = holm(summary.loc[table, "p_value"])
    return summary


def by_cell(records: pd.DataFrame | Iterable[Cell]) -> Iterable[Cell]:
    """Return detector and pipeline of each cell with its records, in their order."""
    if not isinstance(records, pd.DataFrame):
        return records
    groups = records.groupby(["detector", "pipeline"], sort=False, observed=True)
    return (((str(detector), str(pipeline)), cell) for (detector, pipeline), cell in groups)


def added_metrics(optional: Sequence[str] = ()) -> list[Metric]:
    """Return the metrics with columns after :data:`COLUMNS`: named optional metrics, then metrics of plugins."""
    return [
        each for each in METRICS if each.name not in COLUMNS and (not each.optional or each.name in optional)
    ]


def with_added_metrics(
    summary: pd.DataFrame, cell: Callable[[str, str], pd.DataFrame], compares: Callable[[str], bool]
) -> pd.DataFrame:
    """Return a stored summary with added columns for metrics of plugins.

    Parameters
    ----------
    summary
        Summary of a run.
    cell
        Returns the records of a detector and a pipeline; called only where a column is missing.
    compares
        Whether the scores of a pipeline, by its name, compare (:func:`scores_compare`).
    """
    added = [each for each in added_metrics() if each.name not in summary]
    if not added:
        return summary
    columns: dict[str, dict[object, float]] = {each.name: {} for each in added}
    for (detector, pipeline), rows in summary.groupby(["detector", "pipeline"], sort=False):
        records = cell(str(detector), str(pipeline))
        for place, generator in rows["generator"].items():
            part = generator_part(records, generator)
            for each in added:
                has_meaning = not each.of_scores or compares(str(pipeline))
                columns[each.name][place] = metric_value(each, part) if has_meaning else float("nan")
    return summary.assign(**{name: pd.Series(values) for name, values in columns.items()})


def scores_compare(stages: Sequence[str], mode: str) -> bool:
    """Whether the scores of a pipeline's images are comparable.

    In accuracy mode an attack that is the last stage leaves each image where the search happened to stop.

    Parameters
    ----------
    stages
        ``attack`` or ``perturb`` of each.
    mode
        Mode of the scenario.
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
    return cell[belongs_to(cell["label"], cell["generator"], [generator])]


def metric_value(metric: Metric, part: pd.DataFrame) -> float:
    """Return a metric of records; NaN where a class that it needs is missing."""
    return metric.or_empty(*_answers(metric, part))


def resampled_values(metric: Metric, part: pd.DataFrame) -> NDArray[np.floating]:
    """Return what :meth:`Metric.of_weights` takes: the log-odds of the records, or their radii."""
    return radii(part) if metric.needs == "radii" else _log_odds(part)


def _answers(metric: Metric, part: pd.DataFrame) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the inputs of a metric: verdicts, scores, log-odds or radii, and labels."""
    given = {"verdicts": _verdicts, "scores": _scores, "log_odds": _log_odds, "radii": radii}[metric.needs]
    return given(part), _labels(part)


def _verdicts(part: pd.DataFrame) -> NDArray[np.int64]:
    # The verdict from the record itself, so that every computation gives the same.
    labels = _labels(part)
    return np.where(part["correct"].to_numpy(bool), labels, 1 - labels)


def _log_odds(part: pd.DataFrame) -> NDArray[np.floating]:
    return part["log_odds"].to_numpy()


def _scores(part: pd.DataFrame) -> NDArray[np.float64]:
    """Return the probabilities of *fake*: float64 ones as they are; float32 ones are rounded, and log-odds are not."""
    score = part["score"].to_numpy()
    return score if score.dtype == np.float64 else expit(_log_odds(part).astype(np.float64))


def _labels(part: pd.DataFrame) -> NDArray[np.int64]:
    return part["label"].to_numpy(np.int64)


def _row(part: pd.DataFrame, pipeline: Summarised, *, with_scores: bool, confidence: float) -> dict[str, Any]:
    before, after = part["correct_clean"].to_numpy(bool), part["correct"].to_numpy(bool)
    accuracy = wilson_interval(int(after.sum()), len(after), confidence)
    row: dict[str, Any] = {
        "n": len(part),
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "clean_accuracy": before.mean(),
        **rates(_verdicts(part), _labels(part)),
    }
    if pipeline.name != CLEAN:
        clusters = clusters_of(part["sha256"].to_numpy())
        drop = paired_drop_interval(before, after, clusters=clusters, confidence=confidence)
        row |= {
            "drop": before.mean() - after.mean(),
            "drop_ci_low": drop.low,
            "drop_ci_high": drop.high,
            "p_value": mcnemar_p_value(before, after, clusters=clusters),
            **_size_of_change(part, attacked="attack" in pipeline.kinds),
        }
    if with_scores:
        row |= ranking(_log_odds(part), _labels(part), _scores(part))
    tried = part["attacked"].to_numpy(bool) & before
    if "attack" in pipeline.kinds and tried.any():
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


def _auroc_interval(part: pd.DataFrame, confidence: float) -> dict[str, float]:
    interval = auroc_interval(
        _labels(part),
        _log_odds(part),
        clusters=clusters_of(part["sha256"].to_numpy()),
        confidence=confidence,
    )
    return {"auroc_ci_low": interval.low, "auroc_ci_high": interval.high}
