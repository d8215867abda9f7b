"""The README of a folder of committed results."""

from collections.abc import Sequence
from pathlib import Path


def write_readme(target: Path, parts: Sequence[str], *, missing: Sequence[str]) -> None:
    """Write ``README.md``: its parts, the findings of ``FINDINGS.md`` beside it, and the missing runs."""
    lines = list(parts)
    findings = target / "FINDINGS.md"
    if findings.is_file():
        lines += ["\n## Findings\n", findings.read_text(encoding="utf-8")]
    if missing:
        lines.append(f"\nNot run yet: {', '.join(missing)}.")
    (target / "README.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
