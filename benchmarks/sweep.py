"""What a sweep over eps costs beside separate runs: PGD at eight eps, with and without handing on what has fallen.

    python -m benchmarks.sweep [--detector ID_OR_FILE] [--data SOURCE] [--limit 1000]

Both go through the whole engine, cells and shards, from an empty cache, in alternating order; the time is that of the
attacked cells.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml

from robustbench_aigen import load_scenario, run
from robustbench_aigen.engine.runner import RunResult

EPS = ["0.5/255", "1/255", "1.5/255", "2/255", "3/255", "4/255", "6/255", "8/255"]


def main() -> None:
    """Parse the command line, measure, and print the ratio and the accuracies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="minigen/cifake_cnn")
    parser.add_argument("--data", default="minigen")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--eps", nargs="*", default=EPS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ratios = []
    for number in range(arguments.rounds):
        order = [True, False] if number % 2 else [False, True]
        results = {share: _run(arguments, share_sweeps=share) for share in order}
        seconds = {share: _seconds(result) for share, result in results.items()}
        ratios.append(seconds[True] / seconds[False])
        print(
            f"shared {seconds[True]:.1f} s, separate {seconds[False]:.1f} s: {ratios[-1]:.2f} of it",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}")
    table = {"shared" if share else "separate": _accuracy(result) for share, result in results.items()}
    print(pd.DataFrame(table).to_string(float_format=lambda value: f"{100 * value:.1f} %"))


def _run(arguments: argparse.Namespace, *, share_sweeps: bool) -> RunResult:
    detector = Path(arguments.detector)
    scenario = {
        "version": 1,
        "name": "sweep",
        "data": {"source": str(_absolute(arguments.data)), "limit": arguments.limit},
        "detectors": [{"path": str(detector.resolve())} if detector.is_file() else arguments.detector],
        "share_sweeps": share_sweeps,
        "pipelines": {"pgd": [{"attack": "pgd", "eps": arguments.eps}]},
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.yaml"
        file.write_text(yaml.safe_dump(scenario), encoding="utf-8")
        return run(load_scenario(file), output=folder)


def _absolute(source: str) -> str | Path:
    return Path(source).resolve() if Path(source).exists() else source


def _seconds(result: RunResult) -> float:
    return sum(timing["seconds"] for timing in result.info["timings"] if timing["pipeline"] != "clean")


def _accuracy(result: RunResult) -> "pd.Series[float]":
    everything = result.summary[result.summary["generator"] == "all"]
    return everything.set_index("pipeline")["accuracy"]


if __name__ == "__main__":
    main()
