"""The regression gate: whether a detector got less robust than its baseline, beyond a tolerance and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.metric import METRICS
from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.summary import generator_part, metric_value
from robustbench_aigen.runs.info import RunInfo
from robustbench_aigen.runs.run import Run, as_run
from robustbench_aigen.runs.selection import (
    GatedNumber,
    check_metrics,
    matching,
    select_checks,
    select_floors,
)
from robustbench_aigen.scenario.gate_spec import GateSpec, load_gate_spec, spec_from_options
from robustbench_aigen.text import counted
from robustbench_aigen.views.gating.comparability import (
    ComparisonIssues,
    common_images,
    compare_attacks,
    compare_data,
    compare_thresholds,
    pair_detectors,
)
from robustbench_aigen.views.gating.losses import paired_loss, unpaired_loss
from robustbench_aigen.views.gating.result import COLUMNS, GateResult

_ROUND_OFF = 1e-9
_FEWEST_DRAWS = 2_000
Config = str | Path | Mapping[str, object] | GateSpec


def gate(
    current: str | Path | Run,
    baseline: str | Path | Run,
    *,
    config: Config | None = None,
    unpaired: bool = False,
) -> GateResult:
    """Compare a run with a baseline.

    A number fails if it is lower than the baseline's number by more than the tolerance **and** a one-sided test on the
    common images rejects "no loss", after Holm's correction for all gated numbers. A number below a floor fails, too.
    All numbers are computed from the records.

    Parameters
    ----------
    current
        A run folder, a scenario's results folder for its newest run, or a :class:`robustbench_aigen.Run`.
    baseline
        The same, or a baseline written by :meth:`robustbench_aigen.Run.save_baseline`.
    config
        A YAML file or mapping of a ``gate:`` block; by default the block of the current run's scenario, or the
        defaults: accuracy in every pipeline on all images, a point of tolerance, level 0.05.
    unpaired
        Compare runs on different images, by tests for independent samples.

    Raises
    ------
    UserError
        If a run cannot be read, or the runs are not comparable: other data, attacks or thresholds.
    """
    now, then = as_run(current), as_run(baseline)
    spec = read_spec(config, now.info)
    check_metrics(spec)
    issues = ComparisonIssues()
    pairs = pair_detectors(now.info, then.info, issues)
    recorded = then.info.outline.families
    known = {**recorded, **now.info.outline.families}
    gated = [name for name in matching(spec.pipelines, known, "pipeline") if name in recorded]
    compare_attacks(now.info, then.info, gated, issues)
    compare_thresholds(now.info, then.info, pairs, issues)
    images = ComparisonIssues()
    same = compare_data(now, then, images)
    issues.notices += images.notices
    if unpaired:
        issues.notices += ["unpaired: tests for independent samples", *images.differences]
        if same:
            issues.notices.append(
                "both runs have the same images: leave out --unpaired for more powerful tests"
            )
    else:
        issues.differences += images.differences
    if issues.differences:
        hint = "run both on the same data, or write a new baseline with --update"
        if issues.differences == images.differences:
            hint += "; --unpaired compares different images"
        raise UserError(f"the runs are not comparable: {'; '.join(issues.differences)}", hint=hint)
    checks = [check for check in select_checks(spec, now.info.outline, known) if check.pipeline in gated]
    if not checks and not spec.floors:
        raise UserError("there is nothing to gate: none of the pipelines is in the baseline")
    comparison = _Comparison(now, then, pairs, unpaired=unpaired, draws=_draws(len(checks), spec.alpha))
    rows = [*comparison.losses(checks, spec), *comparison.floors(select_floors(spec, now.info.outline))]
    issues.notices += comparison.notices()
    return GateResult(
        pd.DataFrame(rows, columns=COLUMNS), spec, issues.notices, now.place, then.place, now.info.scenario_file,
        now.info.outline.families,
    )  # fmt: skip


def read_spec(config: Config | None, info: RunInfo) -> GateSpec:
    """Return a gate's settings: those given, or those of the run's scenario, or the defaults.

    Raises
    ------
    UserError
        If they are inconsistent, or name an unknown metric.
    """
    if isinstance(config, GateSpec):
        return config
    if isinstance(config, str | Path):
        spec = load_gate_spec(config)
        check_metrics(spec)
        return spec
    return spec_from_options(GateSpec(), **dict(config or info.scenario.gate or {}))


def _draws(checks: int, alpha: float) -> int:
    """Return as many resamples as it takes for the smallest p-value to pass Holm's correction with room to spare."""
    return max(_FEWEST_DRAWS, ceil(4 * checks / alpha))


