"""Trust flags, audit results and skipped images of a report, as sentences."""

from collections.abc import Sequence
from typing import NamedTuple

from robustbench_aigen.runs.info import FlagInfo
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import flags as known_flags


class Evidence(NamedTuple):
    """One flag: what it means, and where it was raised with what was measured there."""

    flag: str
    meaning: str
    places: tuple[str, ...]


NOTHING_FOUND = "No check raised a flag. Faults that these checks do not cover are still possible."


def evidence(joined: JoinedRuns) -> list[Evidence]:
    """Return every flag that was raised, in the order of the checks; then the issues of the data."""
    known = dict(known_flags())
    for run in joined.runs:
        # The checks of plugins that are not loaded.
        known |= {name: meaning for name, meaning in run.info.trust.checks.items() if name not in known}
    flags = joined.flags()
    order = [*known, *dict.fromkeys(flag.flag for flag in flags if flag.flag not in known)]
    found = [
        Evidence(name, known.get(name, ""), _places([flag for flag in flags if flag.flag == name]))
        for name in order
        if any(flag.flag == name for flag in flags)
    ]
    stored = tuple(
        f"{label}: {run.info.audit.sentence} (seen on {counted(run.info.audit.images, 'image')})"
        for label, run in zip(joined.labels, joined.runs, strict=True)
        if run.info.audit.call == "confound"
    )
    if stored:
        meaning = (
            "file properties separate real from fake; a detector may have learned these properties instead"
        )
        found.append(Evidence("confounded_data", meaning, stored))
    unreadable = []
    for label, run in zip(joined.labels, joined.runs, strict=True):
        problems = run.problems
        if problems:
            names = ", ".join(sample for sample, _ in problems[:5])
            unreadable.append(
                f"{label}: {counted(len(problems), 'image was', 'images were')} skipped: {names}"
            )
    if unreadable:
        found.append(Evidence("unreadable", "images could not be read and were left out", tuple(unreadable)))
    return found


def not_checked(joined: JoinedRuns) -> list[str]:
    """Return the trust checks that were left out, a line for each set of flags and reason."""
    cells: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for run, names in zip(joined.runs, joined.detectors, strict=True):
        for left in run.info.trust.unchecked:
            where = f"{names[left.detector]}, {', '.join(left.pipelines)}"
            cells.setdefault((left.flags, left.reason), []).append(where)
    return [
        f"{', '.join(flags)} ({reason}): {'; '.join(places)}" for (flags, reason), places in cells.items()
    ]


def _places(flags: Sequence[FlagInfo]) -> tuple[str, ...]:
    # Equal sentences on several pipelines of a detector become one line.
    pipelines: dict[tuple[str, str], list[str]] = {}
    for flag in flags:
        pipelines.setdefault((flag.detector, flag.evidence), []).append(flag.pipeline)
    return tuple(f"{detector}, {', '.join(names)}: {text}" for (detector, text), names in pipelines.items())
