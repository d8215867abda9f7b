"""``robust-aigen leaderboard``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.submit import CARDS


def leaderboard(
    cards: Annotated[str, typer.Argument(help="The folder of cards.")] = CARDS,
    output: Annotated[
        str | None, typer.Option(help="File of the page; by default index.html in the folder of cards.")
    ] = None,
) -> None:
    """Build one static page of all cards in a folder: sorting, filters, intervals, ranks with ties.

    A card whose numbers do not follow from its verdicts is refused. The page needs no network.
    """
    from pathlib import Path

    from robustbench_aigen.leaderboard.page import write_page
    from robustbench_aigen.text import counted

    target = Path(cards) / "index.html" if output is None else Path(output)
    entries = write_page(cards, target)
    say(f"{counted(entries, 'card')}, written to {target}")
