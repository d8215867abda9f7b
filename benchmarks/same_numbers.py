"""Proves that a change of the code changes no number: runs scenarios on two revisions and compares all that came out.

    python -m benchmarks.same_numbers --base COMMIT [SCENARIO ...]

The base revision is checked out into a temporary worktree. Both run the same scenarios on the CPU, in float32, on one
thread, with empty caches. Records, summaries, trust flags and answers of the trust probes must be equal in every column
that both have. Then both build the tables of the committed results, which must be the same bytes.
Exit code 1 where anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

_ROOT = Path(__file__).resolve().parents[1]
_LIMITS = {
    "pgd_eps4": 64,
    "fgsm_sweep": 64,
    "pgd_then_jpeg": 64,
    "through_jpeg": 64,
    "transfer": 64,
    "platforms": 64,
    "trim": 64,
    "noise_sweep": 64,
    "auto": 24,
    "backends": 24,
    "black_box": 8,
}
"""The scenarios and how many images of each are run."""
_NOT_COMPARED = {"stage_params", "family"}
"""Columns of the summary that describe a pipeline in the words of one format of run folders."""


def main() -> int:
    """Compare and print a line for each scenario and each committed report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", help="all listed ones by default")
    parser.add_argument("--base", required=True, help="the commit to compare with")
    parser.add_argument("--skip-tables", action="store_true", help="do not rebuild the committed tables")
    arguments = parser.parse_args()
    differences = 0
    with TemporaryDirectory() as folder, _worktree(arguments.base, Path(folder) / "base") as base:
        trees = {"base": base, "present": _ROOT}
        for name in arguments.scenario or _LIMITS:
            with ThreadPoolExecutor() as pool:
                runs = {
                    side: pool.submit(_run, tree, name, Path(folder) / side) for side, tree in trees.items()
                }
            found = _compared(runs["base"].result(), runs["present"].result())
            differences += len(found)
            print(f"{name}: {'; '.join(found) or 'equal'}", flush=True)
        for report in (
            []
            if arguments.skip_tables
            else sorted(file.parent for file in (_ROOT / "results").rglob("run.json"))
        ):
            tables = [_tables(tree, report, Path(folder) / f"{side}-tables") for side, tree in trees.items()]
            if tables[0] != tables[1]:
                differences += 1
                print(f"tables of {report.relative_to(_ROOT)}: different")
    print("no difference" if differences == 0 else f"differences: {differences}")
    return int(differences > 0)


@contextmanager
def _worktree(commit: str, folder: Path) -> Iterator[Path]:
    git = ["git", "-C", str(_ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", "--quiet", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def _command(tree: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "robustbench_aigen", *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} fails in {tree}:\n{done.stderr[-2000:]}")


def _run(tree: Path, name: str, output: Path) -> Path:
    """Run a scenario in a tree and return the run folder."""
    options = ["--limit", str(_LIMITS.get(name, 64)), "--precision", "fp32", "--device", "cpu"]
    _command(tree, "run", name, "--output", str(output), *options)
    return (output / name / "latest").resolve()


def _compared(base: Path, present: Path) -> list[str]:
    """Return what differs between two runs."""
    found = _columns(
        pd.read_parquet(base / "records.parquet"), pd.read_parquet(present / "records.parquet"), "records"
    )
    found += _columns(pd.read_csv(base / "summary.csv"), pd.read_csv(present / "summary.csv"), "summary")
    before, after = (json.loads((run / "run.json").read_text(encoding="utf-8")) for run in (base, present))
    for what in ("flags", "probes", "unchecked"):
        if _without_reasons(before["trust"][what]) != _without_reasons(after["trust"][what]):
            found.append(f"trust {what} differ")
    return found


def _without_reasons(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return rows without the sentence that says why a check was left out."""
    return [{key: value for key, value in row.items() if key != "reason"} for row in rows]


def _columns(before: pd.DataFrame, after: pd.DataFrame, what: str) -> list[str]:
    if len(before) != len(after):
        return [f"{what}: {len(before)} rows before, {len(after)} after"]
    shared = [name for name in before if name in after and name not in _NOT_COMPARED]
    lost = sorted({*before} - {*after} - _NOT_COMPARED)
    return [f"{what} has lost {name}" for name in lost] + [
        f"{what}: {name} differs in {_unequal(before[name], after[name])} rows"
        for name in shared
        if not before[name].equals(after[name])
    ]


def _unequal(before: pd.Series, after: pd.Series) -> int:
    same = (before == after) | (before.isna() & after.isna())
    return int((~same.fillna(value=False)).sum())


def _tables(tree: Path, run: Path, output: Path) -> dict[str, Any]:
    """Return the bytes of the tables that a tree builds of a committed run."""
    _command(tree, "report", str(run), "--output", str(output / run.name))
    return {file.name: file.read_bytes() for file in (output / run.name / "tables").glob("*.csv")}


if __name__ == "__main__":
    sys.exit(main())
