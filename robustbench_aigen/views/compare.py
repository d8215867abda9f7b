"""Two runs side by side, as data frames."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.between_detectors import between_detectors
from robustbench_aigen.metrics.bootstrap import SCORE_DRAWS
from robustbench_aigen.metrics.metric import METRICS
from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.summary import ALL_GENERATORS, added_metrics, generator_part
from robustbench_aigen.runs.info import PipelineInfo
from robustbench_aigen.runs.run import Run, as_run
from robustbench_aigen.runs.selection import has_meaning
from robustbench_aigen.text import counted
from robustbench_aigen.views.gating.comparability import (
    ComparisonIssues,
    common_images,
    compare_attacks,
    compare_data,
    compare_thresholds,
    pair_detectors,
)
from robustbench_aigen.views.gating.losses import paired_loss

_EVERYWHERE = ("accuracy", "balanced_accuracy", "tpr", "tnr")
_ON_ALL = (*_EVERYWHERE, "precision", "f1", "auroc", "ap")
_COLUMNS = [
    "detector", "pipeline", "generator", "metric", "n", "a", "b", "change", "low", "high", "p_value", "p_holm",
    "trust_a", "trust_b",
]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Changes from one run to another.

    Parameters
    ----------
    cells
        A row per detector, pipeline, generator (``all`` and each) and metric: ``n`` common images, the metric in ``a``
        and in ``b``, ``change`` = b − a with its 95 % interval (paired bootstrap over source images), the two-sided
        ``p_value`` of no change, ``p_holm``, corrected for all rows of the metric, and the flags of either cell,
        ``trust_a`` and ``trust_b``. Fractions.
    images
        A row per image whose verdict differs: ``detector, pipeline, sample, generator, label, score_a, score_b,
        correct_a, correct_b``.
    differences
        Differences between the runs: data, attacks, thresholds, detectors. Empty if the numbers are comparable.
    a, b
        Folders of the two.
    """

    cells: pd.DataFrame
    images: pd.DataFrame
    differences: list[str]
    a: str
    b: str

    def _repr_html_(self) -> str:
        overall = self.cells[self.cells["generator"] == ALL_GENERATORS]
        left_out = set(_ON_ALL) - {"accuracy", "tpr", "tnr", "auroc"}
        table = overall[~overall["metric"].isin(left_out)].drop(columns="generator")
        differences = "".join(f"<li>{escape(text)}</li>" for text in self.differences)
        return (
            f"<p><strong>a: {escape(self.a)}<br>b: {escape(self.b)}</strong></p>"
            f"{f'<p>They differ in</p><ul>{differences}</ul>' if differences else ''}"
            f"{table.to_html(index=False, escape=True, na_rep='', float_format='{:.3f}'.format)}"
            f"<p>{counted(len(self.images), 'verdict differs', 'verdicts differ')}.</p>"
        )


def compare(run_a: str | Path | Run, run_b: str | Path | Run) -> Comparison:
    """Compare two runs on the images, detectors and pipelines that both have.

    Parameters
    ----------
    run_a, run_b
        Run folders, scenarios' results folders for their newest runs, baselines, or :class:`robustbench_aigen.Run`. Two
        runs with one detector each are compared even if the names differ.

    Raises
    ------
    UserError
        If a run cannot be read, or the runs have no image, detector or pipeline in common.
    """
    a, b = as_run(run_a), as_run(run_b)
    issues = ComparisonIssues()
    pairs = pair_detectors(b.info, a.info, issues)
    in_common = b.info.by_pipeline
    pipelines = [name for name in a.pipelines if name in in_common]
    compare_attacks(b.info, a.info, pipelines, issues)
    compare_thresholds(b.info, a.info, pairs, issues)
    compare_data(b, a, issues)
    common = common_images(b, a)
    for what, there in (("image", len(common.now)), ("detector", len(pairs)), ("pipeline", len(pipelines))):
        if not there:
            raise UserError(f"'{a.place}' and '{b.place}' have no {what} in common")
    rows: list[dict[str, object]] = []
    changed = []
    names = a.cells.images()["sample"].iloc[common.then]
    for name, other in pairs.items():
        for pipeline in pipelines:
            after, before = common.parts(b.cells.cell(name, pipeline), a.cells.cell(other, pipeline))
            head = {"detector": name, "pipeline": pipeline}
            trust = {
                "trust_a": a.info.flags_of(other, pipeline),
                "trust_b": b.info.flags_of(name, pipeline),
            }
            rows += [
                {**head, **row, **trust}
                for row in _cell_rows(before, after, in_common[pipeline], b.info.scenario.mode)
            ]
            changed.append(_changed_images(before, after, names).assign(**head))
    cells = pd.DataFrame(rows, columns=_COLUMNS)
    for _, part in cells.groupby("metric"):
        cells.loc[part.index, "p_holm"] = holm(part["p_value"])
    images = pd.concat(changed, ignore_index=True)
    images = images[["detector", "pipeline", *(name for name in images if name not in head)]]
    differences = [*issues.differences, *issues.notices]
    return Comparison(cells, images, differences, a.place, b.place)


def compare_detectors(run: str | Path | Run) -> pd.DataFrame:
    """Compare the detectors of one run with each other, under every pipeline.

    Parameters
    ----------
    run
        A run folder, a scenario's results folder for its newest run, a baseline, or a
        :class:`robustbench_aigen.Run`.

    Returns
    -------
    DataFrame
        :func:`~robustbench_aigen.metrics.between_detectors.between_detectors`, and the flags of either cell, ``trust``
        and ``other_trust``.

    Raises
    ------
    UserError
        If the run cannot be read.
    """
    opened = as_run(run)
    table = between_detectors([*opened.cells], opened.cells.cell)
    for column, names in (("trust", table["detector"]), ("other_trust", table["other"])):
        table[column] = [
            opened.info.flags_of(str(detector), str(pipeline))
            for detector, pipeline in zip(names, table["pipeline"], strict=True)
        ]
    return table


def _cell_rows(
    before: pd.DataFrame, after: pd.DataFrame, pipeline: PipelineInfo, mode: str
) -> list[dict[str, object]]:
    rows = []
    on_all = (*_ON_ALL, *(each.name for each in added_metrics()))
    generators = sorted(before.loc[before["label"] == 1, "generator"].unique())
    for generator in [ALL_GENERATORS, *generators]:
        parts = generator_part(before, generator), generator_part(after, generator)
        for metric in on_all if generator == ALL_GENERATORS else _EVERYWHERE:
            if not has_meaning(metric, pipeline, mode):
                continue
            loss = paired_loss(METRICS[metric], *parts, SCORE_DRAWS, "two-sided")
            values = {
                "n": len(parts[0]),
                "a": loss.baseline,
                "b": loss.current,
                "change": loss.current - loss.baseline,
            }
            test = {"low": 0 - loss.high, "high": 0 - loss.low, "p_value": loss.p_value}
            rows.append({"generator": generator, "metric": metric, **values, **test})
    return rows


def _changed_images(before: pd.DataFrame, after: pd.DataFrame, names: "pd.Series[str]") -> pd.DataFrame:
    other = before["correct"].to_numpy(bool) != after["correct"].to_numpy(bool)
    kept = before.loc[other, ["generator", "label"]].reset_index(drop=True)
    kept["generator"] = kept["generator"].astype(str)
    kept.insert(0, "sample", names[other].to_numpy())
    for suffix, part in (("a", before), ("b", after)):
        for column in ("score", "correct"):
            kept[f"{column}_{suffix}"] = part.loc[other, column].to_numpy()
    return kept
