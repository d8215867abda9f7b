"""Inventory of a source: its layout, and its images by split, generator and class."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from robustbench_aigen.data.samples import IN_PACKAGE, REAL_POOL, ImageSource, Sample, reals_of
from robustbench_aigen.text import counted


class Stock(NamedTuple):
    """Number of images of a split (None: no split) and generator, by class."""

    split: str | None
    generator: str
    real: int
    fake: int


def take_stock(samples: Iterable[Sample]) -> list[Stock]:
    """Count samples by split and generator: train, val and test first, reals of all generators last."""
    counts = Counter((sample.split, sample.generator, sample.label) for sample in samples)
    order = {"train": 0, "val": 1, "test": 2}
    rows = sorted(
        {(split, generator) for split, generator, _ in counts},
        key=lambda row: (order.get(row[0] or "", 3), row[0] or "", row[1] == REAL_POOL, row[1]),
    )
    return [Stock(*row, counts[(*row, 0)], counts[(*row, 1)]) for row in rows]


def describe(source: ImageSource) -> list[str]:
    """Return the layout of a source, and a line for each split with its counts by generator.

    Nothing of what the package brings itself.
    """
    if source.layout == IN_PACKAGE:
        return []
    lines = [f"{source.name}: {source.layout}"]
    stock = take_stock(source.samples)
    for split in dict.fromkeys(row.split for row in stock):
        rows = [row for row in stock if row.split == split]
        text = f"  {split or 'no split'}: {sum(row.real for row in rows)} real, {sum(row.fake for row in rows)} fake"
        if any(row.generator not in (REAL_POOL, "fake") for row in rows):
            each = [f"{row.generator} {row.real}+{row.fake}" for row in rows if row.generator != REAL_POOL]
            pool = [f"{row.real} real of all" for row in rows if row.generator == REAL_POOL]
            text += f" ({', '.join([*each, *pool])})"
        lines.append(text)
    return lines


def describe_briefly(source: ImageSource) -> list[str]:
    """Return the text of :func:`describe` in at most two lines."""
    first, *splits = describe(source) or [""]
    return [first, f"  {'; '.join(line.strip() for line in splits)}"] if splits else [first] * bool(first)


def of_their_own(samples: Iterable[Sample]) -> list[str]:
    """Return a line on reals under a name that no fake has; empty without such reals."""
    counts = Counter((sample.generator, sample.label) for sample in samples)
    fakes = sorted({name for name, label in counts if label})
    names = sorted({name for name, label in counts if not label} - {REAL_POOL, *fakes})
    if not names or not fakes:
        return []
    count = sum(counts[name, 0] for name in names)
    without = [name for name in fakes if names[0] in reals_of([name], counts)]
    which = f"of {_listed(names)}, which {'has' if len(names) == 1 else 'have'} no fakes"
    text = counted(count, f"real {which}, belongs to ", f"reals {which}, belong to ")
    if not without:
        return [f"{text}no generator: each has reals of its own"]
    whose = (
        "every generator"
        if len(without) == len(fakes)
        else f"the generators without reals: {_listed(without)}"
    )
    return [text + whose]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
