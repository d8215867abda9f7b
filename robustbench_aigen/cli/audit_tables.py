"""Tables of an audit for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustbench_aigen.cli.console import print_table, say
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aigen.data.audit.equalised_copy import Copy
    from robustbench_aigen.data.audit.inspection import Audit
    from robustbench_aigen.data.audit.verdict import Accuracy

_NAMED = 5
"""Largest number of unreadable images, and of copies across splits, that are listed."""


def print_audit(audit: "Audit", available: int) -> None:
    """Print the images, the accuracy of each file property, the copies, and the verdict."""
    import pandas as pd

    count = len(audit.surveyed)
    of = f" of {available}" if count + len(audit.unreadable) < available else ""
    split = "" if audit.split == "all" else f", split {audit.split}"
    balance = pd.DataFrame(
        [
            {
                "split": row["split"] or "none",
                "real": row["real"],
                "fake": row["fake"],
                "fake, %": f"{100 * row['fake'] / (row['real'] + row['fake']):.1f}",
            }
            for row in audit.balance
        ]
    )
    print_table(balance, f"{audit.source}: {counted(count, 'image')}{of}{split}")
    title = "file properties: most frequent value, its share, number of other values"
    print_table(_stored(audit), title, group="generator")
    print_table(_facts(audit), "classes predicted from file properties alone")
    print_table(_copies(audit), "copies")
    for line in _sentences(audit):
        say(line)


def print_copy(copy: "Copy", after: "Audit") -> None:
    """Print the properties of an equalised copy, and the verdict of its audit."""
    recipe = copy.recipe
    stored = "PNG" if recipe.quality is None else f"JPEG quality {recipe.quality}, 4:2:0"
    out = ", ".join(f"{count} {_REASONS[reason]}" for reason, count in sorted(copy.left_out.items()))
    say(
        f"\nwritten to {copy.folder}: {counted(copy.images, 'image')}, {recipe.width}×{recipe.height} {stored}"
    )
    say(f"left out: {out or 'none'}")
    say(f"the copy: {after.verdict.sentence()}")
    if after.leaks:
        say(f"the copy: {_leak_sentence(after)}")


_REASONS: Mapping[str, str] = {
    "leak": "copies of images in another split",
    "both labels": "identical files with both labels",
    "too small": "smaller than that",
    "unreadable": "unreadable",
}


def _sentences(audit: "Audit") -> list[str]:
    lines = [audit.verdict.sentence()]
    if audit.verdict.call != "confound":
        lines += [
            f"{name}: {verdict.sentence()}"
            for name, verdict in audit.by_generator.items()
            if verdict.call == "confound"
        ]
    if audit.leaks:
        lines.append(_leak_sentence(audit))
    both = [group for group in audit.exact if group.across_classes]
    if both:
        names = ", ".join(sample.id for sample in both[0].samples)
        lines.append(
            f"CONTRADICTION: {counted(len(both), 'image has', 'images have')} both labels as identical files, for example {names}"
        )
    if audit.unreadable:
        lines.append(f"{counted(len(audit.unreadable), 'image')} cannot be read:")
        lines += [f"  {problem.sample}: {problem.reason}" for problem in audit.unreadable[:_NAMED]]
    if len(audit.unreadable) > _NAMED:
        lines.append(f"  and {len(audit.unreadable) - _NAMED} more (--json has all)")
    return lines


def _leak_sentence(audit: "Audit") -> str:
    crossing = [group for group in (*audit.exact, *audit.near) if group.across_splits]
    names = ", ".join(sample.id for sample in crossing[0].samples[:3])
    return f"LEAK: {counted(audit.leaks, 'picture is', 'pictures are')} in more than one split, for example {names}"


def _stored(audit: "Audit") -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "generator": part.generator,
                "class": "fake" if part.label else "real",
                "images": part.images,
                "format": _commonest(part.facts["format"]),
                "quality": _commonest(part.facts["quality"]),
                "chroma": _commonest(part.facts["subsampling"]),
                "size": _commonest(part.facts["size"]),
                "metadata": _commonest(part.facts["metadata"]),
            }
            for part in audit.parts
        ]
    )


def _commonest(counts: Mapping[str, int]) -> str:
    (word, having), *others = counts.items()
    if not others:
        return word
    return f"{word} {100 * having / sum(counts.values()):.0f}% +{len(others)}"


def _facts(audit: "Audit") -> "pd.DataFrame":
    import pandas as pd

    rows: list[tuple[str, Accuracy | None, str]] = [
        (name, accuracy, "") for name, accuracy in audit.verdict.by_fact.items()
    ]
    rows.append(("all together", audit.verdict.accuracy, audit.verdict.call))
    rows += [(f"all, {name}", v.accuracy, v.call) for name, v in audit.by_generator.items()]
    return pd.DataFrame(
        [
            {
                "fact": name,
                "right, %": "" if accuracy is None else _percent(accuracy.value),
                "95 % CI": "" if accuracy is None else f"{_percent(accuracy.low)}–{_percent(accuracy.high)}",
                "verdict": call,
            }
            for name, accuracy, call in rows
        ]
    )


def _copies(audit: "Audit") -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.data.audit.duplicates import tally

    rows = []
    for kind, copies in (("identical files", audit.exact), ("near-duplicates", audit.near)):
        counts = tally(copies)
        rows.append(
            {
                "kind": kind,
                "groups": counts.groups,
                "images": counts.images,
                "across splits": counts.across_splits,
                "across classes": counts.across_classes,
            }
        )
    return pd.DataFrame(rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
