"""The page of the leaderboard: one file with all cards, which needs no network."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustbench_aigen.data.opening import BUILT_IN
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import write_atomically
from robustbench_aigen.leaderboard.card import Entry, find_cards, read_entry, verdicts_file
from robustbench_aigen.leaderboard.checking import check_entry, compare_images
from robustbench_aigen.leaderboard.ranking import RankRange, ranks
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.suites.suite import Suite
from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import flags
from robustbench_aigen.views.formats.html import rendered

_SIZES = ((10**5, "100 thousand"), (10**6, "1 million"), (10**7, "10 million"), (10**8, "100 million"))
"""Upper limits of the numbers of parameters that the page filters by."""


class _BoardNumber(NamedTuple):
    """A number on the page, in per cent: accuracy, interval, best and worst rank."""

    accuracy: float
    low: float
    high: float
    best: int
    worst: int

    @property
    def text(self) -> str:
        return f"{self.accuracy:.1f} ({self.low:.1f}–{self.high:.1f})"

    @property
    def rank(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


class _Board(NamedTuple):
    """The cards of one suite on the same images, which are ranked together."""

    title: str
    suite: Suite
    entries: list[Entry]


class _BoardRow(NamedTuple):
    """A card on the page; ``numbers`` by condition and group of images."""

    board: str
    entry: Entry
    card: str
    verdicts: str
    flags: tuple[str, ...]
    numbers: dict[str, dict[str, _BoardNumber]]


def write_page(folder: str | Path, target: Path) -> int:
    """Write the page of all cards in a folder, and return the number of cards.

    Raises
    ------
    UserError
        If there is no card, two cards are of one detector, or a card has faults.
    """
    entries = [_sound(read_entry(file)) for file in find_cards(folder)]
    write_atomically(target, page(entries, target).encode())
    return len(entries)


def page(entries: Sequence[Entry], target: Path) -> str:
    """Return the page as HTML; links start at the folder of ``target``."""
    boards = _boards(entries)
    rows = [row for board in boards for row in _rows(board, target)]
    first = boards[0]
    choice = {"suite": first.title, "group": ALL_GENERATORS, **_first_conditions(first.suite)}
    known = {flag.name: flag.meaning for flag in flags()}
    raised = sorted({name for row in rows for name in row.flags})
    choices = {
        board.title: {
            "attacks": _choices(board.suite, board.suite.attacks, "every attack"),
            "degradations": _choices(board.suite, board.suite.degradations, "every degradation"),
        }
        for board in boards
    }
    data = {
        "suites": choices,
        "rows": [
            {
                "suite": row.board,
                "parameters": row.entry.card.detector.parameters,
                "generators": row.entry.card.training.generators,
                "flagged": bool(row.flags),
                "numbers": row.numbers,
            }
            for row in rows
        ],
    }
    return rendered(
        "leaderboard.html.j2",
        also="leaderboard.js",
        title="Leaderboard",
        # A tag in a name must not end the element of the data.
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        choice=choice,
        suites=[board.title for board in boards],
        groups=list(dict.fromkeys(name for entry in entries for name in entry.verdicts.groups())),
        choices=choices[first.title],
        sizes=[(limit, text) for limit, text in _SIZES],
        rows=rows,
        meanings=[(name, known.get(name, ""), _places(rows, name)) for name in raised],
    )


def _sound(entry: Entry) -> Entry:
    faults = check_entry(entry)
    if faults:
        raise UserError(
            f"{faults[0].sentence}",
            file=entry.file,
            hint=f"robust-aigen verify {entry.file} lists all faults",
        )
    return entry


def _boards(entries: Sequence[Entry]) -> list[_Board]:
    """Group cards by suite and images, groups with more images first.

    Raises
    ------
    UserError
        If two cards of a group are of the same detector, or list different images.
    """
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.card.suite.title, entry.card.suite.fingerprint), []).append(entry)
    titles = [title for title, _ in found]
    boards = []
    for (title, fingerprint), own in found.items():
        _check_same_images(own)
        _check_different(own)
        # Different images can have one name, such as that of a folder.
        named = title if titles.count(title) == 1 else f"{title} ({fingerprint[:8]})"
        boards.append(_Board(named, own[0].suite, own))
    # Images of the package first: everyone can repeat these numbers without a download.
    return sorted(
        boards,
        key=lambda board: (
            board.suite.scenario.data.source not in BUILT_IN,
            -len(board.entries[0].images),
            board.title,
        ),
    )


def _check_same_images(entries: Sequence[Entry]) -> None:
    """Refuse cards whose images differ although their fingerprints agree: ranks compare image by image."""
    first, *others = entries
    for entry in others:
        for fault in compare_images(entry, first.verdicts.images, first.file.name):
            raise UserError(
                f"{fault.sentence}, and the cards have the same fingerprint",
                file=entry.file,
                hint="robust-aigen verify CARD finds the wrong one",
            )


def _check_different(entries: Sequence[Entry]) -> None:
    seen: dict[str, Path] = {}
    for entry in entries:
        name = entry.card.detector.name
        if name in seen:
            raise UserError(
                f"{seen[name].name} is of the same detector and suite",
                file=entry.file,
                hint="remove one of the two cards",
            )
        seen[name] = entry.file


def _choices(suite: Suite, names: Sequence[str], combined: str) -> list[str]:
    return [*(name for name in suite.combined if name.startswith(combined)), *names]


def _first_conditions(suite: Suite) -> dict[str, str]:
    return {
        "attack": _choices(suite, suite.attacks, "every attack")[0],
        "degradation": _choices(suite, suite.degradations, "every degradation")[0],
    }


def _rows(board: _Board, target: Path) -> list[_BoardRow]:
    """Return the rows of a board; all its cards are of the same images, so that every comparison is paired."""
    suite, own = board.suite, board.entries
    numbers: list[dict[str, dict[str, _BoardNumber]]] = [{} for _ in own]
    groups = own[0].verdicts.groups()
    for condition in suite.conditions:
        right = np.stack([_in_order(entry, condition) for entry in own])
        for group, members in groups.items():
            for entry, kept, rank in zip(own, numbers, ranks(right[:, members]), strict=True):
                kept.setdefault(condition, {})[group] = _shown(entry, condition, group, rank)
    start = target.resolve().parent
    rows = [
        _BoardRow(
            board.title,
            entry,
            _link(entry.file, start),
            _link(verdicts_file(entry.file), start),
            tuple(dict.fromkeys(flag.flag for flag in entry.card.flags)),
            kept,
        )
        for entry, kept in zip(own, numbers, strict=True)
    ]
    chosen = _first_conditions(suite)["attack"]
    return sorted(
        rows,
        key=lambda row: (
            -_worse_class(row.entry, chosen),
            -_worse_class(row.entry, CLEAN),
            -row.numbers[CLEAN][ALL_GENERATORS].accuracy,
        ),
    )


def _worse_class(entry: Entry, condition: str) -> float:
    """Return the share of right verdicts in the class with fewer: 0 for a detector that always gives one class."""
    right, is_fake = entry.verdicts.under(entry.suite, condition), entry.verdicts.images["label"] == 1
    shares = [float(right[members].mean()) for members in (is_fake, ~is_fake) if members.any()]
    return min(shares)


def _places(rows: Sequence[_BoardRow], flag: str) -> list[str]:
    """Return where a flag was raised: a line for each detector and evidence, with its pipelines."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        name = f"{row.entry.card.detector.name} ({row.board})"
        for each in row.entry.card.flags:
            if each.flag == flag:
                found.setdefault((name, each.evidence), []).append(each.pipeline)
    return [
        f"{name}, {pipelines[0] if len(pipelines) == 1 else counted(len(pipelines), 'pipeline')}"
        + (f": {evidence}" if evidence else "")
        for (name, evidence), pipelines in found.items()
    ]


def _in_order(entry: Entry, condition: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the verdicts in the order of the suite's images."""
    order = entry.verdicts.images["sample"].argsort(kind="stable").to_numpy()
    return entry.verdicts.under(entry.suite, condition)[order]


def _shown(entry: Entry, condition: str, group: str, rank: RankRange) -> _BoardNumber:
    stated = entry.card.results[condition][group]
    accuracy, low, high = (round(100 * value, 1) for value in (stated.accuracy, stated.low, stated.high))
    return _BoardNumber(accuracy, low, high, rank.best, rank.worst)


def _link(file: Path, start: Path) -> str:
    return Path(os.path.relpath(file.resolve(), start)).as_posix()