class _Comparison:
    """The records of two runs, cell by cell."""

    def __init__(self, now: Run, then: Run, pairs: Mapping[str, str], *, unpaired: bool, draws: int) -> None:
        self._now, self._then, self._pairs = now, then, pairs
        self._unpaired, self._draws = unpaired, draws
        self._empty: list[str] = []
        self._last: dict[int, tuple[tuple[str, str], pd.DataFrame]] = {}
        self._common = None if unpaired else common_images(now, then)
        if self._common is not None and not len(self._common.now):
            raise UserError("the two runs have no image in common")

    def notices(self) -> list[str]:
        """Return notices on images left out, and after :meth:`losses` on numbers left out."""
        counts = [run.info.data.images for run in (self._now, self._then)]
        if self._common is None or len(self._common.now) == max(counts):
            return self._empty
        common = f"{counted(len(self._common.now), 'image is', 'images are')} common, of {counts[0]} now and {counts[1]} in the baseline"
        return [*self._empty, common]

    def losses(self, checks: Sequence[GatedNumber], spec: GateSpec) -> list[dict[str, Any]]:
        """Return a row for every number compared with the baseline."""
        test = unpaired_loss if self._unpaired else paired_loss
        rows = []
        for check in checks:
            if check.detector not in self._pairs:
                continue
            now, then = self._parts(check)
            if not len(now) or not len(then):
                raise UserError(f"gate: no images of {check.generator} to compare")
            loss = test(METRICS[check.metric], then, now, self._draws)
            row = {**self._head(check), **asdict(loss), "loss": loss.loss, "allowed": spec.tolerance}
            if np.isnan(loss.loss):
                about = f"{check.metric} of {check.pipeline} on {check.generator}"
                self._empty.append(f"{about} is not tested, because a class is missing")
                continue
            rows.append({**row, "kind": "loss", "n": len(now)})
        if checks and not rows:
            raise UserError("there is nothing to gate: every metric lacks a class")
        for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
            row["p_holm"] = p_holm
            row["failed"] = bool(row["loss"] > row["allowed"] + _ROUND_OFF and p_holm < spec.alpha)
        return rows

    def floors(self, checks: Sequence[GatedNumber]) -> list[dict[str, Any]]:
        """Return a row for every number that has a floor."""
        rows = []
        for check in checks:
            part = generator_part(self._cell(0, check.detector, check.pipeline), check.generator)
            value = metric_value(METRICS[check.metric], part)
            if np.isnan(value):
                raise UserError(
                    f"gate: the floor of {check.metric} of {check.pipeline} is undefined, because a class is missing"
                )
            assert check.floor is not None
            row = {**self._head(check), "kind": "floor", "n": len(part), "current": value}
            rows.append({**row, "allowed": check.floor, "failed": value < check.floor - _ROUND_OFF})
        return rows

    def _parts(self, check: GatedNumber) -> tuple[pd.DataFrame, pd.DataFrame]:
        now = self._cell(0, check.detector, check.pipeline)
        then = self._cell(1, self._pairs[check.detector], check.pipeline)
        if self._common is not None:
            now, then = self._common.parts(now, then)
        return generator_part(now, check.generator), generator_part(then, check.generator)

    def _cell(self, side: int, detector: str, pipeline: str) -> pd.DataFrame:
        """Return a cell of the current run (0) or of the baseline (1); one cell of each is kept in memory."""
        key = (detector, pipeline)
        if side not in self._last or self._last[side][0] != key:
            self._last.pop(side, None)
            self._last[side] = (key, (self._now, self._then)[side].cells.cell(*key))
        return self._last[side][1]

    def _head(self, check: GatedNumber) -> dict[str, Any]:
        head = {key: value for key, value in check._asdict().items() if key != "floor"}
        return {**head, "trust": self._now.info.flags_of(check.detector, check.pipeline)}
