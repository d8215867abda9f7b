"""Comparison table of the detectors that a command trained."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.files import write_atomically
from robustbench_aigen.training.jobs import Trained
from robustbench_aigen.views.formats.markdown import markdown_frame

_REPEATS = ("seed", "fold")


def comparison_table(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return a row per detector: what was varied, figures on validation and test, cost. Fractions in 0…1."""
    rows = []
    for each in trained:
        found, cost = each.metrics["figures"], each.metrics["cost"]
        part = found.get("test", found["validation"])
        decisive = part["fitted"]
        rows.append(
            {
                "name": each.job.name,
                **each.job.variant,
                "generators": ", ".join(each.metrics["generators"]),
                "epochs": each.metrics["epochs_run"],
                "validation_accuracy": found["validation"]["fitted"]["accuracy"],
                "evaluated_on": "test" if "test" in found else "validation",
                **{
                    key: decisive[key]
                    for key in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "loss")
                },
                "answers_one_class": any(at["answers_one_class"] for at in part.values()),
                "parameters": cost["parameters"],
                "ms_per_step": cost["ms_per_step"],
                "seconds": cost["seconds"],
            }
        )
    return pd.DataFrame(rows)


def over_repeats(table: pd.DataFrame, variant: Sequence[str]) -> pd.DataFrame:
    """Return mean and standard deviation over seeds and folds, a row for each combination of the other keys."""
    if not {*_REPEATS} & {*variant}:
        return pd.DataFrame()
    keys = [key for key in variant if key not in _REPEATS] + ["generators"]
    groups = table.groupby(keys, sort=False, dropna=False)
    figures = groups[["validation_accuracy", "accuracy", "f1", "auroc"]].agg(["mean", "std"])
    figures.columns = [f"{figure}_{what}" for figure, what in figures.columns]
    return figures.reset_index().assign(repeats=groups.size().to_numpy())


def write_comparison(output: Path, stem: str, trained: Sequence[Trained]) -> pd.DataFrame:
    """Write the comparison as CSV and Markdown, with mean and spread over repeats, and return it."""
    table = comparison_table(trained)
    variant = list(trained[0].job.variant)
    write_atomically(output / f"{stem}.csv", csv_of(table).encode())
    parts = [f"# {stem}", markdown_frame(rounded(table))]
    repeated = over_repeats(table, variant)
    if len(repeated):
        write_atomically(output / f"{stem}-repeats.csv", csv_of(repeated).encode())
        parts += ["Mean and standard deviation over seeds and folds:", markdown_frame(rounded(repeated))]
    write_atomically(output / f"{stem}.md", ("\n\n".join(parts) + "\n").encode())
    return table


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, fractions with four digits."""
    return table.map(lambda value: f"{value:.4g}" if isinstance(value, float) else json_text(value))


def json_text(value: object) -> str:
    """Return a value as text; a missing one is empty."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
