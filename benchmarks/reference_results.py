"""Runs every shipped minigen scenario and writes its report to ``results/minigen``.

python -m benchmarks.reference_results [SCENARIO ...]
"""

import argparse
import shutil
from pathlib import Path

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.views.report import report

_KEPT = ("summary.csv", "report.md", "report.tex", "run.json", "tables", "figures")
"""What is committed of a run; records and gallery stay out, they are large and quickly made again."""
_WITH_PAGE = "pgd_eps4"
"""The only scenario whose HTML page is committed: each page contains its figures, 0.4 to 1.3 MB."""


def main() -> None:
    """Run the scenarios named on the command line, or all that are on minigen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "scenario",
        nargs="*",
        help="names of shipped scenarios or protocols; all scenarios on minigen, and genimage, by default",
    )
    parser.add_argument("--target", type=Path, default=Path("results/minigen"))
    parser.add_argument("--runs", type=Path, default=Path("results"), help="where the runs and the cache are")
    arguments = parser.parse_args()
    names = arguments.scenario or [
        name
        for name, file in shipped_files("scenarios").items()
        if load_scenario(file).data.source == "minigen"
    ] + ["genimage"]
    for name in names:
        with shown_progress() as progress:
            result = run(name, output=arguments.runs, progress=progress)
        report([result.path])
        _publish(result.path, arguments.target / name)
        print(f"{name}: {result.info.seconds:.1f} s")
    _write_index(arguments.target)


def _publish(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for kept in (*_KEPT, *(["report.html"] if target.name == _WITH_PAGE else [])):
        source = folder / kept
        if source.is_dir():
            # PDFs are for papers: `report` writes them beside these PNGs.
            shutil.copytree(source, target / kept, ignore=shutil.ignore_patterns("*.pdf"))
        else:
            shutil.copy2(source, target / kept)


def _write_index(target: Path) -> None:
    lines = [
        "# Reference results on minigen",
        "",
        "Written by `make results`. Every folder has the report of one scenario, with tables and figures.",
        f"[{_WITH_PAGE}]({_WITH_PAGE}) also has the HTML page, which `robust-aigen report` makes for every run.",
        "",
    ]
    shipped = {**shipped_files("scenarios"), **shipped_files("protocols")}
    for file in sorted(target.glob("*/report.md")):
        name = file.parent.name
        lines.append(f"- [{name}]({name}/report.md): {load_scenario(shipped[name]).summary}")
    (target / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
