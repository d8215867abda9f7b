"""Puts a trained detector among those that come with the package.

    python -m benchmarks.ship FILE.safetensors ID [--data SOURCE]

Weights and card are copied under ``ID`` (``cifake/lenet5``); the weights must be float16 (``--half``), which is what
keeps the package small. The card is the trainer's, with its id replaced. A fine-tuned
detector's says nothing of test images: ``--data`` measures the clean accuracy on the source's test split.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import safe_open

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.shipped import SHIPPED_WEIGHTS
from robustbench_aigen.digests import read_sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import load_scenario


def main() -> None:
    """Parse the command line and copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="the trained detector; its card is beside it")
    parser.add_argument("id", help="such as cifake/lenet5")
    parser.add_argument("--data", help="what it was trained on: its test split is measured for the card")
    arguments = parser.parse_args()
    said = {} if arguments.data is None else {"data": arguments.data, "clean_test": _clean(arguments)}
    ship(arguments.weights, arguments.id, SHIPPED_WEIGHTS, said)


def _clean(arguments: argparse.Namespace) -> dict[str, float]:
    scenario = load_scenario("pgd_eps4").replace(
        data={"source": arguments.data, "split": "test"},
        detectors=[DetectorSpec(path=str(arguments.weights.resolve()))],
        pipelines={},
    )
    with TemporaryDirectory() as folder:
        summary = run(scenario, output=folder).summary
    overall = summary[summary["generator"] == ALL_GENERATORS].iloc[0]
    rates = {name: round(float(overall[name]), 4) for name in ("accuracy", "balanced_accuracy", "tpr", "tnr")}
    return {**rates, "n": int(overall["n"])}


def ship(weights: Path, name: str, target: Path, said: Mapping[str, object] | None = None) -> Path:
    """Copy a detector's weights and card to ``target/<name>`` and return where its weights are.

    ``said`` is put into the card.

    Raises
    ------
    UserError
        If it cannot be loaded, for one without its card, or its weights are not float16.
    """
    load_detector(weights)
    with safe_open(weights, framework="pt") as stored:
        wide = [key for key in stored.keys() if stored.get_slice(key).get_dtype() == "F32"]  # noqa: SIM118
    if wide:
        raise UserError(f"{weights}: '{wide[0]}' is float32", hint="train with --half")
    card, _ = read_sealed(weights.with_suffix(".json"))
    place = target / f"{name}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, place)
    place.with_suffix(".json").write_text(
        json.dumps({**card, "id": name, **(said or {})}, indent=2) + "\n", encoding="utf-8"
    )
    return place


if __name__ == "__main__":
    main()
