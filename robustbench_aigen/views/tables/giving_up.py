"""Images that ``auto`` gave up on, and how many of them could fall."""

from robustbench_aigen.metrics.giving_up import PriceOfGivingUp, price_of_giving_up
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, table


@table(order=15)
def giving_up(runs: JoinedRuns) -> Table | None:
    """Return a row per detector and pipeline in which ``auto`` gave up on images; None without any."""
    rows, overall = [], runs.overall()
    for detector, pipeline in dict.fromkeys(zip(overall["detector"], overall["pipeline"], strict=True)):
        cell = runs.cell(detector, pipeline)
        price = None if cell is None or "found_by" not in cell else price_of_giving_up(cell)
        if price is not None:
            rows.append(_row(detector, pipeline, price))
    if not rows:
        return None
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("attacked", 0),
        Column("withstood", 0),
        Column("given up", 0),
        Column("sample", 0),
        Column("sample fell", 0),
        Column("could fall", 0),
        Column("points", 1),
    )
    caption = (
        "Images that auto gave up on after its first attacks. A random sample of the images that withstood these got every "
        "attack. Could fall: the exact one-sided 95 % bound on how many images given up on would fall to every attack; "
        f"points: the same in per cent of the attacked images. {conditions(runs)}."
    )
    return Table("giving_up", "Price of giving up", caption, columns, tuple(rows))


def _row(detector: str, pipeline: str, price: PriceOfGivingUp) -> tuple[TableCell, ...]:
    counts = (
        price.attacked, price.withstood, price.given_up, price.sampled, price.fell, price.most,
        100 * price.most / price.attacked,
    )  # fmt: skip
    return TableCell(detector), TableCell(pipeline), *(TableCell(count) for count in counts)
