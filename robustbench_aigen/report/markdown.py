"""``report.md``: what was run, what came out, what speaks against it, and how to run it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigen.report.tables import accuracy_table, generator_table
from robustbench_aigen.trust.findings import FINDINGS


def write_report(
    file: Path, summary: pd.DataFrame, info: Mapping[str, Any], figures: Mapping[str, str] = {}
) -> None:
    """Write the Markdown report of a run.

    Parameters
    ----------
    file
        Where.
    summary
        The run's summary.
    info
        The content of its ``run.json``.
    figures
        Relative paths of figures by their captions.
    """
    scenario, data = info["scenario"], info["data"]
    parts = [f"# {escaped(scenario['name'])}", escaped(scenario["summary"]), _setting(info)]
    parts += [
        "## Accuracy",
        "Per cent of all images; drop in points against the clean images.",
        markdown_table(accuracy_table(summary)),
    ]
    if len(data["generators"]) > 1:
        parts += [
            "## Balanced accuracy by generator",
            "Each generator's fakes with the reals they belong to, per cent.",
            markdown_table(generator_table(summary)),
        ]
    for caption, path in figures.items():
        parts.append(f"![{escaped(caption)}]({path})")
    parts += ["## What speaks against these numbers", _evidence(info)]
    parts += ["## Run it again", f"    {' '.join(info['command'].split())}"]
    file.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def markdown_table(table: pd.DataFrame) -> str:
    """Write a frame of text as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(escaped(value) for value in line) + " |" for line in lines)


def escaped(value: object) -> str:
    """Keep names from the user's files from becoming markup."""
    text = " ".join(str(value).split())
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text


def _setting(info: Mapping[str, Any]) -> str:
    scenario, data, packages = info["scenario"], info["data"], info["packages"]
    revision = f", revision {info['git_revision'][:12]}" if info["git_revision"] else ""
    counts = f"{data['images']} images ({data['real']} real, {data['fake']} AI-generated)"
    search = f"Objective {scenario['objective']}, {scenario['mode']} mode, seed {scenario['seed']}"
    made = f"robustbench-aigen {packages['robustbench-aigen']}{revision}, torch {packages['torch']}"
    thresholds = ", ".join(f"{escaped(d['name'])} {d['threshold']:.4g}" for d in info["detectors"])
    lines = (
        f"Data: {escaped(data['source'])}, split {escaped(data['split'])}, {counts}, fingerprint `{data['fingerprint'][:12]}`",
        f"{search}, gradients in {info['precision']}, verdicts in float32 on 8-bit images",
        f"Thresholds: {thresholds}",
        f"{made}, {info['hardware']['device']}, {info['seconds']:.1f} s, {escaped(info['started'])}",
    )
    return "\n".join(f"- {line}" for line in lines)


def _evidence(info: Mapping[str, Any]) -> str:
    data, flags = info["data"], info.get("trust", {}).get("flags", [])
    lines = []
    for finding in FINDINGS:
        # What speaks against several pipelines of a detector in the same words is one line.
        pipelines: dict[tuple[str, str], list[str]] = {}
        for flag in flags:
            if flag["flag"] == finding.flag:
                pipelines.setdefault((flag["detector"], flag["evidence"]), []).append(flag["pipeline"])
        if pipelines:
            lines.append(f"- `{finding.flag}`: {finding.meaning}.")
        for (detector, evidence), names in pipelines.items():
            lines.append(f"  - {escaped(detector)}, {escaped(', '.join(names))}: {escaped(evidence)}.")
    if data["unreadable"]:
        skipped = ", ".join(escaped(problem["sample"]) for problem in data["unreadable"][:5])
        lines.append(f"- {len(data['unreadable'])} images could not be read and were skipped: {skipped}.")
    return "\n".join(lines) or "No check raised a flag."
