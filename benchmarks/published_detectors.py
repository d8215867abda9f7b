"""A published detector on several sources: clean, through JPEG and resizing, under PGD and auto; one row a source and condition.

    python -m benchmarks.published_detectors FOLDER [--detector ferretnet_s] [--limit 100]

FOLDER holds the sources as folders of their own: ``faces``, ``shoes``, ``web_ai_vs_real`` and ``genimage8``, for
instance. The table is written to ``results/real_detectors/DETECTOR.csv``.
"""

import argparse
from pathlib import Path

import pandas as pd

from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.scenario import load_scenario

_SOURCES = {
    "faces": {"split": "all"},
    "shoes": {"split": "test"},
    "web_ai_vs_real": {"split": "all"},
    "genimage8": {"split": "all"},
}
_SHOWN = ["accuracy", "balanced_accuracy", "tpr", "tnr", "auroc"]
_SCENARIO = Path(__file__).parents[1] / "results" / "real_detectors" / "published.yaml"


def main() -> None:
    """Run the scenario on every source, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="ferretnet_s")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--runs", type=Path, default=Path("results"), help="where the runs and the cache are")
    arguments = parser.parse_args()
    rows = []
    for name, declared in _SOURCES.items():
        data = {"source": str(arguments.folder / name), **declared, "limit": arguments.limit}
        scenario = load_scenario(_SCENARIO).replace(data=data, detectors=[arguments.detector])
        with shown_progress() as progress:
            result = run(scenario, output=arguments.runs, progress=progress)
        summary = result.summary
        summary = summary[summary["generator"] == "all"]
        counted = {"source": name, "images": result.info.data.images, "fake": result.info.data.fake}
        rows += [
            {
                **counted,
                "pipeline": row["pipeline"],
                **{key: row[key] for key in _SHOWN},
                "trust": row["trust"],
            }
            for _, row in summary.iterrows()
        ]
        table = pd.DataFrame(rows)
        target = _SCENARIO.parent / f"{arguments.detector.replace('/', '_')}.csv"
        table.to_csv(target, index=False, float_format="%.4f", lineterminator="\n")
        print(f"{name}: {result.info.seconds:.0f} s")


if __name__ == "__main__":
    main()
