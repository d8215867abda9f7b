"""The unsure band: coverage and share of sure verdicts under each pipeline."""

import math
from typing import NamedTuple

from robustbench_aigen.metrics.conformal import Coverage, UnsureBand, coverage
from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, table

_BELOW = "†"
_LEVEL = 0.05


class _Judged(NamedTuple):
    detector: str
    pipeline: str
    reals: Coverage
    fakes: Coverage


@table(order=33)
def unsure(runs: JoinedRuns) -> Table | None:
    """Return a row per detector and pipeline; None where no detector has a band and records."""
    bands, found = _bands(runs), []
    for name, pipeline in dict.fromkeys(
        zip(runs.overall()["detector"], runs.overall()["pipeline"], strict=True)
    ):
        cell = runs.cell(name, pipeline) if name in bands else None
        if cell is not None:
            log_odds, labels = cell["log_odds"].to_numpy(float), cell["label"].to_numpy()
            found.append(
                _Judged(name, pipeline, *(coverage(bands[name], log_odds[labels == of], of) for of in (0, 1)))
            )
    if not found:
        return None
    p_values = holm([part.p_value for row in found for part in (row.reals, row.fakes)])
    rows = tuple(
        _cells(row, p_values[2 * number : 2 * number + 2].tolist()) for number, row in enumerate(found)
    )
    levels = sorted({band.level for band in bands.values()})
    columns = (
        Column(DETECTOR), Column("pipeline"), Column("reals covered", 1), Column("fakes covered", 1),
        Column("unsure", 1), Column("wrong and sure", 1),
    )  # fmt: skip
    promised = " or ".join(f"{100 * (1 - level):g} %" for level in levels)
    caption = (
        f"Verdicts with an unsure band, in per cent. On images like the validation images, at least {promised} of each "
        "class are covered: they keep their class. Unsure: both classes or neither are kept; wrong and sure: the other "
        "class alone is kept. An attack that stops when the verdict turns need not leave the band, and a longer attack "
        f"can lower these numbers. {conditions(runs)}."
    )
    note = f"{_BELOW} below the promise (beta-binomial test, Holm, 5 %): these images are not like the validation images"
    marked = any(cell.mark for row in rows for cell in row)
    return Table("unsure", "Unsure band and coverage", caption, columns, rows, (note,) if marked else ())


def _bands(runs: JoinedRuns) -> dict[str, UnsureBand]:
    found = {}
    for run, labels in zip(runs.runs, runs.detectors, strict=True):
        for detector in run.info.detectors:
            if detector.unsure is not None and detector.name in labels:
                found[labels[detector.name]] = UnsureBand(**detector.unsure.model_dump())
    return found


def _cells(row: _Judged, p_values: list[float]) -> tuple[TableCell, ...]:
    parts = (row.reals, row.fakes)
    images = sum(part.images for part in parts)
    covered = [
        TableCell(
            100 * part.covered / part.images if part.images else math.nan,
            mark=_BELOW if p_value < _LEVEL else "",
        )
        for part, p_value in zip(parts, p_values, strict=True)
    ]
    shares = (
        100 * sum(part.unsure for part in parts) / images,
        100 * sum(part.wrong for part in parts) / images,
    )
    return TableCell(row.detector), TableCell(row.pipeline), *covered, *map(TableCell, shares)
