"""Puts a trained detector among those that come with the package.

    python -m benchmarks.ship FILE.safetensors ID

Weights and card are copied under ``ID`` (``cifake/lenet5``); the weights must be float16 (``--half``), which is what
keeps the package small. The card is the trainer's, with its id replaced.
"""

import argparse
import json
import shutil
from pathlib import Path

from safetensors import safe_open

from robustbench_aigen.detectors.loading import SHIPPED_WEIGHTS, load_detector
from robustbench_aigen.errors import UserError


def main() -> None:
    """Parse the command line and copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="the trained detector; its card is beside it")
    parser.add_argument("id", help="such as cifake/lenet5")
    arguments = parser.parse_args()
    ship(arguments.weights, arguments.id, SHIPPED_WEIGHTS)


def ship(weights: Path, name: str, target: Path) -> Path:
    """Copy a detector's weights and card to ``target/<name>`` and return where its weights are.

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
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    place = target / f"{name}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, place)
    place.with_suffix(".json").write_text(json.dumps({**card, "id": name}, indent=2) + "\n", encoding="utf-8")
    return place


if __name__ == "__main__":
    main()
