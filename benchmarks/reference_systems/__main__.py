"""Trains the systems of the studies, evaluates each, and writes ``results/reference_systems``.

    python -m benchmarks.reference_systems DATA [--only ID …] [--limit 1000] [--no-training]

``DATA`` is a folder with the data sets that ``systems.yaml`` names. Trainings are resumed and finished ones kept, as are
finished shards of evaluations: stopped, the same command goes on. A system whose weights are not there when training is
left out is not in the tables.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.reference_systems.page import write_page
from benchmarks.reference_systems.systems import DataSet, System, read_systems
from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import load_scenario

_EVALUATION = Path(__file__).with_name("evaluation.yaml")


def main() -> None:
    """Parse the command line; train, evaluate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder that holds the data sets")
    parser.add_argument("--only", nargs="*", help="names of systems")
    parser.add_argument("--limit", type=int, default=1000, help="images of a test set that are attacked")
    parser.add_argument("--no-training", action="store_true", help="evaluate the detectors that are there")
    parser.add_argument("--detectors", type=Path, default=Path("results/detectors"))
    parser.add_argument("--runs", type=Path, default=Path("results"), help="where runs and their cache are")
    parser.add_argument("--target", type=Path, default=Path("results/reference_systems"))
    arguments = parser.parse_args()
    data, systems = read_systems()
    failed = []
    for system in systems:
        if arguments.only and system.called not in arguments.only:
            continue
        if not arguments.no_training and not _trained(
            system, arguments.data / data[system.data].folder, arguments.detectors
        ):
            failed.append(system.called)
        elif system.weights(arguments.detectors).is_file():
            _evaluate(system, data, arguments)
    write_page(arguments.target, systems)
    if failed:
        sys.exit(f"not trained, for the reasons above: {', '.join(failed)}")


def _trained(system: System, source: Path, detectors: Path) -> bool:
    """Train with the documented command, which keeps a finished training, and return whether that went well."""
    words = ["train", system.id, "--data", str(source), "--output", str(detectors), "--name", system.called]
    for key, value in system.settings.items():
        words += ["--set", f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}"]
    words += ["--weights", "none"] if system.scratch else []
    words += ["--limit", str(system.limit)] if system.limit else []
    return subprocess.run([sys.executable, "-m", "robustbench_aigen", *words], check=False).returncode == 0


def _evaluate(system: System, data: dict[str, DataSet], arguments: argparse.Namespace) -> None:
    """Write what a system is worth on its own test set, under every pipeline, and on the others."""
    weights = system.weights(arguments.detectors)
    found = []
    for name, data_set in data.items():
        loaded = load_scenario(_EVALUATION).replace(
            detectors=[DetectorSpec(path=str(weights.resolve()), name=system.called)],
            data={
                "source": str(arguments.data / data_set.folder),
                "split": data_set.split,
                "limit": arguments.limit,
            },
            **({} if name == system.data else {"pipelines": {}}),
        )
        with shown_progress() as progress:
            result = run(loaded, output=arguments.runs, progress=progress)
        found.append(result.summary.assign(data=name, own=name == system.data))
    table = pd.concat(found, ignore_index=True)
    metrics = json.loads((weights.parent / "metrics.json").read_text(encoding="utf-8"))
    folder = arguments.target / system.called
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        key: metrics[key]
        for key in ("settings", "train_images", "epochs_run", "figures", "cost", "weights_sha256")
    }
    (folder / "metrics.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    table.to_csv(folder / "summary.csv", index=False)  # Last: where it is, the system is whole.


if __name__ == "__main__":
    main()
