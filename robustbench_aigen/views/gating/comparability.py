"""Whether two runs measured the same thing: data, attacks and thresholds. Seed and machine may differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
import pandas as pd
from pydantic import JsonValue

from robustbench_aigen.runs.info import RunInfo
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.gating.matching import (
    DIGITS,
    CommonImages,
    is_imported,
    match_images,
    matching_notice,
)


@dataclass
class ComparisonIssues:
    """Differences that make two runs incomparable, and notices on other differences."""

    differences: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def pair_detectors(current: RunInfo, baseline: RunInfo, issues: ComparisonIssues) -> dict[str, str]:
    """Return the baseline's detector for each detector of the current run: of the same name, or the only one.

    Parameters
    ----------
    current, baseline
        The content of ``run.json`` of each run.
    issues
        Differences and notices are added here.
    """
    now, then = (info.detector_names for info in (current, baseline))
    if len(now) == len(then) == 1:
        if now != then:
            issues.notices.append(f"the detector is called {now[0]} now, {then[0]} in the baseline")
        return {now[0]: then[0]}
    missing = [name for name in then if name not in now]
    if missing:
        issues.differences.append(f"detectors: {_few(missing)} of the baseline not in this run")
    added = [name for name in now if name not in then]
    if added:
        issues.notices.append(f"not in the baseline, and not compared: {_few(added)}")
    return {name: name for name in now if name in then}


def compare_thresholds(
    current: RunInfo, baseline: RunInfo, pairs: Mapping[str, str], issues: ComparisonIssues
) -> None:
    """Compare the detectors' thresholds: the numbers, or the rule by which each was fitted to its detector."""
    now, then = ({detector.name: detector for detector in info.detectors} for info in (current, baseline))
    rules = [info.scenario.threshold for info in (current, baseline)]
    fitted = isinstance(rules[0], str) and rules[0] == rules[1]
    for name, other in pairs.items():
        one, two = now[name], then[other]
        # A run of images has its threshold in float32, imported scores in float64.
        chances_differ = not math.isclose(one.threshold, two.threshold, rel_tol=1e-6)
        odds_differ = _odds_differ(one.threshold_log_odds, two.threshold_log_odds)
        if chances_differ or odds_differ:
            text = f"threshold of {name}: {one.threshold:.4g} now, {two.threshold:.4g} in the baseline"
            if odds_differ:
                # Probabilities near 0 and 1 look the same.
                text += f" (log-odds {one.threshold_log_odds:.6g} and {two.threshold_log_odds:.6g})"
            if fitted:
                issues.notices.append(f"{text}, both fitted by {rules[0]}")
            else:
                issues.differences.append(text)


def _odds_differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return abs(one - other) > 1e-5 * (1 + max(abs(one), abs(other)))


def compare_attacks(
    current: RunInfo, baseline: RunInfo, pipelines: Sequence[str], issues: ComparisonIssues
) -> None:
    """Compare what was done to the images in some pipelines of the baseline."""
    now, then = (_stages(info) for info in (current, baseline))
    named = [
        name
        for name in pipelines
        if name in now and any("condition" in stage for stage in (*now[name], *then[name]))
    ]
    if named:
        issues.notices.append(
            f"imported scores do not say what was done to the images: compared by the name of the condition: {_few(named)}"
        )
    for name in pipelines:
        if name in named:
            continue
        if name not in now:
            issues.differences.append(f"pipelines: {name} of the baseline is not in this run")
        elif now[name] != then[name]:
            issues.differences += _stage_differences(name, now[name], then[name])
    added = [name for name in now if name not in then]
    if added:
        issues.notices.append(f"not in the baseline, and not compared: {_few(added)}")
    if any("attack" in stage for name in pipelines if name not in named for stage in then[name]):
        for key in ("objective", "mode", "share_sweeps"):
            one, other = (getattr(info.scenario, key) for info in (current, baseline))
            if one != other:
                issues.differences.append(f"attacks: {key} is {one} now, {other} in the baseline")


