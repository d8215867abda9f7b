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

    ``attacks`` and ``perturbations`` are recipes; ``scenarios`` and ``finetunings`` are both in ``scenarios/``, and
    ``protocols`` are the scenarios in ``scenarios/protocols/``.
    """
    is_recipe = kind in ("attacks", "perturbations")
    folder = catalogue_folder(kind if is_recipe else "scenarios")
    files = sorted((folder / kind if kind == "protocols" else folder).glob("*.yaml"))
    if kind in ("scenarios", "finetunings"):
        files = [file for file in files if file.stem.startswith(_FINE_TUNING) == (kind == "finetunings")]
    return {file.stem: file for file in files}
