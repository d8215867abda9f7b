"""The tables of a report as frames of text; Markdown and the terminal show the same ones."""

import math
from pathlib import Path

import pandas as pd

from robustbench_aigen.metrics.summary import ALL_GENERATORS


def percent(value: float, digits: int = 1) -> str:
    """Write a fraction in per cent; empty where it is NaN.

    >>> percent(0.8765), percent(float("nan"))
    ('87.6', '')
    """
    return "" if math.isnan(value) else f"{100 * value:.{digits}f}"


def accuracy_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row per detector and pipeline on all images; numbers in per cent, drops in points."""
    rows = summary[summary["generator"] == ALL_GENERATORS]
    return pd.DataFrame(
        {
            "detector": rows["detector"],
            "pipeline": rows["pipeline"],
            "accuracy": rows["accuracy"].map(percent),
            "95 % CI": [f"{percent(row.ci_low)}–{percent(row.ci_high)}" for row in rows.itertuples()],
            "drop": rows["drop"].map(percent),
            "TPR": rows["tpr"].map(percent),
            "TNR": rows["tnr"].map(percent),
            "AUROC": rows["auroc"].map(lambda value: "" if math.isnan(value) else f"{value:.3f}"),
            "fooled": rows["attack_success"].map(percent),
            "trust": rows["trust"],
        }
    )


def generator_matrix(summary: pd.DataFrame) -> pd.DataFrame:
    """Return balanced accuracy by detector and pipeline (rows) and generator (columns, all of them last).

    On a generator's fakes and the reals they belong to; balanced, because a generator often has fewer fakes than
    there are reals. NaN where a class is missing.
    """
    # pivot_table would drop a column of which every value is missing.
    keys = ["detector", "pipeline"]
    matrix = summary.pivot(index=keys, columns="generator", values="balanced_accuracy")  # noqa: PD010
    rows = pd.MultiIndex.from_frame(summary[keys].drop_duplicates())
    columns = sorted(name for name in matrix.columns if name != ALL_GENERATORS)
    return matrix.reindex(index=rows, columns=[*columns, ALL_GENERATORS])


def generator_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`generator_matrix` as text, in per cent."""
    return generator_matrix(summary).map(percent).reset_index()


def write_tables(folder: Path, summary: pd.DataFrame) -> None:
    """Write the tables as CSV files into a new folder."""
    folder.mkdir()
    accuracy_table(summary).to_csv(folder / "accuracy.csv", index=False)
    generator_table(summary).to_csv(folder / "generators.csv", index=False)