def compare_data(current: Run, baseline: Run, issues: ComparisonIssues) -> bool:
    """Compare the images of two runs, and return whether they are the same ones."""
    one, other = current.info.data, baseline.info.data
    if one.fingerprint == other.fingerprint:
        return True
    if is_imported(current, baseline):
        return _compare_imported(current, baseline, issues)
    now, then = images_of(current), images_of(baseline)
    both = now.index.intersection(then.index)
    changed = int((now.loc[both] != then.loc[both]).any(axis=1).sum())
    counts = [
        f"{count} {what}"
        for count, what in (
            (len(now) - len(both), "only now"),
            (len(then) - len(both), "only in the baseline"),
            (changed, "with another content, label or generator"),
        )
        if count
    ]
    issues.differences.append(
        f"data: {one.title} now, {other.title} in the baseline; {', '.join(counts) or 'in another order'}"
    )
    return False


def _compare_imported(current: Run, baseline: Run, issues: ComparisonIssues) -> bool:
    """Compare the images of two runs of which one was imported, and return whether they are the same ones."""
    common = match_images(current, baseline)
    if not len(common.now):
        names = [str(run.cells.images()["sample"].iloc[0]) for run in (current, baseline)]
        issues.differences.append(
            f"data: no image of one run is in the other by sha256, id, path or file name: '{names[0]}' now, "
            f"'{names[1]}' in the baseline"
        )
        return False
    missing = [run.info.data.images - len(common.now) - common.relabelled for run in (current, baseline)]
    counts = [
        f"{count} {what}"
        for count, what in (
            (missing[0], "only now"),
            (missing[1], "only in the baseline"),
            (common.relabelled, "with another content, label or generator"),
        )
        if count
    ]
    notice = matching_notice(common, current, baseline)
    if counts:
        issues.differences.append(f"data: {notice}; {', '.join(counts)}")
    else:
        issues.notices.append(notice)
    return not counts


def images_of(run: Run) -> pd.DataFrame:
    """Return label, generator and hash of a run's images, by sample id, in the order of its records."""
    frame = run.cells.images().set_index("sample")[["label", "generator", "sha256"]]
    return frame.assign(
        label=frame["label"].astype(int),
        generator=frame["generator"].astype(str),
        sha256=frame["sha256"].astype(str).str[:DIGITS],
    )


def common_images(current: Run, baseline: Run) -> CommonImages:
    """Return the places of the images that two runs have in common, in each run's cells."""
    one, other = current.info.data, baseline.info.data
    if one.fingerprint == other.fingerprint and not one.unreadable + other.unreadable:
        everywhere = np.arange(one.images)
        return CommonImages(everywhere, everywhere)
    if is_imported(current, baseline):
        return match_images(current, baseline)
    now, then = images_of(current), images_of(baseline)
    both = now.index.intersection(then.index, sort=False)
    both = both[(now.loc[both] == then.loc[both]).all(axis=1).to_numpy()]
    return CommonImages(now.index.get_indexer(both), then.index.get_indexer(both))


def _stages(info: RunInfo) -> dict[str, list[dict[str, JsonValue]]]:
    """Return the stages of each pipeline, with the hash of a model instead of its place."""
    hashes = {each.model: f"sha256 {each.sha256[:12]}" for each in info.models}

    def by_content(value: JsonValue) -> JsonValue:
        if isinstance(value, dict):
            return {key: by_content(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [by_content(inner) for inner in value]
        return hashes.get(value, value) if isinstance(value, str) else value

    return {
        each.name: [{key: by_content(value) for key, value in stage.items()} for stage in each.stages]
        for each in info.pipelines
    }


def _stage_differences(
    name: str, now: Sequence[Mapping[str, object]], then: Sequence[Mapping[str, object]]
) -> list[str]:
    nothing: Mapping[str, object] = {}
    return [
        f"attacks: {key} of {name} is {_show(one.get(key))} now, {_show(other.get(key))} in the baseline"
        for one, other in zip_longest(now, then, fillvalue=nothing)
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]


def _show(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "nothing" if value is None else str(value)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
