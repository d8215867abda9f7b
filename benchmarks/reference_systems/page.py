"""The page of ``results/reference_systems``: reported figures beside ours, and what none of the studies measured."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.committed_page import write_readme
from benchmarks.reference_systems.systems import System
from robustbench_aigen.views.formats.markdown import markdown_frame

_HEAD = """# The systems of the five studies

Written by `python -m benchmarks.reference_systems DATA`. [docs/ZOO.md](../../docs/ZOO.md) names the studies A to E.
`robust-aigen train` trained every system, on a substitute for the data of its study. The last column names differences
that prevent a comparison with the study.

Accuracies are in per cent, at a score of 0.5, on the test split of the named data. At most 1,000 of its images,
stratified, are attacked and processed. Attacks are judged on 8 bits.
"""


def write_page(target: Path, systems: list[System]) -> None:
    """Write README.md and two CSV files from the folders of the systems that are there."""
    there = [system for system in systems if (target / system.called / "summary.csv").is_file()]
    summaries = {system.called: pd.read_csv(target / system.called / "summary.csv") for system in there}
    reported = pd.DataFrame([_reported(system, target) for system in there])
    pipelines = pd.DataFrame([_pipelines(system, summaries[system.called]) for system in there])
    elsewhere = pd.DataFrame([_elsewhere(system, summaries[system.called]) for system in there])
    for name, table in (("reported", reported), ("pipelines", pipelines), ("elsewhere", elsewhere)):
        table.to_csv(target / f"{name}.csv", index=False)
    parts = [
        _HEAD,
        "## Reported and measured accuracy\n",
        markdown_frame(_as_text(reported)),
        "\n## Accuracy under attack and processing, on the system's own test images\n",
        markdown_frame(_as_text(pipelines)),
        "\n## Balanced accuracy on other data sets (clean)\n",
        markdown_frame(_as_text(elsewhere)),
    ]
    write_readme(target, parts, missing=[system.called for system in systems if system not in there])


def _reported(system: System, target: Path) -> dict[str, object]:
    metrics = json.loads((target / system.called / "metrics.json").read_text(encoding="utf-8"))
    test = metrics["figures"]["test"]["at_half"]
    return {
        "system": system.called,
        "study": system.study,
        "data": system.data,
        "reported": system.reported,
        "ours": test["accuracy"],
        "recall of fakes": test["recall"],
        "images": test["n"],
        "trained on": metrics["train_images"],
        "epochs": metrics["epochs_run"],
        "parameters": f"{metrics['cost']['parameters'] / 1e6:.2f} M",
        "what differs": system.note,
    }


def _pipelines(system: System, summary: pd.DataFrame) -> Mapping[str, object]:
    own = summary[summary["own"] & (summary["generator"] == "all")]
    return {"system": system.called, "data": system.data} | dict(
        zip(own["pipeline"], own["accuracy"], strict=True)
    )


def _elsewhere(system: System, summary: pd.DataFrame) -> Mapping[str, object]:
    clean = summary[(summary["pipeline"] == "clean") & (summary["generator"] == "all")]
    return {"system": system.called, "trained on": system.data} | dict(
        zip(clean["data"], clean["balanced_accuracy"], strict=True)
    )


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Fractions in per cent; whole numbers and text as they are."""

    def text(value: object) -> str:
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{100 * value:.1f}"
        return str(value)

    return table.map(text)
