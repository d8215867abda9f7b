"""The detectors that ship with the package: their ids, and their weights and cards."""

from pathlib import Path

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the weights and cards of shipped detectors, which are below it by id."""


def shipped_detectors() -> dict[str, Path]:
    """Map the id of every shipped detector (``minigen/lenet5``) to its weights file, sorted."""
    return {
        file.relative_to(SHIPPED_WEIGHTS).with_suffix("").as_posix(): file
        for file in sorted(SHIPPED_WEIGHTS.rglob("*.safetensors"))
    }
