"""The cross-generator protocol: detectors trained on some generators, tested on each."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.data.release_dates import in_order
from robustbench_aigen.detectors.card import read_card
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import write_atomically
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.views.formats.markdown import markdown_frame

MATRIX, GAPS, GENIMAGE = "protocol", "protocol_gaps", "protocol_genimage"
AVERAGE = "average"


def generators_seen(loaded: Scenario) -> dict[str, list[str]]:
    """Return the generators that each detector of a scenario was trained on, by its name, as its card says.

    Raises
    ------
    UserError
        If a detector has no card that names them.
    """
    seen = {}
    for spec in loaded.detectors:
        file = _weights(spec, loaded.folder)
        said = (read_card(file).model_extra or {}).get("generators") if file is not None else None
        name = spec.name or spec.id or (file.stem if file is not None else "")
        if not said:
            raise UserError(
                f"the training generators of '{name}' are unknown",
                hint='name the generators in its card: "generators": [...]',
            )
        seen[name] = [str(generator) for generator in said]
    return seen


def _weights(spec: DetectorSpec, folder: Path) -> Path | None:
    if spec.path is not None:
        return (folder / spec.path).expanduser()
    return shipped_detectors().get(str(spec.id))


def matrix(
    summary: pd.DataFrame, seen: Mapping[str, Sequence[str]], released: Mapping[str, date] | None = None
) -> pd.DataFrame:
    """Return a row per detector, pipeline and generator that it is tested on.

    Parameters
    ----------
    summary
        Summary of a run.
    seen
        The generators that each detector was trained on.
    released
        For a chronological protocol: release dates of generators, before those that the package knows. Rows are in
        the order of the dates then, and generators without a date come last.

    Returns
    -------
    DataFrame
        ``detector, trained_on, pipeline, generator, n, accuracy, balanced_accuracy, tpr, in_domain``, fractions in
        0…1: the generator's fakes with the reals they belong to. In a chronological protocol also ``released``.
    """
    rows = summary[summary["generator"] != ALL_GENERATORS]
    found = rows[["detector", "pipeline", "generator", "n", "accuracy", "balanced_accuracy", "tpr"]].copy()
    found.insert(1, "trained_on", found["detector"].map(lambda name: "+".join(seen[name])))
    found["in_domain"] = [
        generator in seen[name] for name, generator in zip(found["detector"], found["generator"], strict=True)
    ]
    if released is not None:
        dates, unknown = in_order(found["generator"].unique(), released)
        place = {name: number for number, name in enumerate([*dates, *unknown])}
        found["released"] = [dates.get(name) for name in found["generator"]]
        cells = found.groupby(["detector", "pipeline"], sort=False).ngroup()
        order = pd.DataFrame({"cell": cells, "place": found["generator"].map(place)})
        found = found.loc[order.sort_values(["cell", "place"], kind="stable").index]
    return found.reset_index(drop=True)


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean balanced accuracy on seen and on unseen generators, and the difference, per detector and pipeline.

    A chronological table also gets ``next``: the balanced accuracy on the generators of the first date after those
    seen, AI-GenBench's next period. NaN where a detector has seen every generator, or none, of those it is tested on.
    """
    rows = []
    for (detector, trained_on, pipeline), cell in table.groupby(
        ["detector", "trained_on", "pipeline"], sort=False
    ):
        own = cell.loc[cell["in_domain"], "balanced_accuracy"].mean()
        foreign = cell.loc[~cell["in_domain"], "balanced_accuracy"].mean()
        rows.append(
            {
                "detector": detector,
                "trained_on": trained_on,
                "pipeline": pipeline,
                "in_domain": own,
                "foreign": foreign,
                "difference": own - foreign,
                **({"next": _next_period(cell)} if "released" in cell else {}),
            }
        )
    return pd.DataFrame(rows)


def _next_period(cell: pd.DataFrame) -> float:
    """Return the mean balanced accuracy on the generators of the first date after those seen; NaN without any."""
    newest = cell.loc[cell["in_domain"], "released"].max()
    later = cell[[day is not None and not pd.isna(newest) and day > newest for day in cell["released"]]]
    return float(later.loc[later["released"] == later["released"].min(), "balanced_accuracy"].mean())


def genimage_table(table: pd.DataFrame, pipeline: str) -> pd.DataFrame:
    """Return GenImage's own table for a pipeline: training generators down, test generators across, the average.

    Zhu et al. 2023, arXiv:2306.08571, table 3. Theirs is accuracy on balanced test sets; balanced accuracy is the
    same there, and stays comparable where a set is not balanced.
    """
    part = table[table["pipeline"] == pipeline]
    keys = ["detector", "trained_on"]
    # pivot_table would drop a generator of which every value is missing.
    wide = part.pivot(index=keys, columns="generator", values="balanced_accuracy")  # noqa: PD010
    wide = wide.reindex(
        index=pd.MultiIndex.from_frame(part[keys].drop_duplicates()), columns=part["generator"].unique()
    )
    wide[AVERAGE] = wide.mean(axis=1)
    return wide


def write_tables(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write the matrix, the gaps and GenImage's tables below ``folder`` as CSV and Markdown; return the gaps."""
    pipelines = list(table["pipeline"].unique())
    wide = pd.concat({name: genimage_table(table, name) for name in pipelines}, names=["pipeline"])
    found = gaps(table)
    for stem, content in ((MATRIX, table), (GAPS, found), (GENIMAGE, wide.reset_index())):
        write_atomically(folder / f"{stem}.csv", csv_of(content).encode())
    parts = [
        "# Trained on some generators, tested on each",
        "Balanced accuracy in per cent on each generator's fakes and the reals they belong to; * seen in training.",
    ]
    seen = {(row.detector, row.generator) for row in table.itertuples() if row.in_domain}
    for name in pipelines:
        parts += [f"## {name}", markdown_frame(_starred(genimage_table(table, name), seen))]
    parts += ["## Seen and unseen generators", markdown_frame(in_per_cent(found))]
    write_atomically(folder / f"{MATRIX}.md", ("\n\n".join(parts) + "\n").encode())
    return found


def _starred(wide: pd.DataFrame, seen: set[tuple[str, str]]) -> pd.DataFrame:
    text = wide.map(_per_cent)
    for detector, trained_on in text.index:
        for generator in text.columns:
            if (detector, generator) in seen:
                text.loc[(detector, trained_on), generator] += "*"
    return text.reset_index()


def in_per_cent(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, fractions in per cent."""
    return table.map(lambda value: _per_cent(value) if isinstance(value, float) else str(value))


def _per_cent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"
