"""Paths of the shipped data: recipes (``attacks/``, ``perturbations/``) and scenarios (``scenarios/``).

The folders are at the top level of a checkout; the wheel contains copies under ``_catalogue``.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def catalogue_folder(kind: str) -> Path:
    """Return the folder of shipped ``attacks``, ``perturbations`` or ``scenarios``."""
    shipped = _PACKAGE / "_catalogue" / kind
    return shipped if shipped.is_dir() else _PACKAGE.parent / kind


_FINE_TUNING = "finetune_"
"""Prefix of the names of fine-tuning files among the scenarios."""


def shipped_files(kind: str) -> dict[str, Path]:
    """Map the name of every shipped file of a kind to its file, sorted by name.

    ``attacks`` and ``perturbations`` are recipes; ``scenarios`` and ``finetunings`` are both in ``scenarios/``.
    """
    is_recipe = kind in ("attacks", "perturbations")
    files = sorted(catalogue_folder(kind if is_recipe else "scenarios").glob("*.yaml"))
    if not is_recipe:
        files = [file for file in files if file.stem.startswith(_FINE_TUNING) == (kind == "finetunings")]
    return {file.stem: file for file in files}
