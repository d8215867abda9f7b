"""Release dates of generators, for the chronological protocol."""

import csv
import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_suffix(".csv")


def released(generator: str, own: Mapping[str, date] | None = None) -> date | None:
    """Return the day of a generator's first paper or release; None if it is unknown.

    Case, spaces and punctuation do not matter: ``Stable Diffusion v1.4``, ``stable_diffusion_v1_4``, ``sdv14``. The dates
    are those of AI-GenBench (Pellegrini et al. 2025, arXiv:2504.20865) and, for generators that it lacks, of the
    first version of the paper; ``release_dates.csv`` has the source of each.

    Parameters
    ----------
    generator
        Name of the generator.
    own
        Dates by name that come before those of the table.
    """
    known = {_key(name): day for name, day in (own or {}).items()}
    return known.get(_key(generator), _shipped().get(_key(generator)))


def in_order(
    generators: Iterable[str], own: Mapping[str, date] | None = None
) -> tuple[dict[str, date], list[str]]:
    """Return the generators with a known date, the oldest first, and those without one."""
    dates = {name: released(name, own) for name in generators}
    known = {name: day for name, day in dates.items() if day is not None}
    return dict(sorted(known.items(), key=lambda item: (item[1], item[0]))), [
        name for name, day in dates.items() if day is None
    ]


@cache
def _shipped() -> dict[str, date]:
    found = {}
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name in (row["generator"], *row["aliases"].split(";")):
                if name:
                    found[_key(name)] = date.fromisoformat(row["released"])
    return found


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())
