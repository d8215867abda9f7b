"""What a sweep over eps costs beside separate runs: PGD at eight eps, with and without handing on what has fallen.

    python -m benchmarks.sweep [--detector ID_OR_FILE] [--data SOURCE] [--limit 1000] [--no-lookahead]

Both go through the whole engine, cells and shards, from an empty cache, in alternating order; the time is that of the
attacked cells.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from benchmarks.table_file import put_rows
from robustbench_aigen.evaluation import run
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import load_scenario, with_detectors
from robustbench_aigen.stages.pipeline import CLEAN

EPS = [f"{level}/255" for level in range(1, 9)]


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
    parser.add_argument(
        "--lookahead", action=argparse.BooleanOptionalAction, default=True, help="the native PGD's own"
    )
    parser.add_argument("--output", type=Path, help="a CSV file; the row of the same sweep is replaced")
    arguments = parser.parse_args()
    shared, separate, ratios = [], [], []
    for number in range(arguments.rounds):
        order = [True, False] if number % 2 else [False, True]
        results = {share: _run(arguments, share_sweeps=share) for share in order}
        shared.append(_seconds(results[True]))
        separate.append(_seconds(results[False]))
        ratios.append(shared[-1] / separate[-1])
        print(f"shared {shared[-1]:.1f} s, separate {separate[-1]:.1f} s: {ratios[-1]:.2f} of it", flush=True)
    print(f"median {statistics.median(ratios):.2f}")
    table = pd.DataFrame({"shared": _accuracy(results[True]), "separate": _accuracy(results[False])})
    print(table.to_string(float_format=lambda value: f"{100 * value:.1f} %"))
    if arguments.output:
        attacked = table.drop(index=CLEAN)
        row = {
            "detector": arguments.detector,
            "data": Path(arguments.data).name,
            "eps": " ".join(arguments.eps),
            "lookahead": arguments.lookahead,
            "images": arguments.limit,
            "precision": results[True].info.precision,
            "threads": torch.get_num_threads(),
            "rounds": arguments.rounds,
            "shared, seconds (median)": f"{statistics.median(shared):.1f}",
            "separate, seconds (median)": f"{statistics.median(separate):.1f}",
            "of separate": f"{statistics.median(ratios):.2f}",
            "from": f"{min(ratios):.2f}",
            "to": f"{max(ratios):.2f}",
            "left at the smallest": f"{100 * attacked['shared'].iloc[0]:.1f} %",
            "left at the largest": f"{100 * attacked['shared'].iloc[-1]:.1f} %",
            "most above separate": f"{100 * (attacked['shared'] - attacked['separate']).max():.1f}",
        }
        put_rows(arguments.output, pd.DataFrame([row]), ["detector", "data", "eps", "lookahead", "precision"])


def _run(arguments: argparse.Namespace, *, share_sweeps: bool) -> Run:
    scenario = load_scenario("pgd_sweep").replace(
        data={"source": arguments.data, "limit": arguments.limit},
        share_sweeps=share_sweeps,
        pipelines={"pgd": [{"attack": "pgd", "eps": arguments.eps, "lookahead": arguments.lookahead}]},
    )
    with TemporaryDirectory() as folder:
        return run(with_detectors(scenario, [arguments.detector], None, Path.cwd()), output=folder)


def _seconds(result: Run) -> float:
    return sum(timing.seconds for timing in result.info.timings if timing.pipeline != "clean")


def _accuracy(result: Run) -> "pd.Series[float]":
    everything = result.summary[result.summary["generator"] == "all"]
    return everything.set_index("pipeline")["accuracy"]


if __name__ == "__main__":
    main()
