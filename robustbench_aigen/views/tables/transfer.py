"""Transfer of exported adversarial sets: attacked images, crafted on one detector, judged by others."""

import math

import pandas as pd

from robustbench_aigen.runs.info import ExportedCellInfo
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import Column, Table, TableCell, table

_OWN = "*"
_OWN_NOTE = f"{_OWN} the detector that the images were crafted on"


@table(order=36)
def transfer(runs: JoinedRuns) -> Table | None:
    """Return the accuracy of each detector on each cell of exported sets, as RAID (arXiv:2506.03988) does."""
    hashes = {
        label: runs.info_of(label).weights_sha256 for names in runs.detectors for label in names.values()
    }
    cells = {
        (each.folder, each.detector, each.pipeline): each
        for run in runs.runs
        for each in run.info.data.exported
    }
    if not cells or runs.records.empty:
        return None
    return transfer_table(runs.records, list(cells.values()), hashes, conditions(runs))


def transfer_table(
    records: pd.DataFrame, cells: list[ExportedCellInfo], hashes: dict[str, str], measured: str = ""
) -> Table:
    """Return a row per exported cell, with the accuracy of each scored detector in per cent.

    Parameters
    ----------
    records
        Records of runs on exported sets.
    cells
        The cells of the sets.
    hashes
        Hash of the weights of each scored detector, by its name.
    measured
        The conditions of the measurement, for the caption.
    """
    clean = records[records["pipeline"] == CLEAN]
    scored = [str(name) for name in clean["detector"].unique()]
    rows = []
    for cell in cells:
        images = clean[clean["sample"].astype(str).str.startswith(f"{cell.folder}/")]
        right = {
            str(name): part["correct"].mean() for name, part in images.groupby("detector", observed=True)
        }
        rows.append(
            (
                TableCell(cell.detector),
                TableCell(cell.pipeline),
                TableCell(images["sample"].nunique()),
                *(
                    TableCell(
                        100 * right.get(name, math.nan),
                        mark=_OWN if hashes.get(name) == cell.weights_sha256 else "",
                    )
                    for name in scored
                ),
            )
        )
    columns = (
        Column("crafted on"),
        Column("pipeline"),
        Column("images", 0),
        *(Column(name, 1, is_detector=True) for name in scored),
    )
    caption = (
        "Accuracy in per cent on exported adversarial images, by the detector and the attack that made them. "
        f"{measured}{'.' if measured else ''}"
    ).strip()
    return Table("transfer", "Transfer of exported images", caption, columns, tuple(rows), (_OWN_NOTE,))
