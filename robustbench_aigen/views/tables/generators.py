"""Tables by generator: each with its numbers, and the matrix of detectors and generators."""

import pandas as pd

from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.added_columns import added_columns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.significance import STARS_NOTE, stars, write_p
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table, with_best


@table(order=50)
def cross_generator(runs: JoinedRuns) -> Table | None:
    """Return the balanced accuracy of each detector on each generator."""
    return cross_generator_table(runs.summary, conditions(runs)) if _has_generators(runs) else None


@table(order=60)
def generators(runs: JoinedRuns) -> Table | None:
    """Return the metrics on each generator."""
    return generator_table(runs.summary, conditions(runs)) if _has_generators(runs) else None


def _has_generators(runs: JoinedRuns) -> bool:
    return bool((runs.summary["generator"] != ALL_GENERATORS).any())


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


def cross_generator_table(summary: pd.DataFrame, measured: str = "") -> Table:
    """Return a row per pipeline and detector and a column per generator: balanced accuracy in per cent.

    The last columns are the mean over the generators, empty where one of them has none, and all images together.
    """
    matrix = 100 * generator_matrix(summary)
    generators = [name for name in matrix.columns if name != ALL_GENERATORS]
    pipelines = list(dict.fromkeys(matrix.index.get_level_values("pipeline")))
    content = [
        (
            TableCell(pipeline),
            TableCell(detector),
            *(TableCell(float(row[name])) for name in generators),
            TableCell(float(row[generators].mean(skipna=False))),
            TableCell(float(row[ALL_GENERATORS])),
        )
        for pipeline in pipelines
        for detector, row in matrix.xs(pipeline, level="pipeline").iterrows()
    ]
    titles = [*generators, "average", ALL_GENERATORS]
    columns = (Column("pipeline"), Column(DETECTOR), *(Column(title, 1, compared=True) for title in titles))
    caption = (
        "Balanced accuracy in per cent on the fakes of each generator and their real images; the best detector in "
        f"bold; the column 'all' is for all images. {measured}{'.' if measured else ''}"
    ).strip()
    return with_best(
        Table("cross_generator", "Detectors and generators", caption, columns, tuple(content)), within=(0,)
    )


def generator_table(summary: pd.DataFrame, measured: str = "") -> Table:
    """Return a row per detector, pipeline and generator, with drops and their significance."""
    rows = summary[summary["generator"] != ALL_GENERATORS]
    added = added_columns(summary)
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("generator"),
        Column("n", 0),
        Column("accuracy", 1),
        Column("95 % CI"),
        Column("drop", 1),
        Column("p"),
        Column("balanced", 1),
        Column("TPR", 1),
        Column("AUROC", 3),
        *(Column(title, 3) for title in added.values()),
    )
    content = tuple(
        (
            TableCell(row.detector),
            TableCell(row.pipeline),
            TableCell(row.generator),
            TableCell(row.n),
            TableCell(100 * row.accuracy),
            TableCell(f"{percent(row.ci_low)}–{percent(row.ci_high)}"),
            TableCell(100 * row.drop, mark=stars(p_value)),
            TableCell(write_p(p_value)),
            TableCell(100 * row.balanced_accuracy),
            TableCell(100 * row.tpr),
            TableCell(row.auroc),
            *(TableCell(getattr(row, name)) for name in added),
        )
        for row, p_value in zip(rows.itertuples(), holm(rows["p_value"]), strict=True)
    )
    caption = (
        "Metrics by generator, on its fakes and their real images, in per cent; TPR is the share of its fakes that are "
        f"judged fake. {measured}{'.' if measured else ''}"
    ).strip()
    return Table("generators", "Each generator", caption, columns, content, (STARS_NOTE,))
