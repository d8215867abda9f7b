"""The columns of a summary that are added metrics, those of plugins for instance, and their titles."""

import pandas as pd

from robustbench_aigen.metrics.metric import METRICS
from robustbench_aigen.metrics.summary import COLUMNS

_TAKEN = frozenset(
    {
        "detector",
        "pipeline",
        "generator",
        "n",
        "accuracy",
        "95 % CI",
        "drop",
        "p",
        "balanced",
        "TPR",
        "TNR",
        "AUROC",
    }
    | {"fooled", "trust"}
)
"""Titles of tables that metrics are added to."""


_OF_PIPELINES = ("stages",)
"""Columns of joined runs on a pipeline, besides its metrics."""


def added_columns(summary: pd.DataFrame) -> dict[str, str]:
    """Return the titles of added metrics by their names.

    A name is the title where the plugin is not loaded, or where the title is that of another column.
    """
    titles: dict[str, str] = {}
    names = [str(name) for name in summary if name not in {*COLUMNS, *_OF_PIPELINES}]
    for name in names:
        title = METRICS[name].title if name in METRICS else name
        titles[name] = name if title in {*_TAKEN, *titles.values(), *names} else title
    return titles
